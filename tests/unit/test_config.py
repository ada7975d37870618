import dataclasses
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmwire.config import Config, LambdaEnvironment, local_only, reference_table
from warmwire.errors import ConfigError

MINIMAL = {"WARMWIRE_DB_HOST": "db.example", "WARMWIRE_DB_USER": "app"}


def problems_of(environ):
    with pytest.raises(ConfigError) as raised:
        Config.from_env(environ)
    assert str(raised.value) == "; ".join(raised.value.problems)
    return raised.value.problems


class TestDefaults:
    def test_host_and_user_are_enough(self):
        config = Config.from_env(MINIMAL)
        assert config == Config(db_host="db.example", db_user="app")
        assert (config.db_port, config.port, config.socket) == (3306, 3306, "/tmp/warmwire.sock")
        assert (config.pool_size, config.pool_max, config.checkout_timeout) == (1, 5, 5.0)
        assert (config.idle_timeout, config.validate_after) == (600, 5.0)
        assert (config.db_tls, config.db_auth, config.invoke_end, config.eager) == ("verify-full", "password", "strict", "auto")
        assert (config.local_password, config.db_name, config.db_tls_ca) == (None, "", "")
        assert config.database == "db.example:3306"

    def test_the_log_level_is_lambdas_unless_it_is_set(self):
        for theirs, ours in (("TRACE", "debug"), ("debug", "debug"), ("WARN", "warning"), ("FATAL", "error"), ("x", "info")):
            assert Config.from_env({**MINIMAL, "AWS_LAMBDA_LOG_LEVEL": theirs}).log_level == ours
        chosen = {**MINIMAL, "AWS_LAMBDA_LOG_LEVEL": "DEBUG", "WARMWIRE_LOG_LEVEL": "error"}
        assert Config.from_env(chosen).log_level == "error"

    def test_names_that_are_no_settings_are_none_of_its_business(self):
        other = {"PATH": "/bin", "LOG_LEVEL": "x", "WARMWIRE_LAYER_ROOT": "/opt", "WARMWIRE_TEST_MYSQL_URL": "x"}
        assert Config.from_env({**MINIMAL, **other}) == Config.from_env(MINIMAL)


class TestUrl:
    def test_its_parts_are_settings(self):
        config = Config.from_env({"WARMWIRE_DB_URL": "mysql://app:secret@db.example:3307/shop"})
        parts = (config.db_host, config.db_port, config.db_user, config.db_password, config.db_name)
        assert parts == ("db.example", 3307, "app", "secret", "shop")

    def test_what_is_missing_in_it_has_its_default(self):
        config = Config.from_env({"WARMWIRE_DB_URL": "mariadb://app@db.example"})
        parts = (config.db_host, config.db_port, config.db_user, config.db_password, config.db_name)
        assert parts == ("db.example", 3306, "app", "", "")

    def test_the_user_may_be_given_apart(self):
        config = Config.from_env({"WARMWIRE_DB_URL": "mysql://db.example/shop", "WARMWIRE_DB_USER": "app"})
        assert (config.db_host, config.db_user, config.db_password, config.db_name) == ("db.example", "app", "", "shop")

    def test_special_characters_are_percent_encoded(self):
        config = Config.from_env({"WARMWIRE_DB_URL": "mysql://a%40b:p%3A%2F%40%23%25%C3%BC@db.example/s%20p"})
        assert (config.db_user, config.db_password, config.db_name) == ("a@b", "p:/@#%ü", "s p")

    def test_an_ipv6_address_is_in_brackets(self):
        assert Config.from_env({"WARMWIRE_DB_URL": "mysql://app@[::1]:3307/"}).db_host == "::1"

    def test_single_settings_override_its_parts(self):
        url = {"WARMWIRE_DB_URL": "mysql://app:secret@db.example:3307/shop"}
        config = Config.from_env({**url, "WARMWIRE_DB_PORT": "3308", "WARMWIRE_DB_PASSWORD": "other"})
        assert (config.db_port, config.db_password, config.db_name) == (3308, "other", "shop")


NUMBER = "must be a whole number from "
MALFORMED = [
    ("PORT", "", NUMBER + "1 to 65535"),
    ("PORT", "0", NUMBER + "1 to 65535"),
    ("PORT", "65536", NUMBER + "1 to 65535"),
    ("PORT", "-1", NUMBER + "1 to 65535"),
    ("PORT", "+1", NUMBER + "1 to 65535"),
    ("PORT", "3306.0", NUMBER + "1 to 65535"),
    ("PORT", "1_000", NUMBER + "1 to 65535"),
    ("PORT", "٣٣٠٦", NUMBER + "1 to 65535"),
    ("PORT", " 3306", NUMBER + "1 to 65535"),
    ("PORT", "mysql", NUMBER + "1 to 65535"),
    ("PORT", "9" * 5000, NUMBER + "1 to 65535"),
    ("DB_PORT", "0", NUMBER + "1 to 65535"),
    ("DB_PORT", "3306/shop", NUMBER + "1 to 65535"),
    ("POOL_SIZE", "-1", NUMBER + "0 to 1000"),
    ("POOL_SIZE", "many", NUMBER + "0 to 1000"),
    ("POOL_MAX", "0", NUMBER + "1 to 1000"),
    ("POOL_MAX", "1001", NUMBER + "1 to 1000"),
    ("IDLE_TIMEOUT", "0", NUMBER + "1 to 31536000"),
    ("IDLE_TIMEOUT", "10m", NUMBER + "1 to 31536000"),
    ("CHECKOUT_TIMEOUT", "", "must be seconds from 0.1 to 900"),
    ("CHECKOUT_TIMEOUT", "0", "must be seconds from 0.1 to 900"),
    ("CHECKOUT_TIMEOUT", "-0.1", "must be seconds from 0.1 to 900"),
    ("CHECKOUT_TIMEOUT", "901", "must be seconds from 0.1 to 900"),
    ("CHECKOUT_TIMEOUT", "nan", "must be seconds from 0.1 to 900"),
    ("CHECKOUT_TIMEOUT", "inf", "must be seconds from 0.1 to 900"),
    ("CHECKOUT_TIMEOUT", "5s", "must be seconds from 0.1 to 900"),
    ("VALIDATE_AFTER", "1e9", "must be seconds from 0 to 86400"),
    ("VALIDATE_AFTER", "soon", "must be seconds from 0 to 86400"),
    ("DB_TLS", "", "must be verify-full, verify-ca, required or disabled"),
    ("DB_TLS", "on", "must be verify-full, verify-ca, required or disabled"),
    ("DB_TLS", "verify_full", "must be verify-full, verify-ca, required or disabled"),
    ("DB_AUTH", "kerberos", "must be password"),
    ("INVOKE_END", "never", "must be strict"),
    ("EAGER", "true", "must be auto, on or off"),
    ("METRICS", "emf", "must be off"),
    ("LOG_LEVEL", "verbose", "must be debug, info, warning or error"),
    ("SOCKET", "/tmp/" + "x" * 103, "must be at most 107 bytes: the system's limit for a socket's path"),
    ("DB_HOST", "a\0b", "must not contain a NUL byte"),
    ("DB_USER", "a\0b", "must not contain a NUL byte"),
    ("DB_NAME", "a\udcffb", "must be UTF-8"),
    ("DB_USER", "\udce4", "must be UTF-8"),
]


@pytest.mark.parametrize(("name", "text", "problem"), MALFORMED, ids=[f"{name}={text[:12]!a}" for name, text, _ in MALFORMED])
def test_a_bad_value_is_one_problem_that_names_the_setting_the_value_and_what_it_takes(name, text, problem):
    name = "WARMWIRE_" + name
    assert problems_of({**MINIMAL, name: text}) == [f"{name}={text!r} {problem}"]


URL_FORM = (
    "WARMWIRE_DB_URL must look like mysql://user:password@host:port/dbname, special characters percent-encoded"
)


@pytest.mark.parametrize(
    "url",
    [
        "app:TOP-SECRET@db.example",
        "postgres://app:TOP-SECRET@db.example/shop",
        "mysql:app:TOP-SECRET@db.example",
        "mysql://app:TOP-SECRET@/shop",
        "mysql://",
        "mysql://app:TOP-SECRET@db.example:port/shop",
        "mysql://app:TOP-SECRET@db.example:0/shop",
        "mysql://app:TOP-SECRET@db.example:70000/shop",
        "mysql://app:TOP-SECRET@db.example/shop?ssl=true",
        "mysql://app:TOP#SECRET@db.example/shop",
        "mysql://app:TOP-SECRET/x@db.example/shop",
        "mysql://app:12/TOP-SECRET@db.example/shop",
        "mysql://app:TOP-SECRET@[::1/shop",
        "mysql://app:TOP-SECRET%00@db.example/shop",
        "mysql://a%00pp:TOP-SECRET@db.example/shop",
        "mysql://app:TOP-SECRET@db.example/sh%00op",
        "mysql://app:TOP-SECRET\udcff@db.example/shop",
    ],
)
def test_a_bad_url_is_one_problem_that_does_not_betray_it(url):
    problems = problems_of({"WARMWIRE_DB_URL": url, **MINIMAL})
    assert problems == [URL_FORM]


@pytest.mark.parametrize("name", ["WARMWIRE_DB_PASSWORD", "WARMWIRE_LOCAL_PASSWORD"])
@pytest.mark.parametrize(("secret", "problem"), [("TOP\0SECRET", "must not contain a NUL byte"), ("S\udcff", "must be UTF-8")])
def test_a_bad_password_is_named_but_not_shown(name, secret, problem):
    assert problems_of({**MINIMAL, name: secret}) == [f"{name} {problem}"]


def test_every_problem_is_reported_at_once_in_the_order_of_the_names():
    environ = {"WARMWIRE_PORT": "0", "WARMWIRE_CHEKOUT_TIMEOUT": "1", "WARMWIRE_DB_TLS": "no", "PATH": "/bin"}
    assert problems_of(environ) == [
        "WARMWIRE_CHEKOUT_TIMEOUT: no such setting; is WARMWIRE_CHECKOUT_TIMEOUT meant?",
        "WARMWIRE_DB_TLS='no' must be verify-full, verify-ca, required or disabled",
        "WARMWIRE_PORT='0' must be a whole number from 1 to 65535",
        "WARMWIRE_DB_HOST is missing: set it, or WARMWIRE_DB_URL, to the database's host",
        "WARMWIRE_DB_USER is missing: set it, or WARMWIRE_DB_URL, to the database account",
    ]


@pytest.mark.parametrize(
    "environ",
    [
        {**MINIMAL, "WARMWIRE_POOL_SIZE": "9", "WARMWIRE_POOL_MAX": "many"},
        {"WARMWIRE_DB_USER": "app", "WARMWIRE_DB_HOST": "a\0b"},
        {"WARMWIRE_DB_URL": "db.example"},
    ],
)
def test_a_bad_value_does_not_make_a_second_problem(environ):
    assert len(problems_of(environ)) == 1


@pytest.mark.parametrize("name", ["WARMWIRE_", "WARMWIRE_port", "WARMWIRE_DATABASE"])
def test_an_unknown_name_is_a_problem(name):
    assert problems_of({**MINIMAL, name: "1"}) == [f"{name}: no such setting"]


@pytest.mark.parametrize(
    ("name", "meant"), [("DB_HSOT", "DB_HOST"), ("POOLSIZE", "POOL_SIZE"), ("HOST", "DB_HOST"), ("DB_PASWORD", "DB_PASSWORD")]
)
def test_an_unknown_name_that_is_nearly_a_known_one_is_put_right(name, meant):
    problems = problems_of({**MINIMAL, "WARMWIRE_" + name: "1"})
    assert problems == [f"WARMWIRE_{name}: no such setting; is WARMWIRE_{meant} meant?"]


def test_what_is_missing_is_said_with_what_to_do():
    assert problems_of({}) == [
        "WARMWIRE_DB_HOST is missing: set it, or WARMWIRE_DB_URL, to the database's host",
        "WARMWIRE_DB_USER is missing: set it, or WARMWIRE_DB_URL, to the database account",
    ]


def test_settings_that_contradict_each_other_are_a_problem():
    environ = {**MINIMAL, "WARMWIRE_POOL_SIZE": "6", "WARMWIRE_POOL_MAX": "5"}
    assert problems_of(environ) == ["WARMWIRE_POOL_SIZE=6 must not be above WARMWIRE_POOL_MAX=5"]


@pytest.mark.parametrize(
    ("name", "text", "field", "value"),
    [
        ("PORT", "13306", "port", 13306),
        ("SOCKET", "", "socket", ""),
        ("SOCKET", "/tmp/" + "x" * 102, "socket", "/tmp/" + "x" * 102),
        ("POOL_SIZE", "0", "pool_size", 0),
        ("CHECKOUT_TIMEOUT", "0.5", "checkout_timeout", 0.5),
        ("VALIDATE_AFTER", "0", "validate_after", 0.0),
        ("DB_TLS", "Required", "db_tls", "required"),
        ("LOCAL_PASSWORD", "", "local_password", ""),
        ("LOCAL_PASSWORD", "x", "local_password", "x"),
        ("EAGER", "off", "eager", "off"),
    ],
)
def test_good_values(name, text, field, value):
    assert getattr(Config.from_env({**MINIMAL, "WARMWIRE_" + name: text}), field) == value


def test_no_representation_of_the_settings_shows_a_secret():
    environ = {
        "WARMWIRE_DB_URL": "mysql://app:first@db.example/shop",
        "WARMWIRE_DB_PASSWORD": "second",
        "WARMWIRE_LOCAL_PASSWORD": "third",
    }
    shown = repr(Config.from_env(environ))
    assert "db.example" in shown
    assert not re.search("first|second|third", shown)


values = st.text("0123456789.e+-_/:@%mysqlverify-fullautoon\udcff", max_size=12) | st.sampled_from(["1", "5", "required", "db"])


@given(st.dictionaries(st.sampled_from([f.metadata["name"] for f in dataclasses.fields(Config)]), values))
def test_any_values_make_a_config_or_problems_that_each_name_a_setting(environ):
    try:
        config = Config.from_env(environ)
    except ConfigError as error:
        assert error.problems
        assert all(problem.startswith("WARMWIRE_") for problem in error.problems)
        local_only(environ)
        return
    assert 1 <= config.db_port <= 65535 and 1 <= config.port <= 65535
    assert config.pool_size <= config.pool_max
    assert 0 < config.checkout_timeout <= 900


class TestLocalOnly:
    def test_good_settings_of_the_listener_are_taken_and_bad_ones_replaced_by_their_defaults(self):
        environ = {"WARMWIRE_PORT": "13306", "WARMWIRE_SOCKET": "x" * 200, "WARMWIRE_LOG_LEVEL": "?", "WARMWIRE_POOL_MAX": "x"}
        config = local_only(environ)
        assert config == Config(port=13306)

    def test_all_of_them(self):
        environ = {"WARMWIRE_PORT": "?", "WARMWIRE_SOCKET": "", "WARMWIRE_LOG_LEVEL": "error"}
        assert local_only(environ) == Config(socket="", log_level="error")


class TestReferenceTable:
    ROWS = reference_table().splitlines()[2:]

    def test_it_has_a_row_for_every_setting(self):
        names = [row.split("`")[1] for row in self.ROWS]
        assert names == [field.metadata["name"] for field in dataclasses.fields(Config)]
        assert "WARMWIRE_DB_HOST" in names and "WARMWIRE_POOL_MAX" in names

    @pytest.mark.parametrize(
        "row",
        [
            "| `WARMWIRE_PORT` | `3306` | TCP port on 127.0.0.1 that clients connect to |",
            "| `WARMWIRE_CHECKOUT_TIMEOUT` | `5` | seconds that a client waits for an upstream |",
            "| `WARMWIRE_DB_PASSWORD` | empty | its password |",
        ],
    )
    def test_some_rows(self, row):
        assert row in self.ROWS

    def test_every_row_has_three_cells_with_something_in_them(self):
        for row in self.ROWS:
            cells = row.strip("|").split("|")
            assert len(cells) == 3
            assert all(cell.strip() for cell in cells)


class TestLambdaEnvironment:
    def test_what_lambda_says(self):
        environ = {"AWS_LAMBDA_RUNTIME_API": "169.254.100.1:9001", "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand"}
        found = LambdaEnvironment.from_env(environ)
        assert (found.runtime_api, found.initialization_type) == ("169.254.100.1:9001", "on-demand")
        assert not found.is_managed_instance

    def test_outside_lambda(self):
        assert LambdaEnvironment.from_env({}) == LambdaEnvironment("", "")

    def test_managed_instances(self):
        assert LambdaEnvironment.from_env({"AWS_LAMBDA_INITIALIZATION_TYPE": "lambda-managed-instances"}).is_managed_instance
