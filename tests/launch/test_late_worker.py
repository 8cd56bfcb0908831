"""A worker that is made when it is needed: once, by whoever needs it first."""

from __future__ import annotations

import threading

import pytest

from raypipe.core.shard import InputFile, Task
from raypipe.errors import ConfigurationError
from raypipe.launch.late_worker import LateWorker


class Worker:
    def __init__(self):
        self.closed = 0

    def run(self, task):
        return ("ran", task)

    def scan(self, file):
        return ("scanned", file)

    def close(self):
        self.closed += 1


def test_nothing_is_made_where_nothing_is_to_do():
    made = []
    LateWorker(lambda: made.append(1)).close()
    assert made == []


def test_many_threads_get_the_same_one():
    made, found = [], []

    def make():
        made.append(Worker())
        return made[-1]

    worker = LateWorker(make)
    threads = [threading.Thread(target=lambda: found.append(worker.made())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert found == made * 8
    file, task = InputFile("f", 1, "v"), Task("r", 1, 1, 0, ())
    assert worker.run(task) == ("ran", task)
    assert worker.scan(file) == ("scanned", file)
    worker.close()
    assert made[0].closed == 1


def test_a_mistake_in_the_making_is_told_each_time():
    def make():
        raise ConfigurationError("no such column")

    worker = LateWorker(make)
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="no such column"):
            worker.made()
