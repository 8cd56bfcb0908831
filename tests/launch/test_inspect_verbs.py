"""The verbs that look: what stands in the ledger against the source and the definition of now."""

from __future__ import annotations

from dataclasses import replace
from importlib import metadata

import pytest

from raypipe import launch
from raypipe.core.window import Window
from raypipe.launch import Ask
from raypipe.pipeline import Filter, Quality, Rule


def test_a_fresh_pipeline_has_no_status_but_its_name_and_is_left_alone(place):
    before = place.bytes_of_all_files()
    report = launch.status(place.pipeline)
    assert (report.coverage, report.gaps, report.late, report.stale, report.tables) == ((), (), (), (), {})
    assert report.snapshot.watermark_us is None
    assert place.bytes_of_all_files() == before


def test_coverage_gaps_watermark_and_rows_are_those_of_the_ledger(place):
    place.run(Ask(end_us=place.window(0).end_us))
    place.run(Ask(start_us=place.window(2).start_us))
    report = launch.status(place.pipeline)
    assert report.coverage == (place.window(0), place.window(2, 4))
    assert report.gaps == (place.window(1),)
    assert report.snapshot.watermark_us == place.window(0).end_us
    assert report.snapshot.accounts.read == 9
    assert report.tables == {"clean": 9, "daily": 3}
    assert [run.committed for run in report.snapshot.runs] == [2, 1]


def test_late_shards_are_named_and_nothing_is_written(place):
    place.run()
    place.day(1, (7,))
    before = place.bytes_of_all_files()
    assert launch.status(place.pipeline).late == (place.window(1),)
    assert place.bytes_of_all_files() == before


def test_what_a_changed_definition_made_is_stale_by_output_and_part(place):
    place.run()
    sql = place.pipeline.outputs[1]
    changed = replace(place.pipeline, outputs=(place.pipeline.outputs[0], replace(sql, sql=f"{sql.sql} HAVING true")))
    report = launch.status(changed)
    assert [window for window, _ in report.stale] == [place.window(day) for day in range(4)]
    assert {why for _, why in report.stale} == {"daily (output)"}
    assert report.late == ()
    filtered = replace(place.pipeline, transform=(Filter(condition="n > 1", name="some"),))
    assert {why for _, why in launch.status(filtered).stale} == {"clean (transform), daily (transform)"}
    place.run(Ask(end_us=place.window(0).end_us), pipeline=filtered)
    assert launch.status(place.pipeline).stale == ()


def test_failed_shards_and_what_was_quarantined_are_told(place):
    strict = replace(place.pipeline, quality=Quality(rules=(Rule(name="small", expect="n < 3", otherwise="quarantine"),)))
    place.run(pipeline=strict)
    (rule,) = launch.status(strict).quarantine
    assert (rule["rule"], rule["rows"]) == ("small", 4)
    assert [row["rule"] for row in launch.quarantine_rows(strict, rule="small", shards=(1, 3), limit=10)] == ["small"] * 2
    assert len(launch.quarantine_rows(strict, rule=None, shards=None, limit=3)) == 3
    assert launch.quarantine_counts(strict)[0]["rows"] == 4


def test_verify_of_nothing_claims_nothing(place):
    assert list(launch.verify(place.pipeline)) == []
    assert not place.out.exists()


def test_check_finds_mistakes_without_running_and_writes_nothing(place):
    before = place.bytes_of_all_files()
    assert launch.check(place.pipeline).problems == ()
    wrong = replace(place.pipeline, transform=(Filter(condition="nothing_such > 1", name="some"),))
    (problem,) = launch.check(wrong).problems
    assert "nothing_such" in problem
    assert place.bytes_of_all_files() == before


def test_a_source_without_files_is_warned_of(place):
    nowhere = replace(place.pipeline, source=replace(place.pipeline.source, paths=(f"{place.folder}/nothing/*.parquet",)))
    assert "matches no file" in launch.check(nowhere).warnings[0]


def test_versions_are_those_that_are_installed(place):
    found = launch.versions()
    assert found["duckdb"] == metadata.version("duckdb")
    assert set(found) == {"raypipe", "ray", "polars", "duckdb", "pyarrow", "python"}
    assert place.run().exit_code == 0


def test_the_schema_is_one_of_the_configuration():
    assert "source" in launch.schema()["properties"]


def test_load_reads_a_pipeline_from_a_file(place):
    (place.folder / "p.yaml").write_text(
        "name: tiny\ntime: {column: ts, start: 2026-01-01, shard: 1d}\nsource: {kind: files, path: '*.parquet', format: parquet}\n"
        "outputs: [{table: clean, rows: all}]\ndestination: {kind: duckdb, path: out.duckdb}\n"
    )
    assert launch.load(str(place.folder / "p.yaml"), overrides=["time.shard=1h"]).time.shard.unit == "h"


@pytest.mark.parametrize("at_day", [None, 2])
def test_sample_shows_each_stage_of_one_shard_and_writes_nothing(place, at_day):
    place.day(0, (), name="day0.parquet")
    place.day(2, (7, 8, 9))
    before = place.bytes_of_all_files()
    filtered = replace(place.pipeline, transform=(Filter(condition="n > 1", name="some"),))
    stages = launch.sample(filtered, at_us=None if at_day is None else place.window(at_day).start_us + 5, rows=2)
    (_, _, first, _), *_ = stages
    assert [row[-1] for row in first] == ([1, 2] if at_day is None else [7, 8])
    assert any("daily" in name for name, *_ in stages)
    assert place.bytes_of_all_files() == before


def test_sample_outside_of_history_is_refused(place):
    from raypipe.errors import UsageError

    with pytest.raises(UsageError, match="outside the history"):
        launch.sample(place.pipeline, at_us=5, rows=2)
    for day in range(4):
        (place.folder / f"day{day}.parquet").unlink()
    with pytest.raises(UsageError, match="has any input"):
        launch.sample(place.pipeline, at_us=None, rows=2)
    future = replace(place.pipeline.time, start_us=Window(4_000_000_000_000_000, 4_000_000_000_000_001).start_us, end_us=None)
    with pytest.raises(UsageError, match="no shard is ready"):
        launch.sample(replace(place.pipeline, time=future), at_us=None, rows=2)
