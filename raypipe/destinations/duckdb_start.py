"""DuckDB's start: its package asks for its own version, for which the standard library would be loaded and read for 12 ms."""

from __future__ import annotations

import sys

from raypipe.late_packages import installed_version, late


def start_duckdb() -> None:
    """Start DuckDB in a process of raypipe's own."""
    if "duckdb" in sys.modules:
        return
    known = {"version": installed_version} if installed_version("duckdb") else {}
    with late("importlib.metadata", known=known):
        import duckdb  # noqa: F401
