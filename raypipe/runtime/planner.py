"""The stages that `plan` and `run` share: observe the destination, list the source, index it, plan."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from raypipe.core.plan import Horizon, Plan, Scope, make_plan, replan
from raypipe.core.shard import InputFile, Reason, Shard, ShardFailure
from raypipe.core.state import Snapshot
from raypipe.core.window import Window
from raypipe.ports import Destination, FileIndex, Listing, Source


@dataclass(frozen=True, slots=True)
class UnreadableFile:
    """A file that could not be read for the index."""

    file: InputFile
    code: str
    error: str


Scan = Callable[[Sequence[InputFile]], Iterable[FileIndex | UnreadableFile]]


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan, and what it was made from."""

    snapshot: Snapshot
    listing: Listing
    plan: Plan
    outside: int = 0
    bytes_read: int = 0


@dataclass(frozen=True, slots=True)
class Planner:
    """Plans one run, as often as it must. The destination is always observed before the source is listed."""

    source: Source
    destination: Destination
    ready: Horizon
    scope: Scope
    window: Window | None
    fingerprints: Mapping[str, str]
    """Today's definition of each output."""
    accept_shrunk: bool = False

    def first(self, scan: Scan) -> Planned:
        """Plan the run."""
        snapshot = self.destination.snapshot()
        listing, unreadable, bytes_read = self._listing(scan)
        if unreadable:
            # Nothing can be said of time ranges, so every shard of the plan may lack rows of these files.
            empty = make_plan(
                self.scope, self.window, self.ready, snapshot, tuple(self.fingerprints), lambda windows: [()] * len(windows),
                accept_shrunk=True,
            )  # fmt: skip
            return Planned(snapshot, listing, Plan((), failures=_all_failed(empty.shards, unreadable)), 0, bytes_read)
        made = make_plan(
            self.scope, self.window, self.ready, snapshot, tuple(self.fingerprints),
            lambda windows: self.source.slices(listing, windows),
            definitions=self.fingerprints, accept_shrunk=self.accept_shrunk,
        )  # fmt: skip
        return Planned(snapshot, listing, made, self.source.outside(listing), bytes_read)

    def again(self, windows: Sequence[Window], reasons: Mapping[Window, Reason], versions: Mapping[str, int], scan: Scan) -> Plan:
        """Plan some windows anew, after a conflict or a changed input."""
        snapshot = self.destination.snapshot()
        listing, unreadable, _ = self._listing(scan)
        if unreadable:
            shards = [Shard(0, window, Reason.NEW, frozenset()) for window in windows]
            return Plan((), failures=_all_failed(shards, unreadable))
        return replan(
            windows, self.ready, snapshot, tuple(self.fingerprints), versions, reasons,
            lambda some: self.source.slices(listing, some), accept_shrunk=self.accept_shrunk,
        )  # fmt: skip

    def _listing(self, scan: Scan) -> tuple[Listing, list[UnreadableFile], int]:
        listing = self.source.list()
        entries: list[FileIndex] = []
        unreadable: list[UnreadableFile] = []
        for found in scan(self.source.unindexed(listing)):
            if isinstance(found, UnreadableFile):
                unreadable.append(found)
            else:
                entries.append(found)
        if entries:
            self.source.record(entries)
        return listing, unreadable, sum(entry.bytes_read for entry in entries)


def _all_failed(shards: Iterable[Shard], unreadable: Sequence[UnreadableFile]) -> tuple[ShardFailure, ...]:
    first = unreadable[0]
    more = f" (and {len(unreadable) - 1} more files)" if len(unreadable) > 1 else ""
    text = (
        f"{first.error}{more}; its rows may belong to any shard, so none is committed without them: "
        "repair the file, or leave it out of source.path"
    )
    return tuple(ShardFailure(shard.window, first.code, text) for shard in shards)
