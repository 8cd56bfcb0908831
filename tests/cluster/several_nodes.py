"""A Ray cluster of several nodes on this machine, of this process alone: on loopback, with a token. A process is in one only."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

CPUS = 2  # of each node
NODE_MEMORY_BYTES = 1024**3
ROOT = Path(__file__).parents[2]


@contextlib.contextmanager
def several_nodes(cwds: Sequence[Path], setup: Callable[[], None] | None = None) -> Iterator[tuple[Path, Any]]:
    """Start one node in each working directory, and join them; yields a folder and the cluster. All of it is gone afterwards.

    Working directories of nodes are those of their workers, and `setup` is called in each of these.
    """
    folder = Path(tempfile.mkdtemp(prefix="rp-nodes-", dir="/tmp"))  # sockets need a short path
    (folder / "token").write_text(os.urandom(32).hex())
    os.environ.update(
        RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=str(folder / "token"), RAY_USAGE_STATS_ENABLED="0",
        RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0", RAY_health_check_period_ms="500", RAY_health_check_failure_threshold="4",
        PYTHONPATH=str(ROOT), RAY_TMPDIR=str(folder),
    )  # fmt: skip
    import ray
    from ray.cluster_utils import Cluster

    head, *others = cwds
    arguments = {"num_cpus": CPUS, "memory": NODE_MEMORY_BYTES, "node_ip_address": "127.0.0.1", "temp_dir": str(folder / "ray")}
    cluster = Cluster()
    with contextlib.ExitStack() as ends:
        ends.callback(shutil.rmtree, folder, ignore_errors=True)
        ends.callback(cluster.shutdown)
        with contextlib.chdir(head):
            cluster.add_node(**arguments, include_dashboard=False, dashboard_agent_listen_port=0)
        for cwd in others:
            with contextlib.chdir(cwd):
                cluster.add_node(num_cpus=CPUS, memory=NODE_MEMORY_BYTES)
        ends.callback(ray.shutdown)
        environment = {"worker_process_setup_hook": setup} if setup else {}
        ray.init(address=cluster.address, log_to_driver=False, runtime_env=environment)
        yield folder, cluster
