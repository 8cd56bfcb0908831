"""Stand-ins: quarantined rows of files that are gone, written down as files of the source's own format, to be read in their place.

A stand-in holds the rows of one file that one shard had set aside. It is an input of the pipeline like any other file, but only
while the file that it stands in for is gone: that one restored, it is passed over.
"""

from __future__ import annotations

import base64
import csv
import glob
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raypipe.core.fingerprint import fingerprint
from raypipe.core.shard import InputFile
from raypipe.errors import UsageError
from raypipe.lazy_dataclass import dataclass
from raypipe.pipeline import FilesSource

if TYPE_CHECKING:
    import pyarrow as pa

_OF = ".of"  # beside each stand-in: the file that it stands in for
STEM_CHARS_MAX = 80  # of the name of the file that is gone: file names have an end

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StandIns:
    """The stand-ins of one pipeline, in a folder beside its state."""

    folder: str
    source: FilesSource
    time_column: str

    @property
    def pattern(self) -> str:
        """A glob for all of them."""
        return f"{glob.escape(self.folder)}/*.{self.source.format}"

    def needed(self, files: Iterable[InputFile]) -> tuple[InputFile, ...]:
        """Return files without the stand-ins whose own files are among them."""
        listed = {file.uri: file for file in files}
        return tuple(listed[uri] for uri in sorted(listed) if self._stands_for(uri) not in listed)

    def _stands_for(self, uri: str) -> str | None:
        path = Path(uri)
        return path.with_suffix(_OF).read_text() if str(path.parent) == self.folder else None

    def write(self, uri: str, shard: str, raws: Sequence[str], others: Sequence[str]) -> Path:
        """Write the rows of a file that a shard had set aside, given as JSON objects. Written again, it is the same file.

        The first of the other files tells the types of Parquet columns. Raises UsageError where the rows lack what is read today.
        """
        rows = [json.loads(raw) for raw in raws]
        missing = sorted({name for row in rows for name in self._columns() if name not in row})
        if missing:
            raise UsageError(
                f"{uri} is gone, and the rows of it that were set aside lack {', '.join(missing)}, which is read today: restore it"
            )
        stem = f"{Path(uri).stem[:STEM_CHARS_MAX]}-{fingerprint([uri, shard])[:16]}"
        target = Path(self.folder, f"{stem}.{self.source.format}")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.with_suffix(_OF).write_text(uri)
        part = target.with_suffix(".part")
        part.write_bytes(self._written(rows, others, uri))
        part.replace(target)
        return target

    def _columns(self) -> list[str]:
        """Return the columns without which a row is another one than it was."""
        return [*self.source.columns, self.time_column.partition(".")[0]]

    def _written(self, rows: Sequence[Row], others: Sequence[str], uri: str) -> bytes:
        match self.source.format:
            case "jsonl":
                return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
            case "csv":
                return _as_csv(self.source, rows)
        if not others:
            raise UsageError(f"{uri} is gone, and no other file tells the types of its columns: restore it")
        return _as_parquet(rows, others[0], uri)


def can_stand_in(raw: str | None, *, truncated: bool) -> bool:
    """Tell whether the text of a quarantined row is the whole row: no malformed line, not cut, not taken away."""
    if raw is None or truncated:
        return False
    try:
        return isinstance(json.loads(raw), dict)
    except ValueError:
        return False


def _as_csv(source: FilesSource, rows: Sequence[Row]) -> bytes:
    dialect = source.csv
    names = list(source.columns) if not dialect.header else list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.writer(text, delimiter=dialect.delimiter, quotechar=dialect.quote, lineterminator="\n")
    null = dialect.nulls[0] if dialect.nulls else ""
    if dialect.header:
        writer.writerow(names)
    for row in rows:
        writer.writerow([null if row.get(name) is None else row[name] for name in names])
    return text.getvalue().encode(dialect.encoding)


def _as_parquet(rows: Sequence[Row], other: str, uri: str) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from raypipe.sources.parquet_open import open_parquet

    with open_parquet(other) as parquet:
        schema = parquet.schema_arrow
    known = [field for field in schema if any(field.name in row for row in rows)]
    try:
        columns = [pa.array([_typed(row.get(one.name), one.type) for row in rows], one.type) for one in known]
    except (ValueError, TypeError, ArithmeticError, pa.ArrowException) as error:
        raise UsageError(
            f"{uri} is gone, and its rows that were set aside cannot be read as those of other files: {error}"
        ) from error
    sink = io.BytesIO()
    pq.write_table(pa.table(columns, schema=pa.schema(known)), sink)
    return sink.getvalue()


def _typed(value: Any, kind: pa.DataType) -> Any:
    """Return a value of the JSON text of a row as Arrow takes it for its type: the way back of how rows are set aside."""
    import pyarrow as pa

    types: Any = pa.types
    if value is None:
        return None
    if types.is_list(kind) or types.is_large_list(kind):
        return [_typed(one, kind.value_type) for one in value]  # type: ignore[attr-defined]
    if types.is_struct(kind):
        return {field.name: _typed(value.get(field.name), field.type) for field in kind}  # type: ignore[attr-defined]
    readers = (
        (types.is_timestamp, datetime.fromisoformat),
        (types.is_date, date.fromisoformat),
        (types.is_time, time.fromisoformat),
        (types.is_decimal, Decimal),
        (types.is_floating, float),
        (types.is_binary, base64.b64decode),
        (types.is_large_binary, base64.b64decode),
    )
    return next((read(value) for holds, read in readers if holds(kind)), value)
