"""The simulation finds no broken law, plays a seed twice alike, and tells a broken one so that it can be played again.

The slow part plays 10,000 seeds. The long part is `python -m raypipe.testing.simulation 1000000`: some hours on two cores.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from click.testing import CliRunner

from raypipe.core.shard import Outcome
from raypipe.testing.simulation import play, play_all
from raypipe.testing.simulation.__main__ import main
from raypipe.testing.simulation.happenings import prepare
from raypipe.testing.simulation.mutants import MUTANTS
from raypipe.testing.simulation.settle import settle
from raypipe.testing.simulation.world import World

SEEDS = 10_000
PART = 1_000
SEEDS_OF_ALL_OUTCOMES = 200
LINE = re.compile(r"simulation: ([\d,]+) seeds, ([\d,]+) steps, ([\d,]+) commits, (\d+) violations, \d+ s")


def mutant(name):
    return next(one for one in MUTANTS if one.name == name)


def test_a_few_seeds_break_no_law():
    played = list(play_all(range(20)))
    assert [one.violation for one in played] == [None] * 20
    assert sum(one.commits for one in played) > 20


def test_all_that_a_commit_may_do_is_done_within_a_few_seeds():
    """Else the laws of it would be about nothing."""
    outcomes = set()
    for seed in range(SEEDS_OF_ALL_OUTCOMES):
        world = World(seed)
        prepare(world)
        world.play()
        settle(world)
        outcomes.update(entry.outcome for entry in world.laws.state.ledger)
        if outcomes == set(Outcome):
            return
    assert outcomes == set(Outcome)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, SEEDS, PART))
def test_no_schedule_breaks_a_law(first):
    """In a process of its own, whose lines are not counted for the coverage: that would take three times as long."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    command = [sys.executable, "-m", "raypipe.testing.simulation", str(PART), "--first", str(first), "--processes", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{PART:,} seeds" in done.stdout


def test_the_same_seed_is_the_same_schedule_step_by_step():
    for seed in range(5):
        first, second = play(seed, keep_story=True), play(seed, keep_story=True)
        assert first == second
        assert len(first.story) > 3


def test_another_process_plays_the_same_schedule():
    command = [sys.executable, "-m", "raypipe.testing.simulation", "--seed", "3"]
    told = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONHASHSEED": "7"}).stdout
    played = play(3, keep_story=True)
    assert told.splitlines()[:-1] == list(played.story)
    assert told.splitlines()[-1] == f"seed 3: {played.steps} steps, {played.commits} commits, no law is broken"


def test_the_command_prints_one_line():
    done = CliRunner().invoke(main, ["30", "--first", "40"])
    assert done.exit_code == 0
    (line,) = done.output.splitlines()
    seeds, steps, commits, violations = LINE.fullmatch(line).groups()
    assert (seeds, violations) == ("30", "0")
    assert int(steps.replace(",", "")) > int(commits) > 10


def test_a_broken_law_is_told_with_its_story_and_how_to_play_it_again():
    with mutant("conflicts_are_dropped").applied():
        done = CliRunner().invoke(main, ["20"])
        assert done.exit_code == 1
        line, *told = done.output.splitlines()
        assert int(LINE.fullmatch(line)[4]) > 0
        found = re.fullmatch(r"  python -m raypipe.testing.simulation --seed (\d+)", next(one for one in told if "--seed" in one))
        again = CliRunner().invoke(main, ["--seed", found[1]])
    assert again.exit_code == 1
    assert "a run was done without all its shards" in again.output
    assert [one for one in again.output.splitlines() if one not in told] == []
