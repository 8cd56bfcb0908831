"""Quarantine: the rows set aside, each once, with the rule that it broke and the row as the source had it."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Sequence
from dataclasses import field
from typing import Any

import polars as pl
import pyarrow as pa

from raypipe.core.window import Window
from raypipe.engine.batches import RAW_COLUMN, ROW_COLUMN, SHARD_INDEX, Batch
from raypipe.engine.far_times import readable
from raypipe.errors import TooManyQuarantined
from raypipe.lazy_dataclass import dataclass
from raypipe.ports import POSITION_COLUMN, RAW_CHARS_MAX, SHARD_COLUMN, SOURCE_COLUMN, Reject

ERROR_CHARS_MAX = 2_000

_FIELDS: dict[str, pa.DataType] = {
    SHARD_COLUMN: pa.timestamp("us"),
    "source": pa.string(),
    "position": pa.int64(),
    "rule": pa.string(),
    "error": pa.string(),
    "raw": pa.string(),
    "truncated": pa.bool_(),
}
SCHEMA = pa.schema(_FIELDS)


@dataclass(slots=True)
class Quarantine:
    """Collects the quarantined rows of a task. `uris` are the task's files, as SOURCE_COLUMN numbers them."""

    windows: Sequence[Window]
    uris: Sequence[str]
    limit_bytes: int
    """What may be held in memory; a shard that sets aside more than that has no business being loaded."""
    frames: list[pl.DataFrame] = field(default_factory=list)
    size_bytes: int = 0

    def add(self, batch: Batch, places: pl.Series, rule: str, errors: Sequence[str]) -> None:
        """Set rows of a batch aside, given by their places in its frame."""
        rows = batch.frame[places]
        self._append(
            rows[SHARD_INDEX].to_list(),
            [self.uris[one] for one in rows[SOURCE_COLUMN].to_list()],
            rows[POSITION_COLUMN].to_list(),
            [rule] * rows.height,
            errors,
            raw_rows(batch, rows),
        )

    def add_rejects(self, placed: Sequence[tuple[int, Reject]]) -> None:
        """Set aside what the source could not read, with the place of the shard that it counts to."""
        self._append(
            [shard for shard, _ in placed],
            [one.uri for _, one in placed],
            [one.position for _, one in placed],
            [one.rule for _, one in placed],
            [one.error for _, one in placed],
            [one.raw for _, one in placed],
        )

    def _append(
        self,
        shards: Sequence[int],
        sources: Sequence[str],
        positions: Sequence[int],
        rules: Sequence[str],
        errors: Sequence[str],
        raws: Sequence[str],
    ) -> None:
        frame = pl.DataFrame(
            {
                SHARD_INDEX: pl.Series(shards, dtype=pl.UInt32),
                "source": pl.Series(sources, dtype=pl.String),
                "position": pl.Series(positions, dtype=pl.Int64),
                "rule": pl.Series(rules, dtype=pl.String),
                "error": pl.Series([one[:ERROR_CHARS_MAX] for one in errors], dtype=pl.String),
                "raw": pl.Series([one[:RAW_CHARS_MAX] for one in raws], dtype=pl.String),
                "truncated": pl.Series([len(one) > RAW_CHARS_MAX for one in raws], dtype=pl.Boolean),
            }
        )
        frame = frame.filter(pl.col(SHARD_INDEX) < len(self.windows))  # those of a lookback are set aside with their own shards
        self.frames.append(frame)
        self.size_bytes += int(frame.estimated_size())
        if self.size_bytes > self.limit_bytes:
            counts = ", ".join(
                f"{rule}: {rows}" for rule, rows in sorted(pl.concat(self.frames)["rule"].value_counts().iter_rows())
            )
            raise TooManyQuarantined(
                f"the rows set aside so far ({counts}) take more than {self.limit_bytes:,} bytes, their part of run.memory: "
                "mend the source or the rules, or set quality.max_quarantined"
            )

    def table(self, shards: Sequence[int]) -> pa.Table:
        """Return the rows of these shards in the order of source and position, as `_quarantine` wants them."""
        if not self.frames:
            return SCHEMA.empty_table()
        starts = pl.Series([one.start_us for one in self.windows], dtype=pl.Int64)
        rows = pl.concat(self.frames).filter(pl.col(SHARD_INDEX).is_in(list(shards)))
        rows = rows.sort(SHARD_INDEX, "source", "position", maintain_order=True)
        rows = rows.with_columns(starts.gather(rows[SHARD_INDEX]).cast(pl.Datetime("us")).alias(SHARD_COLUMN))
        return rows.select(SCHEMA.names).to_arrow().cast(SCHEMA)


def raw_rows(batch: Batch, rows: pl.DataFrame) -> list[str]:
    """Return the source's rows of some rows of a batch, as JSON text."""
    if RAW_COLUMN in rows.columns:
        return [one or "{}" for one in rows[RAW_COLUMN].to_list()]
    if batch.source is None:
        return ["{}"] * rows.height
    return json_rows(batch.source[rows[ROW_COLUMN]])


def json_rows(rows: pl.DataFrame) -> list[str]:
    """Return each row as a JSON object; what JSON has no word for stands as text, binary as base64."""
    return [_json(row) for row in readable(rows).iter_rows(named=True)]


def _json(row: dict[str, Any]) -> str:
    try:
        return _STRICT.encode(row)
    except ValueError:  # JSON has no word for NaN and infinity
        finite = {name: str(one) if isinstance(one, float) and not math.isfinite(one) else one for name, one in row.items()}
        return _LENIENT.encode(finite)


def _as_text(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


_STRICT = json.JSONEncoder(ensure_ascii=False, default=_as_text, allow_nan=False)  # `json.dumps` makes one for every row
_LENIENT = json.JSONEncoder(ensure_ascii=False, default=_as_text)
