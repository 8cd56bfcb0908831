"""Keyed and combined tables in a DuckDB file: kept equal to the merge of their contributions, for the touched keys only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import duckdb

from raypipe.core.digest import quote
from raypipe.core.merge import Combined, Merge, keys_of, misfit, unmergeable
from raypipe.core.merge_sql import merged_sql, same_keys
from raypipe.core.window import Window
from raypipe.destinations.duckdb_state import changed, columns_of, query
from raypipe.destinations.stored import Stored
from raypipe.errors import ShardError
from raypipe.lazy_dataclass import dataclass


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
        """Note the keys that contributions of these ranges have; `relation` holds the ranges, and is noted once a commit.

        The notes are a table of their own that is filled when it is made: DuckDB 2.0.0 reads nothing from one that was made
        by a SELECT without rows and filled with more than 122,880 of them in the same transaction.
        """
        query(
            self.connection,
            f"CREATE TEMP TABLE {self._touched(relation)} AS SELECT DISTINCT {self._keys} FROM {self.stored.relation} AS part "
            f"SEMI JOIN {relation} AS it ON part._shard >= it.lo AND part._shard < it.hi "
            f"WHERE part._shard >= make_timestamp({ranges[0].start_us}) AND part._shard < make_timestamp({ranges[-1].end_us})",
        )

    def recompute(self, touched_in: Sequence[str], rows: int) -> None:
        """Compute the keys that were touched in these ranges again; the last ones brought so many rows of contributions."""
        notes = [self._touched(relation) for relation in touched_in]
        query(self.connection, f"CREATE TEMP TABLE touched_once AS {' UNION '.join(f'SELECT * FROM {one}' for one in notes)}")
        of_target, of_part = (same_keys(self.merge, relation, "touched_once") for relation in ("target", "part"))
        parts = f"(SELECT part.* FROM {self.stored.relation} AS part SEMI JOIN touched_once ON {of_part})"
        deleted = changed(self.connection, f"DELETE FROM {self._table} AS target USING touched_once WHERE {of_target}")
        try:
            inserted = changed(self.connection, f"INSERT INTO {self._table} BY NAME {self._merged(parts)}")
        except duckdb.DataError as error:
            raise ShardError(f"table {self.stored.output}: its measures cannot be combined: {error}") from error
        self._require_counts(notes[-1], rows, deleted, inserted)
        for name in ("touched_once", *notes):
            query(self.connection, f"DROP TABLE {name}")

    def _require_counts(self, loaded: str, rows: int, deleted: int, inserted: int) -> None:
        """Refuse what cannot be: an engine that loses rows on the way must not change the table."""
        counts = f"SELECT (SELECT count(*) FROM {loaded}), (SELECT count(*) FROM touched_once)"
        ((came, touched),) = query(self.connection, counts)
        least = came if isinstance(self.merge, Combined) else 0  # a key whose newest version is a deletion has no row
        if not (bool(rows) <= came <= rows and deleted <= touched and least <= inserted <= touched):
            raise ShardError(
                f"table {self.stored.output}: {rows} rows of contributions came with {came} keys, and of {touched} that were "
                f"touched {deleted} rows went and {inserted} came; this is a bug of raypipe or of DuckDB, and nothing was committed"
            )

    @property
    def _table(self) -> str:
        return f"main.{quote(self.stored.output)}"

    @property
    def _keys(self) -> str:
        return ", ".join(map(quote, keys_of(self.merge)))

    def _touched(self, relation: str) -> str:
        return f"temp.{quote(f'{relation}_of_{self.stored.output}')}"

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
