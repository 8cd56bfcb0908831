"""Quarantine: the rows set aside, each once, with the rule that it broke and the row as the source had it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field

import polars as pl
import pyarrow as pa

from raypipe.core.window import Window
from raypipe.engine.batches import RAW_COLUMN, ROW_COLUMN, SHARD_INDEX, Batch, shard_column, shard_starts, with_series
from raypipe.engine.row_text import json_rows
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
        sources = pl.Series(self.uris, dtype=pl.String).gather(rows[SOURCE_COLUMN])
        rules = pl.repeat(rule, rows.height, dtype=pl.String, eager=True)
        self._append(rows[SHARD_INDEX], sources, rows[POSITION_COLUMN], rules, _texts(errors), raw_rows(batch, rows))

    def add_rejects(self, placed: Sequence[tuple[int, Reject]]) -> None:
        """Set aside what the source could not read, with the place of the shard that it counts to."""
        self._append(
            pl.Series([shard for shard, _ in placed], dtype=pl.UInt32),
            _texts([one.uri for _, one in placed]),
            pl.Series([one.position for _, one in placed], dtype=pl.Int64),
            _texts([one.rule for _, one in placed]),
            _texts([one.error for _, one in placed]),
            _texts([one.raw for _, one in placed]),
        )

    def _append(
        self, shards: pl.Series, sources: pl.Series, positions: pl.Series, rules: pl.Series, errors: pl.Series, raws: pl.Series
    ) -> None:
        frame = pl.DataFrame(
            {
                SHARD_INDEX: shards,
                "source": sources,
                "position": positions,
                "rule": rules,
                "error": errors.str.head(ERROR_CHARS_MAX),
                "raw": raws.str.head(RAW_CHARS_MAX),
                "truncated": raws.str.len_chars() > RAW_CHARS_MAX,
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
        rows = pl.concat(self.frames)
        if len(shards) < len(self.windows):
            rows = rows.filter(pl.col(SHARD_INDEX).is_in(list(shards)))
        rows = rows.sort(SHARD_INDEX, "source", "position", maintain_order=True)
        rows = with_series(rows, shard_column(shard_starts(self.windows), rows[SHARD_INDEX]))
        return rows.select(SCHEMA.names).to_arrow().cast(SCHEMA)


def raw_rows(batch: Batch, rows: pl.DataFrame) -> pl.Series:
    """Return the source's rows of some rows of a batch, as JSON text."""
    if RAW_COLUMN in rows.columns:
        return rows[RAW_COLUMN].fill_null("{}")
    if batch.source is None:
        return pl.repeat("{}", rows.height, dtype=pl.String, eager=True)
    return pl.Series(pl.from_arrow(json_rows(batch.source, rows[ROW_COLUMN].to_arrow())), dtype=pl.String)


def _texts(texts: Sequence[str]) -> pl.Series:
    return pl.Series(texts, dtype=pl.String)
