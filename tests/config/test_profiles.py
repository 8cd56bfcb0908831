from __future__ import annotations

import pytest


@pytest.fixture
def small(small):
    small["run"] = {"retries": {"attempts": 5, "delay": "2s"}, "memory": "1GiB"}
    small["profiles"] = {
        "prod": {"destination": {"path": "/srv/rides.duckdb"}, "run": {"retries": {"attempts": 9}}},
        "two": {"outputs": [{"table": "a", "rows": "all"}, {"table": "b", "rows": "all"}]},
    }
    return small


def test_without_a_profile_the_profiles_change_nothing(load, small, tmp_path):
    pipeline = load(small)
    assert (pipeline.destination.path, pipeline.run.retries.attempts) == (f"{tmp_path}/rides.duckdb", 5)


def test_a_profile_is_merged_key_by_key(load, small):
    pipeline = load(small, profile="prod")
    assert pipeline.destination.path == "/srv/rides.duckdb"
    assert (pipeline.run.retries.attempts, pipeline.run.retries.delay_s, pipeline.run.memory_bytes) == (9, 2.0, 1024**3)


def test_a_list_in_a_profile_replaces_the_list(load, small):
    assert [output.table for output in load(small, profile="two").outputs] == ["a", "b"]


def test_an_unknown_profile_is_told_with_the_known_ones(problem, small):
    assert problem(small, profile="prd") == 'daily.yaml: --profile: got "prd", expected one of prod, two; did you mean "prod"?'


def test_a_profile_of_a_file_without_profiles_is_refused(problem, small):
    del small["profiles"]
    assert problem(small, profile="prod") == 'daily.yaml: --profile: got "prod", expected no profile: the configuration has none'


@pytest.mark.parametrize("asked", ["prod", None, "two"])
def test_a_mistake_in_a_profile_names_it_whether_it_is_asked_for_or_not(problem, small, asked):
    small["profiles"]["prod"]["time"] = {"shard": "5 mins", "latenes": "1d"}
    del small["profiles"]["prod"]["time"]["shard"]
    told = problem(small, profile=asked)
    assert (
        told == 'daily.yaml:31: time.latenes (profile prod): unknown key; did you mean "lateness"? '
        "Known keys: column, format, zone, start, end, shard, lateness, delay, lookback, lookahead"
    )


def test_a_kind_that_is_not_built_is_refused_in_a_profile_that_is_not_asked_for(problem, small):
    small["profiles"]["prod"]["destination"] = {"kind": "postgres", "url": "${env:DATABASE_URL}"}
    assert problem(small) == 'daily.yaml:26: destination.kind (profile prod): got "postgres", expected a known kind: duckdb'


def test_a_reference_of_a_profile_that_is_not_asked_for_may_have_no_value(load, small):
    small["profiles"]["prod"]["destination"]["path"] = "${env:NOT_HERE}"
    small["profiles"]["prod"]["run"]["memory"] = "${env:NOT_HERE}"
    assert load(small).name == "rides"


def test_a_reference_of_the_profile_that_is_asked_for_must_have_one(problem, small):
    small["profiles"]["prod"]["destination"]["path"] = "${env:NOT_HERE}"
    assert problem(small, profile="prod").startswith(
        "daily.yaml:26: destination.path (profile prod): ${env:NOT_HERE}: the environment"
    )


def test_a_secret_of_a_profile_is_not_shown(problem, small):
    small["profiles"]["prod"]["run"]["memory"] = "${env:S}"
    assert problem(small, environ={"S": "hunter2-canary"}).endswith(
        'run.memory (profile prod): got "${env:S}", expected a size such as 512MB or 2GiB'
    )


def test_a_mistake_that_a_profile_puts_right_is_one_without_it_only(load, problem, small):
    small["time"]["shard"] = "1x"
    small["profiles"]["prod"]["time"] = {"shard": "1h"}
    assert str(load(small, profile="prod").time.shard) == "1h"
    assert problem(small).startswith("daily.yaml:5: time.shard: got ")


@pytest.mark.parametrize(
    ("profiles", "told"), [([1], "profiles: got a list"), ({"a": 1}, "profiles.a: got 1"), ({"a": None}, "profiles.a: got nothing")]
)
def test_profiles_of_another_form_are_refused(problem, small, profiles, told):
    small["profiles"] = profiles
    assert told in problem(small)


def test_profiles_without_end_are_refused(problem, small):
    small["profiles"] = {f"p{n}": {} for n in range(101)}
    assert problem(small).endswith("profiles: got 101, expected at most 100")


def test_a_profile_holds_no_profiles(problem, small):
    small["profiles"]["prod"]["profiles"] = {"x": {}}
    assert problem(small).endswith("profiles.prod.profiles: a profile holds no profiles")


# ---- --set ------------------------------------------------------------------------------------------------


def test_set_values_are_yaml_and_come_after_the_profile(load, small):
    pipeline = load(
        small,
        profile="prod",
        overrides=[
            "run.retries.attempts=2",
            "destination.path=/x.duckdb",
            "outputs.0.table=x",
            "transform=[{drop: [a, b]}]",
            "time.end=2030-01-01",
        ],
    )
    assert (pipeline.run.retries.attempts, pipeline.destination.path) == (2, "/x.duckdb")
    assert pipeline.outputs[0].table == "x"
    assert pipeline.transform[0].columns == ("a", "b")
    assert pipeline.time.end_us == 1_893_456_000_000_000


def test_the_last_set_of_a_key_counts_and_missing_mappings_are_made(load, small):
    assert load(small, overrides=["run.memory=1GB", "run.memory=2GB"]).run.memory_bytes == 2_000_000_000
    assert load(small, overrides=["quality.max_quarantined=5%"]).quality.max_quarantined.share == 0.05


def test_an_expression_in_set_needs_no_quotes_of_yaml(load, small):
    pipeline = load(small, overrides=["transform=[{filter: 'a = 1'}]", "transform.0.filter=b = f(a, 'x')"])
    assert pipeline.transform[0].condition == "b = f(a, 'x')"


def test_an_empty_set_is_null(load, small):
    small["run"]["address"] = "ray://x"
    assert load(small, overrides=["run.address="]).run.address is None


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("run.memory=5", "--set run.memory=5: run.memory: got 5, expected a size such as 512MB or 2GiB"),
        ("tim.shard=1h", '--set tim.shard=1h: tim: unknown key; did you mean "time"? Known keys: name, description, '),
        ("run.memroy=1GB", '--set run.memroy=1GB: run.memroy: unknown key; did you mean "memory"? Known keys: executor, '),
        ("profiles.prod.name=x", "--set profiles.prod.name=x: profiles are laid over the rest before this; set the key itself"),
        ("run", "--set run: expected key.path=value, such as time.shard=1h or outputs.0.table=flights"),
        ("=1", "--set =1: expected key.path=value"),
        ("a..b=1", "--set a..b=1: expected key.path=value"),
        ("outputs.1.table=x", "--set outputs.1.table=x: the list has 1 items, counted from 0; got index 1"),
        ("outputs.-1.table=x", "--set outputs.-1.table=x: '-1' lies in a list: expected an index from 0 to 0"),
        ("name.x=1", "--set name.x=1: 'x' lies below a value that holds no keys"),
        ("run.memory=[1", "--set run.memory=[1: this is not YAML: "),
        ("run.memory=!!str 1GB", "--set run.memory=!!str 1GB: got the tag "),
        ("run={a: f(1, 2)}", "--set run={a: f(1, 2)}: a: a comma splits the value; quote it: "),
        ("name=\x1b[31m", "--set name=\\u001b[31m: this is not YAML: "),
    ],
)
def test_a_mistake_in_a_set_names_its_text(problems, small, override, told):
    assert any(one.startswith(told) for one in problems(small, overrides=[override]))
