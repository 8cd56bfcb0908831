"""Fingerprints are the same in every process, and differ when what they stand for differs."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

import raypipe.errors
from raypipe.core.digest import digest_of_sums, quote
from raypipe.core.fingerprint import combine_digests, commit_id, digest_hex, fingerprint, input_fingerprint, output_fingerprint
from raypipe.core.shard import InputFile, Observed, OutputStat, Slice
from raypipe.core.window import Window


def test_the_fingerprint_of_a_value_is_known_and_ignores_the_order_of_keys():
    assert fingerprint({"a": 1, "b": [2, "x"]}) == fingerprint({"b": [2, "x"], "a": 1}) == "0ddbcf7095b673e26e2638bfe20487c2"


def test_a_routed_slice_is_known_by_its_rows_and_not_by_the_version_of_its_file():
    old = Slice(InputFile("f", 10, "v1"), digest="d")
    new = Slice(InputFile("f", 11, "v2"), digest="d")
    assert input_fingerprint([old]) == input_fingerprint([new])
    assert input_fingerprint([old]) != input_fingerprint([Slice(InputFile("f", 10, "v1"), digest="e")])


@pytest.mark.parametrize("changed", [InputFile("g", 10, "v1"), InputFile("f", 11, "v1"), InputFile("f", 10, "v2")])
def test_a_slice_that_was_not_routed_is_known_by_its_file(changed):
    assert input_fingerprint([Slice(InputFile("f", 10, "v1"))]) != input_fingerprint([Slice(changed)])


def test_the_order_of_slices_does_not_matter():
    one, two = Slice(InputFile("a", 1, "v")), Slice(InputFile("b", 1, "v"))
    assert input_fingerprint([one, two]) == input_fingerprint([two, one])


@given(
    st.lists(st.tuples(st.text(), st.text(min_size=1))),
    st.lists(st.tuples(st.text(), st.integers(0), st.text())),
    st.dictionaries(st.text(), st.tuples(st.integers(0), st.text())),
)
def test_what_is_written_by_hand_for_speed_is_the_fingerprint_of_the_plain_values(routed, files, tables):
    digests = [Slice(InputFile(uri, 1, "v"), digest=digest) for uri, digest in routed]
    assert input_fingerprint(digests) == fingerprint(sorted([uri, digest] for uri, digest in routed))
    assert input_fingerprint([Slice(InputFile(*file)) for file in files]) == fingerprint(sorted(map(list, files)))
    outputs = {table: OutputStat(rows, digest) for table, (rows, digest) in tables.items()}
    assert output_fingerprint(outputs) == fingerprint({table: list(told) for table, told in tables.items()})


def test_a_commit_is_known_by_run_ranges_outcome_output_and_observed():
    base = ("run", [(Window(0, 1), "loaded", "fp", frozenset({Observed(0, 1, 1)}))])
    others = [
        ("run2", base[1]),
        ("run", [(Window(0, 2), "loaded", "fp", frozenset({Observed(0, 1, 1)}))]),
        ("run", [(Window(0, 1), "empty", "fp", frozenset({Observed(0, 1, 1)}))]),
        ("run", [(Window(0, 1), "loaded", "other", frozenset({Observed(0, 1, 1)}))]),
        ("run", [(Window(0, 1), "loaded", "fp", frozenset({Observed(0, 1, 2)}))]),
    ]
    assert len({commit_id(*base), *(commit_id(*one) for one in others)}) == 6


_RANGES = st.tuples(st.integers(0, 9), st.integers(10, 19))


@given(st.text(), st.lists(st.tuples(_RANGES, st.text(), st.text(), st.frozensets(st.tuples(_RANGES, st.integers())))))
def test_the_identity_of_a_commit_is_the_fingerprint_of_its_plain_values(run_id, shards):
    asked = [
        (Window(*window), outcome, output_fp, frozenset(Observed(*seen, seq) for seen, seq in observed))
        for window, outcome, output_fp, observed in shards
    ]
    plain = sorted(
        [*window, outcome, output_fp, sorted([*seen, seq] for seen, seq in observed)]
        for window, outcome, output_fp, observed in shards
    )
    assert commit_id(run_id, asked) == fingerprint([run_id, plain])


@given(st.lists(st.integers(0, 2**128 - 1), max_size=6))
def test_digests_add_up_in_any_order_and_two_equal_rows_do_not_cancel(values):
    digests = [digest_hex(value) for value in values]
    assert combine_digests(digests) == combine_digests(digests[::-1]) == digest_hex(sum(values))
    if values and values[0] % 2**127:
        assert combine_digests([digests[0], digests[0]]) != digest_hex(0)


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_the_halves_of_a_digest_make_the_whole(low, high):
    assert digest_of_sums(low, high) == digest_hex(low + (high << 64))


def test_no_rows_have_the_digest_of_all_zeros():
    assert digest_of_sums(None, None) == "0" * 32


def test_identifiers_are_quoted_whatever_stands_in_them():
    assert quote('a"; DROP TABLE t; --') == '"a""; DROP TABLE t; --"'


def error_classes():
    found = [raypipe.errors.RaypipeError]
    for one in found:
        found.extend(one.__subclasses__())
    return found


@pytest.mark.parametrize("kind", error_classes())
def test_every_error_survives_the_way_between_processes(kind):
    back = pickle.loads(pickle.dumps(kind("what happened")))
    assert type(back) is kind
    assert str(back) == "what happened"


def test_every_error_has_a_code_of_its_own():
    codes = [kind.code for kind in error_classes()]
    assert len(codes) == len(set(codes))
