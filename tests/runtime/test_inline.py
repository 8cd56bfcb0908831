"""The inline executor: work in threads that never outlive their usefulness (the rest is in tests/contract)."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

from raypipe.core.shard import Reason, Shard, Task
from raypipe.core.window import Window
from raypipe.runtime.inline import THREAD_NAME, InlineExecutor

ROOT = Path(__file__).parents[2]


class Worker:
    """Work that ends when a test lets it."""

    def __init__(self):
        self.go_on = threading.Event()
        self.done = []

    def run(self, task):
        if task.run_id == "hangs":
            self.go_on.wait(120)
        self.done.append(task.number)
        return task.number


def task(run_id, number=1):
    return Task(run_id, 1, number, 0, (Shard(0, Window(0, 10), Reason.NEW, frozenset()),))


def test_work_that_was_given_up_takes_nobodys_place():
    worker = Worker()
    executor = InlineExecutor(worker, 1)
    executor.submit_task("hung", task("hangs"))
    executor.submit_task("next", task("works", 2))
    assert executor.wait(0.1) == []
    executor.give_up("hung")
    (ended,) = executor.wait(120)
    assert (ended.key, ended.value) == ("next", 2)
    worker.go_on.set()
    executor.close(at_once=False)
    assert worker.done == [2, 1]


def test_no_more_is_done_at_once_than_there_are_slots():
    worker = Worker()
    executor = InlineExecutor(worker, 2)
    for number in range(6):
        executor.submit_task(number, task("hangs", number))
    assert sum(one.name == THREAD_NAME for one in threading.enumerate()) == 2
    worker.go_on.set()
    executor.close(at_once=False)
    assert sorted(worker.done) == list(range(6))


def test_closing_in_peace_waits_for_what_is_in_flight():
    worker = Worker()
    executor = InlineExecutor(worker, 1)
    executor.submit_task("slow", task("hangs"))
    threading.Timer(0.1, worker.go_on.set).start()
    executor.close(at_once=False)
    assert worker.done == [1]


def test_closing_at_once_waits_for_nothing():
    worker = Worker()
    executor = InlineExecutor(worker, 1)
    executor.submit_task("slow", task("hangs"))
    executor.close(at_once=True)
    assert worker.done == []
    worker.go_on.set()


def test_work_that_hangs_does_not_hold_the_process_at_its_end():
    code = """
import threading
from raypipe.runtime.inline import InlineExecutor

class Worker:
    def run(self, task):
        threading.Event().wait()

executor = InlineExecutor(Worker(), 1)
executor.submit_task("hung", None)
executor.close(at_once=True)
print("over")
"""
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (0, "over\n")
