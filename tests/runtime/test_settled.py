"""While nothing has changed since a plan found nothing to do, no plan is made; whatever changes, one is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from raypipe.core.plan import Horizon, Patience, Plan, Scope
from raypipe.core.settled import Settled
from raypipe.core.shard import Reason, ShardFailure
from raypipe.core.state import Definition, Snapshot
from raypipe.runtime.settled_file import SettledFile

MAKER = "raypipe 1"


@pytest.fixture
def settled(bench, tmp_path):
    """A planner that has found nothing to do, and remembers it."""
    bench.run()
    planner = replace(bench.planner(), pipeline=("p", 1), settled=SettledFile(tmp_path / "state" / "settled.json", MAKER))
    assert _plan(planner).plan == Plan(())
    return planner


def _plan(planner):
    return planner.first(lambda files: [planner.source.scan(file) for file in files])


def _is_made(planner, bench):
    """Tell whether a plan is made: only that asks for the live ranges."""
    asked = []
    whole = bench.plain.snapshot

    class Looked:
        def __getattr__(self, name):
            if name == "snapshot":
                asked.append(name)
                return whole
            return getattr(bench.plain, name)

    _plan(replace(planner, destination=Looked()))
    return bool(asked)


def test_a_settled_plan_is_not_made_again_and_tells_the_same(settled, bench):
    made = _plan(replace(settled, settled=None))
    assert not _is_made(settled, bench)
    known = _plan(settled)
    assert known.plan == made.plan
    assert (known.outside, known.unreadable, known.listing) == (made.outside, made.unreadable, made.listing)
    seen, whole = known.snapshot, made.snapshot
    assert (seen.commit_seq, seen.watermark_us, seen.views) == (whole.commit_seq, whole.watermark_us, whole.views)
    assert seen.live == ()


def test_a_plan_that_has_something_to_do_is_not_remembered(settled, bench):
    bench.source.versions[2] = "v2"
    for _ in range(2):
        assert [one.reason for one in _plan(settled).plan.shards] == [Reason.LATE]


@pytest.mark.parametrize("versions", [{2: "v2"}, {4: "v1"}, {1: None}], ids=["changed", "new", "gone"])
def test_another_file_makes_another_plan(settled, bench, versions):
    bench.source.versions.update(versions)
    bench.source.versions = {hour: version for hour, version in bench.source.versions.items() if version}
    assert _is_made(settled, bench)


@pytest.mark.parametrize(
    "change",
    [
        {"pipeline": ("p", 2)},
        {"scope": Scope.ALL},
        {"accept_shrunk": True},
        {"patience": Patience(lateness_us=1)},
        {"definitions": {"t": Definition(0, "g", {"sql": "g"})}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whoever_asks_for_something_else_gets_another_plan(settled, bench, change):
    assert _is_made(replace(settled, **change), bench)


def test_another_window_makes_another_plan(settled, bench, window_of):
    assert _is_made(replace(settled, window=window_of(0, 2)), bench)


def test_what_becomes_ready_later_makes_another_plan(settled, bench, window_of):
    later = Horizon(bench.ready.calendar, window_of(0, 5))
    assert [shard.window for shard in _plan(replace(settled, ready=later)).plan.shards] == [window_of(4)]


def test_what_others_commit_or_fail_makes_another_plan(settled, bench, window_of):
    bench.other_run(scope=Scope.ALL, window=window_of(1))
    assert _is_made(settled, bench)
    assert not _is_made(settled, bench)
    run = bench.plain.open_run(bench.driver("r9")._opening)
    bench.plain.record_failures("r9", run.epoch, [ShardFailure(window_of(3), "code", "error")])
    assert [(one.window, one.reason) for one in _plan(settled).plan.shards] == [(window_of(3), Reason.FAILED)]


def test_what_is_committed_between_the_glance_and_the_snapshot_is_compared_with_a_listing_that_came_after_it(settled, bench):
    order = []

    class Committing:
        """Somebody else takes a new file in after the source was listed, before the live ranges are fetched."""

        def glance(self):
            order.append("glance")
            return bench.plain.glance()

        def snapshot(self):
            order.append("snapshot")
            if order.count("snapshot") == 1:
                bench.source.versions[0] = "v3"
                bench.other_run()
            return bench.plain.snapshot()

    bench.source.versions[0] = "v2"
    listed = bench.source.list
    bench.source.list = lambda: (order.append("listed"), listed())[1]
    found = _plan(replace(settled, destination=Committing()))
    assert found.plan == Plan(()), "the older file must not be put in place of the newer one"
    assert order[:3] == ["glance", "listed", "snapshot"]
    assert order[-1] == "listed"


def test_of_another_maker_or_from_a_damaged_file_nothing_is_known(settled, bench, tmp_path):
    path = tmp_path / "state" / "settled.json"
    assert _is_made(replace(settled, settled=SettledFile(path, "raypipe 2")), bench)
    for damaged in ("", "[]", "{", '{"maker": "raypipe 1"}', '{"maker": "raypipe 1", "state": 1, "asked": 1, "outside": "x"}'):
        path.write_text(damaged)
        assert settled.settled.read() is None
        assert _is_made(settled, bench), damaged
        assert not _is_made(settled, bench), "a plan that is made is remembered again"


def test_where_nothing_can_be_written_every_plan_is_made(settled, bench, tmp_path):
    (tmp_path / "file").write_text("no folder")
    nowhere = replace(settled, settled=SettledFile(tmp_path / "file" / "settled.json", MAKER))
    assert _plan(nowhere).plan == Plan(())
    assert _is_made(nowhere, bench)


def test_a_destination_that_was_replaced_by_an_empty_one_is_done_again(settled, bench):
    bench.plain.store.pipelines.clear()
    assert bench.plain.glance() == Snapshot()
    assert len(_plan(settled).plan.shards) == 4


def test_what_is_remembered_is_read_as_it_was_written(tmp_path):
    file = SettledFile(tmp_path / "a" / "settled.json", MAKER)
    assert file.read() is None
    file.write(Settled("state", "asked", 7))
    assert file.read() == Settled("state", "asked", 7)
    assert [one.name for one in file.path.parent.iterdir()] == ["settled.json"]
