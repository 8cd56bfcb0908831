"""The driver as a Ray actor, and the launcher's side of it: start, show events, pass signals on, start again when it dies."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import ray
from ray import exceptions as ray_errors
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raypipe.core.events import RunClosed, RunEvent, Warned
from raypipe.errors import ClusterLost, Interrupted, StopError
from raypipe.lazy_dataclass import dataclass
from raypipe.ports import Observer, StopFlag
from raypipe.runtime.across import Raised, attempt

DRIVERS_MAX = 3  # a driver that dies this often dies of its work
EVENTS_MAX = 10_000  # bounds the driver's memory when nobody asks for events
EVENTS_WAIT_S = 1.0  # how long a question for events waits for one; answered at once when there is one
SIGNAL_WAIT_S = 0.1  # how soon the launcher notices a signal
AT_ONCE_WAIT_S = 5.0  # how long a driver that was told to stop at once may take
START_WAIT_S = 120.0  # a second at best, a minute where the machine is busy or a job has its own modules; without a raylet, never
DEATH_WAIT_S = 30.0  # how long a driver that does not answer may be silent before it counts as dead


class RunnableDriver(Protocol):
    """What the actor runs."""

    def run(self) -> RunClosed:
        """Run to the end."""
        ...


class MakeDriver(Protocol):
    """Builds the driver inside the actor. Picklable.

    With `takeover` an earlier driver of the same run is known to be dead: its epoch is taken over by force.
    """

    def __call__(self, observer: Observer, stop: StopFlag, *, takeover: bool) -> RunnableDriver:
        """Build it."""
        ...


# ---- in the actor's process -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events in order, the number to ask for next, and how many were dropped because nobody asked in time."""

    events: tuple[RunEvent, ...]
    following: int
    dropped: int


class EventBuffer:
    """Keeps the newest events until they are asked for; implements `ports.Observer` for the driver."""

    def __init__(self, limit: int = EVENTS_MAX) -> None:
        self._events: deque[RunEvent] = deque(maxlen=limit)
        self._following = 0
        self._changed = threading.Condition()

    def on(self, event: RunEvent) -> None:
        """Take note of an event."""
        with self._changed:
            self._events.append(event)
            self._following += 1
            self._changed.notify_all()

    def after(self, number: int, wait_s: float) -> EventPage:
        """Return the events from `number` on; waits for one if there is none yet."""
        with self._changed:
            self._changed.wait_for(lambda: self._following > number, wait_s)
            first = self._following - len(self._events)
            skip = max(0, number - first)
            return EventPage(tuple(self._events)[skip:], self._following, max(0, first - number))


class DriverActor:
    """Owns one driver. `run` blocks until the run is over; the methods of the group `control` answer meanwhile."""

    def __init__(self) -> None:
        self._buffer = EventBuffer()
        self._stop = StopFlag()

    def run(self, make_driver: MakeDriver, takeover: bool) -> object:
        """Build the driver and run it; returns RunClosed, or Raised."""
        return attempt(lambda: make_driver(self._buffer, self._stop, takeover=takeover).run())

    @ray.method(concurrency_group="control")
    def events(self, number: int, wait_s: float) -> EventPage:
        """Return the events from `number` on."""
        return self._buffer.after(number, wait_s)

    @ray.method(concurrency_group="control")
    def stop(self, signal: str, at_once: bool) -> None:
        """Pass a signal on to the driver."""
        self._stop.signal = self._stop.signal or signal
        self._stop.at_once = self._stop.at_once or at_once


# ---- in the launcher's process ----------------------------------------------------------------------------


def run_in_actor(
    make_driver: MakeDriver, observer: Observer, stop: StopFlag, *, takeover: bool = False, lost: Callable[[], bool] = lambda: False
) -> RunClosed:
    """Run a driver in an actor on this machine; when the actor dies, start another with the next epoch, some times.

    With `takeover` an earlier driver of the run is dead already. Raises what the driver raises, as its own type;
    Interrupted when it was told to stop at once and did not; StopError when drivers keep dying; ClusterLost when `lost`
    says so of the cluster. Nothing is lost by a dead driver: the ledger and staged work say what is done.
    """
    for number in range(1, DRIVERS_MAX + 1):
        try:
            return _Watch(observer, stop, lost).run(make_driver, takeover=takeover or number > 1)
        except ray_errors.RayActorError as error:  # died, or out of reach and killed: the next epoch fences it
            reason = str(error).strip().partition("\n")[0]
        if stop.signal is not None:
            raise Interrupted("the driver died while it was stopping; what is committed and staged is kept: run again to resume")
        if number < DRIVERS_MAX:
            observer.on(Warned(f"the driver's process died ({reason}); another one takes the run over"))
    raise StopError(
        f"the driver's process died {DRIVERS_MAX} times ({reason}); what is committed and staged is kept: run again to resume"
    )


class _Watch:
    """One actor, watched until its run is over."""

    def __init__(self, observer: Observer, stop: StopFlag, lost: Callable[[], bool]) -> None:
        self._observer = observer
        self._stop = stop
        self._lost = lost
        self._told: tuple[str | None, bool] = (None, False)
        self._at_once_s: float | None = None
        self._following = 0
        self._started_s = time.monotonic()
        self._answered = False
        self._actor = _start_actor()

    def run(self, make_driver: MakeDriver, *, takeover: bool) -> RunClosed:
        """Run the driver; raises ActorDiedError when its process dies."""
        try:
            return self._watched(self._actor.run.remote(make_driver, takeover))
        finally:
            with contextlib.suppress(ray_errors.RayError):
                ray.kill(self._actor)

    def _watched(self, ended: ray.ObjectRef[Any]) -> RunClosed:
        page = self._ask(EVENTS_WAIT_S)
        while True:
            if self._lost():
                raise ClusterLost("the local Ray has ended; what is committed and staged is kept: run again to resume")
            self._pass_signals_on()
            ready, _ = ray.wait([ended, page], num_returns=1, timeout=SIGNAL_WAIT_S)
            if ended in ready:
                return self._finished(ended)
            if page in ready:
                self._show(page)
                page = self._ask(EVENTS_WAIT_S)
                self._answered = True
            self._require_start()

    def _require_start(self) -> None:
        if not self._answered and time.monotonic() - self._started_s > START_WAIT_S:
            raise StopError(
                f"Ray did not start the driver on this machine within {START_WAIT_S:g} s: its node may be gone or overloaded; "
                "what is committed and staged is kept: run again to resume"
            )

    def _finished(self, ended: ray.ObjectRef[Any]) -> RunClosed:
        outcome = _received(ended)
        with contextlib.suppress(ray_errors.RayError):  # an actor that dies now has done its work: only events are missed
            self._show(self._ask(0.0))
        if isinstance(outcome, Raised):
            raise outcome.error
        assert isinstance(outcome, RunClosed)
        return outcome

    def _ask(self, wait_s: float) -> ray.ObjectRef[Any]:
        asked: ray.ObjectRef[Any] = self._actor.events.remote(self._following, wait_s)
        return asked

    def _show(self, ref: ray.ObjectRef[Any]) -> None:
        page: EventPage = ray.get(ref, timeout=DEATH_WAIT_S)
        self._following = page.following
        if page.dropped:
            self._observer.on(Warned(f"{page.dropped} events came faster than they could be shown"))
        for event in page.events:
            self._observer.on(event)

    def _pass_signals_on(self) -> None:
        asked = (self._stop.signal, self._stop.at_once)
        if asked[0] is not None and asked != self._told:
            self._told = asked
            self._actor.stop.remote(*asked)
            self._at_once_s = time.monotonic() if asked[1] else None
        if self._at_once_s is not None and time.monotonic() - self._at_once_s > AT_ONCE_WAIT_S:
            raise Interrupted("stopped at once; what is committed and staged is kept: run again to resume")


def _start_actor() -> Any:
    """Start it where this process is, for the destination's file is here, and never twice by Ray's own will."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    remote: Any = ray.remote
    actor = remote(num_cpus=0, max_restarts=0, max_task_retries=0, concurrency_groups={"control": 4})(DriverActor)
    return actor.options(scheduling_strategy=here).remote()


def _received(ended: ray.ObjectRef[Any]) -> object:
    """Return what `run` returned; raises ActorDiedError, or why the recipe could not be read in the actor's process."""
    try:
        return ray.get(ended)
    except ray_errors.RayTaskError as error:
        raise (error.cause if isinstance(error.cause, BaseException) else error) from None
