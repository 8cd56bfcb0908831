"""Lookback and lookahead: what SQL that sees rows of the time around its shard has to say, and which are the shard's own."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pyarrow as pa

from raypipe.engine.joined_rows import joined_rows
from raypipe.engine.output_sql import SqlRefused, tables_read, walk
from raypipe.pipeline import ROWS
from raypipe.ports import IN_SHARD_COLUMN

IN_SHARD_KEPT = (
    f"{IN_SHARD_COLUMN} would become a column of the table: leave it out, as in SELECT * EXCLUDE ({IN_SHARD_COLUMN}), "
    "or give it another name"
)
_UNMEANT = (
    "with {key}.lookback or {key}.lookahead, `{table}` also holds rows of the time around the shard, which are for others to tell: "
    f"leave them out by {IN_SHARD_COLUMN}, as in QUALIFY {IN_SHARD_COLUMN} after window functions, or WHERE {IN_SHARD_COLUMN}"
)


def require_in_shard(tree: object, wide: Collection[str] = (ROWS,)) -> None:
    """Refuse SQL that never asks which rows are the shard's own, over tables of which the `wide` ones hold others too.

    SQL of which every row holds one of the `rows`, where these are of the shard alone, need not ask. Raises SqlRefused.
    """
    alone = [one for one in (tables_read(tree), *joined_rows(tree)) if ROWS not in one]
    spread = [ROWS] if ROWS in wide else sorted({name for one in alone for name in one if name in wide})
    if spread and not any(map(_means_in_shard, walk(tree))):
        key = "time" if spread[0] == ROWS else f"inputs.{spread[0]}.time"
        raise SqlRefused(_UNMEANT.format(key=key, table=spread[0]))


def _means_in_shard(node: dict[str, Any]) -> bool:
    return node.get("type") == "COLUMN_REF" and str((node.get("column_names") or [""])[-1]).lower() == IN_SHARD_COLUMN


def of_the_shard(rows: pa.Table) -> pa.Table:
    """Return the rows that are the shard's own, without the column that tells."""
    return rows.filter(rows[IN_SHARD_COLUMN]).drop_columns([IN_SHARD_COLUMN])
