"""Baton: threads of which one runs at a time, and only gives way where it says so. What is run so can be replayed."""

from __future__ import annotations

import os
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


class Lane:
    """A thread that plays one party after the other: to start a thread for each takes a tenth of the time."""

    def __init__(self) -> None:
        self._work: Callable[[], None]
        self._has_work = threading.Lock()
        self._has_work.acquire()
        threading.Thread(target=self._run, name="raypipe-simulation", daemon=True).start()

    def take(self, work: Callable[[], None]) -> None:
        """Do this next."""
        self._work = work
        self._has_work.release()

    def _run(self) -> None:
        while True:
            self._has_work.acquire()
            self._work()


_idle: list[Lane] = []
os.register_at_fork(after_in_child=_idle.clear)  # threads do not live on in a child


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
        lane = _idle.pop() if _idle else Lane()
        lane.take(lambda: self._live(party, body, lane))

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

    def _live(self, party: Party, body: Callable[[], None], lane: Lane) -> None:
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
        _idle.append(lane)
        self._main.turn.release()
