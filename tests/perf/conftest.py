"""Values that tests of the harness are made of."""

from __future__ import annotations

import pytest

from perf.measure import Measured
from perf.values import Series, Work


@pytest.fixture
def series():
    def make(contender, walls, *, rows=1000, shards=1, peaks=None):
        peaks = peaks or [1024 * 1024] * len(walls)
        runs = tuple(Measured(wall, 2 * wall, peak) for wall, peak in zip(walls, peaks, strict=True))
        return Series(contender, Work(rows, rows * 10, shards), runs)

    return make
