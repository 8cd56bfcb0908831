"""Random dirty rows through random steps: the accounts balance, and the tables are those of plain Python."""

from __future__ import annotations

from collections import Counter

import polars as pl
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from raypipe.core.accounts import total
from raypipe.core.datatype import parse_datatype
from raypipe.pipeline import Cast, Deduplicate, Derive, Filter, Quality, RowsOutput, Rule, SqlOutput

HOUR_US = 3_600_000_000
NUMBERS = st.sampled_from(["0", "1", "2", "3", "127", "128", "-5", " 7", "x", "1.0", "", None, "99999999999999999999"])
ROW = st.tuples(NUMBERS, st.sampled_from(["a", "b", "c", None]), st.integers(0, 3 * HOUR_US - 1))
STEPS = {
    "filter": Filter(condition="n > 1", name="over_one"),
    "derive": Derive(columns={"n": "CAST(n AS BIGINT) + 1"}),
    "deduplicate": Deduplicate(key=("s",), latest_by=("n",)),
    "cast": Cast(columns={"n": parse_datatype("int8")}),
}
RULES = {
    "quarantine": Rule(name="positive", expect="n >= 0"),
    "drop": Rule(name="not_b", expect="s <> 'b'", otherwise="drop"),
    "warn": Rule(name="known", expect="n IS NOT NULL", otherwise="warn"),
}


class Expected:
    """The same pipeline, row by row."""

    def __init__(self, rules, steps):
        self.rules, self.steps = rules, steps
        self.counts = Counter()

    def run(self, rows):
        kept = []
        for place, (text, s, time) in enumerate(rows):
            n = self.number(text)
            if n == "broken":
                self.counts["quarantined"] += 1
            elif self.passes(n, s):
                kept.append({"n": n, "s": s, "time": time, "place": place})
        for step in self.steps:
            kept = getattr(self, step)(kept)
        return kept

    def number(self, text):
        if text is None:
            return None
        try:
            found = int(text.strip())
        except ValueError:
            return "broken"
        return found if abs(found) < 2**63 else "broken"

    def passes(self, n, s):
        for rule in self.rules:
            if rule == "quarantine" and n is not None and n < 0:
                self.counts["quarantined"] += 1
                return False
            if rule == "drop" and s == "b":
                self.counts["filtered"] += 1
                return False
        return True

    def filter(self, rows):
        kept = [row for row in rows if row["n"] is not None and row["n"] > 1]
        self.counts["filtered"] += len(rows) - len(kept)
        return kept

    def derive(self, rows):
        return [{**row, "n": None if row["n"] is None else row["n"] + 1} for row in rows]

    def cast(self, rows):
        kept = [row for row in rows if row["n"] is None or -128 <= row["n"] <= 127]
        self.counts["quarantined"] += len(rows) - len(kept)
        return kept

    def deduplicate(self, rows):
        newest = {}
        for row in rows:
            key = (row["time"] // HOUR_US, row["s"])
            rank = (row["n"] is not None, row["n"] or 0, row["time"], row["place"])
            if key not in newest or rank > newest[key][0]:
                newest[key] = (rank, row)
        self.counts["duplicate"] += len(rows) - len(newest)
        return sorted((row for _, row in newest.values()), key=lambda row: row["place"])


@settings(
    max_examples=15,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@example(rows=[("1", None, 1)] * 2, rules=[], steps=["deduplicate", "deduplicate"], batch_rows=1, memory_bytes=1)
@given(
    rows=st.lists(ROW, max_size=40),
    rules=st.lists(st.sampled_from(sorted(RULES)), unique=True),
    steps=st.lists(st.sampled_from(sorted(STEPS)), max_size=4),
    batch_rows=st.sampled_from([1, 3, 100]),
    memory_bytes=st.sampled_from([1, 1 << 28]),
)
def test_accounts_balance_and_rows_are_those_of_plain_python(
    make_pipeline, make_runner, make_task, memory_source, rows, rules, steps, batch_rows, memory_bytes
):
    pipeline = make_pipeline(
        {"n": "int64", "s": "string"},
        quality=Quality(rules=tuple(RULES[one] for one in rules)),
        steps=[STEPS[one] for one in steps],
        outputs=[RowsOutput(table="out"), SqlOutput(table="sums", sql="SELECT s, count(*) AS c FROM rows GROUP BY ALL")],
    )
    frame = pl.DataFrame(rows, schema={"n": pl.String, "s": pl.String, "_time": pl.Int64}, orient="row")
    runner = make_runner(pipeline, memory_source(frame, batch_rows=batch_rows), memory_bytes=memory_bytes)
    staged = runner.run(make_task(3))
    runner.close()
    expected = Expected(rules, steps)
    kept = expected.run(rows)
    assert not staged.failures, staged.failures[0].error
    assert all(one.accounts.balanced for one in staged.results)
    accounts = total(one.accounts for one in staged.results)
    assert accounts.read == len(rows)
    assert {name: getattr(accounts, name) for name in ("filtered", "quarantined", "duplicate")} == {
        name: expected.counts[name] for name in ("filtered", "quarantined", "duplicate")
    }
    out = sorted(staged.tables["out"].select(["n", "s"]).to_pylist(), key=str)
    assert out == sorted(({"n": row["n"], "s": row["s"]} for row in kept), key=str)
    groups = Counter((row["time"] // HOUR_US, row["s"]) for row in kept)
    found = staged.tables["sums"].to_pylist()
    assert sorted((row["c"] for row in found), key=str) == sorted(groups.values(), key=str)
    quarantined = staged.tables["_quarantine"].num_rows if "_quarantine" in staged.tables else 0
    assert quarantined == accounts.quarantined
