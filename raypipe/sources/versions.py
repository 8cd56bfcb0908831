"""Versions: what tells one content of a file from another, also where the file system's clock is too coarse to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field

from raypipe.core.shard import InputFile
from raypipe.errors import InputChanged
from raypipe.lazy_dataclass import dataclass
from raypipe.sources.filesystem import FoundFile, content_digest, find_files, stat_file
from raypipe.sources.index import Index, KnownContent

HASHED_BYTES_MAX = 256 * 1024**2  # of unsettled files in one listing, about 0.3 s; the others are read again at the next listing
_CONTENT = "+"
_ONCE = "+once-"


def list_versions(patterns: Iterable[str], index: Index, now_ns: int) -> tuple[InputFile, ...]:
    """Find the files and their versions.

    The stat of a file that was written within the last two seconds may stay the same when it is written again. So its
    version also says a hash of its content; once the file has settled the hash is taken again, and then the version stands.
    """
    listing = _Versions(now_ns, index.unsettled())
    files = tuple(InputFile(found.uri, found.size_bytes, listing.version(found)) for found in find_files(patterns, now_ns))
    if listing.learned:
        index.record_unsettled(listing.learned)
    return files


@dataclass
class _Versions:
    now_ns: int
    known: dict[str, KnownContent]
    learned: dict[str, KnownContent] = field(default_factory=dict)
    hashed_bytes: int = 0

    def version(self, found: FoundFile) -> str:
        known = self.known.get(found.uri)
        same = known is not None and known.stat == found.stat
        if found.settled and not same:
            return found.stat
        if found.settled and known is not None and known.confirmed:
            return found.stat + _CONTENT + known.digest
        if self.hashed_bytes + found.size_bytes > HASHED_BYTES_MAX:
            return f"{found.stat}{_ONCE}{self.now_ns:x}"
        self.hashed_bytes += found.size_bytes
        digest = content_digest(found.uri)
        self.learned[found.uri] = KnownContent(found.stat, digest, confirmed=found.settled)
        return found.stat + _CONTENT + digest


def stat_of(version: str) -> str:
    """Return the part of a version that is the same however soon after the writing of the file it was listed."""
    return version.partition(_CONTENT)[0]


def check_unchanged(file: InputFile, now_ns: int) -> None:
    """Raise InputChanged when a file is no longer the one that was listed."""
    stat, _, content = file.version.partition(_CONTENT)
    found = stat_file(file.uri, now_ns)
    changed = found.stat != stat
    if not changed and content and _ONCE not in file.version:
        changed = content_digest(file.uri) != content
    if changed:
        raise InputChanged(
            f"{file.uri}: changed while it was read: listed with {file.size_bytes:,} bytes, now it has {found.size_bytes:,}"
        )
