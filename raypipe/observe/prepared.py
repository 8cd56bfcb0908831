"""Prepared: what shows the summary is loaded while the work goes on, instead of when it is over and a person waits."""

from __future__ import annotations

import threading

from raypipe.core.events import RunEvent, RunOpened


class Prepared:
    """Implements `ports.Observer`: once a run is open there will be a summary, if one is shown; to load rich takes 0.1 s."""

    def __init__(self, *, shown: bool) -> None:
        self._shown = shown

    def on(self, event: RunEvent) -> None:
        """Begin to load it."""
        if self._shown and isinstance(event, RunOpened):
            threading.Thread(target=_load, name="raypipe-summary", daemon=True).start()


def _load() -> None:
    from rich import console, table  # noqa: F401

    from raypipe.observe import summary  # noqa: F401
