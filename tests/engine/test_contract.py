"""The contract: typed columns, required columns, drift, extra columns."""

from __future__ import annotations

import datetime as dt

import polars as pl
import pytest

from raypipe.core.accounts import Accounts


def quarantined(staged):
    return [(row["position"], row["rule"], row["error"]) for row in staged.tables["_quarantine"].to_pylist()]


def test_a_row_that_does_not_fit_is_quarantined_once_under_the_first_column_in_order(make_pipeline, run):
    pipeline = make_pipeline({"n": "int64!", "f": "float64"})
    staged = run(pipeline, {"f": ["1.5", "y", "z"], "n": ["1", "x", None]})
    assert staged.tables["out"].drop(["_shard"]).to_pylist() == [{"n": 1, "f": 1.5}]
    assert quarantined(staged) == [
        (1, "type_n", "n: got 'x', expected int64"),
        (2, "required_n", "n: got no value, but it is required"),
    ]
    result = staged.results[0]
    assert result.accounts == Accounts(read=3, loaded=1, quarantined=2)
    assert result.broken == {"type_n": 1, "type_f": 2, "required_n": 1}


def test_quarantine_keeps_the_row_as_the_source_had_it(make_pipeline, run):
    staged = run(make_pipeline({"n": "int64"}, extra_columns="keep"), {"n": ["x"], "other": ['é"\x00']})
    row = staged.tables["_quarantine"].to_pylist()[0]
    assert row["raw"] == '{"n": "x", "other": "é\\"\\u0000"}'
    assert (row["source"], row["position"], row["truncated"]) == ("events.csv", 0, False)


def test_a_huge_raw_row_is_cut_and_says_so(make_pipeline, run):
    staged = run(make_pipeline({"n": "int64"}), {"n": ["x" * 100_000]})
    row = staged.tables["_quarantine"].to_pylist()[0]
    assert row["truncated"]
    assert len(row["raw"]) == 16_384
    assert len(row["error"]) < 200


def test_columns_come_out_in_the_order_of_the_contract_and_others_are_left_out_or_kept(make_pipeline, run):
    rows = {"z": ["1"], "b": ["2"], "a": ["3"]}
    assert run(make_pipeline({"a": "int8", "b": "string"}), rows).tables["out"].column_names == ["a", "b", "_shard"]
    kept = run(make_pipeline({"a": "int8", "b": "string"}, extra_columns="keep"), rows)
    assert kept.tables["out"].column_names == ["a", "b", "z", "_shard"]


def test_an_extra_column_fails_the_shard_when_it_is_forbidden(make_pipeline, run):
    staged = run(make_pipeline({"a": "string"}, extra_columns="fail"), {"a": ["x"], "b": ["y"]})
    assert staged.failures[0].code == "schema_drift"
    assert "column 'b' is not in the contract" in staged.failures[0].error


def test_a_missing_column_fails_the_shard_by_default_and_names_the_file(make_pipeline, run):
    staged = run(make_pipeline({"a": "string", "b": "string"}), {"a": ["x"]})
    assert (staged.results, staged.tables) == ((), {})
    assert staged.failures[0].code == "schema_drift"
    assert staged.failures[0].error.startswith("events.csv: column 'b' is missing")


def test_evolve_fills_a_missing_column_with_nulls_but_a_required_one_is_still_required(make_pipeline, run):
    staged = run(make_pipeline({"a": "string", "b": "int8"}, on_drift="evolve"), {"a": ["x"]})
    assert staged.tables["out"].drop(["_shard"]).to_pylist() == [{"a": "x", "b": None}]
    assert staged.results[0].warnings == ("events.csv: column 'b' is missing (on_drift: evolve)",)
    staged = run(make_pipeline({"a": "string", "b": "int8!"}, on_drift="evolve"), {"a": ["x"]})
    assert quarantined(staged) == [(0, "required_b", "b: got no value, but it is required")]


def test_drifted_rows_are_quarantined_when_the_pipeline_says_so(make_pipeline, run):
    staged = run(make_pipeline({"a": "string", "b": "int8"}, on_drift="quarantine"), {"a": ["x", "y"]})
    assert quarantined(staged) == [
        (0, "drift", "events.csv: column 'b' is missing"),
        (1, "drift", "events.csv: column 'b' is missing"),
    ]
    assert staged.tables["out"].num_rows == 0
    assert staged.results[0].accounts == Accounts(read=2, quarantined=2)


def test_a_missing_json_key_is_null_not_drift(make_pipeline, run):
    staged = run(make_pipeline({"a": "string", "b": "int8"}, format="jsonl"), {"a": ["x"]})
    assert staged.tables["out"].drop(["_shard"]).to_pylist() == [{"a": "x", "b": None}]


def test_a_json_value_of_another_kind_breaks_its_row(make_pipeline, run):
    staged = run(make_pipeline({"a": "int8"}, format="jsonl"), {"a": [[1], None]})
    assert quarantined(staged) == [(0, "type_a", "a: got [1], expected int8")]
    assert staged.results[0].accounts == Accounts(read=2, loaded=1, quarantined=1)


def test_parquet_types_widen_silently_and_drift_otherwise(make_pipeline, run):
    narrow = {"a": pl.Series([1, 300], dtype=pl.Int32)}
    wide = run(make_pipeline({"a": "int64"}, format="parquet"), narrow)
    assert wide.tables["out"].schema.field("a").type == "int64"
    drifted = run(make_pipeline({"a": "int8"}, format="parquet"), narrow)
    assert "column 'a' is Int32, expected int8" in drifted.failures[0].error
    evolved = run(make_pipeline({"a": "int8"}, format="parquet", on_drift="evolve"), narrow)
    assert quarantined(evolved) == [(1, "type_a", "a: got 300, expected int8")]


@pytest.mark.parametrize("on_drift", ["fail", "evolve"])
def test_a_type_with_nothing_in_common_fails_whatever_the_policy(make_pipeline, run, on_drift):
    staged = run(make_pipeline({"a": "int8"}, format="parquet", on_drift=on_drift), {"a": [[1]]})
    assert staged.failures[0].code == "schema_drift"


def test_only_the_shards_with_rows_of_a_drifted_file_fail(make_pipeline, make_runner, make_task, memory_source):
    class TwoFiles(memory_source):
        def read(self, windows, slices, columns):
            yield from memory_source(pl.DataFrame({"a": ["x"], "b": ["1"], "_time": [1]})).read(windows, slices, columns)
            yield from memory_source(pl.DataFrame({"a": ["x"], "_time": [3_600_000_001]})).read(windows, slices, columns)

    staged = make_runner(make_pipeline({"a": "string", "b": "string"}), TwoFiles(pl.DataFrame())).run(make_task(3))
    assert [one.window.start_us for one in staged.results] == [0, 7_200_000_000]
    assert [one.code for one in staged.failures] == ["schema_drift"]
    assert staged.tables["out"].num_rows == 1


def test_files_that_differ_without_a_contract_fail_with_the_difference(make_pipeline, make_runner, make_task, memory_source):
    class TwoFiles(memory_source):
        def read(self, windows, slices, columns):
            yield from memory_source(pl.DataFrame({"a": [1], "_time": [1]})).read(windows, slices, columns)
            yield from memory_source(pl.DataFrame({"a": ["x"], "_time": [2]})).read(windows, slices, columns)

    staged = make_runner(make_pipeline(format="parquet"), TwoFiles(pl.DataFrame())).run(make_task())
    assert staged.failures[0].code == "schema_drift"
    assert "a: int64" in staged.failures[0].error


def test_a_column_with_a_name_of_raypipes_own_is_refused_not_overwritten(make_pipeline, run):
    failure = run(make_pipeline(format="parquet"), {"_shard": [1]}).failures[0]
    assert failure.code == "configuration"
    assert failure.error == "the source has a column '_shard', a name that raypipe keeps for itself: rename it there"


def test_raw_rows_are_json_whatever_stands_in_them(make_pipeline, run):
    rows = {"n": [300], "f": [float("nan")], "b": [b"\xff"], "d": [dt.date(2020, 1, 2)]}
    staged = run(make_pipeline({"n": "int8", "f": "float64"}, format="parquet", on_drift="evolve", extra_columns="keep"), rows)
    assert staged.tables["_quarantine"].to_pylist()[0]["raw"] == '{"n": 300, "f": "nan", "b": "/w==", "d": "2020-01-02"}'
