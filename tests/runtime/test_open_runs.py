"""Open runs: a run whose process is dead is closed before it is told which runs may still need what they staged."""

from __future__ import annotations

from dataclasses import replace

from raypipe.core.state import RunKind, RunOpening, RunState
from raypipe.destinations.memory import MemoryDestination
from raypipe.runtime.open_runs import open_runs


def opening(run_id, holder):
    return RunOpening(run_id=run_id, kind=RunKind.RUN, window=None, start_us=0, holder=holder, definitions={}, versions={})


def test_runs_of_dead_processes_are_closed_and_the_others_named(bench):
    destination = bench.plain
    destination.open_run(opening("alive", "a"))
    destination.open_run(opening("dead", "d"))
    assert open_runs(destination, lambda holder: holder == "d") == {"alive"}
    assert {run.run_id: run.state for run in destination.snapshot().runs} == {"alive": RunState.OPEN, "dead": RunState.FAILED}


def test_a_run_that_is_taken_over_meanwhile_stays_open(bench):
    class TakenOver(MemoryDestination):
        def close_run(self, run_id, epoch, state):
            self.open_run(replace(opening(run_id, "new"), force=True))
            return super().close_run(run_id, epoch, state)

    destination = TakenOver("p", clock=bench.clock)
    destination.open_run(opening("r", "d"))
    assert open_runs(destination, lambda holder: holder == "d") == {"r"}
    assert destination.snapshot().runs[0].epoch == 2
