"""The collector rests for a while, and then is as it was."""

from __future__ import annotations

import gc

import pytest

from raypipe.collector import collector_resting


def test_the_collector_rests_and_goes_on_also_after_an_error() -> None:
    with collector_resting():
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ValueError, match="x"), collector_resting():
        raise ValueError("x")
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with collector_resting(), collector_resting():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
