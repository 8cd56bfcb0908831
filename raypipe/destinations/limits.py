"""Bounds that every destination keeps, each with its reason."""

from __future__ import annotations

HEARTBEAT_LIMIT_S = 120.0  # a holder that was silent for so long may be taken over; a wrong take-over is harmless
RUNS_MAX = 50  # `status` shows the last ones; older runs stay in the state
