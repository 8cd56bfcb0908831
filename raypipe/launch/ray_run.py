"""A run on Ray: a cluster, the driver as an actor on it, its tasks beside it. Imported only when Ray is chosen."""

from __future__ import annotations

import os
from collections.abc import Mapping

from raypipe.core.events import RunClosed
from raypipe.core.executor_choice import Choice
from raypipe.launch.parts import Parts, cores
from raypipe.launch.reports import Ask
from raypipe.launch.run_verb import make_driver
from raypipe.lazy_dataclass import dataclass
from raypipe.ports import Observer, StopFlag
from raypipe.runtime.actor import run_in_actor
from raypipe.runtime.cluster import open_cluster
from raypipe.runtime.driver import Driver
from raypipe.runtime.tasks import RayExecutor, armed_failpoints, cluster_share


def run_on_ray(parts: Parts, ask: Ask, choice: Choice, run_id: str, observer: Observer, stop: StopFlag) -> RunClosed:
    """Run on the cluster at the chosen address, or on a local one that is gone afterwards."""
    memory_bytes = parts.pipeline.run.memory_bytes
    with open_cluster(choice.address, cpus=cores(), memory_bytes=memory_bytes):
        return run_in_actor(DriverRecipe(parts, ask, choice, run_id, armed_failpoints()), observer, stop)


@dataclass(frozen=True, slots=True)
class DriverRecipe:
    """Builds the driver inside the actor: everything in it travels, nothing of it is running yet."""

    parts: Parts
    ask: Ask
    choice: Choice
    run_id: str
    failpoints: Mapping[str, str]
    """What tests armed: an actor does not inherit the launcher's environment."""

    def __call__(self, observer: Observer, stop: StopFlag, *, takeover: bool) -> Driver:
        """Build it; with `takeover` the run's earlier driver is known to be dead."""
        os.environ.update(self.failpoints)
        run = self.parts.pipeline.run
        share = cluster_share(run.cpus_per_shard, run.memory_bytes, run.resources)
        executor = RayExecutor(self.parts.worker(share.memory_bytes), share, shard_timeout_s=run.shard_timeout_s)
        return make_driver(self.parts, self.ask, self.choice, self.run_id, executor, observer, stop, force=takeover)
