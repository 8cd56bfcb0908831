"""Settings of Ray that no argument of `ray.init` sets: environment and, where Ray was imported before, its cached values.

All private names of Ray that raypipe touches stand in this file. Tried with Ray 2.60.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from ray._private import node, parameter, ray_constants
from ray._private import worker as ray_worker
from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]

AUTH_MODE = "RAY_AUTH_MODE"
AUTH_TOKEN = "RAY_AUTH_TOKEN"  # noqa: S105  the name of a variable, not a secret
AUTH_TOKEN_PATH = "RAY_AUTH_TOKEN_PATH"  # noqa: S105
LOOPBACK_ONLY = {ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR: "0"}
"""Ray replaces a loopback address by the machine's own and listens on all interfaces, unless told that it is no cluster."""

VITAL = (ray_constants.PROCESS_TYPE_RAYLET, ray_constants.PROCESS_TYPE_GCS_SERVER)
FILES_MAX = 65_536  # what `ray.init` raises the limit of open files to

CONNECT_ATTEMPTS = 2  # Ray tries to reach a head 20 times, a second each or more: refusals would take 20 s to 2 min


def token_is_known() -> bool:
    """Tell whether Ray would find a token: in the environment, in the file it names, or in the home folder."""
    if os.environ.get(AUTH_TOKEN):
        return True
    named = os.environ.get(AUTH_TOKEN_PATH)
    try:
        path = Path(named) if named else Path.home() / ".ray" / "auth_token"
        return path.is_file() and path.stat().st_size > 0
    except (OSError, RuntimeError):  # no home folder, or no right to look
        return False


def token_is_required() -> bool:
    """Tell whether this process uses token authentication."""
    return os.environ.get(AUTH_MODE, "").lower() == "token"


def token_mode() -> dict[str, str | None]:
    """Return what to set so that a token that is known is used: for an explicit address Ray does not do so, and is refused."""
    return {AUTH_MODE: "token"} if AUTH_MODE not in os.environ and token_is_known() else {}


def of_local_cluster(token_path: Path) -> dict[str, str | None]:
    """Return what to set (None: unset) in every process of a local cluster and of those that join it."""
    return {
        AUTH_MODE: "token",
        AUTH_TOKEN: None,
        AUTH_TOKEN_PATH: str(token_path),
        "RAY_ADDRESS": None,
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # else workers of a driver under `uv run` start uv again
        **LOOPBACK_ONLY,
    }


class Environment:
    """Environment variables that are set for a while and put back."""

    def __init__(self) -> None:
        self._before: dict[str, str | None] = {}

    def set(self, variables: Mapping[str, str | None]) -> None:
        """Set variables (None: unset) and make Ray look at them again."""
        for name, value in variables.items():
            self._before.setdefault(name, os.environ.get(name))
            _put(name, value)
        _reload()

    def restore(self) -> None:
        """Put back what was there before."""
        for name, value in self._before.items():
            _put(name, value)
        self._before.clear()
        _reload()


def _put(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


def _reload() -> None:
    """Make Ray forget what it read of the environment when it was imported."""
    ray_constants.ENABLE_RAY_CLUSTER = os.environ.get(ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR, "1") not in ("0", "false")
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


@contextlib.contextmanager
def few_connect_attempts() -> Iterator[None]:
    """Let Ray give up soon when a head does not answer or does not let us in."""
    before = ray_constants.NUM_REDIS_GET_RETRIES
    ray_constants.NUM_REDIS_GET_RETRIES = CONNECT_ATTEMPTS
    try:
        yield
    finally:
        ray_constants.NUM_REDIS_GET_RETRIES = before


class HeadNode(node.Node):
    """The head of a cluster of this machine, without what serves people and autoscalers: that costs as much as all else."""

    def __init__(self, folder: str, cores: int, memory_bytes: int, object_store_bytes: int) -> None:
        """Start it and wait until it answers. Raises Ray's errors."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, FILES_MAX)), hard))
        parameters = parameter.RayParams(
            node_ip_address="127.0.0.1", temp_dir=folder, no_monitor=True, include_log_monitor=False,  # type: ignore[arg-type]
            dashboard_agent_listen_port=0,  # any free one: with `ray[default]` it is fixed, and another cluster may have it
            num_cpus=cores, memory=memory_bytes, object_store_memory=object_store_bytes,
        )  # fmt: skip
        super().__init__(parameters, head=True, shutdown_at_exit=False, spawn_reaper=True, ray_init_cluster=True)

    def start_api_server(self, **options: object) -> None:
        """Start none: also without a dashboard it would be waited for."""
        self._webui_url = None

    def is_lost(self) -> bool:
        """Tell whether a process has ended without which nothing goes on."""
        return any(kind in VITAL for kind, _ in self.dead_processes())  # type: ignore[no-untyped-call]


def show_raylet_messages(shown: bool) -> None:
    """Let Ray print what its daemons say, or not: it writes on standard output, where a JSON document may go."""
    ray_worker._worker_logs_enabled = shown


@contextlib.contextmanager
def own_signal_handlers_kept() -> Iterator[None]:
    """Put back the handler of SIGTERM that `ray.init` replaces, where somebody had set one."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if before not in (signal.SIG_DFL, None) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)
