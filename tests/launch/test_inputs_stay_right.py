"""Tables that are made of several inputs stay right: changed definitions and widths, lost files, replay, compaction."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

import raypipe
from raypipe import launch
from raypipe.core.calendar import parse_width
from raypipe.core.datatype import parse_datatype
from raypipe.core.plan import Scope
from raypipe.core.shard import Reason
from raypipe.core.state import RunKind
from raypipe.errors import ConfigurationError, UsageError
from raypipe.launch import Ask
from raypipe.pipeline import Column, MoreFiles, Ready, RowsOutput, RunOptions, SqlOutput

pytestmark = pytest.mark.slow  # whole runs on real files


def pending(place, pipeline=None, ask=None):
    return [(one.window, one.reason) for one in launch.plan(pipeline or place.pipeline, ask or Ask()).plan.shards]


def looking(clicks, ahead, **changes):
    """The pipeline with another lookahead of the clicks."""
    one = replace(clicks.input, lookahead=None if ahead is None else parse_width(ahead), **changes)
    return replace(clicks.place.pipeline, inputs=(one,))


def test_another_lookahead_makes_stale_what_sees_it_and_a_backfill_redoes_that(clicks):
    place = clicks.place
    place.run(pipeline=looking(clicks, "1h"))
    assert all(row[2] == 0 for row in clicks.joined())
    stale = launch.plan(place.pipeline, Ask()).plan.stale
    assert {text for _, text in stale} == {"clean (input:clicks), joined (input:clicks)"}
    report = place.run(Ask(scope=Scope.STALE, kind=RunKind.BACKFILL, publish="atomic"))
    assert report.closed.committed == 4
    assert clicks.joined() == clicks.by_duckdb()
    assert place.proven()


def test_a_backfill_of_one_shard_says_the_same(clicks):
    place = clicks.place
    place.run()
    before = clicks.joined()
    report = place.run(Ask(scope=Scope.ALL, kind=RunKind.BACKFILL, shards=(1, 2), publish="atomic"))
    assert (report.closed.committed, clicks.joined()) == (1, before)
    assert place.proven()


def test_a_lost_file_of_an_input_fails_the_shards_that_saw_it_until_that_is_accepted(clicks):
    place = clicks.place
    place.run()
    (clicks.folder / "1.csv").unlink()  # a click on the third day, seen by the second day as well
    report = place.run()
    assert [(one.window, one.code) for one in report.closed.failures] == [(place.window(day), "source_shrunk") for day in (1, 2)]
    assert (2, 2, 1) in clicks.joined()
    place.run(Ask(scope=Scope.ALL, accept_shrunk=True, shards=(0, 4), kind=RunKind.BACKFILL, publish="atomic"))
    assert clicks.joined() == clicks.by_duckdb()
    assert (2, 2, 0) in clicks.joined()
    assert pending(place) == []


def test_any_width_gives_the_same_tables_as_long_as_the_lookahead_is_wide_enough(clicks):
    place = clicks.place
    place.run()
    widths = [parse_width(one) for one in ("1h", "2d")]
    assert [(one.name, one.ok) for one in launch.verify_widths(place.pipeline, widths)] == [
        ("order", True), ("widths 1h", True), ("widths 2d", True),
    ]  # fmt: skip
    narrow = looking(clicks, "12h")
    place.run(Ask(scope=Scope.ALL), pipeline=narrow)
    checks = {one.name: one for one in launch.verify_widths(narrow, widths)}
    assert (checks["order"].ok, checks["widths 1h"].ok) == (True, False)
    assert "table joined: a cut at 2026-01-01T07:00:00Z changes it" in checks["widths 1h"].detail  # the first after the row


def test_another_width_keeps_what_was_done_and_ends_in_the_same_table(clicks):
    place = clicks.place
    place.run()
    wide = replace(place.pipeline, time=replace(place.pipeline.time, shard=parse_width("2d")))
    assert pending(place, wide) == []
    clicks.write(2, ["3,2026-01-04T02:00:00", "3,2026-01-04T03:00:00"])
    assert pending(place, wide) == [(place.window(day), Reason.LATE) for day in (2, 3)]
    place.run(Ask(scope=Scope.ALL), pipeline=wide)
    assert clicks.joined() == clicks.by_duckdb()
    assert place.query("SELECT count(DISTINCT _shard) FROM joined") == [(2,)]


def test_a_compacted_range_is_late_when_an_input_of_any_of_its_parts_is(clicks, told):
    place = clicks.place
    place.run()
    raypipe.compact(place.pipeline, place.window(3).end_us, into=parse_width("2d"), observer=told, any_cut=True)
    assert place.query("SELECT count(DISTINCT (lo, hi)) FROM _raypipe.live") == [(2,)]
    assert pending(place) == []
    clicks.write(0, ["1,2026-01-02T02:00:00", "1,2026-01-02T03:00:00"])
    assert pending(place) == [(place.window(0, 2), Reason.LATE)]
    place.run()
    assert clicks.joined() == clicks.by_duckdb()
    assert (1, 1, 2) in clicks.joined()
    assert place.proven()


# ---- quarantine -------------------------------------------------------------------------------------------


@pytest.fixture
def small(clicks):
    """Clicks of which one has a number that the contract does not hold."""
    columns = {**clicks.input.source.columns, "of": Column(type=parse_datatype("int8"))}
    clicks.write(0, ["1,2026-01-02T02:00:00", "300,2026-01-02T03:00:00"])
    clicks.mended = clicks.place.pipeline
    one = replace(clicks.input, source=replace(clicks.input.source, columns=columns))
    clicks.place.pipeline = replace(clicks.place.pipeline, inputs=(one,))
    clicks.place.run()
    assert clicks.place.query("SELECT day(shard), rule FROM _raypipe.quarantine") == [(2, "type_of")]
    return clicks


def test_a_row_of_an_input_that_passes_today_is_replayed_into_what_sees_it(small):
    place = small.place
    ask = launch.replay_ask(small.mended, rule=None, shards=None)
    assert ask.given == (place.window(1),)
    place.run(ask, pipeline=small.mended)
    assert place.query("SELECT count(*) FROM _raypipe.quarantine") == [(0,)]
    assert place.query("SELECT loaded FROM _raypipe.shards ORDER BY seq DESC LIMIT 1") == [(5,)]
    assert place.proven()


def test_a_row_of_a_file_that_is_gone_is_read_again_as_the_input_that_it_was_of(small):
    place = small.place
    (small.folder / "0.csv").unlink()
    place.run(launch.replay_ask(small.mended, rule=None, shards=None, accept_shrunk=True), pipeline=small.mended)
    assert place.query("SELECT count(*) FROM _raypipe.quarantine") == [(0,)]
    assert place.query("SELECT read, loaded FROM _raypipe.shards ORDER BY seq DESC LIMIT 1") == [(4, 4)]
    stand_ins = list((place.state / "stand-in" / "events" / "inputs.clicks.source").glob("*.csv"))
    assert [one.read_text().splitlines()[1].split(",")[0] for one in stand_ins] == ["300"]
    assert [one for one in launch.recompute(small.mended) if not one.ok] == []


def test_a_file_that_is_gone_and_that_two_inputs_would_name_is_not_guessed_at(small):
    more = MoreFiles(paths=(f"{small.folder}/?.csv",), format="csv")
    one = small.mended.inputs[0]
    paths = (f"{small.folder}/[1-9].csv", f"{small.folder}/0*.csv")
    source = replace(one.source, paths=paths, also=(more,))
    (small.folder / "0.csv").unlink()
    for other in ("1.csv", "2.csv"):
        (small.folder / other).rename(small.folder / f"{other[0]}{other}")
    both = replace(small.mended, inputs=(replace(one, source=source),))
    with pytest.raises(
        UsageError, match=r"0\.csv is gone, and inputs.clicks.source.path and inputs.clicks.source.also.0.path would name it"
    ):
        launch.replay_ask(both, rule=None, shards=None, accept_shrunk=True)


# ---- shapes of inputs -------------------------------------------------------------------------------------


def test_a_shard_waits_for_the_files_of_every_input_that_asks_for_some(clicks):
    place = clicks.place
    (clicks.folder / "2.csv").unlink()
    asking = looking(clicks, "1d", source=replace(clicks.input.source, ready=Ready(files=1)))
    found = launch.plan(asking, Ask()).plan
    assert [one.window for one in found.shards] == [place.window(1), place.window(2)]
    assert found.waiting == (place.window(0), place.window(3))


def test_the_event_time_of_an_input_may_stand_outside_of_its_contract_and_in_another_form(clicks):
    place = clicks.place
    for day in range(3):
        path = clicks.folder / f"{day}.csv"
        path.write_text(f"of,late\n{day + 1},{(20_455 + day) * 86_400 + 7_200}\n")  # 02:00 of the day after
        os.utime(path, (10**9, 10**9 + 7))
    columns = {"of": clicks.input.source.columns["of"]}
    sql = "SELECT n, count(of) AS clicked FROM rows LEFT JOIN clicks ON of = n GROUP BY ALL"
    pipeline = looking(clicks, None, source=replace(clicks.input.source, columns=columns), column="late", format="epoch_s")
    place.run(pipeline=replace(pipeline, outputs=(SqlOutput(table="joined", sql=sql),)))
    assert place.query("SELECT day(_shard), n, clicked FROM joined ORDER BY ALL") == [
        (day + 1, n, int(day == n)) for day in range(4) for n in (1, 2, 3)
    ]


def test_the_same_file_may_be_the_rows_and_an_input(clicks):
    place = clicks.place
    columns = {"ts": Column(type=parse_datatype("timestamp")), "n": Column(type=parse_datatype("int64"))}
    before = replace(
        clicks.input, name="before", source=replace(place.pipeline.source, columns=columns), column="ts",
        lookback=parse_width("1d"), lookahead=None,
    )  # fmt: skip
    sql = "SELECT rows.ts, sum(before.n)::BIGINT AS total FROM rows JOIN before ON before.n = rows.n GROUP BY ALL"
    place.pipeline = replace(place.pipeline, inputs=(before,), outputs=(SqlOutput(table="joined", sql=sql),))
    place.run()
    assert place.query("SELECT day(ts), total FROM joined ORDER BY ALL") == [(1, 6), (2, 12), (3, 12), (4, 12)]
    place.day(1, (1, 2, 3, 3))
    assert pending(place) == [(place.window(day), Reason.LATE) for day in (1, 2)]
    place.run()
    assert place.query("SELECT day(ts), total FROM joined ORDER BY ALL") == [(1, 6), (2, 24), (3, 15), (4, 12)]
    assert place.proven()
    assert [one for one in launch.recompute(place.pipeline) if not one.ok] == []


def test_an_input_that_memory_does_not_hold_is_read_from_disk(clicks, monkeypatch):
    monkeypatch.setattr("raypipe.engine.attempt.INPUT_SHARE", 1 << 40)  # nothing is held
    place = clicks.place
    place.run(pipeline=replace(place.pipeline, run=RunOptions(executor="inline", memory_bytes=1 << 28)))
    assert clicks.joined() == clicks.by_duckdb()
    assert not list(place.state.rglob("rows-*"))


def test_output_over_an_input_alone_holds_each_of_its_rows_once(clicks):
    place = clicks.place
    sql = "SELECT of, at_time FROM clicks WHERE _in_shard"
    place.pipeline = replace(place.pipeline, outputs=(SqlOutput(table="seen", sql=sql),))
    (place.folder / "day2.parquet").unlink()  # on the third day there are clicks and no rows
    place.run()
    assert place.query("SELECT of, day(at_time), day(_shard) FROM seen ORDER BY ALL") == [(1, 2, 2), (2, 3, 3), (3, 4, 4)]


def test_an_input_without_any_file_is_an_empty_table_and_told_of(clicks):
    for day in range(3):
        (clicks.folder / f"{day}.csv").unlink()
    (warning,) = launch.check(clicks.place.pipeline).warnings
    assert warning.startswith(
        f"inputs.clicks.source.path matches no file: {clicks.folder}/*.csv; new shards are committed as empty"
    )
    clicks.place.run()
    assert {row[2] for row in clicks.joined()} == {0}
    clicks.write(0, ["1,2026-01-02T02:00:00"])
    assert pending(clicks.place) == [(clicks.place.window(day), Reason.LATE) for day in (0, 1)]


def test_an_input_that_drifted_is_found_by_check_and_fails_the_shards_that_see_it(clicks):
    place = clicks.place
    (clicks.folder / "0.csv").write_text("off,at_time\n1,2026-01-02T02:00:00\n")
    (problem,) = launch.check(place.pipeline).problems
    assert problem == "inputs.clicks.source.columns: column 'of' is missing"
    report = place.run()
    assert [(one.window, one.code) for one in report.closed.failures] == [(place.window(day), "schema_drift") for day in (0, 1)]
    assert report.closed.committed == 2


def test_an_input_that_no_sql_reads_is_refused_by_check_and_run_alike(clicks):
    outputs = (RowsOutput(table="clean"), SqlOutput(table="made", sql="SELECT n FROM rows"))
    pipeline = replace(clicks.place.pipeline, outputs=outputs)
    text = "inputs.clicks: no SQL of an output reads it: read it in one, or leave it out"
    assert launch.check(pipeline).problems == (text,)
    with pytest.raises(ConfigurationError, match="no SQL of an output reads it"):
        clicks.place.run(pipeline=pipeline)
    with pytest.raises(ValueError, match="got the inputs clicks, clicks: expected names that differ"):
        replace(pipeline, inputs=(clicks.input, clicks.input))
