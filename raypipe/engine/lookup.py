"""Lookups: columns of a reference file joined to the rows by a key that is unique in the file."""

from __future__ import annotations

import gzip
import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import polars as pl

from raypipe.core.datatype import DataType
from raypipe.core.window import iso
from raypipe.engine.batches import HIDDEN, Batch
from raypipe.engine.column_names import column_meant, refuse_reserved
from raypipe.engine.contract import converted
from raypipe.engine.quality import Books, Breach, settle
from raypipe.engine.text_types import from_text
from raypipe.errors import ConfigurationError
from raypipe.lazy_dataclass import dataclass
from raypipe.pipeline import CsvDialect, Lookup
from raypipe.ports import TIME_COLUMN

DUPLICATES_SHOWN = 5
TEXT_KEYS_MAX = 65_536  # so many texts are found by their codes: of more, to join takes no longer
_FOUND = "_found"
_SINCE = "_since"  # int64, microseconds since 1970 UTC, as event time
_PLACE = "_place"
_EVER_US = -(2**62)  # before all event time
_LIKE_A_VALUE = re.compile(r"[ \t]*([-+.\d]|(inf|infinity|nan|true|false|t|f)[ \t]*$)|$", re.IGNORECASE)  # what is not, is text
_INFERRED = (DataType("int64"), DataType("float64"), DataType("bool"), DataType("date"), DataType("timestamp"))


def read_reference(path: str, dialect: CsvDialect) -> pl.DataFrame:
    """Read a reference file: Parquet with its types, JSON Lines as JSON, CSV as text (typed later by `typed_column`).

    `.gz`, `.zst` and `.zip` of one member are unpacked. A CSV uses the delimiter, quote and nulls of `source.csv`.
    """
    name = path.removesuffix(".gz").removesuffix(".zst").removesuffix(".zip")
    try:
        content = _content(path)
        if name.endswith((".parquet", ".pq")):
            return pl.read_parquet(content)
        if name.endswith((".jsonl", ".ndjson", ".json")):
            return pl.read_ndjson(content, infer_schema_length=None)
        return pl.read_csv(
            content,
            separator=dialect.delimiter,
            quote_char=dialect.quote or None,
            null_values=list(dict.fromkeys(["", *dialect.nulls])),
            infer_schema=False,
        )
    except (OSError, pl.exceptions.PolarsError, zipfile.BadZipFile, EOFError) as error:
        raise ConfigurationError(f"lookup: {path} cannot be read: {error}") from error


def _content(path: str) -> io.BytesIO:
    raw = Path(path).read_bytes()
    if path.endswith(".zip"):
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            members = [one for one in archive.namelist() if not one.endswith("/")]
            if len(members) != 1:
                raise ConfigurationError(f"lookup: {path} holds {len(members)} files, expected one")
            raw = archive.read(members[0])
    elif path.endswith(".gz"):
        raw = gzip.decompress(raw)
    return io.BytesIO(raw)  # Polars unpacks zstd itself


def typed_column(text: pl.Series) -> pl.Series:
    """Give a CSV column the first type that holds all of its values: int64, float64, bool, date, timestamp, string.

    Digits with leading zeros are a code, not a number, and stay text.
    """
    if text.dtype != pl.String or not _LIKE_A_VALUE.match(str(text.first(ignore_nulls=True) or "")):
        return text
    if text.str.contains(r"^[+-]?0\d").any():
        return text
    first = text.drop_nulls().head(1)
    for kind in _INFERRED:
        if from_text(first, kind, "UTC").has_nulls():
            continue
        typed = from_text(text, kind, "UTC")
        if typed.null_count() == text.null_count():
            return typed
    return text


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference file, read once: which columns it has, and the table to join for a given type of the key."""

    lookup: Lookup
    rows: pl.DataFrame
    zone: str
    """Of times in the file that name none."""

    def bind(self, schema: pl.Schema, where: str) -> BoundLookup:
        """Check the lookup against the rows' columns. Raises ConfigurationError with all that is wrong."""
        lookup, have = self.lookup, self.rows.columns
        problems = [
            f"the rows have no column {one!r}; {column_meant(one, schema, 'they have')}" for one in lookup.on if one not in schema
        ]
        wanted = [*lookup.on.values(), *lookup.columns.values(), *filter(None, [lookup.as_of])]
        problems += [f"the file has no column {one!r}; {column_meant(one, have, 'it has')}" for one in wanted if one not in have]
        problems += [f"the rows already have a column {one!r}: name the new one `columns: {{other_name: {theirs}}}`"
                     for one, theirs in lookup.columns.items() if one in schema]  # fmt: skip
        if problems:
            raise ConfigurationError([f"{where}.lookup: {lookup.path}: {one}" for one in problems])
        refuse_reserved(f"{where}.lookup", lookup.columns)
        keys = [self._key(theirs, schema[ours], f"_key_{place}") for place, (ours, theirs) in enumerate(lookup.on.items())]
        columns = [typed_column(self.rows[theirs]).alias(ours) for ours, theirs in lookup.columns.items()]
        since = [] if lookup.as_of is None else [self._since(lookup.as_of)]
        table = pl.DataFrame([*keys, *columns, *since]).with_columns(pl.lit(True).alias(_FOUND))
        names = [one.name for one in keys]
        table = table.drop_nulls(names)  # a row without a key can never be found
        self._refuse_duplicates(table, [*names, *(one.name for one in since)])
        if since:
            return BoundLookup(lookup, table.sort(_SINCE), tuple(names))
        is_text = len(names) == 1 and table[names[0]].dtype == pl.String and table.height <= TEXT_KEYS_MAX
        return BoundLookup(lookup, table, tuple(names), pl.Enum(table[names[0]]) if is_text else None)

    def _since(self, column: str) -> pl.Series:
        """Return the instants, as event time counts them, from which the file's rows are valid."""
        times, broken = converted(self.rows[column], DataType("timestamptz"), self.zone)
        if broken is not None:
            shown = self.rows[column].filter(broken)[0]
            raise ConfigurationError(
                f"lookup {self.lookup.path}: column {column!r} holds {shown!r}, expected a time that there is in {self.zone}"
            )
        return times.dt.epoch("us").fill_null(_EVER_US).alias(_SINCE)

    def _key(self, theirs: str, wanted: pl.DataType, name: str) -> pl.Series:
        values = self.rows[theirs]
        if values.dtype == wanted:
            return values.alias(name)
        kind = datatype_of(wanted)
        typed, broken = converted(values, kind, "UTC") if kind is not None else (values, None)
        if typed.dtype != wanted or broken is not None:
            shown = "" if broken is None else f", such as {values.filter(broken)[0]!r}"
            raise ConfigurationError(
                f"lookup {self.lookup.path}: column {theirs!r} holds {values.dtype}{shown}, but the rows' key is {wanted}: "
                "cast one of them"
            )
        return typed.alias(name)

    def _refuse_duplicates(self, table: pl.DataFrame, keys: list[str]) -> None:
        twice = table.group_by(keys, maintain_order=True).len().filter(pl.col("len") > 1)
        if twice.is_empty():
            return
        if self.lookup.as_of is not None:
            twice = twice.with_columns(pl.from_epoch(_SINCE, time_unit="us"))
        shown = ", ".join(f"{' / '.join(map(str, row[:-1]))} ({row[-1]} rows)" for row in twice.head(DUPLICATES_SHOWN).iter_rows())
        key = ", ".join([*self.lookup.on.values(), *filter(None, [self.lookup.as_of])])
        raise ConfigurationError(
            f"lookup {self.lookup.path}: the key {key} must be unique, but {twice.height} occur again: {shown}"
        )


_KINDS = {
    pl.Int8: "int8", pl.Int16: "int16", pl.Int32: "int32", pl.Int64: "int64", pl.UInt8: "uint8", pl.UInt16: "uint16",
    pl.UInt32: "uint32", pl.UInt64: "uint64", pl.Float32: "float32", pl.Float64: "float64", pl.String: "string",
    pl.Boolean: "bool", pl.Date: "date", pl.Time: "time", pl.Binary: "binary",
}  # fmt: skip


def datatype_of(dtype: pl.DataType) -> DataType | None:
    """Return the contract type of a Polars type, or None where contracts have no word for it."""
    if isinstance(dtype, pl.Decimal):
        return DataType("decimal", precision=dtype.precision or 38, scale=dtype.scale)
    if isinstance(dtype, pl.Datetime):
        return DataType("timestamptz" if dtype.time_zone else "timestamp")
    word = _KINDS.get(type(dtype))
    return DataType(word) if word else None


@dataclass(frozen=True, slots=True)
class BoundLookup:
    """A lookup whose table is ready to join; the order of the rows stays."""

    lookup: Lookup
    table: pl.DataFrame
    keys: tuple[str, ...]
    texts: pl.Enum | None = None
    """The key in the order of the table, where it is one text."""

    @property
    def rule(self) -> str:
        """The rule that a row without a match breaks."""
        return f"lookup_{'_'.join(self.lookup.on)}"

    def __call__(self, batch: Batch, books: Books) -> Batch:
        """Return the batch with the reference's columns behind the user's."""
        found, columns = self._found(batch.frame), batch.frame.get_columns()
        theirs = [found[name] for name in self.lookup.columns]
        frame = pl.DataFrame(
            [*(one for one in columns if one.name not in HIDDEN), *theirs, *(one for one in columns if one.name in HIDDEN)]
        )
        if self.lookup.missing == "keep":
            return batch.with_frame(frame)
        missing = found[_FOUND].is_null()
        return settle(batch.with_frame(frame), [Breach(self.rule, missing, self._errors(frame), self.lookup.missing)], books)

    def _found(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the table's columns for each row, in their order, and the mark of those that were found; else nulls."""
        asked = [rows[name].alias(key) for name, key in zip(self.lookup.on, self.keys, strict=True)]  # the rest would be copied
        if self.texts is not None:
            places = asked[0].cast(self.texts, strict=False).to_physical()
            wanted = self.lookup.columns if self.lookup.missing == "keep" else (*self.lookup.columns, _FOUND)
            return pl.DataFrame([self.table[name][places] for name in wanted])  # by this thread: a frame's are taken by several
        if self.lookup.as_of is None:
            joined = pl.LazyFrame(asked).join(self.table.lazy(), on=self.keys, how="left", maintain_order="left")
            return joined.collect(engine="in-memory")
        by_time = pl.DataFrame([*asked, rows[TIME_COLUMN]]).with_row_index(_PLACE).sort(TIME_COLUMN, maintain_order=True)
        return by_time.join_asof(
            self.table, left_on=TIME_COLUMN, right_on=_SINCE, by=self.keys, coalesce=False, check_sortedness=False
        ).sort(_PLACE)

    def _errors(self, frame: pl.DataFrame) -> Callable[[pl.Series], list[str]]:
        def errors(places: pl.Series) -> list[str]:
            shown = frame[places]
            ats = ["" if self.lookup.as_of is None else f" at {iso(time)}" for time in shown[TIME_COLUMN].to_list()]
            rows = shown.select(list(self.lookup.on)).iter_rows(named=True)
            return [
                f"{', '.join(f'{name} = {value!r}' for name, value in row.items())} is not in {self.lookup.path}{at}"
                for row, at in zip(rows, ats, strict=True)
            ]

        return errors
