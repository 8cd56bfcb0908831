"""An example to copy: what a team keeps beside a pipeline of its own to prove it. The pipeline is configs/python_step.yaml."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

import raypipe
from raypipe.testing import FrozenClock, assert_exactly_once, assert_same_for_any_shards, late_arrivals, oracle

pytestmark = pytest.mark.slow  # about 10 s

PIPELINE = Path(__file__).parent.parent.parent / "configs" / "python_step.yaml"

ORDERS = [
    {
        "order_id": f"o{number}",
        "ordered_at": datetime(2024, 6, 1) + timedelta(hours=7 * number),
        "customer": "Ana",
        "amount": 15.5 * number,
        "status": "cancelled" if number % 5 == 4 else "paid",
    }
    for number in range(20)
]


def test_orders_are_counted_exactly_once_whatever_happens():
    # Without `only` it goes through every crash, retry and duplicate: half a minute.
    assert_exactly_once(PIPELINE, ORDERS, only="takeover")


def test_orders_do_not_depend_on_the_width_of_shards():
    assert_same_for_any_shards(PIPELINE, ORDERS, widths=("6h",), orders=("backward",))


def test_orders_that_come_late_are_taken_in(tmp_path):
    pipeline = replace(
        raypipe.load(str(PIPELINE)),
        source=replace(raypipe.load(str(PIPELINE)).source, paths=(f"{tmp_path}/*.csv",)),
        destination=raypipe.DuckDBDestination(path=f"{tmp_path}/orders.duckdb"),
    )
    clock = FrozenClock("2024-06-10")
    for delivery in late_arrivals(ORDERS, seed=1, deliveries=3, doubled=0):
        delivery.place(pipeline, tmp_path)
        raypipe.run(pipeline, clock=clock)
    assert oracle.check(pipeline).tables == {"sized_orders": 16}
