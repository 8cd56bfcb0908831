"""Ten pipelines at the same time, beside the same ten one after the other; and ten runs of one pipeline that share it out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from perf.bench import Bench, Contender, read_once
from perf.canonical import pipeline_text, require_equal, run_command
from perf.contenders import DESTINATION, INLINE, in_shell
from perf.events import Events
from perf.values import Found, Work, ratio_figure, short_count

QUESTION = "Do ten runs at once take longer than the same ten in a row?"
RUNS = 10


def run(bench: Bench) -> Iterator[Found]:
    """Measure all ten as one tree of processes."""
    rows = bench.size(1_000_000, quick=100_000)
    events = bench.events(rows)
    read_once(events.files)
    contenders = [_ten(events, "in_a_row", at_once=False), _ten(events, "at_once", at_once=True), _shared(events)]
    work = Work(rows * RUNS, events.size_bytes * RUNS, events.shape.days * RUNS)
    row, at_once, shared = bench.in_turn(contenders, work, check=_check)
    figures = (
        ratio_figure("at_once.wall.at_once/in_a_row", at_once, row),
        ratio_figure("at_once.peak.at_once/in_a_row", at_once, row, "peak_bytes"),
    )
    notes = ("`shared` is ten runs of one pipeline on one destination: a tenth of the work, done once between them.",)
    yield Found("at_once", f"ten at once, {short_count(rows)} each", QUESTION, (row, at_once, shared), figures, notes,
                bench.taken_yardsticks())  # fmt: skip


def _ten(events: Events, name: str, *, at_once: bool) -> Contender:
    def prepare(folder: Path) -> None:
        for number in range(RUNS):
            (folder / str(number)).mkdir()
            (folder / str(number) / "pipeline.yaml").write_text(pipeline_text(events, folder / str(number) / DESTINATION))

    def command(folder: Path) -> list[str]:
        return in_shell([run_command(folder / str(n) / "pipeline.yaml", *INLINE) for n in range(RUNS)], at_once=at_once)

    return Contender(name, command, prepare)


def _shared(events: Events) -> Contender:
    def prepare(folder: Path) -> None:
        (folder / "0").mkdir()
        (folder / "0" / "pipeline.yaml").write_text(pipeline_text(events, folder / "0" / DESTINATION))

    def command(folder: Path) -> list[str]:
        return in_shell([run_command(folder / "0" / "pipeline.yaml", *INLINE)] * RUNS, at_once=True)

    return Contender("shared", command, prepare)


def _check(folders: dict[str, Path]) -> None:
    names = {(name, number) for name in folders for number in range(RUNS if name != "shared" else 1)}
    require_equal({f"{name} {number}": folders[name] / str(number) / DESTINATION for name, number in sorted(names)})
