"""Named points that tests arm to make raypipe fail there; active only under RAYPIPE_TESTING=1. Imports nothing of raypipe.

    RAYPIPE_FAILPOINTS="commit.after_ledger=kill@2;task.after_manifest=raise:ENOSPC@shard=7,attempt=1"

The action fires at the n-th hit of its point (default 1), counting only hits whose facts are those named after the `@`.
With `RAYPIPE_FP_DIR` hits are counted over all processes, so that an action fires once however often work is repeated,
and the file `<place>-<point>.fired` there tells that it did; without, each process counts for itself.

Actions: kill (SIGKILL to this process), abort (SIGABRT), exit, raise:ERRNO, return_lost (what was just done stands, its answer
does not arrive), hang, sleep:MILLISECONDS.

Tests inside the process need no environment: `watching(watcher)` calls the watcher at every point.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from raypipe.lazy_dataclass import dataclass

POINTS: Mapping[str, str] = MappingProxyType(
    {
        "plan.after_observe": "the driver has observed the destination; the source is not listed yet",
        "index.after_scan": "a worker has read a file for the index; its slices stand, nobody was told",
        "index.before_record": "the driver knows what scans told; the index does not yet",
        "plan.after_insert": "the run stands in the transaction that opens it",
        "open.after_commit": "the run is open; its owner does not know",
        "adopt.mid_link": "some files of earlier work are linked under this run, its manifest is not",
        "adopt.after_link": "earlier work is linked under this run; the old files stand too",
        "lease.before": "shards are about to be claimed",
        "lease.after": "shards are claimed; nothing works on them yet",
        "task.start": "a worker has a task",
        "task.after_open": "its input is about to be read",
        "task.mid_read": "a batch of it was read",
        "task.before_stage": "its contributions are computed",
        "task.mid_stage": "the first file of them is written",
        "task.after_data_before_manifest": "all files are written, the manifest is not",
        "task.after_manifest": "the manifest stands",
        "task.before_return": "the driver is about to be told",
        "commit.before_begin": "the destination is open for a commit",
        "commit.after_fence": "sequence and epoch are written",
        "commit.after_cas": "the live ranges are as observed",
        "commit.after_delete": "what is replaced is gone",
        "commit.mid_insert": "the rows of one output are in",
        "commit.after_insert": "all rows are in",
        "commit.after_compaction": "what live ranges said is merged, they are not",
        "commit.after_ledger": "the ledger is written",
        "commit.after_wm": "coverage and watermark are written",
        "commit.before_commit": "all that is left is COMMIT",
        "commit.after_commit_before_ack": "the commit is durable; its owner does not know",
        "settle.before_ask": "an outcome is unknown, or the destination was busy: it is asked again",
        "release.before_delete": "what an attempt staged is committed, its files stand still",
        "heartbeat.after_commit": "the heartbeat is written; its owner does not know",
        "failures.after_commit": "failed shards are recorded; the owner does not know",
        "close.before": "the run is about to be closed",
        "close.after": "the run is closed; its owner does not know",
        "cancel.after_commit": "runs are cancelled; who asked does not know",
        "gc.after_list": "what is staged is listed; nobody was asked which runs are open",
        "gc.mid_delete": "the first folder of garbage is gone",
    }
)
"""Every point, in the order of a run, with what is true there."""

ANSWERS = frozenset(
    {
        "open.after_commit",
        "lease.after",
        "task.after_manifest",
        "task.before_return",
        "commit.after_commit_before_ack",
        "heartbeat.after_commit",
        "failures.after_commit",
        "close.after",
        "cancel.after_commit",
    }
)
"""Points at which something was done whose answer may be lost."""

_EXIT_CODE = 70
_hits: dict[str, int] = {}
_watchers: list[tuple[int, Callable[[str], None]]] = []
"""With the thread that each watches."""
_counting = threading.Lock()


class AnswerLost(ConnectionError):
    """Raised by `return_lost`: what was asked for was done, and only the answer is missing."""


@dataclass(frozen=True, slots=True)
class Armed:
    """One entry of RAYPIPE_FAILPOINTS: at which hit of a point, with which facts, what is done."""

    place: int
    point: str
    action: str
    argument: str
    nth: int
    facts: Mapping[str, str]

    @property
    def token(self) -> str:
        """A name of this entry for files."""
        return f"{self.place}-{self.point}"

    def wants(self, point: str, facts: Mapping[str, object]) -> bool:
        """Tell whether a hit is one of those that count."""
        return point == self.point and all(name in facts and _is(facts[name], value) for name, value in self.facts.items())


@contextlib.contextmanager
def watching(watcher: Callable[[str], None]) -> Iterator[None]:
    """Call the watcher with the name of every point that this thread hits in the block; what it raises is raised there."""
    watching = (threading.get_ident(), watcher)
    _watchers.append(watching)
    try:
        yield
    finally:
        _watchers.remove(watching)


def hit(point: str, **facts: object) -> None:
    """Do what watchers and the environment ask for here; nothing outside of tests. A fact may be a tuple: any of its values."""
    for thread, watcher in tuple(_watchers):
        if thread == threading.get_ident():
            watcher(point)
    if os.environ.get("RAYPIPE_TESTING") != "1":
        return
    wanting = [one for one in parse(os.environ.get("RAYPIPE_FAILPOINTS", "")) if one.wants(point, facts)]
    due = [one for one in wanting if _count(one) == one.nth]  # all count this hit, also those after one that raises
    for one in due:
        _fire(one)


def parse(text: str) -> list[Armed]:
    """Read RAYPIPE_FAILPOINTS; a point or an action that does not exist is an error, for a test would pass untouched."""
    armed = []
    for place, entry in enumerate(filter(None, (one.strip() for one in text.split(";")))):
        point, _, what = entry.partition("=")
        what, _, selector = what.partition("@")
        action, _, argument = what.strip().partition(":")
        if point not in POINTS or action not in _ACTIONS:
            raise ValueError(f"RAYPIPE_FAILPOINTS: no such point or action: {entry!r}")
        chosen = [one.strip() for one in selector.split(",") if one.strip()]
        facts = dict(one.split("=", 1) for one in chosen if "=" in one)
        nth = next((int(one) for one in chosen if "=" not in one), 1)
        armed.append(Armed(place, point, action, argument, nth, facts))
    return armed


def _is(fact: object, value: str) -> bool:
    return any(str(one) == value for one in fact) if isinstance(fact, tuple) else str(fact) == value


def _count(armed: Armed) -> int:
    """Return which hit this is: of all processes where they share a folder, else of this one."""
    folder = os.environ.get("RAYPIPE_FP_DIR")
    if folder:
        handle = os.open(Path(folder) / f"{armed.token}.hits", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(handle, b".")  # appends are atomic, and leave the position behind what they wrote
            return os.lseek(handle, 0, os.SEEK_CUR)
        finally:
            os.close(handle)
    with _counting:
        _hits[armed.token] = _hits.get(armed.token, 0) + 1
        return _hits[armed.token]


def _fire(armed: Armed) -> None:
    folder = os.environ.get("RAYPIPE_FP_DIR")
    if folder:
        (Path(folder) / f"{armed.token}.fired").touch()
    _ACTIONS[armed.action](armed)


def _raise(armed: Armed) -> None:
    number = getattr(errno, armed.argument or "EIO")
    raise OSError(number, f"{os.strerror(number)} (failpoint {armed.point})")


def _lose(armed: Armed) -> None:
    raise AnswerLost(errno.ECONNRESET, f"the answer was lost (failpoint {armed.point})")


_ACTIONS: Mapping[str, Callable[[Armed], object]] = {
    "kill": lambda _: os.kill(os.getpid(), signal.SIGKILL),
    "abort": lambda _: os.abort(),
    "exit": lambda _: os._exit(_EXIT_CODE),
    "raise": _raise,
    "return_lost": _lose,
    "hang": lambda _: time.sleep(3600),
    "sleep": lambda armed: time.sleep(int(armed.argument) / 1000),
}
