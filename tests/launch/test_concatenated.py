"""Files put together: several formats and places are one source, whose rows are each read once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from raypipe import launch
from raypipe.core.datatype import parse_datatype
from raypipe.errors import UsageError
from raypipe.launch import Ask
from raypipe.pipeline import Column, MoreFiles


@pytest.fixture
def together(place):
    """The four files of Parquet, of which two are CSV and JSON Lines instead."""
    (place.folder / "day1.parquet").unlink()
    (place.folder / "day2.parquet").unlink()
    (place.folder / "more.csv").write_text("ts;n\n" + "".join(f"2026-01-02T06:00:00;{n}\n" for n in (1, 2, 3)) + "x;4\n")
    lines = "".join(f'{{"ts": "2026-01-03T06:00:00", "n": {n}}}\n' for n in (1, 2, 3))
    (place.folder / "more.jsonl").write_text(lines)
    csv, jsonl = (MoreFiles(paths=(f"{place.folder}/more.{kind}",), format=kind) for kind in ("csv", "jsonl"))
    csv = replace(csv, csv=replace(csv.csv, delimiter=";"))
    columns = {"ts": Column(type=parse_datatype("timestamp")), "n": Column(type=parse_datatype("int64"))}
    place.pipeline = replace(place.pipeline, source=replace(place.pipeline.source, columns=columns, also=(csv, jsonl)))
    return place


@pytest.mark.slow
def test_files_of_several_formats_are_read_as_one_source(together):
    report = together.run()
    assert [row[1:] for row in together.totals()] == [(3, 6)] * 4
    assert (report.closed.rows.read, report.closed.rows.quarantined) == (13, 1)
    assert together.query("SELECT rule, parse_filename(source) FROM _raypipe.quarantine") == [("no_event_time", "more.csv")]
    assert together.proven()
    assert [one for one in launch.recompute(together.pipeline) if not one.ok] == []
    (together.folder / "more.jsonl").write_text('{"ts": "2026-01-03T06:00:00", "n": 7}\n')
    assert [one.window for one in launch.plan(together.pipeline, Ask()).plan.shards] == [together.window(2)]


def test_a_file_that_is_named_twice_is_refused(together):
    twice = (*together.pipeline.source.also, MoreFiles(paths=(f"{together.folder}/*.csv",), format="csv"))
    pipeline = replace(together.pipeline, source=replace(together.pipeline.source, also=twice))
    with pytest.raises(UsageError, match=r"more\.csv is named by two sources that are put together"):
        launch.plan(pipeline, Ask())
