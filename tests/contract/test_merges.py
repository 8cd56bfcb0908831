"""What every destination promises of keyed and combined tables: one suite over all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from raypipe.core.merge import Combined, Keyed, parse_measure
from raypipe.core.window import Window
from raypipe.destinations.duckdb import DuckDBFile
from raypipe.destinations.memory import MemoryDestination
from raypipe.destinations.memory_state import MemoryStore
from raypipe.errors import ShardError, UsageError
from raypipe.ports import Destination

TYPES = {"k": pa.int64(), "word": pa.string(), "v": pa.int64()}
TIES = {"_time": pa.timestamp("us"), "_source": pa.string(), "_position": pa.int64(), "_raypipe_deleted": pa.bool_()}
NEWEST = Keyed(("k",), ("v",))
HOUR_US = 3_600_000_000


@dataclass
class Place:
    """A destination, and a look at a table of it."""

    of: Callable[[str], Destination]
    rows: Callable[[str], list[dict[str, Any]]]

    @property
    def here(self) -> Destination:
        return self.of("p")


def _on_file(tmp_path: Path, clock: Any) -> Place:
    path = tmp_path / "p.duckdb"

    def rows(table: str) -> list[dict[str, Any]]:
        with duckdb.connect(str(path)) as connection:
            found = connection.execute(f"FROM {table} ORDER BY ALL")
            names = [name for name, *_ in found.description]
            return [dict(zip(names, row, strict=True)) for row in found.fetchall()]

    return Place(lambda pipeline: DuckDBFile(str(path), pipeline, clock=clock), rows)


def _in_memory(tmp_path: Path, clock: Any) -> Place:
    store = MemoryStore()

    def rows(table: str) -> list[dict[str, Any]]:
        found = MemoryDestination("any", clock=clock, store=store).rows(table)
        return sorted((dict(row) for row in found), key=lambda row: [(one is None, str(one)) for one in row.values()])

    return Place(lambda pipeline: MemoryDestination(pipeline, clock=clock, store=store), rows)


@pytest.fixture(params=[pytest.param(_on_file, marks=pytest.mark.slow), _in_memory], ids=["duckdb", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path, still_clock: Any) -> Place:
    return request.param(tmp_path, still_clock)


on_a_file = pytest.mark.parametrize("place", [pytest.param(_on_file, marks=pytest.mark.slow)], ids=["duckdb"], indirect=True)
"""For promises about files and about SQL, which the memory destination has not got."""


class Keys:
    """Commits versions of keys to the table `newest`, hour by hour."""

    def __init__(self, place: Place, work: Any, merge: Keyed = NEWEST) -> None:
        self.place, self.work, self.merge = place, work, merge
        self.opened = self.open("run1")

    def open(self, run_id: str, **changes: Any) -> Any:
        changes = {"merges": {"newest": self.merge}, "fingerprints": {"newest": "f"}} | changes
        return self.place.here.open_run(self.work.opening(run_id, **changes))

    def commit(self, *hours: tuple[Window, list[dict[str, Any]]], **how: Any) -> Any:
        shards = {window: {"newest": [self.row(window, place, one) for place, one in enumerate(rows)]} for window, rows in hours}
        return self.place.here.commit(*self.group(shards, self.place.here.snapshot(), **how))

    def group(self, shards: dict[Window, Any], snapshot: Any, **how: Any) -> Any:
        return self.work.group(self.opened, shards, snapshot=snapshot, types=TYPES | TIES, **how)

    def row(self, window: Window, position: int, given: dict[str, Any]) -> dict[str, Any]:
        ties = {"_time": window.start_us, "_source": "a.csv", "_position": position, "_raypipe_deleted": False}
        return {"v": 1, "word": ""} | ties | given

    def words(self) -> dict[Any, str]:
        return {row["k"]: row["word"] for row in self.place.rows("newest")}


@pytest.fixture
def keys(place: Place, work: Any) -> Keys:
    return Keys(place, work)


# ---- keyed tables -----------------------------------------------------------------------------------------


def test_the_newest_version_of_a_key_stands_whatever_the_order_of_commits(keys: Keys, work: Any) -> None:
    keys.commit((work.hours(5), [{"k": 1, "v": 3, "word": "three"}, {"k": 2, "v": 1, "word": "alone"}]))
    keys.commit((work.hours(1), [{"k": 1, "v": 4, "word": "four"}]), (work.hours(7), [{"k": 1, "v": 2, "word": "two"}]))
    assert keys.words() == {1: "four", 2: "alone"}
    assert [set(row) for row in keys.place.rows("newest")] == [{"k", "word", "v"}] * 2


def test_a_backfill_takes_back_what_the_shard_said(keys: Keys, work: Any) -> None:
    keys.commit((work.hours(0), [{"k": 1, "v": 1, "word": "old"}]), (work.hours(1), [{"k": 1, "v": 2, "word": "new"}, {"k": 2}]))
    keys.commit((work.hours(1), []))
    assert keys.words() == {1: "old"}
    keys.commit((work.hours(0, 2), []))
    assert keys.words() == {}


def test_a_deletion_removes_its_key_until_a_newer_version_comes(keys: Keys, work: Any) -> None:
    keys.commit((work.hours(0), [{"k": 1, "v": 1, "word": "born"}]), (work.hours(1), [{"k": 1, "v": 2, "_raypipe_deleted": True}]))
    assert keys.words() == {}
    keys.commit((work.hours(2), [{"k": 1, "v": 3, "word": "again"}]))
    assert keys.words() == {1: "again"}
    keys.commit((work.hours(1, 3), []))
    assert keys.words() == {1: "born"}


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ({"v": None}, {"v": 0}),
        ({"_time": 5}, {"_time": 6}),
        ({"_time": 5, "_source": "a.csv"}, {"_time": 5, "_source": "b.csv"}),
        ({"_time": 5, "_source": "a.csv", "_position": 9}, {"_time": 5, "_source": "a.csv", "_position": 10}),
        ({"_time": 5, "_source": "a.csv", "_position": 9}, {"_time": 5, "_source": "b.csv", "_position": 1}),
    ],
    ids=["null is oldest", "event time", "source", "position", "source before position"],
)
@pytest.mark.parametrize("first", ["older", "newer"])
def test_ties_are_settled_by_the_rows_and_never_by_what_came_first(keys, work, older, newer, first) -> None:
    said = [{"k": 1, "word": "older", **older}, {"k": 1, "word": "newer", **newer}]
    for hour, row in enumerate(said if first == "older" else reversed(said)):
        keys.commit((work.hours(hour), [row]))
    assert keys.words() == {1: "newer"}


def test_null_is_a_key_like_others(keys: Keys, work: Any) -> None:
    keys.commit((work.hours(0), [{"k": None, "v": 1, "word": "old"}]))
    keys.commit((work.hours(1), [{"k": None, "v": 2, "word": "new"}]))
    assert keys.words() == {None: "new"}
    keys.commit((work.hours(1), []))
    assert keys.words() == {None: "old"}


def test_a_commit_asked_for_twice_and_a_zombie_change_nothing(keys: Keys, work: Any) -> None:
    before = keys.place.here.snapshot()
    window = work.hours(0)
    asked, zombie = (
        keys.group({window: {"newest": [keys.row(window, 0, {"k": 1, "word": one})]}}, before) for one in ("one", "zombie")
    )
    assert keys.place.here.commit(*asked) == keys.place.here.commit(*asked)
    assert keys.place.here.commit(*zombie).conflicts == (work.hours(0),)
    assert keys.words() == {1: "one"}


@on_a_file
def test_staged_files_are_merged_as_memory_is(keys: Keys, work: Any, tmp_path: Path) -> None:
    keys.commit((work.hours(0), [{"k": 1, "word": "one"}, {"k": 2, "word": "two"}]), folder=tmp_path)
    assert keys.words() == {1: "one", 2: "two"}


def test_a_table_cannot_be_merged_in_another_way_than_it_was_made(keys: Keys, work: Any) -> None:
    keys.commit((work.hours(0), [{"k": 1}]))
    for changed in ({"newest": Keyed(("k", "v"))}, {"newest": Combined(("k",), (parse_measure("n", "count(*)"),))}, {}):
        with pytest.raises(UsageError, match="table newest was made with another key"):
            keys.open("run2", merges=changed)
    assert keys.open("run2").epoch == 1


def test_a_contribution_of_another_kind_is_refused(keys: Keys, work: Any) -> None:
    keys.commit((work.hours(0), [{"k": 1, "word": "one"}]))
    asked = work.group(keys.opened, {work.hours(1): {"newest": [{"k": 1, "word": "two"}]}})
    with pytest.raises(ShardError, match="lacks _position"):
        keys.place.here.commit(*asked)
    assert keys.words() == {1: "one"}


def test_another_pipeline_in_the_same_place_has_tables_of_its_own(keys: Keys, place: Place, work: Any) -> None:
    keys.commit((work.hours(0), [{"k": 1, "word": "one"}]))
    other = place.of("other").open_run(work.opening("run1", fingerprints={"hourly": "f"}))
    place.of("other").commit(*work.group(other, {work.hours(0): {"hourly": [{"n": 1}]}}))
    assert keys.words() == {1: "one"}


# ---- combined tables --------------------------------------------------------------------------------------

TOTALS = Combined(("g",), (parse_measure("n", "count(*)"), parse_measure("total", "sum(x)"), parse_measure("mean", "avg(x)")))
PARTIALS = {"g": pa.string(), "n.count": pa.int64(), "total.sum": pa.float64(), "mean.sum": pa.float64(), "mean.count": pa.int64()}


class Totals(Keys):
    """Commits partial aggregates to the table `totals`."""

    def open(self, run_id: str, **changes: Any) -> Any:
        return self.place.here.open_run(
            self.work.opening(run_id, merges={"totals": TOTALS}, fingerprints={"totals": "f"}, **changes)
        )

    def add(self, hours: dict[Window, dict[Any, list[float]]]) -> None:
        rows = {
            window: [
                {
                    "g": g,
                    "n.count": len(x),
                    "total.sum": sum(x) if x else None,
                    "mean.sum": sum(x) if x else None,
                    "mean.count": len(x),
                }
                for g, x in groups.items()
            ]
            for window, groups in hours.items()
        }
        shards = {window: {"totals": found} for window, found in rows.items()}
        asked = self.work.group(self.opened, shards, snapshot=self.place.here.snapshot(), types=PARTIALS)
        assert self.place.here.commit(*asked).conflicts == ()

    def found(self) -> dict[Any, tuple[Any, ...]]:
        return {row["g"]: (row["n"], row["total"], row["mean"]) for row in self.place.rows("totals")}


@pytest.fixture
def totals(place: Place, work: Any) -> Totals:
    return Totals(place, work)


def test_groups_are_combined_over_all_of_history(totals: Totals, work: Any) -> None:
    totals.add({work.hours(0): {"a": [1.0, 2.0], "b": [5.0]}, work.hours(3): {"a": [3.0], None: [7.0]}})
    assert totals.found() == {"a": (3, 6.0, 2.0), "b": (1, 5.0, 5.0), None: (1, 7.0, 7.0)}


def test_a_group_that_no_shard_has_any_more_is_gone(totals: Totals, work: Any) -> None:
    totals.add({work.hours(0): {"a": [1.0], None: [2.0]}, work.hours(1): {"a": [4.0]}})
    totals.add({work.hours(0): {}})
    assert totals.found() == {"a": (1, 4.0, 4.0)}


def test_a_group_without_any_value_has_null_measures(totals: Totals, work: Any) -> None:
    totals.add({work.hours(0): {"a": []}, work.hours(1): {"a": []}})
    assert totals.found() == {"a": (0, None, None)}


@pytest.mark.parametrize("shards", [1, 2, 3])
def test_a_value_counts_once_however_many_shards_have_it(place: Place, work: Any, shards: int) -> None:
    merge = Combined(("g",), (parse_measure("kinds", "count(DISTINCT x)"), parse_measure("words", "count(DISTINCT w)")))
    types = {"g": pa.string(), "kinds.values": pa.list_(pa.int64()), "words.values": pa.list_(pa.string())}
    opened = place.here.open_run(work.opening("run1", merges={"totals": merge}, fingerprints={"totals": "f"}))
    said = [
        {"g": "a", "kinds.values": [1, 2 + hour], "words.values": ["x"]} for hour in range(shards)
    ] + [{"g": None, "kinds.values": [7], "words.values": None}]  # fmt: skip
    contributed = {work.hours(hour): {"totals": [said[hour], *said[shards:]]} for hour in range(shards)}
    place.here.commit(*work.group(opened, contributed, snapshot=place.here.snapshot(), types=types))
    found = {row["g"]: (row["kinds"], row["words"]) for row in place.rows("totals")}
    assert found == {"a": (1 + shards, 1), None: (1, 0)}


def test_floating_sums_are_added_in_the_order_of_ranges_and_not_of_commits(place: Place, totals: Totals, work: Any) -> None:
    values = {0: 1e16, 1: -1e16, 2: 1.0, 3: 0.001}  # 1.001 in this order, 1.0 in that of commits, 2.0 backwards
    for hour in (3, 1, 0, 2):
        totals.add({work.hours(hour): {"a": [values[hour]]}})
    due = 1.0 + 0.001
    assert totals.found()["a"][1] == due
    totals.add({work.hours(0): {"a": [values[0]]}})  # a backfill comes last and is added first
    assert totals.found()["a"][1] == due


@on_a_file
def test_only_what_a_commit_touches_is_computed_again(place: Place, totals: Totals, work: Any) -> None:
    totals.add({work.hours(0): {"a": [1.0], "b": [2.0]}})
    with duckdb.connect(place.here.path) as connection:
        connection.execute("UPDATE totals SET total = 99 WHERE g = 'b'")
    totals.add({work.hours(1): {"a": [3.0]}})
    assert {g: total for g, (_, total, _) in totals.found().items()} == {"a": 4.0, "b": 99.0}
    totals.add({work.hours(2): {"b": [3.0]}})
    assert totals.found()["b"] == (2, 5.0, 2.5)


def test_columns_that_grow_wider_carry_the_table_along(place: Place, work: Any) -> None:
    merge = Combined(("g",), (parse_measure("most", "max(x)"),))
    opened = place.here.open_run(work.opening(merges={"wide": merge}, fingerprints={"wide": "f"}))
    for hour, (kind, value) in enumerate(((pa.int16(), 300), (pa.int64(), 2**40))):
        rows = {work.hours(hour): {"wide": [{"g": "a", "most.max": value}]}}
        asked = work.group(opened, rows, types={"g": pa.string(), "most.max": kind}, snapshot=place.here.snapshot())
        place.here.commit(*asked)
    assert place.rows("wide") == [{"g": "a", "most": 2**40}]


@on_a_file
def test_a_sum_that_its_type_cannot_hold_is_an_error_and_changes_nothing(place: Place, work: Any) -> None:
    merge = Combined(("g",), (parse_measure("total", "sum(x)"),))
    opened = place.here.open_run(work.opening(merges={"sums": merge}, fingerprints={"sums": "f"}))
    types = {"g": pa.string(), "total.sum": pa.decimal128(38, 0)}
    for hour in (0, 1):
        rows = {work.hours(hour): {"sums": [{"g": "a", "total.sum": Decimal("6" + "0" * 37)}]}}
        asked = work.group(opened, rows, types=types, snapshot=place.here.snapshot())
        if hour == 0:
            place.here.commit(*asked)
        else:
            with pytest.raises(ShardError, match=r"table sums: its measures cannot be combined: .*Overflow"):
                place.here.commit(*asked)
    assert place.rows("sums") == [{"g": "a", "total": Decimal("6" + "0" * 37)}]
    assert place.here.snapshot().commit_seq == 1


def test_an_output_that_is_given_up_leaves_no_contributions_behind(place: Place, totals: Totals, work: Any) -> None:
    totals.add({work.hours(0): {"a": [1.0]}})
    place.here.open_run(replace(work.opening("run2"), merges={}))
    assert [live.output for live in place.here.snapshot().live] == []
    if isinstance(place.here, DuckDBFile):
        with duckdb.connect(place.here.path) as connection:
            left = connection.execute("SELECT table_name FROM duckdb_tables() WHERE table_name LIKE 'contributions_%'").fetchall()
        assert left == []


@on_a_file
def test_a_dropped_table_is_made_again_from_nothing(place: Place, totals: Totals, work: Any) -> None:
    totals.add({work.hours(0): {"a": [1.0]}, work.hours(1): {"a": [2.0]}})
    with duckdb.connect(place.here.path) as connection:
        connection.execute("DROP TABLE totals")
    totals.opened = totals.open("run2")
    assert place.here.snapshot().live == ()
    totals.add({work.hours(1): {"a": [2.0]}})
    assert totals.found() == {"a": (1, 2.0, 2.0)}
    assert [one for one in place.here.verify() if not one.ok] == []
