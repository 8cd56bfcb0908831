"""README is true: its commands run, its configuration loads, its Python works, its verbs are those there are."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import raypipe

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A folder with the configurations, as a reader of the README has one."""
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copytree(ROOT / "configs", folder / "configs", ignore=shutil.ignore_patterns("*.duckdb*", "*.raypipe"))
    return folder


def command(line, folder):
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    return subprocess.run(
        shlex.split(line, comments=True), cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_the_commands_of_the_readme_run(checkout):
    lines = [line[2:] for block in blocks("console") for line in block.splitlines() if line.startswith("$ ")]
    assert len(lines) >= 8
    for line in lines:
        done = command(line, checkout)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr


def test_the_two_commands_install_what_the_project_declares():
    first, second = blocks("sh")
    declared = (ROOT / "pyproject.toml").read_text()
    assert "-c constraints.txt '.[flights]' && .venv/bin/raypipe run configs/flights.yaml" in first
    assert "-c constraints.txt -e '.[flights,test]' && .venv/bin/pytest -n 2 --dist loadgroup" in second
    assert "\nflights = [" in declared
    assert "\ntest = [" in declared
    assert "constraints.txt -e '.[flights,test]'" in (ROOT / ".ci/run").read_text()


def test_the_configuration_of_the_readme_loads(tmp_path):
    (text,) = blocks("yaml")
    (tmp_path / "orders.yaml").write_text(text)
    pipeline = raypipe.load(str(tmp_path / "orders.yaml"))
    assert [output.table for output in pipeline.outputs] == ["hourly_orders", "orders"]


def test_the_python_of_the_readme_works(checkout):
    (text,) = blocks("python")
    done = subprocess.run([sys.executable, "-c", text], cwd=checkout, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == "done"


def test_every_verb_is_in_the_readme():
    done = command("raypipe --help", ROOT)
    verbs = re.findall(r"^  ([a-z]+)  ", done.stdout.partition("Commands:")[2], re.MULTILINE)
    assert len(verbs) >= 13
    assert [verb for verb in verbs if f"`{verb}" not in README] == []
