"""What processes of a run take over from its launcher: all that a person set there, and nothing of whoever started their Ray."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from raypipe.runtime.launched_from import GIVEN, LaunchedFrom, given


@pytest.fixture
def process(monkeypatch, tmp_path):
    """Put back afterwards what taking over changes of this process."""
    umask = os.umask(0o022)
    monkeypatch.chdir(tmp_path)
    for name in ("MINE", "TZ", *GIVEN):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    yield monkeypatch
    os.umask(umask)
    monkeypatch.undo()
    time.tzset()


def test_environment_folder_and_permissions_are_those_of_the_launcher(process, tmp_path):
    process.setenv("MINE", "launcher's")
    process.setenv("TZ", "Asia/Tokyo")
    launcher = LaunchedFrom.here()
    process.setenv("MINE", "another's")
    process.setenv("TZ", "UTC")
    process.chdir("/")
    os.umask(0o077)
    launcher.take_over()
    assert (os.environ["MINE"], time.tzname[0], Path.cwd()) == ("launcher's", "JST", tmp_path)
    assert os.umask(0o022) == 0o022


def test_what_whoever_started_ray_had_set_and_the_launcher_has_not_is_gone(process):
    process.delenv("LC_ALL")
    launcher = LaunchedFrom.here()
    process.setenv("LC_ALL", "another's")
    launcher.take_over()
    assert "LC_ALL" not in os.environ


def test_which_ray_is_used_does_not_travel(process):
    process.setenv("RAYPIPE_RAY_SESSION", "/tmp/raypipe-ray-x")
    process.setenv("RAY_AUTH_TOKEN_PATH", "/tmp/token")
    assert not {"RAYPIPE_RAY_SESSION", "RAY_AUTH_TOKEN_PATH"} & set(LaunchedFrom.here().environment)


def test_processes_on_other_machines_take_over_nothing_but_what_tests_armed(process, tmp_path):
    process.setenv("MINE", "launcher's")
    process.setenv("RAYPIPE_TESTING", "1")
    process.setenv("RAYPIPE_FAILPOINTS", "task.start=sleep:1")
    launcher = LaunchedFrom.afar()
    process.chdir("/")
    process.delenv("RAYPIPE_FAILPOINTS")
    launcher.take_over()
    assert os.environ["RAYPIPE_FAILPOINTS"] == "task.start=sleep:1"
    assert "MINE" not in launcher.environment
    assert Path.cwd() == Path("/")


def test_a_ray_that_is_started_is_given_no_secret(process):
    for name in ("DATABASE_URL", "AWS_SECRET_ACCESS_KEY", "RAY_AUTH_TOKEN"):
        process.setenv(name, "s3cr3t")
    process.setenv("RAY_memory_usage_threshold", "0.5")
    assert "s3cr3t" not in given().values()
    assert given()["RAY_memory_usage_threshold"] == "0.5"


def test_a_python_path_means_the_same_from_another_folder(process, tmp_path):
    process.setenv("PYTHONPATH", f"lib{os.pathsep}/opt")
    assert given()["PYTHONPATH"] == f"{tmp_path / 'lib'}{os.pathsep}/opt"
