"""The Ray executor: tasks as Ray tasks, in processes of this or other machines."""

from __future__ import annotations

import contextlib
import faulthandler
import functools
import math
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any

import ray
from ray import exceptions as ray_errors

from raypipe import __version__
from raypipe.core.room import engines_memory
from raypipe.core.shard import InputFile, Task
from raypipe.errors import ConfigurationError, OutOfMemory, RetryableError, WorkerDied
from raypipe.lazy_dataclass import dataclass
from raypipe.ports import Completion, Worker
from raypipe.runtime.across import Raised, attempt
from raypipe.runtime.launched_from import LaunchedFrom
from raypipe.runtime.session_folder import MARK
from raypipe.runtime.shared_folder import SharedFolder

IN_FLIGHT_TASKS_MAX = 256  # bounds the driver's memory and what a crash of it loses
TASK_MEMORY_MIN_BYTES = 128 * 1024**2  # with less, a worker process with its engines has no room for data
SCAN_BYTES_PER_S_MIN = 1024**2  # a file that is read more slowly than this is taken for hanging
FETCH_TIMEOUT_S = 60.0  # a result that has ended is brought here within this time, or its worker's machine is gone
CLOSE_WAIT_S = 5.0  # cancelled tasks end at their next Python instruction; after this they are killed
ENGINES = ("ray", "polars", "duckdb", "pyarrow")
STANDARD_ERROR = 2


# ---- how much is done at once -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Node:
    """What one machine of the cluster offers."""

    cpus: float
    memory_bytes: float
    resources: Mapping[str, float] = field(default_factory=dict)

    def tasks(self, cpus: float, resources: Mapping[str, float]) -> int:
        """Return how many tasks it could run at once, memory aside."""
        wanted = {"": (self.cpus, cpus), **{name: (self.resources.get(name, 0.0), need) for name, need in resources.items()}}
        return min(int(offered // need) for offered, need in wanted.values())


@dataclass(frozen=True, slots=True)
class Share:
    """How a cluster is shared out: tasks in flight, and what each may use."""

    slots: int
    cpus: float
    memory_bytes: int
    alone_bytes: int
    """What a task has that is done alone: all of `run.memory`, where a machine offers that much."""
    resources: Mapping[str, float] = field(default_factory=dict)

    def memory_of(self, task: Task) -> int:
        """Return the memory that a task may use, and reserves."""
        return self.alone_bytes if task.room.is_alone else self.memory_bytes

    def options_of(self, task: Task) -> dict[str, object]:
        """Return what Ray is told of one task besides what it is told of all."""
        options: dict[str, object] = {}
        if task.room.is_alone:  # nothing of this run is beside it; others that use the cluster have to be kept away too
            options["memory"] = self.alone_bytes
        if task.beside:  # what is slow may be the machine: Ray fills one after the other, unless it is told to take turns
            options["scheduling_strategy"] = "SPREAD"
        return options


def cluster_share(cpus_per_task: float, machine_memory_bytes: int, resources: Mapping[str, float] | None = None) -> Share:
    """Share out the cluster that this process is connected to; `resources` are custom ones that each task reserves."""
    offered = [one["Resources"] for one in ray.nodes() if one["Alive"]]  # type: ignore[no-untyped-call]
    nodes = [Node(one.get("CPU", 0.0), one.get("memory", 0.0), one) for one in offered]
    return share_out(nodes, cpus_per_task, machine_memory_bytes, resources or {})


def share_out(
    nodes: Sequence[Node], cpus_per_task: float, machine_memory_bytes: int, resources: Mapping[str, float] = MappingProxyType({})
) -> Share:
    """Return how many tasks fit at once and the memory of each, so that no machine's tasks exceed `run.memory`.

    Raises ConfigurationError where no machine could ever run a task: Ray would wait for one without end.
    """
    able = [node for node in nodes if node.cpus >= cpus_per_task]
    if not able:
        most = max((node.cpus for node in nodes), default=0.0)
        raise ConfigurationError(
            f"run.cpus_per_shard: got {cpus_per_task:g}, but the largest machine of the cluster offers {most:g} CPUs"
        )
    able = [node for node in able if node.tasks(cpus_per_task, resources)]
    if not able:
        raise ConfigurationError(f"run.resources: no machine of the cluster offers {_listed(resources)} and {cpus_per_task:g} CPUs")
    by_memory = max(1, machine_memory_bytes // TASK_MEMORY_MIN_BYTES)
    widest = min(by_memory, max(node.tasks(cpus_per_task, resources) for node in able))
    memory_bytes = machine_memory_bytes // widest
    slots = sum(min(widest, node.tasks(cpus_per_task, resources), int(node.memory_bytes // memory_bytes)) for node in able)
    if slots == 0:
        most_mib = max(node.memory_bytes for node in able) / 1024**2
        raise ConfigurationError(
            f"run.memory: a task would need {memory_bytes / 1024**2:.0f} MiB, but the cluster's machines offer {most_mib:.0f} MiB: "
            "lower run.memory"
        )
    largest_bytes = max(int(node.memory_bytes) for node in able)
    return Share(min(slots, IN_FLIGHT_TASKS_MAX), cpus_per_task, memory_bytes, min(machine_memory_bytes, largest_bytes), resources)


def _listed(resources: Mapping[str, float]) -> str:
    return ", ".join(f"{need:g} of {name}" for name, need in resources.items())


# ---- in the worker's process ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WorkerRecipe:
    """What a process needs to become a worker. The worker is behind a reference, so that the engines are imported only
    after the environment is set: Polars reads the number of its threads when it is imported."""

    worker: Any
    environment: Mapping[str, str]
    versions: Mapping[str, str]
    launched_from: LaunchedFrom
    folder: SharedFolder | None
    """What its machine has to share, where workers may be on other machines than the driver."""


def run_task(recipe: WorkerRecipe, task: Task, timeout_s: float) -> object:
    """Run a task in this process; an error is returned as Raised."""
    if mark := mark_of(task):
        with contextlib.suppress(OSError):  # then it is taken for waiting, and is still ended in time
            mark.touch()
    return attempt(lambda: _within(timeout_s, lambda: _worker_of(recipe).run(task)))


def mark_of(task: Task) -> Path | None:
    """Return the file that is there once a task has begun; None on a Ray that is not local, whose machines share no folder."""
    folder = os.environ.get(MARK)
    return Path(folder) / f"begun-{task.run_id}-{task.attempt_id}" if folder else None


def run_scan(recipe: WorkerRecipe, file: InputFile, timeout_s: float) -> object:
    """Scan a file in this process; an error is returned as Raised."""
    return attempt(lambda: _within(timeout_s, lambda: _worker_of(recipe).scan(file)))


_workers: dict[str, Worker] = {}  # the one worker of this process, by its reference: tasks of a run share what it loaded


def _worker_of(recipe: WorkerRecipe) -> Worker:
    identity = recipe.worker.hex()
    if identity not in _workers:
        recipe.launched_from.take_over()
        os.environ.update(recipe.environment)
        _require_same_versions(recipe.versions)
        if recipe.folder is not None:
            recipe.folder.require()
        _workers.clear()
        _workers[identity] = ray.get(recipe.worker)
    return _workers[identity]


def _within(timeout_s: float, work: Callable[[], object]) -> object:
    """Do the work; a process that takes longer ends with the stacks of its threads in its log, whatever engine it hangs in."""
    faulthandler.dump_traceback_later(timeout_s, exit=True, file=STANDARD_ERROR)
    try:
        return work()
    finally:
        faulthandler.cancel_dump_traceback_later()


@functools.cache
def versions() -> Mapping[str, str]:
    """Return the versions of Python, raypipe and the engines of this process, without importing the engines."""
    return {"python": platform.python_version(), "raypipe": __version__, **{name: metadata.version(name) for name in ENGINES}}


def _require_same_versions(expected: Mapping[str, str]) -> None:
    found = versions()
    differing = [f"{name} {found[name]} instead of {version}" for name, version in expected.items() if found[name] != version]
    if differing:
        raise ConfigurationError(
            f"the worker on {platform.node()} has {', '.join(differing)}: every machine of the cluster needs the versions "
            "of the driver, or results would depend on where a shard ran"
        )


def worker_environment(cpus: float) -> dict[str, str]:
    """Return what is set in a worker before its engines are imported: the number of their threads, and where memory is from."""
    cores = max(1, math.floor(cpus))
    threads = str(cores)
    return {**engines_memory(cores), "POLARS_MAX_THREADS": threads, "OMP_NUM_THREADS": threads, "RAYON_NUM_THREADS": threads}


# ---- in the driver's process ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Flight:
    """A piece of work in flight."""

    key: object
    what: str
    timeout_s: float
    memory_bytes: int
    started_s: float
    mark: Path | None = None
    """The file that is there once it has begun, where it may wait for other runs' work."""

    def is_waiting(self) -> bool:
        """Tell whether it is known not to have begun."""
        return self.mark is not None and not self.mark.exists()

    def forget(self) -> None:
        """Remove what it left in the folder."""
        if self.mark is not None:
            self.mark.unlink(missing_ok=True)

    @property
    def seconds(self) -> float:
        """How long it has been at work, or in flight where that is not known."""
        try:
            return time.time() - self.mark.stat().st_mtime if self.mark else time.monotonic() - self.started_s
        except OSError:
            return 0.0


class RayExecutor:
    """Runs the work of a `Worker` in Ray tasks; implements `ports.Executor`.

    Ray retries nothing (`max_retries=0`): the driver counts attempts, for a task whose result was lost may have staged
    its work, and a retry that the ledger of attempts does not know could not be told from it. It also keeps Ray from
    repeating without end what was killed for lack of memory.
    """

    def __init__(
        self, worker: Worker, share: Share, *, shard_timeout_s: float, launched_from: LaunchedFrom | None = None,
        folder: SharedFolder | None = None,
    ) -> None:  # fmt: skip
        self._share = share
        self._shard_timeout_s = shard_timeout_s
        launched_from = launched_from or LaunchedFrom.afar()
        self._recipe = ray.put(WorkerRecipe(ray.put(worker), worker_environment(share.cpus), versions(), launched_from, folder))
        options = {
            "num_cpus": share.cpus, "memory": share.memory_bytes, "resources": dict(share.resources), "max_retries": 0,
            "retry_exceptions": False,
        }  # fmt: skip
        remote: Any = ray.remote
        self._run_task = remote(**options)(run_task)
        self._run_scan = remote(**options)(run_scan)
        self._flights: dict[ray.ObjectRef[Any], _Flight] = {}

    @property
    def slots(self) -> int:
        """How many tasks may usefully be in flight."""
        return self._share.slots

    @property
    def has_workers_apart(self) -> bool:
        """Yes: each task is a process with CPUs of its own, on whichever machine has some."""
        return True

    def submit_task(self, key: object, task: Task) -> None:
        """Start a task; its Completion carries a Staged."""
        timeout_s = self._shard_timeout_s * len(task.shards)
        what = f"task {task.number} ({len(task.shards)} shards from {task.shards[0].window})"
        options = self._share.options_of(task)
        run_task = self._run_task.options(**options) if options else self._run_task
        ref = run_task.remote(self._recipe, task, timeout_s)
        self._flights[ref] = _Flight(key, what, timeout_s, self._share.memory_of(task), time.monotonic(), mark_of(task))

    def submit_scan(self, key: object, file: InputFile) -> None:
        """Start a scan; its Completion carries a FileIndex."""
        timeout_s = self._shard_timeout_s + file.size_bytes / SCAN_BYTES_PER_S_MIN
        ref = self._run_scan.remote(self._recipe, file, timeout_s)
        self._flights[ref] = _Flight(key, f"the scan of {file.uri}", timeout_s, self._share.memory_bytes, time.monotonic())

    def wait(self, timeout_s: float) -> list[Completion]:
        """Return what has ended; empty when nothing did within the time."""
        if not self._flights:
            time.sleep(timeout_s)
            return []
        in_flight = list(self._flights)
        ended, waiting = ray.wait(in_flight, num_returns=1, timeout=timeout_s)
        if ended and waiting:
            ended += ray.wait(waiting, num_returns=len(waiting), timeout=0)[0]
        return [self._completion(ref, self._flights.pop(ref)) for ref in ended]

    def _completion(self, ref: ray.ObjectRef[Any], flight: _Flight) -> Completion:
        try:
            value = ray.get(ref, timeout=FETCH_TIMEOUT_S)
        except Exception as error:
            return Completion(flight.key, error=self._explained(error, flight))
        finally:
            flight.forget()
        if isinstance(value, Raised):
            return Completion(flight.key, error=self._explained(value.error, flight))
        return Completion(flight.key, value=value)

    def _explained(self, error: BaseException, flight: _Flight) -> BaseException:
        if isinstance(error, ray_errors.WorkerCrashedError) and flight.seconds >= flight.timeout_s:
            return RetryableError(f"{flight.what} took longer than run.shard_timeout allows ({flight.timeout_s:g} s); it was ended")
        return explained(error, flight.what, flight.memory_bytes)

    def is_waiting(self, key: object) -> bool:
        """Tell whether a task has not begun, for other runs have the workers."""
        return any(flight.key == key and flight.is_waiting() for flight in self._flights.values())

    def give_up(self, key: object) -> None:
        """Kill a piece of work that hangs, so that its resources are free."""
        for ref in [ref for ref, flight in self._flights.items() if flight.key == key]:
            del self._flights[ref]
            ray.cancel(ref, force=True)

    def close(self, *, at_once: bool) -> None:
        """Give up what is in flight: cancelled, and after a moment (or at once) killed."""
        refs, self._flights = list(self._flights), {}
        if refs and not at_once:
            refs = _cancelled(refs, force=False)
        if refs:
            _cancelled(refs, force=True)


def _cancelled(refs: list[ray.ObjectRef[Any]], *, force: bool) -> list[ray.ObjectRef[Any]]:
    """Cancel tasks, wait a moment, and return those that have not ended."""
    for ref in refs:
        ray.cancel(ref, force=force)
    return ray.wait(refs, num_returns=len(refs), timeout=CLOSE_WAIT_S, fetch_local=False)[1]


def explained(error: BaseException, what: str, memory_bytes: int) -> BaseException:
    """Return Ray's errors as raypipe's own; all others as they are."""
    if isinstance(error, ray_errors.RayTaskError):
        return _cause(error, what)
    if not isinstance(error, ray_errors.RayError):
        return error
    reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
    match error:
        case ray_errors.OutOfMemoryError():
            return OutOfMemory(
                f"{what}: its machine ran out of memory, so that its worker was killed (a task's share is "
                f"{memory_bytes // 1024**2} MiB): use narrower shards, fewer at once (run.cpus_per_shard), or a lower run.memory"
            )
        case ray_errors.WorkerCrashedError():
            return WorkerDied(
                f"{what}: its worker process died (killed, out of memory, or a crash inside an engine; "
                "its last words are in Ray's log)"
            )
        case ray_errors.RuntimeEnvSetupError() | ray_errors.TaskUnschedulableError():
            return ConfigurationError(f"{what}: the cluster cannot run it ({reason})")
        case _:  # a machine died, an object was lost, a raylet is gone: it may work elsewhere or later
            return RetryableError(f"{what}: its result was lost with its machine or process ({reason})")


def _cause(error: ray_errors.RayTaskError, what: str) -> BaseException:
    """Return what went wrong before the work began: an error of the work itself comes as a value."""
    cause = error.cause
    if isinstance(cause, ModuleNotFoundError):
        return ConfigurationError(f"{what}: a worker of the cluster lacks a module ({cause}): install it on every machine")
    return cause if isinstance(cause, BaseException) else error
