"""`run` and `backfill` over real files and a real DuckDB file: races, resumption, publication, stopping."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest
import yaml

from raypipe import launch
from raypipe.core import events as ev
from raypipe.core.plan import Scope
from raypipe.core.shard import Reason
from raypipe.core.state import RunKind
from raypipe.destinations.duckdb import DuckDBFile
from raypipe.engine.deduplicate import DeduplicateStep
from raypipe.errors import ConfigurationError, Fenced, InDoubt, UsageError
from raypipe.launch import Ask, StopFlag
from raypipe.launch.parts import Parts
from raypipe.launch.run_verb import holder, new_run_id
from raypipe.pipeline import Deduplicate
from raypipe.runtime.system_clock import SystemClock

pytestmark = pytest.mark.slow  # whole runs on real files

ROOT = Path(__file__).parents[2]
WHOLE = [(1, 3, 6), (2, 3, 6), (3, 3, 6), (4, 3, 6)]
BACKFILL = Ask(kind=RunKind.BACKFILL, scope=Scope.ALL, publish="atomic")


@pytest.mark.parametrize("own_process", [True, False])
def test_a_process_of_its_own_keeps_no_freed_memory_and_one_of_others_is_left_as_it_is(place, monkeypatch, own_process):
    told = []
    monkeypatch.setattr("raypipe.system_memory.give_back_freed_memory", lambda: told.append(1))
    parts = Parts(place.pipeline, SystemClock(), own_process=own_process)
    parts.worker(64 * 1024**2).close()
    assert len(told) == own_process


def test_a_step_that_holds_rows_knows_how_many_the_index_counted(place, monkeypatch):
    expected = []
    stream = DeduplicateStep.stream

    def spied(*arguments, rows_expected=0, **options):
        expected.append(rows_expected)
        return stream(*arguments, rows_expected=rows_expected, **options)

    monkeypatch.setattr(DeduplicateStep, "stream", spied)
    place.pipeline = replace(place.pipeline, transform=(Deduplicate(key=("n",)),))
    assert place.run().closed.rows.read == 12
    assert sum(expected) == 12


# ---- one run ----------------------------------------------------------------------------------------------


def test_a_run_fills_the_tables_and_says_how(place):
    report = place.run()
    assert place.totals() == WHOLE
    assert report.exit_code == 0
    assert (report.closed.planned, report.closed.committed, report.closed.rows.read) == (4, 4, 12)
    assert report.tables == {"clean": 12, "daily": 4}
    assert re.fullmatch(r"4 shards, [\d.]+ k?B: inline, \d+ threads?", report.executor)
    assert report.bytes_read <= report.bytes_input
    assert place.proven()


def test_a_second_run_has_nothing_to_do_and_changes_no_byte_but_that_it_remembers_so(place, told):
    place.run()
    before = place.bytes_of_all_files()
    report = place.run(told=told)
    assert (report.closed.status, report.closed.planned, report.tables) == ("done", 0, {})
    after = place.bytes_of_all_files()
    assert after.pop("out.duckdb.raypipe/index/events/settled.json")
    assert after == before
    assert [type(event) for event in told.events] == [ev.Planned, ev.RunClosed]


def test_a_third_run_knows_that_nothing_is_to_be_done_and_sees_what_has_changed_since(place, told, monkeypatch):
    for _ in range(2):
        place.run()
    with monkeypatch.context() as patch:
        patch.setattr(DuckDBFile, "snapshot", lambda self: pytest.fail("the live ranges are not asked for"))
        report = place.run()
        assert (report.closed.status, report.closed.planned) == ("done", 0)
        assert report.closed.watermark_us == place.window(3).end_us
    place.day(2, (10, 20))
    place.run(told=told)
    assert [(shard.index, shard.reason) for shard in told.of(ev.Planned)[0].shards] == [(2, Reason.LATE)]
    place.run()
    with duckdb.connect(str(place.out)) as connection:
        connection.execute("DELETE FROM _raypipe.live WHERE output = 'daily' AND lo = TIMESTAMP '2026-01-02'")
    assert place.run().closed.planned == 1, "who changes the state by hand is answered too"


def test_nothing_of_the_work_is_left_behind(place, no_stage_is_left):
    place.run()
    assert no_stage_is_left()
    assert not Path(f"{place.stage}.spill").exists()


def test_what_changed_is_done_again_and_nothing_else(place, told):
    place.run()
    place.day(2, (10, 20))
    report = place.run(told=told)
    assert [(shard.index, shard.reason) for shard in told.of(ev.Planned)[0].shards] == [(2, Reason.LATE)]
    assert report.closed.committed == 1
    assert place.totals() == [(1, 3, 6), (2, 3, 6), (3, 2, 30), (4, 3, 6)]


def test_a_file_that_is_cut_off_fails_the_run_by_name_and_the_next_run_repairs_it(place):
    place.run()
    path = place.folder / "day2.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    os.utime(path, (10**9, 10**9 + 77))
    report = place.run()
    assert report.exit_code == 1
    assert [failure.window for failure in report.closed.failures] == [place.window(2)]
    assert str(path) in report.closed.failures[0].error
    assert place.totals() == WHOLE
    place.day(2, (5,))
    assert place.run().exit_code == 0
    assert place.totals()[2] == (3, 1, 5)
    assert launch.status(place.pipeline).snapshot.failed == ()


def test_a_shard_that_fails_leaves_the_others_committed_and_is_done_by_the_next_run(place, told):
    body = "    if 99 in rows.select('n').collect()['n']:\n        raise ValueError('ninety-nine')\n    return rows\n"
    pipeline = place.step(body)
    place.day(1, (99,))
    report = place.run(pipeline=pipeline)
    assert (report.closed.status, report.closed.committed) == ("failed", 3)
    assert "ninety-nine" in report.closed.failures[0].error
    assert [window for window, _ in [(one.window, one) for one in launch.status(pipeline).snapshot.failed]] == [place.window(1)]
    place.day(1, (98,))
    assert place.run(pipeline=pipeline, told=told).exit_code == 0
    assert [(shard.index, shard.reason) for shard in told.of(ev.Planned)[0].shards] == [(1, Reason.FAILED)]
    assert launch.status(pipeline).snapshot.failed == ()


def test_a_mistake_that_only_an_engine_finds_opens_no_run(place):
    with pytest.raises(ConfigurationError):
        place.run(pipeline=place.step("    return rows.not_a_method(\n"))
    assert not place.out.exists()


def test_a_destination_whose_folder_is_missing_is_refused(place):
    pipeline = replace(
        place.pipeline, destination=replace(place.pipeline.destination, path=str(place.folder / "no" / "out.duckdb"))
    )
    with pytest.raises(UsageError, match="does not exist"):
        place.run(pipeline=pipeline)
    assert not (place.folder / "no").exists()


def test_run_ids_sort_by_time_and_differ_at_the_same_moment():
    ids = {new_run_id(SystemClock()) for _ in range(50)}
    assert len(ids) == 50
    assert all(re.fullmatch(r"\d{8}T\d{6}-[0-9a-f]{8}", one) for one in ids)


# ---- races ------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_claims")
@pytest.mark.parametrize("moment", [ev.Planned, ev.TaskEnded])  # before the run opens, and before it commits
def test_whichever_of_two_runs_commits_first_the_other_finds_its_work_done(place, told, moment):
    told.when(moment, lambda event: place.run())
    report = place.run(told=told)
    assert (report.closed.status, report.closed.committed, report.closed.skipped) == ("done", 0, 4)
    assert place.totals() == WHOLE
    assert place.query("SELECT outcome, count(*) FROM _raypipe.shards GROUP BY ALL ORDER BY ALL") == [
        ("loaded", 4),
        ("satisfied", 4),
    ]
    assert [state for _, state in place.runs()] == ["done", "done"]
    assert place.proven()


@pytest.mark.usefixtures("no_claims")
def test_a_run_that_loses_a_race_brings_what_came_after_the_other_had_read(place, told):
    def other(event):
        place.run()
        place.day(3, (100,))

    told.when(ev.TaskEnded, other)
    report = place.run(told=told)
    assert (report.closed.status, report.closed.committed, report.closed.skipped) == ("done", 1, 3)
    assert place.totals() == [*WHOLE[:3], (4, 1, 100)]
    assert place.proven()


@pytest.mark.usefixtures("no_claims")
def test_a_run_over_a_part_that_another_run_takes_meanwhile_does_the_rest(place, told):
    part = Ask(start_us=place.window(1).start_us, end_us=place.window(2).end_us)
    told.when(ev.TaskEnded, lambda event: place.run(part))
    report = place.run(told=told)
    assert (report.closed.committed, report.closed.skipped) == (2, 2)
    assert place.totals() == WHOLE


def test_a_run_that_is_cancelled_is_fenced_with_3_and_nothing_of_it_lands(place, told):
    told.when(ev.TaskEnded, lambda event: launch.cancel(place.pipeline, None))
    with pytest.raises(Fenced) as raised:
        place.run(told=told)
    assert raised.value.exit_code == 3
    assert [state for _, state in place.runs()] == ["cancelled"]
    assert place.query("SELECT count(*) FROM _raypipe.live") == [(0,)]
    assert place.run().exit_code == 0
    assert place.totals() == WHOLE


# ---- lost answers -----------------------------------------------------------------------------------------


def test_a_commit_whose_answer_is_lost_is_found_in_the_ledger(place, told, monkeypatch):
    monkeypatch.setattr("raypipe.runtime.settling.SETTLE_WAIT_S", 0.0)
    monkeypatch.setattr("raypipe.destinations.duckdb.hit", lose_answers(1))
    report = place.run(told=told)
    assert (report.exit_code, report.closed.committed) == (0, 4)
    assert [event.text for event in told.of(ev.Warned)] == ["the answer to COMMIT was lost: reset; trying again"]
    assert place.totals() == WHOLE


def test_a_commit_whose_answer_is_always_lost_is_in_doubt_and_the_next_run_finds_it_done(place, monkeypatch):
    monkeypatch.setattr("raypipe.runtime.settling.SETTLE_WAIT_S", 0.0)
    with monkeypatch.context() as patched:
        lost = lose_answers(1000)
        patched.setattr("raypipe.destinations.duckdb.hit", lost)
        patched.setattr("raypipe.destinations.duckdb_commit.decide_commit", never_already)
        with pytest.raises(InDoubt) as raised:
            place.run()
    assert raised.value.exit_code == 4
    assert place.run().closed.planned == 0
    assert place.totals() == WHOLE


def lose_answers(times):
    left = [times]

    def hit(point):
        if point == "commit.after_commit_before_ack" and left[0]:
            left[0] -= 1
            raise OSError("reset")

    return hit


def never_already(request, facts):
    """The destination answers what it knows, and the answer is lost each time."""
    from raypipe.core.commit import decide_commit
    from raypipe.errors import CommitUnknown

    if facts.already:
        raise CommitUnknown("the answer was lost again")
    return decide_commit(request, facts)


# ---- backfills --------------------------------------------------------------------------------------------


def change_all(place):
    for day in range(4):
        place.day(day, (day, day))


def test_a_backfill_of_a_range_replaces_it_and_nothing_else(place):
    place.run()
    change_all(place)
    ask = replace(BACKFILL, shards=(1, 3))
    report = place.run(ask)
    assert (report.closed.planned, report.closed.committed) == (2, 2)
    assert place.totals() == [(1, 3, 6), (2, 2, 2), (3, 2, 4), (4, 3, 6)]


def test_an_atomic_backfill_with_a_failing_shard_changes_nothing(place):
    body = "    if rows.select('n').collect()['n'].to_list() == [2, 2]:\n        raise ValueError('two')\n    return rows\n"
    place.run()
    change_all(place)
    report = place.run(BACKFILL, pipeline=place.step(body))
    assert (report.exit_code, report.closed.committed, report.closed.failed, report.closed.skipped) == (1, 0, 1, 3)
    assert place.totals() == WHOLE


def test_with_publish_shard_the_shards_of_a_backfill_that_succeed_are_there(place):
    body = "    if rows.select('n').collect()['n'].to_list() == [2, 2]:\n        raise ValueError('two')\n    return rows\n"
    place.run()
    change_all(place)
    report = place.run(replace(BACKFILL, publish="shard"), pipeline=place.step(body))
    assert (report.exit_code, report.closed.committed, report.closed.failed) == (1, 3, 1)
    assert place.totals() == [(1, 2, 0), (2, 2, 2), (3, 3, 6), (4, 2, 6)]


@pytest.mark.usefixtures("no_claims")
def test_an_atomic_backfill_that_loses_one_shard_to_another_run_is_planned_again_whole(place, told):
    place.run()
    change_all(place)

    def other(event):
        place.day(0, (7,))
        place.run(Ask(end_us=place.window(0).end_us))

    told.when(ev.TaskEnded, other)
    report = place.run(BACKFILL, told=told)
    assert report.exit_code == 0
    assert place.totals() == [(1, 1, 7), (2, 2, 2), (3, 2, 4), (4, 2, 6)]
    commits = place.query("SELECT seq, count(*) FROM _raypipe.shards GROUP BY ALL ORDER BY ALL")
    assert commits == [(1, 4), (2, 1), (3, 4)]
    assert len(told.of(ev.Planned)) == 2
    assert place.proven()


def test_a_reader_sees_all_of_an_atomic_backfill_or_nothing(place, told, shards_a_task):
    shards_a_task(1)
    place.run()
    change_all(place)
    seen = []
    for kind in (ev.RunOpened, *[ev.TaskStarted] * 4, *[ev.TaskEnded] * 4, ev.GroupCommitted):
        told.when(kind, lambda event: seen.append(place.totals()))
    place.run(BACKFILL, told=told)
    assert len(seen) == 10
    assert seen[:-1] == [WHOLE] * 9
    assert seen[-1] == [(1, 2, 0), (2, 2, 2), (3, 2, 4), (4, 2, 6)]


def test_gaps_and_failed_shards_are_backfilled_by_their_names(place):
    place.run(Ask(end_us=place.window(0).end_us))
    place.run(Ask(start_us=place.window(3).start_us))
    report = place.run(replace(BACKFILL, scope=Scope.GAPS))
    assert report.closed.committed == 2
    assert place.totals() == WHOLE
    assert place.run(replace(BACKFILL, scope=Scope.FAILED)).closed.planned == 0


# ---- resumption -------------------------------------------------------------------------------------------


def test_work_that_a_killed_run_had_staged_is_taken_over_and_not_read_again(place, told, killed, no_stage_is_left):
    killed()
    report = place.run(told=told)
    assert (report.exit_code, report.closed.committed, report.closed.rows.read) == (0, 4, 12)
    assert told.of(ev.TaskStarted) == []
    (adopted,) = told.of(ev.Adopted)
    assert sorted(result.window for one in adopted.ended for result in one.results) == [place.window(day) for day in range(4)]
    assert place.totals() == WHOLE
    assert place.proven()
    launch.gc(place.pipeline)


@pytest.mark.parametrize("change", ["file", "input", "definition", "observed"])
def test_staged_work_that_is_not_right_any_more_is_done_again(place, told, killed, monkeypatch, shards_a_task, change):
    shards_a_task(2)  # days 0 and 1 in one task, 2 and 3 in the other
    killed()
    pipeline = place.pipeline
    if change == "file":
        path = next(place.stage.glob("*/000001-*/clean.parquet"))
        path.write_bytes(path.read_bytes()[:-1])
    elif change == "input":
        place.day(0, (5,))
    elif change == "observed":
        with monkeypatch.context() as patched:
            patched.setattr("raypipe.engine.stage_store.StagedFiles.adopt", lambda self, shards, *rest: ((), shards))
            place.run(Ask(end_us=place.window(0).end_us))
        place.day(0, (5,))
    else:
        pipeline = replace(pipeline, outputs=(pipeline.outputs[0], replace(pipeline.outputs[1], sql=f"{COUNTS_OF} HAVING true")))
    report = place.run(pipeline=pipeline, told=told)
    assert report.exit_code == 0
    done_again = sorted(shard.index for event in told.of(ev.TaskStarted) for shard in event.task.shards)
    assert done_again == ([0, 1, 2, 3] if change == "definition" else [0, 1])
    first = (1, 1, 5) if change in ("input", "observed") else WHOLE[0]
    assert place.totals() == [first, *WHOLE[1:]]
    assert place.proven()


COUNTS_OF = "SELECT date_trunc('day', ts) AS day, count(*) AS events, sum(n) AS total FROM rows GROUP BY ALL"


def test_two_runs_that_take_over_the_same_work_do_not_disturb_each_other(place, told, killed):
    killed()
    told.when(ev.Adopted, lambda event: place.run())
    report = place.run(told=told)
    assert (report.closed.status, report.closed.skipped) == ("done", 4)
    assert place.totals() == WHOLE
    assert place.proven()


def test_a_run_that_was_stopped_is_finished_by_the_next(place, told, monkeypatch, shards_a_task):
    shards_a_task(1)
    monkeypatch.setattr("raypipe.launch.run_verb.cores", lambda: 2)
    monkeypatch.setattr("raypipe.runtime.driver.AHEAD", 1)
    stop = StopFlag()
    told.when(ev.TaskStarted, lambda event: setattr(stop, "signal", "SIGTERM"))
    report = place.run(told=told, stop=stop)
    assert (report.closed.status, report.exit_code) == ("terminated", 143)
    assert (report.closed.committed, report.closed.skipped) == (2, 2)
    assert place.run().closed.committed == 2
    assert place.totals() == WHOLE


# ---- a process that is told to end ------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_second_signal_ends_a_process_whose_task_hangs_without_a_traceback(place, number, code):
    config = place.folder / "events.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "name": "events",
                "time": {"column": "ts", "start": "2026-01-01", "end": "2026-01-05", "shard": "1d"},
                "source": {"kind": "files", "path": "*.parquet", "format": "parquet"},
                "outputs": [{"table": "clean", "rows": "all"}],
                "destination": {"kind": "duckdb", "path": "out.duckdb"},
            }
        )
    )
    arm = {"RAYPIPE_TESTING": "1", "RAYPIPE_FAILPOINTS": "task.mid_read=hang"}
    command = [sys.executable, "-m", "raypipe", "run", str(config), "--executor", "inline"]
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **arm}, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if "4 shards" in line:
            break
    time.sleep(0.3)
    process.send_signal(number)
    assert "no new shards" in process.stderr.readline()
    process.send_signal(number)
    told = process.communicate(timeout=120)[1]
    assert process.returncode == code, told
    assert "Traceback" not in told
    assert "stopped at once; what is committed and staged is kept: run again to resume" in told
    assert place.run().exit_code == 0
    assert [state for _, state in place.runs()] == ["failed", "done"]  # its holder is dead, so the next run closed it


def test_a_holder_names_host_process_and_its_start():
    assert re.fullmatch(rf".+:{os.getpid()}:\d+\.\d\d", holder())
