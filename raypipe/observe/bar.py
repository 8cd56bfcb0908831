"""Bar: the progress bar of a run on a terminal, drawn by rich."""

from __future__ import annotations

from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from raypipe.observe.printable import count, roughly, size
from raypipe.observe.tally import Tally
from raypipe.ports import Clock

REFRESHES_PER_S = 8  # smooth to the eye, and nothing to the processor
NARROW_COLUMNS = 80
ECHO_COLUMNS = 3  # room for the ^C that a terminal echoes: on a full line it would move the bar to a second one


class Bar:
    """One line at the bottom of the terminal: phase, bar, shards, rows per second, time left."""

    def __init__(self, stream: TextIO, clock: Clock) -> None:
        self._console = Console(file=stream, markup=False, highlight=False, emoji=False)
        narrow = self._console.width < NARROW_COLUMNS
        self._console.width -= ECHO_COLUMNS
        self._progress = Progress(
            TextColumn("{task.description}", style="bold", markup=False),
            BarColumn(bar_width=10 if narrow else None),
            TextColumn("{task.fields[numbers]}", markup=False),
            console=self._console,
            get_time=clock.monotonic_s,
            refresh_per_second=REFRESHES_PER_S,
            transient=True,
            expand=True,
        )
        self._task = self._progress.add_task("planning", total=None, numbers="")
        self._progress.start()

    def show(self, tally: Tally, now_s: float) -> None:
        """Draw where the run is."""
        if tally.phase == "reading files":
            files = f"{tally.files_scanned}/{count(tally.files, 'file')} {size(tally.size_bytes)}"
            self._draw("reading files", tally.size_bytes, tally.scanned_bytes, files)
            return
        parts = [f"{count(tally.done)}/{count(tally.planned, 'shard')}"]
        if tally.failed:
            parts.append(f"{count(tally.failed)} failed")
        if tally.rows:
            parts.append(f"{tally.rows_per_s(now_s):,.0f} rows/s")
        left_s = tally.left_s(now_s)
        if left_s and tally.phase == "working":
            parts.append(f"{roughly(left_s)} left")
        self._draw(tally.phase, tally.planned, tally.done + tally.failed, "  ".join(parts))

    def _draw(self, phase: str, total: int, done: int, numbers: str) -> None:
        # One file is read as one: a bar that stands at nothing until the end would look stuck, so it moves instead.
        known = total if done else None
        self._progress.update(self._task, description=phase, total=known, completed=done, numbers=numbers)

    def above(self, text: str) -> None:
        """Print a line that stays, above the bar."""
        self._console.print(text, soft_wrap=True)

    def stop(self) -> None:
        """Give the terminal back."""
        self._progress.stop()
