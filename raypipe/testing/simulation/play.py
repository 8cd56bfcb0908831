"""Playing: one seed, or many, with the mistakes of a mutant or without."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator

from raypipe.lazy_dataclass import dataclass
from raypipe.testing.simulation.happenings import prepare
from raypipe.testing.simulation.mutant import Mutant
from raypipe.testing.simulation.promise import Violation
from raypipe.testing.simulation.settle import settle
from raypipe.testing.simulation.world import World

COLLECT_EVERY = 200  # seeds: worlds are cyclic garbage, and looking for it at every turn takes a tenth of the time


@dataclass(frozen=True, slots=True)
class Played:
    """What came of one seed."""

    seed: int
    steps: int
    commits: int
    violation: str | None
    story: tuple[str, ...] = ()
    """What happened, step by step; kept where a law was broken, or where it is asked for."""


def play(seed: int, *, keep_story: bool = False) -> Played:
    """Play one seed to its end."""
    world = World(seed)
    try:
        prepare(world)
        world.play()
        settle(world)
    except Violation as violation:
        return Played(seed, world.steps, world.laws.commits, str(violation), tuple(world.story))
    return Played(seed, world.steps, world.laws.commits, None, tuple(world.story) if keep_story else ())


def play_all(seeds: Iterable[int]) -> Iterator[Played]:
    """Play seeds one after the other."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        for place, seed in enumerate(seeds, 1):
            yield play(seed)
            if place % COLLECT_EVERY == 0:
                gc.collect()
    finally:
        if was_on:
            gc.enable()


def first_violation(mutant: Mutant, seeds: Iterable[int]) -> Played | None:
    """Play seeds with the mistakes of a mutant until one shows them."""
    with mutant.applied():
        return next((played for played in play_all(seeds) if played.violation), None)
