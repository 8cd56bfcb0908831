"""What every destination promises of compaction: live ranges become one, and nothing that a reader sees changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from raypipe.core.acceptance import acceptance, accepted_shrunk
from raypipe.core.compaction import Compaction, compaction
from raypipe.core.fingerprint import input_fingerprint, parts_fingerprint
from raypipe.core.live_ranges import LiveRanges
from raypipe.core.merge import Combined, Keyed, parse_measure
from raypipe.core.shard import InputFile, InputPart, Outcome, Reason, Shard, Slice
from raypipe.core.state import RunState
from raypipe.core.window import Window
from raypipe.destinations.duckdb import DuckDBFile
from raypipe.destinations.memory import MemoryDestination
from raypipe.errors import Fenced, ShardError
from raypipe.ports import Destination

MERGES = {
    "newest": Keyed(("k",), ("v",)),
    "totals": Combined(
        ("g",), (parse_measure("n", "count(*)"), parse_measure("mean", "avg(x)"), parse_measure("far", "stddev(x)"))
    ),
}
FINGERPRINTS = {"clean": "c", "newest": "n", "totals": "t"}
TIES = {"_time": pa.timestamp("us"), "_source": pa.string(), "_position": pa.int64(), "_raypipe_deleted": pa.bool_()}
TYPES = {"k": pa.int64(), "v": pa.int64(), "word": pa.string(), **TIES}
FLOATS = {0: [1e16, 3.0], 1: [-1e16], 2: [1.0, 0.25], 3: [0.001, 7.7]}


@dataclass
class Place:
    """A destination with a union, a keyed and a combined table; hours are committed to it, and compacted."""

    here: Destination
    rows: Callable[[str], list[tuple[Any, ...]]]
    work: Any
    opened: Any = None

    def commit(self, *windows: Window, wait: bool = False, **how: Any) -> Any:
        self.opened = self.opened or self.here.open_run(self.work.opening(merges=MERGES, fingerprints=FINGERPRINTS))
        asked = group(self.work, self.opened, windows, self.here.snapshot(), **how)
        return asked if wait else self.here.commit(*asked)

    def asked(self, *merged: Window) -> Any:
        one = Compaction(merged)
        return compaction(self.opened, one, self.work.observed(self.here.snapshot(), one.window))

    def compact(self, *merged: Window) -> Any:
        return self.here.commit(self.asked(*merged), ())

    def tables(self) -> dict[str, list[str]]:
        """The tables as text, so that floats are compared bit by bit."""
        return {table: sorted(map(repr, self.rows(table))) for table in FINGERPRINTS}

    def live(self, output: str = "newest") -> list[tuple[Window, int]]:
        return [(one.window, one.rows) for one in self.here.snapshot().live if one.output == output]

    def unproven(self) -> list[Any]:
        return [one for one in self.here.verify() if not one.ok] if isinstance(self.here, DuckDBFile) else []


def group(work: Any, opened: Any, windows: Any, snapshot: Any, *, said: str = "", gone: bool = False, **how: Any) -> Any:
    """A task whose shards contribute to all three tables: of each hour two rows, one key of its own and one that all have."""
    numbers = {window: window.start_us // 3_600_000_000 for window in windows}
    keys = {
        window: [
            {"k": k, "v": hour, "word": f"{said}{hour}"}
            | {"_time": window.start_us, "_source": "a", "_position": k, "_raypipe_deleted": gone and k == 0}
            for k in (0, hour + 1)
        ]
        for window, hour in numbers.items()
    }
    shards = {window: {"clean": rows, "newest": rows} for window, rows in keys.items()}
    request, (staged,) = work.group(opened, shards, snapshot=snapshot, types=TYPES, **how)
    sums = pa.table(
        {
            "g": pa.array(["a" for _ in windows]),
            "n.count": pa.array([2 for _ in windows], pa.int64()),
            "mean.sum": pa.array([sum(FLOATS.get(hour, [])) for hour in numbers.values()], pa.float64()),
            "mean.count": pa.array([len(FLOATS.get(hour, [])) for hour in numbers.values()], pa.int64()),
            "far.count": pa.array([len(FLOATS.get(hour, [])) for hour in numbers.values()], pa.int64()),
            "far.mean": pa.array([FLOATS.get(hour, [None])[0] for hour in numbers.values()], pa.float64()),
            "far.m2": pa.array([0.1 * hour for hour in numbers.values()], pa.float64()),
            "_shard": staged.tables["clean"]["_shard"].unique().cast(pa.timestamp("us")),
        }
    )
    staged = replace(staged, tables={**staged.tables, "totals": sums})
    return with_true_stats(work, request, staged)


def with_true_stats(work: Any, request: Any, staged: Any) -> Any:
    """Say in the manifests what the combined contribution holds."""
    from tests.conftest import _stats

    stats = _stats(staged.tables["totals"])

    def true(result: Any) -> Any:
        return replace(result, outputs={**result.outputs, "totals": stats[result.window.start_us]})

    shards = tuple(replace(one, result=true(one.result)) for one in request.shards)
    return replace(request, shards=shards), [replace(staged, results=tuple(map(true, staged.results)))]


@pytest.fixture(params=[pytest.param("duckdb", marks=pytest.mark.slow), "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path, still_clock: Any, work: Any) -> Place:
    if request.param == "memory":
        here = MemoryDestination("p", clock=still_clock)
        return Place(here, lambda table: [tuple(sorted(row.items())) for row in here.rows(table)], work)
    file = DuckDBFile(str(tmp_path / "p.duckdb"), "p", clock=still_clock)

    def rows(table: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(file.path) as connection:
            return connection.execute(f"FROM {table}").fetchall()

    return Place(file, rows, work)


def test_tables_are_the_same_bit_for_bit_and_each_key_has_one_contribution(place: Place, work: Any) -> None:
    hours = [work.hours(one) for one in range(4)]
    place.commit(*hours)
    before, snapshot = place.tables(), place.here.snapshot()

    receipt = place.compact(*hours[:3])

    assert receipt.outcomes == {work.hours(0, 3): Outcome.COMPACTED}
    assert place.tables() == before
    assert place.live() == [(work.hours(0, 3), 4), (work.hours(3), 2)]
    assert place.live("totals") == [(work.hours(0, 3), 1), (work.hours(3), 1)]
    assert place.live("clean") == [(work.hours(0, 3), 6), (work.hours(3), 2)]
    after = place.here.snapshot()
    assert (after.coverage, after.watermark_us, after.accounts) == (snapshot.coverage, snapshot.watermark_us, snapshot.accounts)
    assert place.unproven() == []


def test_floats_that_others_come_before_stay_as_they_are(place: Place, work: Any) -> None:
    hours = [work.hours(one) for one in range(4)]
    place.commit(*hours)
    before = place.tables()
    place.compact(*hours[1:])
    assert place.tables() == before
    assert place.live("newest") == [(work.hours(0), 2), (work.hours(1, 4), 4)]
    assert place.live("totals") == [(work.hours(0), 1), (work.hours(1, 4), 3)]
    assert place.unproven() == []
    place.compact(work.hours(0), work.hours(1, 4))
    assert place.tables() == before
    assert place.live("totals") == [(work.hours(0, 4), 1)]
    assert place.unproven() == []


def test_what_is_computed_later_has_the_bits_that_it_had_without_compaction(place: Place, work: Any) -> None:
    hours = [work.hours(one) for one in range(4)]
    place.commit(*hours)
    before = place.tables()
    place.compact(*hours[:3])
    place.commit(hours[3])  # touches the group again: it is combined of the compacted range and this one
    assert place.tables()["totals"] == before["totals"]
    assert place.unproven() == []


def test_a_compacted_range_knows_the_input_of_each_of_its_parts(place: Place, work: Any) -> None:
    hours = [work.hours(one) for one in range(4)]
    for number, hour in enumerate(hours):
        place.commit(hour, input_fp=f"in{number}")
    place.compact(*hours[:2])
    place.compact(work.hours(0, 2), *hours[2:])
    parts = tuple(InputPart(hour, f"in{number}", 1) for number, hour in enumerate(hours))
    (live,) = [one for one in place.here.snapshot().live if one.output == "newest"]
    assert (live.parts, live.files, live.input_fp) == (parts, 4, parts_fingerprint(parts))
    assert place.unproven() == []


def test_a_key_falls_back_when_the_whole_range_is_replaced(place: Place, work: Any) -> None:
    place.commit(work.hours(3), said="old")
    place.commit(*[work.hours(one) for one in range(4, 7)], said="new")
    place.compact(*[work.hours(one) for one in range(4, 7)])
    assert place.here.commit(*place.commit(work.hours(4, 7), wait=True, said="again")).conflicts == ()
    words = {key: word for row in place.rows("newest") for key, word in [_key_and_word(row)]}
    assert words == {0: "again4", 5: "again4", 4: "old3"}
    assert place.unproven() == []


def _key_and_word(row: Any) -> tuple[Any, Any]:
    found = dict(row) if isinstance(row[0], tuple) else {"k": row[0], "word": row[2]}
    return found["k"], found["word"]


def test_a_deletion_outlives_compaction_and_hides_what_was_said_before(place: Place, work: Any) -> None:
    place.commit(work.hours(0), said="born")
    place.commit(work.hours(1))
    place.commit(work.hours(2), gone=True)
    before = place.tables()
    place.compact(work.hours(1), work.hours(2))
    place.commit(work.hours(0), said="born again")
    assert 0 not in {_key_and_word(row)[0] for row in place.rows("newest")}
    assert len(place.tables()["newest"]) == len(before["newest"])
    assert place.unproven() == []


def test_rows_in_quarantine_stay_with_their_accounts(place: Place, work: Any) -> None:
    hours = [work.hours(one) for one in range(3)]
    place.commit(*hours, quarantined={hours[0]: 2, hours[2]: 1})
    before = place.here.snapshot().accounts
    place.compact(*hours)
    assert place.here.snapshot().accounts == before
    assert before.quarantined == 3
    assert place.unproven() == []
    place.commit(work.hours(0, 3), quarantined={work.hours(0, 3): 1})
    assert place.here.snapshot().accounts.quarantined == 1
    assert place.unproven() == []


def test_asked_for_twice_it_happens_once(place: Place, work: Any) -> None:
    place.commit(work.hours(0), work.hours(1))
    asked = place.asked(work.hours(0), work.hours(1))
    assert place.here.commit(asked, ()) == place.here.commit(asked, ())
    assert place.here.snapshot().commit_seq == 2


def test_what_changed_since_it_was_observed_is_not_compacted(place: Place, work: Any) -> None:
    place.commit(work.hours(0), work.hours(1))
    asked, slow = place.asked(work.hours(0), work.hours(1)), place.commit(work.hours(1), wait=True, said="slow")
    place.commit(work.hours(0), said="newer")
    assert place.here.commit(asked, ()).conflicts == (work.hours(0, 2),)
    place.compact(work.hours(0), work.hours(1))
    assert place.here.commit(*slow).conflicts == (work.hours(1),)
    assert place.unproven() == []


def test_ranges_with_a_hole_or_of_another_definition_are_not_compacted(place: Place, work: Any) -> None:
    place.commit(work.hours(0), work.hours(2))
    assert place.compact(work.hours(0), work.hours(2)).conflicts == (work.hours(0, 3),)
    opening = work.opening("run2", merges=MERGES, fingerprints={**FINGERPRINTS, "newest": "other"})
    place.opened = place.here.open_run(opening)
    place.commit(work.hours(1), work.hours(2))
    assert place.compact(work.hours(0), work.hours(1)).conflicts == (work.hours(0, 2),)
    assert place.compact(work.hours(1), work.hours(2)).conflicts == ()


def test_a_run_that_has_ended_compacts_nothing(place: Place, work: Any) -> None:
    place.commit(work.hours(0), work.hours(1))
    asked = place.asked(work.hours(0), work.hours(1))
    place.here.close_run(place.opened.run_id, place.opened.epoch, RunState.DONE)
    with pytest.raises(Fenced):
        place.here.commit(asked, ())
    assert len(place.live()) == 2


def test_of_a_compacted_range_only_the_parts_are_accepted_that_shrank(place: Place, work: Any) -> None:
    hours = [work.hours(0), work.hours(1)]
    place.commit(*hours)
    place.compact(*hours)
    live = LiveRanges.of(place.here.snapshot(), tuple(FINGERPRINTS))
    left = (Slice(InputFile("file:///other.csv", 3, "v2")),)
    shards = accepted_shrunk(live, [Shard(0, hours[1], Reason.LATE, frozenset(), left)])
    assert place.here.commit(acceptance(place.opened, shards), ()).outcomes == {work.hours(0, 2): Outcome.ACCEPTED_SHRUNK}
    parts = (InputPart(hours[0], "in1", 1), InputPart(hours[1], input_fingerprint(left), 1))
    assert {(one.parts, one.input_fp) for one in place.here.snapshot().live} == {(parts, parts_fingerprint(parts))}
    assert place.unproven() == []


@pytest.mark.parametrize("place", ["duckdb"], indirect=True)
def test_contributions_that_another_program_changed_are_not_compacted(place: Place, work: Any) -> None:
    place.commit(work.hours(0), work.hours(1))
    with duckdb.connect(place.here.path) as connection:
        connection.execute("DELETE FROM _raypipe.contributions_newest WHERE k = 1")
    with pytest.raises(ShardError, match=r"table newest: the ledger says .* 4 rows, it holds 3: another program changed it"):
        place.compact(work.hours(0), work.hours(1))
    assert len(place.live()) == 2
