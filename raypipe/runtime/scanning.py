"""Scanning: files are read for the index on the workers, as many at once as there are free slots."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence

from raypipe.core import events as ev
from raypipe.core.shard import InputFile
from raypipe.errors import FixableError, InputChanged, Interrupted, ShardError, SourceUnreadable, StopError
from raypipe.ports import Completion, Executor, FileIndex
from raypipe.runtime.planner import UnreadableFile
from raypipe.runtime.stopping import WAIT_MAX_S, Stopping


class Scanner:
    """Runs scans on an executor that may have tasks in flight too; `meanwhile` is told of what ends that is no scan."""

    def __init__(
        self,
        executor: Executor,
        stopping: Stopping,
        tell: Callable[[ev.RunEvent], None],
        meanwhile: Callable[[list[Completion]], int],
        *,
        attempts: int,
    ) -> None:
        self._executor = executor
        self._stopping = stopping
        self._tell = tell
        self._meanwhile = meanwhile
        """Takes completions of tasks; returns how many tasks are in flight."""
        self._attempts = attempts

    def scan(self, files: Sequence[InputFile]) -> Iterator[FileIndex | UnreadableFile]:
        """Yield what scans told, in the order in which they end. Raises Interrupted when the run is told to stop."""
        if not files:
            return
        self._tell(ev.ScanStarted(len(files), sum(file.size_bytes for file in files)))
        waiting = deque(files)
        in_flight: dict[object, InputFile] = {}
        failed: dict[InputFile, int] = {}
        tasks = self._meanwhile([])
        while waiting or in_flight:
            while waiting and len(in_flight) < max(1, self._executor.slots - tasks):
                file = waiting.popleft()
                key = ("scan", file.uri, file.origin)
                in_flight[key] = file
                self._executor.submit_scan(key, file)
            ended = self._executor.wait(WAIT_MAX_S)
            tasks = self._meanwhile([one for one in ended if one.key not in in_flight])
            for one in [one for one in ended if one.key in in_flight]:
                file = in_flight.pop(one.key)
                if _may_pass(one.error) and failed.get(file, 0) + 1 < self._attempts:
                    failed[file] = failed.get(file, 0) + 1
                    waiting.append(file)
                else:
                    yield self._outcome(file, one)
            if self._stopping.signal is not None:
                raise Interrupted("stopped while files were read for the index")

    def _outcome(self, file: InputFile, ended: Completion) -> FileIndex | UnreadableFile:
        match ended.error:
            case None:
                assert isinstance(ended.value, FileIndex)
                self._tell(ev.FileScanned(file, ended.value.bytes_read))
                return ended.value
            case ShardError() | InputChanged() as error:
                return UnreadableFile(file, error)
            case FixableError() | StopError() as error:
                raise error
            case error:
                text = f"{file.uri} could not be read for the index: {type(error).__name__}: {error}"
                return UnreadableFile(file, SourceUnreadable(text))


def _may_pass(error: BaseException | None) -> bool:
    """Tell whether scanning the same version of a file again may succeed: a worker died, memory, the disk."""
    return error is not None and not isinstance(error, FixableError | StopError | InputChanged)
