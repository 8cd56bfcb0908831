"""Run order: which pipeline of a set comes before which, by who reads whose table; cycles are refused."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from raypipe.errors import UsageError
from raypipe.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True, order=True)
class TableName:
    """A table in a database file."""

    path: str
    table: str


@dataclass(frozen=True, slots=True)
class Member:
    """One pipeline of a set, by what it writes and reads."""

    name: str
    writes: frozenset[TableName]
    reads: TableName | None = None


@dataclass(frozen=True, slots=True)
class RunOrder:
    """The places of a set's members in the order in which they are to be run."""

    places: tuple[int, ...]
    upstream: Mapping[int, tuple[int, ...]]
    """The members that write what a member reads."""

    def held_back(self, place: int, not_done: Collection[int]) -> tuple[int, ...]:
        """Return the upstream members because of which one cannot be run, when some are not done; none when it can."""
        return tuple(one for one in self.upstream[place] if one in not_done)


def run_order(members: Sequence[Member]) -> RunOrder:
    """Order a set so that each member comes after those whose tables it reads, and otherwise as given.

    Raises UsageError for a cycle, and names it.
    """
    upstream = {
        place: tuple(other for other, one in enumerate(members) if member.reads in one.writes)
        for place, member in enumerate(members)
    }
    order: list[int] = []
    for place in range(len(members)):
        _place(place, (), members, upstream, order)
    return RunOrder(tuple(order), upstream)


def _place(
    place: int, way: tuple[int, ...], members: Sequence[Member], upstream: Mapping[int, tuple[int, ...]], order: list[int]
) -> None:
    """Put a member behind all that it waits for; `way` holds the members that wait for it."""
    if place in way:
        raise UsageError(_cycle_text([members[one] for one in way[way.index(place) :]]))
    if place in order:
        return
    for one in upstream[place]:
        _place(one, (*way, place), members, upstream, order)
    order.append(place)


def _cycle_text(cycle: Sequence[Member]) -> str:
    readers = [f"{reader.name} reads {_read_by(reader)} of {cycle[(at + 1) % len(cycle)].name}" for at, reader in enumerate(cycle)]
    names = " -> ".join(one.name for one in (*cycle, cycle[0]))
    if len(cycle) == 1:
        return f"{cycle[0].name} reads {_read_by(cycle[0])}, which it writes itself; nothing was run. Let it read another one's"
    return f"a cycle, {names}: {', '.join(readers)}, so none can be first; nothing was run. Let one read something else"


def _read_by(member: Member) -> str:
    return member.reads.table if member.reads else ""
