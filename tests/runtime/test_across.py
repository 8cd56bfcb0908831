"""Errors that cross a process."""

from __future__ import annotations

import pickle

import pytest

from raypipe import errors
from raypipe.runtime.across import Raised, attempt, portable

CLASSES = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.RaypipeError)]


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_of_raypipe_crosses_as_itself_with_its_text_and_origin(kind):
    try:
        raise kind("what, where, got, expected")
    except kind as error:
        found = pickle.loads(pickle.dumps(portable(error)))
    assert type(found) is kind
    assert str(found) == "what, where, got, expected"
    assert "test_across.py" in found.__notes__[0]


def test_work_returns_its_value():
    assert attempt(lambda: 7) == 7


def test_an_error_is_a_value_on_its_way():
    error = KeyError("k")

    def fail():
        raise error

    assert attempt(fail) == Raised(error)


def test_being_cancelled_is_not_an_error_of_the_work():
    def cancelled():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attempt(cancelled)


def test_an_error_that_holds_what_cannot_travel_becomes_its_text():
    error = ValueError("open file")
    error.file = lambda: None
    found = portable(error)
    assert type(found) is RuntimeError
    assert str(found) == "ValueError: open file"
