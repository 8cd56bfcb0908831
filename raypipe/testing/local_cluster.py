"""LocalCluster: a Ray of this process alone, for tests and measurements; runs share one (`shared_session`)."""

from __future__ import annotations

import atexit
import contextlib
from types import TracebackType
from typing import Self

import ray

from raypipe.errors import UsageError
from raypipe.runtime import ray_settings
from raypipe.runtime.cluster import JoinedCluster
from raypipe.runtime.head import Head
from raypipe.runtime.session_folder import SessionFolder, new_session_folder, remove_leftovers


class LocalCluster:
    """A Ray of this process alone: loopback only, token of its own, own session folder, no dashboard, no usage statistics.

    Never attaches to another cluster. When the process is killed, Ray's processes end by themselves and the next local
    cluster removes the folder.
    """

    def __init__(self, *, cpus: int, memory_bytes: int) -> None:
        self.address = ""
        self._cpus = cpus
        self._memory_bytes = memory_bytes
        self._folder: SessionFolder | None = None
        self._ends = contextlib.ExitStack()

    @property
    def folder(self) -> SessionFolder:
        """The session folder of a started cluster."""
        if self._folder is None:
            raise UsageError("the local cluster is not started")
        return self._folder

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Start it and wait until it answers. Raises StopError with Ray's reason when it cannot."""
        if ray.is_initialized():
            raise UsageError("this process uses a Ray cluster already: a second one cannot be started in it")
        remove_leftovers()
        atexit.register(self.stop)
        with contextlib.ExitStack() as ends:
            ends.callback(atexit.unregister, self.stop)
            self._folder = new_session_folder()
            ends.callback(self._folder.remove)
            environment = ray_settings.Environment()
            ends.callback(environment.restore)
            environment.set(ray_settings.of_local_cluster(self._folder.token_path))
            head = Head(self._folder, cores=self._cpus, memory_bytes=self._memory_bytes)
            ends.callback(head.stop)
            self.address = head.address
            joined = JoinedCluster(head.address, ray_settings.of_local_cluster(self._folder.token_path))
            joined.join()
            ends.callback(joined.disconnect)
            self._ends = ends.pop_all()

    def stop(self) -> None:
        """End every process of the cluster and delete its folder. Harmless when repeated."""
        self._folder = None
        self._ends.close()
