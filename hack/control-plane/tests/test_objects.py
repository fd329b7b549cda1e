"""What is said of a Stack while `make up` waits for it."""

from typing import Any

import pytest
from dsecos_control_plane.objects import unready


def stack(generation: int = 1, observed: int = 1, **ready: str) -> dict[str, Any]:
    conditions = [{"type": "Ready", "message": "", **ready}] if ready else []
    status = {"observedGeneration": observed, "conditions": conditions}
    return {"metadata": {"name": "shop", "generation": generation}, "status": status}


def test_a_stack_that_serves_has_nothing_to_say() -> None:
    assert unready(stack(status="True", reason="Serving")) == ""


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (stack(status="False", reason="Unlicensed", message="no License"), "shop: Unlicensed no License"),
        (stack(generation=2, status="True", reason="Serving"), "shop: Serving"),
        (stack(), "shop: NotSeen no status yet"),
        ({"metadata": {"name": "shop", "generation": 1}}, "shop: NotSeen no status yet"),
    ],
)
def test_a_stack_that_does_not_says_why(found: dict[str, Any], said: str) -> None:
    assert unready(found) == said
