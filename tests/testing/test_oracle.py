"""The oracle names each row that is lost, doubled, moved or changed, and passes only what is exact."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from raypipe import launch
from raypipe.cli.group import cli
from raypipe.core.calendar import parse_width
from raypipe.launch import Ask, StopFlag
from raypipe.pipeline import (
    CsvDialect,
    DuckDBDestination,
    EventTime,
    FilesSource,
    Filter,
    Pipeline,
    Quality,
    RowsOutput,
    Rule,
    RunOptions,
    SqlOutput,
)
from raypipe.testing import oracle

pytestmark = pytest.mark.slow  # about 15 s in all: each check computes a pipeline again

START_US = 1_767_225_600_000_000  # 2026-01-01
DAY_US = 86_400_000_000
DAYS = 3
SCHEMA = pa.schema([("ts", pa.timestamp("us")), ("n", pa.int64()), ("kind", pa.string())])
SEEDS = int(os.environ.get("RAYPIPE_ORACLE_SEEDS", "2"))
"""In CI 2 (a few seconds); the long part: RAYPIPE_ORACLE_SEEDS=200."""
DAILY = "SELECT date_trunc('day', ts) AS day, count(*) AS events, sum(n)::BIGINT AS total FROM rows GROUP BY ALL"


class Quiet:
    """Watches nothing."""

    def on(self, event: Any) -> None:
        pass


class Made:
    """A pipeline over made-up events, with a number of its own in each; what `clean` should hold is known without raypipe."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        start = datetime(2026, 1, 1)
        self.events = [{"ts": start + timedelta(hours=8 * place), "n": place, "kind": "ab"[place % 2]} for place in range(3 * DAYS)]
        self.write("events.parquet", self.events)
        self.pipeline = Pipeline(
            name="events",
            time=EventTime(column="ts", start_us=START_US, end_us=START_US + DAYS * DAY_US, shard=parse_width("1d")),
            source=FilesSource(paths=(f"{folder}/*.parquet",), format="parquet"),
            quality=Quality(rules=(Rule(name="not_four", expect="n <> 4"),)),
            transform=(Filter(condition="n <> 7", name="not_seven"),),
            outputs=(RowsOutput(table="clean"), SqlOutput(table="daily", sql=DAILY)),
            destination=DuckDBDestination(path=str(folder / "out.duckdb")),
            run=RunOptions(executor="inline"),
            folder=folder,
        )

    @property
    def clean(self) -> list[dict[str, Any]]:
        return [event for event in self.events if event["n"] not in (4, 7)]

    def write(self, name: str, events: list[dict[str, Any]]) -> None:
        path = self.folder / name
        pq.write_table(pa.Table.from_pylist(events, SCHEMA), path)
        os.utime(path, (10**9, 10**9))

    def run(self, pipeline: Pipeline | None = None) -> None:
        report = launch.run(pipeline or self.pipeline, Ask(), observer=Quiet(), stop=StopFlag())
        assert report.closed.status == "done"

    def sql(self, *statements: str) -> None:
        with duckdb.connect(self.pipeline.destination.path) as connection:
            for one in statements:
                connection.execute(one)

    def wrong(self, **asked: Any) -> oracle.NotExact:
        with pytest.raises(oracle.NotExact) as caught:
            oracle.check(self.pipeline, **asked)
        return caught.value


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> tuple[Made, bytes]:
    """One run for all tests, and its destination."""
    one = Made(tmp_path_factory.mktemp("oracle"))
    one.run()
    return one, Path(one.pipeline.destination.path).read_bytes()


@pytest.fixture
def made(once: tuple[Made, bytes]) -> Iterator[Made]:
    one, whole = once
    Path(one.pipeline.destination.path).write_bytes(whole)
    yield one
    (one.folder / "late.parquet").unlink(missing_ok=True)


def test_exact_tables_pass_with_a_line_for_each_proof(made: Made) -> None:
    report = oracle.check(made.pipeline, expected={"clean": made.clean}, key={"clean": "n"})
    proofs = {one.name: one.detail for one in report.checks}
    assert proofs["recomputed"] == "3 live shards say the same when they are computed again"
    assert proofs["records"] == "9 records in 1 files, 9 rows read and 0 in no shard"
    assert proofs["finished"] == "nothing is left to do"
    assert report.tables == {"clean": 7, "daily": 3}
    assert all(one.ok for one in report.checks)


@pytest.mark.parametrize(
    ("harm", "what", "detail"),
    [
        ("DELETE FROM clean WHERE n = 5", "lost", "it is there 0 times, expected 1"),
        ("INSERT INTO clean SELECT * FROM clean WHERE n = 5", "doubled", "it is there 2 times, expected 1"),
        ("UPDATE clean SET kind = 'x' WHERE n = 5", "changed", "kind is 'x', expected 'b'"),
        ("UPDATE clean SET n = 50 WHERE n = 5", "changed", "n is 50, expected 5"),
    ],
)
def test_the_row_is_named_with_its_table_and_shard_without_being_told_what_to_expect(
    made: Made, harm: str, what: str, detail: str
) -> None:
    made.sql(harm)
    wrong = made.wrong()
    assert [one.name for one in wrong.checks] == ["table clean"]
    (row,) = wrong.rows
    assert (row.table, row.what, row.detail, row.row["n"], row.row["kind"]) == ("clean", what, detail, 5, "b")
    assert f"table clean, shard 2026-01-02T00:00:00Z: row {what}: " in str(wrong)


def test_a_row_that_moved_to_another_shard_is_lost_there_and_unexpected_here(made: Made) -> None:
    made.sql("UPDATE clean SET _shard = '2026-01-03' WHERE n = 5")
    found = sorted((one.what, one.shard_us, one.row["n"]) for one in made.wrong().rows)
    assert found == [("lost", START_US + DAY_US, 5), ("unexpected", START_US + 2 * DAY_US, 5)]


def test_what_the_caller_expects_is_compared_without_anything_of_raypipe(made: Made) -> None:
    wrong = made.wrong(expected={"clean": [*made.clean[1:], {**made.clean[0], "kind": "z"}, made.clean[2]]}, key={"clean": ["n"]})
    assert wrong.checks == ()
    assert sorted((one.what, one.row["n"], one.detail) for one in wrong.rows) == [
        ("changed", 0, "kind is 'a', expected 'z'"), ("lost", 2, "it is there 1 times, expected 2"),
    ]  # fmt: skip


def test_balanced_lies_of_the_ledger_are_found_by_computing_again(made: Made) -> None:
    made.sql("UPDATE _raypipe.shards SET read = read + 1, loaded = loaded + 1 WHERE lo = '2026-01-02'")
    assert all(one.ok for one in launch.verify(made.pipeline))
    wrong = {one.name: one.detail for one in made.wrong().checks}
    assert "the ledger says 4 rows read, computing it again gives 3" in wrong["recomputed"]
    assert wrong["records"] == "9 records in 1 files, 10 rows read and 0 in no shard"


@pytest.mark.parametrize("column", ["source", "position", "error", "raw"])
def test_a_row_in_quarantine_that_says_something_else_is_found_by_computing_again(made: Made, column: str) -> None:
    made.sql(f"UPDATE _raypipe.quarantine SET {column} = '77'")
    assert [one.name for one in made.wrong().checks] == ["recomputed"]


def test_a_reader_that_loses_rows_is_found_by_the_records_of_the_files(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    from raypipe.sources.parquet import ParquetReader

    batches = ParquetReader.batches

    def losing(self: ParquetReader) -> Any:
        for one in batches(self):
            yield replace(one, rows=one.rows.slice(1))

    monkeypatch.setattr(ParquetReader, "batches", losing)
    other = replace(made.pipeline, destination=DuckDBDestination(path=str(made.folder / "other.duckdb")))
    made.run(other)
    with pytest.raises(oracle.NotExact, match="9 records in 1 files, 8 rows read") as caught:
        oracle.check(other)
    assert [one.name for one in caught.value.checks] == ["records"]


def test_a_reader_that_loses_rows_of_a_file_of_one_shard_fails_that_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    from raypipe.sources.parquet import ParquetReader

    made, batches = Made(tmp_path), ParquetReader.batches
    (tmp_path / "events.parquet").unlink()
    for day in range(DAYS):
        made.write(f"day{day}.parquet", made.events[3 * day : 3 * day + 3])

    def losing(self: ParquetReader) -> Any:
        for place, one in enumerate(batches(self)):
            yield replace(one, rows=one.rows.slice(1)) if place == 0 and "day1" in self._uri else one

    monkeypatch.setattr(ParquetReader, "batches", losing)
    report = launch.run(made.pipeline, Ask(), observer=Quiet(), stop=StopFlag())
    (failure,) = report.closed.failures
    assert (failure.code, failure.window.start_us) == ("accounts", START_US + DAY_US)
    assert failure.error.endswith("the index says that the files hold 3 rows for it, 2 were read")


def test_what_is_left_to_do_is_not_exact_unless_that_is_asked_for(made: Made) -> None:
    made.write("late.parquet", [{"ts": datetime(2026, 1, 2, 3), "n": 100, "kind": "late"}])
    (wrong,) = made.wrong().checks
    assert (wrong.name, wrong.detail) == (
        "finished", "1 shards are left to do: [2026-01-02T00:00:00Z, 2026-01-03T00:00:00Z) (late)",
    )  # fmt: skip
    proofs = {one.name: one.detail for one in oracle.check(made.pipeline, finished=False).checks}
    assert proofs["recomputed"].endswith("; 1 were left out, which were compacted, or whose input or definition is another one now")
    assert proofs["records"].startswith("not compared")
    made.run()
    assert oracle.check(made.pipeline).tables == {"clean": 8, "daily": 3}


def test_a_destination_of_nothing_is_not_exact(tmp_path: Path) -> None:
    made = Made(tmp_path)
    assert [one.name for one in made.wrong().checks] == ["destination"]


def test_a_state_that_cannot_be_read_is_named_and_nothing_else_is_tried(made: Made) -> None:
    made.sql("UPDATE _raypipe.live SET hi = lo WHERE lo = '2026-01-02'")
    assert "readable" in {one.name for one in made.wrong(finished=False).checks}


@pytest.mark.parametrize("seed", range(SEEDS))
def test_every_row_lost_doubled_or_changed_is_named_whatever_the_seed(made: Made, seed: int) -> None:
    draw = random.Random(seed)
    event, what = draw.choice(made.clean), draw.choice(["lost", "doubled", "changed"])
    change = draw.choice(["kind = kind || 1", "ts = ts + INTERVAL 1 SECOND"])
    made.sql(
        {
            "lost": f"DELETE FROM clean WHERE n = {event['n']}",
            "doubled": f"INSERT INTO clean SELECT * FROM clean WHERE n = {event['n']}",
            "changed": f"UPDATE clean SET {change} WHERE n = {event['n']}",
        }[what]
    )
    (row,) = made.wrong(key={"clean": "n"}).rows
    assert (row.what, row.row["n"]) == (what, event["n"])


# ---- records, counted from the outside --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "source", "records"),
    [
        ("a.csv", "x,y\n1,2\n\n3,4\r\n\r\nbad\n5,6", {}, 4),
        ("a.csv", "x\n1\n\n3\n", {}, 3),
        ("a.csv", "1;2\n3;4\n", {"csv": CsvDialect(header=False, delimiter=";")}, 2),
        ("a.csv", "\ufeffx,y\n1,2\n", {}, 1),
        ("a.csv", "x,y\n", {}, 0),
        ("a.csv", 'x,y\n1,"2\n3"\n', {"csv": CsvDialect(multiline=True)}, None),
        ("a.jsonl", '{"x": 1}\n\n  \t\r\n{"x": \n{"x": 2}', {}, 3),
    ],
)
def test_records_are_counted_by_lines(
    tmp_path: Path, name: str, text: str, source: dict[str, Any], records: int | None
) -> None:  # fmt: skip
    from raypipe.sources.records import count_records

    (tmp_path / name).write_text(text, newline="")
    config = FilesSource(paths=(str(tmp_path / name),), format=name.split(".")[1], **source)
    assert count_records(config, str(tmp_path / name)) == records


def test_verify_reads_the_source_again_when_it_is_told_to(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "load", lambda *arguments, **options: made.pipeline)
    made.sql("UPDATE _raypipe.shards SET read = read + 1, loaded = loaded + 1 WHERE lo = '2026-01-02'")
    assert CliRunner().invoke(cli, ["verify", "events.yaml"]).exit_code == 0
    result = CliRunner().invoke(cli, ["verify", "events.yaml", "--source"])
    assert result.exit_code == 1
    assert "recomputed" in result.output
