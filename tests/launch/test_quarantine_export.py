"""quarantine export writes what is in quarantine, whole, to Parquet or CSV."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from raypipe import launch
from raypipe.cli.group import cli
from raypipe.errors import UsageError
from raypipe.pipeline import Quality, Rule

pytestmark = pytest.mark.slow  # whole runs on real files


@pytest.fixture
def aside(place):
    quality = Quality(rules=(Rule(name="not_two", expect="n <> 2"), Rule(name="not_three", expect="n <> 3")))
    place.pipeline = replace(place.pipeline, quality=quality)
    place.run()
    return place


def test_parquet_holds_every_row_with_its_place_reason_and_text(aside):
    path = aside.folder / "aside.pq.parquet"
    assert launch.quarantine_export(aside.pipeline, path, rule=None, shards=None) == 8
    rows = pq.read_table(path).to_pylist()
    assert len(rows) == 8
    first = rows[0]
    assert (first["position"], first["rule"], json.loads(first["raw"])["n"], first["truncated"]) == (1, "not_two", 2, False)
    assert first["source"].endswith("day0.parquet")
    assert first["shard"].isoformat() == "2026-01-01T00:00:00"
    assert first["error"] == "expected n <> 2"
    assert first["committed"] is not None


def test_a_rule_and_shards_choose_the_rows(aside):
    path = aside.folder / "some.csv"
    assert launch.quarantine_export(aside.pipeline, path, rule="not_two", shards=(1, 3)) == 2
    with path.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [(row["rule"], row["shard"][:10]) for row in rows] == [("not_two", "2026-01-02"), ("not_two", "2026-01-03")]


def test_a_text_that_a_spreadsheet_would_run_is_made_harmless_in_csv_and_kept_in_parquet(place):
    path = place.folder / "events.csv"
    path.write_text('ts,n\n2026-01-01 06:00:00,1\n=cmd("x"),@SUM(1),-2\n')
    from raypipe.core.datatype import parse_datatype
    from raypipe.pipeline import Column

    columns = {"ts": Column(type=parse_datatype("timestamp")), "n": Column(type=parse_datatype("int64"))}
    source = replace(place.pipeline.source, paths=(str(path),), format="csv", columns=columns)
    pipeline = replace(place.pipeline, source=source)
    place.run(pipeline=pipeline)
    launch.quarantine_export(pipeline, place.folder / "out.csv", rule=None, shards=None)
    with (place.folder / "out.csv").open(newline="") as lines:
        (row,) = csv.DictReader(lines)
    assert row["raw"].startswith("'=cmd")
    launch.quarantine_export(pipeline, place.folder / "out.parquet", rule=None, shards=None)
    assert pq.read_table(place.folder / "out.parquet")["raw"][0].as_py().startswith("=cmd")


def test_a_file_appears_whole_or_not_at_all(aside, monkeypatch):
    from raypipe.destinations import quarantine_export

    path = aside.folder / "aside.csv"
    path.write_text("before")

    def fails(*arguments):
        raise OSError("disk full")

    monkeypatch.setattr(quarantine_export, "_harmless", fails)
    with pytest.raises(UsageError, match=r"-o .*aside.csv: cannot be written: disk full"):
        launch.quarantine_export(aside.pipeline, path, rule=None, shards=None)
    assert path.read_text() == "before"
    assert list(aside.folder.glob(".aside*")) == []


@pytest.mark.parametrize("name", ["aside.txt", "aside", "nowhere/aside.csv"])
def test_what_is_no_parquet_or_csv_file_is_refused(aside, name):
    with pytest.raises(UsageError, match=r"-o .*aside"):
        launch.quarantine_export(aside.pipeline, aside.folder / name, rule=None, shards=None)


def test_the_verb_says_how_many_rows_it_wrote(place):
    (place.folder / "p.yaml").write_text(
        f"name: events\ntime: {{column: ts, start: 2026-01-01, end: 2026-01-05, shard: 1d}}\n"
        f"source: {{kind: files, path: '{place.folder}/day*.parquet'}}\n"
        "quality: {rules: [{name: not_two, expect: n <> 2}]}\n"
        "outputs: [{table: clean, rows: all}]\ndestination: {kind: duckdb, path: out.duckdb}\n"
    )
    config, path = str(place.folder / "p.yaml"), str(place.folder / "x.csv")
    assert CliRunner().invoke(cli, ["run", config]).exit_code == 0
    result = CliRunner().invoke(cli, ["quarantine", "export", config, "-o", path, "--json"])
    assert json.loads(result.stdout) == {"pipeline": "events", "path": path, "rows": 4}
    result = CliRunner().invoke(cli, ["quarantine", "replay", config, "--set", "quality.rules.0.expect=n <> 3", "--json"])
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["shards"]["committed"] == 4
