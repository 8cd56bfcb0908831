"""The shapes of configs/: neither the executor, nor the order of work, nor the width of shards changes a table."""

from __future__ import annotations

from pathlib import Path

import pytest

from raypipe import load
from raypipe.testing import assert_same_for_any_shards

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize(("name", "widths"), [("nested", ("6h",)), ("lookup_as_of", ("6h",)), ("join", ("6h",))])
def test_a_table_is_the_same_for_any_width_and_order(name, widths):
    report = assert_same_for_any_shards(load(str(CONFIGS / f"{name}.yaml")), widths=widths, orders=("shuffled",))
    assert sum(report.tables.values()) > 0
