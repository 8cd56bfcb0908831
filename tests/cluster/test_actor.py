"""The driver in an actor: what the launcher sees, and what it does when the actor dies."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from dataclasses import dataclass

import pytest
import ray

from raypipe.core.accounts import Accounts
from raypipe.core.events import RunClosed, Warned
from raypipe.core.shard import InputFile
from raypipe.errors import Fenced, Interrupted, StopError
from raypipe.ports import FileIndex, StopFlag
from raypipe.runtime import actor
from raypipe.runtime.actor import EventBuffer, EventPage, run_in_actor

CLOSED = RunClosed("done", 1, 1, 0, 0, Accounts(), 0.5, None)


class Reading:
    """A worker that only scans."""

    def scan(self, file):
        return FileIndex(file, {}, bytes_read=1)


@dataclass
class Driver:
    """A driver that does what its script says."""

    script: str
    observer: object
    stop: StopFlag
    takeover: bool

    def run(self):
        self.observer.on(Warned(f"takeover {self.takeover}"))
        return getattr(self, self.script)()

    def tell(self):
        for number in range(300):
            self.observer.on(Warned(str(number)))
        return CLOSED

    def die_once(self):
        if not self.takeover:
            self.die()
        return CLOSED

    def die(self):
        time.sleep(0.3)  # so that what it told is seen
        os.kill(os.getpid(), signal.SIGKILL)

    def die_when_stopped(self):
        self.until_stopped()
        self.die()

    def fenced(self):
        raise Fenced("epoch 2 holds the run")

    def until_stopped(self):
        self.observer.on(Warned("waiting"))
        while self.stop.signal is None:
            time.sleep(0.01)
        return RunClosed(self.stop.signal, 0, 0, 0, 0, Accounts(), 0.0, None)

    def deaf(self):
        self.observer.on(Warned("waiting"))
        time.sleep(60)

    def read(self):
        from raypipe.runtime.tasks import RayExecutor, cluster_share

        executor = RayExecutor(Reading(), cluster_share(1, 1024**3), shard_timeout_s=60)
        executor.submit_scan("s", InputFile("file:///a.csv", 1, "v"))
        (done,) = executor.wait(120)
        self.observer.on(Warned(repr(done.value.bytes_read)))
        executor.close(at_once=True)
        return CLOSED


@dataclass
class Make:
    script: str

    def __call__(self, observer, stop, *, takeover):
        return Driver(self.script, observer, stop, takeover)


class Seen:
    """An observer that can stop the run when it sees a text."""

    def __init__(self, at="", then=lambda: None):
        self.texts = []
        self.at = at
        self.then = then

    def on(self, event):
        self.texts.append(event.text)
        if event.text == self.at:
            self.then()


@pytest.fixture
def launched(local_ray):
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    return lambda script, seen=None, stop=None: run_in_actor(Make(script), seen or Seen(), stop or StopFlag())


@pytest.mark.ray
class TestLauncher:
    def test_the_launcher_sees_every_event_in_order_and_then_the_result(self, launched):
        seen = Seen()
        assert launched("tell", seen) == CLOSED
        assert seen.texts == ["takeover False", *map(str, range(300))]

    def test_tasks_run_beside_the_actor(self, launched):
        seen = Seen()
        assert launched("read", seen) == CLOSED
        assert seen.texts[-1] == "1"

    def test_an_error_of_the_driver_is_raised_as_its_own_type_and_not_tried_again(self, launched):
        seen = Seen()
        with pytest.raises(Fenced, match="epoch 2 holds the run"):
            launched("fenced", seen)
        assert seen.texts == ["takeover False"]

    def test_a_dead_driver_is_replaced_by_one_that_takes_the_run_over(self, launched):
        seen = Seen()
        assert launched("die_once", seen) == CLOSED
        assert (seen.texts[0], seen.texts[-1]) == ("takeover False", "takeover True")
        assert "another one takes the run over" in seen.texts[1]

    def test_drivers_that_keep_dying_are_given_up(self, launched, monkeypatch):
        monkeypatch.setattr(actor, "DRIVERS_MAX", 2)
        seen = Seen()
        with pytest.raises(StopError, match="died 2 times"):
            launched("die", seen)
        assert seen.texts.count("takeover True") == 1

    def test_a_driver_that_ray_does_not_start_is_not_waited_for_without_end(self, launched, monkeypatch):
        monkeypatch.setattr(actor, "START_WAIT_S", 0.0)
        monkeypatch.setattr(actor, "SIGNAL_WAIT_S", 0.01)
        with pytest.raises(StopError, match="did not start the driver"):
            launched("deaf")

    def test_a_signal_reaches_the_driver(self, launched):
        stop = StopFlag()

        def ask():
            stop.signal = "SIGTERM"

        assert launched("until_stopped", Seen("waiting", ask), stop).status == "SIGTERM"

    def test_a_driver_that_dies_while_it_stops_is_not_started_again(self, launched):
        stop = StopFlag()

        def ask():
            stop.signal = "SIGINT"

        with pytest.raises(Interrupted, match="run again to resume"):
            launched("die_when_stopped", Seen("waiting", ask), stop)

    def test_a_driver_that_does_not_stop_at_once_is_ended(self, launched, monkeypatch):
        monkeypatch.setattr(actor, "AT_ONCE_WAIT_S", 0.3)
        stop = StopFlag()

        def ask():
            stop.signal, stop.at_once = "SIGINT", True

        with pytest.raises(Interrupted, match="stopped at once"):
            launched("deaf", Seen("waiting", ask), stop)


class TestEventBuffer:
    def test_events_are_given_from_a_number_on(self):
        buffer = EventBuffer()
        for text in "abc":
            buffer.on(Warned(text))
        assert buffer.after(1, 0) == EventPage((Warned("b"), Warned("c")), 3, 0)
        assert buffer.after(3, 0) == EventPage((), 3, 0)

    def test_too_many_events_drop_the_oldest_and_say_how_many(self):
        buffer = EventBuffer(limit=2)
        for text in "abcde":
            buffer.on(Warned(text))
        assert buffer.after(1, 0) == EventPage((Warned("d"), Warned("e")), 5, 2)

    def test_a_question_waits_for_the_next_event(self):
        buffer = EventBuffer()
        later = threading.Timer(0.05, buffer.on, [Warned("a")])
        later.start()
        assert buffer.after(0, 10).events == (Warned("a"),)
        later.join()
