"""Scratch tables: what a pipeline would make of given shards, in files beside its state that are gone afterwards."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from raypipe.core import events as ev
from raypipe.core.plan import Scope
from raypipe.core.window import Window
from raypipe.errors import UsageError
from raypipe.launch.parts import Parts, copy_index
from raypipe.launch.reports import Ask
from raypipe.launch.run_verb import run
from raypipe.lazy_dataclass import dataclass
from raypipe.pipeline import DuckDBDestination, Pipeline
from raypipe.ports import StopFlag

if TYPE_CHECKING:
    from raypipe.destinations.duckdb_compare import TableDifference


class ShardsFailed(Exception):
    """Some shards could not be computed at some width; the text names the first."""


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables that came of some cuts, in a DuckDB file of the scratch folder."""

    path: str


@dataclass(frozen=True, slots=True)
class Scratch:
    """Where tables are computed; the index is kept from one computation to the next."""

    pipeline: Pipeline
    """Writes to a file of the scratch folder."""

    def tables(self, name: str, orders: Sequence[Sequence[Window]]) -> Tables:
        """Compute shards, one list after the other, into new tables. Raises ShardsFailed."""
        out = Path(self.pipeline.destination.path)
        out.unlink(missing_ok=True)  # of a computation that failed
        for shards in orders:
            ask = Ask(scope=Scope.ALL, given=tuple(shards), executor="inline")
            closed = run(self.pipeline, ask, observer=_Unwatched(), stop=StopFlag()).closed
            if closed.failures:
                raise ShardsFailed(f"{closed.failures[0].window}: {closed.failures[0].error}")
        kept = out.with_name(f"{name}.duckdb")
        out.replace(kept)
        return Tables(str(kept))

    def difference(self, left: Tables, right: Tables) -> TableDifference | None:
        """Return where the first table that is not the same in both differs first."""
        from raypipe.destinations.duckdb_compare import table_difference

        found = (table_difference(left.path, right.path, output.table) for output in self.pipeline.outputs)
        return next((one for one in found if one is not None), None)


class _Unwatched:
    """Watches nothing."""

    def on(self, event: ev.RunEvent) -> None:
        """Let it pass."""


@contextlib.contextmanager
def scratch_tables(parts: Parts) -> Iterator[Scratch]:
    """Make a scratch folder beside the state, with a copy of the index, for the time of the block.

    What judges single shards and changes no row is left out: the thresholds of `quality` (`max_quarantined`, `checks`) and the
    contracts of outputs.
    """
    pipeline, state = parts.pipeline, Path(parts.state_folder)
    if not state.parent.is_dir():
        raise UsageError(f"destination.path: the folder {state.parent} does not exist: create it, or name another path")
    was_there = state.is_dir()
    state.mkdir(exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix="widths-", dir=state) as folder:
            quality = replace(pipeline.quality, max_quarantined=None, checks=())
            outputs = tuple(replace(one, columns={}) for one in pipeline.outputs)
            destination = DuckDBDestination(path=f"{folder}/out.duckdb")
            scratch = replace(pipeline, quality=quality, outputs=outputs, destination=destination)
            index = Path(Parts(scratch, parts.clock).index_folder)
            index.mkdir(parents=True)
            copy_index(parts.index_folder, str(index))
            if Path(parts.stand_in_folder()).is_dir():
                shutil.copytree(parts.stand_in_folder(), Parts(scratch, parts.clock).stand_in_folder())
            yield Scratch(scratch)
    finally:
        if not was_there:
            state.rmdir()
