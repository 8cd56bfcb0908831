from __future__ import annotations

from raypipe.core.events import Warned
from raypipe.observe.several import Several


class Listening:
    def __init__(self):
        self.heard = []

    def on(self, event):
        self.heard.append(event)


class Broken:
    def on(self, event):
        raise OSError("disk \x1b full")


def test_an_observer_that_fails_is_left_out_and_the_others_hear_everything():
    listening, told = Listening(), []
    several = Several([Broken(), listening], told.append)

    several.on(Warned("a"))
    several.on(Warned("b"))

    assert [event.text for event in listening.heard] == ["a", "b"]
    assert told == ["Broken stopped watching the run: OSError: disk \\x1b full"]


def test_not_even_a_broken_warning_stops_a_run():
    def broken(text):
        raise OSError(text)

    Several([Broken()], broken).on(Warned("a"))
