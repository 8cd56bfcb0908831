"""Baton: threads of which one runs at a time, and only gives way where it says so. What is run so can be replayed."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Killed(BaseException):
    """The process is gone at this step, as by SIGKILL: no handler of raypipe may take it for an error that it knows."""


class Party:
    """One thread, as far as the baton knows it. `killed` is set by whoever kills it; it ends where it stands."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.killed = False
        self.ended = False
        self.turn = threading.Lock()
        self.turn.acquire()


class Baton:
    """Hands the right to run from thread to thread.

    `choose` says whose turn it is, and does itself what is no thread's step; None ends the game. It is called by
    whichever thread holds the baton, so that nothing needs a lock.
    """

    def __init__(self, choose: Callable[[], Party | None]) -> None:
        self._choose = choose
        self._main = Party("main")
        self._holder = self._main
        self._started: list[Party] = []
        self._failure: BaseException | None = None

    def start(self, party: Party, body: Callable[[], None]) -> None:
        """Add a thread; it begins when it is first chosen."""
        self._started.append(party)
        threading.Thread(target=self._live, args=(party, body), name=party.name, daemon=True).start()

    @property
    def holder(self) -> Party:
        """Whose turn it is."""
        return self._holder

    @property
    def is_alone(self) -> bool:
        """Tell whether no thread but the caller's is under way."""
        return self._holder is self._main

    def pause(self) -> None:
        """Give others their turn. Raises Killed when this thread was killed meanwhile."""
        mine = self._holder
        if mine is self._main:
            return
        if not mine.killed:
            chosen = self._choose()
            if not mine.killed and chosen is not mine:
                self._pass(mine, chosen or self._main)
        if mine.killed:
            raise Killed

    def play(self) -> None:
        """Run until there is nothing to choose. Raises what a thread raised; all threads have ended then."""
        try:
            while self._failure is None and (chosen := self._choose()) is not None:
                self._pass(self._main, chosen)
        finally:
            for party in self._started:
                if not party.ended:
                    party.killed = True
                    self._pass(self._main, party)
            self._started.clear()
        if self._failure is not None:
            raise self._failure

    def _pass(self, mine: Party, other: Party) -> None:
        self._holder = other
        other.turn.release()
        mine.turn.acquire()

    def _live(self, party: Party, body: Callable[[], None]) -> None:
        party.turn.acquire()
        try:
            if not party.killed:
                body()
        except Killed:
            pass
        except BaseException as error:
            self._failure = self._failure or error
        party.ended = True
        self._holder = self._main
        self._main.turn.release()
