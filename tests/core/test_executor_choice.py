"""The choice of the executor follows a stated rule."""

from __future__ import annotations

import pytest

from raypipe.core.executor_choice import Choice, WorkSize, choose_executor, phrase

SMALL = WorkSize(shards=365, rows=336_776, size_bytes=31_000_000, python_steps=False)
HUGE_PYTHON = WorkSize(shards=365, rows=100_000_000, size_bytes=10**10, python_steps=True)


def test_small_work_on_a_laptop_is_inline():
    choice = choose_executor("auto", None, {}, 2, SMALL)
    assert choice == Choice("inline", 2)
    assert phrase(choice) == "inline, 2 threads"


def test_much_work_in_python_steps_is_worth_the_start_of_ray():
    assert choose_executor("auto", None, {}, 8, HUGE_PYTHON).executor == "ray"
    assert choose_executor("auto", None, {}, 1, HUGE_PYTHON).executor == "inline"


@pytest.mark.parametrize(
    ("address", "environ"), [("head:6379", {}), (None, {"RAY_ADDRESS": "head:6379"}), (None, {"RAY_JOB_ID": "01000000"})]
)
def test_an_address_or_a_surrounding_job_means_ray(address, environ):
    assert choose_executor("auto", address, environ, 2, SMALL).executor == "ray"


def test_the_ray_that_a_process_is_in_is_used_whatever_address_is_named():
    chosen = choose_executor("auto", "head:6379", {"RAY_ADDRESS": "other:6379"}, 2, SMALL, "here:6379")
    assert chosen == Choice("ray", 2, "here:6379")
    assert choose_executor("inline", None, {}, 2, SMALL, "here:6379").executor == "inline"


def test_what_a_person_asks_for_is_done():
    assert choose_executor("inline", None, {"RAY_ADDRESS": "head:6379"}, 2, HUGE_PYTHON).executor == "inline"
    assert choose_executor("ray", None, {}, 2, SMALL) == Choice("ray", 2, None)
    assert phrase(choose_executor("ray", None, {}, 2, SMALL)) == "ray, local cluster"
