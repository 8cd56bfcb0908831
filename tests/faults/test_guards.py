"""Every guard of the protocol, on a real DuckDB file: what it promises holds with it, and is broken without it.

A guard is removed by patching the one place where it stands. `test_the_promise_holds` runs each check as the code is,
`test_without_the_guard_the_check_turns_red` with the guard removed: a check that stays green there would prove nothing.
The table of guards, each with what removes it and what turns red:

    python -m pytest tests/faults/test_guards.py -v
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import psutil
import pyarrow.parquet as pq
import pytest

from raypipe import launch
from raypipe.core.shard import Outcome
from raypipe.destinations import duckdb_commit
from raypipe.destinations.duckdb import DuckDBFile
from raypipe.errors import AccountsDontBalance, Fenced, RaypipeError, ShardError, StagedDamaged

ALIVE = f"{socket.gethostname()}:{os.getpid()}:{psutil.Process().create_time():.2f}"
CSV = "id,ts\n1,2026-01-01T00:00:00\n2,2026-01-02T00:00:00\n"
COLUMNS = {"id": {"type": "int64", "required": True}, "ts": "timestamp"}


@dataclass
class Workshop:
    """A DuckDB file and made-up work for it."""

    work: Any
    path: Path
    file: DuckDBFile

    def rows(self) -> list[int]:
        with duckdb.connect(str(self.path), read_only=True) as connection:
            try:
                return [n for (n,) in connection.execute("SELECT n FROM hourly ORDER BY n").fetchall()]
            except duckdb.CatalogException:
                return []

    def group(self, opened: Any, hour: int, *values: int, **how: Any) -> Any:
        return self.work.group(opened, {self.work.hours(hour): n(*values)}, **how)


def n(*values: int) -> dict[str, list[dict[str, int]]]:
    return {"hourly": [{"n": value} for value in values], "clean": [{"n": value} for value in values]}


# ---- what is promised -------------------------------------------------------------------------------------


def nothing_lands_after_a_take_over(shop: Workshop) -> None:
    zombie = shop.file.open_run(shop.work.opening())
    owner = shop.file.open_run(shop.work.opening(force=True))
    shop.file.commit(*shop.group(owner, 0, 1))
    late = shop.group(zombie, 1, 2)
    with contextlib.suppress(Fenced):
        shop.file.commit(*late)
    assert shop.rows() == [1]


def nothing_lands_after_cancel_returned(shop: Workshop) -> None:
    opened = shop.file.open_run(shop.work.opening())
    shop.file.cancel("run1")
    with contextlib.suppress(Fenced):
        shop.file.commit(*shop.group(opened, 0, 1))
    assert shop.rows() == []


def an_older_reading_never_replaces_a_newer_one(shop: Workshop) -> None:
    slow, fast = (shop.file.open_run(shop.work.opening(run)) for run in ("slow", "fast"))
    older = shop.group(slow, 0, 1)
    shop.file.commit(*shop.group(fast, 0, 1, 2))  # a row that came late, and was acknowledged
    receipt = shop.file.commit(*older)
    assert receipt.conflicts == (shop.work.hours(0),)
    assert shop.rows() == [1, 2]


def a_commit_that_is_asked_for_again_gives_its_first_receipt(shop: Workshop) -> None:
    opened = shop.file.open_run(shop.work.opening())
    asked = shop.group(opened, 0, 1)
    assert shop.file.commit(*asked) == shop.file.commit(*asked)
    assert shop.rows() == [1]


def a_run_whose_commit_was_not_acknowledged_goes_on(shop: Workshop, bench: Any, monkeypatch: Any) -> None:
    bench.write("in.csv", CSV)
    bench.config("in.csv", columns=COLUMNS)
    monkeypatch.setenv("RAYPIPE_TESTING", "1")
    monkeypatch.setenv("RAYPIPE_FP_DIR", str(bench.folder))
    monkeypatch.setenv("RAYPIPE_FAILPOINTS", "commit.after_commit_before_ack=return_lost")
    monkeypatch.setattr("raypipe.runtime.settling.SETTLE_WAIT_S", 0.0)
    bench.done()
    assert (bench.folder / "0-commit.after_commit_before_ack.fired").exists()
    assert bench.column("SELECT id FROM clean ORDER BY id") == [1, 2]


def a_staged_file_that_was_damaged_is_not_committed(shop: Workshop) -> None:
    opened = shop.file.open_run(shop.work.opening())
    folder = shop.path.parent / "staged"
    folder.mkdir()
    asked = shop.group(opened, 0, 1, folder=folder)
    pq.write_table(shop.work.group(opened, {shop.work.hours(0): n(7)})[1][0].tables["hourly"], folder / "hourly.parquet")
    with contextlib.suppress(StagedDamaged):
        shop.file.commit(*asked)
    assert shop.rows() == []


def accounts_that_do_not_balance_are_refused_by_name(shop: Workshop) -> None:
    opened = shop.file.open_run(shop.work.opening())
    request, staged = shop.group(opened, 0, 1)
    (one,) = request.shards
    lost = replace(one.result, accounts=replace(one.result.accounts, read=one.result.accounts.read + 1))
    with pytest.raises(AccountsDontBalance):
        shop.file.commit(replace(request, shards=(replace(one, result=lost),)), staged)
    assert shop.rows() == []


def a_ledger_entry_always_balances(shop: Workshop) -> None:
    """The second line: the constraint of the ledger, should the first be passed by."""
    opened = shop.file.open_run(shop.work.opening())
    request, staged = shop.group(opened, 0, 1)
    (one,) = request.shards
    lost = replace(one.result, accounts=replace(one.result.accounts, read=one.result.accounts.read + 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duckdb_commit, "check_request", lambda *_: None)
        with contextlib.suppress(RaypipeError):
            shop.file.commit(replace(request, shards=(replace(one, result=lost),)), staged)
    assert shop.rows() == []


def rows_that_came_are_those_that_the_manifest_says(shop: Workshop) -> None:
    opened = shop.file.open_run(shop.work.opening())
    request, (staged,) = shop.group(opened, 0, 1, 2)
    fewer = replace(staged, tables={**staged.tables, "hourly": staged.tables["hourly"].slice(0, 1)})
    with contextlib.suppress(ShardError):
        shop.file.commit(request, [fewer])
    assert shop.rows() == []


def an_older_definition_never_replaces_a_newer_one(shop: Workshop) -> None:
    old = shop.file.open_run(shop.work.opening("old", fingerprints={"hourly": "f1", "clean": "g1"}))
    new = shop.file.open_run(shop.work.opening("new", fingerprints={"hourly": "f2", "clean": "g1"}))
    shop.file.commit(*shop.group(new, 0, 2))
    receipt = shop.file.commit(*shop.group(old, 0, 1, snapshot=shop.file.snapshot()))
    assert set(receipt.outcomes.values()) == {Outcome.SUPERSEDED}
    assert shop.rows() == [2]


def only_what_is_done_is_satisfied(shop: Workshop) -> None:
    opened = shop.file.open_run(shop.work.opening())
    receipt = shop.file.commit(*shop.work.group(opened, {shop.work.hours(0): None}))
    assert receipt.conflicts == (shop.work.hours(0),)
    assert shop.file.snapshot().commit_seq == 0


def what_an_open_run_staged_is_no_garbage(shop: Workshop, bench: Any) -> None:
    bench.write("in.csv", CSV)
    bench.config("in.csv", columns=COLUMNS)
    bench.done()
    destination = DuckDBFile(str(bench.out), "faults", clock=shop.file.clock)
    destination.open_run(shop.work.opening("open", fingerprints={"clean": "f"}, holder=ALIVE))
    staged = Path(f"{bench.out}.raypipe/stage/faults/open/000001-1-0")
    staged.mkdir(parents=True)
    (staged / "clean.parquet").touch()
    launch.gc(bench.load())
    assert (staged / "clean.parquet").exists()


def staged_work_of_another_input_is_not_taken_over(shop: Workshop, bench: Any, monkeypatch: Any) -> None:
    bench.write("in.csv", CSV)
    bench.config("in.csv", columns=COLUMNS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("raypipe.engine.stage.StageWhenDear.wants_files", lambda self, **figures: True)
        patch.setattr("raypipe.engine.stage_store.StagedFiles.release", lambda *_: None)  # as by a process that died now
        bench.run()
    bench.close()
    bench.out.unlink()
    bench.write("in.csv", CSV.replace("\n1,", "\n7,"))
    bench.done()
    assert bench.column("SELECT id FROM clean ORDER BY id") == [2, 7]


# ---- the guards, and how each is removed ------------------------------------------------------------------


def without(statement: str, name: str) -> Callable[[Any], None]:
    """Put another statement in place of one of the commit."""
    return lambda patch: patch.setitem(duckdb_commit._SQL, name, statement)


def attribute(name: str, value: Any) -> Callable[[Any], None]:
    return lambda patch: patch.setattr(name, value)


def always(value: Any) -> Callable[..., Any]:
    return lambda *_, **__: value


def unconstrained(patch: Any) -> None:
    from raypipe.destinations import duckdb_state

    real = duckdb_state.statements

    def changed(name: str) -> Any:
        found = dict(real(name))
        if name == "schema":
            cut = found["create_shards"].partition("    CHECK (read")[0].rstrip().removesuffix(",")
            found["create_shards"] = cut + ")"
        return found

    patch.setattr(duckdb_state, "statements", changed)


def uncounted(self: Any, output: str, parts: Any, loaded: Any) -> None:
    for part in parts:
        duckdb_commit.insert_rows(self.connection, output, part)


NOTHING_BEFORE = "SELECT 1, 1, 1, 'loaded' WHERE false"
COMMIT, DECIDE = "raypipe.destinations.duckdb_commit", "raypipe.core.commit"
OPEN_RUNS, INPUT = "raypipe.launch.maintain_verbs._open_runs", "raypipe.engine.stage_store.input_fingerprint"
SETTLED = "raypipe.runtime.settling.Settler.settled"

Check, Removal = Callable[..., None], Callable[[Any], None]
GUARDS: dict[str, tuple[Check, Removal]] = {
    "the epoch is compared by a write": (nothing_lands_after_a_take_over, attribute(f"{COMMIT}.beat", always(True))),
    "cancel raises the epoch": (nothing_lands_after_cancel_returned, attribute(f"{COMMIT}.beat", always(True))),
    "compare-and-set": (an_older_reading_never_replaces_a_newer_one, attribute(f"{DECIDE}._as_observed", always(True))),
    "ledger lookup": (a_commit_that_is_asked_for_again_gives_its_first_receipt, without(NOTHING_BEFORE, "committed_before")),
    "in-doubt resolution": (a_run_whose_commit_was_not_acknowledged_goes_on, attribute(SETTLED, lambda _, ask: ask())),
    "staged checksums": (a_staged_file_that_was_damaged_is_not_committed, attribute(f"{COMMIT}.verify_checksums", always(None))),
    "accounts check": (accounts_that_do_not_balance_are_refused_by_name, attribute(f"{COMMIT}.check_request", always(None))),
    "accounts constraint": (a_ledger_entry_always_balances, unconstrained),
    "rows counted": (rows_that_came_are_those_that_the_manifest_says, attribute(f"{COMMIT}._Commit._insert", uncounted)),
    "age of the definition": (an_older_definition_never_replaces_a_newer_one, attribute(f"{DECIDE}._is_older", always(False))),
    "proof of satisfied": (only_what_is_done_is_satisfied, attribute(f"{DECIDE}._is_done", always(True))),
    "garbage is of closed runs": (what_an_open_run_staged_is_no_garbage, attribute(OPEN_RUNS, always(frozenset()))),
    "adopted work has today's input": (staged_work_of_another_input_is_not_taken_over, attribute(INPUT, always(""))),
}


@pytest.fixture
def shop(work: Any, still_clock: Any, tmp_path: Path) -> Workshop:
    path = tmp_path / "guarded.duckdb"
    return Workshop(work, path, DuckDBFile(str(path), "guarded", clock=still_clock))


@pytest.fixture
def checked(shop: Workshop, bench: Any, monkeypatch: Any) -> Callable[[Callable[..., None]], None]:
    known = SimpleNamespace(shop=shop, bench=bench, monkeypatch=monkeypatch)

    def run(check: Callable[..., None]) -> None:
        names = check.__code__.co_varnames[: check.__code__.co_argcount]
        check(*(getattr(known, name) for name in names))

    return run


@pytest.mark.parametrize("guard", GUARDS)
def test_the_promise_holds(checked: Any, guard: str) -> None:
    checked(GUARDS[guard][0])


@pytest.mark.parametrize("guard", GUARDS)
def test_without_the_guard_the_check_turns_red(checked: Any, guard: str) -> None:
    check, remove = GUARDS[guard]
    with pytest.MonkeyPatch.context() as patch:
        remove(patch)
        with pytest.raises((AssertionError, RaypipeError, pytest.fail.Exception)) as red:
            checked(check)
    print(guard, "removed:", str(red.value).splitlines()[0])
