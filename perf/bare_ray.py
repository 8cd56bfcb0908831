"""The least that Ray can do: start on this machine and run one task. Usage: python bare_ray.py FILE [SECONDS]

The task touches the file, so that whoever waits knows when it ran; then the script idles for the seconds.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import ray


@ray.remote
def touch(path: str) -> None:
    """Show that a task runs."""
    Path(path).touch()


def main(path: str, idle_s: float = 0.0) -> None:
    ray.init(address="local", num_cpus=len(os.sched_getaffinity(0)), include_dashboard=False, log_to_driver=False)
    ray.get(touch.remote(path))
    time.sleep(idle_s)
    ray.shutdown()


if __name__ == "__main__":
    main(sys.argv[1], *map(float, sys.argv[2:]))
