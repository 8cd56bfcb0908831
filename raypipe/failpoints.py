"""Named points that tests arm to make raypipe fail there; active only under RAYPIPE_TESTING=1. Imports nothing of raypipe.

`RAYPIPE_FAILPOINTS="commit.after_ledger=kill@2;task.after_stage=raise:ENOSPC"`: the action fires at the n-th hit of the
point in this process (default 1). With `RAYPIPE_FP_DIR` an action fires once over all processes.
Actions: kill (SIGKILL to this process), exit, raise:ERRNO, hang, sleep:MILLISECONDS.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from pathlib import Path

_hits: dict[str, int] = {}


def hit(point: str) -> None:
    """Do what the environment asks for at this point; nothing outside of tests."""
    if os.environ.get("RAYPIPE_TESTING") != "1":
        return
    for entry in filter(None, os.environ.get("RAYPIPE_FAILPOINTS", "").split(";")):
        name, _, action = entry.partition("=")
        if name.strip() == point:
            _fire_when_due(point, action.strip())


def _fire_when_due(point: str, action: str) -> None:
    action, _, nth = action.partition("@")
    _hits[point] = _hits.get(point, 0) + 1
    if _hits[point] == int(nth or 1) and _first_of_all_processes(point):
        _fire(point, action)


def _first_of_all_processes(point: str) -> bool:
    folder = os.environ.get("RAYPIPE_FP_DIR")
    if not folder:
        return True
    try:
        (Path(folder) / point).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _fire(point: str, action: str) -> None:
    kind, _, argument = action.partition(":")
    match kind:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "exit":
            os._exit(70)
        case "raise":
            number = getattr(errno, argument or "EIO")
            raise OSError(number, f"{os.strerror(number)} (failpoint {point})")
        case "hang":
            time.sleep(3600)
        case "sleep":
            time.sleep(int(argument) / 1000)
        case _:
            raise ValueError(f"RAYPIPE_FAILPOINTS: {point}: unknown action {action!r}")
