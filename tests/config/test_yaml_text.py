from __future__ import annotations

import contextlib

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from raypipe.config import yaml_text
from raypipe.config.tree import Place, plain


def parse(text):
    parsed = yaml_text.parse(text, lambda line: Place("x.yaml", line))
    return plain(parsed.root), [one.text for one in parsed.problems]


def refusal(text):
    with pytest.raises(yaml_text.TextRefused) as caught:
        parse(text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("word", "value"),
    [
        *(
            (word, word)
            for word in (
                "on",
                "off",
                "yes",
                "no",
                "y",
                "n",
                "On",
                "NO",
                "tRue",
                "2013-01-01",
                "12:30:00",
                "1_000",
                "0b1",
                "None",
                "=",
            )
        ),
        *((word, True) for word in ("true", "True", "TRUE")),
        *((word, False) for word in ("false", "False", "FALSE")),
        *((word, None) for word in ("null", "Null", "NULL", "~", "")),
        *(
            ("0", 0),
            ("-12", -12),
            ("+5", 5),
            ("010", 10),
            ("0o10", 8),
            ("0x1F", 31),
            ("1.5", 1.5),
            (".5", 0.5),
            ("1e3", 1000.0),
            ("-.inf", float("-inf")),
        ),
        *(('"5"', "5"), ("'true'", "true"), ('"null"', "null"), ("|\n  a\n  b\n", "a\nb\n")),
    ],
)
def test_words_mean_what_yaml_1_2_says(word, value):
    assert parse(f"a: {word}") == ({"a": value}, [])


def test_a_number_of_many_digits_is_text():
    assert parse("a: " + "9" * 900_000)[0] == {"a": "9" * 900_000}


def test_keys_are_words_whatever_they_look_like():
    assert parse("2013: a\ntrue: b\nnull: c\non: d\n")[0] == {"2013": "a", "true": "b", "null": "c", "on": "d"}


@pytest.mark.parametrize(
    ("text", "problem", "data"),
    [
        ("d: {x: f(a, b)}", 'x.yaml:1: d.x: a comma splits the value; quote it: x: "f(a, b)"', {"d": {"x": "f(a, b)"}}),
        ("{x: f(a, b, c), y: 1}", 'x.yaml:1: x: a comma splits the value; quote it: x: "f(a, b, c)"', {"x": "f(a, b, c)", "y": 1}),
        (
            "c: {p: decimal(10,2)}",
            'x.yaml:1: c.p: a comma splits the value; quote it: p: "decimal(10,2)"',
            {"c": {"p": "decimal(10,2)"}},
        ),
        (
            "{e: x IN (1, 2), o: drop}",
            'x.yaml:1: e: a comma splits the value; quote it: e: "x IN (1, 2)"',
            {"e": "x IN (1, 2)", "o": "drop"},
        ),
        ("{d: by hour, port}", 'x.yaml:1: d: a comma splits the value; quote it: d: "by hour, port"', {"d": "by hour, port"}),
        (
            "{d: 'a'\n , b}",
            "x.yaml:2: b: the key has no value; a list is written in [ ], and a value that holds a comma in quotes",
            {"d": "a"},
        ),
        ("{d: {a: f(x,\n  y)}}", 'x.yaml:1: d.a: a comma splits the value; quote it: a: "f(x, y)"', {"d": {"a": "f(x, y)"}}),
        (
            "{a: [1], b}",
            "x.yaml:1: b: the key has no value; a list is written in [ ], and a value that holds a comma in quotes",
            {"a": [1]},
        ),
        (
            "l: [f(a, b), c]",
            'x.yaml:1: l.0: got "f(a", cut at a comma; quote a value that holds a comma',
            {"l": ["f(a", "b)", "c"]},
        ),
    ],
)
def test_a_comma_that_splits_a_value_is_told_with_the_remedy(text, problem, data):
    assert parse(text) == (data, [problem])


@pytest.mark.parametrize(
    "text",
    ["{a: , b: 1}", "{a: null}", '{x: "f(a, b)"}', "{a: [b, c], d: f(x)}", "x: f(a, b)", "[a, b]", "{a: b,}", "{a: ')', b: ':-('}"],
)
def test_other_flow_values_are_left_alone(text):
    assert parse(text)[1] == []


def test_duplicate_keys_are_told_with_both_lines():
    data, problems = parse("a: 1\nb:\n  c: 1\n  c: 2\na: 3\n")
    assert problems == [
        "x.yaml:4: b.c: the key stands twice; the first is at x.yaml:3",
        "x.yaml:5: a: the key stands twice; the first is at x.yaml:1",
    ]
    assert data == {"a": 1, "b": {"c": 1}}


@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:os.system", "!!python/name:os.system", "!!binary", "!!str", "!x", "!", "!!set", "!!timestamp"]
)
def test_every_tag_is_refused_and_nothing_is_made_of_it(tag):
    data, problems = parse(f"a: {tag} '1'")
    assert data == {"a": "1"}
    assert len(problems) == 1
    assert problems[0].startswith("x.yaml:1: a: got the tag ")


@pytest.mark.parametrize(
    "text",
    ["!!python/object/apply:os.system [ls]", "a: !!python/object:x.Y {b: 1}", "!!str a: 1", "%TAG ! tag:x,2000:\n---\na: !b 1"],
)
def test_tags_on_anything_are_refused(text):
    assert any("tag" in one for one in parse(text)[1])


def test_merge_keys_are_refused():
    assert parse("a: &x {b: 1}\nc: {<<: *x, d: 2}")[1] == [
        "x.yaml:2: c: merge keys (<<) are not YAML 1.2; use profiles, or write the keys out"
    ]


def test_an_alias_that_repeats_a_little_is_fine():
    assert parse("a: &x [1, 2]\nb: *x\nc: *x\n") == ({"a": [1, 2], "b": [1, 2], "c": [1, 2]}, [])


def test_a_billion_laughs_are_refused_at_once():
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    assert refusal("\n".join(lines)) == "x.yaml:4: aliases multiply to more than 1000 values; write them out"


def test_an_alias_to_itself_or_to_nothing_is_refused():
    assert refusal("a: &a [*a]") == "x.yaml:1: the alias *a has no anchor before it"
    assert refusal("a: *b") == "x.yaml:1: the alias *b has no anchor before it"


@pytest.mark.parametrize("text", ["[" * 100_000, "{a: " * 100_000, "- " * 100_000, "[" * 40 + "]" * 40, "? " * 5000])
def test_deep_nesting_is_refused(text):
    assert "nested deeper than 32 levels" in refusal(text) or "must be a word" in refusal(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "x.yaml: nothing stands here; expected keys and values (raypipe init writes an example)"),
        ("# only a comment\n", "x.yaml: nothing stands here; expected keys and values (raypipe init writes an example)"),
        ("a: 1\n---\nb: 2\n", "x.yaml:2: a second document starts here; expected one pipeline a file"),
        ("? [a, b]\n: 1\n", "x.yaml:1: : a key must be a word, not a list, a mapping or an alias"),
        ("x: {? {a: 1} : 2}", "x.yaml:1: x: a key must be a word, not a list, a mapping or an alias"),
    ],
)
def test_documents_of_another_form_are_refused(text, told):
    assert refusal(text) == told


@pytest.mark.parametrize(
    ("text", "line", "hint"),
    [
        ("a: b: c\n", 1, 'quote a value that holds ": "'),
        ("a:\n\tb: 1\n", 2, "indent with spaces, not tabs"),
        ("a: 1\nb: [1, 2\nc: 3\n", 3, "a bracket, quote or indentation is wrong here or just above"),
        ("a: 1\n  b: 2\n", 2, 'quote a value that holds ": "'),
        ("a: @b\n", 1, "quote a value that starts with @"),
        ("a: 'b\n", 2, "this is not YAML"),
        ("a: \x01\n", 1, "a character that may not stand in text"),
        ("a: 1\nb: \x00\n", 2, "a character that may not stand in text"),
    ],
)
def test_what_is_not_yaml_is_told_with_its_line_and_a_hint(text, line, hint):
    told = refusal(text)
    assert told.startswith(f"x.yaml:{line}: this is not YAML: ")
    assert hint in told


def test_too_many_values_are_refused_before_they_are_held():
    assert refusal("a: [" + "1," * 60_000 + "]") == "x.yaml:1: more than 50000 values; no configuration needs that"


def test_a_mistake_made_a_thousand_times_is_told_two_hundred_times(problems):
    found = problems("\n".join(f"kay{n}: 1" for n in range(1000)))
    assert len(found) == 201
    assert found[-1] == "daily.yaml: and 805 problems more"


def test_a_file_of_more_than_a_megabyte_is_refused_unread(problem):
    assert problem("a: " + "x" * 1_000_001) == "daily.yaml: the file has more than 1000000 bytes; expected a configuration"


def test_a_file_that_is_not_utf_8_is_refused_with_its_line(problem):
    assert problem(b"a: 1\nb: \xff\n") == "daily.yaml:2: the file is not UTF-8 text"


def test_a_byte_order_mark_is_no_mistake(load, small):
    assert load(b"\xef\xbb\xbf" + yaml.safe_dump(small).encode()).name == "rides"


@pytest.mark.parametrize(("text", "got"), [("[a]", "a list"), ("text", '"text"'), ("5", "5"), ("~", "nothing")])
def test_a_root_that_is_no_mapping_is_refused(problem, text, got):
    assert problem(text) == f"daily.yaml:1: got {got}, expected keys and values"


SCALARS = st.one_of(
    st.booleans(), st.integers(-(2**63), 2**63), st.text(st.characters(exclude_categories=["C"]), max_size=20), st.none()
)


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=8),
        st.one_of(SCALARS, st.lists(SCALARS, max_size=4), st.dictionaries(st.text("abc", min_size=1), SCALARS, max_size=4)),
        max_size=5,
    )
)
@settings(max_examples=100, deadline=None)
def test_what_a_writer_of_yaml_writes_is_read_back(document):
    document = {key: value for key, value in document.items() if key != "<<" and key.isalpha()}
    text = yaml.safe_dump(document, allow_unicode=True)
    assert parse(text) == (document, [])


@given(st.text(st.sampled_from("ab:{}[],-?&*!|>'\"%@` \n\t#<()$0.~")))
@settings(max_examples=300, deadline=None)
def test_any_text_is_read_or_refused(text):
    with contextlib.suppress(yaml_text.TextRefused):
        assert isinstance(parse(text)[1], list)
