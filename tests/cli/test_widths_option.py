"""`verify --widths` on the command line: what is asked for reaches the verb, and what is no width is told."""

from __future__ import annotations

import pytest

from raypipe import launch
from raypipe.core.calendar import Width
from raypipe.core.window import Window
from raypipe.ports import Check


@pytest.fixture
def asked(launched, monkeypatch):
    calls = []

    def verify_widths(pipeline, widths, *, window, tell):
        calls.append((widths, window))
        tell("computing 3 shards")
        return [Check("widths 1h", False, "table t: a cut at 2013-01-02T00:00:00Z changes it")]

    monkeypatch.setattr(launch, "verify_widths", verify_widths)
    return calls


def test_widths_and_range_reach_the_verb_and_a_difference_is_exit_code_1(asked, raypipe):
    result = raypipe("verify", "pipeline.yaml", "--widths", "1h, 2d", "--start", "2013-01-01T00:00Z", "--end", "2013-01-02T00:00Z")
    assert result.exit_code == 1
    assert asked == [((Width(1, "h"), Width(2, "d")), Window(1_356_998_400_000_000, 1_357_084_800_000_000))]
    assert "a cut at 2013-01-02T00:00:00Z changes it" in result.stdout
    assert "computing 3 shards" in result.stderr


def test_quiet_tells_nothing_of_what_is_being_computed(asked, raypipe):
    assert "computing" not in raypipe("verify", "pipeline.yaml", "--widths", "1h", "-q").stderr
    assert asked == [((Width(1, "h"),), None)]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--widths", "1h,5 mins"], "got '5 mins', expected a width such as 15m"),
        (["--start", "2013-01-01", "--end", "2013-01-02"], "give --widths too"),
        (["--widths", "1h", "--start", "2013-01-01"], "--end is missing"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_computed(asked, raypipe, options, told):
    result = raypipe("verify", "pipeline.yaml", *options)
    assert result.exit_code == 2
    assert told in result.stderr.replace("\n", " ")
    assert asked == []
