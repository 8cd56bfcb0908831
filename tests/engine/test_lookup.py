"""Lookups in reference files."""

from __future__ import annotations

import gzip
import zipfile

import polars as pl
import pytest

from raypipe.core.accounts import Accounts
from raypipe.engine.lookup import typed_column
from raypipe.pipeline import Lookup

AIRLINES = "carrier,name,fleet,code\nAA,American,900,007\nUA,United,NA,010\n,Nobody,1,1\n"


@pytest.fixture
def airlines(tmp_path):
    path = tmp_path / "airlines.csv"
    path.write_text(AIRLINES)
    return str(path)


def step(path, *, on=None, columns=None, missing="keep"):
    return Lookup(path=path, on=on or {"c": "carrier"}, columns=columns or {"airline": "name"}, missing=missing)


@pytest.fixture
def out(make_pipeline, run):
    def run_lookup(lookup, values=("UA", "ZZ", None, "AA"), word="string"):
        return run(make_pipeline({"c": word}, steps=[lookup]), {"c": list(values)})

    return run_lookup


def test_the_order_of_rows_stays_and_a_missing_key_gives_null(out, airlines):
    staged = out(step(airlines, columns={"airline": "name", "fleet": "fleet", "code": "code"}))
    assert staged.tables["out"].drop(["_shard"]).to_pylist() == [
        {"c": "UA", "airline": "United", "fleet": None, "code": "010"},
        {"c": "ZZ", "airline": None, "fleet": None, "code": None},
        {"c": None, "airline": None, "fleet": None, "code": None},
        {"c": "AA", "airline": "American", "fleet": 900, "code": "007"},
    ]


def test_a_missing_key_is_quarantined_with_its_value(out, airlines):
    staged = out(step(airlines, missing="quarantine"))
    assert staged.results[0].accounts == Accounts(read=4, loaded=2, quarantined=2)
    rows = staged.tables["_quarantine"].to_pylist()
    assert [(row["position"], row["rule"]) for row in rows] == [(1, "lookup_c"), (2, "lookup_c")]
    assert rows[0]["error"] == f"c = 'ZZ' is not in {airlines}"


def test_a_missing_key_fails_the_shard_when_it_shall(out, airlines):
    assert "rule lookup_c was broken: c = 'ZZ' is not in" in out(step(airlines, missing="fail")).failures[0].error


def test_a_key_that_occurs_twice_is_an_error_that_shows_it(out, tmp_path):
    path = tmp_path / "twice.csv"
    path.write_text("carrier,name\nAA,a\nBB,b\nAA,c\n")
    failure = out(step(str(path))).failures[0]
    assert failure.code == "configuration"
    assert failure.error.endswith("the key carrier must be unique, but 1 occur again: AA (2 rows)")


def test_a_csv_key_takes_the_type_of_the_rows(out, tmp_path):
    path = tmp_path / "numbers.csv"
    path.write_text("carrier,name\n1,one\n02,two\n")
    assert out(step(str(path)), ["2", "1"], "int64").tables["out"]["airline"].to_pylist() == ["two", "one"]
    path.write_text("carrier,name\nx,one\n")
    assert "such as 'x', but the rows' key is Int64" in out(step(str(path)), ["2"], "int64").failures[0].error


def test_reference_files_may_be_parquet_json_lines_or_packed(out, tmp_path, airlines):
    frame = pl.DataFrame({"carrier": ["AA", "UA"], "name": ["American", "United"]})
    frame.write_parquet(tmp_path / "a.parquet")
    frame.write_ndjson(tmp_path / "a.jsonl")
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(AIRLINES.encode()))
    with zipfile.ZipFile(tmp_path / "a.csv.zip", "w") as archive:
        archive.write(airlines, "airlines.csv")
    for name in ("a.parquet", "a.jsonl", "a.csv.gz", "a.csv.zip"):
        assert out(step(str(tmp_path / name)), ["UA"]).tables["out"]["airline"].to_pylist() == ["United"], name


def test_names_that_are_not_there_or_taken_are_listed_together(out, airlines):
    lookup = step(airlines, on={"x": "carier"}, columns={"c": "name"})
    error = out(lookup).failures[0].error
    assert "the rows have no column 'x'" in error
    assert "the file has no column 'carier'; it has carrier, name, fleet, code" in error
    assert "the rows already have a column 'c'" in error


def test_a_file_that_is_not_there_is_a_mistake_of_the_configuration(make_pipeline, make_runner, make_task, memory_source, tmp_path):
    runner = make_runner(
        make_pipeline({"c": "string"}, steps=[step(str(tmp_path / "gone.csv"))]),
        memory_source(pl.DataFrame({"c": ["a"], "_time": [1]})),
    )
    assert runner.run(make_task()).failures[0].code == "configuration"


@pytest.mark.parametrize(
    ("texts", "dtype"),
    [
        (["1", None], pl.Int64), (["1", "2.5"], pl.Float64), (["true", "f"], pl.Boolean), (["2020-01-01"], pl.Date),
        (["2020-01-01T00:00:00"], pl.Datetime), (["1", "x"], pl.String), (["007", "1"], pl.String), ([None], pl.Int64),
    ],
)  # fmt: skip
def test_a_csv_column_has_the_first_type_that_holds_all_of_it(texts, dtype):
    assert typed_column(pl.Series("c", texts, dtype=pl.String)).dtype == dtype
