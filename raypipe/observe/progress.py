"""Progress: how far a run is, while it goes on: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TextIO

from raypipe.core.events import (
    Adopted,
    Planned,
    RunClosed,
    RunEvent,
    RunOpened,
    ScanStarted,
    StopAsked,
    TaskEnded,
    TaskFailed,
    TaskStarted,
    Warned,
)
from raypipe.core.shard import ShardFailure, Task
from raypipe.core.stragglers import Straggler
from raypipe.observe.printable import count, escape, roughly, size
from raypipe.observe.tally import Tally
from raypipe.ports import Clock, Observer

if TYPE_CHECKING:
    from raypipe.observe.bar import Bar

LINE_INTERVAL_S = 2.0  # a log of a long run stays readable
NOTES_MAX = 20  # a run of which everything fails must not fill the screen: the summary and the log have the rest


class Display(Observer, Protocol):
    """An observer with an end."""

    def close(self) -> None:
        """Give back what was taken, also after a run that ended by an error."""
        ...


def display_on(stream: TextIO, clock: Clock, *, terminal: bool, quiet: bool) -> Display:
    """Return the display of a run's progress that suits the stream; when quiet, one that shows nothing."""
    if quiet:
        return Silent()
    return OnTerminal(stream, clock) if terminal else AsLines(stream, clock)


class Silent:
    """Shows nothing."""

    def on(self, event: RunEvent) -> None:
        """Take no note of an event."""

    def close(self) -> None:
        """Do nothing."""


class AsLines:
    """Prints a line when something is known, at most one each two seconds; warnings and failures at once."""

    def __init__(self, stream: TextIO, clock: Clock) -> None:
        self._stream = stream
        self._clock = clock
        self._tally = Tally()
        self._notes = Notes(self._print)
        self._last_s: float | None = None

    def on(self, event: RunEvent) -> None:
        """Take note of an event."""
        now_s = self._clock.monotonic_s()
        self._tally.at(event, now_s)
        self._notes.on(event)
        if isinstance(event, RunOpened):
            self._print(opening(self._tally))
        elif isinstance(event, ScanStarted):
            self._print(f"reading {count(event.files, 'file')} ({size(event.size_bytes)}) for the time ranges of their rows")
        elif self._tally.planned and not isinstance(event, RunClosed | Planned) and self._due(now_s):
            self._print(status_line(self._tally, now_s))

    def close(self) -> None:
        """Do nothing: lines need no end."""

    def _due(self, now_s: float) -> bool:
        if self._last_s is None:
            self._last_s = now_s
        if now_s - self._last_s < LINE_INTERVAL_S:
            return False
        self._last_s = now_s
        return True

    def _print(self, text: str) -> None:
        self._stream.write(text + "\n")
        self._stream.flush()


class OnTerminal:
    """Shows a bar with shards, rows per second and time left; warnings and failures stand above it."""

    def __init__(self, stream: TextIO, clock: Clock) -> None:
        self._stream = stream
        self._clock = clock
        self._tally = Tally()
        self._bar: Bar | None = None
        self._notes = Notes(self._above)

    def on(self, event: RunEvent) -> None:
        """Take note of an event."""
        now_s = self._clock.monotonic_s()
        self._tally.at(event, now_s)
        if isinstance(event, RunClosed):
            if self._bar is not None:
                self._bar.stop()
            return
        if isinstance(event, ScanStarted) or (isinstance(event, Planned) and self._tally.planned):
            self._start()
        if isinstance(event, RunOpened):
            self._above(opening(self._tally))
        self._notes.on(event)
        if self._bar is not None:
            self._bar.show(self._tally, now_s)

    def close(self) -> None:
        """Give the terminal back, also after a run that ended by an error."""
        if self._bar is not None:
            self._bar.stop()

    def _start(self) -> None:
        if self._bar is None:
            from raypipe.observe.bar import Bar  # rich costs 70 ms: a run with nothing to do needs none of it

            self._bar = Bar(self._stream, self._clock)

    def _above(self, text: str) -> None:
        if self._bar is not None:
            self._bar.above(text)
        else:
            self._stream.write(text + "\n")
            self._stream.flush()


class Notes:
    """What a person should read while the run goes on: warnings, failed shards, attempts that are repeated or take long."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._told: set[str] = set()
        self._repeated = False
        self._stopping = False

    def on(self, event: RunEvent) -> None:
        """Write the notes of an event, if it has any."""
        match event:
            case Warned():
                self._note("warning: ", event.text)
            case Planned():
                self._planned(event)
            case Adopted():
                self._write(taken_over(event))
            case TaskEnded():
                self._ended(event)
            case TaskStarted(straggler=Straggler() as slow):
                text = f"at work {slow.times:.0f} times as long as the others: a second attempt is at work too"
                self._note(f"warning: {_shards_of(slow.task)}: ", text)
            case StopAsked():
                self._stopping = True
            case TaskFailed():
                self._note(f"warning: {_shards_of(event.task)}: ", f"{event.error}; {self._what_follows(event)}")
            case _:
                pass

    def _ended(self, event: TaskEnded) -> None:
        self._failures(event.failures)
        for result in event.results:
            for warning in result.warnings:
                self._note(f"warning: {result.window}: ", warning)

    def _what_follows(self, event: TaskFailed) -> str:
        if self._stopping:
            return "left for the next run"
        return "its input changed, reading it again" if event.relist else "trying again"

    def _planned(self, event: Planned) -> None:
        self._failures(event.failures)
        for remark in event.remarks:
            self._note("warning: ", remark)
        if event.outside and not event.again:
            self._write(f"{count(event.outside, 'row')} of the source before time.start or after time.end: no shard's")

    def _failures(self, failures: tuple[ShardFailure, ...]) -> None:
        for one in failures:
            self._note(f"{'warning' if one.retryable else 'failed'}: {one.window}: ", one.error)

    def _note(self, place: str, text: str) -> None:
        """Write a note, unless its text was written for another shard: one cause often breaks them all in the same way."""
        if text not in self._told and len(self._told) < NOTES_MAX:
            self._told.add(text)
            self._write(escape(f"{place}{text}", keep_lines=True))
        elif not self._repeated:
            self._repeated = True
            self._write("(more of the same: the summary counts it, the log has it all)")


def _shards_of(task: Task) -> str:
    others = f" and {count(len(task.shards) - 1, 'other shard')}" if len(task.shards) > 1 else ""
    return f"{task.shards[0].window}{others}"


def opening(tally: Tally) -> str:
    """Return the first line of a run: pipeline, shards, how it is done."""
    return f"{tally.pipeline}: {count(tally.planned, 'shard')}, {tally.executor}"


def taken_over(event: Adopted) -> str:
    """Return the line that says what is not done again."""
    results = [result for ended in event.ended for result in ended.results]
    rows = sum(result.accounts.read for result in results)
    return f"{count(len(results), 'shard')} ({count(rows, 'row')}) that an earlier run finished are taken over and not read again"


def status_line(tally: Tally, now_s: float) -> str:
    """Return one line that says how far the run is."""
    parts = [f"{count(tally.done)} of {count(tally.planned, 'shard')}"]
    if tally.failed:
        parts.append(f"{count(tally.failed)} failed")
    if tally.rows:
        parts.append(f"{count(tally.rows, 'row')}, {tally.rows_per_s(now_s):,.0f} rows/s")
    left_s = tally.left_s(now_s)
    if left_s and tally.phase == "working":
        parts.append(f"{roughly(left_s)} left")
    return f"{tally.pipeline}: {tally.phase}: " + ", ".join(parts)
