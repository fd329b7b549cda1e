"""Agent and operator are killed after every single action of a deployment and of a deletion.

The actions are not listed here: a first, undisturbed run tells from the logs which ones there are.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.e2e.cloud import Cloud, Object, until


def actions(cloud: Cloud, part: str, since: int) -> list[str]:
    """Names of the actions that a part has done, in order, from its log after `since` lines."""
    names: list[str] = []
    for line in log_lines(cloud, part)[since:]:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if entry.get("event") == "action done" and entry["action"] not in names:
            names.append(entry["action"])
    return names


def log_lines(cloud: Cloud, part: str) -> list[str]:
    """Everything that a part has logged."""
    return [
        line
        for log in sorted((cloud.home / "log").rglob(f"{part}*"))
        if log.is_file()
        for line in log.read_text(errors="replace").splitlines()
    ]


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("part", ["agent", "operator"])
def test_killed_after_each_action_nothing_is_lost_and_nothing_is_double(
    cloud: Cloud, hello: Callable[..., Object], part: str
) -> None:
    since = len(log_lines(cloud, part))
    cloud.apply(hello("fault"))
    cloud.wait_ready("fault")
    deploying = actions(cloud, part, since)
    since = len(log_lines(cloud, part))
    cloud.delete_stack("fault")
    deleting = actions(cloud, part, since)
    assert deploying, "no action was logged"
    assert deleting, "no action was logged"
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
