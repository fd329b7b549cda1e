"""Agent and operator are killed after every single action of a deployment and of a deletion.

The points are not listed here: a first, undisturbed run tells which ones there are.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.cloud import Cloud, Object, until


@contextlib.contextmanager
def passed(cloud: Cloud, part: str) -> Iterator[list[str]]:
    """The fault points that a part passes meanwhile, each once, in their order; filled in at the end."""
    log = Path(cloud.env["DSECOS_FAULT_FOLDER"]) / f"fault.{part}.passed"
    log.write_text("")
    log.chmod(0o666)
    points: list[str] = []
    yield points
    points += dict.fromkeys(log.read_text().split())
    log.unlink()


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("part", ["agent", "operator"])
def test_killed_after_each_action_nothing_is_lost_and_nothing_is_double(
    cloud: Cloud, hello: Callable[..., Object], part: str
) -> None:
    with passed(cloud, part) as deploying:
        cloud.apply(hello("fault"))
        cloud.wait_ready("fault")
    with passed(cloud, part) as deleting:
        cloud.delete_stack("fault")
    assert deploying, "no fault point was passed"
    assert deleting, "no fault point was passed"
    print(f"{part}: killed while deploying after {deploying}, while deleting after {deleting}")

    for point in deploying:
        with cloud.fault(part, point) as happened:
            cloud.apply(hello("fault"))
            until(happened, 60)
            cloud.wait_ready("fault")
        until(lambda: cloud.http(23100)[0] == 200, 20)
        guest = cloud.guest("fault")["metadata"]["name"]
        assert cloud.containers() == {guest}, f"after {point}"
        assert len(cloud.services(guest)) == 1
        cloud.delete_stack("fault")
        assert cloud.containers() == set(), f"after {point}"

    for point in deleting:
        cloud.apply(hello("fault"))
        cloud.wait_ready("fault")
        with cloud.fault(part, point) as happened:
            cloud.kubectl("delete", "stack", "fault", "-n", cloud.namespace, "--wait=false")
            until(happened, 60)
            cloud.delete_stack("fault")
        assert cloud.containers() == set(), f"after {point}"
        assert cloud.find("guests") == []
