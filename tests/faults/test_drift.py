"""Files whose columns are not those of the contract: decided per file, before it is read; nothing is silently null."""

from __future__ import annotations

from datetime import datetime

import pyarrow as pa
import pytest

DAYS = [datetime(2026, 1, day) for day in (1, 2, 3)]
COLUMNS = {"id": {"type": "int64", "required": True}, "ts": "timestamp", "amount": "float64"}

CSV = {
    "dropped": ("id,ts\n3,2026-01-02T00:00:00\n", "column 'amount' is missing"),
    "renamed": ("id,ts,sum\n3,2026-01-02T00:00:00,5\n", "column 'amount' is missing"),
}
PARQUET = {
    "dropped": ({"id": [3], "ts": [DAYS[1]]}, "column 'amount' is missing"),
    "renamed": ({"id": [3], "ts": [DAYS[1]], "sum": [5.0]}, "column 'amount' is missing"),
    "type": ({"id": [3], "ts": [DAYS[1]], "amount": ["5"]}, "column 'amount' is String, expected float64"),
}


def write(bench, kind: str, drift: str):
    """A file of the contract for days 1 and 3, and one that drifted for day 2."""
    if kind == "csv":
        bench.write("a.csv", "id,ts,amount\n1,2026-01-01T00:00:00,1.5\n2,2026-01-03T00:00:00,2.5\n")
        return bench.write("b.csv", CSV[drift][0]), CSV[drift][1]
    bench.parquet("a.parquet", pa.table({"id": [1, 2], "ts": [DAYS[0], DAYS[2]], "amount": [1.5, 2.5]}))
    return bench.parquet("b.parquet", pa.table(PARQUET[drift][0])), PARQUET[drift][1]


CASES = [("csv", "renamed"), ("parquet", "dropped"), ("parquet", "type")]


@pytest.mark.fault(37)
@pytest.mark.parametrize(("kind", "drift"), CASES)
def test_drift_fails_the_shards_of_the_file_by_its_name_and_a_policy_repairs_them(bench, kind, drift):
    path, text = write(bench, kind, drift)
    bench.config(f"*.{kind}", columns=COLUMNS)
    ((code, error),) = bench.failed()
    assert (code, error) == (
        "schema_drift",
        f"{path}: {text}; change the contract, or set source.on_drift to evolve or quarantine",
    )
    assert bench.column("SELECT id FROM clean ORDER BY id") == [1, 2]
    report = bench.done("source.on_drift=quarantine")
    assert report.closed.rows.read == 1
    assert bench.query("SELECT source, rule, error FROM _raypipe.quarantine") == [(str(path), "drift", f"{path}: {text}")]
    assert bench.column("SELECT id FROM clean ORDER BY id") == [1, 2]


@pytest.mark.fault(37)
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_column_that_is_missing_is_null_only_where_the_person_says_evolve(bench, kind):
    write(bench, kind, "dropped")
    bench.config(f"*.{kind}", columns=COLUMNS, source__on_drift="evolve")
    bench.done()
    assert bench.query("SELECT id, amount FROM clean ORDER BY id") == [(1, 1.5), (2, 2.5), (3, None)]


def write_added(bench, kind: str):
    """A file of the contract for day 1, and one with a column more for day 2."""
    if kind == "csv":
        bench.write("a.csv", "id,ts,amount\n1,2026-01-01T00:00:00,1.5\n")
        return bench.write("b.csv", "id,ts,extra,amount\n2,2026-01-02T00:00:00,new,2.5\n")
    if kind == "jsonl":
        bench.write("a.jsonl", '{"id": 1, "ts": "2026-01-01T00:00:00", "amount": 1.5}\n')
        return bench.write("b.jsonl", '{"id": 2, "ts": "2026-01-02T00:00:00", "extra": "new", "amount": 2.5}\n')
    bench.parquet("a.parquet", pa.table({"id": [1], "ts": DAYS[:1], "amount": [1.5]}))
    return bench.parquet("b.parquet", pa.table({"id": [2], "ts": DAYS[1:2], "extra": ["new"], "amount": [2.5]}))


@pytest.mark.fault(37)
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_column_that_was_added_is_ignored_without_a_word_in_the_contract(bench, kind):
    write_added(bench, kind)
    bench.config(f"*.{kind}", columns=COLUMNS)
    bench.done()
    assert bench.query("SELECT * EXCLUDE (_shard, ts) FROM clean ORDER BY id") == [(1, 1.5), (2, 2.5)]


@pytest.mark.fault(37)
@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_column_that_was_added_is_kept_where_the_person_says_keep(bench, kind):
    write_added(bench, kind)
    bench.config(f"*.{kind}", columns=COLUMNS, source__extra_columns="keep")
    bench.done()
    assert bench.query("SELECT id, amount, extra FROM clean ORDER BY id") == [(1, 1.5, None), (2, 2.5, "new")]


@pytest.mark.fault(37)
@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_column_that_was_added_fails_the_shards_of_its_file_where_the_person_says_fail(bench, kind):
    path = write_added(bench, kind)
    bench.config(f"*.{kind}", columns=COLUMNS, source__extra_columns="fail")
    ((code, error),) = bench.failed()
    assert code == "schema_drift"
    assert f"{path}: column 'extra' is not in the contract (extra_columns: fail)" in error
    assert bench.column("SELECT id FROM clean") == [1]


@pytest.mark.fault(37)
def test_a_file_without_the_event_time_column_fails_by_name_or_is_set_aside(bench):
    bench.write("a.csv", "id,ts,amount\n1,2026-01-01T00:00:00,1.5\n")
    path = bench.write("b.csv", "id,at,amount\n2,2026-01-02T00:00:00,2.5\n")
    bench.config("*.csv", columns=COLUMNS)
    failures = bench.failed()
    assert {code for code, _ in failures} == {"schema_drift"}
    assert all(error.startswith(f"{path}: has no event time column 'ts', its columns are id, at, amount") for _, error in failures)
    bench.done("source.on_drift=quarantine")
    assert bench.query("SELECT source, rule FROM _raypipe.quarantine") == [(str(path), "no_event_time")]
    assert bench.column("SELECT id FROM clean") == [1]


@pytest.mark.fault(38)
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_file_of_nothing_but_nulls_has_the_types_of_the_contract(bench, kind):
    """Engines that infer types call such a column null, text or whole numbers."""
    if kind == "csv":
        bench.write("a.csv", "id,ts,amount\n1,2026-01-01T00:00:00,\n")
        bench.write("b.csv", "id,ts,amount\n2,2026-01-02T00:00:00,7\n")
    else:
        bench.parquet("a.parquet", pa.table({"id": [1], "ts": DAYS[:1], "amount": pa.nulls(1)}))
        bench.parquet("b.parquet", pa.table({"id": [2], "ts": DAYS[1:2], "amount": pa.array([7], pa.int32())}))
    bench.config(f"*.{kind}", columns=COLUMNS)
    bench.done()
    assert bench.query("SELECT id, amount, typeof(amount) FROM clean ORDER BY id") == [(1, None, "DOUBLE"), (2, 7.0, "DOUBLE")]


@pytest.mark.fault(38)
def test_parquet_without_a_contract_is_not_mixed_when_its_types_change(bench):
    bench.parquet("a.parquet", pa.table({"id": [1], "ts": DAYS[:1], "amount": [1]}))
    bench.parquet("b.parquet", pa.table({"id": [2, 3], "ts": DAYS[1:], "amount": ["two", "three"]}))
    bench.config("*.parquet", columns={})
    failures = bench.failed()
    assert {code for code, _ in failures} == {"shard"}
    for _, error in failures:
        assert error.startswith("table clean, column amount: the table has ")
        assert "and no type holds both safely. Cast the column in the pipeline" in error
    loaded = bench.column("SELECT id FROM clean ORDER BY id")
    assert (loaded, len(failures)) in (([1], 2), ([2, 3], 1))  # whichever is committed first
