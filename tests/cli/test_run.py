from __future__ import annotations

import dataclasses
import json
import os
import signal
import time

import psutil
import pytest

from raypipe import launch
from raypipe.core.events import RunOpened
from raypipe.core.plan import Scope
from raypipe.core.state import RunKind
from raypipe.errors import ConfigurationError, Fenced, InDoubt, Interrupted, UsageError

HOUR_US = 3_600_000_000
MADRID_NEW_YEAR_US = 1_356_998_400_000_000 - HOUR_US


def test_run_asks_for_all_that_is_due(launched, raypipe):
    result = raypipe("run", "pipeline.yaml", "--profile", "prod", "--set", "run.executor=inline")

    assert result.exit_code == 0
    assert launched.loads == [("pipeline.yaml", "prod", ("run.executor=inline",))]
    assert launched.asks == [launch.Ask()]


def test_a_date_is_its_first_instant_in_the_zone_of_the_pipeline(launched, raypipe):
    raypipe("run", "pipeline.yaml", "--start", "2013-01-01", "--end", "2013-01-01T02:00:00Z")

    assert launched.asks[0].start_us == MADRID_NEW_YEAR_US
    assert launched.asks[0].end_us == MADRID_NEW_YEAR_US + 3 * HOUR_US


@pytest.mark.parametrize(("start", "end"), [("2013-02-01", "2013-01-01"), ("2013-02-01", "2013-02-01")])
def test_an_empty_or_inverted_window_is_a_usage_error_and_runs_nothing(launched, raypipe, start, end):
    result = raypipe("run", "pipeline.yaml", "--start", start, "--end", end)

    assert result.exit_code == 2
    assert f"--start {start} is not before --end {end}" in result.stderr
    assert launched.asks == []


def test_what_is_no_time_is_a_usage_error_that_says_what_is_expected(launched, raypipe):
    result = raypipe("run", "pipeline.yaml", "--start", "yesterday")

    assert result.exit_code == 2
    assert "--start: got 'yesterday', expected a date such as 2013-01-01" in result.stderr


def test_the_document_of_a_run_has_the_promised_keys(launched, raypipe):
    result = raypipe("run", "pipeline.yaml", "--json")

    document = json.loads(result.stdout)
    assert {"pipeline", "run_id", "status", "executor", "shards", "rows", "seconds", "watermark", "failures"} <= document.keys()
    assert document["shards"] == {"planned": 3, "committed": 3, "failed": 0, "skipped": 0}
    assert document["rows"] == {"read": 1000, "expanded": 0, "loaded": 900, "filtered": 60, "duplicate": 10, "quarantined": 30}
    assert document["watermark"] == "2013-01-04T00:00:00Z"
    assert "done in 2.00 s" in result.stderr


def test_the_summary_says_what_was_quarantined_and_why_and_what_comes_next(launched, raypipe):
    launched.quarantine = [{"rule": "plausible_delay", "rows": 30, "error": "dep_delay BETWEEN -60 AND 900"}]
    launched.filtered = {"departed": 60}

    result = raypipe("run", "pipeline.yaml")

    assert "[2013-01-01T00:00:00Z, 2013-01-04T00:00:00Z)" in result.stdout
    assert "departed 60" in result.stdout
    assert "dep_delay BETWEEN -60 AND 900" in result.stdout
    assert "raypipe quarantine show pipeline.yaml --rule plausible_delay" in result.stdout


def test_a_run_with_nothing_to_do_says_so_in_one_line(launched, closing, raypipe):
    launched.closed = closing(planned=0, committed=0, window=None, seconds=0.1)

    result = raypipe("run", "pipeline.yaml")

    assert result.exit_code == 0
    assert result.stdout == "flights: nothing to do; complete up to 2013-01-04T00:00:00Z (0.10 s)\n"


def test_a_quiet_run_prints_nothing(launched, raypipe):
    launched.while_running = lambda observer, stop: observer.on(RunOpened("flights", "r1", 1, "inline"))

    result = raypipe("run", "pipeline.yaml", "-q")

    assert (result.stdout, result.stderr, result.exit_code) == ("", "", 0)


def test_failed_shards_are_listed_with_their_reason_and_exit_code_1(launched, closing, failure, raypipe):
    launched.closed = closing("failed", committed=2, failed=1, failures=(failure,))

    result = raypipe("run", "pipeline.yaml")

    assert result.exit_code == 1
    assert "/data/a.csv is truncated" in result.stdout
    assert "# try the failed shards again, once the cause is gone\n  raypipe run pipeline.yaml\n" in result.stdout


@pytest.mark.parametrize(("status", "code"), [("interrupted", 130), ("terminated", 143), ("cancelled", 3)])
def test_a_run_that_was_stopped_has_the_exit_code_of_its_cause(launched, closing, raypipe, status, code):
    launched.closed = closing(status, committed=1, skipped=2)

    result = raypipe("run", "pipeline.yaml")

    assert result.exit_code == code
    assert "# go on: only what is left is done\n  raypipe run pipeline.yaml\n" in result.stdout


@pytest.mark.parametrize(("error", "code"), [(Fenced("taken over"), 3), (InDoubt("not known"), 4), (UsageError("no"), 2)])
def test_an_error_is_one_text_without_traceback_and_its_exit_code(launched, raypipe, error, code):
    def fail(observer, stop):
        raise error

    launched.while_running = fail

    result = raypipe("run", "pipeline.yaml", "--json")

    assert result.exit_code == code
    assert result.stderr == f"error: {error}\n"
    assert json.loads(result.stdout) == {"error": {"code": error.code, "text": str(error), "exit_code": code}}


def test_all_mistakes_of_a_configuration_are_listed(launched, monkeypatch, raypipe):
    def load(target, **options):
        raise ConfigurationError(["a.yaml:3: time.shard: wrong", "a.yaml:9: outputs: missing"])

    monkeypatch.setattr(launch, "load", load)

    result = raypipe("run", "a.yaml")

    assert result.exit_code == 2
    assert result.stderr == "error: 2 mistakes; nothing was run\n  a.yaml:3: time.shard: wrong\n  a.yaml:9: outputs: missing\n"


def test_an_unexpected_error_is_one_line_that_names_the_file_with_the_traceback(launched, monkeypatch, tmp_path, raypipe):
    def fail(observer, stop):
        raise ZeroDivisionError("division \x1b[2Jby zero")

    launched.while_running = fail
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    result = raypipe("run", "pipeline.yaml")

    assert result.exit_code == 70
    assert result.stderr.startswith("error: unexpected ZeroDivisionError: division \\x1b[2Jby zero (this is a bug of raypipe")
    assert result.stderr.count("\n") == 1
    (written,) = tmp_path.glob("raypipe-error-*.txt")
    assert str(written) in result.stderr
    assert "Traceback" in written.read_text()


def test_verbose_shows_the_traceback(launched, monkeypatch, tmp_path, raypipe):
    def fail(observer, stop):
        raise ZeroDivisionError

    launched.while_running = fail
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    assert "Traceback" in raypipe("run", "pipeline.yaml", "-v").stderr


def test_several_pipelines_give_one_document_and_the_worst_exit_code(launched, closing, failure, raypipe):
    ends = [closing("failed", failed=1, failures=(failure,)), closing()]

    def next_end(observer, stop):
        launched.closed = ends[len(launched.asks) - 1]

    launched.while_running = next_end

    result = raypipe("run", "a.yaml", "b.yaml", "--json")

    assert result.exit_code == 1
    assert [one["status"] for one in json.loads(result.stdout)["runs"]] == ["failed", "done"]


def test_a_mistake_in_the_second_pipeline_means_that_the_first_was_not_run(launched, monkeypatch, raypipe):
    def load(target, **options):
        if target == "b.yaml":
            raise ConfigurationError("b.yaml:1: name: missing")
        return launched.pipeline

    monkeypatch.setattr(launch, "load", load)

    assert raypipe("run", "a.yaml", "b.yaml").exit_code == 2
    assert launched.asks == []


def test_an_interrupted_pipeline_keeps_the_next_one_from_starting(launched, closing, raypipe):
    def interrupted(observer, stop):
        stop.signal = "SIGINT"
        launched.closed = closing("interrupted")

    launched.while_running = interrupted

    assert raypipe("run", "a.yaml", "b.yaml").exit_code == 130
    assert len(launched.asks) == 1


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_run_that_was_stopped_at_once_has_the_exit_code_of_its_signal(launched, raypipe, name, code):
    def stopped(observer, stop):
        stop.signal = name
        raise Interrupted("stopped at once")

    launched.while_running = stopped

    assert raypipe("run", "pipeline.yaml").exit_code == code


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_the_run_to_stop_and_the_second_to_stop_at_once(launched, raypipe, number):
    seen = []

    def work(observer, stop):
        for _ in range(2):
            os.kill(os.getpid(), number)
            time.sleep(0.01)  # a signal is delivered between two steps of the interpreter
            seen.append((stop.signal, stop.at_once))

    launched.while_running = work
    before = signal.getsignal(number)

    raypipe("run", "pipeline.yaml")

    assert seen == [(number.name, False), (number.name, True)]
    assert signal.getsignal(number) is before


def test_the_events_of_a_run_are_logged_beside_the_destination(launched, raypipe, tmp_path, closing):
    def work(observer: object, stop: object) -> None:
        observer.on(RunOpened("flights", "r1", 1, "inline"))
        observer.on(launched.closed)

    launched.while_running = work

    raypipe("run", "pipeline.yaml")

    lines = (tmp_path / "flights.duckdb.raypipe" / "logs" / "r1.jsonl").read_text().splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["RunOpened", "RunClosed"]
    assert not [one.path for one in psutil.Process().open_files() if one.path.endswith("r1.jsonl")]


def test_a_log_that_cannot_be_written_is_told_and_stops_nothing(launched, raypipe, tmp_path):
    (tmp_path / "flights.duckdb.raypipe").write_text("a file where a folder should be")
    launched.while_running = lambda observer, stop: observer.on(RunOpened("flights", "r1", 1, "inline"))

    result = raypipe("run", "pipeline.yaml")

    assert result.exit_code == 0
    assert "Log stopped watching the run" in result.stderr


# ---- backfill -----------------------------------------------------------------------------------------------


def test_a_backfill_of_a_range_is_atomic_and_forces_all_its_shards(launched, raypipe):
    raypipe("backfill", "pipeline.yaml", "--start", "2013-01-01", "--end", "2013-01-02")

    (ask,) = launched.asks
    assert (ask.kind, ask.scope, ask.publish) == (RunKind.BACKFILL, Scope.ALL, "atomic")
    assert (ask.start_us, ask.end_us) == (MADRID_NEW_YEAR_US, MADRID_NEW_YEAR_US + 24 * HOUR_US)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--shards", "3:5"], {"scope": Scope.ALL, "shards": (3, 5)}),
        (["--failed"], {"scope": Scope.FAILED}),
        (["--stale"], {"scope": Scope.STALE}),
        (["--held"], {"scope": Scope.HELD}),
        (["--gaps", "--publish", "shard"], {"scope": Scope.GAPS, "publish": "shard"}),
        (["--failed", "--accept-shrunk", "--executor", "ray", "--address", "h:1"],
         {"scope": Scope.FAILED, "accept_shrunk": True, "executor": "ray", "address": "h:1"}),
    ],
)  # fmt: skip
def test_each_way_to_say_the_range_becomes_one_ask(launched, raypipe, options, expected):
    assert raypipe("backfill", "pipeline.yaml", *options).exit_code == 0

    assert launched.asks == [launch.Ask(**{"kind": RunKind.BACKFILL, "publish": "atomic", **expected})]


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--failed", "--gaps"],
        ["--stale", "--held"],
        ["--shards", "1:2", "--start", "2013-01-01", "--end", "2013-01-02"],
        ["--start", "2013-01-01"],
    ],
)
def test_a_backfill_needs_exactly_one_whole_range(launched, raypipe, options):
    result = raypipe("backfill", "pipeline.yaml", *options)

    assert result.exit_code == 2
    assert "exactly one way" in result.stderr
    assert launched.loads == []


@pytest.mark.parametrize("shards", ["5:3", "3:3", "3", "a:b", "-1:2", "1:2:3", "١:٢"])
def test_a_range_of_shards_that_makes_no_sense_is_a_usage_error(launched, raypipe, shards):
    assert raypipe("backfill", "pipeline.yaml", f"--shards={shards}").exit_code == 2
    assert launched.asks == []


def test_a_dry_run_shows_the_plan_and_runs_nothing(launched, shards, monkeypatch, raypipe):
    launched.shards = shards
    monkeypatch.setattr(launch, "run", None)

    result = raypipe("backfill", "pipeline.yaml", "--shards", "0:20", "--dry-run")

    assert result.exit_code == 0
    assert "20 shards to do" in result.stdout


def test_an_interrupted_backfill_is_told_how_to_go_on_with_the_same_range(launched, closing, raypipe):
    launched.closed = closing("interrupted")

    result = raypipe("backfill", "pipeline.yaml", "--shards", "0:3")

    assert "raypipe backfill pipeline.yaml --start 2013-01-01T00:00:00Z --end 2013-01-04T00:00:00Z" in result.stdout


def test_a_shrunk_source_is_told_how_to_be_accepted(launched, closing, failure, raypipe):
    launched.closed = closing("failed", failures=(dataclasses.replace(failure, code="source_shrunk"),))

    assert "--accept-shrunk" in raypipe("run", "pipeline.yaml").stdout
