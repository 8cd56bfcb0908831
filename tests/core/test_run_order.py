from __future__ import annotations

import itertools

import pytest

from raypipe.core.run_order import Member, TableName, run_order
from raypipe.errors import UsageError


def table(name: str, path: str = "x.duckdb") -> TableName:
    return TableName(path, name)


def member(name: str, reads: str | None = None, *, path: str = "x.duckdb") -> Member:
    """A pipeline that writes the table `of_<name>`."""
    return Member(name, frozenset({table(f"of_{name}", path)}), table(f"of_{reads}") if reads else None)


def names(members: list[Member]) -> list[str]:
    return [members[place].name for place in run_order(members).places]


def test_each_comes_after_those_whose_tables_it_reads():
    members = [member("c", "b"), member("b", "a"), member("a"), member("d", "b")]

    assert names(members) == ["a", "b", "c", "d"]


@pytest.mark.parametrize("given", list(itertools.permutations("abcd")))
def test_whatever_the_order_in_which_they_are_given(given):
    reads = {"a": None, "b": "a", "c": "a", "d": "c"}
    order = names([member(one, reads[one]) for one in given])

    assert sorted(order) == ["a", "b", "c", "d"]
    assert all(order.index(upstream) < order.index(one) for one, upstream in reads.items() if upstream)


def test_those_that_do_not_read_each_other_stay_as_given():
    assert names([member("c"), member("a"), member("b")]) == ["c", "a", "b"]


def test_a_table_of_the_same_name_in_another_file_is_another_table():
    members = [member("b", "a"), member("a", path="y.duckdb")]

    assert names(members) == ["b", "a"]
    assert run_order(members).upstream == {0: (), 1: ()}


def test_a_table_that_nobody_of_the_set_writes_is_waited_for_by_nobody():
    assert run_order([member("b", "elsewhere")]).upstream == {0: ()}


def test_a_cycle_is_refused_by_name_and_those_beside_it_are_not_named():
    members = [member("first", "b"), member("a", "c"), member("b", "a"), member("c", "b")]

    with pytest.raises(UsageError) as refused:
        run_order(members)

    text = str(refused.value)
    assert "b -> a -> c -> b" in text
    assert "b reads of_a of a, a reads of_c of c, c reads of_b of b" in text
    assert "first" not in text.replace("can be first", "")


def test_who_reads_its_own_table_is_refused():
    with pytest.raises(UsageError, match="a reads of_a, which it writes itself"):
        run_order([member("a", "a")])


def test_a_member_is_held_back_by_those_upstream_that_are_not_done_and_holds_back_its_own_dependents():
    order = run_order([member("a"), member("b", "a"), member("c", "b"), member("d")])

    assert order.held_back(1, {0}) == (0,)
    assert order.held_back(2, {0}) == ()  # but by then 1 is not done either
    assert order.held_back(2, {0, 1}) == (1,)
    assert order.held_back(3, {0, 1, 2}) == ()
