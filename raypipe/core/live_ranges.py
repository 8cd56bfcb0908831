"""Live ranges of a snapshot, arranged by time: which outputs they lack, which are stale and why, which were cut otherwise."""

from __future__ import annotations

import functools
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from operator import attrgetter

from raypipe.core.calendar import Calendar
from raypipe.core.shard import InputPart, Observed
from raypipe.core.state import Definition, LiveRange, Snapshot
from raypipe.core.window import Window
from raypipe.lazy_dataclass import dataclass

_by_time = attrgetter("window.start_us", "window.end_us")


@dataclass(frozen=True, slots=True)
class LiveRanges:
    """The live ranges of some outputs. Those of different outputs are the same range or share no instant."""

    windows: tuple[Window, ...]
    """Distinct live ranges, sorted."""
    live: tuple[Sequence[LiveRange], ...]
    """What stands in each of them."""
    by_window: Mapping[Window, Sequence[LiveRange]]
    starts: Sequence[int]
    ends: Sequence[int]
    """Where each of them starts and ends, to be found by bisection: a plan asks for 100,000 windows."""

    @classmethod
    def of(cls, snapshot: Snapshot, outputs: Collection[str]) -> LiveRanges:
        """Arrange the live ranges of these outputs; those of an output that was given up go when the next run opens."""
        by_window: dict[Window, list[LiveRange]] = {}
        for live in sorted(snapshot.live, key=_by_time):
            if live.output in outputs:
                by_window.setdefault(live.window, []).append(live)
        starts, ends = [one.start_us for one in by_window], [one.end_us for one in by_window]
        return cls(tuple(by_window), tuple(by_window.values()), by_window, starts, ends)

    def meeting(self, window: Window) -> Sequence[Window]:
        """Return the live ranges that share an instant with a window."""
        return self.windows[self._places(window)]

    def reads(self, within: Window) -> Iterator[tuple[Window, Window, str]]:
        """Yield of each live range that meets a window what it was read from: itself, the range that was read, its fingerprint."""
        for window, live in self.over(within):
            if len(live) == 1 and not live[0].parts:  # nearly all are: of 10,000 no parts are made
                yield window, window, live[0].input_fp
            else:
                yield from ((window, part.window, part.input_fp) for part in self.inputs(window))

    def over(self, window: Window) -> Iterable[tuple[Window, Sequence[LiveRange]]]:
        """Return the live ranges that share an instant with a window, and what stands in them."""
        places = self._places(window)
        return zip(self.windows[places], self.live[places], strict=True)

    def _places(self, window: Window) -> slice:
        first = bisect_right(self.ends, window.start_us)
        return slice(first, bisect_left(self.starts, window.end_us, first))

    def observed(self, window: Window) -> frozenset[Observed]:
        """Return what a commit of this window compares."""
        return frozenset(live.observed for met in self.meeting(window) for live in self.by_window[met])

    def inputs(self, window: Window) -> Collection[InputPart]:
        """Return what a live range was read from, each once, part by part where it was compacted."""
        live = self.by_window[window]
        return live[0].inputs if len(live) == 1 else frozenset(part for one in live for part in one.inputs)

    def in_part(self, window: Window, outputs: Collection[str]) -> list[Window]:
        """Return the live ranges that share an instant with a window and lack some of the outputs."""
        return [one for one, live in self.over(window) if len({made.output for made in live}) < len(outputs)]

    def lacking(self, window: Window, outputs: Sequence[str]) -> tuple[str, ...]:
        """Return the outputs that have nothing in exactly this live range; none where it is no live range."""
        found = self.by_window.get(window)
        if found is None:
            return ()
        have = {live.output for live in found}
        return tuple(output for output in outputs if output not in have)

    def added(self, window: Window, outputs: Sequence[str]) -> tuple[str, ...]:
        """Return the outputs that may be done alone in a live range that lacks them; a compacted one is replaced whole."""
        return () if any(live.parts for live in self.by_window.get(window, ())) else self.lacking(window, outputs)


def versions_of(snapshot: Snapshot, definitions: Mapping[str, Definition]) -> Mapping[str, int]:
    """Return the version of each output's definition of today; 0 where today's was never run."""
    newest = {output: versions[-1] for output, versions in snapshot.definitions.items() if versions}
    return {
        output: newest[output].version if output in newest and _same(newest[output], one) else 0
        for output, one in definitions.items()
    }


def stale_ranges(
    live: LiveRanges, snapshot: Snapshot, definitions: Mapping[str, Definition], within: Window
) -> tuple[tuple[Window, str], ...]:
    """Return the live ranges that another definition than today's made, with the outputs and what of them changed."""
    made_by = {(output, one.version): one for output, versions in snapshot.definitions.items() for one in versions}
    newest = {output: versions[-1] for output, versions in snapshot.definitions.items() if versions}
    current = {output: one.version for output, one in newest.items() if _same(definitions.get(output), one)}

    @functools.cache
    def why(output: str, version: int) -> str:
        made = made_by.get((output, version))
        changed = _changed_parts(made, definitions[output]) if made else ()
        return f"{output} ({', '.join(changed)})" if changed else output

    found = []
    for window, made in live.over(within):
        older = [one for one in made if one.output in definitions and current.get(one.output) != one.definition]
        if older:
            found.append((window, ", ".join(sorted({why(one.output, one.definition) for one in older}))))
    return tuple(found)


def other_widths(live: LiveRanges, calendar: Calendar, history: Window) -> tuple[tuple[Window, int], ...]:
    """Return where live ranges are no cells of today's calendar: ranges without a hole, and how many live ranges each holds."""
    found: list[tuple[Window, int]] = []
    for window in live.windows:
        cells = (cell.intersection(history) for cell in calendar.cells(window))
        if next(cells) == window:
            continue
        if found and found[-1][0].end_us == window.start_us:
            last, number = found[-1]
            found[-1] = (last.hull(window), number + 1)
        else:
            found.append((window, 1))
    return tuple(found)


def _same(one: Definition | None, other: Definition) -> bool:
    return one is not None and one.fingerprint == other.fingerprint


def _changed_parts(old: Definition, new: Definition) -> list[str]:
    return sorted(name for name in old.parts.keys() | new.parts.keys() if old.parts.get(name) != new.parts.get(name))
