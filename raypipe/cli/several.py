"""Several pipelines at the command line: files and folders are named, all are read before anything is done, and put in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from raypipe.cli.options import CONFIG_HELP, Shared
from raypipe.errors import UsageError
from raypipe.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from raypipe.core.run_order import RunOrder
    from raypipe.pipeline import Pipeline

SUFFIXES = (".yaml", ".yml")
configs_argument = click.argument(
    "configs", nargs=-1, required=True, metavar="CONFIG...", help=f"{CONFIG_HELP} Or a folder: all that lie in it."
)


@dataclass(frozen=True, slots=True)
class PipelineSet:
    """The pipelines that a person named, as they named them, and the order in which one comes after those that it reads."""

    members: Sequence[tuple[str, Pipeline]]
    order: RunOrder
    is_one: bool
    """One file was named: what is shown is that of a pipeline, not of a set."""

    def in_order(self) -> Iterator[tuple[int, str, Pipeline]]:
        """Yield each member with its place."""
        for place in self.order.places:
            yield (place, *self.members[place])

    def names(self, places: Sequence[int]) -> list[str]:
        """Return the names of some pipelines."""
        return [self.members[place][1].name for place in places]


def load_set(shared: Shared, configs: Sequence[str]) -> PipelineSet:
    """Read all that were named: a mistake in one means that nothing is done. Raises UsageError for a cycle."""
    from raypipe import launch

    targets = [target for config in configs for target in _targets(config)]
    members = [(target, shared.load(target)) for target in targets]
    order = launch.order_of([pipeline for _, pipeline in members])
    return PipelineSet(members, order, is_one=list(configs) == targets and len(targets) == 1)


def _targets(config: str) -> list[str]:
    """Return the pipelines that a word means: itself, or those that lie in the folder."""
    folder = Path(config)
    if not folder.is_dir():
        return [config]
    found = sorted(str(path) for path in folder.iterdir() if path.suffix in SUFFIXES)
    if not found:
        raise UsageError(f"{config}: a folder without pipelines; expected some whose names end with {' or '.join(SUFFIXES)}")
    return found
