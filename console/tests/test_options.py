"""Option values: what is accepted, and what is said about the rest."""

from __future__ import annotations

from typing import Any

import pytest
from dsecos_cli.errors import UsageError
from dsecos_cli.options import (
    SecretRef,
    parse_duration,
    parse_expose,
    parse_network,
    parse_quantity,
    parse_secret,
    parse_values,
    parse_volume,
)


@pytest.mark.parametrize(
    ("pairs", "values"),
    [
        (["env=prod"], {"env": "prod"}),
        (["replicas=3", "debug=true", "ratio=0.5"], {"replicas": 3, "debug": True, "ratio": 0.5}),
        (["version='17'"], {"version": "17"}),
        (["a.b.c=1", "a.b.d=2"], {"a": {"b": {"c": 1, "d": 2}}}),
        (["tags=[x, y]", "empty="], {"tags": ["x", "y"], "empty": ""}),
        (["greeting=a=b"], {"greeting": "a=b"}),
        (["env=dev", "env=prod"], {"env": "prod"}),
    ],
)
def test_values_are_yaml_and_dots_nest(pairs: list[str], values: dict[str, Any]) -> None:
    assert parse_values(pairs, [], str) == values


def test_a_value_from_a_file_stays_text() -> None:
    assert parse_values([], ["page=index.html"], {"index.html": "42\n"}.__getitem__) == {"page": "42\n"}


@pytest.mark.parametrize("pair", ["env", "=prod", "a=[1", "a=b: c: d"])
def test_a_value_that_cannot_be_read_is_refused(pair: str) -> None:
    with pytest.raises(UsageError, match="--set"):
        parse_values([pair], [], str)


def test_nothing_can_be_set_below_a_single_value() -> None:
    with pytest.raises(UsageError, match="a is a single value"):
        parse_values(["a=1", "a.b=2"], [], str)


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ("3000", {"port": 3000, "protocol": "TCP"}),
        ("53/udp", {"port": 53, "protocol": "UDP"}),
        ("8080:3000", {"port": 3000, "protocol": "TCP", "hostPort": 8080}),
        ("5353:53/UDP", {"port": 53, "protocol": "UDP", "hostPort": 5353}),
    ],
)
def test_a_port_to_expose(text: str, entry: dict[str, Any]) -> None:
    assert parse_expose(text, []) == entry
    assert parse_expose(text, ["10.0.0.0/8"]) == {**entry, "from": ["10.0.0.0/8"]}


@pytest.mark.parametrize("text", ["0", "65536", "web", "1:2:3", "80/icmp", "99999:80", ""])
def test_what_is_no_port_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_expose(text, [])


def test_a_volume_with_pool_and_fate() -> None:
    assert parse_volume("pgdata=5Gi") == {"name": "pgdata", "size": "5Gi"}
    assert parse_volume("pgdata=5Gi,pool=fast,keep=Retain") == {
        "name": "pgdata",
        "size": "5Gi",
        "pool": "fast",
        "deletionPolicy": "Retain",
    }


@pytest.mark.parametrize(
    "text", ["pgdata", "PG=5Gi", "pgdata=big", "pgdata=5Gi,keep=Forever", "pgdata=5Gi,raid=1"]
)
def test_what_is_no_volume_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--volume"):
        parse_volume(text)


def test_where_a_secret_value_comes_from() -> None:
    assert parse_secret("postgresPassword=shop-db/password") == (
        "postgresPassword",
        SecretRef("shop-db", "password"),
    )


@pytest.mark.parametrize("text", ["a", "a=b", "a=b/", "a=/c", "1a=b/c", "a=B/c", "a=b/c/d"])
def test_what_names_no_key_of_a_secret_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--secret"):
        parse_secret(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("5m", 300), ("1h30m", 5400), ("1h2m3s", 3723), ("0", 0)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text, "--timeout") == seconds


@pytest.mark.parametrize("text", ["", "soon", "5d", "-1", "1.5m"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--timeout"):
        parse_duration(text, "--timeout")


def test_networks_and_quantities_say_which_option_is_wrong() -> None:
    assert parse_network("0.0.0.0/0", "--from") == "0.0.0.0/0"
    with pytest.raises(UsageError, match="--from"):
        parse_network("10.0.0.1/8", "--from")
    assert parse_quantity("500m", "--cpu") == "500m"
    with pytest.raises(UsageError, match="--cpu"):
        parse_quantity("two", "--cpu")
