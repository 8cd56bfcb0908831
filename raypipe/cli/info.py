"""The verbs that tell of raypipe itself: schema and version."""

from __future__ import annotations

import json

from raypipe.cli.options import Shared, verb


@verb("schema", example="raypipe schema > raypipe.schema.json", configured=False)
def schema(shared: Shared) -> None:
    """Print the JSON Schema of the configuration."""
    from raypipe import launch

    found = launch.schema()
    shared.out.document(found)
    shared.out.line(json.dumps(found, indent=2))


@verb("version", example="raypipe version", configured=False)
def version(shared: Shared) -> None:
    """Print the versions of raypipe and its engines."""
    from raypipe import launch

    found = dict(launch.versions())
    shared.out.document(found)
    for name, number in found.items():
        shared.out.line(f"{name} {number}")
