"""A real cluster that others started: `ray start --head` with a token, on loopback, on an image that lacks raypipe."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

SECRET = "s3cr3t-f00d"
CPUS = 2


@dataclass(frozen=True)
class Head:
    """A running head, and what others need to use it."""

    folder: Path
    job_server: str
    address: str
    token: str
    python: str

    def environment(self, **more: str) -> dict[str, str]:
        """The environment of a person who may use the cluster, and who does not know its secrets."""
        own = {name: value for name, value in os.environ.items() if not name.startswith(("RAY", "SUBMIT_"))}
        return {**own, "RAY_AUTH_TOKEN": self.token, "PYTHONPATH": str(Path(__file__).parents[2]), **more}


@contextlib.contextmanager
def started_head() -> Iterator[Head]:
    """Start a cluster of one machine; end every process of it and delete its folder afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="rp-", dir="/tmp"))  # sockets need a short path
    try:
        yield _started(folder)
    finally:
        _end(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _started(folder: Path) -> Head:
    python = _image(folder / "image")
    port, job_port, agent_port, metrics_port = _free_ports(4)
    token = secrets.token_hex(32)
    (folder / "token").write_text(token)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("RAY", "PYTHONPATH"))},
        "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(folder / "token"), "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "SUBMIT_SECRET": SECRET,
    }  # fmt: skip
    started = subprocess.run(
        [
            python, "-m", "ray.scripts.scripts", "start", "--head", "--node-ip-address=127.0.0.1", f"--port={port}",
            "--dashboard-host=127.0.0.1", f"--dashboard-port={job_port}", f"--dashboard-agent-listen-port={agent_port}",
            f"--metrics-export-port={metrics_port}", f"--num-cpus={CPUS}", f"--memory={2**30}", f"--object-store-memory={2**27}",
            f"--temp-dir={folder / 'ray'}", "--disable-usage-stats",
        ],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert started.returncode == 0, started.stdout + started.stderr
    return Head(folder, f"http://127.0.0.1:{job_port}", f"127.0.0.1:{port}", token, python)


def _image(place: Path) -> str:
    """Make an interpreter with all that is installed here but raypipe."""
    venv.create(place, with_pip=False)
    (site,) = place.glob("lib/python*/site-packages")
    (site / "installed.pth").write_text("\n".join(one for one in sys.path if one.endswith("site-packages")))
    python = str(place / "bin/python")
    lacks = subprocess.run([python, "-I", "-c", "import ray, duckdb; import raypipe"], capture_output=True, text=True, check=False)
    assert "No module named 'raypipe'" in lacks.stderr, lacks.stderr
    return python


def _free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as held:
        servers = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)]
        return [one.getsockname()[1] for one in servers]


def _end(folder: Path) -> None:
    """Kill what was started for the folder: its path stands in the command line, or in the environment, of each process."""
    ours = [one for one in psutil.process_iter() if one.pid != os.getpid() and _names(one, str(folder))]
    for one in ours:
        with contextlib.suppress(psutil.Error):
            one.kill()
    psutil.wait_procs(ours, timeout=10)


def _names(process: psutil.Process, text: str) -> bool:
    try:
        return any(text in part for part in process.cmdline()) or process.environ().get("RAY_AUTH_TOKEN_PATH", "").startswith(text)
    except (psutil.Error, OSError):
        return False
