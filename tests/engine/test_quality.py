"""Rules, and the limit of what may be quarantined."""

from __future__ import annotations

import pytest

from raypipe.core.accounts import Accounts
from raypipe.pipeline import MaxQuarantined, Quality, Rule
from raypipe.ports import QUARANTINE_TABLE

LOW = Rule(name="low", expect="n < 10")
EVEN = Rule(name="even", expect="n % 2 = 0", otherwise="drop")


def n(*values):
    return {"n": [None if one is None else str(one) for one in values]}


@pytest.fixture
def with_rules(make_pipeline):
    def make(*rules, max_quarantined=None, steps=()):
        return make_pipeline({"n": "int64"}, quality=Quality(rules=rules, max_quarantined=max_quarantined), steps=steps)

    return make


def test_a_row_that_breaks_two_rules_goes_the_way_of_the_first_and_counts_for_both(with_rules, run):
    first_low = run(with_rules(LOW, EVEN), n(2, 3, 11, 12)).results[0]
    assert first_low.accounts == Accounts(read=4, loaded=1, filtered=1, quarantined=2)
    assert (first_low.broken, first_low.filtered) == ({"low": 2, "even": 2}, {"even": 1})
    first_even = run(with_rules(EVEN, LOW), n(2, 3, 11, 12)).results[0]
    assert first_even.accounts == Accounts(read=4, loaded=1, filtered=2, quarantined=1)
    assert first_even.filtered == {"even": 2}


def test_null_passes_a_rule_unless_it_says_that_nulls_fail(with_rules, run):
    assert run(with_rules(LOW), n(None)).results[0].accounts.loaded == 1
    assert run(with_rules(Rule(name="low", expect="n < 10", nulls="fail")), n(None)).results[0].broken == {"low": 1}


def test_a_warning_counts_and_leaves_the_row(with_rules, run):
    result = run(with_rules(Rule(name="low", expect="n < 10", otherwise="warn")), n(1, 11)).results[0]
    assert (result.accounts, result.broken) == (Accounts(read=2, loaded=2), {"low": 1})


def test_fail_fails_the_shard_of_the_row_alone_and_shows_the_row(with_rules, run):
    pipeline = with_rules(Rule(name="low", expect="n < 10", otherwise="fail"))
    staged = run(pipeline, {**n(1, 77, 88, 2), "_time": [1, 3_600_000_000, 3_600_000_000, 7_200_000_000]}, hours=3)
    assert [one.window.start_us for one in staged.results] == [0, 7_200_000_000]
    assert staged.failures[0].code == "rule_broken"
    assert staged.failures[0].error == 'rule low was broken: expected n < 10; the row: {"n": "77"}'
    assert staged.tables["out"]["n"].to_pylist() == [1, 2]


def test_rows_set_aside_of_a_shard_that_failed_are_not_left_with_those_of_the_others(with_rules, run):
    pipeline = with_rules(LOW, Rule(name="odd", expect="n % 2 = 1", otherwise="fail"))
    hours = {"_time": [0, 0, 3_600_000_000, 3_600_000_000, 7_200_000_000, 7_200_000_000]}
    staged = run(pipeline, {**n(1, 11, 2, 13, 3, 15), **hours}, hours=3)
    assert [one.window.start_us for one in staged.failures] == [3_600_000_000]
    assert [(row["raw"]) for row in staged.tables[QUARANTINE_TABLE].to_pylist()] == ['{"n": "11"}', '{"n": "15"}']
    alone = run(with_rules(LOW), {**n(1, 11, 2, 13, 3, 15), **hours}, hours=3)
    assert [row["raw"] for row in alone.tables[QUARANTINE_TABLE].to_pylist()] == ['{"n": "11"}', '{"n": "13"}', '{"n": "15"}']


def test_too_many_means_above_the_share_and_above_the_number(with_rules, run):
    limit = MaxQuarantined(share=0.1, at_least=2)
    assert run(with_rules(LOW, max_quarantined=limit), n(1, 11, 12)).results  # more than 10 %, not more than two
    assert run(with_rules(LOW, max_quarantined=limit), n(*[1] * 50, 11, 12, 13)).results  # more than two, not than 10 %
    failure = run(with_rules(LOW, max_quarantined=limit), n(1, 11, 12, 13)).failures[0]
    assert failure.code == "too_many_quarantined"
    assert failure.error.startswith("3 of 4 rows were quarantined (low: 3)")


def test_quarantined_rows_that_do_not_fit_in_memory_fail_the_shard_that_has_them(with_rules, make_runner, make_task, memory_source):
    import polars as pl

    rows = pl.DataFrame({"n": ["x" * 1000] * 2000 + ["1"], "_time": [1] * 2000 + [3_600_000_001]})
    staged = make_runner(with_rules(LOW), memory_source(rows), memory_bytes=1 << 22).run(make_task(2))
    assert [one.code for one in staged.failures] == ["too_many_quarantined"]
    assert "type_n: 2000" in staged.failures[0].error
    assert [one.accounts.loaded for one in staged.results] == [1]
