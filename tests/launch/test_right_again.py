"""Tables stay right: late and held input, lost files, changed definitions, added outputs, other widths of shards."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from raypipe import accept, launch
from raypipe.core.calendar import parse_width
from raypipe.core.events import Planned
from raypipe.core.plan import Scope
from raypipe.core.shard import Reason
from raypipe.core.state import RunKind
from raypipe.launch import Ask
from raypipe.pipeline import Pipeline, Ready, SqlOutput

pytestmark = pytest.mark.slow  # whole runs on real files

DAY_US = 86_400_000_000
LOW = SqlOutput(table="low", sql="SELECT min(n) AS least FROM rows")


def backfill(scope: Scope, **more: Any) -> Ask:
    return Ask(kind=RunKind.BACKFILL, scope=scope, publish="atomic", **more)


def committed(place: Any, ask: Ask | None = None, pipeline: Pipeline | None = None) -> list[Any]:
    """Run, and return the numbers of the days whose shards were committed, with their outputs."""
    before = place.query("SELECT max(seq) FROM _raypipe.shards")[0][0] if place.out.exists() else 0
    done = f"seq > {before or 0} AND outcome IN ('loaded', 'empty')"
    report = place.run(ask, pipeline=pipeline)
    assert report.closed.status == "done", report.closed.failures
    return place.query(f"SELECT day(lo), outputs FROM _raypipe.shards WHERE {done} ORDER BY lo")


def days(entries: list[Any]) -> list[int]:
    return [day for day, _ in entries]


def unproven(pipeline: Pipeline) -> list[str]:
    """What `verify --source` finds wrong."""
    return [f"{one.name}: {one.detail}" for one in [*launch.verify(pipeline), *launch.recompute(pipeline)] if not one.ok]


# ---- late and held ----------------------------------------------------------------------------------------


def test_late_input_below_the_bound_is_held_and_a_backfill_takes_it_in(place):
    patient = replace(place.pipeline, time=replace(place.pipeline.time, lateness_us=2 * DAY_US))
    committed(place, pipeline=patient)
    place.day(0, (9, 9, 9, 9))
    place.day(2, (5, 5))

    assert days(committed(place, pipeline=patient)) == [3]

    status = launch.status(patient)
    assert [window for window, _ in status.held] == [place.window(0)]
    assert "further below the watermark than time.lateness" in status.held[0][1]
    assert status.late == ()
    assert [window for window, _ in launch.plan(patient, Ask()).plan.held] == [place.window(0)]
    assert place.totals() == [(1, 3, 6), (2, 3, 6), (3, 2, 10), (4, 3, 6)]

    assert [one.reason for one in launch.plan(patient, backfill(Scope.HELD)).plan.shards] == [Reason.LATE]
    assert days(committed(place, backfill(Scope.HELD), patient)) == [1]
    assert place.totals() == [(1, 4, 36), (2, 3, 6), (3, 2, 10), (4, 3, 6)]
    assert launch.status(patient).held == ()
    assert place.proven()


def test_a_run_tells_what_it_leaves_to_a_backfill(place, told):
    patient = replace(place.pipeline, time=replace(place.pipeline.time, lateness_us=0))
    committed(place, pipeline=patient)
    place.day(0, (9,))

    report = place.run(pipeline=patient, told=told)

    assert report.closed.planned == 0
    (remark,) = told.of(Planned)[0].remarks
    assert remark.startswith("1 live range from 2026-01-01T00:00:00Z to 2026-01-02T00:00:00Z: late, and held")
    assert remark in report.warnings


# ---- ready ------------------------------------------------------------------------------------------------


def test_a_shard_waits_for_its_files_and_others_do_not_wait_for_it(place):
    waiting = replace(place.pipeline, source=replace(place.pipeline.source, ready=Ready(files=2)))
    for day in (1, 2, 3):
        place.day(day, (4,), name=f"more{day}.parquet")

    assert days(committed(place, pipeline=waiting)) == [2, 3, 4]
    assert launch.status(waiting).waiting == (place.window(0),)

    place.day(0, (4,), name="more0.parquet")
    assert committed(place, pipeline=waiting) == [(1, '["clean", "daily"]')]
    assert launch.status(waiting).waiting == ()


def test_a_file_counts_once_the_marker_stands_beside_it(place):
    source = replace(place.pipeline.source, paths=(f"{place.folder}/*/*",), ready=Ready(marker="_SUCCESS"))
    waiting = replace(place.pipeline, source=source)
    for day in range(4):
        (place.folder / f"part{day}").mkdir()
        place.day(day, name=f"part{day}/rows.parquet")
        if day != 1:
            (place.folder / f"part{day}/_SUCCESS").touch()

    assert days(committed(place, pipeline=waiting)) == [1, 3, 4]

    (place.folder / "part1/_SUCCESS").touch()
    assert days(committed(place, pipeline=waiting)) == [2]
    assert place.totals() == [(1, 3, 6), (2, 3, 6), (3, 3, 6), (4, 3, 6)]


def test_a_backfill_covers_an_hour_that_never_had_a_file(place):
    waiting = replace(place.pipeline, source=replace(place.pipeline.source, ready=Ready()))
    (place.folder / "day1.parquet").unlink()
    assert days(committed(place, pipeline=waiting)) == [1, 3, 4]
    first, last = place.window(1).start_us, place.window(1).end_us

    assert days(committed(place, backfill(Scope.ALL, start_us=first, end_us=last), waiting)) == [2]

    assert launch.status(waiting).waiting == ()


# ---- files that are gone ----------------------------------------------------------------------------------


def test_a_lost_file_fails_its_shard_until_it_is_accepted_and_the_rows_stay(place):
    committed(place)
    lost = place.folder / "day1.parquet"
    content = lost.read_bytes()
    lost.unlink()
    report = place.run()
    assert [(one.window, one.code) for one in report.closed.failures] == [(place.window(1), "source_shrunk")]
    assert [one.code for one in launch.status(place.pipeline).failed] == ["source_shrunk"]

    accepted = accept(place.pipeline, "shrunk")

    assert (accepted.accepted, accepted.conflicts) == ((place.window(1),), ())
    assert place.run().closed.planned == 0
    assert launch.status(place.pipeline).failed == ()
    assert place.totals() == [(1, 3, 6), (2, 3, 6), (3, 3, 6), (4, 3, 6)]
    assert accept(place.pipeline, "shrunk").run_id is None
    assert place.proven()

    lost.write_bytes(content)  # and when it comes back, that is late input as any other
    assert days(committed(place)) == [2]
    assert place.proven()


def test_files_that_are_gone_for_a_while_and_come_back_leave_nothing_to_do(place):
    source = replace(place.pipeline.source, ready=Ready(marker="_SUCCESS"))
    pipeline = replace(place.pipeline, source=source)
    (place.folder / "_SUCCESS").touch()
    committed(place, pipeline=pipeline)
    (place.folder / "_SUCCESS").unlink()
    assert len(place.run(pipeline=pipeline).closed.failures) == 4
    (place.folder / "_SUCCESS").touch()

    assert place.run(pipeline=pipeline).closed.planned == 0
    assert launch.status(pipeline).failed == ()


def test_only_the_window_that_was_named_is_accepted(place):
    committed(place)
    for day in (1, 2):
        (place.folder / f"day{day}.parquet").unlink()

    accepted = accept(place.pipeline, "shrunk", place.window(1))

    assert accepted.accepted == (place.window(1),)
    assert [one.window for one in place.run().closed.failures] == [place.window(2)]


# ---- changed definitions ----------------------------------------------------------------------------------


def changed(place: Any) -> Pipeline:
    """The pipeline with another SQL for the table `daily`, which gives the same rows."""
    clean, daily = place.pipeline.outputs
    return replace(place.pipeline, outputs=(clean, replace(daily, sql=daily.sql.replace("sum(n)", "sum(n + 0)"))))


def test_a_changed_output_is_stale_with_the_reason_and_new_shards_use_it(place, told):
    first = replace(place.pipeline, time=replace(place.pipeline.time, end_us=place.window(0, 3).end_us))
    committed(place, pipeline=first)

    report = place.run(pipeline=changed(place), told=told)

    assert report.closed.committed == 1
    assert "3 live ranges from 2026-01-01T00:00:00Z to 2026-01-04T00:00:00Z: made by an older definition" in report.warnings[0]
    status = launch.status(changed(place))
    assert status.stale == tuple((place.window(day), "daily (output)") for day in range(3))
    assert launch.plan(changed(place), Ask()).plan.stale == status.stale


def test_a_backfill_redoes_what_is_stale_and_no_more(place):
    committed(place)
    now = changed(place)
    committed(place, backfill(Scope.ALL, start_us=place.window(1).start_us, end_us=place.window(1).end_us), now)

    assert {one.reason for one in launch.plan(now, backfill(Scope.STALE)).plan.shards} == {Reason.STALE}
    assert days(committed(place, backfill(Scope.STALE), now)) == [1, 3, 4]

    assert launch.status(now).stale == ()
    assert place.run(backfill(Scope.STALE), pipeline=now).closed.planned == 0
    assert place.proven()


def test_what_is_accepted_is_not_stale_any_more_and_no_row_changes(place):
    committed(place)
    now = changed(place)
    before = place.query("SELECT * FROM daily ORDER BY ALL")

    accepted = accept(now, "stale", place.window(0, 2))

    assert accepted.accepted == (place.window(0), place.window(1))
    assert [window for window, _ in launch.status(now).stale] == [place.window(2), place.window(3)]
    assert place.query("SELECT * FROM daily ORDER BY ALL") == before
    assert place.proven()
    assert place.query("SELECT kind, state FROM _raypipe.runs WHERE kind = 'accept'") == [("accept", "done")]
    assert days(committed(place, backfill(Scope.STALE), now)) == [3, 4]
    assert accept(now, "stale").run_id is None
    assert place.proven()
    # The old text again is another change: what was accepted says nothing of it.
    place.run(backfill(Scope.ALL, start_us=place.window(0).start_us, end_us=place.window(0).end_us))
    assert [window for window, _ in launch.status(place.pipeline).stale] == [place.window(1), place.window(2), place.window(3)]


def test_a_shard_that_was_accepted_meanwhile_cannot_go_back_to_the_older_definition(place):
    """The old definition's run computed the shard; the accept came first; its commit is superseded and changes nothing."""
    committed(place)
    now = changed(place)
    old = place.pipeline

    class Meanwhile:
        def on(self, event: Any) -> None:
            if type(event).__name__ == "TaskEnded":
                accept(now, "stale")

    report = place.run(backfill(Scope.ALL), pipeline=old, told=Meanwhile())

    assert (report.closed.committed, report.closed.skipped) == (0, 4)
    assert launch.status(now).stale == ()


# ---- added outputs ----------------------------------------------------------------------------------------


def with_low(place: Any) -> Pipeline:
    return replace(place.pipeline, outputs=(*place.pipeline.outputs, LOW))


def test_an_added_table_is_filled_alone_and_the_accounts_stay_right(place):
    committed(place)
    live = place.query("SELECT output, lo, seq FROM _raypipe.live ORDER BY ALL")
    more = with_low(place)

    plan = launch.plan(more, Ask()).plan
    assert {(one.reason, one.outputs) for one in plan.shards} == {(Reason.NEW, ("low",))}
    assert committed(place, pipeline=more) == [(day, '["low"]') for day in (1, 2, 3, 4)]

    assert place.query("SELECT output, lo, seq FROM _raypipe.live WHERE output <> 'low' ORDER BY ALL") == live
    assert place.query("SELECT count(*), min(least) FROM low") == [(4, 1)]
    status = launch.status(more)
    assert status.snapshot.accounts.read == status.snapshot.accounts.loaded == 12
    assert status.coverage == (place.window(0, 4),)
    assert status.snapshot.watermark_us == place.window(3).end_us
    assert unproven(more) == []
    assert place.run(pipeline=more).closed.planned == 0


def test_late_input_and_new_shards_are_done_for_the_added_table_and_the_others_together(place):
    first = replace(place.pipeline, time=replace(place.pipeline.time, end_us=place.window(0, 3).end_us))
    committed(place, pipeline=first)
    place.day(1, (7, 7))
    more = with_low(place)

    assert committed(place, pipeline=more) == [
        (1, '["low"]'), (2, '["clean", "daily", "low"]'), (3, '["low"]'), (4, '["clean", "daily", "low"]'),
    ]  # fmt: skip
    place.day(0, (8,))
    assert committed(place, pipeline=more) == [(1, '["clean", "daily", "low"]')]

    assert place.totals() == [(1, 1, 8), (2, 2, 14), (3, 3, 6), (4, 3, 6)]
    assert place.query("SELECT least FROM low ORDER BY _shard") == [(8,), (7,), (1,), (1,)]
    assert unproven(more) == []


def test_an_added_table_keeps_to_the_ranges_that_the_others_have(place):
    committed(place)
    weekly = replace(with_low(place), time=replace(place.pipeline.time, shard=parse_width("1w")))

    assert committed(place, pipeline=weekly) == [(day, '["low"]') for day in (1, 2, 3, 4)]

    assert unproven(weekly) == []


def test_a_check_of_another_table_does_not_stand_in_the_way_of_an_added_one(place):
    committed(place)
    clean, daily = place.pipeline.outputs
    broken = replace(daily, sql="SELECT CAST('no' AS DATE) AS day, 1 AS events, 1 AS total")
    more = replace(place.pipeline, outputs=(clean, broken, LOW))

    assert committed(place, pipeline=more) == [(day, '["low"]') for day in (1, 2, 3, 4)]
    assert {why for _, why in launch.status(more).stale} == {"daily (output)"}


def test_rows_in_quarantine_are_there_once_after_a_table_was_added(place):
    from raypipe.pipeline import Quality, Rule

    strict = replace(place.pipeline, quality=Quality(rules=(Rule(name="small", expect="n < 3"),)))
    committed(place, pipeline=strict)
    more = replace(strict, outputs=(*strict.outputs, LOW))
    committed(place, pipeline=more)

    assert place.query("SELECT rule, count(*) FROM _raypipe.quarantine GROUP BY ALL") == [("small", 4)]
    assert launch.status(more).snapshot.accounts.quarantined == 4
    assert unproven(more) == []


def test_a_renamed_output_is_done_once_without_a_conflict(place, told):
    committed(place)
    clean, daily = place.pipeline.outputs
    renamed = replace(place.pipeline, outputs=(clean, replace(daily, table="by_day")))

    place.run(pipeline=renamed, told=told)

    assert [one.again for one in told.of(Planned)] == [False]
    assert place.query("SELECT count(*) FROM by_day") == [(4,)]
    assert unproven(renamed) == []


# ---- other widths -----------------------------------------------------------------------------------------


def test_history_stays_when_the_width_changes_and_status_tells_where_sql_was_cut_otherwise(place):
    committed(place)
    weekly = replace(place.pipeline, time=replace(place.pipeline.time, shard=parse_width("1w")))

    assert place.run(pipeline=weekly).closed.planned == 0
    status = launch.status(weekly)
    assert (status.other_widths, status.cut_tables) == (((place.window(0, 4), 4),), ("daily",))
    assert launch.status(place.pipeline).other_widths == ()

    place.day(2, (6, 6))
    assert days(committed(place, pipeline=weekly)) == [3]  # the live range, not the week
    place.run(backfill(Scope.ALL), pipeline=weekly)
    assert launch.status(weekly).other_widths == ()
    assert launch.status(place.pipeline).other_widths == ((place.window(0, 4), 1),)
    assert place.proven()
