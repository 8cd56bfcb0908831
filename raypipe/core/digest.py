"""The SQL text of multiset digests, the same where a contribution is made and where a table is verified.

The digest of rows is the sum of their 128-bit hashes mod 2**128: it does not depend on the order of rows, two equal rows
count twice, and the digest of a table is the sum of the digests of its parts. A row is hashed as the JSON array of its
values, columns sorted by name: JSON tells NULL from 'NULL' and '', and quotes what stands in texts. Sessions must have
`TimeZone = 'UTC'`, because the text of a TIMESTAMPTZ depends on it.
"""

from __future__ import annotations

from collections.abc import Sequence

_HALF = 2**64 - 1


def quote(name: str) -> str:
    """Return an SQL identifier in quotes, whatever stands in it."""
    return '"' + name.replace('"', '""') + '"'


def row_hash_sql(columns: Sequence[str]) -> str:
    """Return a DuckDB expression for the 128-bit hash (UHUGEINT) of a row; the order of columns does not matter."""
    row = ", ".join(quote(name) for name in sorted(columns))
    return f"md5_number(CAST(json_array({row}) AS VARCHAR))"


def digest_sums_sql(columns: Sequence[str]) -> str:
    """Return two aggregates, `low` and `high`: the sums of the halves of the row hashes, which cannot overflow."""
    row_hash = row_hash_sql(columns)
    return f"sum(({row_hash} & {_HALF})::HUGEINT) AS low, sum(({row_hash} >> 64)::HUGEINT) AS high"


def digest_query(relation: str, columns: Sequence[str], *, by: str) -> str:
    """Return a SELECT of the group, its rows and its digest for each group of a relation's rows; hashes are computed once.

    The engine writes the digest, as `digest_of_sums` does: to fetch two HUGEINT takes ten times as long as a text.
    """
    halves = f"sum((hash & {_HALF})::HUGEINT) AS low, sum((hash >> 64)::HUGEINT) AS high"
    hashes = f"SELECT {by} AS part, {row_hash_sql(columns)} AS hash FROM {relation}"
    sums = f"SELECT part, count(*) AS rows, {halves} FROM ({hashes}) GROUP BY part"
    high, low = f"(((low >> 64) + high) & {_HALF})::UBIGINT", f"(low & {_HALF})::UBIGINT"
    return f"SELECT part, rows, printf('%016x%016x', {high}, {low}) AS digest FROM ({sums})"


def digest_of_sums(low: int | None, high: int | None) -> str:
    """Return the digest in hex from the two sums; no rows give all zeros."""
    return f"{((low or 0) + ((high or 0) << 64)) % 2**128:032x}"
