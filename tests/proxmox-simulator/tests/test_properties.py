"""Property strings and sizes survive being written and read."""

from __future__ import annotations

import pytest
from dsecos_proxmox_simulator import properties
from dsecos_proxmox_simulator.formats import check_format
from dsecos_proxmox_simulator.options_lxc import NETWORK
from dsecos_proxmox_simulator.parameters import Parameter, find
from hypothesis import given
from hypothesis import strategies as st

WORDS = st.text("abcdefghijklmnopqrstuvwxyz0123456789:./-", min_size=1)
NET = Parameter("string", properties=NETWORK)


@given(st.dictionaries(st.sampled_from(sorted(NETWORK)), WORDS, min_size=1))
def test_a_property_string_reads_as_what_was_written(values: dict[str, str]) -> None:
    assert properties.split(properties.text_of(values, NET)) == values


@given(st.integers(min_value=1, max_value=1 << 50).map(lambda n: n * 1024))
def test_a_size_reads_as_what_was_written(size: int) -> None:
    assert properties.to_bytes(properties.to_size(size)) == size


@given(st.lists(st.sampled_from(["web", "DB", "db", "x-1"])), st.sampled_from([";", ",", " "]))
def test_tags_are_sorted_and_unique(tags: list[str], between: str) -> None:
    once = properties.unique_tags(between.join(tags))
    assert once == properties.unique_tags(once)
    assert once.split(";") == sorted({tag.lower() for tag in tags} or {""})


def test_the_digest_changes_with_the_configuration() -> None:
    assert properties.digest({"memory": "256"}) != properties.digest({"memory": "512"})


@pytest.mark.parametrize("name", ["net0", "net31"])
def test_numbered_options_are_found_by_their_stem(name: str) -> None:
    assert find({"net[n]": NET}, name) is NET


@pytest.mark.parametrize("name", ["net", "net[n]", "net01", "netx"])
def test_other_names_are_not(name: str) -> None:
    assert find({"net[n]": NET}, name) is None


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("dns-name", "a_b"),
        ("mac-addr", "00:11"),
        ("ipv4", "10.0.0"),
        ("pve-ipv4-config", "10.0.0.1"),
        ("pve-tag-list", "a b!"),
    ],
)
def test_a_wrong_format_is_refused(kind: str, text: str) -> None:
    with pytest.raises(ValueError, match="invalid format"):
        check_format(kind, text)
