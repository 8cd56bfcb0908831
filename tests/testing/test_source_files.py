"""Rows come back from the files that are written for them, in every format, as they were given."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import raypipe
from raypipe.pipeline import Column, CsvDialect, FilesSource, Quality, RowsOutput
from raypipe.testing import write_rows

ROWS = [
    {"ts": datetime(2026, 1, 1, 5), "n": 1, "kind": 'say "a, b"', "flag": True, "amount": Decimal("1.50"), "day": date(2026, 1, 2)},
    {"ts": datetime(2026, 1, 2, 5), "n": None, "kind": "", "flag": False, "amount": None, "day": None},
    {"ts": datetime(2026, 1, 3, 5), "n": -3, "kind": "ñandú", "flag": None, "amount": Decimal("-0.25"), "day": date(1999, 12, 31)},
]
PLAIN = CsvDialect(nulls=("NA",))
TYPES = {"ts": "timestamp", "n": "int64", "kind": "string", "flag": "bool", "amount": "decimal(6,2)", "day": "date"}


def reading(pipeline, tmp_path, **source):
    columns = {name: Column(type=raypipe.parse_datatype(word)) for name, word in TYPES.items()}
    files = FilesSource(paths=(f"{tmp_path}/*.*",), columns=columns, **source)
    return replace(pipeline, source=files, quality=Quality(), transform=(), outputs=(RowsOutput(table="clean"),))


def loaded(pipeline):
    assert raypipe.run(pipeline, executor="inline").closed.status == "done"
    with duckdb.connect(pipeline.destination.path, read_only=True) as connection:
        names = ", ".join(TYPES)
        found = connection.execute(f"SELECT {names} FROM clean ORDER BY ts").fetchall()
    return [dict(zip(TYPES, row, strict=True)) for row in found]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("rows.csv", {"format": "csv", "csv": PLAIN}),
        ("rows.csv", {"format": "csv", "csv": replace(PLAIN, delimiter=";", quote="'", header=False, encoding="utf-16")}),
        ("rows.jsonl", {"format": "jsonl"}),
        ("rows.parquet", {"format": "parquet"}),
    ],
)  # fmt: skip
def test_rows_are_read_back_as_they_were_written(counted, tmp_path, name, source):
    pipeline = reading(counted, tmp_path, **source)
    write_rows(pipeline, ROWS, tmp_path / name)
    assert loaded(pipeline) == ROWS


def test_arrow_tables_are_written_too(counted, tmp_path):
    table = pa.Table.from_pylist(ROWS)
    parquet = replace(counted, source=replace(counted.source, format="parquet"))
    assert pq.read_table(write_rows(parquet, table, tmp_path / "a.parquet")).equals(table)
    lines = write_rows(counted, table, tmp_path / "a.csv").read_text().splitlines()
    assert lines[1] == '2026-01-01T05:00:00,1,"say ""a, b""",true,1.50,2026-01-02'


@pytest.mark.parametrize(
    ("form", "text"),
    [("epoch_s", "1767243600"), ("epoch_ms", "1767243600000"), ("epoch_us", "1767243600000000"), ("%d.%m.%Y %H", "01.01.2026 05")],
)
def test_event_times_are_written_in_the_format_of_the_pipeline(counted, tmp_path, form, text):
    pipeline = replace(counted, time=replace(counted.time, format=form))
    for moment in (datetime(2026, 1, 1, 5), datetime(2026, 1, 1, 5, tzinfo=UTC)):
        path = write_rows(pipeline, [{"ts": moment, "n": 1, "kind": "a"}], tmp_path / "a.csv")
        assert path.read_text() == f"ts,n,kind\n{text},1,a\n"


def test_an_event_time_within_an_object_is_written_there(counted, tmp_path):
    nested = replace(
        counted,
        time=replace(counted.time, column="payload.ts", format="epoch_s"),
        source=replace(counted.source, format="jsonl"),
    )
    path = write_rows(nested, [{"payload": {"ts": datetime(2026, 1, 1, 5), "x": [1]}}], tmp_path / "a.jsonl")
    assert path.read_text() == '{"payload": {"ts": 1767243600, "x": [1]}}\n'


def test_the_files_are_old_enough_to_be_read_once(counted, tmp_path):
    path = write_rows(counted, [], tmp_path / "a.csv")
    assert path.read_text() == "ts,n,kind\n"
    assert path.stat().st_mtime < time.time() - 30
