"""Type words of a contract parse into values and print as they were written."""

from __future__ import annotations

import pytest

from raypipe.core.datatype import SIMPLE, DataType, parse_datatype


@pytest.mark.parametrize(
    "word", [*SIMPLE, "decimal(10,2)", "list<int64>", "list<list<string>>", "struct<a: int64, b: list<string>>"]
)
def test_a_type_prints_as_it_was_written(word):
    assert str(parse_datatype(word)) == word


def test_nested_types_keep_their_parts():
    kind = parse_datatype("struct< a:decimal( 5 , 1 ),b : list<date> >")
    assert kind.fields == (("a", DataType("decimal", precision=5, scale=1)), ("b", DataType("list", item=DataType("date"))))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("int", "expected one of"),
        ("decimal(40,2)", "expected 1 to 38 digits"),
        ("decimal(3,5)", "expected 1 to 38 digits"),
        ("list<int64", "expected '>'"),
        ("struct<int64>", "expected ':'"),
        ("struct<>", "expected a field"),
        ("int64 null", "left over"),
        ("", "expected a type"),
    ],
)
def test_a_word_that_is_no_type_says_what_is_expected(text, says):
    with pytest.raises(ValueError, match=says):
        parse_datatype(text)
