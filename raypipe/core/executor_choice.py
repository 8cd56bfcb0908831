"""Which executor does a plan: inline where one machine is enough, Ray where its start is worth it. The rule is measured.

On one machine the engines' own threads beat Ray processes up to some sixteen cores; Ray costs about 6 s and 0.4 GB
before the first row (perf/README.md). Python steps hold the interpreter lock, so that processes win there sooner.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from raypipe.lazy_dataclass import dataclass

ROWS_PER_CORE_S = 2_000_000  # rows that one core takes through a pipeline in a second, measured on the canonical one
PYTHON_ROWS_PER_S = 500_000  # the same where a Python step holds the interpreter lock, whatever the number of cores
RAY_START_S = 6.0  # until the first task of a local cluster runs
RAY_GAIN_MIN = 2.0  # Ray is taken when it ends in half the time, its start included
THREADS_MAX = 16  # beyond it, threads of one process get in each other's way

Executor = Literal["inline", "ray"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkSize:
    """What a plan amounts to."""

    shards: int
    rows: int
    size_bytes: int
    python_steps: bool


@dataclass(frozen=True, slots=True)
class Choice:
    """The executor, how many tasks run at once, and the reason in one phrase."""

    executor: Executor
    slots: int
    address: str | None = None


def choose_executor(
    wanted: Literal["auto", "inline", "ray"],
    address: str | None,
    environ: Mapping[str, str],
    cores: int,
    work: WorkSize,
    surrounding: str | None = None,
) -> Choice:
    """Decide. An address (argument, configuration or RAY_ADDRESS) or a surrounding Ray job means Ray.

    The Ray at `surrounding` is the one that this process is in: a process can be in one only, so that it goes before all others.
    """
    slots = max(1, cores)
    address = surrounding or address or environ.get("RAY_ADDRESS") or None
    if wanted == "inline":
        return Choice("inline", slots)
    if wanted == "ray" or address or environ.get("RAY_JOB_ID"):
        return Choice("ray", slots, address)
    inline_s, ray_s = estimated_seconds(cores, work)
    return Choice("ray", slots) if ray_s * RAY_GAIN_MIN < inline_s else Choice("inline", slots)


def estimated_seconds(cores: int, work: WorkSize) -> tuple[float, float]:
    """Return the estimated seconds of the work inline and on a local Ray cluster."""
    threads = min(cores, THREADS_MAX)
    inline_s = work.rows / (PYTHON_ROWS_PER_S if work.python_steps else ROWS_PER_CORE_S * threads)
    ray_s = RAY_START_S + work.rows / ((PYTHON_ROWS_PER_S if work.python_steps else ROWS_PER_CORE_S) * cores)
    return inline_s, ray_s


def phrase(choice: Choice) -> str:
    """Say what was chosen, for the summary: `inline, 2 threads`."""
    if choice.executor == "inline":
        return f"inline, {choice.slots} thread{'s' if choice.slots > 1 else ''}"
    return f"ray, {choice.address or 'local cluster'}"
