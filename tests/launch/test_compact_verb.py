"""`compact`: old ranges become one, no table changes, and what comes later into a part of them is as exact as before."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from raypipe import accept, compact, launch
from raypipe.core.accounts import Accounts
from raypipe.core.calendar import parse_width
from raypipe.core.plan import Scope
from raypipe.core.shard import Reason
from raypipe.core.state import RunKind
from raypipe.errors import UsageError
from raypipe.launch import Ask
from raypipe.pipeline import Deduplicate, GroupByOutput, Quality, RowsOutput, Rule, SqlOutput

pytestmark = pytest.mark.slow  # whole runs on real files

DAY_US = 86_400_000_000
OUTPUTS = (
    RowsOutput(table="clean"),
    RowsOutput(table="newest", key=("n",), latest_by=("ts",)),
    GroupByOutput(table="totals", group_by={"odd": "n % 2"}, measures={"events": "count(*)", "mean": "avg(n / 3)"}),
)


@pytest.fixture
def merged(place: Any) -> Any:
    """The four days, run into an unkeyed, a keyed and a combined table."""
    place.pipeline = replace(place.pipeline, outputs=OUTPUTS)
    place.day(0, (1, 2, 3, 4))
    place.run()
    return place


def tables(place: Any) -> dict[str, list[Any]]:
    return {one.table: place.query(f"FROM {one.table} ORDER BY ALL") for one in OUTPUTS}


def clean_run(place: Any) -> dict[str, list[Any]]:
    """What a run would make of the source as it is now, with nothing that was there before. `_shard` is where shards are cut."""
    there = place.out.rename(place.out.with_suffix(".kept"))
    try:
        place.run()
        return {one.table: place.query(_columns(one)) for one in OUTPUTS}
    finally:
        place.out.unlink()
        there.rename(place.out)


def _columns(output: Any) -> str:
    return f"SELECT {'* EXCLUDE (_shard)' if output.merge is None else '*'} FROM {output.table} ORDER BY ALL"


def as_a_clean_run(place: Any) -> bool:
    return {one.table: place.query(_columns(one)) for one in OUTPUTS} == clean_run(place)


def live(place: Any) -> list[Any]:
    return place.query("SELECT DISTINCT day(lo), day(hi) FROM _raypipe.live ORDER BY ALL")


def days(place: Any, ask: Ask | None = None) -> list[Any]:
    return [(one.window, one.reason) for one in launch.plan(place.pipeline, ask or Ask()).plan.shards]


def test_tables_stay_the_same_and_nothing_is_left_to_do(merged: Any) -> None:
    before, accounts = tables(merged), launch.status(merged.pipeline).snapshot.accounts

    report = compact(merged.pipeline, merged.window(2).end_us)

    assert report.found.done == (merged.window(0, 3),)
    assert report.contributions == {"newest": (10, 4), "totals": (6, 2)}
    assert (tables(merged), live(merged)) == (before, [(1, 4), (4, 5)])
    assert launch.status(merged.pipeline).snapshot.accounts == accounts == Accounts(read=13, loaded=13)
    assert days(merged) == []
    assert merged.proven()
    assert merged.query("SELECT kind, state FROM _raypipe.runs ORDER BY started, run")[-1] == ("compact", "done")
    assert compact(merged.pipeline, merged.window(2).end_us).found.run_id is None


def test_ranges_may_be_made_one_cell_by_cell(merged: Any) -> None:
    before = tables(merged)
    compact(merged.pipeline, merged.window(3).end_us, into=parse_width("2d"))
    assert (tables(merged), live(merged)) == (before, [(1, 3), (3, 5)])
    rows = merged.query("SELECT _shard = '2026-01-03', count(*) FROM _raypipe.contributions_totals GROUP BY ALL ORDER BY ALL")
    assert rows == [(False, 4), (True, 2)]  # sums of floats that others come before stay what they were, day by day
    assert merged.proven()


def test_a_late_row_in_a_part_of_it_is_taken_in_exactly(merged: Any) -> None:
    compact(merged.pipeline, merged.window(2).end_us)
    merged.day(1, (5, 6, 7, 8))

    assert days(merged) == [(merged.window(0, 3), Reason.LATE)]
    assert merged.run().closed.committed == 1
    assert as_a_clean_run(merged)
    assert merged.proven()
    assert days(merged) == []


def test_a_backfill_of_a_part_widens_to_it_and_takes_back_what_it_said(merged: Any) -> None:
    compact(merged.pipeline, merged.window(2).end_us)
    merged.day(1, (9,))
    ask = Ask(kind=RunKind.BACKFILL, scope=Scope.ALL, start_us=merged.window(1).start_us, end_us=merged.window(1).end_us)
    assert days(merged, ask) == [(merged.window(0, 3), Reason.FORCED)]
    merged.run(ask)
    assert as_a_clean_run(merged)
    assert merged.proven()


def test_a_lost_file_of_a_part_is_told_though_another_part_has_a_new_one(merged: Any) -> None:
    compact(merged.pipeline, merged.window(2).end_us)
    before = tables(merged)
    (merged.folder / "day1.parquet").unlink()
    merged.day(2, (5,), name="more.parquet")

    (failure,) = merged.run().closed.failures
    assert (failure.code, failure.window) == ("source_shrunk", merged.window(0, 3))
    assert str(merged.window(1)) in failure.error
    assert tables(merged) == before

    assert accept(merged.pipeline, "shrunk").accepted == (merged.window(0, 3),)
    assert tables(merged) == before
    assert days(merged) == [(merged.window(0, 3), Reason.LATE)]  # the new file is as late as it was
    assert merged.proven()


def test_late_input_of_an_old_part_is_held_with_the_whole_range(merged: Any) -> None:
    merged.pipeline = replace(merged.pipeline, time=replace(merged.pipeline.time, lateness_us=DAY_US))
    compact(merged.pipeline, merged.window(1).end_us)
    merged.day(0, (4,))
    status = launch.status(merged.pipeline)
    assert ([window for window, _ in status.held], status.late) == ([merged.window(0, 2)], ())


def test_what_another_definition_made_stays_until_it_is_accepted(merged: Any) -> None:
    changed = replace(
        merged.pipeline, outputs=(*OUTPUTS[:2], replace(OUTPUTS[2], measures={**OUTPUTS[2].measures, "mean": "avg(n)"}))
    )
    found = compact(changed, merged.window(3).end_us).found
    assert (found.run_id, [window for window, _ in found.plan.left]) == (None, [merged.window(0, 4)])
    assert "totals: made by another definition" in found.plan.left[0][1]

    accept(changed, "stale")
    assert compact(changed, merged.window(3).end_us).found.done == (merged.window(0, 4),)
    assert merged.proven()


def test_an_output_that_is_added_is_done_for_a_compacted_range_as_a_whole(merged: Any) -> None:
    compact(merged.pipeline, merged.window(2).end_us)
    more = replace(merged.pipeline, outputs=(*OUTPUTS, RowsOutput(table="again")))
    assert [(one.window, one.outputs) for one in launch.plan(more, Ask()).plan.shards] == [
        (merged.window(0, 3), ()), (merged.window(3), ("again",))
    ]  # fmt: skip
    merged.run(pipeline=more)
    assert merged.proven()


def test_quarantined_rows_of_a_part_are_replayed(place: Any) -> None:
    strict = replace(place.pipeline, outputs=OUTPUTS, quality=Quality(rules=(Rule(name="small", expect="n < 3"),)))
    place.run(pipeline=strict)
    compact(strict, place.window(2).end_us)
    loose = replace(strict, quality=Quality(rules=(Rule(name="small", expect="n < 9"),)))
    ask = launch.replay_ask(loose, rule=None, shards=(1, 2))
    assert ask.given == (place.window(0, 3),)
    place.run(ask, pipeline=loose)
    assert [one["rows"] for one in launch.quarantine_counts(loose)] == [1]
    assert place.proven()


@pytest.mark.parametrize(
    "changes",
    [
        {"outputs": (*OUTPUTS, SqlOutput(table="daily", sql="SELECT count(*) AS n FROM rows"))},
        {"transform": (Deduplicate(key=("n",)),)},
    ],
    ids=["sql", "deduplicate"],
)
def test_tables_that_depend_on_cuts_are_compacted_only_when_it_is_said_that_they_do_not(place: Any, changes: Any) -> None:
    pipeline = replace(place.pipeline, **{"outputs": OUTPUTS, **changes})
    place.run(pipeline=pipeline)
    with pytest.raises(UsageError, match=r"daily|clean, newest, totals"):
        compact(pipeline, place.window(2).end_us)
    assert compact(pipeline, place.window(2).end_us, any_cut=True).found.done == (place.window(0, 3),)
    assert place.proven()


def test_a_dry_run_writes_nothing(merged: Any) -> None:
    before = merged.out.read_bytes()
    found = launch.compact(merged.pipeline, merged.window(2).end_us, dry_run=True, observer=merged_silent()).found
    assert ([len(one.merged) for one in found.plan.compactions], found.run_id) == ([3], None)
    assert merged.out.read_bytes() == before


def merged_silent() -> Any:
    from raypipe.observe.progress import Silent

    return Silent()
