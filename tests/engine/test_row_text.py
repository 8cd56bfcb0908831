"""The text of rows that are set aside: what `json.dumps` writes of Python's values, whatever the types are."""

from __future__ import annotations

import base64
import decimal
import json
import math

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.engine.far_times import readable
from raypipe.engine.row_text import json_rows

DAY_S = 86_400
FIRST_S, END_S = -719_162 * DAY_S, 2_932_897 * DAY_S  # 0001-01-01 and the day after 9999-12-31
ABRUPT = st.text('ab"\\\n\x00\x1f\x7f\u2028é\U0001f600')


def by_python(rows):
    """Row by row, from Python's values."""
    return [written(row) for row in readable(pl.from_arrow(rows)).iter_rows(named=True)]


def written(row):
    plain = {name: str(one) if isinstance(one, float) and not math.isfinite(one) else one for name, one in row.items()}
    return json.dumps(plain, ensure_ascii=False, default=as_text)


def as_text(value):
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def bits(count, *, signed=True):
    return st.integers(-(2 ** (count - 1)), 2 ** (count - 1) - 1) if signed else st.integers(0, 2**count - 1)


def instants(per_second):
    """Near 1970, anywhere, and around the ends of what Python can hold."""
    ends = [st.integers((end_s - 2 * DAY_S) * per_second, (end_s + 2 * DAY_S) * per_second) for end_s in (FIRST_S, END_S)]
    whole = st.integers(FIRST_S, END_S).map(lambda seconds: seconds * per_second)
    return st.one_of(st.integers(-2, 2), whole, bits(55), *ends)


VALUES = [
    (pa.bool_(), st.booleans()),
    *((kind, bits(kind.bit_width)) for kind in (pa.int8(), pa.int16(), pa.int32(), pa.int64())),
    *((kind, bits(kind.bit_width, signed=False)) for kind in (pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64())),
    (pa.float16(), st.floats(width=16)),
    (pa.float32(), st.floats(width=32)),
    (pa.float64(), st.floats()),
    (pa.float64(), st.one_of(st.integers(-5, 10**11).map(float), st.floats(1e-5, 1e-3), st.floats(1e9, 1e17), st.just(-0.0))),
    *((kind, st.text() | ABRUPT) for kind in (pa.string(), pa.large_string(), pa.string_view())),
    *((kind, st.binary()) for kind in (pa.binary(), pa.large_binary())),
    (pa.binary(3), st.binary(min_size=3, max_size=3)),
    (pa.date32(), bits(32) | st.integers(-719_165, -719_160) | st.integers(2_932_890, 2_932_900)),
    (pa.date64(), st.integers(-719_000, 2_932_000).map(lambda days: days * DAY_S * 1000)),
    *(
        (pa.timestamp(unit, zone), instants(per_second))
        for unit, per_second in (("s", 1), ("ms", 1_000), ("us", 1_000_000))
        for zone in (None, "UTC", "Europe/Berlin", "+02:00")
    ),
    (pa.timestamp("ns"), bits(64)),
    (pa.time32("s"), st.integers(0, DAY_S - 1)),
    (pa.time64("us"), st.integers(0, DAY_S * 1_000_000 - 1)),
    (pa.time64("ns"), st.integers(0, DAY_S * 1_000_000_000 - 1)),
    (pa.duration("us"), bits(40)),
    *((pa.decimal128(38, scale), st.integers(-(10**37), 10**37) | st.integers(-9, 9)) for scale in (0, 2, 6, 7, 38)),
    (pa.null(), st.none()),
    (pa.dictionary(pa.int8(), pa.string()), st.sampled_from(["a", "b", 'c"'])),
    (pa.dictionary(pa.int32(), pa.int64()), st.integers(0, 3)),
]


def array_of(kind, values):
    if pa.types.is_decimal(kind):
        context = decimal.Context(prec=40)
        return pa.array([None if one is None else decimal.Decimal(one).scaleb(-kind.scale, context) for one in values], kind)
    if pa.types.is_temporal(kind):
        return pa.array(values, pa.int32() if kind.bit_width == 32 else pa.int64()).view(kind)
    return pa.array(values, kind)


@st.composite
def columns(draw, rows):
    kind, values = draw(st.sampled_from(VALUES))
    column = array_of(kind, draw(st.lists(st.none() | values, min_size=rows, max_size=rows)))
    if pa.types.is_dictionary(kind) or not draw(st.booleans()):
        return column
    if draw(st.booleans()):
        return pa.StructArray.from_arrays([column, pa.array(range(rows))], ["x", "n"])
    return pa.ListArray.from_arrays(pa.array([*range(rows), rows], pa.int32()), column)


@st.composite
def tables(draw):
    rows = draw(st.integers(1, 4))
    names = draw(st.lists(st.text(min_size=1, max_size=3), min_size=1, max_size=4, unique=True))
    return pa.table([draw(columns(rows)) for _ in names], names=names)


def python_knows(rows):
    """Tell whether Python can hold all values: times beyond its years it cannot, where they are in lists."""
    try:
        return by_python(rows)
    except (Exception, pl.exceptions.PanicException):
        return None


@given(tables(), st.data())
def test_the_text_of_a_row_is_what_json_dumps_writes_of_it(rows, data):
    places = data.draw(st.lists(st.integers(0, rows.num_rows - 1), max_size=5))
    expected = python_knows(rows)
    if expected is not None:
        assert json_rows(rows, pa.array(places, pa.uint32())).to_pylist() == [expected[place] for place in places]


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([1.0, None, -0.0]), ["1.0", "null", "-0.0"]),
        (pa.array([0.0001, 3.0, 1234567.25, 9_999_999_999.0]), ["0.0001", "3.0", "1234567.25", "9999999999.0"]),
        (pa.array([10_000_000_000.5]), ["10000000000.5"]),
        (pa.array([0.00005]), ["5e-05"]),
        (pa.array([0.1], pa.float32()), ["0.10000000149011612"]),
        (pa.array([float("nan"), float("-inf"), 1.0]), ['"nan"', '"-inf"', "1.0"]),
        (pa.array([[1.5, float("nan")]]), ["[1.5, NaN]"]),
        (pa.array(["a", 'b"\n', None]), ['"a"', r'"b\"\n"', "null"]),
        (pa.array(["a\nb", "c"]), [r'"a\nb"', '"c"']),
        (pa.array([0, 1_500_000], pa.timestamp("us")), ['"1970-01-01T00:00:00"', '"1970-01-01T00:00:01.500000"']),
        (pa.array([0], pa.timestamp("ms", "UTC")), ['"1970-01-01T00:00:00+00:00"']),
        (pa.array([10**18, 0], pa.timestamp("us")), ['"1000000000000000000 us since 1970"', '"1970-01-01T00:00:00"']),
        (pa.array([FIRST_S], pa.timestamp("s")), [f'"{FIRST_S * 1000} ms since 1970"']),  # on another clock a year before the first
        (pa.array([FIRST_S // DAY_S, END_S // DAY_S], pa.date32()), ['"0001-01-01"', f'"{END_S // DAY_S} days since 1970"']),
        (pa.array([decimal.Decimal("0.0000001")]), ['"1E-7"']),
        (pa.array([b"\xff"]), ['"/w=="']),
    ],
)
def test_values_stand_as_they_always_did(column, expected):
    found = json_rows(pa.table({"v": column}), pa.array(range(len(column)), pa.uint32())).to_pylist()
    assert found == [f'{{"v": {one}}}' for one in expected]


def test_rows_of_several_chunks_are_found_by_their_places():
    codes = [pa.array(words).dictionary_encode() for words in (["x", None], ["y"])]
    rows = pa.table({"v": pa.chunked_array([["a", "b"], ["c"]]), "w": pa.chunked_array(codes)})
    assert json_rows(rows, pa.array([2, 1], pa.uint32())).to_pylist() == ['{"v": "c", "w": "y"}', '{"v": "b", "w": null}']
