"""Names that parts derive on their own, and must derive alike."""

from __future__ import annotations

import re
import uuid

from dsecos_api import names
from hypothesis import given
from hypothesis import strategies as st

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
LABELS = st.from_regex(LABEL, fullmatch=True).filter(lambda name: len(name) <= 63)
UIDS = st.uuids().map(str)


@given(LABELS, LABELS, UIDS)
def test_a_guest_is_named_by_a_label_of_at_most_49_characters(namespace: str, stack: str, uid: str) -> None:
    name = names.guest_name(namespace, stack, uid)
    assert LABEL.fullmatch(name)
    assert len(name) <= 49
    assert name.startswith(stack[:30].rstrip("-"))


def test_a_guest_is_named_alike_everywhere() -> None:
    assert names.guest_name("acme", "shop", "6f1f9c0e") == "shop-10c0f485"


@given(LABELS, LABELS, st.lists(UIDS, min_size=2, max_size=2, unique=True))
def test_each_life_of_a_stack_has_a_guest_of_its_own(namespace: str, stack: str, uids: list[str]) -> None:
    first, second = (names.guest_name(namespace, stack, uid) for uid in uids)
    assert first != second


def test_long_names_with_a_common_beginning_stay_apart() -> None:
    uid = str(uuid.UUID(int=1))
    assert names.guest_name("acme", "a" * 62 + "x", uid) != names.guest_name("acme", "a" * 62 + "y", uid)
    assert names.attachment_name("acme", "a" * 62 + "x") != names.attachment_name("acme", "a" * 62 + "y")


def test_zones_of_two_tenants_with_one_name_stay_apart() -> None:
    assert names.attachment_name("acme", "backend") != names.attachment_name("umbrella", "backend")


@given(LABELS, LABELS)
def test_an_attachment_is_named_by_a_label_of_at_most_49_characters(namespace: str, zone: str) -> None:
    name = names.attachment_name(namespace, zone)
    assert LABEL.fullmatch(name)
    assert len(name) <= 49


def test_a_name_at_the_cut_does_not_end_in_two_hyphens() -> None:
    assert "--" not in names.guest_name("acme", "a" * 39 + "-b", "6f1f9c0e")


def test_a_nodes_namespace_is_a_namespaces_name_up_to_51_characters() -> None:
    assert names.node_namespace("rack1-a") == "dsecos-node-rack1-a"
    assert len(names.node_namespace("n" * 51)) == 63


def test_parts_of_a_hash_cannot_slide_into_each_other() -> None:
    assert names.short_hash("a", "bc") != names.short_hash("ab", "c")
