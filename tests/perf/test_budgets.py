from __future__ import annotations

import pytest

from perf.budgets import Budget, compare, read_budgets
from perf.scenarios import SCENARIOS
from perf.values import Figure


def test_a_figure_above_its_limit_is_over():
    budget = Budget("a", "", at_most=1.1)
    assert [one.verdict for one in compare([budget], [Figure("a", 1.11, "times")])] == ["over"]
    assert [one.verdict for one in compare([budget], [Figure("a", 1.1, "times")])] == ["ok"]


def test_a_figure_below_what_it_must_reach_is_over():
    budget = Budget("a", "", at_least=15)
    assert [one.verdict for one in compare([budget], [Figure("a", 14.9, "commits/s")])] == ["over"]


def test_a_budget_whose_scenario_did_not_run_is_not_kept_in_silence():
    assert [one.verdict for one in compare([Budget("a", "", at_most=1)], [Figure("b", 0, "s")])] == ["not measured"]


def test_a_budget_has_exactly_one_bound():
    for bounds in ({}, {"at_most": 1.0, "at_least": 1.0}):
        with pytest.raises(ValueError, match="either at_most or at_least"):
            Budget("a", "", **bounds)


def test_two_budgets_of_one_figure_are_refused(tmp_path):
    file = tmp_path / "budgets.toml"
    file.write_text('[[budget]]\nfigure = "a"\nat_most = 1\nsays = ""\n' * 2)
    with pytest.raises(ValueError, match="more than one budget of a"):
        read_budgets(file)


def test_every_budget_belongs_to_a_scenario():
    assert {one.figure.split(".")[0] for one in read_budgets()} <= set(SCENARIOS)
