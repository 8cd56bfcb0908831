"""What travels with a job, and the command and identity that it gets."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

import raypipe as installed
from raypipe import launch
from raypipe.errors import UsageError
from raypipe.launch import package
from raypipe.launch.package import START, pipeline_package, raypipe_package
from raypipe.launch.submit_verb import Errand

CONFIG = """\
name: rides
description: ${env:RIDES_SECRET}
time: {column: at, start: 2024-05-01, shard: 1d, end: 2024-05-03}
source: {kind: files, path: data/*.csv, columns: {at: timestamp, town: string}}
transform:
  - lookup: {path: ref/towns.csv, on: town, columns: [country]}
  - lookup: {path: ../towns.csv, on: town, columns: {land: country}}
outputs: [{table: rides_clean, rows: all}]
destination: {kind: duckdb, path: rides.duckdb}
"""
WITH_PYTHON = CONFIG.replace("transform:\n", "transform:\n  - python: steps:enrich\n")
IN_PYTHON = """\
from pathlib import Path
from raypipe import *
pipeline = Pipeline(
    name="rides",
    time=EventTime(column="at", start_us=0, shard=parse_width("1d")),
    source=FilesSource(paths=(SOURCE,), format="csv", columns={"at": Column(type=parse_datatype("timestamp"))}),
    outputs=(RowsOutput(table="rides_clean"),),
    destination=DuckDBDestination(path="rides.duckdb"),
)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A pipeline's folder as people have them, in the working folder."""
    home = tmp_path / "rides"
    for name in (
        "data/1.csv",
        "ref/towns.csv",
        "steps.py",
        "inner/more.py",
        ".venv/x.py",
        "env/pyvenv.cfg",
        "env/y.py",
        "notes.txt",
    ):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text("at,town,country\n")
    (tmp_path / "towns.csv").write_text("town,country\n")
    (home / "rides.yaml").write_text(CONFIG)
    monkeypatch.chdir(home)
    monkeypatch.setenv("RIDES_SECRET", "s3cr3t")
    return home


def loaded(target="rides.yaml"):
    return launch.load(target, elsewhere=True)


def errand(*words, **more):
    return Errand(pipeline=loaded(), target="rides.yaml", ask=launch.Ask(), words=("run", *words), **more)


class TestPackage:
    def test_configuration_and_reference_files_of_the_folder_travel_and_no_data(self, folder):
        assert set(pipeline_package(loaded(), "rides.yaml").files) == {"rides.yaml", "ref/towns.csv"}

    def test_python_travels_where_it_is_used_but_no_environment_of_it(self, folder):
        (folder / "rides.yaml").write_text(WITH_PYTHON)
        assert set(pipeline_package(loaded(), "rides.yaml").files) == {
            "rides.yaml", "ref/towns.csv", "steps.py", "inner/more.py",
        }  # fmt: skip

    def test_the_configuration_travels_as_written_so_that_its_secrets_stay_where_they_are(self, folder, tmp_path):
        pipeline_package(loaded(), "rides.yaml").write(tmp_path / "out")
        assert (tmp_path / "out/rides.yaml").read_text() == CONFIG

    def test_a_package_is_known_by_its_contents(self, folder):
        before = pipeline_package(loaded(), "rides.yaml").digest
        (folder / "data/2.csv").write_text("more")
        assert pipeline_package(loaded(), "rides.yaml").digest == before
        (folder / "ref/towns.csv").write_text("changed")
        assert pipeline_package(loaded(), "rides.yaml").digest != before

    def test_too_much_to_travel_is_refused_with_the_largest(self, folder, monkeypatch):
        monkeypatch.setattr(package, "PACKAGE_BYTES_MAX", 100)
        with pytest.raises(UsageError, match=r"largest being rides\.yaml .* expected at most 100 B"):
            pipeline_package(loaded(), "rides.yaml")

    def test_a_pipeline_in_python_travels_with_the_modules_of_the_working_folder(self, folder):
        (folder / "inner/flow.py").write_text(IN_PYTHON.replace("SOURCE", '"data/*.csv"'))
        assert set(pipeline_package(loaded("inner.flow:pipeline"), "inner.flow:pipeline").files) == {
            "steps.py", "inner/more.py", "inner/flow.py",
        }  # fmt: skip

    def test_paths_that_python_computes_from_its_own_place_are_refused_for_they_would_mean_a_copy(self, folder):
        (folder / "beside.py").write_text(IN_PYTHON.replace("SOURCE", 'str(Path(__file__).parent / "data/*.csv")'))
        with pytest.raises(UsageError, match="lies beside the code"):
            pipeline_package(loaded("beside:pipeline"), "beside:pipeline")

    def test_raypipe_travels_whole_and_without_what_python_compiled(self, tmp_path):
        files = raypipe_package().files
        home = Path(installed.__file__).parent
        assert {"raypipe/__main__.py", "raypipe/destinations/sql_statements.py"} <= set(files)
        assert {f"raypipe/{path.relative_to(home)}" for path in home.rglob("*.sql")} <= set(files)
        assert not [name for name in files if name.endswith(".pyc")]


class TestErrand:
    def test_the_job_runs_the_same_verb_over_the_same_data(self, folder):
        found = errand("--start", "2024-05-01", profile="prod", overrides=("run.memory=1GiB",)).command
        assert found == (
            "exec sh start.sh run rides.yaml --profile prod --set run.memory=1GiB --set run.address=null "
            f"--folder {folder} --start 2024-05-01"
        )

    def test_a_secret_is_in_no_word_of_the_command(self, folder):
        found = errand(overrides=("description=${env:RIDES_SECRET}",))
        assert "s3cr3t" not in found.command
        assert "'description=${env:RIDES_SECRET}'" in found.command  # quoted: the shell of the job must not read it either

    def test_new_input_makes_it_another_submission_of_the_same_request_and_time_does_not(self, folder, monkeypatch):
        one = errand()
        before = one.submission(pipeline_package(one.pipeline, one.target))
        assert one.submission(pipeline_package(one.pipeline, one.target)) == before
        monkeypatch.setattr("raypipe.sources.filesystem.UNSETTLED_NS", 0)  # time passes
        assert one.submission(pipeline_package(one.pipeline, one.target)) == before
        (folder / "data/2.csv").write_text("at,town\n")
        after = one.submission(pipeline_package(one.pipeline, one.target))
        assert (after.request == before.request, after.plan == before.plan) == (True, False)

    def test_an_empty_window_is_refused_here(self, folder):
        asked = Errand(pipeline=loaded(), target="rides.yaml", ask=launch.Ask(start_us=5, end_us=5), words=("run",))
        with pytest.raises(UsageError, match="empty or inverted"):
            asked.submission(pipeline_package(asked.pipeline, asked.target))


def test_the_start_script_takes_the_interpreter_of_the_raylet_above_it(tmp_path):
    """Stands for a raylet: a process whose command line names the interpreter of its workers."""
    (tmp_path / "start.sh").write_text(START)
    (tmp_path / "python").write_text('#!/bin/sh\necho "mine $@"\n')
    (tmp_path / "python").chmod(0o755)
    raylet = 'sh -c "sh start.sh run a.yaml; true"; true # "$@"'
    done = subprocess.run(
        ["sh", "-c", raylet, "raylet", f"--python_worker_command={tmp_path}/python /x/default_worker.py --a=b"],
        cwd=tmp_path, capture_output=True, text=True, check=True, env={**os.environ, "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.stdout == "mine -m raypipe run a.yaml\n"
