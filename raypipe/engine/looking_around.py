"""Lookback and lookahead: what SQL that sees rows of the time around its shard has to say, and which are the shard's own."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from raypipe.engine.output_sql import SqlRefused, walk
from raypipe.ports import IN_SHARD_COLUMN

IN_SHARD_KEPT = (
    f"{IN_SHARD_COLUMN} would become a column of the table: leave it out, as in SELECT * EXCLUDE ({IN_SHARD_COLUMN}), "
    "or give it another name"
)
_UNMEANT = (
    "with time.lookback or time.lookahead, `rows` also holds rows of the time around the shard, which are for others to tell: "
    f"leave them out by {IN_SHARD_COLUMN}, as in QUALIFY {IN_SHARD_COLUMN} after window functions, or WHERE {IN_SHARD_COLUMN}"
)


def require_in_shard(tree: object) -> None:
    """Refuse SQL that never asks which rows are the shard's own. Raises SqlRefused."""
    if not any(_means_in_shard(node) for node in walk(tree)):
        raise SqlRefused(_UNMEANT)


def _means_in_shard(node: dict[str, Any]) -> bool:
    return node.get("type") == "COLUMN_REF" and str((node.get("column_names") or [""])[-1]).lower() == IN_SHARD_COLUMN


def of_the_shard(rows: pa.Table) -> pa.Table:
    """Return the rows that are the shard's own, without the column that tells."""
    return rows.filter(rows[IN_SHARD_COLUMN]).drop_columns([IN_SHARD_COLUMN])
