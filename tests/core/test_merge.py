from __future__ import annotations

from fractions import Fraction

import pytest

from raypipe.core.merge import Combined, Keyed, Measure, merge_from_json, merge_to_json, misfit, parse_measure


@pytest.mark.parametrize(
    ("text", "function", "argument"),
    [
        ("count(*)", "count", None),
        (" COUNT( * ) ", "count", None),
        ("count(x)", "count", "x"),
        ("count(DISTINCT lower(x))", "count_distinct", "lower(x)"),
        ("sum(a * (b + 1))", "sum", "a * (b + 1)"),
        ("first(CASE WHEN a = ')' THEN 1 END)", "first", "CASE WHEN a = ')' THEN 1 END"),
        ('max("odd ) name")', "max", '"odd ) name"'),
    ],
)
def test_a_measure_is_one_call_of_any_row_expression(text, function, argument):
    measure = parse_measure("m", text)
    assert (measure.function, measure.argument) == (function, argument)


def test_the_share_of_a_quantile_is_exact():
    measure = parse_measure("m", "approx_quantile(coalesce(a, 0), 0.1)")
    assert (measure.argument, measure.share) == ("coalesce(a, 0)", Fraction(1, 10))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dep_delay", "expected a measure such as"),
        ("median(x)", "expected one of count"),
        ("count_distinct(x)", "expected one of count"),
        ("sum(DISTINCT x)", "DISTINCT is known in count"),
        ("sum(a) + sum(b)", "expected nothing behind sum"),
        ("sum(x) FILTER (WHERE a)", "expected nothing behind sum"),
        ("sum(x", "closing parenthesis"),
        ("sum()", "a row expression within sum"),
        ("approx_quantile(x)", "a number from 0 to 1"),
        ("approx_quantile(x, 90)", "a number from 0 to 1"),
        ("approx_quantile(x, y)", "a number from 0 to 1"),
    ],
)
def test_what_is_no_measure_is_refused_with_what_was_expected(text, expected):
    with pytest.raises(ValueError, match=expected):
        parse_measure("m", text)


def test_columns_that_tables_would_take_for_one_are_refused():
    count = parse_measure("N", "count(*)")
    for groups in (("n",), ("n.COUNT",)):
        with pytest.raises(ValueError, match="two groups or measures"):
            Combined(groups, (count,))


@pytest.mark.parametrize(
    "merge",
    [
        Keyed(("a", "b"), ("c",)),
        Combined(("g",), (parse_measure("n", "count(*)"), parse_measure("q", "approx_quantile(x, 0.25)"))),
    ],
)
def test_a_merge_survives_the_state_of_a_destination(merge):
    assert merge_from_json(merge_to_json(merge)) == merge


def test_another_argument_is_another_definition_but_not_another_merge():
    assert parse_measure("m", "sum(a)") == parse_measure("m", "sum(b)") != parse_measure("m", "avg(a)")


def test_a_contribution_fits_when_it_has_what_is_merged_and_nothing_that_would_be_lost():
    combined = Combined(("g",), (Measure("n", "count"),))
    assert misfit(combined, ["n.count", "g"]) is None
    assert misfit(combined, ["g", "m.sum"]) == "it lacks n.count and brings m.sum"
    keyed = Keyed(("k",))
    ties = ["_time", "_source", "_position", "_raypipe_deleted"]
    assert misfit(keyed, ["k", "anything", *ties]) is None
    assert misfit(keyed, ties) == "it lacks k and brings nothing else"
