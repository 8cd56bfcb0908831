"""The group `raypipe`: all verbs, in the order in which a person meets them."""

from __future__ import annotations

from typing import Any

import click

from raypipe import __version__
from raypipe.cli.exits import EXIT_INTERRUPTED
from raypipe.cli.info import schema, version
from raypipe.cli.init import init
from raypipe.cli.maintain import accept, cancel, compact, gc, verify
from raypipe.cli.plan import check, plan, sample
from raypipe.cli.quarantine import quarantine
from raypipe.cli.run import backfill, run
from raypipe.cli.status import status
from raypipe.cli.submit import submit

HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class InOrder(click.Group):
    """Lists its verbs in the order in which they were added."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs, first things first."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Call a verb; an interrupt while an earlier one is being told ends it with the same exit code, where click says 1."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            ctx.exit(EXIT_INTERRUPTED)


@click.group(
    cls=InOrder,
    context_settings=HELP,
    epilog="\b\nStart with:\n  raypipe init demo\n  raypipe run demo/pipeline.yaml\n\nEvery verb explains itself: raypipe VERB -h",
)
@click.version_option(__version__, "-V", "--version", message="raypipe %(version)s")
def cli() -> None:
    """Time-partitioned data pipelines on Ray, exactly once.

    A pipeline is one YAML file. `run` does all that is new, `backfill` does a range of history again; both may be killed,
    started twice or raced: the tables hold what one clean run would have written.
    """


for verb in (
    init, check, sample, plan, run, backfill, submit, status, quarantine, verify, accept, compact, cancel, gc, schema, version,
):  # fmt: skip
    cli.add_command(verb)
