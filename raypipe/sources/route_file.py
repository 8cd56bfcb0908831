"""Routes one text file: reads it once, decompressed and decoded, into slices and the cells that the index remembers."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raypipe.core.calendar import Calendar
from raypipe.pipeline import EventTime, FilesSource
from raypipe.sources.ahead import ahead, read_ahead
from raypipe.sources.lines import ByteStream, DecodedBlock, open_text
from raypipe.sources.row_bytes import row_bytes
from raypipe.sources.slice_store import STORE
from raypipe.sources.slice_writer import NoSlices, SliceTaker, SliceWriter
from raypipe.sources.slices import RoutedFile, SliceKey

if TYPE_CHECKING:
    import pyarrow as pa

    from raypipe.sources.cells import Cutter

ROWS_WORTH_A_THREAD = 4_096  # in a file's first block; with fewer there is hardly a second block to decode meanwhile
BYTES_WORTH_A_THREAD = 1024**2  # of a file as it stands: it has that many rows without a look


def route_file(
    config: FilesSource, time: EventTime, calendar: Calendar, key: SliceKey, folder: Path, in_memory_bytes: int
) -> tuple[Mapping[str, Any], RoutedFile]:
    """Return what the index keeps of a file, and its slices, held in memory while this process may hold so much."""
    writer = SliceWriter(folder, memory_bytes=max(0, in_memory_bytes - STORE.held_bytes()))
    try:
        content = _routed(config, time, calendar, key.uri, writer)
        slices = writer.finish()
    except BaseException:
        writer.abandon()
        raise
    if slices is not None:
        STORE.keep(key, slices, writer.held_bytes)
        return content, slices
    STORE.wrote(folder, writer.held_bytes)
    slices = STORE.find(key, folder)
    if slices is None:
        raise OSError(f"{folder}: the slices of {key.uri} were removed as soon as they were written; is the disk full?")
    return content, slices


def digest_file(config: FilesSource, time: EventTime, cutter: Cutter, uri: str) -> Mapping[str, Any]:
    """Return the cells of a file by another cut than that of its slices, which stay as they are."""
    return _routed(config, time, cutter, uri, NoSlices())


def _routed(config: FilesSource, time: EventTime, cutter: Cutter, uri: str, writer: SliceTaker) -> Mapping[str, Any]:
    columns_vary = config.format == "jsonl"
    with (
        open_text(uri) as file,
        read_ahead(file, at_once=(long := file.size_bytes >= BYTES_WORTH_A_THREAD)) as stream,
        ahead(_with_texts(decode(stream, config, time.column, uri), columns_vary=columns_vary), _is_long, at_once=long) as blocks,
    ):
        first = [] if long else list(itertools.islice(blocks, 1))
        from raypipe.sources.routing import Router  # loads an engine, while blocks are decoded where there are many

        router = Router(
            uri,
            time,
            cutter,
            writer,
            stored=_stored(config, time),
            columns_vary=columns_vary,
            time_required=config.format == "csv" and config.on_drift == "fail",
        )
        for block, texts in itertools.chain(first, blocks):
            router.add(block, texts)
    return router.finish()


def _with_texts(blocks: Iterator[DecodedBlock], *, columns_vary: bool) -> Iterator[tuple[DecodedBlock, pa.Array[Any]]]:
    for block in blocks:
        yield block, row_bytes(block.rows, named=columns_vary)


def _is_long(first: tuple[DecodedBlock, pa.Array[Any]]) -> bool:
    return first[0].rows.num_rows >= ROWS_WORTH_A_THREAD


def decode(stream: ByteStream, config: FilesSource, time_path: str, uri: str) -> Iterator[DecodedBlock]:
    """Decode a text file by its format.

    All columns of a CSV file are decoded, so that digests do not depend on the contract. Of JSON only the wanted ones are:
    all would take ten times as long.
    """
    if config.format == "csv":
        from raypipe.sources import csv_lines

        return csv_lines.decode(stream, config.csv, uri, None if config.csv.header else tuple(config.columns))
    from raypipe.sources import json_lines

    wanted = tuple(config.columns) if config.columns and config.extra_columns == "ignore" else None
    return json_lines.decode(stream, uri, config.columns, wanted, time_path)


def _stored(config: FilesSource, time: EventTime) -> tuple[str, ...] | None:
    """Return the columns that slices keep; None for all."""
    if not config.columns or config.extra_columns != "ignore":
        return None
    return (*config.columns, time.column, time.column.partition(".")[0])


@contextlib.contextmanager
def first_block(config: FilesSource, time_path: str, uri: str) -> Iterator[DecodedBlock | None]:
    """Decode the first block of a file and no more."""
    with open_text(uri) as stream:
        blocks = decode(stream, config, time_path, uri)
        yield next(blocks, None)
