"""The laws of raypipe's own tables in a DuckDB file: what `verify` can prove of them without looking at an output table."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import duckdb

from raypipe.core.fingerprint import combine_digests, output_fingerprint, parts_fingerprint
from raypipe.core.replay import CommittedShard, forgotten, replay
from raypipe.core.shard import InputPart, Observed, Outcome, OutputStat
from raypipe.core.window import Window, iso
from raypipe.destinations.duckdb_state import query
from raypipe.destinations.sql_statements import statements
from raypipe.ports import Check

SHOWN_MAX = 5  # a check names the first few of what is wrong

_SQL = {**statements("inspect"), **statements("laws")}
_OUTCOMES = frozenset(Outcome)

Values = Mapping[str, Any]
Tell = Callable[..., str]


def check_of(name: str, wrong: Sequence[str], good: str) -> Check:
    """Return a line of `verify`: the first few of what is wrong, or what was proven."""
    more = f" (and {len(wrong) - SHOWN_MAX} more)" if len(wrong) > SHOWN_MAX else ""
    return Check(name, not wrong, "; ".join(wrong[:SHOWN_MAX]) + more if wrong else good)


def check_readable(connection: duckdb.DuckDBPyConnection, pipeline: str) -> Check:
    """Check that the state can be read at all; where it cannot, nothing else can be proven."""
    wrong = [odd for (odd,) in query(connection, _SQL["unreadable"], {"pipeline": pipeline})]
    return check_of("readable", wrong, "every range ends after it starts, every document is JSON")


def check_laws(connection: duckdb.DuckDBPyConnection, pipeline: str) -> list[Check]:
    """Check every law, inside the caller's transaction."""
    values = {"pipeline": pipeline}
    checks = [_law(connection, values, name, good, *statements) for name, good, *statements in _LAWS]
    return [*checks, _parts(connection, values), _history(connection, values), _contributions(connection, values)]


# ---- statements that find what breaks a law ---------------------------------------------------------------

_Statement = tuple[str, Tell]


def _odd(what: str) -> Tell:
    return lambda name, odd: f"{what} {name} {odd}"


_LAWS: tuple[tuple[Any, ...], ...] = (
    ("accounts", "every row read is loaded, filtered, duplicate or quarantined",
     ("unbalanced", lambda seq, lo, hi: f"commit {seq}, shard {Window(lo, hi)} does not balance"),
     ("odd_entries", lambda seq, lo, hi, odd: f"commit {seq}, shard {iso(lo)} to {iso(hi)} {odd}"),
     ("filtered_differs", lambda seq, lo, said, found: f"commit {seq}, shard {iso(lo)}: " + (
         "the ledger has no such shard, but counts of its filters" if said is None
         else f"the accounts say {said} filtered rows, the filters count {found}"))),
    ("live_disjoint", "no two live ranges of an output share time",
     ("overlapping", lambda output, lo, hi: f"{output}: {Window(lo, hi)} overlaps an earlier live range")),
    ("live_in_ledger", "every live range is one entry of the ledger",
     ("unledgered", lambda output, lo, hi, found: f"{output}: {iso(lo)} to {iso(hi)} has {found} entries in the ledger")),
    ("commit_ids", "every commit has one number, one id and one owner",
     ("shared_numbers", lambda what: f"{what} is used twice"),
     ("split_commits", lambda seq: f"commit {seq} is of several runs, epochs or moments"),
     ("overlapping_entries", lambda seq, lo, hi: f"commit {seq}: {iso(lo)} to {iso(hi)} overlaps another shard of it"),
     ("mixed_commits", lambda seq, output: f"commit {seq} made {output} by several versions of its definition")),
    ("fences", "no run committed after its end or its take-over",
     ("after_end", lambda run, seq: f"commit {seq} is of run {run}, which had ended, has no such epoch or does not exist"),
     ("epochs_back", lambda run, seq: f"commit {seq} of run {run} is of an owner that was already taken over")),
    ("runs", "every run is in a state that runs get into",
     ("odd_runs", _odd("run")), ("doubled_runs", _odd("run")),
     ("failed_of_nobody", lambda lo, hi, run: f"the failure of {iso(lo)} to {iso(hi)} is of run {run}, which does not exist")),
    ("definitions", "every definition has its number, and was brought by a run", ("odd_definitions", lambda odd: odd)),
    ("outputs", "all that is live or covered is of a table of this pipeline, with known columns", ("odd_outputs", lambda odd: odd)),
    ("quarantine", "the quarantined rows are those of the accounts",
     ("quarantine_differs", lambda lo, said, found:
      f"shard {iso(lo)}: the accounts say {said} quarantined rows, there are {found}"),
     ("quarantine_rules", lambda lo, rule, said, found:
      f"shard {iso(lo)}: {said} rows broke the rule {rule}, and {found} are in quarantine for it"),
     ("quarantine_doubled", lambda lo, source, position, found:
      f"shard {iso(lo)}: {source}, position {position} is in quarantine {found} times")),
)  # fmt: skip


def _law(connection: duckdb.DuckDBPyConnection, values: Values, name: str, good: str, *statements: _Statement) -> Check:
    wrong = [tell(*row) for statement, tell in statements for row in query(connection, _SQL[statement], values)]
    return check_of(name, wrong, good)


def _parts(connection: duckdb.DuckDBPyConnection, values: Values) -> Check:
    """Check that every compacted live range is made up of its parts, of their rows and their input."""
    wrong = [
        f"{output}: {iso(lo)} to {iso(hi)} was compacted of parts that do not make it up, or of other rows"
        for output, lo, hi in query(connection, _SQL["untiled"], values)
    ]
    for output, lo, hi, input_fp, rows, digest, *parts in query(connection, _SQL["parts_of_live"], values):
        *read, counts, digests = parts
        inputs = [InputPart(Window(start, end), said, files) for start, end, said, files in zip(*read, strict=True)]
        if parts_fingerprint(inputs) != input_fp:
            wrong.append(f"{output}: {iso(lo)} to {iso(hi)} says that it was read from another input than its parts")
        if (counts or digests) and (sum(counts or ()), _added(digests or ())) != (rows, digest):
            wrong.append(f"{output}: {iso(lo)} to {iso(hi)} says other rows or digests than its parts")
    return check_of("parts", wrong, "every compacted live range is made up of its parts")


def _added(digests: Sequence[str]) -> str | None:
    """Return the digest of all rows; None where one of the digests is none."""
    try:
        return combine_digests(digests)
    except ValueError:
        return None


# ---- the ledger again, commit by commit -------------------------------------------------------------------


def _history(connection: duckdb.DuckDBPyConnection, values: Values) -> Check:
    """Make all commits again and compare what must be live and late with what is."""
    rows = [row for row in query(connection, _SQL["entries"], values) if row[3] in _OUTCOMES]
    outputs_of = {text: tuple(json.loads(text)) for text in {row[4] for row in rows}}
    entries = [CommittedShard(seq, Window(lo, hi), Outcome(outcome), outputs_of[text]) for seq, lo, hi, outcome, text in rows]
    expected = replay(entries)
    live: dict[str, list[Observed]] = {}
    for output, lo, hi, seq in query(connection, _SQL["live_ranges"], values):
        live.setdefault(output, []).append(Observed(lo, hi, seq))
    wrong: list[str] = []
    for output, ranges in live.items():
        made = replay(one for one in entries if output in one.outputs).live
        wrong += _differences(output, *forgotten(made, ranges))
    late = query(connection, _SQL["late_ranges"], values)
    if sorted(late) != sorted((one.start_us, one.end_us, one.seq, "superseded") for one in expected.late):
        wrong.append(f"the commits leave {len(expected.late)} late ranges, and {len(late)} are noted, or others")
    return check_of("history", wrong, "the commits, made again one by one, leave what is live and late")


def _differences(output: str, unexpected: Sequence[Observed], lost: Sequence[Observed]) -> Iterator[str]:
    for one in unexpected:
        yield f"{output}: {_range(one)} of commit {one.seq} is live, and a later commit replaced it, or none made it"
    for one in lost:
        yield f"{output}: {_range(one)} of commit {one.seq} is not live, and no later commit replaced it"


def _range(one: Observed) -> str:
    return f"{iso(one.start_us)} to {iso(one.end_us)}"


def _contributions(connection: duckdb.DuckDBPyConnection, values: Values) -> Check:
    """Compare what the live ranges say of each contribution with the fingerprint over all of them in the ledger.

    Of a shard some of whose outputs are not live any more, the fingerprint cannot be taken again.
    """
    wrong = []
    for lo, hi, said, made, text, is_last_owner, outputs, rows, digests, made_by in query(
        connection, _SQL["contributions"], values
    ):
        definitions = json.loads(text)
        stats = {output: OutputStat(n, digest) for output, n, digest in zip(outputs, rows, digests, strict=True)}
        if sorted(stats) == json.loads(made) and output_fingerprint(stats) != said:
            wrong.append(f"{iso(lo)} to {iso(hi)}: the live ranges say other rows or digests than the ledger")
        for output, version in zip(outputs, made_by, strict=True) if is_last_owner else ():
            if definitions.get(output) != version:
                wrong.append(f"{output}: {iso(lo)} to {iso(hi)} was made by version {version}, not by that of its run")
    return check_of("contributions", wrong, "live ranges, runs and ledger say the same of what each shard contributed")
