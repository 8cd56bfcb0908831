"""Lists of all values become lists of each once, in the order that DuckDB gives them."""

from __future__ import annotations

import datetime
import random

import duckdb
import pyarrow as pa
import pytest

from raypipe.engine import distinct_values
from raypipe.engine.distinct_values import LONG, each_once

VALUES = {
    "int64": (pa.int64(), [5, -3, 2**62, -(2**63), 0]),
    "uint64": (pa.uint64(), [5, 2**64 - 1, 0]),
    "float64": (pa.float64(), [1.5, float("nan"), float("inf"), -float("inf"), 0.0]),
    "string": (pa.string(), ["b", "ä", "", "a\n", "\U0001f600", "\uffff"]),
    "bool": (pa.bool_(), [True, False]),
    "date": (pa.date32(), [datetime.date(2026, 1, 1), datetime.date(1900, 1, 1)]),
    "timestamp": (pa.timestamp("us"), [datetime.datetime(2026, 1, 1, 1), datetime.datetime(1900, 1, 1)]),
    "timestamptz": (pa.timestamp("us", "UTC"), [datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)]),
}


@pytest.mark.parametrize("lengths", [[3, None, 1, 5], [LONG * 2, None, LONG * 3, 1], [None], []], ids=str)
@pytest.mark.parametrize("name", VALUES)
def test_each_value_stands_once_as_duckdb_would_have_it(name, lengths):
    kind, values = VALUES[name]
    chance = random.Random(7)
    lists = [None if length is None else chance.choices(values, k=length) for length in lengths]
    given = pa.record_batch({"kept": range(len(lists)), "v": pa.array(lists, pa.list_(kind))})
    found = each_once(given, frozenset({"v"}))
    assert found.schema == given.schema
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        expected = connection.sql("SELECT kept, list_sort(list_distinct(v)) AS v FROM given").to_arrow_table()
    assert list(map(repr, found.to_pylist())) == list(map(repr, expected.to_pylist()))


def test_long_lists_are_settled_in_slices(monkeypatch):
    monkeypatch.setattr(distinct_values, "SLICE_VALUES", LONG * 3)
    lists = [[*range(LONG * length), 0] for length in (1, 1, 5, 1, 2)]
    found = each_once(pa.record_batch({"v": pa.array(lists, pa.list_(pa.int64()))}), frozenset({"v"}))
    assert found["v"].to_pylist() == [list(range(LONG * length)) for length in (1, 1, 5, 1, 2)]
