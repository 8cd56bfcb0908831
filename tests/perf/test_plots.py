from __future__ import annotations

import pytest

from perf import plots
from perf.results import Results
from perf.values import Found


def found(scenario, *series):
    return Found(scenario, f"{scenario} {series[0].work.label}", "", tuple(series))


def test_lines_are_drawn_over_rows_for_who_was_measured_at_several_sizes(series):
    small = found("throughput", series("raypipe", [1.0], rows=10), series("slow", [9.0], rows=10))
    large = found("throughput", series("raypipe", [2.0], rows=100))
    assert plots.over_sizes([large, small]) == {"throughput": {"raypipe": [(10, 1.0, 1.0), (100, 2.0, 1.0)]}}


def test_lines_are_drawn_over_shards_where_the_rows_are_fixed(series):
    one = found("shards", series("raypipe", [1.0], shards=30), series("raypipe", [3.0], shards=720))
    assert plots.over_sizes([one]) == {"shards": {"raypipe": [(30, 1.0, 1.0), (720, 3.0, 1.0)]}}


def test_plots_without_matplotlib_say_what_installs_it(monkeypatch, tmp_path):
    monkeypatch.setattr(plots, "find_spec", lambda name: None)
    with pytest.raises(plots.NoMatplotlib, match=r"pip install .*\[perf\]"):
        plots.plot(Results({}, {}, ()), tmp_path)
