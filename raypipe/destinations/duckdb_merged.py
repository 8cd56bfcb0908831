"""Keyed and combined tables in a DuckDB file: kept equal to the merge of their contributions, for the touched keys only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import duckdb

from raypipe.core.digest import quote
from raypipe.core.merge import Merge, keys_of, misfit, unmergeable
from raypipe.core.merge_sql import merged_sql, same_keys
from raypipe.core.window import Window
from raypipe.destinations.duckdb_state import changed, columns_of, query
from raypipe.destinations.stored import Stored
from raypipe.errors import ShardError


@dataclass(frozen=True, slots=True)
class MergedTable:
    """A keyed or combined table during one commit; the touched keys stand in a temporary table."""

    connection: duckdb.DuckDBPyConnection
    stored: Stored
    merge: Merge

    def fit(self) -> None:
        """Create the table, or add and widen its columns, so that it holds the merge of the contributions."""
        want = {name: kind for name, kind, *_ in query(self.connection, f"DESCRIBE {self._merged(self.stored.relation)}")}
        if not self.stored.created:
            body = ", ".join(f"{quote(name)} {kind}" for name, kind in want.items())
            query(self.connection, f"CREATE TABLE {self._table} ({body})")
            return
        have = columns_of(self.connection, self.stored.output)
        for name, kind in want.items():
            if name not in have:
                query(self.connection, f"ALTER TABLE {self._table} ADD COLUMN {quote(name)} {kind}")
            elif have[name] != kind:
                query(self.connection, f"ALTER TABLE {self._table} ALTER COLUMN {quote(name)} SET DATA TYPE {kind}")

    def require_fit(self, columns: Iterable[str]) -> None:
        """Refuse a contribution that another definition made: it cannot be merged with those that are there."""
        if problem := misfit(self.merge, columns):
            raise ShardError(unmergeable(self.stored.output, problem))

    def touch(self, ranges: Sequence[Window], relation: str) -> None:
        """Note the keys that contributions of these ranges have; `relation` holds the ranges."""
        keys = ", ".join(map(quote, keys_of(self.merge)))
        source = self.stored.relation
        query(self.connection, f"CREATE TEMP TABLE IF NOT EXISTS {self._touched} AS SELECT {keys} FROM {source} LIMIT 0")
        query(
            self.connection,
            f"INSERT INTO {self._touched} SELECT DISTINCT {keys} FROM {source} AS part SEMI JOIN {relation} AS it "
            f"ON part._shard >= it.lo AND part._shard < it.hi "
            f"WHERE part._shard >= make_timestamp($lo) AND part._shard < make_timestamp($hi)",
            {"lo": ranges[0].start_us, "hi": ranges[-1].end_us},
        )

    def recompute(self) -> None:
        """Compute the touched keys again from all of their contributions, and forget which they were."""
        query(self.connection, f"CREATE TEMP TABLE touched_once AS SELECT DISTINCT * FROM {self._touched}")
        of_target, of_part = (same_keys(self.merge, relation, "touched_once") for relation in ("target", "part"))
        query(self.connection, f"DELETE FROM {self._table} AS target USING touched_once WHERE {of_target}")
        parts = f"(SELECT part.* FROM {self.stored.relation} AS part SEMI JOIN touched_once ON {of_part})"
        try:
            changed(self.connection, f"INSERT INTO {self._table} BY NAME {self._merged(parts)}")
        except duckdb.DataError as error:
            raise ShardError(f"table {self.stored.output}: its measures cannot be combined: {error}") from error
        for name in ("touched_once", self._touched):
            query(self.connection, f"DROP TABLE {name}")

    @property
    def _table(self) -> str:
        return f"main.{quote(self.stored.output)}"

    @property
    def _touched(self) -> str:
        return f"temp.{quote(f'touched_{self.stored.output}')}"

    def _merged(self, contributions: str) -> str:
        columns = columns_of(self.connection, self.stored.output, self.stored.relation)
        missing = [name for name in keys_of(self.merge) if name not in columns]
        if missing:
            raise ShardError(
                f"table {self.stored.output}: nothing but nulls came for {', '.join(missing)} so far, so that the type of "
                f"this part of the key is not known: name the column under source.columns, or cast it"
            )
        return merged_sql(self.merge, contributions, list(columns))


def unlike_its_merge(connection: duckdb.DuckDBPyConnection, stored: Stored, merge: Merge) -> int:
    """Return how many rows the table has too many or too few against the merge of all contributions."""
    contributions = columns_of(connection, stored.output, stored.relation)
    names = ", ".join(map(quote, columns_of(connection, stored.output)))
    due = f"SELECT {names} FROM ({merged_sql(merge, stored.relation, list(contributions))})"
    have = f"SELECT {names} FROM main.{quote(stored.output)}"
    counts = f"SELECT (SELECT count(*) FROM ({due} EXCEPT ALL {have})), (SELECT count(*) FROM ({have} EXCEPT ALL {due}))"
    ((missing, unexpected),) = query(connection, counts)
    return int(missing + unexpected)
