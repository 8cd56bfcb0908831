from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.config.problems import redacted

SECRET = "hunter2-canary"


def test_an_environment_variable_stands_for_a_whole_value_or_a_part(load, small):
    small["description"] = "${env:WHO}"
    small["destination"]["path"] = "/srv/${env:WHO}/${env:DAY}.duckdb"
    pipeline = load(small, environ={"WHO": "ana", "DAY": "monday"})
    assert (pipeline.description, pipeline.destination.path) == ("ana", "/srv/ana/monday.duckdb")


def test_a_file_stands_for_its_content_without_the_last_line_end(load, small, tmp_path):
    (tmp_path / "who.txt").write_text("ana\r\n")
    small["description"] = "by ${file:who.txt}"
    assert load(small).description == "by ana"


def test_an_absolute_file_is_read_where_it_stands(load, small, tmp_path):
    (tmp_path / "who.txt").write_text("ana\n\n")
    small["description"] = "${file:" + str(tmp_path) + "/who.txt}"
    assert load(small).description == "ana\n"


def test_what_comes_in_is_text_and_not_read_again(load, small):
    small["description"] = "${env:A}"
    assert load(small, environ={"A": "${env:B}"}).description == "${env:B}"
    assert load(small, environ={"A": "null"}).description == "null"
    assert load(small, environ={"A": "{a: [1]}"}).description == "{a: [1]}"


def test_a_number_or_a_boolean_may_come_from_outside(load, small):
    small["run"] = {"cpus_per_shard": "${env:C}", "retries": {"attempts": "${env:N}"}}
    small["source"]["csv"] = {"header": "${env:H}"}
    pipeline = load(small, environ={"C": "0.5", "N": "7", "H": "false"})
    assert (pipeline.run.cpus_per_shard, pipeline.run.retries.attempts, pipeline.source.csv.header) == (0.5, 7, False)


def test_a_column_named_by_digits_from_outside_stays_text(load, small):
    small["transform"] = [{"fill_null": {"a": "${env:A}"}}, {"drop": "${env:A}"}]
    pipeline = load(small, environ={"A": "12"})
    assert (pipeline.transform[0].columns, pipeline.transform[1].columns) == ({"a": "12"}, ("12",))


def test_a_missing_variable_is_named_with_its_line(problem, small):
    small["description"] = "${env:NOT_THERE}"
    assert problem(small) == (
        "daily.yaml:18: description: ${env:NOT_THERE}: the environment variable is not set; expected a value (export NOT_THERE=...)"
    )


def test_a_missing_variable_is_one_problem_even_where_its_text_would_be_another(problem, small):
    small["time"]["shard"] = "${env:WIDTH}"
    assert problem(small).startswith("daily.yaml:5: time.shard: ${env:WIDTH}: the environment variable is not set")


def test_an_empty_variable_is_a_value(load, small):
    small["description"] = "${env:EMPTY}"
    assert load(small, environ={"EMPTY": ""}).description == ""


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file or directory"),
        (b"\xff\xfe", "the file is not UTF-8 text"),
        (b"x" * 70_000, "the file has more than 65536 bytes"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_never_its_content(problem, small, tmp_path, content, reason):
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    small["description"] = "${file:key}"
    told = problem(small)
    assert told.startswith(f"daily.yaml:18: description: ${{file:key}}: {reason}")
    assert "xxx" not in told


@pytest.mark.parametrize("reference", ["${HOME}", "${env:}", "${env:A B}", "${file:}", "${}", "${vault:x}", "${env:$(id)}"])
def test_other_references_are_refused(problem, small, reference):
    small["description"] = reference
    assert problem(small) == f"daily.yaml:18: description: got {reference}, expected ${{env:NAME}} or ${{file:path}}"


def test_a_key_cannot_come_from_outside(problem, small):
    small["transform"] = [{"derive": {"${env:A}": "1"}}]
    expected = "a key cannot come from outside; expected ${...} in values only"
    assert problem(small, environ={"A": "x"}) == f"daily.yaml:20: transform.0.derive.${{env:A}}: {expected}"


def test_a_dollar_alone_is_text(load, small):
    small["description"] = "costs $5, a{1}, ^a$ and $env:X and ${unclosed"
    assert load(small).description == small["description"]


# Each puts the secret where it is wrong; no text of the error may hold it.
WRONG = [
    ("name", "name"),
    ("time.zone", "time.zone"),
    ("time.start", "time.start"),
    ("time.shard", "time.shard"),
    ("source.kind", "source.kind"),
    ("source.path", "source.path"),
    ("source.format", "source.format"),
    ("source.columns.at", "source.columns.at"),
    ("source.on_drift", "source.on_drift"),
    ("outputs.0.table", "outputs.0.table"),
    ("outputs.0.rows", "outputs.0.rows"),
    ("destination.kind", "destination.kind"),
    ("run.memory", "run.memory"),
    ("run.cpus_per_shard", "run.cpus_per_shard"),
    ("run.executor", "run.executor"),
    ("run", "run"),
]


@pytest.mark.parametrize(("key", "path"), WRONG)
@pytest.mark.parametrize("given_by", ["env", "file", "part"])
def test_a_secret_at_a_wrong_place_is_shown_by_its_reference_alone(problems, small, tmp_path, key, path, given_by):
    (tmp_path / "secret").write_text(SECRET)
    reference = {"env": "${env:S}", "file": "${file:secret}", "part": "x ${env:S} y"}[given_by]
    told = problems(small, environ={"S": SECRET}, overrides=[f"{key}='{reference}'"])
    assert not any(SECRET in one for one in told)
    assert any(f'{path}: got "{reference}", expected ' in one for one in told), told


def test_a_secret_too_short_to_be_looked_for_in_texts_is_not_shown_either(problem, small):
    small["run"] = {"memory": "${env:S}"}
    told = 'daily.yaml:19: run.memory: got "${env:S}", expected a size such as 512MB or 2GiB'
    assert problem(small, environ={"S": "9!"}) == told


def test_nothing_that_a_secret_looks_like_is_named(problem, small):
    small["run"] = {"memory": "${env:S}"}
    told = 'daily.yaml:19: run.memory: got "${env:S}", expected a size such as 512MB or 2GiB'
    assert problem(small, environ={"S": "48 gigs"}) == told
    assert problem(small, environ={"S": "48 gb"}) == told


def test_a_secret_that_repeats_a_known_name_is_not_shown_by_a_neighbour(problems, small):
    small["outputs"] = [{"table": "${env:S}", "rows": "all"}, {"table": "other", "rows": "all"}]
    small["quality"] = {"checks": [{"table": "othr", "expect": "1"}]}
    expected = "expected a table of the outputs: one of ${env:S}, other"
    assert problems(small, environ={"S": "hunter2_canary"}) == [
        f'daily.yaml:22: quality.checks.0.table: got "othr", {expected}; did you mean "other"?'
    ]


@given(st.text(st.characters(exclude_characters="?"), min_size=4), st.text(), st.text())
def test_no_secret_survives_redaction(secret, before, after):
    text = redacted([before + secret + after], [(secret, "?")])[0]
    assert secret not in text
