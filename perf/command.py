"""The command line of the harness."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from perf.peers import FAMILIES
from perf.scenarios import SCENARIOS

RUNS, QUICK_RUNS = 5, 2
COUNT = re.compile(r"(\d+)([kM]?)")
DESCRIPTION = "Measures raypipe beside its peers: whole processes in turn, medians, ratios, budgets."


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person asked for."""

    quick: bool
    scenarios: tuple[str, ...]
    rows: tuple[int, ...] | None
    against: tuple[str, ...] | None
    runs: int
    json: Path | None
    plot: Path | None
    report: Path | None
    data: Path
    note: str
    without: tuple[str, ...]


def parse_arguments(words: Sequence[str], data: Path) -> Asked:
    """Read the command line; mistakes end the process with 2 and say what was expected."""
    parser = argparse.ArgumentParser(prog="python -m perf", description=DESCRIPTION)
    parser.add_argument("--quick", action="store_true", help="small sizes and two runs: minutes, for a first look")
    parser.add_argument("--scenario", action="append", choices=list(SCENARIOS), metavar="NAME", help=", ".join(SCENARIOS))
    parser.add_argument("--rows", type=_counts, metavar="N,...", help="sizes instead of the scenario's own, such as 1M,10M")
    parser.add_argument("--against", type=_families, metavar="NAME,...", help=f"peers, of {','.join(FAMILIES)}; all by default")
    parser.add_argument("--runs", type=_positive, help=f"rounds; {RUNS}, with --quick {QUICK_RUNS}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="results; those of other scenarios in the file are kept")
    parser.add_argument("--plot", type=Path, metavar="FOLDER", help="one PNG and SVG a scenario")
    parser.add_argument("--report", type=Path, metavar="FILE", help="a page of all results in --json, or of this run")
    parser.add_argument("--data", type=Path, default=data, metavar="FOLDER", help="where made-up data is kept")
    parser.add_argument("--without", default="", metavar="NAME,...", help="contenders of `throughput` to leave out")
    parser.add_argument("--note", default="", metavar="TEXT", help="what a reader should know of the machine at that time")
    asked = parser.parse_args(words)
    return Asked(
        quick=asked.quick,
        scenarios=tuple(asked.scenario or SCENARIOS),
        rows=asked.rows,
        against=asked.against,
        runs=asked.runs or (QUICK_RUNS if asked.quick else RUNS),
        json=asked.json,
        plot=asked.plot,
        report=asked.report,
        data=asked.data,
        note=asked.note,
        without=tuple(asked.without.split(",")) if asked.without else (),
    )


def parse_count(text: str) -> int:
    """Read 1000, 300k or 10M. Raises ValueError."""
    match = COUNT.fullmatch(text.replace("_", ""))
    if match is None or not int(match[1]):
        raise ValueError(f"got {text!r}, expected a count such as 300k or 10M")
    return int(match[1]) * {"": 1, "k": 1_000, "M": 1_000_000}[match[2]]


def _counts(text: str) -> tuple[int, ...]:
    try:
        return tuple(parse_count(one) for one in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _families(text: str) -> tuple[str, ...]:
    names = tuple(filter(None, text.split(",")))
    if unknown := [name for name in names if name not in FAMILIES]:
        raise argparse.ArgumentTypeError(f"got {unknown[0]!r}, expected some of {','.join(FAMILIES)}")
    return names


def _positive(text: str) -> int:
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a number of at least 1")
    return int(text)
