"""Lookups in reference files."""

from __future__ import annotations

import gzip
import zipfile

import polars as pl
import pytest

from raypipe.core.accounts import Accounts
from raypipe.engine import lookup as lookups
from raypipe.engine.lookup import typed_column
from raypipe.pipeline import Lookup

AIRLINES = "carrier,name,fleet,code\nAA,American,900,007\nUA,United,NA,010\n,Nobody,1,1\n"


@pytest.fixture(autouse=True, params=[lookups.TEXT_KEYS_MAX, 0], ids=["texts by their codes", "texts by a join"])
def _both_ways(request, monkeypatch):
    monkeypatch.setattr(lookups, "TEXT_KEYS_MAX", request.param)


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
    assert "the rows have no column 'x'; they have c" in error
    assert "the file has no column 'carier'; did you mean 'carrier'?" in error
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
        ([None, " +1"], pl.Int64), (["\t-.5", "1"], pl.Float64), (["-inf", "NaN"], pl.Float64), (["Infinity "], pl.Float64),
        (["nan", "1"], pl.Float64), (["FALSE", "t"], pl.Boolean), (["T", "1"], pl.Boolean), (["true blue"], pl.String),
    ],
)  # fmt: skip
def test_a_csv_column_has_the_first_type_that_holds_all_of_it(texts, dtype):
    assert typed_column(pl.Series("c", texts, dtype=pl.String)).dtype == dtype


# ---- valid in time ----------------------------------------------------------------------------------------

HOUR_US = 3_600_000_000
RATES = (
    "k,since,rate\na,1970-01-01T02:00,20\na,1970-01-01T01:00,10\na,1970-01-01T04:00,30\nb,,1\nb,1970-01-01T03:00,2\n,1970-01-01,9\n"
)


@pytest.fixture
def rates(make_pipeline, run, tmp_path):
    """Look rates up for (key, hour) and return the rate of each."""
    path = tmp_path / "rates.csv"

    def rated(*rows, file=RATES, zone="UTC", missing="keep", **options):
        path.write_text(file)
        lookup = Lookup(path=str(path), on={"c": "k"}, columns={"rate": "rate"}, as_of="since", missing=missing)
        times = [int(hour * HOUR_US) for _, hour in rows]
        return run(
            make_pipeline({"c": "string"}, steps=[lookup], zone=zone), {"c": [key for key, _ in rows], "_time": times}, **options
        )

    return rated


def test_a_reference_row_is_valid_from_its_time_until_the_next_of_its_key(rates):
    asked = [
        ("a", 3.9),
        ("b", 2.99),
        ("a", 4),
        ("a", 1),
        ("a", 0.99),
        ("a", 2),
        ("b", 3),
        ("z", 3),
        (None, 3),
        ("a", 1.999),
        ("a", 5),
    ]
    staged = rates(*asked, hours=6)
    found = {(row["c"], row["rate"]) for row in staged.tables["out"].to_pylist()}
    assert found == {("a", 20), ("b", 1), ("a", 30), ("a", 10), ("a", None), ("b", 2), ("z", None), (None, None)}
    alone = rates(*asked, hours=6, batch_rows=1)
    assert alone.tables["out"].to_pylist() == staged.tables["out"].to_pylist()  # in the order in which they came
    assert [row["c"] for row in staged.tables["out"].to_pylist()] == [key for key, _ in asked]
    assert [row["rate"] for row in staged.tables["out"].to_pylist()] == [20, 1, 30, 10, None, 20, 2, None, None, 10, 30]


def test_a_row_before_the_first_of_its_key_is_missing_and_says_when(rates):
    staged = rates(("a", 0.5), ("a", 1.5), missing="quarantine", hours=2)
    assert [one.accounts for one in staged.results] == [Accounts(read=1, quarantined=1), Accounts(read=1, loaded=1)]
    assert staged.tables["_quarantine"]["error"].to_pylist()[0].endswith("rates.csv at 1970-01-01T00:30:00Z")


def test_times_of_the_file_are_wall_clock_in_the_zone_of_the_pipeline_unless_they_say_otherwise(rates):
    file = "k,since,rate\na,1970-01-01T02:00,1\na,1970-01-01T02:00Z,2\n"
    staged = rates(("a", 0.99), ("a", 1.0), ("a", 2.0), file=file, zone="Europe/Madrid", hours=3)  # an hour ahead of UTC
    assert staged.tables["out"]["rate"].to_pylist() == [None, 1, 2]


def test_two_rows_of_one_key_and_time_and_a_time_that_is_none_are_refused(rates):
    twice = "k,since,rate\na,1970-01-01T02:00,1\na,1970-01-01T02:00,2\n"
    failure = rates(("a", 1), file=twice, hours=2).failures[0]
    assert failure.error.endswith("the key k, since must be unique, but 1 occur again: a / 1970-01-01 02:00:00 (2 rows)")
    failure = rates(("a", 1), file="k,since,rate\na,soon,1\n", hours=2).failures[0]
    assert failure.error.endswith("column 'since' holds 'soon', expected a time that there is in UTC")
    assert failure.code == "configuration"


def test_a_time_in_parquet_keeps_its_type(make_pipeline, run, tmp_path):
    frame = pl.DataFrame({"k": ["a"], "since": pl.Series("since", [HOUR_US]).cast(pl.Datetime("us")), "rate": [7]})
    frame.write_parquet(tmp_path / "r.parquet")
    lookup = Lookup(path=str(tmp_path / "r.parquet"), on={"c": "k"}, columns={"since": "since", "rate": "rate"}, as_of="since")
    staged = run(make_pipeline({"c": "string"}, steps=[lookup]), {"c": ["a", "a"], "_time": [0, HOUR_US]}, hours=2)
    assert staged.tables["out"]["rate"].to_pylist() == [None, 7]
    assert staged.tables["out"].schema.names == ["c", "since", "rate", "_shard"]
