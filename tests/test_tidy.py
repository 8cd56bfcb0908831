"""The repository checks its own habits: format, lint, types, layers, docstrings, names, no machine traces."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from raypipe import errors

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "raypipe").rglob("*.py"))
TRACKED = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split("\n")
LINES_MAX = 400


def run(*command):
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_code_is_formatted():
    run("ruff", "format", "--check", ".")


def test_the_code_is_free_of_lint():
    run("ruff", "check", ".")


@pytest.mark.slow
def test_the_types_hold_strictly():
    run("mypy")


def test_imports_point_down_only():
    done = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_says_what_it_is_for_and_is_small(path):
    text = path.read_text()
    docstring = ast.get_docstring(ast.parse(text))
    assert docstring, "no docstring"
    assert docstring.split("\n")[0].rstrip().endswith((".", ":", "?")), docstring
    assert len(text.splitlines()) <= LINES_MAX
    assert path.stem not in {"utils", "common", "base", "helpers", "manager"}


def test_the_top_level_is_fixed():
    names = {name.split("/")[0] for name in TRACKED if name}
    visible = {name for name in names if not name.startswith(".")}
    assert visible <= {"raypipe", "configs", "tests", "perf", "pyproject.toml", "README.md", "constraints.txt"}


def test_no_file_names_a_registry_or_a_path_of_a_machine():
    pattern = re.compile(r"pypi\.org|/simple/|files\.pythonhosted|--index-url|/work/|/root/")
    found = []
    for name in TRACKED:
        path = ROOT / name
        if (
            name
            and path.is_file()
            and path.suffix in {".py", ".md", ".toml", ".txt", ".yaml", ".sql", ""}
            and name != "tests/test_tidy.py"
        ):
            found += [f"{name}: {line}" for line in path.read_text(errors="ignore").splitlines() if pattern.search(line)]
    assert found == []


def test_nothing_is_left_for_later():
    pattern = re.compile(r"\b(TODO|FIXME|XXX|raise NotImplementedError)\b")
    assert [f"{path}: {line}" for path in SOURCES for line in path.read_text().splitlines() if pattern.search(line)] == []


def test_every_error_says_what_it_means():
    found = [errors.RaypipeError]
    for one in found:
        found.extend(one.__subclasses__())
    assert len(found) > 15
    assert [one.__name__ for one in found if not one.__dict__.get("__doc__") or "code" not in one.__dict__] == []
