"""A run on Ray: a cluster, the driver as an actor on it, its tasks beside it. Imported only when Ray is chosen."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from raypipe.core.events import RunClosed, Warned
from raypipe.core.executor_choice import Choice
from raypipe.errors import ClusterLost
from raypipe.launch.parts import Parts
from raypipe.launch.reports import Ask
from raypipe.launch.run_verb import make_driver
from raypipe.lazy_dataclass import dataclass
from raypipe.ports import Observer, StopFlag
from raypipe.runtime.driver import Driver
from raypipe.runtime.launched_from import LaunchedFrom
from raypipe.runtime.shared_session import take_session

if TYPE_CHECKING:
    from raypipe.runtime.shared_folder import SharedFolder

CLUSTERS_MAX = 3  # a local Ray that ends this often does so by what the run does to it


def run_on_ray(parts: Parts, ask: Ask, choice: Choice, run_id: str, observer: Observer, stop: StopFlag) -> RunClosed:
    """Run on the cluster at the chosen address, or on the local one that the runs on this machine share.

    A local one may end by what others do: the run goes on with another, some times.
    """
    if choice.address is not None and choice.address != "local":
        from raypipe.runtime.cluster import open_cluster

        with open_cluster(choice.address):
            return _run(DriverRecipe(parts, ask, choice, run_id, LaunchedFrom.afar()), observer, stop)
    recipe = DriverRecipe(parts, ask, choice, run_id, LaunchedFrom.here())
    for number in itertools.count(1):
        try:
            return _run_locally(recipe, observer, stop, takeover=number > 1)
        except ClusterLost:
            if stop.signal is not None or number == CLUSTERS_MAX:
                raise
            observer.on(Warned("the local Ray has ended; the run goes on with another one"))
    raise AssertionError("it returns or raises")


def _run_locally(recipe: DriverRecipe, observer: Observer, stop: StopFlag, *, takeover: bool) -> RunClosed:
    with take_session(recipe.parts.pipeline.run.memory_bytes) as session:  # its Ray starts while this process imports Ray
        from raypipe.runtime.cluster import join_session

        with join_session(session):
            return _run(recipe, observer, stop, takeover=takeover, lost=session.is_lost)


def _run(recipe: DriverRecipe, observer: Observer, stop: StopFlag, **where: Any) -> RunClosed:
    from raypipe.runtime.actor import run_in_actor

    return run_in_actor(recipe, observer, stop, **where)


@dataclass(frozen=True, slots=True)
class DriverRecipe:
    """Builds the driver inside the actor: everything in it travels, nothing of it is running yet."""

    parts: Parts
    ask: Ask
    choice: Choice
    run_id: str
    launched_from: LaunchedFrom

    def __call__(self, observer: Observer, stop: StopFlag, *, takeover: bool) -> Driver:
        """Build it; with `takeover` the run's earlier driver is known to be dead."""
        from raypipe.runtime.tasks import RayExecutor, cluster_share

        self.launched_from.take_over()
        run = self.parts.pipeline.run
        share = cluster_share(run.cpus_per_shard, run.memory_bytes, run.resources)
        folder = None if self.is_local else self._shared_folder()
        worker = self.parts.worker(share.memory_bytes)
        executor = RayExecutor(worker, share, shard_timeout_s=run.shard_timeout_s, launched_from=self.launched_from, folder=folder)
        return make_driver(self.parts, self.ask, self.choice, self.run_id, executor, observer, stop, force=takeover)

    @property
    def is_local(self) -> bool:
        """Yes: all of its workers are on this machine."""
        return self.launched_from.folder is not None

    def _shared_folder(self) -> SharedFolder:
        """Return the folder that machines share. Raises ConfigurationError naming those that do not."""
        from raypipe.runtime.shared_folder import SharedFolder, require_on_every_node

        folder = SharedFolder.marked(self.parts.state_folder)
        require_on_every_node(folder, self.parts.pipeline.run.cpus_per_shard)
        return folder
