"""The Ray executor where it differs from others: processes that die, hang, lack memory, modules or versions."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest
import ray
from ray import exceptions as ray_errors

from raypipe.core.room import Room
from raypipe.core.shard import InputFile, Reason, Shard, Task
from raypipe.core.window import Window
from raypipe.errors import ConfigurationError, OutOfMemory, RetryableError, WorkerDied
from raypipe.runtime import tasks
from raypipe.runtime.session_folder import MARK
from raypipe.runtime.shared_folder import SharedFolder
from raypipe.runtime.tasks import Node, RayExecutor, Share, cluster_share, explained, share_out

GIB = 1024**3
MIB = 1024**2
SHARE = Share(2, 1, 256 * MIB, 512 * MIB)


class Misbehaving:
    """A worker that does what the run's name says."""

    def run(self, task):
        match task.run_id.partition(":"):
            case "die", _, folder:
                (Path(folder) / str(os.getpid())).touch()
                os.kill(os.getpid(), signal.SIGKILL)
            case "hang", _, folder:
                (Path(folder) / str(os.getpid())).touch()
                time.sleep(60)
            case "sleep", _, _:
                time.sleep(60)
            case "environment", _, _:
                return {"threads": os.environ["POLARS_MAX_THREADS"], "polars": "polars" in sys.modules, "pid": os.getpid()}
            case "secret", _, text:
                raise Unreadable(text, 1)
            case "resources", _, _:
                return ray.get_runtime_context().get_assigned_resources()
            case "armed", _, _:
                return os.environ.get("RAYPIPE_FAILPOINTS")
        return None

    def scan(self, file):
        time.sleep(60)


class Unreadable(Exception):
    """An error that can be pickled but not be read back."""

    def __init__(self, text, number):
        super().__init__(text)


class ImportsPolars(Misbehaving):
    """A worker whose arrival in a process imports an engine, as the real one does."""

    def __setstate__(self, state):
        import polars

        self.threads = polars.thread_pool_size()

    def __getstate__(self):
        return {}

    def run(self, task):
        return self.threads


def task(run_id, number=7, **more):
    return Task(run_id, 1, number, 0, (Shard(0, Window(0, 10), Reason.NEW, frozenset()),), **more)


@pytest.fixture
def start(local_ray):
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    made = []

    def start(worker=None, share=SHARE, **changes):
        made.append(RayExecutor(worker or Misbehaving(), share, **{"shard_timeout_s": 60, **changes}))
        return made[-1]

    yield start
    for executor in made:
        executor.close(at_once=True)


def outcome(executor, run_id, **more):
    executor.submit_task(1, task(run_id, **more))
    return first(executor)


def in_new_process(start, cluster, run_id):
    """What a task finds in a process that is new: Ray hands processes on, also those that did the tasks of another test."""
    before = {process.pid for process in cluster.folder.processes()}
    for _ in range(20):
        found = outcome(start(), run_id)
        if isinstance(found, WorkerDied):  # Ray handed the process on before it saw its end
            continue
        if found["pid"] not in before:
            return found
        os.kill(found["pid"], signal.SIGKILL)
        assert gone(found["pid"])
    raise AssertionError("Ray went on with processes that were there before")


def first(executor):
    until = time.monotonic() + 120
    while time.monotonic() < until:
        for one in executor.wait(0.2):
            return one.error or one.value
    raise AssertionError("nothing ended")


def appeared(folder):
    until = time.monotonic() + 120
    while not list(folder.iterdir()) and time.monotonic() < until:
        time.sleep(0.02)
    return int(next(folder.iterdir()).name)


def gone(pid):
    until = time.monotonic() + 120
    while psutil.pid_exists(pid) and time.monotonic() < until:
        time.sleep(0.02)
    return not psutil.pid_exists(pid)


@pytest.mark.ray
class TestProcesses:
    def test_a_worker_on_a_machine_without_the_shared_folder_does_no_task(self, start, tmp_path):
        joined_late = start(folder=SharedFolder(str(tmp_path), "a mark that is not there"))
        error = outcome(joined_late, f"die:{tmp_path}")
        assert isinstance(error, ConfigurationError)
        assert "has another folder there" in str(error)

    def test_a_killed_worker_is_a_retryable_error_and_ray_does_not_try_again_by_itself(self, start, tmp_path):
        error = outcome(start(), f"die:{tmp_path}")
        assert isinstance(error, RetryableError)
        assert type(error) is WorkerDied
        assert "task 7" in str(error)
        assert "worker process died" in str(error)
        time.sleep(0.5)
        assert len(list(tmp_path.iterdir())) == 1

    def test_work_that_hangs_is_ended_and_the_error_names_the_limit(self, start, tmp_path):
        error = outcome(start(shard_timeout_s=0.5), f"hang:{tmp_path}")
        assert type(error) is RetryableError
        assert "run.shard_timeout allows (0.5 s)" in str(error)
        assert gone(appeared(tmp_path))

    def test_a_scan_may_take_longer_the_larger_its_file_is(self, start):
        executor = start(shard_timeout_s=0.25)
        executor.submit_scan("s", InputFile("file:///a.csv", MIB // 4, "v"))
        assert "(0.5 s)" in str(first(executor))

    def test_a_task_is_known_to_wait_while_others_have_the_workers(self, start, local_ray, monkeypatch):
        monkeypatch.setenv(MARK, str(local_ray.folder.path))  # as it stands in the process of a driver
        others, executor = start(), start()
        for number in (1, 2):
            others.submit_task(number, task("sleep", number))
        until = time.monotonic() + 120
        while (others.is_waiting(1) or others.is_waiting(2)) and time.monotonic() < until:
            time.sleep(0.02)
        executor.submit_task(3, task("wait"))
        assert executor.wait(0.5) == []
        assert (others.is_waiting(1), executor.is_waiting(3)) == (False, True)
        others.close(at_once=True)
        assert first(executor) is None
        assert not list(local_ray.folder.path.glob("begun-wait-*"))

    def test_closing_at_once_kills_what_runs(self, start, tmp_path):
        executor = start()
        executor.submit_task(1, task(f"hang:{tmp_path}"))
        pid = appeared(tmp_path)
        executor.close(at_once=True)
        assert gone(pid)

    def test_workers_share_out_the_threads_before_their_engines_are_imported(self, start, local_ray):
        found = in_new_process(start, local_ray, "environment")
        assert (found["threads"], found["polars"]) == ("1", False)
        assert outcome(start(ImportsPolars()), "any") == 1

    def test_failpoints_armed_after_the_cluster_started_reach_the_workers(self, start, monkeypatch):
        monkeypatch.setenv("RAYPIPE_TESTING", "1")
        monkeypatch.setenv("RAYPIPE_FAILPOINTS", "task.start=sleep:1")
        assert outcome(start(), "armed") == "task.start=sleep:1"

    def test_a_task_that_is_done_alone_reserves_all_of_run_memory_and_others_their_share(self, start):
        executor = start(share=cluster_share(1, GIB))
        for room in (Room.ALONE, Room.IN_SMALL_PIECES):
            assert outcome(executor, "resources", room=room) == {"CPU": 1.0, "memory": GIB}
        assert outcome(executor, "resources", room=Room.SPARING) == {"CPU": 1.0, "memory": GIB // 2}

    def test_a_second_attempt_is_done_like_a_first_one(self, start):
        assert outcome(start(), "resources", beside="000001-1-0") == {"CPU": 1.0, "memory": 256 * MIB}

    def test_an_error_that_cannot_travel_still_tells_its_type_and_text(self, start):
        error = outcome(start(), "secret:boom")
        assert type(error) is RuntimeError
        assert str(error) == "Unreadable: boom"
        assert "test_tasks.py" in error.__notes__[0]

    def test_a_worker_with_other_versions_is_refused_with_both_named(self, start, monkeypatch):
        monkeypatch.setattr(tasks, "versions", lambda: {"raypipe": "99.0", "polars": "1.0"})
        error = outcome(start(), "environment")
        assert type(error) is ConfigurationError
        assert "instead of 99.0" in str(error)
        assert "instead of 1.0" in str(error)


class TestShare:
    def test_cpus_and_memory_of_one_machine_are_shared_out_evenly(self):
        assert share_out([Node(4, 8 * GIB)], 1, 2 * GIB) == Share(4, 1, GIB // 2, 2 * GIB)

    def test_every_machine_holds_to_the_memory_of_a_machine(self):
        assert share_out([Node(4, 8 * GIB), Node(2, 8 * GIB)], 1, 2 * GIB) == Share(6, 1, GIB // 2, 2 * GIB)

    def test_little_memory_means_fewer_tasks_rather_than_starved_ones(self):
        assert share_out([Node(64, 8 * GIB)], 1, 512 * MIB) == Share(4, 1, 128 * MIB, 512 * MIB)

    def test_a_machine_without_enough_memory_or_cpus_takes_fewer_or_none(self):
        assert share_out([Node(4, 8 * GIB), Node(4, GIB), Node(0, 8 * GIB)], 2, 2 * GIB) == Share(3, 2, GIB, 2 * GIB)

    def test_machines_that_offer_a_custom_resource_take_the_tasks_that_ask_for_it(self):
        nodes = [Node(4, 8 * GIB), Node(4, 8 * GIB, {"fast_disk": 3}), Node(8, 8 * GIB, {"fast_disk": 1})]
        assert share_out(nodes, 1, 2 * GIB, {"fast_disk": 1}) == Share(4, 1, 2 * GIB // 3, 2 * GIB, {"fast_disk": 1})

    def test_a_resource_that_no_machine_offers_is_an_error_and_not_an_endless_wait(self):
        with pytest.raises(ConfigurationError, match=r"run\.resources: no machine .* 2 of fast_disk and 1 CPUs"):
            share_out([Node(4, 8 * GIB, {"fast_disk": 1}), Node(4, 8 * GIB)], 1, GIB, {"fast_disk": 2})

    def test_a_task_that_is_done_alone_has_all_of_run_memory_or_what_the_largest_machine_offers(self):
        assert share_out([Node(4, 8 * GIB)], 1, 2 * GIB).alone_bytes == 2 * GIB
        assert share_out([Node(4, GIB), Node(4, 1.5 * GIB)], 1, 2 * GIB).alone_bytes == 3 * GIB // 2
        assert share_out([Node(4, GIB), Node(0, 8 * GIB)], 1, 2 * GIB).alone_bytes == GIB

    def test_only_what_is_special_of_a_task_is_told_to_ray(self):
        assert SHARE.options_of(task("run")) == {}
        assert SHARE.options_of(task("run", room=Room.ALONE)) == {"memory": 512 * MIB}
        assert SHARE.options_of(task("run", beside="000001-1-0")) == {"scheduling_strategy": "SPREAD"}

    def test_flights_are_bounded_on_the_largest_cluster(self):
        assert share_out([Node(64, 64 * GIB)] * 100, 1, 64 * GIB).slots == 256

    def test_more_cpus_than_any_machine_has_is_an_error_and_not_an_endless_wait(self):
        with pytest.raises(ConfigurationError, match=r"cpus_per_shard: got 8, .* offers 4 CPUs"):
            share_out([Node(4, 8 * GIB), Node(2, 8 * GIB)], 8, GIB)

    def test_more_memory_than_any_machine_has_is_an_error_and_not_an_endless_wait(self):
        with pytest.raises(ConfigurationError, match=r"run\.memory: a task would need 4096 MiB, .* offer 1024 MiB"):
            share_out([Node(2, GIB)], 1, 8 * GIB)


class TestExplained:
    def test_ray_running_out_of_memory_is_ours(self):
        error = explained(
            ray_errors.OutOfMemoryError("Task was killed due to the node running low on memory."), "task 7", 256 * MIB
        )
        assert type(error) is OutOfMemory
        assert "256 MiB" in str(error)

    def test_a_worker_that_died_may_have_been_killed_for_its_memory(self):
        assert type(explained(ray_errors.WorkerCrashedError(), "task 7", MIB)) is WorkerDied

    @pytest.mark.parametrize(
        "error",
        [ray_errors.NodeDiedError("gone"), ray_errors.ObjectLostError("ab" * 28, None, ""), ray_errors.LocalRayletDiedError()],
    )
    def test_what_was_lost_with_a_machine_may_be_done_again(self, error):
        found = explained(error, "task 7", MIB)
        assert type(found) is RetryableError
        assert type(error).__name__ in str(found)

    def test_a_module_that_a_machine_lacks_is_the_persons_to_install(self):
        cause = ModuleNotFoundError("No module named 'raypipe'")
        error = explained(ray_errors.RayTaskError("run_task", "traceback", cause), "task 7", MIB)
        assert type(error) is ConfigurationError
        assert "No module named 'raypipe'" in str(error)

    def test_other_errors_stay_as_they_are(self):
        error = ValueError("x")
        assert explained(error, "task 7", MIB) is error
