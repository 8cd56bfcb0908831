"""A shard of ten times the others' size completes within a budget that its rows do not fit in."""

from __future__ import annotations

import pytest

from raypipe.config.quantities import parse_size
from tests.faults.skew import OUTPUTS, run, write_days

ROWS = 320_000  # of a day; the large one has 3.2 million, which take more than the budget
MEMORY = "640MiB"


@pytest.fixture(scope="module")
def days(tmp_path_factory):
    folder = tmp_path_factory.mktemp("days")
    write_days(folder, ROWS)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(OUTPUTS))
def test_a_shard_ten_times_as_large_is_done_within_the_budget(days, kind):
    assert run(kind, days, MEMORY).peak_bytes <= parse_size(MEMORY)
