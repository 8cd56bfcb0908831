"""The options that verbs share, and the one way in which a verb is called: load, do, print, exit code."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from raypipe.cli.exits import exit_code_of
from raypipe.cli.output import Output
from raypipe.errors import UsageError
from raypipe.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from raypipe.core.calendar import Width
    from raypipe.core.window import Window
    from raypipe.pipeline import Pipeline

Verb = Callable[..., int | None]
ExecutorName = Literal["auto", "inline", "ray"]


@dataclass(frozen=True, slots=True)
class Shared:
    """What every verb is told besides its own options."""

    profile: str | None
    overrides: tuple[str, ...]
    out: Output
    folder: Path | None = None

    def load(self, target: str, *, elsewhere: bool = False) -> Pipeline:
        """Return the pipeline that the person named; `elsewhere`: to be run in another environment."""
        from raypipe import launch

        return launch.load(target, profile=self.profile, overrides=self.overrides, folder=self.folder, elsewhere=elsewhere)

    def command(self, target: str) -> str:
        """Return the configuration and its options as they are typed, for commands that are suggested."""
        import shlex

        words = [target]
        words += ["--profile", self.profile] if self.profile else []
        for override in self.overrides:
            words += ["--set", override]
        words += ["--folder", str(self.folder)] if self.folder else []
        return shlex.join(words)


CONFIG_HELP = "A YAML file, or module:attribute of a Python pipeline."
config_argument = click.argument("config", help=CONFIG_HELP)


def verb(name: str, *, example: str, configured: bool = True) -> Callable[[Verb], click.Command]:
    """Make a function a verb: it gets `shared` and its own options; what it raises becomes an exit code and a text."""

    def decorate(function: Verb) -> click.Command:
        @functools.wraps(function)
        def call(
            as_json: bool,
            verbose: bool,
            quiet: bool,
            profile: str | None = None,
            overrides: tuple[str, ...] = (),
            folder: Path | None = None,
            **own: Any,
        ) -> None:
            out = Output(as_json=as_json, verbose=verbose, quiet=quiet)
            shared = Shared(profile, overrides, out, folder.absolute() if folder else None)
            code = exit_code_of(lambda: function(shared, **own), out)
            click.get_current_context().exit(code)

        own_parameters = getattr(call, "__click_params__", [])
        call.__click_params__ = []  # type: ignore[attr-defined]  # click keeps them in reverse: first added, last shown
        for option in reversed(_options(configured)):
            call = option(call)
        call.__click_params__.extend(own_parameters)  # type: ignore[attr-defined]
        return click.command(name, epilog=f"\b\nExample:\n  {example}", no_args_is_help=False)(call)

    return decorate


def _options(configured: bool) -> list[Callable[[Any], Any]]:
    of_configuration = [
        click.option("--profile", metavar="NAME", help="Merge this profile of the configuration over the rest."),
        click.option(
            "--set", "overrides", multiple=True, metavar="KEY.PATH=VALUE", help="Change one value of the configuration; repeatable."
        ),
        click.option(
            "--folder", metavar="DIR", type=click.Path(path_type=Path),
            help="Where relative paths of source and destination start, instead of the configuration's folder.",
        ),
    ]  # fmt: skip
    return [
        *(of_configuration if configured else []),
        click.option(
            "--json", "as_json", is_flag=True, help="Print one JSON document on standard output, all else on standard error."
        ),
        click.option("-v", "--verbose", is_flag=True, help="Show the traceback of an unexpected error."),
        click.option("-q", "--quiet", is_flag=True, help="Print nothing but what was asked for, and errors."),
    ]


def window_options(function: Any) -> Any:
    """Add `--start` and `--end`."""
    end = click.option("--end", metavar="TIME", help="Up to here, exclusive.")
    start = click.option(
        "--start", metavar="TIME", help="From here, inclusive: ISO 8601; a date is its first instant in time.zone."
    )
    return start(end(function))


def executor_options(function: Any) -> Any:
    """Add `--executor` and `--address`."""
    address = click.option("--address", metavar="ADDRESS", help="A Ray cluster to do the work on.")
    executor = click.option("--executor", type=click.Choice(["auto", "inline", "ray"]), help="Where the work is done.")
    return executor(address(function))


def shards_option(text: str) -> Callable[[Any], Any]:
    """Add `--shards A:B`."""
    return click.option("--shards", metavar="A:B", type=ShardRange(), help=text)


class ShardRange(click.ParamType[tuple[int, int]]):
    """Two shard indices, half open: `10:17` is the seven shards 10 to 16."""

    name = "A:B"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Return both indices; fails with what was expected."""
        if isinstance(value, tuple):
            return value
        first, colon, last = str(value).partition(":")
        digits = all(one.isascii() and one.isdigit() and len(one) <= 9 for one in (first, last))
        if not colon or not digits:
            self.fail(
                f"got {value!r}, expected two shard numbers counted from time.start, such as 10:17 (17 is excluded)", param, ctx
            )
        if int(first) >= int(last):
            self.fail(
                f"got {value!r}, an empty or inverted range: the second number is excluded ({first}:{int(first) + 1} is one shard)"
            )
        return int(first), int(last)


class Widths(click.ParamType[tuple["Width", ...]]):
    """Shard widths with commas between them."""

    name = "1h,1d"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Width, ...]:
        """Return the widths; fails with what was expected."""
        if isinstance(value, tuple):
            return value
        from raypipe.core.calendar import parse_width

        try:
            return tuple(parse_width(one) for one in str(value).split(","))
        except ValueError as error:
            self.fail(f"{error}; several are written with commas: 1h,1d", param, ctx)


def instants(pipeline: Pipeline, start: str | None, end: str | None) -> tuple[int | None, int | None]:
    """Return `--start` and `--end` in microseconds. Raises UsageError for what is no time and for an inverted window."""
    start_us = instant(pipeline, "--start", start)
    end_us = instant(pipeline, "--end", end)
    if start_us is not None and end_us is not None and start_us >= end_us:
        what = "empty" if start_us == end_us else "inverted"
        raise UsageError(
            f"the window is {what}: --start {start} is not before --end {end} (windows are half open: the end is excluded)"
        )
    return start_us, end_us


def asked_range(pipeline: Pipeline, start: str | None, end: str | None) -> Window | None:
    """Return the window of `--start` and `--end`, None where neither was given. Raises UsageError where one is missing."""
    start_us, end_us = instants(pipeline, start, end)
    if start_us is None and end_us is None:
        return None
    if start_us is None or end_us is None:
        raise UsageError(f"--{'start' if start_us is None else 'end'} is missing: a range has both")
    from raypipe.core.window import Window

    return Window(start_us, end_us)


def instant(pipeline: Pipeline, option: str, text: str | None) -> int | None:
    """Return one time in microseconds, or None where none was given. Raises UsageError."""
    if text is None:
        return None
    from raypipe.config.instants import parse_instant

    try:
        return parse_instant(text, pipeline.time.zone)
    except ValueError as error:
        raise UsageError(f"{option}: got {text!r}, {error}") from None
