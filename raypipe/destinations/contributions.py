"""Contributions: what the staged work of a group adds to each table, as something that an engine can scan."""

from __future__ import annotations

import functools
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from raypipe.core.checksums import find_damage
from raypipe.core.commit import ShardCommit
from raypipe.errors import StagedDamaged
from raypipe.lazy_dataclass import dataclass
from raypipe.ports import SHARD_COLUMN, Staged

_SHARD_TYPE = pa.timestamp("us")
_ATTEMPT = attrgetter("attempt_id")
READ_ROWS = 122_880  # per batch out of a staged file: bounds what a commit holds of it, and is a row group of DuckDB


@dataclass(frozen=True, slots=True)
class Part:
    """One task's rows of one table, in memory or in a file; `starts` are the shards wanted of it, None for all."""

    content: pa.Table | Path
    schema: pa.Schema
    attempt_id: str
    starts: pa.Array[Any] | None

    def tables(self) -> Iterator[pa.Table]:
        """Yield the wanted rows: all at once from memory, piecemeal from a file."""
        if isinstance(self.content, pa.Table):
            yield self._wanted(self.content)
            return
        import pyarrow.parquet as pq  # it loads all of Arrow's file systems, for which most commits have no use

        with pq.ParquetFile(self.content, pre_buffer=False) as file:
            for batch in file.iter_batches(READ_ROWS):
                yield self._wanted(pa.Table.from_batches([batch]))

    def _wanted(self, rows: pa.Table) -> pa.Table:
        rows = rows.replace_schema_metadata(None)
        return rows if self.starts is None else rows.filter(pc.is_in(rows.column(SHARD_COLUMN), self.starts))


@dataclass(frozen=True, slots=True)
class Contribution:
    """The rows of all parts that have the same columns."""

    schema: pa.Schema
    parts: tuple[Part, ...]

    def scannable(self) -> pa.Table | pa.RecordBatchReader:
        """Return one table where all parts are in memory, else a stream over memory and files."""
        if all(isinstance(part.content, pa.Table) for part in self.parts):
            return pa.concat_tables([table for part in self.parts for table in part.tables()])
        batches = (batch for part in self.parts for table in part.tables() for batch in table.to_batches())
        return pa.RecordBatchReader.from_batches(self.schema, batches)


def verify_checksums(staged: Iterable[Staged]) -> None:
    """Raise StagedDamaged for a staged file that is not what its manifest says: gone, cut or changed on the disk."""
    for one in staged:
        if one.folder is not None:
            damage = find_damage(one.checksums, functools.partial(_sha256, Path(one.folder)))
            if damage is not None:
                raise StagedDamaged(f"staged work in {one.folder}: {damage}")


def _sha256(folder: Path, name: str) -> str:
    with (folder / name).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


Wanted = Mapping[str, "pa.Array[Any] | None"]
"""By attempt, the starts of the shards that are wanted of what it left; None: of all that it left."""


def wanted_of(staged: Iterable[Staged], shards: Sequence[ShardCommit]) -> Wanted:
    """Return which of the staged shards a commit takes in; attempts of which it takes none are left out."""
    numbers = Counter(map(_ATTEMPT, shards))
    wanted: dict[str, pa.Array[Any] | None] = {}
    for one in staged:
        attempt, number = one.task.attempt_id, numbers[one.task.attempt_id]
        if number == len(one.results):  # a shard is never in a commit twice
            wanted[attempt] = None
        elif number:
            starts = sorted(shard.window.start_us for shard in shards if shard.attempt_id == attempt)
            wanted[attempt] = pa.array(starts, pa.int64()).cast(_SHARD_TYPE)
    return wanted


def contributions(table: str, staged: Sequence[Staged], wanted: Wanted) -> list[Contribution]:
    """Return what the wanted shards add to a table, those of equal columns together."""
    groups: list[tuple[pa.Schema, list[Part]]] = []
    for part in _parts(table, staged, wanted):
        for schema, parts in groups:
            if schema.equals(part.schema):
                parts.append(part)
                break
        else:
            groups.append((part.schema, [part]))
    return [Contribution(schema, tuple(parts)) for schema, parts in groups]


def _parts(table: str, staged: Sequence[Staged], wanted: Wanted) -> Iterator[Part]:
    for one in staged:
        attempt = one.task.attempt_id
        content = one.tables.get(table) if not one.folder else Path(one.folder) / f"{table}.parquet"
        if attempt not in wanted or content is None or (isinstance(content, Path) and not content.exists()):
            continue
        schema = _schema_of_file(content) if isinstance(content, Path) else content.schema
        yield Part(content, schema.remove_metadata(), attempt, wanted[attempt])


def _schema_of_file(path: Path) -> pa.Schema:
    import pyarrow.parquet as pq

    return pq.read_schema(path)
