"""Agent and operator are killed after every single action of a deployment and of a deletion.

The points are not listed here: a first, undisturbed run tells which ones there are.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.cloud import Cloud, Object, until
from tests.faults import alike

LAST = "stack-finalizer-remove"
"""What ends a deletion."""


@pytest.mark.timeout(2400)
def test_killed_after_each_action_nothing_is_lost_and_nothing_is_double(
    cloud: Cloud, hello: Callable[..., Object]
) -> None:
    # What only a zone's first Stack asks for is not asked for again.
    with cloud.passed(LAST):
        cloud.apply(hello("fault"))
        cloud.wait_ready("fault")
        cloud.delete_stack("fault")
    with cloud.passed() as deploying:
        cloud.apply(hello("fault"))
        cloud.wait_ready("fault")
    with cloud.passed(LAST) as deleting:
        cloud.delete_stack("fault")
    assert any(point.startswith("guest-") for point in deploying), deploying
    assert any(point.startswith("stack-") for point in deploying), deploying
    assert LAST in deleting
    assert LAST not in deploying
    for point in deploying:
        print(f"killed while deploying, after {point}")
        with cloud.fault(alike(point)) as happened:
            cloud.apply(hello("fault"))
            until(happened, 60)
            cloud.wait_ready("fault")
        until(lambda: cloud.http(23100)[0] == 200, 20)
        guest = cloud.guest("fault")["metadata"]["name"]
        assert cloud.containers() == {guest}, f"after {point}"
        assert len(cloud.services(guest)) == 1, f"after {point}"
        cloud.delete_stack("fault")
        assert cloud.containers() == set(), f"after {point}"

    for point in deleting:
        print(f"killed while deleting, after {point}")
        cloud.apply(hello("fault"))
        cloud.wait_ready("fault")
        with cloud.fault(alike(point)) as happened:
            cloud.kubectl("delete", "stack", "fault", "-n", cloud.namespace, "--wait=false")
            until(happened, 60)
            cloud.delete_stack("fault")
        assert cloud.containers() == set(), f"after {point}"
        assert cloud.find("guests") == [], f"after {point}"
