from __future__ import annotations

import pytest

from perf.values import fastest, median_figure, middle_spread, ratio_figure, short_count, spread


def test_a_median_is_not_moved_by_one_slow_run(series):
    one = series("a", [2.0, 1.0, 90.0])
    assert one.median("wall_s") == 2.0
    assert one.median("cpu_s") == 4.0
    assert one.rows_per_s == 500
    assert one.bytes_per_s == 5000


def test_a_ratio_is_the_median_of_the_rounds_and_not_the_ratio_of_medians(series):
    figure = ratio_figure("x", series("ours", [1.0, 20.0, 3.0]), series("theirs", [1.0, 5.0, 2.0]))
    assert (figure.value, figure.low, figure.high) == (1.5, 1.0, 4.0)


def test_an_allowed_fixed_cost_is_taken_off_ours_alone(series):
    figure = ratio_figure("x", series("ours", [1.3]), series("theirs", [1.0]), less=0.3)
    assert figure.value == pytest.approx(1.0)


def test_rounds_of_different_number_are_no_pairs(series):
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        ratio_figure("x", series("ours", [1.0, 2.0]), series("theirs", [1.0]))


def test_memory_is_told_in_mebibytes(series):
    figure = median_figure("x", series("ours", [1.0, 1.0], peaks=[1024 * 1024, 3 * 1024 * 1024]), "peak_bytes")
    assert (figure.value, figure.unit, figure.high) == (2.0, "MiB", 3.0)


def test_the_fastest_form_has_the_least_median(series):
    assert fastest([series("a", [3.0]), series("b", [1.0, 1.0, 9.0]), series("c", [2.0])]).contender == "b"


def test_noise_is_the_spread_of_the_extremes():
    assert spread([1.0, 1.5, 1.0]) == 0.5
    assert spread([1.0]) == 0.0


def test_one_outlier_does_not_move_the_spread_of_the_quartiles():
    assert middle_spread([1.0, 1.0, 1.0, 1.0, 1.0, 9.0, 1.0]) == 0.0
    assert middle_spread([1.0]) == 0.0


@pytest.mark.parametrize(("number", "text"), [(999, "999"), (300_000, "300k"), (1_000_000, "1M"), (2_500_000, "2.5M")])
def test_counts_are_written_in_short(number, text):
    assert short_count(number) == text
