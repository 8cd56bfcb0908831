"""A run on Ray: a cluster, the driver as an actor on it, its tasks beside it. Imported only when Ray is chosen."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from raypipe.core.events import RunClosed
from raypipe.core.executor_choice import Choice
from raypipe.launch.parts import Parts
from raypipe.launch.reports import Ask
from raypipe.launch.run_verb import make_driver
from raypipe.ports import Observer, StopFlag
from raypipe.runtime.driver import Driver
from raypipe.runtime.launched_from import LaunchedFrom
from raypipe.runtime.shared_session import take_session


def run_on_ray(parts: Parts, ask: Ask, choice: Choice, run_id: str, observer: Observer, stop: StopFlag) -> RunClosed:
    """Run on the cluster at the chosen address, or on the local one that the runs on this machine share."""
    with _cluster(choice.address, parts.pipeline.run.memory_bytes) as launched_from:
        from raypipe.runtime.actor import run_in_actor
        from raypipe.runtime.tasks import armed_failpoints

        return run_in_actor(DriverRecipe(parts, ask, choice, run_id, armed_failpoints(), launched_from), observer, stop)


@contextlib.contextmanager
def _cluster(address: str | None, memory_bytes: int) -> Iterator[LaunchedFrom | None]:
    """Use the cluster at the address, else the local one; yield what the run's processes take over from this one there."""
    if address is not None and address != "local":
        from raypipe.runtime.cluster import open_cluster

        with open_cluster(address):
            yield None
        return
    with take_session(memory_bytes) as session:  # its Ray starts while this process still imports Ray
        from raypipe.runtime.cluster import join_session

        with join_session(session):
            yield LaunchedFrom.here()


@dataclass(frozen=True, slots=True)
class DriverRecipe:
    """Builds the driver inside the actor: everything in it travels, nothing of it is running yet."""

    parts: Parts
    ask: Ask
    choice: Choice
    run_id: str
    failpoints: Mapping[str, str]
    """What tests armed: an actor does not inherit the launcher's environment."""
    launched_from: LaunchedFrom | None
    """What the run's processes take over from its launcher, where they are on its machine."""

    def __call__(self, observer: Observer, stop: StopFlag, *, takeover: bool) -> Driver:
        """Build it; with `takeover` the run's earlier driver is known to be dead."""
        from raypipe.runtime.tasks import RayExecutor, cluster_share

        if self.launched_from:
            self.launched_from.take_over()
        os.environ.update(self.failpoints)
        run = self.parts.pipeline.run
        share = cluster_share(run.cpus_per_shard, run.memory_bytes, run.resources)
        worker = self.parts.worker(share.memory_bytes)
        executor = RayExecutor(worker, share, shard_timeout_s=run.shard_timeout_s, launched_from=self.launched_from)
        return make_driver(self.parts, self.ask, self.choice, self.run_id, executor, observer, stop, force=takeover)
