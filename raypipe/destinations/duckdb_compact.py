"""Compaction in a DuckDB file: the contributions of adjacent live ranges become those of one, within the commit transaction.

A keyed table keeps the newest row of each key, deletions too; a combined table one row a group. What makes up a table as it
stands (`sql`, `rows` without a key) stays as it is, with its `_shard`; so do floating sums before which there are others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from typing import Any

import duckdb

from raypipe.core.accounts import Accounts
from raypipe.core.commit import ShardCommit
from raypipe.core.compaction import compacted
from raypipe.core.contribution_sql import added_in_order, one_contribution_sql
from raypipe.core.digest import digest_of_sums, digest_sums_sql
from raypipe.core.fingerprint import combine_digests
from raypipe.core.merge import Merge
from raypipe.core.shard import InputPart, OutputStat, ShardResult
from raypipe.core.window import Window
from raypipe.destinations.duckdb_state import changed, columns_of, query
from raypipe.destinations.duckdb_tables import schema_number
from raypipe.destinations.sql_statements import statements
from raypipe.destinations.stored import Stored
from raypipe.errors import ShardError
from raypipe.failpoints import hit
from raypipe.lazy_dataclass import dataclass

_SQL = statements("commit")
_FLOATS = frozenset({"DOUBLE", "FLOAT"})
_WITHIN = "_shard >= make_timestamp($lo) AND _shard < make_timestamp($hi)"


@dataclass(frozen=True, slots=True)
class _Said:
    """What the live ranges that become one say of one output."""

    rows: int
    digest: str
    numbers: frozenset[int]
    """The column sets that their contributions were committed with."""


@dataclass(frozen=True, slots=True)
class Compacting:
    """One range while it is compacted; `values` name the pipeline, the commit and the range for SQL."""

    connection: duckdb.DuckDBPyConnection
    values: Mapping[str, Any]
    shard: ShardCommit
    stored: Mapping[str, Stored]
    schema_numbers: dict[str, dict[str, int]] = field(default_factory=dict)
    """The column set of each output's contribution, by attempt, as `live_table` takes them."""
    kept: list[str] = field(default_factory=list)
    """Outputs whose rows stand as they were, so that each part is proven for itself."""

    def merge(self, outputs: Iterable[str]) -> ShardCommit:
        """Merge the contributions of all outputs; return the shard with what the ledger and the live ranges will say of it."""
        said = self._said()
        query(self.connection, "SET TimeZone = 'UTC'")  # the text of a TIMESTAMPTZ, and so its digest, depends on it
        stats = {output: self._merge(self.stored[output], said[output]) for output in outputs}
        hit("commit.after_compaction")
        query(self.connection, _SQL["insert_parts"], {**self.values, "kept": self.kept})
        parts = [
            InputPart(Window(lo, hi), input_fp, files)
            for lo, hi, input_fp, files in query(self.connection, _SQL["parts_within"], self.values)
        ]
        return compacted(self.shard, parts, self._result(stats))

    def _said(self) -> Mapping[str, _Said]:
        live: dict[str, list[tuple[int, str, int | None]]] = {}
        for output, *one in query(self.connection, _SQL["live_within"], self.values):
            live.setdefault(output, []).append((one[0], one[1], one[2]))
        return {
            output: _Said(
                sum(rows for rows, _, _ in ranges),
                combine_digests([digest for _, digest, _ in ranges]),
                frozenset(number for _, _, number in ranges if number is not None),
            )
            for output, ranges in live.items()
        }

    def _merge(self, stored: Stored, said: _Said) -> OutputStat:
        """Merge what came to one output, and return what the one contribution amounts to."""
        numbers = self.schema_numbers[stored.output] = {}
        if not stored.created:
            return OutputStat(0, said.digest)
        columns = columns_of(self.connection, stored.output, stored.relation)
        if not stored.merge or not self._may_become_one(stored, stored.merge, columns):
            numbers.update(("", number) for number in sorted(said.numbers))
            self.kept.append(stored.output)
            return OutputStat(said.rows, said.digest)
        self._replace(stored, stored.merge, said.rows)
        numbers[""] = schema_number(self.connection, self.values["pipeline"], stored.output, columns)
        sums = f"SELECT count(*), {digest_sums_sql(list(columns))} FROM {stored.relation} WHERE {_WITHIN}"
        ((rows, low, high),) = query(self.connection, sums, self.values)
        return OutputStat(rows, digest_of_sums(low, high))

    def _may_become_one(self, stored: Stored, merge: Merge, columns: Mapping[str, str]) -> bool:
        """Tell whether the table stays the same bit for bit: floats are added in the order of ranges, from the first on."""
        if not any(columns[name] in _FLOATS for name in added_in_order(merge)):
            return True
        earlier = f"SELECT 1 FROM {stored.relation} WHERE _shard < make_timestamp($lo) LIMIT 1"
        return not query(self.connection, earlier, self.values)

    def _replace(self, stored: Stored, merge: Merge, rows: int) -> None:
        """Put the one contribution in the place of the several; its rows are of the range that they become."""
        within = f"(SELECT * FROM {stored.relation} WHERE {_WITHIN})"
        query(self.connection, f"CREATE TEMP TABLE one_contribution AS {one_contribution_sql(merge, within)}", self.values)
        found = changed(self.connection, f"DELETE FROM {stored.relation} WHERE {_WITHIN}", self.values)
        if found != rows:
            raise ShardError(
                f"table {stored.output}: the ledger says that {self.shard.window} holds {rows} rows, it holds {found}: another "
                f"program changed it, and nothing was compacted. `raypipe verify` names the ranges; drop the table to compute "
                f"all of it again"
            )
        one = "SELECT *, make_timestamp($lo) AS _shard FROM one_contribution"
        query(self.connection, f"INSERT INTO {stored.relation} BY NAME {one}", self.values)
        query(self.connection, "DROP TABLE one_contribution")

    def _result(self, stats: Mapping[str, OutputStat]) -> ShardResult:
        """Add up what the ledger says of the parts."""
        ((*counts, start_us, end_us, seconds),) = query(self.connection, _SQL["said_within"], self.values)
        rules = query(self.connection, _SQL["counts_within"], self.values)
        return ShardResult(
            self.shard.window, self.shard.result.observed, (), _accounts(counts), stats,
            {rule: rows for kind, rule, rows in rules if kind == "filtered"},
            {rule: rows for kind, rule, rows in rules if kind == "broken"},
            event_start_us=start_us, event_end_us=end_us, seconds=seconds,
        )  # fmt: skip


def _accounts(counts: Sequence[int]) -> Accounts:
    read, expanded, loaded, filtered, duplicate, quarantined = counts
    return Accounts(read=read, expanded=expanded, loaded=loaded, filtered=filtered, duplicate=duplicate, quarantined=quarantined)
