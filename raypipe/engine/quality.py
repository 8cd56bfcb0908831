"""Quality: rows that break a rule, and what is done with each: set aside, dropped, counted, or the shard failed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import polars as pl

from raypipe.engine.batches import SHARD_INDEX, Batch, rows_where
from raypipe.engine.quarantine import Quarantine, raw_rows
from raypipe.engine.tally import Tally
from raypipe.errors import RuleBroken, TooManyQuarantined
from raypipe.lazy_dataclass import dataclass
from raypipe.pipeline import MaxQuarantined

Otherwise = Literal["quarantine", "drop", "warn", "fail"]
SHOWN_CHARS_MAX = 300  # of a row in an error message


@dataclass(frozen=True, slots=True)
class Breach:
    """The rows of a frame that break one rule. `errors` gives a text for each of some places in the frame."""

    rule: str
    broken: pl.Series
    errors: Callable[[pl.Series], Sequence[str]]
    otherwise: Otherwise = "quarantine"


@dataclass(frozen=True, slots=True)
class Books:
    """Where a task's rows are accounted for."""

    tally: Tally
    quarantine: Quarantine


def settle(batch: Batch, breaches: Sequence[Breach], books: Books) -> Batch:
    """Take the rows that broke a rule out of a batch and account for each once, under the first rule in order.

    Every breach is counted under its rule; `warn` leaves the row where it is; `fail` fails the row's shard.
    """
    found = [one for one in breaches if one.broken.any()]
    if not found:
        return batch
    for one in found:
        books.tally.broken[one.rule].update(books.tally.counts_where(batch.frame, one.broken))
    gone: pl.Series | None = None
    for one in found:
        if one.otherwise == "warn":
            continue
        first = one.broken if gone is None else one.broken & ~gone
        if first.any():
            _act(batch, one, first, books)
        gone = one.broken if gone is None else gone | one.broken
    return batch.with_frame(books.tally.alive(batch.frame if gone is None else rows_where(batch.frame, ~gone)))


def _act(batch: Batch, breach: Breach, rows: pl.Series, books: Books) -> None:
    match breach.otherwise:
        case "quarantine":
            places = rows.arg_true()
            books.quarantine.add(batch, places, breach.rule, breach.errors(places))
            books.tally.quarantined.update(books.tally.counts_where(batch.frame, rows))
        case "drop":
            books.tally.filtered[breach.rule].update(books.tally.counts_where(batch.frame, rows))
        case "fail":
            _fail_shards(batch, breach, rows.arg_true(), books.tally)


def _fail_shards(batch: Batch, breach: Breach, places: pl.Series, tally: Tally) -> None:
    rows = batch.frame[places].with_columns(places.alias("_place"))
    for row in rows.unique(SHARD_INDEX, keep="first", maintain_order=True).select(SHARD_INDEX, "_place").iter_rows():
        shard, place = row
        place_series = pl.Series([place], dtype=places.dtype)
        text = breach.errors(place_series)[0]
        shown = raw_rows(batch, place_series)[0].as_py()[:SHOWN_CHARS_MAX]
        tally.fail(shard, RuleBroken.code, f"rule {breach.rule} was broken: {text}; the row: {shown}")


def check_quarantined(limit: MaxQuarantined | None, tally: Tally) -> None:
    """Fail the shards that quarantined more than the pipeline allows: above both the share and the number."""
    if limit is None:
        return
    for shard, rows in tally.quarantined.items():
        read = tally.read[shard]
        if shard >= len(tally.windows):
            continue  # of the lookback: judged with their own shards
        if rows > limit.at_least and rows > limit.share * read:
            rules = ", ".join(f"{rule}: {counts[shard]}" for rule, counts in sorted(tally.broken.items()) if counts[shard])
            text = (
                f"{rows} of {read} rows were quarantined ({rules}), expected at most {limit.share:.3%} of them or "
                f"{limit.at_least}; see the rows with `raypipe sample`, or raise quality.max_quarantined"
            )
            tally.fail(shard, TooManyQuarantined.code, text)
