"""What one pass found out about a Stack, step by step, until a step said no. Pure data."""

from __future__ import annotations

from dataclasses import dataclass

from dsecos_api import Type

from dsecos_operator.license.check import Verdict
from dsecos_operator.rendering.refused import Refused
from dsecos_operator.stacks.claim import Claim


@dataclass(frozen=True)
class Problem:
    """The step that said no, and why."""

    step: Type
    refused: Refused


@dataclass(frozen=True)
class Findings:
    """Input of the status. `problem` None: every step of the operator's is done."""

    license: Verdict
    claim: Claim | None = None
    problem: Problem | None = None
    notes: tuple[str, ...] = ()
    """What is possible but probably not meant."""
    stray: str = ""
    """Where its guest was moved by somebody else, and why the Stack does not follow."""
    waiting: int = 0
    """Actions that a pause keeps back."""
