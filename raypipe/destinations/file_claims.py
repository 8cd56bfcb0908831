"""FileClaims: claims on ranges in a small SQLite file beside a local destination. Advisory: losing it costs work done twice."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from raypipe.core.claims import Claim, Claimant, Refusal, decide_claim
from raypipe.core.intervals import normalise
from raypipe.core.window import Window
from raypipe.destinations.holder import is_dead
from raypipe.failpoints import hit
from raypipe.lazy_dataclass import dataclass
from raypipe.ports import Clock

CLAIM_LIMIT_S = 60.0  # a holder renews four times as often; what a frozen one holds is free after this
DONE_KEPT_S = 3600.0  # a plan that is older than this finds out by its commit that others were there
_BUSY_S = 10.0  # a change takes a millisecond; who cannot make one in this time works without a claim
_TABLES = """
CREATE TABLE IF NOT EXISTS claims (
    pipeline TEXT, lo INTEGER, hi INTEGER, run TEXT, name TEXT, holder TEXT, atomic INTEGER, expires INTEGER, done INTEGER
);
CREATE INDEX IF NOT EXISTS by_time ON claims (pipeline, lo);
CREATE TABLE IF NOT EXISTS finished (pipeline TEXT PRIMARY KEY, count INTEGER);
"""
_MEETING = """
SELECT lo, hi, run, holder, atomic, done FROM claims
WHERE pipeline = ? AND lo < ? AND hi > ? AND run <> ? AND (done > 0 OR expires > ?)
"""
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class FileClaims:
    """Implements `ports.Claims` for the runs of one pipeline that share a state folder."""

    path: str
    pipeline: str
    clock: Clock

    def mark(self) -> int:
        """Return how many pieces of work were finished so far."""
        if not Path(self.path).exists():
            return 0
        query = "SELECT count FROM finished WHERE pipeline = ?"
        return self._changed(lambda db: next((int(one) for (one,) in db.execute(query, (self.pipeline,))), 0), 0)

    def take(self, claimant: Claimant, name: str, wanted: Mapping[Window, int]) -> Refusal | None:
        """Claim the windows under a name, all or none; with a refusal nothing is claimed."""
        refusal = self._changed(lambda db: self._take(db, claimant, name, wanted), None)
        if refusal is None:
            with contextlib.suppress(OSError):  # an answer that is lost: the claim stands, or the work goes on without one
                hit("lease.after")
        return refusal

    def renew(self, run_id: str) -> None:
        """Say that the run goes on."""
        renewal = "UPDATE claims SET expires = ? WHERE pipeline = ? AND run = ? AND done = 0"
        self._changed(lambda db: db.execute(renewal, (self._expiry_us, self.pipeline, run_id)), None)

    def release(self, run_id: str, name: str | None, *, done: bool) -> None:
        """Let go of what was claimed under a name (None: all that the run holds); `done` tells others to plan it again."""
        mine = "WHERE pipeline = ? AND run = ? AND name = coalesce(?, name) AND done = 0"

        def change(db: sqlite3.Connection) -> None:
            if done:
                kept_us = self.clock.now_us() + int(DONE_KEPT_S * 1e6)
                finish = (self._count_one(db), kept_us, self.pipeline, run_id, name)
                db.execute(f"UPDATE claims SET done = ?, expires = ? {mine}", finish)
            else:
                db.execute(f"DELETE FROM claims {mine}", (self.pipeline, run_id, name))

        self._changed(change, None)

    @property
    def _expiry_us(self) -> int:
        return self.clock.now_us() + int(CLAIM_LIMIT_S * 1e6)

    def _take(self, db: sqlite3.Connection, claimant: Claimant, name: str, wanted: Mapping[Window, int]) -> Refusal | None:
        hit("lease.before")
        now_us = self.clock.now_us()
        db.execute("DELETE FROM claims WHERE expires <= ?", (now_us,))
        hull = (self.pipeline, max(one.end_us for one in wanted), min(one.start_us for one in wanted), claimant.run_id, now_us)
        refusal = decide_claim(claimant, wanted, _living(db.execute(_MEETING, hull).fetchall()))
        if refusal is None:
            rows = [
                (self.pipeline, one.start_us, one.end_us, claimant.run_id, name, claimant.holder, claimant.atomic, self._expiry_us)
                for one in normalise(wanted)
            ]
            db.executemany("INSERT INTO claims VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0)", rows)
        return refusal

    def _count_one(self, db: sqlite3.Connection) -> int:
        query = "INSERT INTO finished VALUES (?, 1) ON CONFLICT DO UPDATE SET count = count + 1 RETURNING count"
        ((count,),) = db.execute(query, (self.pipeline,)).fetchall()
        return int(count)

    def _changed(self, change: Callable[[sqlite3.Connection], _T], otherwise: _T) -> _T:
        """Return what a change in one transaction gives; where the file cannot be used, work goes on without claims."""
        try:
            with contextlib.closing(sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level=None)) as db:
                db.execute("PRAGMA synchronous = OFF")  # of no use after a power cut
                db.execute("BEGIN IMMEDIATE")
                if not db.execute("PRAGMA user_version").fetchone()[0]:
                    _create(db)
                found = change(db)
                db.execute("COMMIT")
                return found
        except (sqlite3.OperationalError, OSError):  # busy, a full disk, no right to write: it may be well the next time
            return otherwise
        except sqlite3.DatabaseError:  # no database: made anew by whoever comes next
            Path(self.path).unlink(missing_ok=True)
            return otherwise


def _create(db: sqlite3.Connection) -> None:
    for statement in _TABLES.split(";"):
        db.execute(statement)
    db.execute("PRAGMA user_version = 1")


def _living(rows: list[tuple[int, int, str, str, int, int]]) -> Iterator[Claim]:
    """Yield the claims whose holder is not known to be dead, and what was finished, by whomever."""
    dead: dict[str, bool] = {}
    for lo, hi, run, holder, atomic, done in rows:
        if not done and holder not in dead:
            dead[holder] = is_dead(holder)
        if done or not dead[holder]:
            yield Claim(Window(lo, hi), Claimant(run, holder, bool(atomic)), done)
