"""Head: the processes of a local Ray, kept by a process that need be no driver of it."""

from __future__ import annotations

import os

from raypipe.errors import StopError
from raypipe.runtime.cluster import is_loopback
from raypipe.runtime.ray_settings import HeadNode
from raypipe.runtime.session_folder import MARK, SessionFolder

OBJECT_STORE_BYTES = 256 * 1024**2  # what tasks hand back in memory on its way to the driver; more spills to the session folder


class Head:
    """Ray's processes in a session folder, on loopback alone. The kernel ends them with the process that started them."""

    def __init__(self, folder: SessionFolder, *, cores: int, memory_bytes: int) -> None:
        """Start them and wait until they answer. Raises StopError with Ray's reason when they cannot be started."""
        self._folder = folder
        os.environ[MARK] = str(folder.path)  # for Ray's processes alone: what is started later must not carry it
        try:
            self._node = HeadNode(str(folder.path), cores, memory_bytes, OBJECT_STORE_BYTES)
        except Exception as error:  # Ray raises the plain class where one of its processes does not come up
            raise StopError(f"a local Ray could not be started in {folder.path}: {error}; use --executor inline") from error
        finally:
            del os.environ[MARK]
        self.address = str(self._node.gcs_address)
        if not is_loopback(self.address):
            self.stop()
            raise StopError(f"the local Ray listens on {self.address} instead of loopback: this version of Ray is not supported")

    def is_lost(self) -> bool:
        """Tell whether one of the processes has ended without which nothing goes on."""
        return self._node.is_lost()

    def stop(self) -> None:
        """End every process of it, in order at first, and delete the folder."""
        processes = self._folder.processes()
        self._node.kill_all_processes(check_alive=False, allow_graceful=True)
        self._folder.remove(processes)
