"""What every destination promises: one suite over all of them."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from raypipe.core.acceptance import acceptance, accepted_shrunk, accepted_stale
from raypipe.core.accounts import Accounts
from raypipe.core.commit import CommitRequest, ShardCommit
from raypipe.core.fingerprint import input_fingerprint
from raypipe.core.live_ranges import LiveRanges
from raypipe.core.shard import Outcome, Reason, Shard, ShardFailure
from raypipe.core.state import RunKind, RunState, Snapshot
from raypipe.core.window import Window
from raypipe.errors import AccountsDontBalance, Fenced, RunIsAlive, ShardError, UsageError
from raypipe.ports import Destination

HOUR_US = 3_600_000_000


@dataclass
class Place:
    """A destination under test, and how to look at it and disturb it without raypipe."""

    of: Callable[[str], Destination]
    rows: Callable[[str], list[dict[str, Any]]]
    make_foreign: Callable[[str], None]
    untouched: Callable[[], bool]

    @property
    def flights(self) -> Destination:
        return self.of("flights")


def _duckdb_place(tmp_path: Path, clock: Any) -> Place:
    import duckdb

    from raypipe.destinations.duckdb import DuckDBFile

    path = tmp_path / "data" / "flights.duckdb"

    def rows(table: str) -> list[dict[str, Any]]:
        with duckdb.connect(str(path)) as connection:
            found = connection.execute(f'SELECT * EXCLUDE (_shard) FROM "{table}" ORDER BY ALL')
            names = [name for name, *_ in found.description]
            return [dict(zip(names, row, strict=True)) for row in found.fetchall()]

    def make_foreign(table: str) -> None:
        path.parent.mkdir(exist_ok=True)
        with duckdb.connect(str(path)) as connection:
            connection.execute(f'CREATE TABLE "{table}" (x INTEGER)')

    return Place(
        lambda pipeline: DuckDBFile(str(path), pipeline, clock=clock), rows, make_foreign, lambda: not any(tmp_path.iterdir())
    )


def _memory_place(tmp_path: Path, clock: Any) -> Place:
    from raypipe.destinations.memory import MemoryDestination
    from raypipe.destinations.memory_state import MemoryStore

    store = MemoryStore()

    def rows(table: str) -> list[dict[str, Any]]:
        found = MemoryDestination("any", clock=clock, store=store).rows(table)
        plain = [{name: value for name, value in row.items() if name != "_shard"} for row in found]
        return sorted(plain, key=lambda row: sorted(row.items(), key=str))

    return Place(
        lambda pipeline: MemoryDestination(pipeline, clock=clock, store=store),
        rows,
        lambda table: store.tables.update({table: {}}),
        lambda: not store.pipelines,
    )


@pytest.fixture(params=[pytest.param(_duckdb_place, marks=pytest.mark.slow), _memory_place], ids=["duckdb", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path, still_clock: Any) -> Place:
    return request.param(tmp_path, still_clock)


def n(*values: int) -> dict[str, list[dict[str, int]]]:
    """A contribution to `hourly`."""
    return {"hourly": [{"n": value} for value in values]}


# ---- first commits ----------------------------------------------------------------------------------------


def test_a_snapshot_of_nothing_is_empty_and_creates_nothing(place: Place) -> None:
    assert place.flights.snapshot() == Snapshot()
    assert place.flights.cancel(None) == ()
    assert place.untouched()


def test_the_first_commit_is_visible_with_its_ledger(place: Place, work: Any) -> None:
    opened = place.flights.open_run(work.opening(outside=3))
    first, second = work.hours(0), work.hours(1)
    receipt = place.flights.commit(*work.group(opened, {first: n(1, 2), second: {}}, quarantined={first: 3}))
    assert receipt.outcomes == {first: Outcome.LOADED, second: Outcome.EMPTY}
    assert (receipt.commit_seq, receipt.conflicts) == (1, ())
    assert place.rows("hourly") == [{"n": 1}, {"n": 2}]
    snapshot = place.flights.snapshot()
    assert snapshot.commit_seq == 1
    assert snapshot.watermark_us == 2 * HOUR_US
    assert snapshot.coverage == {"hourly": (Window(0, 2 * HOUR_US),), "clean": (Window(0, 2 * HOUR_US),)}
    assert snapshot.accounts == Accounts(read=7, loaded=2, filtered=2, quarantined=3)
    assert snapshot.outside == 3
    assert [(live.output, live.window, live.rows, live.seq, live.files) for live in snapshot.live] == [
        ("clean", first, 0, 1, 1), ("hourly", first, 2, 1, 1), ("clean", second, 0, 1, 1), ("hourly", second, 0, 1, 1),
    ]  # fmt: skip
    (run,) = snapshot.runs
    assert (run.run_id, run.state, run.epoch, run.committed, run.failed) == ("run1", RunState.OPEN, 1, 2, 0)


def test_a_commit_asked_for_twice_happens_once_and_has_one_receipt(place: Place, work: Any) -> None:
    opened = place.flights.open_run(work.opening())
    asked = work.group(opened, {work.hours(0): n(1), work.hours(1): n(2)})
    assert place.flights.commit(*asked) == place.flights.commit(*asked)
    assert place.rows("hourly") == [{"n": 1}, {"n": 2}]
    assert place.flights.snapshot().commit_seq == 1


def test_a_receipt_asked_for_again_names_the_conflicts_again(place: Place, work: Any) -> None:
    opened = place.flights.open_run(work.opening())
    place.flights.commit(*work.group(opened, {work.hours(0): n(1)}))
    asked = work.group(opened, {work.hours(0): n(9), work.hours(1): n(2)})
    receipt = place.flights.commit(*asked)
    assert (receipt.outcomes, receipt.conflicts) == ({work.hours(1): Outcome.LOADED}, (work.hours(0),))
    assert place.flights.commit(*asked) == receipt
    assert place.rows("hourly") == [{"n": 1}, {"n": 2}]


def test_the_watermark_stops_at_the_first_gap_of_any_output(place: Place, work: Any) -> None:
    opened = place.flights.open_run(work.opening())
    place.flights.commit(*work.group(opened, {work.hours(1): n(1)}))
    assert place.flights.snapshot().watermark_us is None
    place.flights.commit(*work.group(opened, {work.hours(0): n(1), work.hours(3): n(1)}))
    snapshot = place.flights.snapshot()
    assert snapshot.watermark_us == 2 * HOUR_US
    assert snapshot.coverage["hourly"] == (work.hours(0, 2), work.hours(3))
    grown = place.flights.open_run(work.opening("run2", fingerprints={"hourly": "f1", "clean": "g1", "new": "h"}))
    assert place.flights.snapshot().watermark_us is None
    assert grown.definitions == {"hourly": 1, "clean": 1, "new": 1}


# ---- compare and set --------------------------------------------------------------------------------------


def test_a_shard_committed_by_another_since_it_was_observed_is_a_conflict(place: Place, work: Any) -> None:
    opened = place.flights.open_run(work.opening())
    before = place.flights.snapshot()
    place.flights.commit(*work.group(opened, {work.hours(0): n(1)}))
    receipt = place.flights.commit(*work.group(opened, {work.hours(0): n(2)}, snapshot=before))
    assert (receipt.outcomes, receipt.conflicts) == ({}, (work.hours(0),))
    assert place.rows("hourly") == [{"n": 1}]
    assert place.flights.snapshot().commit_seq == 1


def test_a_shard_seen_as_it_stands_is_replaced_whole(place: Place, work: Any) -> None:
    opened = place.flights.open_run(work.opening())
    place.flights.commit(*work.group(opened, {work.hours(0): n(1, 2), work.hours(1): n(3)}, quarantined={work.hours(0): 2}))
    again = work.group(opened, {work.hours(0): n(7)}, snapshot=place.flights.snapshot(), input_fp="in2")
    assert place.flights.commit(*again).outcomes == {work.hours(0): Outcome.LOADED}
    assert place.rows("hourly") == [{"n": 3}, {"n": 7}]
    snapshot = place.flights.snapshot()
    assert [(live.seq, live.input_fp) for live in snapshot.live if live.output == "hourly"] == [(2, "in2"), (1, "in1")]
    assert snapshot.accounts == Accounts(read=4, loaded=2, filtered=2)


def test_a_commit_never_cuts_a_live_range(place: Place, work: Any) -> None:
    opened = place.flights.open_run(work.opening())
    place.flights.commit(*work.group(opened, {work.hours(0, 4): n(1)}))
    snapshot = place.flights.snapshot()
    receipt = place.flights.commit(*work.group(opened, {work.hours(1, 2): n(2), work.hours(4): n(3)}, snapshot=snapshot))
    assert receipt.conflicts == (work.hours(1, 2),)
    assert place.rows("hourly") == [{"n": 1}, {"n": 3}]


def test_a_wider_shard_replaces_all_ranges_that_it_covers(place: Place, work: Any) -> None:
    opened = place.flights.open_run(work.opening())
    place.flights.commit(*work.group(opened, {work.hours(hour): n(hour) for hour in range(5)}))
    receipt = place.flights.commit(*work.group(opened, {work.hours(1, 4): n(10)}, snapshot=place.flights.snapshot()))
    assert receipt.conflicts == ()
    assert place.rows("hourly") == [{"n": 0}, {"n": 4}, {"n": 10}]
    snapshot = place.flights.snapshot()
    assert [live.window for live in snapshot.live if live.output == "hourly"] == [work.hours(0), work.hours(1, 4), work.hours(4)]
    assert snapshot.coverage["hourly"] == (work.hours(0, 5),)


def test_of_an_overlapping_pair_in_a_group_only_the_first_goes_on(place: Place, work: Any) -> None:
    opened = place.flights.open_run(work.opening())
    asked, left = work.group(opened, {work.hours(0, 2): n(1)})
    other, also_left = work.group(opened, {work.hours(1, 3): n(2)})
    both = replace(asked, shards=(*other.shards, *asked.shards), commit_id="both")
    receipt = place.flights.commit(both, [*left, *also_left])
    assert (receipt.outcomes, receipt.conflicts) == ({work.hours(0, 2): Outcome.LOADED}, (work.hours(1, 3),))
    assert place.rows("hourly") == [{"n": 1}]


def test_only_the_attempt_that_is_asked_for_is_taken_from_what_is_staged(place: Place, work: Any) -> None:
    opened = place.flights.open_run(work.opening())
    _, zombie = work.group(opened, {work.hours(0): n(66)})
    asked, left = work.group(opened, {work.hours(0): n(1), work.hours(1): n(2)})
    place.flights.commit(replace(asked, shards=asked.shards[:1]), [*zombie, *left])
    assert place.rows("hourly") == [{"n": 1}]


# ---- all or nothing ---------------------------------------------------------------------------------------


def test_an_atomic_group_with_one_conflict_changes_nothing(place: Place, work: Any) -> None:
    opened = place.flights.open_run(work.opening())
    place.flights.commit(*work.group(opened, {work.hours(0): n(1)}))
    receipt = place.flights.commit(*work.group(opened, {work.hours(0): n(2), work.hours(1): n(3)}, atomic=True))
    assert (receipt.outcomes, receipt.conflicts) == ({}, (work.hours(0),))
    assert place.rows("hourly") == [{"n": 1}]
    assert place.flights.snapshot().coverage["hourly"] == (work.hours(0),)


def test_an_atomic_group_with_one_superseded_shard_is_superseded_whole(place: Place, work: Any) -> None:
    old = place.flights.open_run(work.opening("old"))
    new = place.flights.open_run(work.opening("new", fingerprints={"hourly": "f2", "clean": "g1"}))
    place.flights.commit(*work.group(new, {work.hours(0): n(1)}))
    asked = work.group(old, {work.hours(0): n(2), work.hours(1): n(3)}, snapshot=place.flights.snapshot(), atomic=True)
    assert set(place.flights.commit(*asked).outcomes.values()) == {Outcome.SUPERSEDED}
    assert place.rows("hourly") == [{"n": 1}]


def test_a_contribution_with_other_rows_than_its_manifest_changes_nothing(place: Place, work: Any) -> None:
    opened = place.flights.open_run(work.opening())
    asked, left = work.group(opened, {work.hours(0): n(1, 2)})
    cut = replace(left[0], tables={**left[0].tables, "hourly": left[0].tables["hourly"].slice(1)})
    with pytest.raises(ShardError, match="2"):
        place.flights.commit(asked, [cut])
    snapshot = place.flights.snapshot()
    assert (snapshot.commit_seq, snapshot.live) == (0, ())
    assert place.flights.commit(asked, left).commit_seq == 1


def test_accounts_that_do_not_balance_are_refused(place: Place, work: Any) -> None:
    opened = place.flights.open_run(work.opening())
    asked, left = work.group(opened, {work.hours(0): n(1)})
    wrong = replace(asked.shards[0], result=replace(asked.shards[0].result, accounts=Accounts(read=5)))
    with pytest.raises(AccountsDontBalance, match="1970-01-01T00:00:00Z"):
        place.flights.commit(replace(asked, shards=(wrong,)), left)


def test_quarantined_rows_that_are_missing_are_noticed(place: Place, work: Any) -> None:
    opened = place.flights.open_run(work.opening())
    asked, left = work.group(opened, {work.hours(0): n(1)}, quarantined={work.hours(0): 2})
    bare = {name: table for name, table in left[0].tables.items() if name != "_quarantine"}
    with pytest.raises(ShardError, match=r"quarantined|aside"):
        place.flights.commit(asked, [replace(left[0], tables=bare)])


# ---- outcomes ---------------------------------------------------------------------------------------------


def test_an_older_definition_is_superseded_and_leaves_the_table_alone(place: Place, work: Any) -> None:
    old = place.flights.open_run(work.opening("old"))
    new = place.flights.open_run(work.opening("new", fingerprints={"hourly": "f2", "clean": "g1"}))
    assert new.definitions == {"hourly": 2, "clean": 1}
    place.flights.commit(*work.group(new, {work.hours(0): n(1)}))
    asked = work.group(old, {work.hours(0): n(2), work.hours(1): n(3)}, snapshot=place.flights.snapshot())
    assert place.flights.commit(*asked).outcomes == {work.hours(0): Outcome.SUPERSEDED, work.hours(1): Outcome.LOADED}
    assert place.rows("hourly") == [{"n": 1}, {"n": 3}]


def test_a_satisfied_shard_is_ledgered_and_changes_no_table(place: Place, work: Any) -> None:
    opened = place.flights.open_run(work.opening())
    place.flights.commit(*work.group(opened, {work.hours(0): n(1)}))
    other = place.flights.open_run(work.opening("run2"))
    receipt = place.flights.commit(*work.group(other, {work.hours(0): None}, snapshot=place.flights.snapshot()))
    assert receipt.outcomes == {work.hours(0): Outcome.SATISFIED}
    assert place.rows("hourly") == [{"n": 1}]
    snapshot = place.flights.snapshot()
    assert (snapshot.commit_seq, snapshot.live[0].seq, snapshot.accounts.loaded) == (2, 1, 1)
    assert {run.run_id: run.committed for run in snapshot.runs} == {"run1": 1, "run2": 1}


def test_a_shard_is_not_satisfied_by_an_older_definition_or_by_nothing(place: Place, work: Any) -> None:
    old = place.flights.open_run(work.opening("old"))
    place.flights.commit(*work.group(old, {work.hours(0): n(1)}))
    new = place.flights.open_run(work.opening("new", fingerprints={"hourly": "f2", "clean": "g1"}))
    asked = work.group(new, {work.hours(0): None, work.hours(1): None}, snapshot=place.flights.snapshot())
    assert place.flights.commit(*asked).conflicts == (work.hours(0), work.hours(1))


def test_failures_are_remembered_until_their_range_is_committed(place: Place, work: Any) -> None:
    opened = place.flights.open_run(work.opening())
    failure = ShardFailure(work.hours(0), "source_unreadable", "in.csv is cut")
    place.flights.record_failures(opened.run_id, opened.epoch, [failure, ShardFailure(work.hours(1), "shard", "no")])
    place.flights.record_failures(opened.run_id, opened.epoch, [failure])
    found = place.flights.snapshot()
    assert [(one.window, one.run_id, one.code, one.error) for one in found.failed] == [
        (work.hours(0), "run1", "source_unreadable", "in.csv is cut"),
        (work.hours(1), "run1", "shard", "no"),
    ]
    assert found.runs[0].failed == 2
    place.flights.commit(*work.group(opened, {work.hours(0): n(1)}))
    assert [one.window for one in place.flights.snapshot().failed] == [work.hours(1)]


# ---- fences -----------------------------------------------------------------------------------------------


def _everything_is_fenced(place: Place, run_id: str, epoch: int, asked: tuple[CommitRequest, Any]) -> None:
    before = place.flights.snapshot()
    for act in (
        lambda: place.flights.commit(*asked),
        lambda: place.flights.heartbeat(run_id, epoch),
        lambda: place.flights.record_failures(run_id, epoch, [ShardFailure(Window(0, 1), "shard", "no")]),
        lambda: place.flights.close_run(run_id, epoch, RunState.DONE),
    ):
        with pytest.raises(Fenced, match=run_id):
            act()
    assert place.flights.snapshot() == before


def test_nothing_of_the_former_owner_lands_after_a_take_over(place: Place, work: Any) -> None:
    former = place.flights.open_run(work.opening())
    owner = place.flights.open_run(work.opening())
    assert (former.epoch, owner.epoch) == (1, 2)
    _everything_is_fenced(place, "run1", 1, work.group(former, {work.hours(0): n(1)}))
    assert place.flights.commit(*work.group(owner, {work.hours(0): n(2)})).commit_seq == 1


def test_nothing_lands_after_cancel_returned(place: Place, work: Any) -> None:
    opened = place.flights.open_run(work.opening())
    place.flights.open_run(work.opening("run2"))
    assert place.flights.cancel("run1") == ("run1",)
    assert place.flights.cancel("run1") == ()
    _everything_is_fenced(place, "run1", opened.epoch, work.group(opened, {work.hours(0): n(1)}))
    assert place.flights.cancel(None) == ("run2",)
    assert {run.state for run in place.flights.snapshot().runs} == {RunState.CANCELLED}


def test_closing_a_run_tells_the_low_watermark_also_when_asked_twice(place: Place, work: Any) -> None:
    opened = place.flights.open_run(work.opening())
    place.flights.commit(*work.group(opened, {work.hours(0): n(1)}))
    watermark_us = place.flights.close_run(opened.run_id, opened.epoch, RunState.DONE)
    assert watermark_us == work.hours(0).end_us == place.flights.snapshot().watermark_us
    assert place.flights.close_run(opened.run_id, opened.epoch, RunState.DONE) == watermark_us


def test_closing_a_run_that_committed_nothing_tells_no_watermark(place: Place, work: Any) -> None:
    opened = place.flights.open_run(work.opening())
    assert place.flights.close_run(opened.run_id, opened.epoch, RunState.DONE) is None


def test_nothing_lands_after_a_run_was_closed_and_closing_twice_is_harmless(place: Place, work: Any) -> None:
    opened = place.flights.open_run(work.opening())
    place.flights.close_run(opened.run_id, opened.epoch, RunState.FAILED)
    place.flights.close_run(opened.run_id, opened.epoch, RunState.FAILED)
    _everything_is_fenced(place, "run1", opened.epoch, work.group(opened, {work.hours(0): n(1)}))
    with pytest.raises(UsageError, match="has ended"):
        place.flights.open_run(work.opening())


def test_a_run_held_by_a_living_owner_elsewhere_is_refused_until_it_is_silent(place: Place, work: Any, still_clock: Any) -> None:
    place.flights.open_run(work.opening(holder="far:1:1.0"))
    with pytest.raises(RunIsAlive, match="far:1"):
        place.flights.open_run(work.opening(holder="near:2:2.0"))
    still_clock.now += 119 * 1_000_000
    place.flights.heartbeat("run1", 1)
    still_clock.now += 119 * 1_000_000
    with pytest.raises(RunIsAlive):
        place.flights.open_run(work.opening(holder="near:2:2.0"))
    assert place.flights.open_run(work.opening(holder="near:2:2.0", force=True)).epoch == 2
    still_clock.now += 121 * 1_000_000
    assert place.flights.open_run(work.opening(holder="other:3:3.0")).epoch == 3


def test_runs_of_dead_processes_of_this_host_are_closed_and_may_be_taken_over(place: Place, work: Any) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    here = socket.gethostname()
    alive = f"{here}:{os.getpid()}:{psutil.Process().create_time()}"
    place.flights.open_run(work.opening("lost", holder=f"{here}:{dead.pid}:1.0"))
    place.flights.open_run(work.opening("reused", holder=f"{here}:{os.getpid()}:1.0"))
    place.flights.open_run(work.opening("mine", holder=alive))
    place.flights.open_run(work.opening("lost2", holder=f"{here}:{dead.pid}:1.0"))
    assert place.flights.open_run(work.opening("lost2", holder=alive)).epoch == 2
    states = {run.run_id: run.state for run in place.flights.snapshot().runs}
    assert states == {"lost": RunState.FAILED, "reused": RunState.FAILED, "mine": RunState.OPEN, "lost2": RunState.OPEN}


def test_opening_says_which_lost_runs_it_closed(place: Place, work: Any) -> None:
    here = socket.gethostname()
    place.flights.open_run(work.opening("lost", holder=f"{here}:{os.getpid()}:1.0"))
    assert place.flights.open_run(work.opening("next")).closed == ("lost",)


def test_a_run_with_another_set_of_outputs_is_closed_when_the_set_changes(place: Place, work: Any) -> None:
    old = place.flights.open_run(work.opening("old"))
    assert place.flights.open_run(work.opening("new", fingerprints={"hourly": "f1"})).closed == ("old",)
    with pytest.raises(Fenced):
        place.flights.commit(*work.group(old, {work.hours(0): n(1)}))


# ---- tables and definitions -------------------------------------------------------------------------------


def test_a_definition_keeps_its_number_and_a_revert_gets_a_new_one(place: Place, work: Any) -> None:
    numbers = []
    for run, print_of in enumerate(["f1", "f1", "f2", "f1"]):
        opened = place.flights.open_run(work.opening(f"r{run}", fingerprints={"hourly": print_of, "clean": "g1"}))
        numbers.append(opened.definitions)
    assert [one["hourly"] for one in numbers] == [1, 1, 2, 3]
    assert [one["clean"] for one in numbers] == [1, 1, 1, 1]
    known = place.flights.snapshot().definitions["hourly"]
    assert [(one.version, one.fingerprint, dict(one.parts)) for one in known] == [
        (1, "f1", {"sql": "f1"}), (2, "f2", {"sql": "f2"}), (3, "f1", {"sql": "f1"}),
    ]  # fmt: skip


def test_a_table_that_raypipe_did_not_create_is_refused_with_the_ways_out(place: Place, work: Any) -> None:
    place.make_foreign("hourly")
    with pytest.raises(UsageError, match=r"(?s)hourly exists.*rename the output.*drop the table"):
        place.flights.open_run(work.opening())
    assert place.flights.snapshot() == Snapshot()


def test_two_pipelines_share_a_destination_but_no_table(place: Place, work: Any) -> None:
    flights = place.flights.open_run(work.opening())
    weather = place.of("weather").open_run(work.opening("run1", fingerprints={"rain": "r"}))
    place.flights.commit(*work.group(flights, {work.hours(0): n(1)}))
    place.of("weather").commit(*work.group(weather, {work.hours(0): {"rain": [{"mm": 5}]}}))
    assert (place.rows("hourly"), place.rows("rain")) == ([{"n": 1}], [{"mm": 5}])
    assert [live.output for live in place.of("weather").snapshot().live] == ["rain"]
    assert place.of("weather").snapshot().commit_seq == 1
    with pytest.raises(UsageError, match="written by pipeline flights"):
        place.of("weather").open_run(work.opening("run2", fingerprints={"hourly": "r"}))


def test_an_output_that_was_given_up_leaves_its_table_and_is_not_silently_resumed(place: Place, work: Any) -> None:
    opened = place.flights.open_run(work.opening())
    place.flights.commit(*work.group(opened, {work.hours(0): {**n(1), "clean": [{"n": 5}]}}))
    place.flights.open_run(work.opening("run2", fingerprints={"clean": "g1"}))
    assert place.rows("hourly") == [{"n": 1}]
    assert {live.output for live in place.flights.snapshot().live} == {"clean"}
    with pytest.raises(UsageError, match="hourly exists"):
        place.flights.open_run(work.opening("run3"))


# ---- outputs that are added, and differences that are accepted -------------------------------------------


def test_an_output_that_is_done_alone_leaves_the_others_and_the_accounts_as_they_are(place: Place, work: Any) -> None:
    first = place.flights.open_run(work.opening(fingerprints={"hourly": "f1"}))
    for hour in (0, 1):
        place.flights.commit(*work.group(first, {work.hours(hour): {"hourly": [{"n": hour}]}}, quarantined={work.hours(hour): 2}))
    place.flights.close_run(first.run_id, first.epoch, RunState.DONE)
    before = place.flights.snapshot()
    opened = place.flights.open_run(work.opening("run2"))
    alone = replace(opened, definitions={"clean": opened.definitions["clean"]})
    assert place.flights.snapshot().watermark_us is None

    shards = {work.hours(hour): {"clean": [{"n": 10 + hour}]} for hour in (0, 1)}
    request, staged = work.group(alone, shards, snapshot=before, quarantined=dict.fromkeys(shards, 2))
    receipt = place.flights.commit(request, staged)

    assert set(receipt.outcomes.values()) == {Outcome.LOADED}
    after = place.flights.snapshot()
    assert [one for one in after.live if one.output == "hourly"] == list(before.live)
    assert after.coverage == {"hourly": (work.hours(0, 2),), "clean": (work.hours(0, 2),)}
    assert after.watermark_us == work.hours(0, 2).end_us
    assert after.accounts == before.accounts
    assert (place.rows("hourly"), place.rows("clean")) == ([{"n": 0}, {"n": 1}], [{"n": 10}, {"n": 11}])

    both = work.hours(0)
    place.flights.commit(*work.group(opened, {both: {"hourly": [{"n": 7}], "clean": []}}, snapshot=after))
    last = place.flights.snapshot()
    assert (place.rows("hourly"), place.rows("clean")) == ([{"n": 1}, {"n": 7}], [{"n": 11}])
    assert last.accounts.quarantined == 2


def test_an_output_that_is_done_alone_keeps_to_the_ranges_of_the_others(place: Place, work: Any) -> None:
    opened = place.flights.open_run(work.opening())
    for hour in (0, 1):
        alone = replace(opened, definitions={"hourly": 1})
        place.flights.commit(*work.group(alone, {work.hours(hour): {"hourly": [{"n": hour}]}}))
    other = replace(opened, definitions={"clean": 1})

    wide = place.flights.commit(*work.group(other, {work.hours(0, 2): {"clean": [{"n": 5}]}}, snapshot=place.flights.snapshot()))

    assert (wide.outcomes, wide.conflicts) == ({}, (work.hours(0, 2),))


def accept(destination: Destination, run: Any, shards: Callable[[LiveRanges], tuple[ShardCommit, ...]], seen: Snapshot) -> Any:
    return destination.commit(acceptance(run, shards(LiveRanges.of(seen, tuple(run.definitions)))), ())


def test_accepted_ranges_stand_for_the_definition_of_now_and_keep_their_rows(place: Place, work: Any) -> None:
    first = place.flights.open_run(work.opening())
    windows = [work.hours(hour) for hour in range(3)]
    place.flights.commit(*work.group(first, {window: {"hourly": [{"n": 1}]} for window in windows}))
    place.flights.close_run(first.run_id, first.epoch, RunState.DONE)
    run = place.flights.open_run(work.opening("run2", fingerprints={"hourly": "f2", "clean": "g1"}, kind=RunKind.ACCEPT))
    seen = place.flights.snapshot()

    receipt = accept(place.flights, run, lambda live: accepted_stale(live, windows[:2]), seen)

    assert receipt.outcomes == dict.fromkeys(windows[:2], Outcome.ACCEPTED_STALE)
    after = place.flights.snapshot()
    assert [one.definition for one in after.live if one.output == "hourly"] == [2, 2, 1]
    assert [replace(one, definition=0) for one in after.live] == [replace(one, definition=0) for one in seen.live]
    assert (after.commit_seq, after.accounts) == (seen.commit_seq + 1, seen.accounts)
    assert place.rows("hourly") == [{"n": 1}] * 3
    again = accept(place.flights, run, lambda live: accepted_stale(live, windows[:2]), seen)
    assert (again.commit_seq, again.outcomes) == (receipt.commit_seq, receipt.outcomes)
    assert place.flights.snapshot().commit_seq == after.commit_seq


def test_accepted_losses_stand_for_the_input_of_now_and_settle_the_failure(place: Place, work: Any) -> None:
    run = place.flights.open_run(work.opening())
    window = work.hours(0)
    place.flights.commit(*work.group(run, {window: {"hourly": [{"n": 1}]}}))
    place.flights.record_failures(run.run_id, run.epoch, [ShardFailure(window, "source_shrunk", "fewer files")])
    seen = place.flights.snapshot()
    now = Shard(0, window, Reason.LATE, frozenset(), ())

    accept(place.flights, run, lambda live: accepted_shrunk(live, [now]), seen)

    after = place.flights.snapshot()
    assert {(one.input_fp, one.files) for one in after.live} == {(input_fingerprint(()), 0)}
    assert {one.seq for one in after.live} == {one.seq for one in seen.live}
    assert after.failed == ()
    assert place.rows("hourly") == [{"n": 1}]


def test_what_another_run_committed_meanwhile_is_not_accepted(place: Place, work: Any) -> None:
    run = place.flights.open_run(work.opening())
    window = work.hours(0)
    place.flights.commit(*work.group(run, {window: {"hourly": [{"n": 1}]}}))
    seen = place.flights.snapshot()
    place.flights.commit(*work.group(run, {window: {"hourly": [{"n": 2}]}}, snapshot=seen))

    receipt = accept(place.flights, run, lambda live: accepted_stale(live, [window]), seen)

    assert (receipt.outcomes, receipt.conflicts) == ({}, (window,))


def test_nothing_is_accepted_after_a_cancel(place: Place, work: Any) -> None:
    run = place.flights.open_run(work.opening())
    place.flights.commit(*work.group(run, {work.hours(0): {"hourly": [{"n": 1}]}}))
    seen = place.flights.snapshot()
    place.flights.cancel(run.run_id)
    with pytest.raises(Fenced):
        accept(place.flights, run, lambda live: accepted_stale(live, [work.hours(0)]), seen)
    assert place.flights.snapshot().live == seen.live


def test_a_run_is_not_taken_over_by_another_definition(place: Place, work: Any) -> None:
    place.flights.open_run(work.opening())
    with pytest.raises(UsageError, match="run1 began with "):
        place.flights.open_run(work.opening(fingerprints={"hourly": "f2", "clean": "g1"}))
    assert place.flights.open_run(work.opening()).epoch == 2
