"""SharedFolder: that a folder is one and the same on every machine of a cluster, by a mark in it that each machine must see."""

from __future__ import annotations

import os
import platform
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import ray
from ray import exceptions as ray_errors
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raypipe.errors import ConfigurationError
from raypipe.lazy_dataclass import dataclass

MARKS = "same-folder-"
ANSWERS_WAIT_S = 60.0  # a machine that starts its first worker takes seconds; one that is silent so long checks when it has work


@dataclass(frozen=True, slots=True)
class SharedFolder:
    """A folder that workers stage in, and the mark by which they know it. Travels to them as a value."""

    path: str
    mark: str

    @classmethod
    def marked(cls, path: str) -> Self:
        """Return the folder of this machine, marked. Its marks stay: each is good for whichever runs hold it."""
        folder = Path(path).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        mark = min((one.name for one in folder.glob(f"{MARKS}*")), default=f"{MARKS}{uuid.uuid4().hex}")
        (folder / mark).touch()
        return cls(str(folder), mark)

    def problem(self) -> str | None:
        """Return what is wrong with the folder on this machine, None where it is the marked one and can be written."""
        folder = Path(self.path)
        try:
            if not folder.is_dir():
                return "does not have it"
            if not (folder / self.mark).exists():
                return "has another folder there"
        except OSError as error:  # a folder above it that is closed to us, a mount that does not answer
            return f"cannot look there ({error.strerror})"
        if not os.access(folder, os.W_OK | os.X_OK):
            return "may not write there"
        return None

    def require(self) -> None:
        """Raise ConfigurationError where this machine does not share it."""
        if problem := self.problem():
            raise _not_shared(self, [f"{platform.node()} {problem}"])


def require_on_every_node(folder: SharedFolder, cpus_per_task: float) -> None:
    """Look at the folder from every machine that could run a task, at once. Raises ConfigurationError naming those that differ.

    A machine that dies or is silent meanwhile is passed over: when it runs a task it looks again.
    """
    here = ray.get_runtime_context().get_node_id()
    asked = {_asked(node, folder): node for node in _others(here, cpus_per_task)}
    if not asked:
        return
    answered, silent = ray.wait(list(asked), num_returns=len(asked), timeout=ANSWERS_WAIT_S)
    for ref in silent:
        ray.cancel(ref, force=True)
    if problems := sorted(_problems(answered, asked)):
        raise _not_shared(folder, problems)


def _others(here: str, cpus_per_task: float) -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return [
        node for node in nodes if node["Alive"] and node["NodeID"] != here and node["Resources"].get("CPU", 0.0) >= cpus_per_task
    ]


def _asked(node: dict[str, Any], folder: SharedFolder) -> Any:
    there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
    remote: Any = ray.remote
    return remote(num_cpus=0, max_retries=0, scheduling_strategy=there)(_look).remote(folder)


def _look(folder: SharedFolder) -> str | None:
    return folder.problem()


def _problems(answered: list[Any], asked: dict[Any, dict[str, Any]]) -> Iterator[str]:
    for ref in answered:
        try:
            problem = ray.get(ref)
        except ray_errors.RayError:  # it died, or cannot run our code: told by its first task, or there is none
            continue
        if problem:
            yield f"{asked[ref]['NodeManagerHostname']} ({asked[ref]['NodeManagerAddress']}) {problem}"


def _not_shared(folder: SharedFolder, problems: list[str]) -> ConfigurationError:
    return ConfigurationError(
        f"destination: {folder.path} must be one folder that all machines of the cluster share, for workers stage there what the "
        f"driver commits; got: {'; '.join(problems)}. Put the destination on storage that every machine has at this path, "
        "or run on one machine (without --address)"
    )
