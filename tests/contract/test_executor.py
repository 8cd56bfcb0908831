"""What every executor promises, on each of them."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from raypipe.core.shard import InputFile, Reason, Shard, Task
from raypipe.core.window import Window
from raypipe.errors import ConfigurationError, InputChanged, SchemaDrift
from raypipe.ports import FileIndex, Staged
from raypipe.runtime.inline import InlineExecutor


class Panic(BaseException):
    """What an engine raises that is no Exception."""


class Scripted:
    """A worker that does what the run's name says."""

    def run(self, task):
        match task.run_id.partition(":"):
            case "stage", _, _:
                return Staged(task, ())
            case "drift", _, text:
                raise SchemaDrift(text)
            case "changed", _, text:
                raise InputChanged(text)
            case "problems", _, text:
                raise ConfigurationError(text.split(","))
            case "panic", _, text:
                raise Panic(text)
            case "meet", _, folder:
                return self._meet(Path(folder), task.number)
            case "sleep", _, seconds:
                time.sleep(float(seconds))
                return Staged(task, ())

    def _meet(self, folder, number):
        (folder / str(number)).touch()
        until = time.monotonic() + 120
        while len(list(folder.iterdir())) < 2 and time.monotonic() < until:
            time.sleep(0.01)
        return len(list(folder.iterdir()))

    def scan(self, file):
        if file.version == "gone":
            raise InputChanged(f"{file.uri} is gone")
        return FileIndex(file, {"rows": 3}, bytes_read=file.size_bytes)


def task(run_id, number=1):
    return Task(run_id, 1, number, 0, (Shard(0, Window(0, 10), Reason.NEW, frozenset()),))


@pytest.fixture(params=["inline", pytest.param("ray", marks=pytest.mark.ray)])
def executor(request):
    made = InlineExecutor(Scripted(), 2) if request.param == "inline" else on_ray(request)
    yield made
    made.close(at_once=True)


def on_ray(request):
    request.getfixturevalue("local_ray")
    import ray

    from raypipe.runtime.tasks import RayExecutor, cluster_share

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    return RayExecutor(Scripted(), cluster_share(1, 1024**3), shard_timeout_s=60)


def ended(executor, count):
    found = []
    until = time.monotonic() + 120
    while len(found) < count and time.monotonic() < until:
        found += executor.wait(0.2)
    return found


def test_a_task_comes_back_under_its_key_with_what_it_staged(executor):
    executor.submit_task("a key", task("stage"))
    (done,) = ended(executor, 1)
    assert (done.key, done.value, done.error) == ("a key", Staged(task("stage"), ()), None)


def test_a_scan_comes_back_under_its_key_with_the_index_of_the_file(executor):
    file = InputFile("file:///a.csv", 10, "v1")
    executor.submit_scan(("scan", file.uri), file)
    (done,) = ended(executor, 1)
    assert (done.key, done.value, done.error) == (("scan", file.uri), FileIndex(file, {"rows": 3}, bytes_read=10), None)


def test_a_scan_that_fails_comes_back_with_its_error(executor):
    executor.submit_scan("s", InputFile("file:///a.csv", 10, "gone"))
    (done,) = ended(executor, 1)
    assert type(done.error) is InputChanged
    assert str(done.error) == "file:///a.csv is gone"


@pytest.mark.parametrize(
    ("script", "kind", "text"), [("drift:no column n", SchemaDrift, "no column n"), ("changed:a", InputChanged, "a")]
)
def test_an_error_of_the_work_keeps_its_type_and_text(executor, script, kind, text):
    executor.submit_task(1, task(script))
    (done,) = ended(executor, 1)
    assert type(done.error) is kind
    assert str(done.error) == text
    assert done.value is None


def test_all_problems_of_a_configuration_come_back(executor):
    executor.submit_task(1, task("problems:first,second"))
    (done,) = ended(executor, 1)
    assert done.error.problems == ("first", "second")


def test_the_panic_of_an_engine_is_an_error_of_the_work_and_not_the_end_of_the_run(executor):
    executor.submit_task(1, task("panic:index out of range"))
    (done,) = ended(executor, 1)
    assert "index out of range" in str(done.error)
    executor.submit_task(2, task("stage"))
    assert [one.key for one in ended(executor, 1)] == [2]


def test_everything_that_is_submitted_ends_exactly_once(executor):
    for number in range(30):
        executor.submit_task(number, task("stage", number))
    assert sorted(one.key for one in ended(executor, 30)) == list(range(30))
    assert executor.wait(0.1) == []


def test_waiting_for_nothing_returns_nothing(executor):
    assert executor.wait(0.01) == []


def test_waiting_ends_before_the_work_does(executor):
    executor.submit_task(1, task("sleep:0.5"))
    assert executor.wait(0.01) == []
    assert [one.key for one in ended(executor, 1)] == [1]


def test_as_many_tasks_run_at_once_as_there_are_slots(executor, tmp_path):
    assert executor.slots == 2
    for number in range(2):
        executor.submit_task(number, task(f"meet:{tmp_path}", number))
    assert [one.value for one in ended(executor, 2)] == [2, 2]


def test_only_threads_of_this_process_say_that_a_second_attempt_would_share_the_cores_of_the_first(executor):
    assert executor.has_workers_apart is not isinstance(executor, InlineExecutor)


def test_what_was_given_up_never_comes_back(executor):
    executor.submit_task(1, task("sleep:0.3"))
    executor.close(at_once=True)
    assert executor.wait(0.6) == []


def test_closing_twice_is_harmless(executor):
    executor.close(at_once=False)
    executor.close(at_once=True)
