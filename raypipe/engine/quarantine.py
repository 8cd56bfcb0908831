"""Quarantine: the rows set aside, each once, with the rule that it broke and the row as the source had it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import field
from typing import Any

import polars as pl
import pyarrow as pa
from pyarrow import compute

from raypipe.core.window import Window
from raypipe.engine.batches import RAW_COLUMN, ROW_COLUMN, SHARD_INDEX, Batch
from raypipe.engine.row_text import json_rows
from raypipe.errors import AccountsDontBalance, TooManyQuarantined
from raypipe.lazy_dataclass import dataclass
from raypipe.ports import POSITION_COLUMN, RAW_CHARS_MAX, SHARD_COLUMN, SOURCE_COLUMN, Reject

pc: Any = compute  # its stubs lack that arrays and plain texts mix

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
_NUMBERED: dict[str, pa.DataType] = {SHARD_INDEX: pa.uint32(), SOURCE_COLUMN: pa.uint32()}
"""Held rows have their shard and their file as numbers, and are otherwise as they leave."""
_HELD = pa.schema({**_NUMBERED, **{name: kind for name, kind in _FIELDS.items() if name not in (SHARD_COLUMN, "source")}})
_IN_ORDER: Any = [(name, "ascending") for name in (SHARD_INDEX, SOURCE_COLUMN, "position")]

Values = pa.Array | Sequence[Any]  # type: ignore[type-arg]  # Arrow cannot subscript it when it runs


@dataclass(slots=True)
class Quarantine:
    """Collects the quarantined rows of a task. `uris` are the task's files in order, as SOURCE_COLUMN numbers them.

    Arrow does it in the thread that calls: Polars' own, which tasks share, come late to work as small as this.
    """

    windows: Sequence[Window]
    uris: list[str]
    limit_bytes: int
    """What may be held in memory; a shard that sets aside more than that has no business being loaded."""
    held: list[pa.Table] = field(default_factory=list)
    size_bytes: int = 0

    def add(self, batch: Batch, places: pl.Series, rule: str, errors: Sequence[str]) -> None:
        """Set rows of a batch aside, given by their places in its frame."""
        shards, sources, positions = (
            batch.frame[name][places].to_arrow() for name in (SHARD_INDEX, SOURCE_COLUMN, POSITION_COLUMN)
        )
        self._append(shards, sources, positions, [rule] * len(places), errors, raw_rows(batch, places))

    def add_rejects(self, placed: Sequence[tuple[int, Reject]]) -> None:
        """Set aside what the source could not read, with the place of the shard that it counts to."""
        self._append(
            [shard for shard, _ in placed],
            [self._number_of(one.uri) for _, one in placed],
            [one.position for _, one in placed],
            [one.rule for _, one in placed],
            [one.error for _, one in placed],
            [one.raw for _, one in placed],
        )

    def _number_of(self, uri: str) -> int:
        number = bisect_left(self.uris, uri)
        if self.uris[number : number + 1] != [uri]:
            raise AccountsDontBalance(f"the source gave a line of {uri}, which is none of the files that were asked for")
        return number

    def _append(self, shards: Values, sources: Values, positions: Values, rules: Values, errors: Values, raws: Values) -> None:
        error, _ = _cut(errors, ERROR_CHARS_MAX)
        raw, truncated = _cut(raws, RAW_CHARS_MAX)
        columns = (shards, sources, positions, rules, error, raw, truncated)
        rows = pa.Table.from_arrays([_array(one, kind) for one, kind in zip(columns, _HELD.types, strict=True)], schema=_HELD)
        if pc.max(rows[SHARD_INDEX]).as_py() >= len(self.windows):  # those of a lookback are set aside with their own shards
            rows = rows.filter(pc.less(rows[SHARD_INDEX], len(self.windows)))
        self.held.append(rows)
        self.size_bytes += rows.nbytes
        if self.size_bytes > self.limit_bytes:
            by_rule = pa.concat_tables(self.held).group_by("rule").aggregate([([], "count_all")]).sort_by("rule")
            counts = ", ".join(f"{one['rule']}: {one['count_all']}" for one in by_rule.to_pylist())
            raise TooManyQuarantined(
                f"the rows set aside so far ({counts}) take more than {self.limit_bytes:,} bytes, their part of run.memory: "
                "mend the source or the rules, or set quality.max_quarantined"
            )

    def table(self, shards: Sequence[int]) -> pa.Table:
        """Return the rows of these shards in the order of source and position, as `_quarantine` wants them."""
        if not self.held:
            return SCHEMA.empty_table()
        rows = pa.concat_tables(self.held)
        if len(shards) < len(self.windows):
            rows = rows.filter(pc.is_in(rows[SHARD_INDEX], pa.array(shards, pa.uint32())))
        rows = rows.take(pc.sort_indices(rows, _IN_ORDER))
        starts = pa.array([one.start_us for one in self.windows], pa.int64()).cast(_FIELDS[SHARD_COLUMN])
        sources = pa.array(self.uris, pa.string())
        named: list[Any] = [starts.take(rows[SHARD_INDEX]), sources.take(rows[SOURCE_COLUMN]), *rows.columns[len(_NUMBERED) :]]
        return pa.Table.from_arrays(named, schema=SCHEMA)


def raw_rows(batch: Batch, places: pl.Series) -> pa.Array[Any]:
    """Return the source's rows of some rows of a batch, given by their places in its frame, as JSON text."""
    if RAW_COLUMN in batch.frame.columns:
        kept: pa.Array[Any] = pc.fill_null(batch.frame[RAW_COLUMN][places].to_arrow().cast(pa.string()), "{}")
        return kept
    if batch.source is None:
        return pa.array(["{}"] * len(places), pa.string())
    return json_rows(batch.source, batch.frame[ROW_COLUMN][places].to_arrow())


def _cut(texts: Values, chars_max: int) -> tuple[pa.Array[Any], Values]:
    """Return texts of at most so many characters, and which of them were longer."""
    whole = _array(texts, pa.string())
    if pc.max(pc.binary_length(whole)).as_py() <= chars_max:
        return whole, [False] * len(whole)
    return pc.utf8_slice_codeunits(whole, 0, chars_max), pc.greater(pc.utf8_length(whole), chars_max)


def _array(values: Values, kind: pa.DataType) -> pa.Array[Any]:
    return values.cast(kind) if isinstance(values, pa.Array) else pa.array(values, kind)
