"""Late arrivals: the deliveries of a fixed set of events, from one seed: shuffled, some of them late, some doubled."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from raypipe.lazy_dataclass import dataclass
from raypipe.pipeline import Pipeline
from raypipe.testing.source_files import write_rows

SUFFIXES = {"parquet": ".parquet", "csv": ".csv", "jsonl": ".jsonl"}

Event = Mapping[str, Any] | Path | str


@dataclass(frozen=True, slots=True)
class Delivery:
    """What arrives at once: rows, or files, in the order of their arrival."""

    number: int
    """Its place among the deliveries, from 0."""
    events: tuple[Event, ...]
    late: int = 0
    """How many of the events should have come with an earlier delivery."""
    doubled: int = 0
    """How many of the events came before, or come twice in this one."""

    def place(self, pipeline: Pipeline, folder: Path | str) -> tuple[Path, ...]:
        """Put the delivery into a folder: its rows as one file in the format of the pipeline's source, or its files.

        Return the files. Names are unique over all deliveries; a file that comes again gets another name, as from a
        producer that sent it twice.
        """
        target = Path(folder)
        rows = [one for one in self.events if isinstance(one, Mapping)]
        name = f"delivery-{self.number:04d}"
        placed = [write_rows(pipeline, rows, target / (name + SUFFIXES[pipeline.source.format]))] if rows else []
        for place, file in enumerate(one for one in self.events if not isinstance(one, Mapping)):
            placed.append(target / f"{name}-{place}-{Path(file).name}")
            shutil.copy2(file, placed[-1])
        return tuple(placed)


def late_arrivals(
    events: Sequence[Mapping[str, Any]] | Sequence[Path | str],
    *,
    seed: int,
    deliveries: int = 5,
    late: float = 0.2,
    doubled: float = 0.1,
) -> Iterator[Delivery]:
    """Yield the deliveries of a fixed set of events; the same seed gives the same ones.

    `events` are rows, or files, in the order of their event time. They are shared out over the deliveries in this order; a share
    of `late` comes with a later delivery than its own, a share of `doubled` comes once more, with its own or a later one; within
    a delivery they are shuffled. Each event arrives at least once. A pipeline that takes its input in after each delivery must
    end with the tables of one that gets all at once.
    """
    if deliveries < 1 or not (0 <= late <= 1 and 0 <= doubled <= 1):
        raise ValueError(
            f"got {deliveries} deliveries, late {late}, doubled {doubled}; expected at least 1, and shares from 0 to 1"
        )
    draw = random.Random(seed)  # noqa: S311 (reproducible on purpose)
    arriving: list[list[tuple[Event, bool, bool]]] = [[] for _ in range(deliveries)]
    for place, event in enumerate(events):
        own = place * deliveries // len(events)
        is_late = own + 1 < deliveries and draw.random() < late
        at = draw.randrange(own + 1, deliveries) if is_late else own
        arriving[at].append((event, is_late, False))
        if draw.random() < doubled:
            arriving[draw.randrange(at, deliveries)].append((event, False, True))
    for number, found in enumerate(arriving):
        draw.shuffle(found)
        late_ones, doubled_ones = sum(one[1] for one in found), sum(one[2] for one in found)
        yield Delivery(number, tuple(event for event, _, _ in found), late_ones, doubled_ones)
