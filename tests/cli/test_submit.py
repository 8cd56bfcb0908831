"""`submit` as a person meets it: what it asks of the cluster, what it says, and which exit code it has."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from raypipe import launch
from raypipe.core.plan import Scope
from raypipe.core.state import RunKind
from raypipe.core.submission import Job, JobState
from raypipe.launch import SubmitReport

ADDRESS = ("--address", "http://head:8265")
RUNNING = Job(
    job_id="raypipe-flights-ab-1", pipeline="flights", request="r", plan="p", attempt=1, state=JobState.RUNNING, started_us=0
)
FAILED = replace(RUNNING, state=JobState.FAILED, ended_us=60_000_000, returned=1)


@dataclass
class Cluster:
    """A cluster that remembers what it was asked for."""

    what: str = "started"
    ended: Job = FAILED
    known: list[Job] = field(default_factory=lambda: [FAILED, replace(RUNNING, job_id="raypipe-flights-ab-2", attempt=2)])
    errands: list[Any] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    interrupted: bool = False

    def submit(self, errand, address, *, again):
        self.errands.append((errand, address, again))
        return SubmitReport(self.what, RUNNING)

    def follow(self, job, address, show):
        show("3 of 4 shards\t\x1b[31m\n")
        if self.interrupted:
            raise KeyboardInterrupt
        return self.ended

    def cancel(self, job, address):
        self.cancelled.append(job.job_id)
        return replace(job, state=JobState.STOPPED)


@pytest.fixture
def cluster(launched, monkeypatch):
    fake = Cluster()
    for name, answer in {
        "submit": fake.submit, "follow_job": fake.follow, "cancel_job": fake.cancel,
        "submitted_jobs": lambda pipeline, address: fake.known, "job_logs": lambda job, address: f"log of {job.job_id}\n",
    }.items():  # fmt: skip
        monkeypatch.setattr(launch, name, answer)
    return fake


def test_a_run_is_submitted_and_its_job_named(cluster, raypipe):
    result = raypipe("submit", "pipeline.yaml", *ADDRESS, "--start", "2013-01-02", "--set", "run.memory=1GiB", "--again")
    ((errand, address, again),) = cluster.errands
    assert (errand.words, errand.overrides, address, again) == (
        ("run", "--start", "2013-01-02"), ("run.memory=1GiB",), "http://head:8265", True,
    )  # fmt: skip
    assert errand.ask.kind is RunKind.RUN
    assert (result.exit_code, result.stdout) == (0, "raypipe-flights-ab-1\n")
    assert "was started" in result.stderr


@pytest.mark.parametrize(
    ("options", "words", "scope"),
    [
        (["--stale"], ("backfill", "--stale", "--publish", "atomic"), Scope.STALE),
        (["--shards", "2:5"], ("backfill", "--shards", "2:5", "--publish", "atomic"), Scope.ALL),
        (
            ["--backfill", "--start", "2013-01-01", "--end", "2013-02-01", "--publish", "shard", "--executor", "ray"],
            ("backfill", "--start", "2013-01-01", "--end", "2013-02-01", "--publish", "shard", "--executor", "ray"),
            Scope.ALL,
        ),
    ],
)
def test_the_options_of_a_backfill_submit_one(cluster, raypipe, options, words, scope):
    assert raypipe("submit", "pipeline.yaml", *ADDRESS, *options).exit_code == 0
    ((errand, _, _),) = cluster.errands
    assert errand.words == words
    assert (errand.ask.kind, errand.ask.scope) == (RunKind.BACKFILL, scope)


def test_a_backfill_without_a_whole_range_is_refused_before_anything_is_sent(cluster, raypipe):
    assert raypipe("submit", "pipeline.yaml", *ADDRESS, "--backfill", "--start", "2013-01-01").exit_code == 2
    assert cluster.errands == []


@pytest.mark.parametrize(
    ("what", "text"), [("attached", "does the same already"), ("resumed", "resumes"), ("finished", "--again does it once more")]
)
def test_a_person_is_told_what_the_request_meant(cluster, raypipe, what, text):
    cluster.what = what
    assert text in raypipe("submit", "pipeline.yaml", *ADDRESS).stderr


def test_waiting_shows_what_the_run_prints_and_returns_its_exit_code(cluster, raypipe):
    result = raypipe("submit", "pipeline.yaml", *ADDRESS, "--wait", "--json")
    assert result.exit_code == 1
    assert "3 of 4 shards   \\x1b[31m\n" in result.stderr
    assert json.loads(result.stdout) == {
        "pipeline": "flights",
        "what": "started",
        "job": {
            "id": "raypipe-flights-ab-1", "state": "failed", "attempt": 1, "started": "1970-01-01T00:00:00Z",
            "ended": "1970-01-01T00:01:00Z", "exit_code": 1,
        },
    }  # fmt: skip


def test_a_job_that_ended_without_the_run_tells_why(cluster, raypipe):
    cluster.ended = replace(FAILED, returned=None, message="The actor died unexpectedly")
    result = raypipe("submit", "pipeline.yaml", *ADDRESS, "--wait")
    assert (result.exit_code, "The actor died unexpectedly" in result.stderr) == (1, True)


def test_interrupting_the_wait_leaves_the_job_running_and_says_so(cluster, raypipe):
    cluster.interrupted = True
    result = raypipe("submit", "pipeline.yaml", *ADDRESS, "--wait")
    assert result.exit_code == 130
    assert "goes on" in result.stderr
    assert cluster.cancelled == []


def test_jobs_are_shown_from_outside(cluster, raypipe):
    result = raypipe("submit", "pipeline.yaml", *ADDRESS, "--status")
    assert result.stdout.splitlines() == [
        "raypipe-flights-ab-1: failed, started 1970-01-01T00:00:00Z, ended 1970-01-01T00:01:00Z, exit code 1",
        "raypipe-flights-ab-2: running, started 1970-01-01T00:00:00Z",
    ]
    assert cluster.errands == []


def test_the_newest_job_is_read_and_cancelled_unless_another_is_named(cluster, raypipe):
    assert raypipe("submit", "pipeline.yaml", *ADDRESS, "--logs").stdout == "log of raypipe-flights-ab-2\n"
    assert raypipe("submit", "pipeline.yaml", *ADDRESS, "--logs", "--job", FAILED.job_id).stdout == "log of raypipe-flights-ab-1\n"
    assert "raypipe-flights-ab-2: stopped" in raypipe("submit", "pipeline.yaml", *ADDRESS, "--cancel").stdout
    assert cluster.cancelled == ["raypipe-flights-ab-2"]


@pytest.mark.parametrize("known", [[], [FAILED]])
def test_a_job_that_the_cluster_does_not_know_is_told(cluster, raypipe, known):
    cluster.known = known
    result = raypipe("submit", "pipeline.yaml", *ADDRESS, "--logs", "--job", "x")
    assert (result.exit_code, "knows no job x" in result.stderr) == (2, True)
