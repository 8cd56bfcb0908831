"""The command line: parse, call `launch`, print. It owns no decision. Engines, rich and `launch` are imported when needed."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line."""
    from raypipe.cli.group import cli

    # A name or value that the terminal's encoding lacks is shown escaped: it must not end a run.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    cli(prog_name="raypipe")
