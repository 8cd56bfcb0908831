"""Values of a shard's work keep what they are not asked to change."""

from __future__ import annotations

from dataclasses import fields

from raypipe.core.accounts import Accounts
from raypipe.core.shard import InputFile, Observed, OutputStat, ShardResult, Slice
from raypipe.core.window import Window


def test_a_result_with_another_time_is_otherwise_the_same():
    result = ShardResult(
        window=Window(1, 2), observed=frozenset({Observed(1, 2, 3)}), slices=(Slice(InputFile("f", 1, "v")),),
        accounts=Accounts(read=1, loaded=1), outputs={"t": OutputStat(1, "d")}, filtered={"a": 1}, broken={"b": 2},
        warnings=("w",), event_start_us=1, event_end_us=2, seconds=3.0,
    )  # fmt: skip
    empty = ShardResult(Window(5, 6), frozenset(), (), Accounts(), {})
    assert all(getattr(result, one.name) != getattr(empty, one.name) for one in fields(ShardResult)), "a field is left out above"
    lasting = result.lasting(7.0)
    assert lasting.seconds == 7.0
    for one in fields(ShardResult):
        assert one.name == "seconds" or getattr(lasting, one.name) == getattr(result, one.name), one.name
