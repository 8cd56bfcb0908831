"""Accepting is asked for again until it is settled, and says nothing of files that cannot be read."""

from __future__ import annotations

import pytest

from raypipe.core.state import Definition, RunKind, RunOpening, RunState
from raypipe.errors import CommitUnknown, SourceUnreadable
from raypipe.runtime.acceptor import Acceptor
from raypipe.runtime.planner import scanned_here
from raypipe.runtime.settling import Settler
from raypipe.runtime.stopping import Stopping

CALLS = ("open_run", "commit", "close_run")


@pytest.fixture
def accept(bench):
    """Accept what differs from today's definition, or what shrank."""

    def accepted(what, sql="f"):
        planner = bench.planner()
        planner.definitions["t"] = Definition(0, sql, {"sql": sql})
        planned = planner.first(lambda files: scanned_here(bench.source, files))
        opening = RunOpening(
            run_id="a1", kind=RunKind.ACCEPT, window=None, start_us=0, holder="elsewhere:1:1.0",
            definitions=planner.definitions, versions={},
        )  # fmt: skip
        settler = Settler(Stopping(bench.stop, bench.clock), bench.told.on)
        return Acceptor(bench.destination, settler, bench.told.on).run(opening, planned, what)

    return accepted


@pytest.mark.parametrize("lost", CALLS)
def test_an_acceptance_whose_answer_is_lost_is_asked_for_again_and_made_once(bench, wrap, accept, lost):
    bench.run()
    answers = [CommitUnknown("the answer was lost")]

    def call(real, *args):
        answer = real(*args)
        if answers:
            raise answers.pop()
        return answer

    wrap(**{lost: call})
    found = accept("stale", sql="g")
    assert (len(found.windows), found.conflicts) == (4, ())
    assert bench.record("a1").state is RunState.DONE
    assert {live.definition for live in bench.plain.snapshot().live} == {2}
    assert len(bench.plain.store.pipelines["p"].ledger) == 8


def test_nothing_to_accept_opens_no_run(bench, accept):
    bench.run()
    assert accept("shrunk").run_id is None
    assert bench.record("a1") is None


def test_rows_are_not_accepted_as_gone_while_a_file_cannot_be_read(bench, accept):
    bench.run()
    del bench.source.versions[0]
    bench.source.versions[1] = "v2"
    bench.source.scan_errors[1] = [SourceUnreadable("f01 is cut off")]
    with pytest.raises(SourceUnreadable, match="f01 is cut off"):
        accept("shrunk")
    assert bench.record("a1") is None
