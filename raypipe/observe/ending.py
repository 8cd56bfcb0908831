"""Ending: what there is to say of a run that is over, and which commands come next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from typing import Any

from raypipe.core.events import RunClosed
from raypipe.core.window import iso
from raypipe.lazy_dataclass import dataclass
from raypipe.observe.printable import duration


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What there is to say of a run that is over."""

    pipeline: str
    run_id: str
    executor: str
    closed: RunClosed
    command: str
    """The configuration and its options as the person typed them, for the commands that come next."""
    backfill: bool = False
    quarantine: Sequence[Mapping[str, Any]] = ()
    filtered: Mapping[str, int] = field(default_factory=dict)
    tables: Mapping[str, int] = field(default_factory=dict)
    bytes_input: int = 0
    bytes_read: int = 0
    warnings: tuple[str, ...] = ()


def nothing_to_do(ending: Ending) -> str:
    """Return the one line of a run that had no shards to do."""
    watermark = "" if ending.closed.watermark_us is None else f"; complete up to {iso(ending.closed.watermark_us)}"
    return f"{ending.pipeline}: nothing to do{watermark} ({duration(ending.closed.seconds)})"


def next_commands(ending: Ending) -> Iterable[tuple[str, str]]:
    """Yield the commands that a person may want now, each with what it is for."""
    closed, command = ending.closed, ending.command
    if closed.status in ("interrupted", "terminated", "cancelled"):
        yield f"raypipe {'backfill' if ending.backfill else 'run'} {command}{_again(ending)}", "go on: only what is left is done"
    elif closed.failures and not ending.backfill:
        yield f"raypipe run {command}", "try the failed shards again, once the cause is gone"
    elif closed.failures:
        yield f"raypipe backfill {command}{_again(ending)}", "try again, once the cause is gone"
    if any(one.code == "source_shrunk" for one in closed.failures):
        span = f"--start {iso(closed.failures[0].window.start_us)} --end {iso(closed.failures[-1].window.end_us)}"
        yield f"raypipe backfill {command} {span} --accept-shrunk", "where the missing files are meant to be gone, with their rows"
        yield f"raypipe accept {command} {span} --shrunk", "where their rows are to stay"
    if ending.quarantine:
        yield f"raypipe quarantine show {command} --rule {ending.quarantine[0]['rule']}", "the rows set aside, with their reasons"
    if closed.status == "done" and closed.planned:
        yield f"raypipe status {command}", "where the tables stand"


def _again(ending: Ending) -> str:
    window = ending.closed.window
    return f" --start {iso(window.start_us)} --end {iso(window.end_us)}" if ending.backfill and window else ""
