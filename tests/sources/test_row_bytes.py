from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from raypipe.sources.row_bytes import row_bytes

rows_of_text = st.lists(st.tuples(st.one_of(st.none(), st.text()), st.one_of(st.none(), st.text())), min_size=1, max_size=2)


def rows_of(rows: list[tuple[str | None, str | None]]) -> pa.RecordBatch:
    columns = {name: pa.array([row[place] for row in rows], pa.string()) for place, name in enumerate(("a", "b"))}
    return pa.RecordBatch.from_pydict({**columns, "_position": pa.array(range(len(rows)), pa.int64())})


@given(rows_of_text, rows_of_text, st.booleans())
def test_rows_have_equal_bytes_only_when_they_are_equal(
    a: list[tuple[str | None, str | None]], b: list[tuple[str | None, str | None]], named: bool
) -> None:
    def joined(rows: list[tuple[str | None, str | None]]) -> bytes:
        return b"".join(row_bytes(rows_of(rows), named=named).to_pylist())

    assert (joined(a) == joined(b)) == (a == b)


def test_rows_with_names_have_the_same_bytes_whatever_columns_others_have() -> None:
    narrow = pa.RecordBatch.from_pylist([{"a": "1"}])
    wide = pa.RecordBatch.from_pydict({"b": pa.array([None], pa.int64()), "a": ["1"]})
    assert row_bytes(narrow, named=True).to_pylist() == row_bytes(wide, named=True).to_pylist()


def test_values_of_every_type_have_bytes() -> None:
    rows = pa.RecordBatch.from_pydict(
        {
            "n": pa.array([1, 2]), "f": pa.array([0.1, None]), "b": [True, False], "s": [{"x": 1}, {"x": 2}], "l": [[1, 2], []],
            "d": pa.array(["p", "q"]).dictionary_encode(), "t": pa.array([1, 2], pa.timestamp("us")),
            "v": pa.array(["a", "b"], pa.string_view()),
        }
    )  # fmt: skip
    first, second = row_bytes(rows, named=False).to_pylist()
    assert (
        first
        == b"\xff1\xff0.1\xfftrue" + b'\xff{"value":{"x":1}}' + b'\xff{"value":[1,2]}' + b"\xffp\xff1970-01-01 00:00:00.000001\xffa"
    )
    assert b"\xff2\xff\xfe\xfffalse" in second
