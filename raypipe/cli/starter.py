"""Starter: the pipeline and the made-up data that `raypipe init` writes. The same bytes each time; no network."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import datetime, timedelta
from importlib import resources
from pathlib import Path

from raypipe.errors import UsageError

RIDES = 400
FIRST_RIDE = datetime(2024, 5, 1, 6)  # noqa: DTZ001 - the column is naive on purpose: most files in the wild are
STATIONS = {
    "ALM": ("Almond Street", "north"),
    "BAY": ("Bay Park", "east"),
    "CAS": ("Castle Hill", "south"),
    "DOC": ("The Docks", "west"),
}
HEADER = ("ride_id", "started_at", "station", "minutes", "fare")


def write_starter(folder: Path) -> list[Path]:
    """Write pipeline and data into a folder and return the files. Raises UsageError when one exists already."""
    files = {"pipeline.yaml": _pipeline(), "rides.csv": _rides(), "stations.csv": _stations()}
    paths = {folder / name: text for name, text in files.items()}
    existing = [str(path) for path in paths if path.exists() or path.is_symlink()]
    if existing:
        raise UsageError(f"init does not overwrite: {', '.join(existing)} exists already; name another folder: raypipe init DIR")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in paths.items():
            with path.open("x", encoding="utf-8", newline="") as file:
                file.write(text)
    except OSError as error:
        raise UsageError(
            f"init cannot write to {folder}: {error.strerror or error}; name another folder: raypipe init DIR"
        ) from error
    return list(paths)


def _pipeline() -> str:
    return (resources.files("raypipe.cli") / "starter_pipeline.yaml").read_text(encoding="utf-8")


def _stations() -> str:
    return _as_csv([("code", "name", "district"), *((code, *names) for code, names in STATIONS.items())])


def _rides() -> str:
    """Return two weeks of rides with the dirt of real files: cancelled and repeated rides, impossible and unreadable values."""
    lines = _as_csv([HEADER, *_clean_rides()]).splitlines(keepends=True)
    lines[40] = "R0040,sometime in May,BAY,12,2.40\n"  # no readable time
    lines[97] = "R0097,2024-05-04 08:12:00,CAS\n"  # fields are missing
    lines[155] = lines[154]  # the same ride twice
    lines[210] = "R0210,2024-05-08 11:30:00,DOC,-7,1.00\n"  # it ended before it began
    lines[268] = "R0268,2024-05-10 10:05:00,ALM,20,four euros\n"  # no number
    lines[333] = lines[332]
    lines[351] = "R0351,2024-05-13 09:00:00,BAY,9000,3.10\n"  # six days on a bicycle
    return "".join(lines)


def _clean_rides() -> Iterator[tuple[object, ...]]:
    moment = FIRST_RIDE
    for number in range(1, RIDES + 1):
        mixed = number * 7919 % 1009  # evenly spread, and the same each time
        moment += timedelta(minutes=20 + mixed % 60)
        minutes = 4 + mixed % 41
        cancelled = mixed % 23 == 0
        yield (
            f"R{number:04d}",
            moment,
            [*STATIONS][mixed % 4],
            "" if cancelled else minutes,
            "" if cancelled else f"{1 + minutes * 0.12:.2f}",
        )


def _as_csv(rows: list[tuple[object, ...]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
