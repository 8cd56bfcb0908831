"""Several: shows each event to several observers, and keeps the trouble of one of them from the run and from the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from raypipe.core.events import RunEvent
from raypipe.observe.printable import escape
from raypipe.ports import Observer


class Several:
    """An observer made of others. One that raises is told of nothing more; the run goes on."""

    def __init__(self, observers: Sequence[Observer], warn: Callable[[str], None] = lambda text: None) -> None:
        self._observers = list(observers)
        self._warn = warn

    def on(self, event: RunEvent) -> None:
        """Take note of an event."""
        for observer in list(self._observers):
            try:
                observer.on(event)
            except Exception as error:
                self._observers.remove(observer)
                self._tell(f"{type(observer).__name__} stopped watching the run: {type(error).__name__}: {escape(str(error))}")

    def _tell(self, text: str) -> None:
        try:
            self._warn(text)
        except Exception:
            return  # there is nobody left to tell
