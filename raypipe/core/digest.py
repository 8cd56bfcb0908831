"""The SQL text of multiset digests, the same where a contribution is made and where a table is verified."""

from __future__ import annotations

from collections.abc import Sequence


def quote(name: str) -> str:
    """Return an SQL identifier in quotes, whatever stands in it."""
    return '"' + name.replace('"', '""') + '"'


def row_hash_sql(columns: Sequence[str]) -> str:
    """Return a DuckDB expression for the 128-bit hash (UHUGEINT) of a row; the order of columns does not matter."""
    row = ", ".join(quote(name) for name in sorted(columns))
    return f"md5_number(CAST(ROW({row}) AS VARCHAR))"


def digest_sums_sql(columns: Sequence[str]) -> str:
    """Return two aggregates, `low` and `high`: the sums of the halves of the row hashes, which cannot overflow."""
    row_hash = row_hash_sql(columns)
    return f"sum(({row_hash} & 18446744073709551615)::HUGEINT) AS low, sum(({row_hash} >> 64)::HUGEINT) AS high"


def digest_of_sums(low: int | None, high: int | None) -> str:
    """Return the digest in hex from the two sums; no rows give all zeros."""
    return f"{((low or 0) + ((high or 0) << 64)) % 2**128:032x}"
