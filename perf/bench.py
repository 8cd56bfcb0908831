"""Runs contenders in turn (A B A B ...) as whole processes, after a warm-up, with the yardstick between the runs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from perf.events import Events, Shape, make_events
from perf.machine import yardstick_s
from perf.measure import Measured, measure
from perf.values import MIB, Series, Work

WARM_ROWS = 30_000  # enough to load every library and compile every module once
READ_BYTES = 1 << 24


def _nothing(_: Path) -> None:
    """Prepare nothing."""


@dataclass(frozen=True, slots=True)
class Contender:
    """Something that does the job: the command for a scratch folder of its own, and what must stand there before."""

    name: str
    command: Callable[[Path], list[str]]
    prepare: Callable[[Path], None] = _nothing
    environment: Mapping[str, str] = field(default_factory=dict)
    expected: int = 0
    """The exit code of a run that went well."""


Check = Callable[[Mapping[str, Path]], None]


@dataclass
class Bench:
    """What scenarios measure with. `say` tells a person what is going on."""

    data: Path
    runs: int
    quick: bool
    rows: Sequence[int] | None
    against: Sequence[str] | None
    say: Callable[[str], None]
    without: Sequence[str] = ()
    """Contenders that are left out, where a scenario can do without them."""
    yardsticks: list[float] = field(default_factory=list)

    def sizes(self, *full: int, quick: int) -> Sequence[int]:
        """Return the sizes to measure: those asked for, else the scenario's own."""
        return self.rows or ((quick,) if self.quick else full)

    def size(self, full: int, *, quick: int) -> int:
        """Return the one size of a scenario that has no use for several."""
        return self.sizes(full, quick=quick)[0]

    def events(self, rows: int, days: int = 30) -> Events:
        """Return events, made where they are not there yet."""
        return make_events(self.data, Shape(rows, days))

    def in_turn(
        self, contenders: Sequence[Contender], work: Work, *, runs: int | None = None, check: Check | None = None
    ) -> list[Series]:
        """Measure each contender in every round; `check` gets their scratch folders, and raises where an answer is wrong.

        Memory is looked at in a round of its own, before those in which time is taken.
        """
        looked, *rounds = [self._round(contenders, check, number) for number in range((runs or self.runs) + 1)]
        return [
            Series(name, work, tuple(replace(taken[name], peak_bytes=one.peak_bytes) for taken in rounds))
            for name, one in looked.items()
        ]

    def _round(self, contenders: Sequence[Contender], check: Check | None, number: int) -> dict[str, Measured]:
        taken: dict[str, Measured] = {}
        with tempfile.TemporaryDirectory(prefix="raypipe-perf-") as parent:
            folders = {one.name: Path(parent) / one.name for one in contenders}
            for one in contenders:
                found = taken[one.name] = self._one(one, folders[one.name], memory=number == 0)
                shown = f"{found.wall_s:.2f} s" if number else f"{found.peak_bytes / MIB:.0f} MiB"
                self.say(f"  {f'round {number}' if number else 'memory'}: {one.name} {shown}")
            if check is not None:
                check(folders)
        return taken

    def _one(self, contender: Contender, folder: Path, *, memory: bool) -> Measured:
        folder.mkdir()
        self.run_yardstick()
        contender.prepare(folder)
        return measure(contender.command(folder), contender.environment, expected=contender.expected, memory=memory)

    def run_yardstick(self) -> None:
        """Run the fixed task once; `in_turn` does so before every run."""
        self.yardsticks.append(yardstick_s())

    def taken_yardsticks(self) -> tuple[float, ...]:
        """Return the yardsticks since the last call."""
        taken, self.yardsticks = tuple(self.yardsticks), []
        return taken


def read_once(paths: Iterable[Path]) -> None:
    """Bring files into the page cache, so that no contender pays for being the first."""
    for path in paths:
        with path.open("rb") as file:
            while file.read(READ_BYTES):
                pass
