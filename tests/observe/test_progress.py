from __future__ import annotations

import io

from raypipe.core.events import ScanStarted, StopAsked, TaskFailed, TaskStarted, Warned
from raypipe.core.stragglers import Straggler
from raypipe.observe.progress import NOTES_MAX, AsLines, OnTerminal, Silent, display_on


def lines(clock, *events):
    stream = io.StringIO()
    display = AsLines(stream, clock)
    for event in events:
        display.on(event)
    return stream.getvalue().splitlines()


def test_a_run_elsewhere_than_on_a_terminal_is_told_in_plain_lines(story, clock):
    shown = lines(clock, ScanStarted(1, 31_000_000), *story.whole())

    assert shown == ["reading 1 file (31 MB) for the time ranges of their rows", "flights: 4 shards, inline, 2 threads"]


def test_there_is_at_most_one_line_of_progress_each_two_seconds(story, clock):
    stream = io.StringIO()
    display = AsLines(stream, clock)
    for event in story.whole()[:5]:
        display.on(event)
    clock.at_s += 2
    display.on(story.committed(0, 1))
    display.on(story.ended(2, 3))
    clock.at_s += 2
    display.on(story.committed(2))

    assert stream.getvalue().splitlines()[1:] == [
        "flights: working: 2 of 4 shards, 200 rows, 100 rows/s, 2 s left",
        "flights: working: 4 of 4 shards, 400 rows, 100 rows/s",
    ]


def test_warnings_and_failures_are_told_at_once_and_escaped(story, clock):
    shown = lines(
        clock, story.planned(), Warned("the destination is busy"),
        story.ended(1, failures=(story.failure(0),), warnings=("odd rows",)),
        TaskFailed(story.task(2, 3), "worker_died", "the worker died"),
        TaskFailed(story.task(2), "input_changed", "changed", relist=True),
    )  # fmt: skip

    assert shown == [
        "warning: the destination is busy",
        "failed: [2013-01-01T00:00:00Z, 2013-01-02T00:00:00Z): no such \\x1b[1mcolumn",
        "warning: [2013-01-02T00:00:00Z, 2013-01-03T00:00:00Z): odd rows",
        "warning: [2013-01-03T00:00:00Z, 2013-01-04T00:00:00Z) and 1 other shard: the worker died; trying again",
        "warning: [2013-01-03T00:00:00Z, 2013-01-04T00:00:00Z): changed; its input changed, reading it again",
    ]


def test_what_fails_while_a_run_stops_is_left_for_the_next(story, clock):
    shown = lines(clock, story.planned(), StopAsked("SIGINT"), TaskFailed(story.task(2, 3), "task_failed", "broken off"))

    assert shown[-1] == "warning: [2013-01-03T00:00:00Z, 2013-01-04T00:00:00Z) and 1 other shard: broken off; left for the next run"


def test_a_second_attempt_is_told_with_the_reason(story, clock):
    slow = Straggler(story.task(2, 3), 42.0, 12.0)
    shown = lines(clock, story.planned(), TaskStarted(story.task(0)), TaskStarted(story.task(2, 3), slow))

    (line,) = shown
    place, _, text = line.partition(" and 1 other shard: ")
    assert place == "warning: [2013-01-03T00:00:00Z, 2013-01-04T00:00:00Z)"
    assert text == "at work 4 times as long as the others: a second attempt is at work too"


def test_a_run_of_which_everything_fails_does_not_fill_the_screen(story, clock):
    shown = lines(clock, *[Warned(f"number {number}") for number in range(500)])

    assert len(shown) == NOTES_MAX + 1
    assert shown[-1] == "(more of the same: the summary counts it, the log has it all)"


def test_one_cause_that_breaks_many_shards_is_told_once(story, clock):
    failures = tuple(story.failure(number) for number in range(4))

    assert lines(clock, story.planned(), story.ended(failures=failures)) == [
        "failed: [2013-01-01T00:00:00Z, 2013-01-02T00:00:00Z): no such \\x1b[1mcolumn",
        "(more of the same: the summary counts it, the log has it all)",
    ]


def test_rows_that_are_no_shards_are_told_once(story, clock):
    shown = lines(clock, story.planned(outside=3), story.planned(outside=3, again=True))

    assert shown == ["3 rows of the source before time.start or after time.end: no shard's"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar_with_notes_above_it_and_is_given_back_clean(story, clock, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    stream = Terminal()
    display = display_on(stream, clock, terminal=True, quiet=False)
    assert isinstance(display, OnTerminal)
    for event in story.whole()[:6]:
        clock.at_s += 1
        display.on(event)
    display.on(Warned("[bold]busy[/bold]"))
    assert display._bar is not None
    display._bar._progress.refresh()
    display.on(story.closed())
    display.close()

    shown = stream.getvalue()
    assert "2/4 shards  67 rows/s  3 s left" in shown
    assert "warning: [bold]busy[/bold]" in shown
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")  # the cursor is back


def test_a_terminal_shows_the_files_that_are_read_first(clock, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "70")
    stream = Terminal()
    display = OnTerminal(stream, clock)
    display.on(ScanStarted(1, 31_000_000))
    display._bar._progress.refresh()
    display.close()

    assert "reading files" in stream.getvalue()
    assert "0/1 file 31 MB" in stream.getvalue()


def test_a_run_with_nothing_to_do_draws_no_bar(story, clock):
    stream = Terminal()
    display = OnTerminal(stream, clock)
    display.on(story.planned(shards=()))
    display.on(story.closed(planned=0))
    display.close()

    assert stream.getvalue() == ""


def test_quiet_shows_nothing_at_all(story, clock):
    stream = Terminal()
    display = display_on(stream, clock, terminal=True, quiet=True)
    for event in story.whole():
        display.on(event)
    display.close()

    assert isinstance(display, Silent)
    assert stream.getvalue() == ""
