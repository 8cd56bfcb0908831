"""Nodes and the driver of a run on a cluster are killed: one round here, ten of 500 shards by `tests.faults.nodes`."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.ray
@pytest.mark.slow
def test_a_run_whose_nodes_and_driver_are_killed_ends_like_one_that_nothing_befell():
    seed = str(random.randrange(10**6))
    # In a process of its own: a process is in one Ray only, and the other tests share theirs.
    command = [sys.executable, "-m", "tests.faults.nodes", "--rounds", "1", "--shards", "60", "--seed", seed]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert ended.returncode == 0, f"seed {seed}\n{ended.stdout[-2000:]}\n{ended.stderr[-2000:]}"
    assert "all equal to an untouched run" in ended.stdout
