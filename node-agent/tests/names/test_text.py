"""What a server is told. Pure."""

from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import pytest
from dsecos_agent.names.model import Address, Zone
from dsecos_agent.names.text import arguments, hosts_file, is_bridge, is_name, known, unfit
from hypothesis import given
from hypothesis import strategies as st

LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True)
NAMES = st.lists(LABELS, min_size=1, max_size=3).map(lambda labels: ".".join([*labels, "dsecos.internal"]))
TEXTS = st.one_of(st.text(), st.text().map(lambda text: f"{text}.dsecos.internal"), NAMES)
ADDRESSES: st.SearchStrategy[Address] = st.one_of(
    st.ip_addresses(v=4), st.ip_addresses(v=6), st.just(IPv6Address("fe80::1%x y\nz"))
)
HOSTS = st.dictionaries(TEXTS, st.lists(ADDRESSES, max_size=3).map(tuple), max_size=8)


def lines(text: str) -> list[list[str]]:
    head, *rest = text.removesuffix("\n").split("\n")
    assert head.startswith("# ")
    return [line.split(" ") for line in rest]


@given(HOSTS)
def test_any_text_yields_a_file_in_which_each_line_is_an_address_and_a_name(
    hosts: dict[str, tuple[Address, ...]],
) -> None:
    for address, name in lines(hosts_file("dsecos", hosts)):
        ip_address(address)
        assert name.isascii()
        assert is_name(name)


@given(HOSTS)
def test_what_is_a_name_is_in_the_file_and_what_is_none_is_told(
    hosts: dict[str, tuple[Address, ...]],
) -> None:
    written = {(address, name) for address, name in lines(hosts_file("dsecos", hosts))}
    left_out = set(unfit(hosts))

    for name, given_ in hosts.items():
        for address in given_:
            expected = name not in left_out and "%" not in str(address)
            assert ((str(address), name.lower()) in written) == expected


@given(HOSTS, st.randoms())
def test_the_file_does_not_depend_on_the_order(hosts: dict[str, tuple[Address, ...]], random: object) -> None:
    turned = {name: tuple(reversed(hosts[name])) for name in reversed(hosts)}

    assert hosts_file("dsecos", turned) == hosts_file("dsecos", hosts)


@given(NAMES)
def test_names_below_the_domain_are_names(name: str) -> None:
    assert is_name(name) == (len(name) <= 253)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "dsecos.internal",
        ".dsecos.internal",
        "shop",
        "example.org",
        "shop.example.org",
        "notdsecos.internal",
        "shop.dsecos.internal.",
        "a..dsecos.internal",
        "-a.dsecos.internal",
        "a-.dsecos.internal",
        "a_b.dsecos.internal",
        "a b.dsecos.internal",
        "a\n.dsecos.internal",
        "a#.dsecos.internal",
        "*.dsecos.internal",
        "straße.dsecos.internal",
        "\u212a.dsecos.internal",
        "shop.dsecos.internal\n",
        "a" * 64 + ".dsecos.internal",
        ".".join(["a" * 60] * 4) + ".dsecos.internal",
    ],
)
def test_what_is_no_full_name_below_the_domain_is_left_out(text: str) -> None:
    assert not is_name(text)
    assert lines(hosts_file("dsecos", {text: (IPv4Address("10.1.0.5"),)})) == []


def test_an_address_is_named_after_its_stack_first() -> None:
    address = (IPv4Address("10.1.0.5"),)
    hosts = {f"{name}.acme.dsecos.internal": address for name in ("a.shop", "shop", "web.shop")}

    assert [name.partition(".acme")[0] for _, name in lines(hosts_file("dsecos", hosts))] == [
        "shop",
        "a.shop",
        "web.shop",
    ]


def test_the_name_of_the_registry_is_the_nodes_whoever_asks_for_it() -> None:
    elsewhere = {"registry.dsecos.internal": (IPv4Address("192.0.2.1"),)}
    gateways = (IPv4Address("10.1.0.1"), IPv6Address("fd00::1"))

    assert known(Zone("dsz1", gateways, elsewhere, False)) == {
        "registry.dsecos.internal": (IPv4Address("10.1.0.1"),)
    }


@pytest.mark.parametrize("text", ["", "*", "ds*", "a,b", "a/b", "..", "a b", "a\n", "a" * 16, "lo.1"])
def test_what_is_a_path_a_list_or_a_pattern_is_no_bridge(text: str) -> None:
    assert not is_bridge(text)


@pytest.mark.parametrize("forwards", [True, False])
def test_other_names_are_asked_of_the_nodes_resolvers_only_where_the_zone_says_so(forwards: bool) -> None:
    told = arguments(
        Zone("dsz1", (IPv4Address("10.1.0.1"),), {}, forwards),
        program=Path("/usr/sbin/dnsmasq"),
        user="dnsmasq",
        group="nogroup",
        hosts=Path("/x/dsz1.hosts"),
        pid=Path("/x/dsz1.pid"),
        resolv=Path("/etc/resolv.conf"),
    )

    assert ("--resolv-file=/etc/resolv.conf" in told) == forwards
    assert ("--no-resolv" in told) != forwards
    assert told[1] == "--conf-file="
    assert not any("log-queries" in argument or "dhcp" in argument for argument in told)
