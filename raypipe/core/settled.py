"""Settled: what a plan that found nothing to do was made from, so that the next one is known without being made.

A plan follows from the state, the listing and what is asked. While all of it is the same, so is the plan: then neither the live
ranges need to be fetched nor compared with their input, however long the history is.
"""

from __future__ import annotations

from collections.abc import Iterable

from raypipe.core.fingerprint import fingerprint
from raypipe.core.plan import Plan
from raypipe.core.shard import InputFile
from raypipe.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Settled:
    """A plan of no shards and no remarks, by what it was made from."""

    state: str
    """The digest of the destination's state (`Snapshot.digest`)."""
    asked: str
    """The fingerprint of everything else (`asked_fingerprint`)."""
    outside: int
    """Rows of the source that belong to no shard."""


def is_settled(made: Plan) -> bool:
    """Tell whether a plan has nothing to do and nothing to say: the only one that is worth remembering."""
    return made == Plan(())


def asked_fingerprint(asked: Iterable[object], files: Iterable[InputFile]) -> str:
    """Return the fingerprint of what a plan is made from beside the state: what was asked, by its values, and the files listed.

    What an index knows of a file is not part of it: that follows from the version of the file.
    """
    return fingerprint([[repr(one) for one in asked], [[one.uri, one.size_bytes, one.version, one.origin] for one in files]])
