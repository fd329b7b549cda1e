"""Every reason has its advice, and the documentation carries the same table."""

from __future__ import annotations

import re

import pytest
from dsecos_api import Reason
from dsecos_cli.advice import ADVICE, advice_for, page

from console.tests.objects import CHECKOUT

REASONS = CHECKOUT / "docs" / "reasons.md"


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_explained(reason: Reason) -> None:
    assert ADVICE[reason].meaning


def test_the_documentation_has_the_same_table() -> None:
    assert REASONS.read_text() == page(), "run: python -m dsecos_cli.advice > docs/reasons.md"


def test_the_pages_and_samples_that_it_names_are_there() -> None:
    named = set(re.findall(r"(?:docs|manifests)/[\w./-]*\w", page()))
    assert named
    assert [name for name in sorted(named) if not (CHECKOUT / name).exists()] == []


def test_an_unknown_reason_has_none() -> None:
    assert advice_for("FromTheFuture") is None
