"""The plan is the window asked for, minus what the ledger holds, plus what became late."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raypipe.core.calendar import Calendar, Width
from raypipe.core.fingerprint import input_fingerprint
from raypipe.core.intervals import normalise
from raypipe.core.live_ranges import LiveRanges, other_widths
from raypipe.core.plan import Patience, Scope, horizon, make_plan, replan
from raypipe.core.shard import InputFile, Reason, Slice
from raypipe.core.state import Definition, FailedShard, LiveRange, Snapshot
from raypipe.core.window import Window

MINUTE_US = 60_000_000
OUTPUTS = ("a", "b")
READY = horizon(Calendar(0, Width(1, "m")), 0, 20 * MINUTE_US, 0, 0)


def minutes(first, last):
    return Window(first * MINUTE_US, last * MINUTE_US)


class Files:
    """A source of one file per minute; `version` of a minute may change."""

    def __init__(self, versions=None, gone=()):
        self.versions, self.gone = versions or {}, set(gone)

    def __call__(self, windows):
        return [self.of(window) for window in windows]

    def of(self, window):
        found = range(window.start_us // MINUTE_US, -(-window.end_us // MINUTE_US))
        return tuple(
            Slice(InputFile(f"{minute:03}", 1, str(self.versions.get(minute, 0))), rows=1)
            for minute in found
            if minute not in self.gone
        )


def live(window, seq=1, definition=1, source=None, outputs=OUTPUTS):
    slices = (source or Files()).of(window)
    return [
        LiveRange(output, window, seq, "run", "1", definition, input_fingerprint(slices), "0", 1, len(slices)) for output in outputs
    ]


def snapshot(*ranges, failed=(), definitions=None):
    flat = tuple(one for group in ranges for one in group)
    coverage = {output: normalise(one.window for one in flat if one.output == output) for output in OUTPUTS}
    return Snapshot(live=flat, coverage=coverage, failed=tuple(failed), definitions=definitions or {})


def planned(plan):
    return [(shard.window, shard.reason) for shard in plan.shards]


def due(state, source=None, window=None, **more):
    return make_plan(Scope.DUE, window, READY, state, OUTPUTS, source or Files(), **more)


def test_an_untouched_destination_makes_every_shard_new():
    plan = due(Snapshot())
    assert [shard.index for shard in plan.shards] == list(range(20))
    assert {shard.reason for shard in plan.shards} == {Reason.NEW}


def test_what_the_ledger_holds_is_not_planned_again():
    plan = due(snapshot(live(minutes(0, 5)), live(minutes(7, 20))))
    assert planned(plan) == [(minutes(5, 6), Reason.NEW), (minutes(6, 7), Reason.NEW)]


def test_nothing_is_left_to_do_after_all_is_committed():
    assert due(snapshot(live(minutes(0, 20)))).shards == ()


def test_a_changed_input_makes_just_its_live_range_late():
    state = snapshot(live(minutes(0, 5)), live(minutes(5, 6)), live(minutes(6, 20)))
    plan = due(state, Files(versions={5: 1}))
    assert planned(plan) == [(minutes(5, 6), Reason.LATE)]


def test_a_run_asks_the_source_once_for_what_is_done_and_what_is_new():
    asked = []

    def source(windows):
        asked.append(list(windows))
        return Files()(windows)

    due(snapshot(live(minutes(0, 5)), live(minutes(5, 6))), source)
    assert [len(windows) for windows in asked] == [2 + 14]


def test_what_is_done_is_compared_without_its_slices_where_the_source_tells_fingerprints():
    source, asked = Files(versions={7: 1}), []

    def slices_of(windows):
        asked.extend(windows)
        return source(windows)

    def fingerprints_of(windows):
        return [input_fingerprint(source.of(window)) for window in windows]

    state = snapshot(*(live(minutes(at, at + 1)) for at in range(19)))
    plan = make_plan(Scope.DUE, None, READY, state, OUTPUTS, slices_of, fingerprints_of=fingerprints_of)
    assert planned(plan) == [(minutes(7, 8), Reason.LATE), (minutes(19, 20), Reason.NEW)]
    assert sorted(asked) == [minutes(7, 8), minutes(19, 20)]


def test_a_failed_shard_is_tried_again_and_says_so():
    state = snapshot(live(minutes(0, 3)), live(minutes(4, 20)), failed=[FailedShard(minutes(3, 4), "run", "shard", "x")])
    assert planned(due(state)) == [(minutes(3, 4), Reason.FAILED)]


def test_a_backfill_forces_what_is_done_and_widens_to_the_live_range_it_cuts():
    state = snapshot(live(minutes(0, 4), seq=3), live(minutes(4, 20), seq=4))
    plan = make_plan(Scope.ALL, minutes(2, 3), READY, state, OUTPUTS, Files())
    assert planned(plan) == [(minutes(0, 4), Reason.FORCED)]
    assert {one.seq for one in plan.shards[0].observed} == {3}


def test_shards_that_meet_after_widening_become_one():
    state = snapshot(live(minutes(0, 20)))
    plan = make_plan(Scope.ALL, minutes(3, 9), READY, state, OUTPUTS, Files())
    assert planned(plan) == [(minutes(0, 20), Reason.FORCED)]


def test_a_gap_is_found_before_the_first_and_between_committed_shards_but_not_after():
    state = snapshot(live(minutes(2, 4)), live(minutes(5, 10)))
    plan = make_plan(Scope.GAPS, None, READY, state, OUTPUTS, Files())
    assert [window for window, _ in planned(plan)] == [minutes(0, 1), minutes(1, 2), minutes(4, 5)]


def test_an_output_that_lacks_a_range_is_done_there_alone_and_in_the_ranges_of_the_others():
    state = snapshot(live(minutes(0, 7)), live(minutes(7, 18), outputs=("a",), seq=3))
    plan = due(state)
    assert [(one.window, one.reason, one.outputs) for one in plan.shards] == [
        (minutes(7, 18), Reason.NEW, ("b",)), (minutes(18, 19), Reason.NEW, ()), (minutes(19, 20), Reason.NEW, ()),
    ]  # fmt: skip
    assert {one.seq for one in plan.shards[0].observed} == {3}


def test_an_output_is_not_done_alone_where_the_input_changed_or_a_person_asked_for_the_range():
    state = snapshot(live(minutes(0, 10), outputs=("a",)), live(minutes(10, 20)))
    late = due(state, Files(versions={3: 1}))
    assert [(one.window, one.reason, one.outputs) for one in late.shards] == [(minutes(0, 10), Reason.LATE, ())]
    forced = make_plan(Scope.ALL, minutes(0, 20), READY, state, OUTPUTS, Files())
    assert [one.outputs for one in forced.shards] == [(), ()]


def test_live_ranges_of_an_output_that_was_given_up_are_not_observed():
    plan = due(snapshot(live(minutes(0, 20), outputs=("gone",))))
    assert planned(plan)[:2] == [(minutes(0, 1), Reason.NEW), (minutes(1, 2), Reason.NEW)]
    assert {one.observed for one in plan.shards} == {frozenset()}


def test_late_ranges_below_the_bound_are_held_and_those_that_reach_over_it_are_not():
    state = replace(snapshot(*(live(minutes(at, at + 5)) for at in (0, 5, 10, 15))), watermark_us=20 * MINUTE_US)
    source, patience = Files(versions={0: 1, 6: 1, 12: 1}), Patience(lateness_us=11 * MINUTE_US)
    plan = due(state, source, patience=patience)
    assert planned(plan) == [(minutes(5, 10), Reason.LATE), (minutes(10, 15), Reason.LATE)]
    assert [window for window, _ in plan.held] == [minutes(0, 5)]
    taken = make_plan(Scope.HELD, None, READY, state, OUTPUTS, source, patience=patience)
    assert planned(taken) == [(minutes(0, 5), Reason.LATE)]
    assert due(state, source).held == ()


def test_a_held_range_that_lost_files_can_be_accepted_and_fails_nothing():
    state = replace(snapshot(live(minutes(0, 10)), live(minutes(10, 20))), watermark_us=20 * MINUTE_US)
    plan = due(state, Files(gone=[4]), patience=Patience(lateness_us=0))
    assert (plan.shards, plan.failures) == ((), ())
    assert [(one.window, len(one.slices)) for one in plan.shrunk] == [(minutes(0, 10), 9)]


AWAITED = Patience(files_min={frozenset({0}): 1})


def test_a_new_shard_waits_for_its_files_and_no_other_does():
    state = snapshot(live(minutes(0, 5)), live(minutes(5, 6), source=Files(gone=[5])))
    plan = due(state, Files(gone=[5, 7, 9]), patience=AWAITED)
    assert [one.window for one in plan.shards] == [minutes(6, 7), minutes(8, 9), *(minutes(at, at + 1) for at in range(10, 20))]
    assert plan.waiting == (minutes(7, 8), minutes(9, 10))
    asked = make_plan(Scope.ALL, minutes(7, 8), READY, state, OUTPUTS, Files(gone=[7]), patience=AWAITED)
    assert planned(asked) == [(minutes(7, 8), Reason.NEW)]
    again = replan(
        [minutes(7, 8)],
        READY,
        state,
        OUTPUTS,
        {},
        {minutes(7, 8): Reason.NEW},
        Files(gone=[7]),
        patience=AWAITED,
    )
    assert again.shards == again.satisfied == ()


def test_a_shard_whose_source_shrank_is_not_failed_any_more_once_the_files_are_back():
    failed = FailedShard(minutes(0, 10), "run", "source_shrunk", "fewer")
    state = snapshot(live(minutes(0, 10)), live(minutes(10, 20)), failed=[failed])
    assert due(state).shards == ()
    assert [one.window for one in due(state, Files(gone=[4])).failures] == [minutes(0, 10)]


def test_a_backfill_of_what_is_stale_takes_those_ranges_alone():
    old, new = Definition(1, "old"), Definition(2, "new")
    state = snapshot(live(minutes(0, 5)), live(minutes(5, 10), definition=2), live(minutes(10, 12)), definitions={"a": (old, new)})
    today = {"a": replace(new, version=0)}
    plan = make_plan(Scope.STALE, minutes(0, 11), READY, state, OUTPUTS, Files(), definitions=today)
    assert planned(plan) == [(minutes(0, 5), Reason.STALE), (minutes(10, 12), Reason.STALE)]


def test_after_a_conflict_an_added_output_is_still_done_alone():
    state = snapshot(live(minutes(0, 5), outputs=("a",), seq=9))
    reasons = {minutes(0, 5): Reason.NEW}
    plan = replan([minutes(0, 5)], READY, state, OUTPUTS, {"a": 1, "b": 1}, reasons, Files(), added_alone=True)
    assert [(one.window, one.outputs) for one in plan.shards] == [(minutes(0, 5), ("b",))]
    assert [one.outputs for one in replan([minutes(0, 5)], READY, state, OUTPUTS, {}, reasons, Files()).shards] == [()]


def test_ranges_that_are_no_cells_of_the_calendar_are_told_with_their_number():
    state = snapshot(live(minutes(0, 1)), live(minutes(1, 3)), live(minutes(3, 5)), live(minutes(7, 9)), live(minutes(9, 10)))
    found = other_widths(LiveRanges.of(state, OUTPUTS), READY.calendar, minutes(0, 20))
    assert found == ((minutes(1, 5), 2), (minutes(7, 9), 1))
    quarters = Calendar(0, Width(15, "m"))
    cut_short = snapshot(live(minutes(0, 15)), live(minutes(15, 20)))
    assert other_widths(LiveRanges.of(cut_short, OUTPUTS), quarters, minutes(0, 20)) == ()


def test_a_source_that_lost_a_file_fails_the_shard_instead_of_emptying_it():
    state = snapshot(live(minutes(0, 10)), live(minutes(10, 20)))
    plan = due(state, Files(gone=[4]))
    assert plan.shards == ()
    (failure,) = plan.failures
    assert failure.window == minutes(0, 10)
    assert failure.code == "source_shrunk"
    assert "was made from 10 files and the source has 9" in failure.error


def test_a_new_file_does_not_hide_a_lost_one_of_another_live_range():
    state = snapshot(live(minutes(0, 2)), live(minutes(2, 4), source=Files(gone=[3])), live(minutes(4, 20)))
    plan = make_plan(Scope.ALL, minutes(0, 4), READY, state, OUTPUTS, Files(gone=[0]))
    assert [failure.window for failure in plan.failures] == [minutes(0, 2)]


def test_a_loss_that_is_accepted_is_planned():
    state = snapshot(live(minutes(0, 10)), live(minutes(10, 20)))
    plan = make_plan(Scope.ALL, minutes(0, 10), READY, state, OUTPUTS, Files(gone=[4]), accept_shrunk=True)
    assert planned(plan) == [(minutes(0, 10), Reason.FORCED)]


def test_an_older_definition_is_reported_as_stale_and_not_redone():
    old, new = Definition(1, "old", {"sql": "1", "source": "s"}), Definition(2, "new", {"sql": "2", "source": "s", "lookup:x": "3"})
    same = Definition(1, "same", {"sql": "1"})
    state = snapshot(live(minutes(0, 10)), live(minutes(10, 20), definition=2), definitions={"a": (old, new), "b": (same,)})
    plan = due(state, definitions={"a": replace(new, version=0), "b": replace(same, version=0)})
    assert plan.shards == ()
    assert plan.stale == ((minutes(0, 10), "a (lookup:x, sql)"), (minutes(10, 20), "b"))


def test_after_a_conflict_a_range_that_another_run_did_from_this_input_is_satisfied():
    state = snapshot(live(minutes(5, 6), seq=9))
    plan = replan([minutes(5, 6)], READY, state, OUTPUTS, {"a": 1, "b": 1}, {minutes(5, 6): Reason.NEW}, Files())
    assert plan.shards == ()
    assert [shard.window for shard in plan.satisfied] == [minutes(5, 6)]


@pytest.mark.parametrize("reason", [Reason.FORCED, Reason.STALE])
def test_what_was_asked_for_is_done_again_unless_somebody_wrote_it_since(reason):
    def again(seq, since_seq):
        state = snapshot(live(minutes(5, 6), seq=seq))
        reasons = {minutes(5, 6): reason}
        return replan([minutes(5, 6)], READY, state, OUTPUTS, {"a": 1, "b": 1}, reasons, Files(), since_seq=since_seq)

    assert planned(again(9, since_seq=9)) == [(minutes(5, 6), reason)]  # it looks right, but may only have been accepted
    assert [shard.window for shard in again(10, since_seq=9).satisfied] == [minutes(5, 6)]


@pytest.mark.parametrize(("definition", "versions"), [(1, {}), (2, {5: 1})])
def test_after_a_conflict_older_definitions_and_other_input_are_read_again(definition, versions):
    state = snapshot(live(minutes(5, 6), seq=9, definition=definition))
    plan = replan([minutes(5, 6)], READY, state, OUTPUTS, {"a": 2, "b": 2}, {minutes(5, 6): Reason.NEW}, Files(versions))
    assert plan.satisfied == ()
    assert planned(plan) == [(minutes(5, 6), Reason.NEW)]


def test_an_open_ended_history_ends_at_the_last_whole_shard_whose_delay_has_passed():
    calendar = Calendar(0, Width(5, "m"))
    assert horizon(calendar, 0, None, 0, 9 * MINUTE_US).window == minutes(0, 5)
    assert horizon(calendar, 0, None, 0, 10 * MINUTE_US).window == minutes(0, 10)
    assert horizon(calendar, 0, None, 2 * MINUTE_US, 11 * MINUTE_US).window == minutes(0, 5)
    assert horizon(calendar, 0, None, 0, 4 * MINUTE_US).window is None


def test_the_last_shard_of_a_closed_history_is_cut_at_its_end():
    ready = horizon(Calendar(0, Width(15, "m")), 0, 20 * MINUTE_US, 0, 0)
    assert ready.cells(minutes(0, 90)) == [minutes(0, 15), minutes(15, 20)]


ranges = st.lists(st.tuples(st.integers(0, 19), st.integers(1, 6)), max_size=6)


@settings(max_examples=200)
@given(ranges, st.integers(0, 18), st.integers(1, 12), st.sampled_from([Scope.DUE, Scope.ALL, Scope.GAPS]))
def test_a_plan_never_cuts_a_live_range_and_its_shards_never_overlap(pieces, first, length, scope):
    taken: list[Window] = []
    for start, width in pieces:
        window = minutes(start, min(20, start + width))
        if not any(window.meets(other) for other in taken):
            taken.append(window)
    state = snapshot(*(live(window) for window in taken))
    plan = make_plan(scope, minutes(first, min(20, first + length)), READY, state, OUTPUTS, Files())
    windows = [shard.window for shard in plan.shards]
    assert all(a.end_us <= b.start_us for a, b in itertools.pairwise(windows))
    for window in windows:
        assert all(window.contains(other) for other in taken if window.meets(other))


def test_a_shard_that_failed_although_it_is_covered_is_done_again():
    failed = FailedShard(minutes(3, 4), "run", "rule_broken", "r")
    plan = due(snapshot(live(minutes(0, 3)), live(minutes(3, 4)), live(minutes(4, 20)), failed=[failed]))
    assert planned(plan) == [(minutes(3, 4), Reason.FAILED)]


def test_the_source_is_asked_for_each_window_once():
    asked = []

    def files(windows):
        asked.extend(windows)
        return Files()(windows)

    make_plan(Scope.DUE, None, READY, snapshot(*(live(minutes(at, at + 1)) for at in range(10))), OUTPUTS, files)
    assert len(asked) == len(set(asked)) == 20


def test_planning_again_keeps_the_reason_of_the_first_shard_that_a_wider_one_takes_in():
    state = snapshot(live(minutes(4, 8), seq=3, source=Files({5: 9})))
    plan = replan([minutes(5, 6), minutes(6, 7)], READY, state, OUTPUTS, {}, {minutes(5, 6): Reason.LATE}, Files())
    assert planned(plan) == [(minutes(4, 8), Reason.LATE)]
