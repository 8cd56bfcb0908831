"""LaunchedFrom: what the processes of a run take over from its launcher, where the Ray that they run in was started for others."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from raypipe.lazy_dataclass import dataclass

AT_START = ("PYTHON", "LD_", "RAY_", "MALLOC_", "COVERAGE_")
"""Variables that a process reads when it starts, by the beginning of their names: runs share a Ray only where these are equal."""
RAY_OWN = ("RAY_AUTH_", "RAY_ADDRESS", "RAY_JOB_", "RAYPIPE_RAY_")
"""Of them, those that say which Ray is used."""
GIVEN = ("HOME", "LANG", "LC_ALL", "LC_CTYPE", "LOGNAME", "PATH", "TMPDIR", "USER")
"""Variables that Ray's own processes need to run at all. No other is given to them: any may hold a secret."""


@dataclass(frozen=True, slots=True)
class LaunchedFrom:
    """The launcher's environment, folder and file permissions. Travels as a value, and never stands in what Ray writes or shows."""

    environment: Mapping[str, str]
    folder: str | None = None
    """None for processes on other machines: they take over what tests armed, and nothing else."""
    umask: int = 0o077

    @classmethod
    def here(cls) -> Self:
        """Return those of this process, for processes on its machine."""
        umask = os.umask(0o077)
        os.umask(umask)
        own = {name: value for name, value in os.environ.items() if not name.startswith(AT_START + RAY_OWN)}
        return cls(own, str(Path.cwd()), umask)

    @classmethod
    def afar(cls) -> Self:
        """Return what processes on any machine take over from this one."""
        testing = os.environ.get("RAYPIPE_TESTING") == "1"
        return cls({name: value for name, value in os.environ.items() if testing and name.startswith("RAYPIPE_")})

    def take_over(self) -> None:
        """Make them those of this process."""
        if self.folder is not None:
            for name in GIVEN:
                os.environ.pop(name, None)
            os.umask(self.umask)
            with contextlib.suppress(FileNotFoundError):  # gone meanwhile: it is of no use to the launcher, either
                os.chdir(self.folder)
        os.environ.update(self.environment)
        time.tzset()


def read_at_start() -> dict[str, str]:
    """Return the variables of this process that its Ray reads when it starts, but for those that say which Ray it is."""
    found = {name: value for name, value in os.environ.items() if name.startswith(AT_START) and not name.startswith(RAY_OWN)}
    if "PYTHONPATH" in found:  # Ray's processes stand in another folder
        found["PYTHONPATH"] = os.pathsep.join(str(Path(one).absolute()) for one in found["PYTHONPATH"].split(os.pathsep))
    return found


def given() -> dict[str, str]:
    """Return the variables that are given to the processes of a Ray which is started here."""
    return {**read_at_start(), **{name: os.environ[name] for name in GIVEN if name in os.environ}}
