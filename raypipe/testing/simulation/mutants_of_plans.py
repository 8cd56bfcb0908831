"""Mistakes in the plan: what is wanted, what is late, what shrank, what others did, and in which order it is looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from raypipe.core.plan import Scope
from raypipe.core.window import Window
from raypipe.testing.simulation.mutant import Change, Mutant, always

LONG_LISTING_STEPS = 40  # another run observes, lists, reads and commits meanwhile

_PLAN = "raypipe.core.plan"
_PLANNER = "raypipe.runtime.planner"
_COMMIT = "raypipe.core.commit"
_SOURCE = "raypipe.testing.simulation.source"
_ADOPT = "raypipe.engine.staged_work"


class _ListedBefore:
    """Lists the source, gives way, and only then observes the destination."""

    def __init__(self) -> None:
        self._listed: dict[int, Any] = {}

    def list_first(self, real: Any) -> Any:
        def planned(planner: Any, *args: Any) -> Any:
            scan = next(one for one in args if callable(one))
            self._listed[id(planner)] = planner._listed(scan)
            try:
                for _ in range(LONG_LISTING_STEPS):
                    planner.source.pause()
                return real(planner, *args)
            finally:
                self._listed.pop(id(planner), None)

        return planned

    def as_before(self, real: Any) -> Any:
        def listed(planner: Any, scan: Any) -> Any:
            found = self._listed.pop(id(planner), None)
            return real(planner, scan) if found is None else found

        return listed


_listed_before = _ListedBefore()


def _above_the_watermark(real: Any) -> Any:
    def windows(self: Any, held: Any, stale: Any) -> list[Window]:
        found: list[Window] = real(self, held, stale)
        reached = max((one.end_us for one in self.done), default=0)
        return [one for one in found if one.start_us >= reached] if self.scope is Scope.DUE else found

    return windows


def _counted_per_shard(real: Any) -> Any:
    """Compare the files of the whole shard with the most that any live range in it had."""

    def without(shards: Any, known: Any, slices: Any) -> Any:
        lost = []
        for shard in shards:
            had = max((live.files for met in known.meeting(shard.window) for live in known.by_window[met]), default=0)
            if len(shard.slices) < had:
                lost.append(shard)
        failures = real(tuple(lost), known, slices)[1]
        gone = {one.window for one in failures}
        return tuple(shard for shard in shards if shard.window not in gone), failures

    return without


def _late_only_where_files_came(real: Any) -> Any:
    """Compare how many files there are, not which."""

    def late(within: Sequence[Window], known: Any, slices: Any) -> list[Window]:
        windows = [window for one in within for window in known.meeting(one)]
        counts = [len(mine) for mine in slices.of(windows)]
        return [one for one, count in zip(windows, counts, strict=True) if any(live.files < count for live in known.by_window[one])]

    return late


def _never_late_again(real: Any) -> Any:
    """Call a shard done that others did, whatever they read."""

    def again(
        windows: Any, ready: Any, snapshot: Any, outputs: Any, definitions: Any, reasons: Any, slices_of: Any, **named: Any
    ) -> Any:
        from raypipe.testing.simulation.mutant import patched

        with patched(f"{_PLAN}:_late", always([])):
            return real(windows, ready, snapshot, outputs, definitions, reasons, slices_of, **named)

    return again


def _any_version(real: Any) -> Any:
    def contents(self: Any, file: Any, cut: str) -> Any:
        return [content for _, content in self.known.get(file.uri, {}).values()]

    return contents


def _known_at_all(real: Any) -> Any:
    def unindexed(self: Any, listing: Any) -> Any:
        return tuple(file for file in listing.files if self._cut(file.uri) not in self.index.known.get(file.uri, {}))

    return unindexed


def _adopts(*ignored: str) -> Change:
    """Adopt work without looking at something."""

    def changed(real: Any) -> Any:
        def still_right(found: Any, wanted: Mapping[Window, Any], fingerprints: Mapping[str, str]) -> bool:
            results = []
            for one in found.results:
                shard = wanted.get(one.window)
                if shard is not None:
                    one = replace(one, slices=shard.slices) if "input" in ignored else one
                    one = replace(one, observed=shard.observed) if "observed" in ignored else one
                results.append(one)
            said = found.fingerprints if "definition" in ignored else fingerprints
            return real(replace(found, results=tuple(results)), wanted, said)  # type: ignore[no-any-return]

        return still_right

    return changed


def _as_planned_now(real: Any) -> Any:
    """Say of adopted work that it was observed and read as planned now."""

    def adopt(shelf: Any, shards: Any, fingerprints: Any, run_id: str, epoch: int) -> Any:
        adopted, rest = real(shelf, shards, fingerprints, run_id, epoch)
        planned = {shard.window: shard for shard in shards}
        relabelled = [
            replace(
                one,
                results=tuple(
                    replace(r, observed=planned[r.window].observed, slices=planned[r.window].slices) for r in one.results
                ),
            )
            for one in adopted
        ]
        return relabelled, rest

    return adopt


def _asks_first(real: Any) -> Any:
    def collect(shelf: Any, open_runs: Any) -> Any:
        kept = open_runs()
        return real(shelf, lambda: kept) if shelf.pause() is None else None

    return collect


def _of_open_runs(real: Any) -> Any:
    return lambda shelf, open_runs: real(shelf, frozenset)


MUTANTS = (
    Mutant(
        "listing_before_observing",
        "the source is listed before the destination is observed",
        (
            (f"{_PLANNER}:Planner.first", _listed_before.list_first),
            (f"{_PLANNER}:Planner.again", _listed_before.list_first),
            (f"{_PLANNER}:Planner._listed", _listed_before.as_before),
        ),
    ),
    Mutant(
        "settled_whatever_the_files",
        "nothing is to be done because nothing was, though other files are there",
        ((f"{_PLANNER}:asked_fingerprint", lambda real: lambda asked, files: real(asked, ())),),
    ),
    Mutant(
        "settled_whatever_is_asked",
        "nothing is to be done because nothing was, though another range or definition is asked for",
        ((f"{_PLANNER}:asked_fingerprint", lambda real: lambda asked, files: real((), files)),),
    ),
    Mutant("nothing_is_late", "what is committed is never looked at again", ((f"{_PLAN}:_late", always([])),)),
    Mutant(
        "late_by_count",
        "a shard is late when files came, not when they changed",
        ((f"{_PLAN}:_late", _late_only_where_files_came),),
    ),
    Mutant(
        "index_keeps_stale_entries",
        "the index answers for a file whatever its version",
        ((f"{_SOURCE}:Index.contents", _any_version), (f"{_SOURCE}:SimulatedSource.unindexed", _known_at_all)),
    ),
    Mutant(
        "input_not_checked_after_reading",
        "a file that changed while it was read is taken for the one that was listed",
        ((f"{_SOURCE}:SimulatedSource.check_unchanged", always(None)),),
    ),
    Mutant(
        "widening_removed",
        "a shard stays as it was cut, whatever live ranges it meets",
        ((f"{_PLAN}:_widen", lambda real: lambda windows, known: sorted(set(windows))),),
    ),
    Mutant(
        "resume_by_watermark",
        "what lies below the last committed shard is never planned",
        ((f"{_PLAN}:_Wanted.windows", _above_the_watermark),),
    ),
    Mutant(
        "shrunk_sources_empty_tables",
        "a source that lost files replaces what was made from them",
        ((f"{_PLAN}:_without_shrunk", lambda real: lambda shards, known, slices: (shards, ())),),
    ),
    Mutant(
        "shrunk_counted_per_shard", "an unrelated new file hides a lost one", ((f"{_PLAN}:_without_shrunk", _counted_per_shard),)
    ),
    Mutant(
        "unreadable_files_left_out",
        "a file that cannot be read is as good as none",
        ((f"{_PLANNER}:_readable", lambda real: lambda made, listed: made),),
    ),
    Mutant(
        "satisfied_by_coverage_alone",
        "a shard that is covered is done, whatever it was made from",
        ((f"{_PLANNER}:replan", _never_late_again),),
    ),
    Mutant(
        "satisfied_by_an_older_definition",
        "a shard that an older definition made is done",
        ((f"{_PLAN}:_is_new_enough", always(True)), (f"{_COMMIT}:_is_unproven", always(False))),
    ),
    Mutant(
        "adopted_without_definition",
        "work of another definition is taken over",
        ((f"{_ADOPT}:is_still_right", _adopts("definition")),),
    ),
    Mutant("adopted_without_input", "work from another input is taken over", ((f"{_ADOPT}:is_still_right", _adopts("input")),)),
    Mutant(
        "adopted_without_observed",
        "work that was observed before others committed is taken over as if it were new",
        (
            (f"{_ADOPT}:is_still_right", _adopts("observed", "input")),
            ("raypipe.testing.simulation.stage:adopt_work", _as_planned_now),
        ),
    ),
    Mutant(
        "garbage_of_open_runs",
        "what open runs staged is collected",
        (("raypipe.testing.simulation.stage:collect_garbage", _of_open_runs),),
    ),
    Mutant(
        "garbage_asks_before_it_lists",
        "which runs are open is asked before it is listed what is there",
        (("raypipe.testing.simulation.stage:collect_garbage", _asks_first),),
    ),
)
