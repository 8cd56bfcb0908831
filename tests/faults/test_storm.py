"""Runs that are killed at random moments are finished by the next one: a few of them here, hundreds by `tests.faults.storm`."""

from __future__ import annotations

import random

import pytest

from tests.faults.storm import events, storm


@pytest.mark.slow
@pytest.mark.fault(4, 55, 56)
def test_what_random_signals_leave_is_finished_by_the_next_run():
    seed = random.randrange(10**6)
    with storm(seed) as made:
        case = events(made.folder)
        made.prepare([case])
        kills = made.round(1, case, 2)
    assert sum(count for name, count in made.counts.items() if name.startswith("SIG")) == kills, f"seed {seed}"


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.fault(4, 11)
def test_what_the_death_of_a_process_of_ray_leaves_is_finished_by_the_next_run():
    seed = random.randrange(10**6)
    print("seed", seed)
    with storm(seed, rays=1) as made:
        case = events(made.folder)
        made.prepare([case])
        made.round(1, case, 1)
    assert any(name.startswith("Ray") for name in made.counts)
