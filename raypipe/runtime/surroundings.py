"""Surroundings: the Ray that this process is in already, asked without importing Ray where nobody has."""

from __future__ import annotations

import sys


def surrounding_address() -> str | None:
    """Return the address of the Ray that this process has joined or works for; None outside of any."""
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return None
    return str(ray.get_runtime_context().gcs_address)
