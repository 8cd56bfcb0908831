"""Mistakes in compaction and in what keyed tables are made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from raypipe.core.merge import DELETED_COLUMN, Keyed
from raypipe.core.window import Window
from raypipe.testing.simulation.mutant import Mutant, always

_COMPACTION = "raypipe.core.compaction"
_COMMIT = "raypipe.core.commit"
_COMPACT = "raypipe.destinations.memory_compact"
_MERGE = "raypipe.destinations.memory_merge"


def _in_a_row(real: Any) -> Any:
    """Take ranges that follow each other for neighbours, whatever lies between them."""

    def runs(windows: Sequence[Window], into: Any) -> Iterator[list[Window]]:
        if windows:
            yield list(windows)

    return runs


def _first_part_alone(real: Any) -> Any:
    """Remember the input of the first part only."""
    return lambda self, window: frozenset(sorted(real(self, window))[:1])


def _without_deletions(real: Any) -> Any:
    def one_contribution(merge: Any, rows: Any) -> Any:
        found = real(merge, rows)
        return [row for row in found if not row[DELETED_COLUMN]] if isinstance(merge, Keyed) else found

    return one_contribution


def _last_comes_first(real: Any) -> Any:
    return lambda merge, rows: rows[-1]


def _accounts_of_the_last(real: Any) -> Any:
    """Count the rows of the last part only."""
    return lambda state, shard, said, stats: real(state, shard, said[-1:], stats)


MUTANTS = (
    Mutant(
        "compaction_spans_gaps",
        "ranges with a hole between them become one",
        ((f"{_COMPACTION}:_runs", _in_a_row), (f"{_COMMIT}:_is_whole", always(True))),
    ),
    Mutant(
        "compaction_mixes_definitions",
        "ranges of several definitions become one",
        ((f"{_COMPACTION}:_stays", always("")), (f"{_COMMIT}:_is_whole", always(True))),
    ),
    Mutant(
        "compaction_forgets_parts",
        "a compacted range is late only if its first part is",
        (("raypipe.core.live_ranges:LiveRanges.inputs", _first_part_alone),),
    ),
    Mutant(
        "compaction_drops_deletions",
        "a deletion goes with what it deletes, and older versions elsewhere come back",
        ((f"{_COMPACT}:one_contribution", _without_deletions),),
    ),
    Mutant(
        "compaction_keeps_what_came_last",
        "of the versions of a key the last one stays, not the newest",
        ((f"{_MERGE}:_newest", _last_comes_first),),
    ),
    Mutant(
        "compaction_loses_accounts",
        "the ledger counts the rows of the last part for the whole range",
        ((f"{_COMPACT}:_said", _accounts_of_the_last),),
    ),
)
