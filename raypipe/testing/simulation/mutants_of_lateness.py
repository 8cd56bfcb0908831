"""Mistakes in what a run leaves to a backfill: late ranges that are too old, which are held and never lost."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from raypipe.core.plan import Patience, Scope
from raypipe.testing.simulation.mutant import Mutant, always

_PLAN = "raypipe.core.plan"
_PLANNER = "raypipe.runtime.planner"


def _by_the_start(real: Any) -> Any:
    """Hold what begins long ago, though it ends in time."""

    def held(late: Any, watermark_us: int | None, lateness_us: int | None) -> Any:
        if watermark_us is None or lateness_us is None:
            return ()
        return tuple((one, "too old") for one in late if one.start_us <= watermark_us - lateness_us)

    return held


def _by_what_is_late(real: Any) -> Any:
    """Measure lateness from the newest late range instead of the watermark."""
    return lambda late, watermark_us, lateness_us: real(late, max((one.end_us for one in late), default=None), lateness_us)


def _untold(real: Any) -> Any:
    return lambda *args, **named: replace(real(*args, **named), held=())


def _as_a_run(real: Any) -> Any:
    """Take in all that is late where only what is held was asked for."""

    def windows(self: Any, held: Any, stale: Any) -> Any:
        return list(self.late) if self.scope is Scope.HELD else real(self, held, stale)

    return windows


def _nothing_is_held(real: Any) -> Any:
    return lambda self, held, stale: [] if self.scope is Scope.HELD else real(self, held, stale)


def _impatient_backfills(real: Any) -> Any:
    """Forget the lateness where no run is planned: a backfill finds nothing that is held."""

    def made(scope: Any, *args: Any, **named: Any) -> Any:
        return real(scope, *args, **{**named, "patience": named["patience"] if scope is Scope.DUE else Patience()})

    return made


MUTANTS = (
    Mutant("held_is_done_again", "a run takes in late input however old it is", ((f"{_PLAN}:_held", always(())),)),
    Mutant("held_by_the_start", "a range that ends in time is held as well", ((f"{_PLAN}:_held", _by_the_start),)),
    Mutant(
        "lateness_without_the_watermark",
        "how old is too old depends on what else is late",
        ((f"{_PLAN}:_held", _by_what_is_late),),
    ),
    Mutant("held_is_not_told", "what is held is neither done nor told", ((f"{_PLANNER}:make_plan", _untold),)),
    Mutant(
        "held_backfills_take_all_that_is_late",
        "a backfill of what is held does the work of a run",
        ((f"{_PLAN}:_Wanted.windows", _as_a_run),),
    ),
    Mutant("held_backfills_find_nothing", "what is held stays so", ((f"{_PLAN}:_Wanted.windows", _nothing_is_held),)),
    Mutant(
        "lateness_is_for_runs_alone",
        "a backfill of what is held does not know what is too old",
        ((f"{_PLANNER}:make_plan", _impatient_backfills),),
    ),
)
