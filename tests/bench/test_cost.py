"""What operator and agent cost: writes to the API, memory, processor time while nothing happens."""

from __future__ import annotations

import json
import time
from collections import Counter

import psutil
import pytest

from tests.bench.test_deploy import empty_shop
from tests.e2e.cloud import Cloud

IDLE = 60.0
"""Seconds of watching: two rounds of the agent's safety net."""

ADMINISTRATOR = "kubernetes-admin"

WRITES = {"create", "update", "patch", "delete"}


def audited(cloud: Cloud, since: int) -> list[dict[str, str]]:
    """The writes that succeeded, from the API server's audit log after `since` lines. Its policy leaves out
    the Leases that are heartbeats.
    """
    found = []
    for line in (cloud.home / "log" / "audit" / "audit.log").read_text().splitlines()[since:]:
        entry = json.loads(line)
        about = entry.get("objectRef", {})
        if entry["verb"] in WRITES and entry.get("responseStatus", {}).get("code", 0) < 300:
            who = entry["user"]["username"].rsplit(":", 1)[-1]
            found.append({"kind": about.get("resource", ""), "name": about.get("name", ""), "who": who})
    return found


def audit_length(cloud: Cloud) -> int:
    """Lines of the audit log."""
    return len((cloud.home / "log" / "audit" / "audit.log").read_text().splitlines())


def with_children(process: psutil.Process) -> list[psutil.Process]:
    """The part's processes: the operator's renderer is one of its own."""
    return [process, *process.children(recursive=True)]


def processor_seconds(process: psutil.Process) -> float:
    """User and system time so far."""
    return sum(sum(each.cpu_times()[:2]) for each in with_children(process))


@pytest.mark.timeout(900)
def test_cost(running: Cloud) -> None:
    since = audit_length(running)
    running.apply(empty_shop(running))
    running.wait_ready("shop")
    guest = running.guest("shop")["metadata"]["name"]
    time.sleep(2)  # the audit log is written in batches
    to_ready = Counter(
        write["kind"]
        for write in audited(running, since)
        if write["name"] in {"shop", guest} and write["who"] != ADMINISTRATOR and write["kind"] != "events"
    )
    print(f"writes from apply to Ready: {dict(to_ready)}; goal: at most 3 on each object")

    time.sleep(10)
    since = audit_length(running)
    parts = {part: psutil.Process(running.process(part)) for part in ("operator", "agent")}
    before = {part: processor_seconds(process) for part, process in parts.items()}
    time.sleep(IDLE)
    used = {part: processor_seconds(process) - before[part] for part, process in parts.items()}
    idle = Counter(write["kind"] for write in audited(running, since) if write["who"] != ADMINISTRATOR)
    for part, process in parts.items():
        memory = sum(each.memory_info().rss for each in with_children(process)) / 2**20
        print(f"{part}: {memory:.0f} MiB, {100 * used[part] / IDLE:.2f} % of a core while idle; goal 0.5 %")
    print(f"writes in {IDLE:.0f} idle seconds, heartbeats aside: {dict(idle)}")
    running.delete_stack("shop")

    assert not idle, "a pass that finds nothing to do writes nothing"
    assert max(to_ready.values()) <= 3
