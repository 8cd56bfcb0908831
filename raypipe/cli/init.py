"""The verb `init`: a runnable pipeline with sample data."""

from __future__ import annotations

from pathlib import Path

import click

from raypipe.cli.options import Shared, verb


@verb("init", example="raypipe init demo && raypipe run demo/pipeline.yaml", configured=False)
@click.argument("directory", default=".", metavar="[DIR]", help="The folder to write to; this one otherwise.")
def init(shared: Shared, directory: str) -> None:
    """Write a runnable pipeline with sample data, commented."""
    from raypipe.cli.starter import write_starter

    folder = Path(directory)
    written = write_starter(folder)
    pipeline = folder / "pipeline.yaml"
    following = [f"raypipe run {pipeline}", f"raypipe status {pipeline}", f"raypipe quarantine show {pipeline}"]
    shared.out.document({"folder": str(folder), "files": [str(one) for one in written], "next": following})
    for one in written:
        shared.out.line(f"wrote {one}")
    shared.out.line("\nnext:\n" + "\n".join(f"  {one}" for one in following))
