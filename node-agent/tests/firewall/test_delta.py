"""From one policy to another by elements alone ends where the whole would."""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface

import pytest
from dsecos_agent.firewall.delta import MOST, Change, Kind, commands, delta, delta_of_texts
from dsecos_agent.firewall.drift import canonical
from dsecos_agent.firewall.model import Drift, ExposedPort, GuestPolicy, Policy, ZonePolicy
from dsecos_agent.firewall.nft import NftFirewall
from dsecos_agent.firewall.render import render
from dsecos_agent.firewall.validate import Names
from hypothesis import given, settings
from hypothesis import strategies as st

from ..links.netns import own_network  # noqa: TID252 - tests have no package to name
from .policies import policies

NAMES = Names("dsecos_delta", "dt")
ZONE = ZonePolicy("dtz1", IPv4Interface("10.213.1.1/24"))
GUEST = GuestPolicy("one", "dtg1", "dtz1", "02:00:00:00:00:01", IPv4Address("10.213.1.2"))


@pytest.fixture(scope="module")
def kernel() -> Iterator[None]:
    """A network namespace of our own."""
    with own_network():
        yield


def load(text: str) -> None:
    subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True, capture_output=True)


def listing() -> str:
    """What the kernel has."""
    found = []
    for family in ("bridge", "inet"):
        command = ["nft", "-j", "list", "table", family, NAMES.instance]
        found += json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["nftables"]
    # In the order of their words: the kernel lists objects as they came about.
    words = sorted(json.dumps(canonical(each), sort_keys=True) for each in found if "metainfo" not in each)
    return "\n".join(words)


@st.composite
def neighbours(draw: st.DrawFn) -> tuple[Policy, Policy]:
    """A policy and what becomes of it when guests come and go and change their ports."""
    policy = draw(policies())
    changed = []
    for guest in policy.guests:
        what = draw(st.sampled_from(["stays", "goes", "closes", "opens"]))
        match what:
            case "stays":
                changed.append(guest)
            case "closes":
                changed.append(replace(guest, exposed=()))
            case "opens":
                changed.append(
                    replace(guest, exposed=(*guest.exposed, ExposedPort(draw(st.integers(1, 65535)))))
                )
    before, after = policy, replace(policy, guests=tuple(changed))
    return draw(st.sampled_from([(before, after), (after, before)]))


@settings(max_examples=25)
@given(neighbours())
def test_the_kernel_ends_with_what_the_whole_would_have_made(
    kernel: None, pair: tuple[Policy, Policy]
) -> None:
    before, after = (render(policy, NAMES) for policy in pair)
    step = delta(*pair, NAMES)
    assert step is not None, "guests that come and go change no rule"
    load(before)
    load(commands(step, NAMES.instance))
    by_step = listing()
    load(after)
    assert by_step == listing()


@given(neighbours() | st.tuples(policies(), policies()))
def test_it_is_the_difference_of_the_whole_texts(pair: tuple[Policy, Policy]) -> None:
    before, after = (render(policy, NAMES) for policy in pair)
    assert delta(*pair, NAMES) == delta_of_texts(before, after)


@given(policies())
def test_nothing_is_to_be_done_where_nothing_changes(policy: Policy) -> None:
    assert delta(policy, policy, NAMES) == []


@given(policies(), policies())
def test_there_is_no_way_by_elements_between_other_rules(one: Policy, other: Policy) -> None:
    before, after = (render(policy, NAMES) for policy in (one, other))
    rules = [
        [line for line in text.splitlines() if " accept" in line or " drop" in line]
        for text in (before, after)
    ]
    if rules[0] != rules[1]:
        assert delta(one, other, NAMES) is None


def test_a_change_of_most_elements_is_left_to_the_whole() -> None:
    text = (
        "table inet x {\n    set s {\n        type ipv4_addr\n        elements = {\n%s        }\n    }\n}\n"
    )
    many = text % "".join(f"            {number},\n" for number in range(MOST + 2))
    few = text % "            0,\n"
    assert delta_of_texts(few, many) is None
    assert delta_of_texts(few, text % "            1,\n") == [
        Change("delete", "inet", "s", ("0",), Kind("type ipv4_addr")),
        Change("add", "inet", "s", ("1",), Kind("type ipv4_addr")),
    ]


def handle_of_a_chain(instance: str) -> str:
    """It is another one when the table was made anew."""
    listed = subprocess.run(
        ["nft", "-a", "list", "chain", "inet", instance, "forward"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return next(line for line in listed.splitlines() if "chain forward" in line).rpartition("handle")[2]


def first_rule(instance: str) -> str:
    command = ["nft", "list", "chain", "inet", instance, "forward"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return listed.split("policy accept;")[1].splitlines()[1].strip()


def table_with(*ports: int) -> Policy:
    guest = replace(GUEST, exposed=tuple(map(ExposedPort, ports)))
    return Policy(zones=(ZONE,), guests=(guest,))


async def test_a_port_is_opened_by_elements_and_seen_as_ours(firewall: NftFirewall) -> None:
    await firewall.apply(table_with(80))
    made = handle_of_a_chain("dtfw")
    await firewall.apply(table_with(80, 443))
    assert handle_of_a_chain("dtfw") == made
    assert await firewall.drift(table_with(80, 443)) is Drift.NONE
    assert await firewall.drift(table_with(80)) is Drift.CHANGED


async def test_what_others_change_after_a_step_is_undone_and_told_once_it_was_noted(
    firewall: NftFirewall,
) -> None:
    flush = "flush chain inet dtfw forward"
    await firewall.apply(table_with(80))
    await firewall.apply(table_with(443))
    load(flush)
    assert await firewall.drift(table_with(443)) is Drift.CHANGED
    await firewall.apply(table_with(443))
    await firewall.apply(table_with(80))
    await firewall.remember()
    load("add table inet somebody\n")
    assert await firewall.drift(table_with(80)) is Drift.NONE, "what others do elsewhere is no change of ours"
    load(flush)
    assert await firewall.drift(table_with(80)) is Drift.CHANGED
    assert firewall.changes()
    await firewall.apply(table_with(80))
    assert await firewall.drift(table_with(80)) is Drift.NONE


async def test_a_step_that_meets_a_change_of_others_becomes_the_whole(firewall: NftFirewall) -> None:
    await firewall.apply(table_with(80))
    load("insert rule inet dtfw forward accept")
    await firewall.apply(table_with(443))
    assert await firewall.drift(table_with(443)) is Drift.NONE
    assert first_rule("dtfw") != "accept"
