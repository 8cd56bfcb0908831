"""Points that do not meet are played side by side, and what is told of them does not depend on which is done first."""

from __future__ import annotations

import threading

from raypipe.testing.exactly_once import PLAYERS, _outcomes
from raypipe.testing.points import Point


def test_points_are_told_in_order_however_long_each_takes():
    second_done = threading.Event()

    def slow() -> list[str]:
        assert second_done.wait(60)  # it ends only after the second was played beside it
        return ["slow"]

    def quick() -> list[str]:
        second_done.set()
        return []

    found = list(_outcomes(iter([Point("a=x", "", slow), Point("b=x", "", quick)])))
    assert [(point.name, wrong) for point, wrong in found] == [("a=x", ["slow"]), ("b=x", [])]


def test_points_that_move_the_input_are_played_alone():
    playing, most = [], []

    def play() -> list[str]:
        playing.append(1)
        most.append(len(playing))
        playing.pop()
        return []

    moving = [Point(f"{number}=late", "", play, moves_input=True) for number in range(20)]
    beside = [Point(f"{number}=crash", "", list) for number in range(PLAYERS)]
    assert len(list(_outcomes(iter([*beside, *moving])))) == len(beside) + len(moving)
    assert set(most) == {1}


def test_after_the_first_failure_no_further_points_are_begun():
    begun: list[int] = []
    given_up = threading.Event()

    def waits() -> list[str]:
        begun.append(1)
        assert given_up.wait(60)
        return []

    points = [Point("0=late", "", lambda: ["wrong"], moves_input=True), *[Point("1=late", "", waits, moves_input=True)] * 50]
    outcomes = _outcomes(iter(points))
    assert next(outcomes)[1] == ["wrong"]
    threading.Timer(1, given_up.set).start()
    outcomes.close()
    assert len(begun) <= 1
