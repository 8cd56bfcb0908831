from __future__ import annotations

from pathlib import Path

import pytest

from perf.command import parse_arguments
from perf.scenarios import SCENARIOS

DATA = Path("data")


def test_without_arguments_all_scenarios_run_at_their_own_sizes():
    asked = parse_arguments([], DATA)
    assert asked.scenarios == tuple(SCENARIOS)
    assert (asked.rows, asked.against, asked.runs, asked.quick, asked.data) == (None, None, 5, False, DATA)


def test_quick_means_fewer_rounds_unless_told_otherwise():
    assert parse_arguments(["--quick"], DATA).runs == 2
    assert parse_arguments(["--quick", "--runs", "4"], DATA).runs == 4


def test_scenarios_sizes_and_peers_are_chosen():
    asked = parse_arguments(["--scenario", "throughput", "--rows", "300k,10M", "--against", "duckdb,spark"], DATA)
    assert parse_arguments(["--without", "a,b"], DATA).without == ("a", "b")
    assert (asked.scenarios, asked.rows, asked.against) == (("throughput",), (300_000, 10_000_000), ("duckdb", "spark"))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--scenario", "throughputs"], "throughput"),
        (["--rows", "many"], "expected a count such as 300k or 10M"),
        (["--rows", "0"], "expected a count"),
        (["--against", "excel"], "expected some of"),
        (["--runs", "0"], "at least 1"),
    ],
)
def test_a_mistake_says_what_was_expected(words, says, capsys):
    with pytest.raises(SystemExit, match="2"):
        parse_arguments(words, DATA)
    assert says in capsys.readouterr().err
