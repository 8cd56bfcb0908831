"""Open runs: which runs may still need what they staged. Runs whose process is dead are closed first."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from raypipe.core.state import RunRecord, RunState
from raypipe.errors import Fenced
from raypipe.ports import Destination


def open_runs(destination: Destination, is_dead: Callable[[str], bool]) -> frozenset[str]:
    """Close the runs of dead holders and return those that are open still."""
    found = _open(destination)
    dead = [run for run in found if is_dead(run.holder)]
    for run in dead:
        with contextlib.suppress(Fenced):  # taken over meanwhile
            destination.close_run(run.run_id, run.epoch, RunState.FAILED)
    return frozenset(run.run_id for run in (_open(destination) if dead else found))


def _open(destination: Destination) -> list[RunRecord]:
    return [run for run in destination.snapshot().runs if run.ended_us is None]
