"""Belonging: the processes of runs that take a folder for temporary files, whoever started them, also those of their Ray."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import psutil


def processes_of(temporary: Path, named: str = "") -> list[psutil.Process]:
    """Return those that run, of all or of one name; not what has ended and nobody has taken note of."""
    return [one for one in psutil.process_iter() if one.pid != os.getpid() and _belongs(one, str(temporary), named)]


def _belongs(process: psutil.Process, temporary: str, named: str) -> bool:
    """Tell it by the environment, and by open files and arguments where a process has overwritten that."""
    with contextlib.suppress(psutil.Error, OSError):
        command = process.cmdline()
        if process.status() == psutil.STATUS_ZOMBIE or named not in " ".join([process.name(), *command[:1]]):
            return False
        told = (*process.environ().values(), *command, *(one.path for one in process.open_files()))
        return any(temporary in one for one in told)
    return False
