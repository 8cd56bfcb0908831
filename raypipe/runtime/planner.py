"""The stages that `plan` and `run` share: observe the destination, list the source, index it, plan."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from typing import Protocol

from raypipe.collector import collector_resting
from raypipe.core.known_slices import SlicesOf
from raypipe.core.plan import Horizon, Patience, Plan, Scope, make_plan, replan
from raypipe.core.settled import Settled, asked_fingerprint, is_settled
from raypipe.core.shard import InputFile, Reason, Shard, ShardFailure
from raypipe.core.state import Definition, Snapshot
from raypipe.core.window import Window
from raypipe.errors import InputChanged, ShardError
from raypipe.lazy_dataclass import dataclass
from raypipe.ports import Clock, Destination, FileIndex, Listing, Source

LISTINGS_MAX = 6  # with the waits some 8 s, in which a file that is just being written is finished
LISTING_WAIT_S = 0.25


@dataclass(frozen=True, slots=True)
class UnreadableFile:
    """A file that could not be read for the index."""

    file: InputFile
    error: ShardError | InputChanged


class SettledStore(Protocol):
    """Remembers the last plan that found nothing to do."""

    def read(self) -> Settled | None:
        """Return what was remembered last; None for nothing."""
        ...

    def write(self, settled: Settled) -> None:
        """Remember it, if that can be."""
        ...


Scan = Callable[[Sequence[InputFile]], Iterable[FileIndex | UnreadableFile]]


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan, and what it was made from."""

    snapshot: Snapshot
    listing: Listing
    plan: Plan
    outside: int = 0
    bytes_read: int = 0
    unreadable: tuple[UnreadableFile, ...] = ()


@dataclass(frozen=True, slots=True)
class _Listed:
    """A listing of files whose time ranges are known, and those that are not in it because they cannot be read."""

    listing: Listing
    unreadable: tuple[UnreadableFile, ...]
    bytes_read: int


@dataclass(frozen=True, slots=True)
class Planner:
    """Plans one run, as often as it must. The destination is always observed before the source is listed."""

    source: Source
    destination: Destination
    ready: Horizon
    scope: Scope
    window: Window | None
    definitions: Mapping[str, Definition]
    """Today's definition of each output."""
    clock: Clock
    accept_shrunk: bool = False
    patience: Patience = field(default_factory=Patience)
    pipeline: object = None
    """What is planned, by value: a plan of another one is another plan."""
    settled: SettledStore | None = None

    @property
    def fingerprints(self) -> Mapping[str, str]:
        """Today's fingerprint of each output."""
        return {output: one.fingerprint for output, one in self.definitions.items()}

    @property
    def asked(self) -> Window | None:
        """All that is asked for and ready, in whole shards as the calendar cuts them; live ranges may widen them."""
        window = self.window or self.ready.window
        return self.ready.whole(window) if window else None

    def first(self, scan: Scan) -> Planned:
        """Plan the run. While nothing has changed since a plan found nothing to do, its snapshot is what a glance tells."""
        known = self.settled.read() if self.settled else None
        if known and (seen := self.destination.glance()).digest == known.state:
            listed = self._listed(scan)
            if self._asked_of(listed) == known.asked:
                return Planned(seen, listed.listing, Plan(()), known.outside, listed.bytes_read)
            snapshot = self.destination.snapshot()
            if snapshot.digest != seen.digest:  # somebody committed: the source is listed after what it is compared with
                listed = self._listed(scan)
            return self._planned(snapshot, listed)
        snapshot = self.destination.snapshot()
        return self._planned(snapshot, self._listed(scan))

    def _planned(self, snapshot: Snapshot, listed: _Listed) -> Planned:
        with collector_resting():
            made = make_plan(
                self.scope, self.window, self.ready, snapshot, tuple(self.definitions), self._slices_of(listed),
                definitions=self.definitions, accept_shrunk=self._accepts_shrunk(listed), patience=self.patience,
                fingerprints_of=lambda windows: self.source.fingerprints(listed.listing, windows),
            )  # fmt: skip
        outside = self.source.outside(listed.listing)
        if self.settled and is_settled(made) and not listed.unreadable:
            self.settled.write(Settled(snapshot.digest, self._asked_of(listed), outside))
        return Planned(snapshot, listed.listing, _readable(made, listed), outside, listed.bytes_read, listed.unreadable)

    def _asked_of(self, listed: _Listed) -> str:
        """Return the fingerprint of all that a plan is made from beside the state; nothing that is remembered has an empty one."""
        if listed.unreadable:
            return ""
        asked = (self.pipeline, self.scope, self.window, self.ready, self.fingerprints, self.accept_shrunk, self.patience)
        return asked_fingerprint(asked, listed.listing.files)

    def again(
        self,
        windows: Sequence[Window],
        reasons: Mapping[Window, Reason],
        versions: Mapping[str, int],
        scan: Scan,
        since_seq: int = 0,
    ) -> Plan:
        """Plan some windows anew, after a conflict or a changed input; `since_seq` is the last commit that `first` saw."""
        snapshot = self.destination.snapshot()
        listed = self._listed(scan)
        is_run = self.scope is Scope.DUE
        with collector_resting():
            made = replan(
                windows, self.ready, snapshot, tuple(self.definitions), versions, reasons, self._slices_of(listed),
                since_seq=since_seq, accept_shrunk=self._accepts_shrunk(listed), patience=self.patience if is_run else None,
                added_alone=is_run,
            )  # fmt: skip
        return _readable(made, listed)

    def _slices_of(self, listed: _Listed) -> SlicesOf:
        return lambda windows: self.source.slices(listed.listing, windows)

    def _accepts_shrunk(self, listed: _Listed) -> bool:
        return self.accept_shrunk or bool(listed.unreadable)  # those shards fail for a better reason

    def _listed(self, scan: Scan) -> _Listed:
        """List the source and read the files that are not indexed; list again while one changes under the reading."""
        bytes_read = 0
        for place in range(LISTINGS_MAX):
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
            bytes_read += sum(entry.bytes_read for entry in entries)
            if not any(isinstance(one.error, InputChanged) for one in unreadable) or place + 1 == LISTINGS_MAX:
                break
            self.clock.sleep_s(LISTING_WAIT_S * 2**place)
        missing = {one.file.uri for one in unreadable}
        known = Listing(tuple(file for file in listing.files if file.uri not in missing))
        return _Listed(known, tuple(unreadable), bytes_read)


def _readable(made: Plan, listed: _Listed) -> Plan:
    """Fail every shard of a plan when a file could not be read: its rows may belong to any of them."""
    if not listed.unreadable:
        return made
    shards: tuple[Shard, ...] = (*made.shards, *made.satisfied)
    text, code = unreadable_text(listed.unreadable), listed.unreadable[0].error.code
    return replace(
        made, shards=(), satisfied=(), shrunk=(), failures=tuple(ShardFailure(shard.window, code, text) for shard in shards)
    )


def scanned_here(source: Source, files: Iterable[InputFile]) -> Iterator[FileIndex | UnreadableFile]:
    """Read files for the index one after the other, in this process."""
    for file in files:
        try:
            yield source.scan(file)
        except (ShardError, InputChanged) as error:
            yield UnreadableFile(file, error)


def unreadable_text(unreadable: Sequence[UnreadableFile]) -> str:
    """Say which file could not be read, and what to do."""
    more = len(unreadable) - 1
    others = f" (and {more} more file{'s' if more > 1 else ''})" if more else ""
    return (
        f"{unreadable[0].error}{others}; its rows may belong to any shard, so none is committed without them: "
        "repair the file, or leave it out of source.path"
    )
