from __future__ import annotations

from dataclasses import replace

import pytest

from perf.budgets import Budget, compare
from perf.report import console, page, verdicts
from perf.results import Results, models, read, write
from perf.values import Figure, Found


@pytest.fixture
def found(series):
    def make(title, walls, rows=1000, value=1.0):
        figure = Figure(f"throughput.{title}.wall", value, "times", value, value)
        one = series("raypipe", walls, rows=rows, shards=30)
        return Found("throughput", title, "How long?", (one,), (figure,), ("a note",), (1.0, 1.2), "2026-01-01")

    return make


def results(*found):
    return Results({"cores": "2"}, {"duckdb": "2.0.0"}, found)


def test_results_are_read_as_they_were_written(found, tmp_path):
    written = results(found("1M", [1.0, 2.0]))
    write(written, tmp_path / "r.json")
    assert read(tmp_path / "r.json") == written


def test_newer_results_of_a_title_replace_the_older_and_others_stay(found):
    known = results(found("1M", [1.0]), found("10M", [5.0]))
    merged = known.merged(results(found("1M", [2.0])))
    assert [(one.title, one.series[0].runs[0].wall_s) for one in merged.found] == [("10M", 5.0), ("1M", 2.0)]


def test_what_a_reader_should_know_stays_until_it_is_said_anew(found):
    known = replace(results(found("1M", [1.0])), note="shared")
    assert known.merged(results(found("10M", [1.0]))).note == "shared"
    assert "shared" in page(known, ())


def test_results_are_shown_in_the_order_of_the_scenarios_and_sizes(found):
    other = replace(found("x", [1.0]), scenario="start")
    known = results(other, found("100M", [1.0], 10**8), found("1M", [1.0], 10**6))
    assert [one.title for one in known.ordered(["throughput", "start"]).found] == ["1M", "100M", "x"]


def test_a_model_is_fitted_over_the_sizes_of_a_scenario(found):
    (fitted,) = models([found("1M", [1.5], 10**6), found("10M", [6.0], 10**7), found("100M", [51.0], 10**8)])
    assert (fitted.model.fixed_s, fitted.model.per_row_s) == pytest.approx((1.0, 5e-7))
    assert [figure.name for figure in fitted.figures] == ["throughput.exponent.raypipe"]


def test_the_page_shows_every_budget_with_its_verdict(found):
    known = results(found("1M", [1.0], value=1.3))
    budgets = [Budget("throughput.1M.wall", "kept", at_most=2), Budget("throughput.other", "not run", at_most=1)]
    text = page(known, compare(budgets, known.figures))
    assert "| kept (`throughput.1M.wall`) | 1.30 times | 1.30 to 1.30 | <= 2 | ok |" in text
    assert "| not run (`throughput.other`) |  |  | <= 1 | not measured |" in text
    assert "its extremes 18%" in text
    assert "duckdb 2.0.0" in text
    assert "a note" in text


def test_a_figure_over_its_budget_is_shown_as_over(found):
    known = results(found("1M", [1.0], value=1.3))
    assert "OVER" in verdicts(compare([Budget("throughput.1M.wall", "", at_most=1)], known.figures))


def test_a_contender_that_was_given_several_sizes_is_shown_with_them(series):
    sized = (series("raypipe", [1.0], shards=30), series("raypipe", [2.0], shards=720))
    text = console(Found("shards", "shards", "?", sized))
    assert "raypipe, 1k rows, 30 shards" in text
    assert "raypipe, 1k rows, 720 shards" in text


def test_the_console_shows_medians_and_figures(found):
    text = console(found("1M", [1.0, 3.0, 2.0]))
    assert "raypipe" in text
    assert "2.00" in text
    assert "throughput.1M.wall" in text
