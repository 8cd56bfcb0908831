"""A worker that is made when it is needed: once, by whoever needs it first."""

from __future__ import annotations

import threading

import pytest

from raypipe.core.shard import InputFile, Task
from raypipe.errors import ConfigurationError, SourceUnreadable
from raypipe.launch.late_worker import LateWorker

FILE = InputFile("f", 1, "v")
WAIT_S = 120  # on a busy machine


class Worker:
    def __init__(self):
        self.closed = 0

    def run(self, task):
        return ("ran", task)

    def scan(self, file):
        raise AssertionError("files are scanned without the worker")

    def make_ready(self, tasks):
        self.ready_for = tasks

    def close(self):
        self.closed += 1


def scanned(file):
    return ("scanned", file)


def test_nothing_is_made_where_nothing_is_to_do():
    made = []
    LateWorker(lambda: made.append(1), scanned).close()
    assert made == []


def test_many_threads_get_the_same_one():
    made, found = [], []

    def make():
        made.append(Worker())
        return made[-1]

    worker = LateWorker(make, scanned)
    threads = [threading.Thread(target=lambda: found.append(worker.made())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert found == made * 8
    task = Task("r", 1, 1, 0, ())
    assert worker.run(task) == ("ran", task)
    assert worker.scan(FILE) == scanned(FILE)
    worker.close()
    assert made[0].closed == 1


def test_what_will_be_needed_is_opened_meanwhile_and_closed_after_that():
    opened, opening, stood_beside = [], threading.Event(), threading.Event()

    class Slow(Worker):
        def make_ready(self, tasks):
            assert opening.wait(WAIT_S)
            opened.append(tasks)

        def close(self):
            assert opened == [3]
            super().close()

    def beside():
        stood_beside.set()
        raise OSError("whoever needs it is told")

    worker = LateWorker(Slow, scanned, 3, beside)
    made = worker.made()  # does not wait for either
    assert stood_beside.wait(WAIT_S)
    assert opened == []
    opening.set()
    worker.close()
    assert made.closed == 1


def test_a_mistake_in_the_making_is_told_each_time():
    def make():
        raise ConfigurationError("no such column")

    worker = LateWorker(make, scanned)
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="no such column"):
            worker.made()


def test_a_file_is_scanned_while_the_worker_is_made():
    scanning, made = threading.Event(), []

    def make():
        assert scanning.wait(WAIT_S)
        made.append(Worker())
        return made[0]

    def scan(file):
        scanning.set()
        return scanned(file)

    worker = LateWorker(make, scan)
    assert [worker.scan(FILE), worker.scan(FILE)] == [scanned(FILE)] * 2
    assert len(made) == 1


def test_a_mistake_in_the_making_is_told_before_the_scan_ends():
    told = threading.Event()

    def make():
        raise ConfigurationError("no such column")

    def scan(file):
        assert told.wait(WAIT_S)
        return scanned(file)

    with pytest.raises(ConfigurationError, match="no such column"):
        LateWorker(make, scan).scan(FILE)
    told.set()


def test_what_a_scan_raises_reaches_who_asked_for_it():
    def scan(file):
        raise SourceUnreadable("cut off")

    worker = LateWorker(Worker, scan)
    for _ in range(2):
        with pytest.raises(SourceUnreadable, match="cut off"):
            worker.scan(FILE)
