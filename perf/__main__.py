"""`python -m perf`: measures raypipe beside its peers; `--help` lists what can be asked."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from perf.bench import WARM_ROWS, Bench
from perf.budgets import compare, read_budgets
from perf.canonical import WrongAnswer
from perf.command import Asked, parse_arguments
from perf.contenders import canonical
from perf.machine import machine, versions
from perf.measure import CommandFailed
from perf.plots import NoMatplotlib, plot
from perf.report import console, model_lines, page, verdicts
from perf.results import Results, models, read, write
from perf.scenarios import SCENARIOS
from perf.values import Found, Work

DATA = Path(__file__).parent / "data"
FAILED = 1  # a contender failed or answered wrongly; a missed budget is a result, and ends with 0


def main(words: Sequence[str] | None = None) -> int:
    """Run what was asked; return the exit code."""
    asked = parse_arguments(sys.argv[1:] if words is None else words, DATA)
    bench = Bench(asked.data, asked.runs, asked.quick, asked.rows, asked.against, _say, asked.without)
    results = Results(machine(), versions(), (), asked.note)
    failed = False
    warm_up(bench)
    for name in asked.scenarios:
        try:
            for found in SCENARIOS[name](bench):
                dated = replace(found, date=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC")
                print(console(dated), flush=True)
                results = _kept(asked, results, dated)
        except (WrongAnswer, CommandFailed) as error:
            failed = True
            print(f"{name} failed: {error}", file=sys.stderr)
    try:
        _end(asked, results)
    except NoMatplotlib as error:
        failed = True
        print(error, file=sys.stderr)
    return FAILED if failed else 0


def warm_up(bench: Bench) -> None:
    """Run raypipe once over little data, so that no scenario pays for compiling its modules or for cold libraries."""
    bench.in_turn([canonical("warm-up", bench.events(WARM_ROWS))], Work(WARM_ROWS), runs=1)
    bench.taken_yardsticks()


def _kept(asked: Asked, results: Results, found: Found) -> Results:
    """Add what was found; the document on disk is complete after every step."""
    newer = replace(results, found=(found,))
    known = read(asked.json) if asked.json and asked.json.exists() else results
    merged = known.merged(newer)
    if asked.json:
        write(merged, asked.json)
    return merged


def _end(asked: Asked, results: Results) -> None:
    if asked.json and asked.json.exists():
        results = read(asked.json)
    results = results.ordered(list(SCENARIOS))
    compared = compare(read_budgets(), results.figures)
    for text in (model_lines(models(results.found)), verdicts(compared)):
        if text:
            print(text)
    if asked.report:
        asked.report.write_text(page(results, compared))
    if asked.plot:
        plot(results, asked.plot)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
