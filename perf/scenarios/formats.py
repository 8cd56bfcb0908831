"""The canonical job over the same rows as Parquet, CSV and JSON Lines, plain and gzipped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb

from perf.bench import Bench, Contender, read_once
from perf.canonical import pipeline_text, require_equal
from perf.contenders import DESTINATION, INLINE, python, raypipe
from perf.events import Events
from perf.peers import FOLDER
from perf.values import Found, Series, Work, ratio_figure, short_count

QUESTION = "What does each format of files cost, beside DuckDB alone over the same files?"
SUFFIXES = ("parquet", "csv", "csv.gz", "jsonl", "jsonl.gz")
COLUMNS = """
  columns:
    event_id: {type: int64, required: true}
    ts: {type: timestamp, required: true}
    user_id: int64
    country: string
    event_type: string
    amount: float64
    url: string"""


def run(bench: Bench) -> Iterator[Found]:
    """Measure raypipe and DuckDB in turn, all formats in every round."""
    rows = bench.size(1_000_000, quick=100_000)
    events = bench.events(rows)
    folder = _as_text(events)
    read_once(path for path in folder.glob("events-*"))
    contenders = [one for suffix in SUFFIXES for one in (_raypipe(events, folder, suffix), _duckdb(folder, suffix))]
    measured = bench.in_turn(contenders, Work(rows, 0, events.shape.days), check=_check)
    series = [_with_bytes(one, folder) for one in measured]
    pairs = zip(series[::2], series[1::2], strict=True)
    figures = tuple(
        ratio_figure(f"formats.wall.raypipe/duckdb.{ours.contender.split()[1]}", ours, theirs) for ours, theirs in pairs
    )
    yield Found("formats", f"formats, {short_count(rows)} rows", QUESTION, tuple(series), figures, noise=bench.taken_yardsticks())


def _as_text(events: Events) -> Path:
    """Write the daily files in every format, once; return their folder."""
    folder = events.folder / "formats"
    if not (folder / "complete").exists():
        folder.mkdir(exist_ok=True)
        with duckdb.connect() as connection:
            for path in events.files:
                for suffix, options in _WRITERS.items():
                    target = folder / f"{path.stem}.{suffix}"
                    connection.execute(f"COPY (FROM '{path}') TO '{target}' ({options})")
        (folder / "countries.csv").write_bytes((events.folder / "countries.csv").read_bytes())
        (folder / "complete").touch()
    return folder


_WRITERS = {
    "parquet": "FORMAT parquet, COMPRESSION zstd",
    "csv": "FORMAT csv, HEADER, TIMESTAMPFORMAT '%Y-%m-%dT%H:%M:%S.%f'",
    "csv.gz": "FORMAT csv, HEADER, COMPRESSION gzip, TIMESTAMPFORMAT '%Y-%m-%dT%H:%M:%S.%f'",
    "jsonl": "FORMAT json, TIMESTAMPFORMAT '%Y-%m-%dT%H:%M:%S.%f'",
    "jsonl.gz": "FORMAT json, COMPRESSION gzip, TIMESTAMPFORMAT '%Y-%m-%dT%H:%M:%S.%f'",
}


def _raypipe(events: Events, folder: Path, suffix: str) -> Contender:
    def text(scratch: Path) -> str:
        whole = pipeline_text(events, scratch / DESTINATION)
        source = f'source: {{kind: files, path: "{events.folder}/events-*.parquet"}}'
        assert source in whole
        columns = "" if suffix == "parquet" else COLUMNS
        return whole.replace(source, f'source:\n  kind: files\n  path: "{folder}/events-*.{suffix}"{columns}')

    return raypipe(f"raypipe {suffix}", text, *INLINE)


def _duckdb(folder: Path, suffix: str) -> Contender:
    script = str(FOLDER / "duckdb_per_day.py")
    return Contender(f"duckdb {suffix}", lambda scratch: python(script, str(folder), str(scratch / DESTINATION), suffix))


def _with_bytes(series: Series, folder: Path) -> Series:
    suffix = series.contender.split()[1]
    size_bytes = sum(path.stat().st_size for path in folder.glob(f"events-*.{suffix}"))
    return Series(series.contender, Work(series.work.rows, size_bytes, series.work.shards), series.runs)


def _check(folders: dict[str, Path]) -> None:
    require_equal({name: folder / DESTINATION for name, folder in folders.items()})
