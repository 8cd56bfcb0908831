"""Whatever becomes of a run on a local Ray, nothing of it is left: two endings here, fifty by `tests.faults.endings`."""

from __future__ import annotations

import random

import pytest

from tests.faults.endings import endings


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("ending", ["killed", "driver_killed"])
def test_a_run_that_ended_badly_leaves_no_process_no_port_and_no_folder(ending):
    seed = random.randrange(10**6)
    print("seed", seed)
    with endings() as made:
        made.prepare()
        made.play(ending, 0, random.Random(seed))
    assert any(name.startswith(ending) for name in made.counts)
