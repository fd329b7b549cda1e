"""Quantities mean what Kubernetes means by them."""

from __future__ import annotations

import re
from decimal import Decimal

import pytest
from dsecos_api import quantity
from hypothesis import given
from hypothesis import strategies as st

BYTES = st.integers(min_value=0, max_value=2**59)
UNITS = st.sampled_from(["", "m", "k", "M", "G", "T", "P", "Ki", "Mi", "Gi", "Ti", "Pi"])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", "0"),
        ("2", "2"),
        ("500m", "0.5"),
        ("1.5", "1.5"),
        ("1k", "1000"),
        ("1Ki", "1024"),
        ("1.5Gi", "1610612736"),
        ("2G", "2000000000"),
        ("3Pi", "3377699720527872"),
    ],
)
def test_a_quantity_has_the_value_of_its_unit(text: str, value: str) -> None:
    assert quantity.parse(text) == Decimal(value)


@pytest.mark.parametrize(
    "text",
    ["", "2 Gi", " 2", "2\n", "-1", "+1", "1e3", "Gi", "1.2345", "2gi", "1Ei", "0x10", "1,5", "٣", "1" * 19],
)
def test_what_is_no_quantity_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="write for example 500m, 2 or 2Gi"):
        quantity.parse(text)


@given(st.from_regex(re.compile(quantity.PATTERN, re.ASCII), fullmatch=True))
def test_whatever_the_api_server_accepts_can_be_read(text: str) -> None:
    assert quantity.parse(text) >= 0


@given(BYTES)
def test_bytes_survive_being_written_and_read(count: int) -> None:
    assert quantity.to_bytes(quantity.format_bytes(count)) == count


@given(st.integers(min_value=0, max_value=10**6))
def test_millicores_survive_being_written_and_read(count: int) -> None:
    assert quantity.to_millicores(quantity.format_millicores(count)) == count


@given(st.decimals(min_value=0, max_value=10**9, places=3), UNITS)
def test_rounding_up_never_takes_anything_away(number: Decimal, unit: str) -> None:
    exact = quantity.parse(f"{number}{unit}")
    assert exact <= quantity.to_bytes(f"{number}{unit}") < exact + 1
    assert exact * 1000 <= quantity.to_millicores(f"{number}{unit}") < exact * 1000 + 1


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0"), (1, "1"), (1023, "1023"), (2**31, "2Gi"), (3 * 2**20, "3Mi"), (2**50, "1Pi")],
)
def test_bytes_are_written_in_the_shortest_exact_form(count: int, text: str) -> None:
    assert quantity.format_bytes(count) == text


@pytest.mark.parametrize(("count", "text"), [(0, "0"), (2000, "2"), (1500, "1500m"), (1, "1m")])
def test_cores_are_written_in_the_shortest_form(count: int, text: str) -> None:
    assert quantity.format_millicores(count) == text
