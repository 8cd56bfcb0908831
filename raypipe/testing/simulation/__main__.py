"""`python -m raypipe.testing.simulation [SEEDS] [--seed N] [--mutants]`: plays schedules and looks for a broken law.

Without options 10,000 seeds, on all cores; a million takes some hours. `--seed N` plays one and tells its story.
`--mutants` makes each deliberate mistake in turn and tells which seed shows it first; exit code 1 means that a law is
broken, or that a mistake is not seen.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Iterable, Iterator

import click

from raypipe.testing.simulation.mutants import MUTANTS, SEEDS_MAX
from raypipe.testing.simulation.play import Played, first_violation, play, play_all

SEEDS = 10_000
BLOCK_SEEDS = 50  # handed to a process at once
SHOWN_MAX = 5


@click.command(help=__doc__)
@click.argument("seeds", type=click.IntRange(min=1), default=SEEDS)
@click.option("--seed", type=click.IntRange(min=0), default=None, help="Play this one and tell its story.")
@click.option("--first", type=click.IntRange(min=0), default=0, help="The first of the seeds.", show_default=True)
@click.option("--processes", type=click.IntRange(min=1), default=None, help="How many work at once.  [default: one a core]")
@click.option("--mutants", is_flag=True, help="Make each deliberate mistake and look for it.")
def main(seeds: int, seed: int | None, first: int, processes: int | None, mutants: bool) -> None:
    """Play, print, and end with 1 when something is wrong."""
    if seed is not None:
        played = play(seed, keep_story=True)
        click.echo("\n".join(_told(played, whole=True)))
        sys.exit(1 if played.violation else 0)
    width = processes or _cores()
    wrong = _look_for_mutants(width) if mutants else _look_for_violations(range(first, first + seeds), width)
    sys.exit(1 if wrong else 0)


def _look_for_violations(seeds: range, processes: int) -> bool:
    began_s = time.monotonic()
    steps = commits = 0
    wrong: list[Played] = []
    for played in _in_processes(seeds, processes):
        steps, commits = steps + played.steps, commits + played.commits
        if played.violation:
            wrong.append(played)
    seconds = time.monotonic() - began_s
    click.echo(f"simulation: {len(seeds):,} seeds, {steps:,} steps, {commits:,} commits, {len(wrong)} violations, {seconds:.0f} s")
    for played in sorted(wrong, key=lambda one: one.seed)[:SHOWN_MAX]:
        click.echo("\n".join(_told(played, whole=played is wrong[0])))
    return bool(wrong)


def _told(played: Played, *, whole: bool) -> Iterator[str]:
    """Tell a seed: its story where wanted, what it broke, and how to play it again."""
    if whole:
        yield from played.story
    yield f"seed {played.seed}: {played.steps} steps, {played.commits} commits, {played.violation or 'no law is broken'}"
    if played.violation:
        yield f"  python -m raypipe.testing.simulation --seed {played.seed}"


def _look_for_mutants(processes: int) -> bool:
    alive = []
    with multiprocessing.Pool(processes) as pool:
        for name, found in pool.imap(_search, [one.name for one in MUTANTS]):
            if found is None:
                alive.append(name)
            click.echo(f"{name:40} " + (f"seed {found.seed:5}: {found.violation}" if found else "ALIVE"))
    click.echo(f"mutants: {len(MUTANTS)} mistakes, {len(MUTANTS) - len(alive)} seen, {len(alive)} not")
    return bool(alive)


def _search(name: str) -> tuple[str, Played | None]:
    mutant = next(one for one in MUTANTS if one.name == name)
    return name, first_violation(mutant, range(SEEDS_MAX))


def _in_processes(seeds: range, processes: int) -> Iterable[Played]:
    if len(seeds) < BLOCK_SEEDS or processes == 1:
        yield from play_all(seeds)
        return
    blocks = [seeds[start : start + BLOCK_SEEDS] for start in range(0, len(seeds), BLOCK_SEEDS)]
    with multiprocessing.Pool(processes) as pool:
        for played in pool.imap(_play_block, blocks):
            yield from played


def _play_block(seeds: range) -> list[Played]:
    return list(play_all(seeds))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


if __name__ == "__main__":
    main()
