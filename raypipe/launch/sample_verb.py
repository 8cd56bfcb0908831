"""`sample`: the rows of one shard after the source, after each step, and in each output; writes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from raypipe.core.shard import Reason, Shard
from raypipe.core.window import Window
from raypipe.errors import UsageError
from raypipe.launch.parts import Parts, scratch_index
from raypipe.pipeline import Pipeline
from raypipe.ports import Listing

Stage = tuple[str, Sequence[str], Sequence[Sequence[Any]], int]


def sample(pipeline: Pipeline, *, at_us: int | None, rows: int) -> Sequence[Stage]:
    """Return the stages of the shard at an instant (None: the first that has rows): name, headings, first rows, rows in all."""
    from raypipe.engine.lookup import datatype_of
    from raypipe.engine.sample import sample as stages_of

    with scratch_index(pipeline) as parts:
        listing = parts.source.list()
        parts.source.record([parts.source.scan(file) for file in parts.source.unindexed(listing)])
        shard = _shard(parts, listing, at_us)
        stages = stages_of(pipeline, parts.source, shard, rows)
        return [
            (
                name,
                [f"{column} ({datatype_of(kind) or kind})" for column, kind in frame.schema.items()],
                frame.head(rows).rows(),
                frame.height,
            )
            for name, frame in stages
        ]


def _shard(parts: Parts, listing: Listing, at_us: int | None) -> Shard:
    if parts.ready.window is None:
        raise UsageError("no shard is ready yet: time.start plus one shard plus time.delay lies in the future")
    within = parts.ready.window if at_us is None else Window(at_us, at_us + 1)
    cells = parts.ready.cells(within)
    if not cells:
        raise UsageError(f"--at lies outside the history {parts.ready.window}")
    for cell, slices in zip(cells, parts.source.slices(listing, cells), strict=True):
        if slices or at_us is not None:
            return Shard(parts.ready.index_of(cell), cell, Reason.NEW, frozenset(), slices)
    raise UsageError(f"no shard of {parts.ready.window} has any input: look at source.path and time.start")
