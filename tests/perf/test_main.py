from __future__ import annotations

import pytest

from perf import __main__ as harness
from perf.canonical import WrongAnswer
from perf.measure import CommandFailed
from perf.results import read
from perf.values import Figure, Found


@pytest.fixture
def measured(monkeypatch, series):
    """Put a scenario in place of throughput; return what replaces what it finds."""
    finding = {}

    def scenario(bench):
        yield Found("throughput", "throughput 10M", "?", (series("raypipe", [1.0]),), finding["figures"])
        if "error" in finding:
            raise finding["error"]

    def find(*figures, error=None):
        finding.update({"figures": figures} | ({"error": error} if error else {}))

    monkeypatch.setattr(harness, "warm_up", lambda bench: None)
    monkeypatch.setitem(harness.SCENARIOS, "throughput", scenario)
    return find


WORDS = ["--scenario", "throughput"]
OVER = Figure("throughput.10M.peak.raypipe", 9_999, "MiB")


def test_a_figure_over_its_budget_is_told_and_is_no_failure(measured, tmp_path, capsys):
    measured(OVER)
    assert harness.main([*WORDS, "--report", str(tmp_path / "page.md")]) == 0
    assert "9,999 MiB   <= 333.7  OVER  throughput.10M.peak.raypipe" in capsys.readouterr().out
    assert "| <= 333.7 | OVER |" in (tmp_path / "page.md").read_text()


@pytest.mark.parametrize("error", [WrongAnswer("rows missing"), CommandFailed("ended with 1")])
def test_a_wrong_answer_or_a_failed_contender_fails_and_keeps_what_was_found_before(measured, tmp_path, capsys, error):
    measured(OVER, error=error)
    assert harness.main([*WORDS, "--json", str(tmp_path / "r.json")]) == 1
    assert f"throughput failed: {error}" in capsys.readouterr().err
    assert [one.title for one in read(tmp_path / "r.json").found] == ["throughput 10M"]


def test_results_of_one_scenario_after_the_other_stand_in_one_document(measured, tmp_path):
    measured(OVER)
    words = [*WORDS, "--json", str(tmp_path / "r.json")]
    harness.main([*words, "--note", "a shared machine"])
    measured(Figure("throughput.10M.peak.raypipe", 300, "MiB"))
    harness.main(words)
    results = read(tmp_path / "r.json")
    assert [one.value for one in results.figures] == [300]
    assert results.note == "a shared machine"
