"""Builds files sources over a folder of the test, and reads them whole."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from raypipe.core.calendar import Calendar, parse_width
from raypipe.core.shard import Slice
from raypipe.core.window import Window, to_us
from raypipe.pipeline import EventTime, FilesSource
from raypipe.ports import Listing, Reject
from raypipe.sources.files import Files
from raypipe.sources.slice_store import STORE, SliceStore


def us(text: str) -> int:
    """Return microseconds of an ISO time in UTC."""
    return to_us(datetime.fromisoformat(text).replace(tzinfo=UTC))


@dataclass
class Reading:
    """All that a source delivered, shard by shard."""

    rows: list[list[dict[str, Any]]]
    rejects: list[list[Reject]]
    slices: Sequence[tuple[Slice, ...]]

    def column(self, name: str) -> list[list[Any]]:
        return [[row[name] for row in rows] for rows in self.rows]


class Bench:
    """A files source of one test with what is needed to drive it through the protocol's order."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state"

    def source(self, pattern: str | Sequence[str], **options: Any) -> Files:
        start, end = us(options.pop("start", "2024-01-01")), options.pop("end", "2024-01-11")
        width, zone = parse_width(options.pop("shard", "1d")), options.pop("zone", "UTC")
        time = EventTime(
            column=options.pop("column", "ts"),
            format=options.pop("time_format", "iso"),
            zone=zone,
            start_us=options.pop("start_us", start),
            end_us=None if end is None else us(end),
            shard=width,
        )
        memory = options.pop("in_memory_bytes", 0)
        patterns = [pattern] if isinstance(pattern, str) else pattern
        config = FilesSource(paths=tuple(str(self.folder / one) for one in patterns), **options)
        return Files(config, time, Calendar(time.start_us, width, zone), str(self.state), memory)

    def index(self, source: Files) -> Listing:
        listing = source.list()
        source.record([source.scan(file) for file in source.unindexed(listing)])
        return listing

    def windows(self, source: Files) -> list[Window]:
        end_us = source.time.end_us or source.time.start_us + 10 * 86_400_000_000
        return list(source.calendar.cells(Window(source.time.start_us, end_us)))

    def read(self, source: Files, windows: Sequence[Window] | None = None, columns: Sequence[str] | None = None) -> Reading:
        listing = self.index(source)
        windows = self.windows(source) if windows is None else windows
        found = source.slices(listing, windows)
        rows, rejects = [], []
        for window, slices in zip(windows, found, strict=True):
            batches = list(source.read([window], slices, columns))
            rows.append([row for batch in batches for row in batch.rows.to_pylist()])
            rejects.append([one for batch in batches for one in batch.rejects])
        return Reading(rows, rejects, found)

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def write_jsonl(self, name: str, rows: Sequence[dict[str, Any]]) -> Path:
        return self.write(name, "".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def micros() -> Callable[[str], int]:
    return us


@pytest.fixture(autouse=True)
def forget_slices() -> Callable[[], None]:
    """Start each test as a new process would, with no slices in memory; call it to start another."""
    vars(STORE).update(vars(SliceStore()))
    return lambda: vars(STORE).update(vars(SliceStore()))


@pytest.fixture
def timestamps() -> Callable[..., pa.Array]:
    def build(*texts: str | None, unit: str = "us", zone: str | None = None) -> pa.Array:
        return (
            pa.array([None if text is None else us(text) for text in texts], pa.int64())
            .cast(pa.timestamp("us"))
            .cast(pa.timestamp(unit))
            .cast(pa.timestamp(unit, zone))
        )

    return build
