from __future__ import annotations

import pytest

from perf.fits import Point, exponent, fit


def points(*sizes, fixed=0.5, per_shard=0.01, per_row=1e-6):
    return [Point(rows, shards, fixed + per_shard * shards + per_row * rows) for rows, shards in sizes]


def test_the_exponent_of_a_linear_cost_without_start_is_one():
    assert exponent(points((10**6, 0), (10**7, 0), (10**8, 0), fixed=0.0)) == pytest.approx(1.0)


def test_the_exponent_of_a_quadratic_cost_is_two():
    assert exponent([Point(10, 1, 1.0), Point(100, 1, 100.0)]) == pytest.approx(2.0)


def test_one_size_has_no_exponent():
    assert exponent([Point(10, 1, 1.0), Point(10, 1, 1.1)]) is None


def test_all_three_terms_are_found_again():
    model = fit(points((10**6, 30), (10**7, 30), (10**6, 3000), (10**8, 30)))
    assert (model.fixed_s, model.per_shard_s, model.per_row_s) == pytest.approx((0.5, 0.01, 1e-6))
    assert model.worst < 1e-6


def test_a_term_that_does_not_vary_is_left_to_the_fixed_part():
    model = fit(points((10**6, 30), (10**7, 30), (10**8, 30)))
    assert model.per_shard_s is None
    assert (model.fixed_s, model.per_row_s) == pytest.approx((0.8, 1e-6))


def test_no_term_is_negative_where_measurements_would_have_it_so():
    model = fit([Point(10**6, 1, 0.9), Point(10**7, 1, 10.0), Point(10**8, 1, 110.0)])
    assert model is None or min(model.fixed_s, model.per_row_s or 0.0) >= 0


def test_nothing_is_fitted_to_as_many_points_as_terms():
    assert fit(points((10**6, 30))) is None
    assert fit(points((10**6, 30), (10**7, 30))) is None
