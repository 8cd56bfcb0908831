"""Explode: a row for each element of a list; the rows that come of it are counted as expanded, those that go as filtered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import polars as pl

from raypipe.engine.batches import BATCH_ROWS, Batch
from raypipe.engine.column_names import require_columns
from raypipe.engine.quality import Books
from raypipe.errors import ConfigurationError
from raypipe.lazy_dataclass import dataclass
from raypipe.pipeline import Explode

if TYPE_CHECKING:
    from raypipe.engine.transform import Resources


@dataclass(frozen=True, slots=True)
class ExplodeStage:
    """Hands a batch on in pieces: lists may be long, and no batch becomes larger than others are."""

    title: str
    step: Explode
    where: str

    def stream(self, batches: Iterator[Batch], resources: Resources) -> Iterator[Batch]:
        """Pass each batch through the stage. Raises ConfigurationError for a column that holds no lists."""
        for batch in batches:
            self._require_list(batch.frame)
            lengths = batch.frame[self.step.column].list.len().fill_null(0)
            kept = self._without_empty(batch, lengths, resources.books) if self.step.empty == "drop" else batch.frame
            for piece in _pieces(kept, self.step.column):
                yield batch.with_frame(self._exploded(piece, resources.books))

    def _require_list(self, frame: pl.DataFrame) -> None:
        require_columns(f"{self.where}.explode", [self.step.column], frame.schema)
        dtype = frame.schema[self.step.column]
        if not isinstance(dtype, pl.List):
            raise ConfigurationError(f"{self.where}.explode: column {self.step.column!r} is {dtype}, expected a list")

    def _without_empty(self, batch: Batch, lengths: pl.Series, books: Books) -> pl.DataFrame:
        gone = batch.frame.filter(lengths == 0)
        if not gone.is_empty():
            books.tally.filtered[f"explode_{self.step.column}"].update(books.tally.counts(gone))
        return batch.frame.filter(lengths > 0)

    def _exploded(self, rows: pl.DataFrame, books: Books) -> pl.DataFrame:
        exploded = rows.explode(self.step.column, empty_as_null=True, keep_nulls=True)
        before = books.tally.counts(rows)
        for shard, number in books.tally.counts(exploded).items():
            books.tally.expanded[shard] += number - before[shard]
        return exploded


def _pieces(rows: pl.DataFrame, column: str) -> Iterator[pl.DataFrame]:
    """Yield the rows in parts that have at most BATCH_ROWS elements, or one row; where there are no rows, these."""
    elements = rows[column].list.len().fill_null(1).clip(1).cast(pl.Int64).cum_sum()
    start, had = 0, 0
    while True:
        end = max(int(elements.search_sorted(had + BATCH_ROWS, side="right")), start + 1)
        yield rows[start:end]
        if end >= rows.height:
            return
        start, had = end, int(elements[end - 1])
