"""Rows of the simulated source, and what the simulated pipeline makes of them: one pure function of rows and definitions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from raypipe.core.accounts import Accounts
from raypipe.core.fingerprint import digest_hex
from raypipe.core.merge import DELETED_COLUMN, Combined, Keyed, Merge, parse_measure
from raypipe.core.shard import OutputStat
from raypipe.core.state import Definition
from raypipe.core.window import Window
from raypipe.lazy_dataclass import dataclass
from raypipe.ports import QUARANTINE_TABLE, SHARD_COLUMN

HOUR_US = 3_600_000_000
OUTPUTS = ("clean", "newest", "totals")
"""A union of rows, the row of each key with the highest revision, and sums by key."""
MERGES: Mapping[str, Merge] = {
    "newest": Keyed(("key",), ("revision",)),
    "totals": Combined(("key",), (parse_measure("sum", "sum(value)"), parse_measure("count", "count(*)"))),
}
DELETES = 8  # a row with this value deletes its key from `newest`


class Row(NamedTuple):
    """One row of the source; no other ever has its `uid`."""

    time_us: int
    key: int
    value: int
    uid: int

    @property
    def revision(self) -> int:
        """What decides between rows of a key: neither time nor value, so that the newest row may come first."""
        return self.value * 5 % 9


class Rules(NamedTuple):
    """The pipeline's definition: the rule that quarantines rows, and what each output adds to it."""

    quality: int
    clean: int
    totals: int

    def definitions(self) -> dict[str, Definition]:
        """Return the definition of each output, as the engine would fingerprint it."""
        return {
            "clean": Definition(0, f"{self.quality}.{self.clean}", {"quality": str(self.quality), "sql": str(self.clean)}),
            "newest": Definition(0, f"{self.quality}.{self.clean}", {"quality": str(self.quality), "sql": str(self.clean)}),
            "totals": Definition(0, f"{self.quality}.{self.totals}", {"quality": str(self.quality), "sql": str(self.totals)}),
        }


def rules_of(clean: str, totals: str) -> Rules | None:
    """Return the rules of two fingerprints; None when no one pipeline has both."""
    (quality, one), (other_quality, other) = clean.split("."), totals.split(".")
    return Rules(int(quality), int(one), int(other)) if quality == other_quality else None


@dataclass(frozen=True)
class Contribution:
    """What the rows of one shard become."""

    window: Window
    tables: Mapping[str, Sequence[Mapping[str, Any]]]
    accounts: Accounts

    @property
    def stats(self) -> Mapping[str, OutputStat]:
        """Rows and multiset digest of each output."""
        return {output: OutputStat(len(rows), digest_hex(sum(map(_hash, rows)))) for output, rows in self.tables.items()
                if output != QUARANTINE_TABLE}  # fmt: skip

    @cached_property
    def uids(self) -> frozenset[int]:
        """The rows that can be seen at the destination."""
        return frozenset(row["uid"] for table in ("clean", QUARANTINE_TABLE) for row in self.tables[table])


def contribution(window: Window, rows: Sequence[Row], rules: Rules) -> Contribution:
    """Filter, quarantine and aggregate the rows of a shard."""
    start = window.start_us
    clean: list[Mapping[str, Any]] = []
    aside: list[Mapping[str, Any]] = []
    totals: dict[int, list[int]] = {}
    newest: dict[int, Row] = {}
    filtered = 0
    for row in rows:
        if row.uid % 7 == 0:
            filtered += 1
        elif rules.quality % 2 and row.uid % 5 == 0:
            aside.append({SHARD_COLUMN: start, "uid": row.uid})
        else:
            clean.append({SHARD_COLUMN: start, "uid": row.uid, "value": row.value * 10 + rules.clean})
            total = totals.setdefault(row.key, [0, 0])
            total[0] += row.value + rules.totals
            total[1] += 1
            newest[row.key] = max(row, newest.get(row.key, row), key=lambda one: (one.revision, one.time_us, one.uid))
    summed = [{SHARD_COLUMN: start, "key": key, "sum.sum": s, "count.count": n} for key, (s, n) in sorted(totals.items())]
    latest = [
        {SHARD_COLUMN: start, "key": key, "uid": row.uid, "value": row.value * 10 + rules.clean,
         "revision": row.revision, "_time": row.time_us, "_source": 0, "_position": row.uid, DELETED_COLUMN: row.value == DELETES}
        for key, row in sorted(newest.items())
    ]  # fmt: skip
    accounts = Accounts(read=len(rows), loaded=len(clean), filtered=filtered, quarantined=len(aside))
    return Contribution(window, {"clean": clean, "newest": latest, "totals": summed, QUARANTINE_TABLE: aside}, accounts)


def _hash(row: Mapping[str, Any]) -> int:
    result = 0
    for name in sorted(row):
        if name != SHARD_COLUMN:
            result = (result * 0x9E3779B97F4A7C15 + row[name] + 1) & (2**128 - 1)
    return result
