"""BackfillRange: the options that say which range of history is done again, and how; `backfill` and `submit` share them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import click

from raypipe.cli.options import ExecutorName, instants, shards_option, window_options
from raypipe.errors import UsageError
from raypipe.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from raypipe.launch import Ask
    from raypipe.pipeline import Pipeline

ONE_RANGE = "say which range in exactly one way: --start and --end, --shards A:B, --stale, --held, --failed, or --gaps"
SCOPES = ("stale", "held", "failed", "gaps")


@dataclass(frozen=True, slots=True)
class BackfillRange:
    """What a person said of a range of history."""

    start: str | None
    end: str | None
    shards: tuple[int, int] | None
    scopes: tuple[str, ...]
    publish: Literal["atomic", "shard"]
    accept_shrunk: bool

    @property
    def only_a_backfill_has_it(self) -> bool:
        """Tell whether something was said that means nothing to a run."""
        return self.shards is not None or bool(self.scopes) or self.accept_shrunk or self.publish != "atomic"

    def require_one(self) -> None:
        """Raise UsageError where no range was given, half of one, or several."""
        ways = [self.start is not None or self.end is not None, self.shards is not None, *(True for _ in self.scopes)]
        if sum(ways) != 1:
            raise UsageError(f"{ONE_RANGE}; got {'none' if not any(ways) else 'several'}")
        if ways[0] and (self.start is None or self.end is None):
            raise UsageError(f"--{'start' if self.start is None else 'end'} is missing: {ONE_RANGE}")

    def ask(self, pipeline: Pipeline, executor: ExecutorName | None, address: str | None) -> Ask:
        """Return the backfill that is asked for."""
        from raypipe import launch
        from raypipe.core.plan import Scope
        from raypipe.core.state import RunKind

        start_us, end_us = instants(pipeline, self.start, self.end)
        return launch.Ask(
            kind=RunKind.BACKFILL,
            scope=Scope(self.scopes[0]) if self.scopes else Scope.ALL,
            start_us=start_us,
            end_us=end_us,
            shards=self.shards,
            publish=self.publish,
            executor=executor,
            address=address,
            accept_shrunk=self.accept_shrunk,
        )

    @property
    def words(self) -> tuple[str, ...]:
        """The options as they are typed."""
        shards = ["--shards", f"{self.shards[0]}:{self.shards[1]}"] if self.shards else []
        shrunk = ["--accept-shrunk"] if self.accept_shrunk else []
        return (
            *window_words(self.start, self.end),
            *shards,
            *(f"--{one}" for one in self.scopes),
            "--publish",
            self.publish,
            *shrunk,
        )


def window_words(start: str | None, end: str | None) -> tuple[str, ...]:
    """Return `--start` and `--end` as they are typed."""
    return (*(("--start", start) if start else ()), *(("--end", end) if end else ()))


def backfill_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options; the function gets them as `asked`."""

    @functools.wraps(function)
    def call(
        *args: Any,
        start: str | None,
        end: str | None,
        shards: tuple[int, int] | None,
        publish: Literal["atomic", "shard"],
        accept_shrunk: bool,
        **others: Any,
    ) -> Any:
        scopes = tuple(name for name in SCOPES if others.pop(name))
        return function(*args, asked=BackfillRange(start, end, shards, scopes, publish, accept_shrunk), **others)

    options = [
        window_options,
        shards_option("Shards by number, counted from time.start; B is excluded."),
        click.option("--stale", is_flag=True, help="What another definition made than today's."),
        click.option("--held", is_flag=True, help="What is late, and older than time.lateness allows a run to do by itself."),
        click.option("--failed", is_flag=True, help="The shards that failed."),
        click.option("--gaps", is_flag=True, help="The holes before the last committed shard."),
        click.option(
            "--publish", type=click.Choice(["atomic", "shard"]), default="atomic", show_default=True,
            help="atomic: readers see all of it or nothing; shard: each shard when it is done.",
        ),
        click.option(
            "--accept-shrunk", is_flag=True, help="Also where the source has fewer files than before: their rows go."
        ),
    ]  # fmt: skip
    for option in reversed(options):
        call = option(call)
    return call
