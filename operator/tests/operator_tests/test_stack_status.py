"""What a Stack says of itself, and when it makes an event of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from dsecos_api import Condition, Guest, Reason, Type
from dsecos_operator.license.check import Verdict
from dsecos_operator.rendering import Refused
from dsecos_operator.stacks.claim import Claim
from dsecos_operator.stacks.findings import Findings, Problem
from dsecos_operator.stacks.news import News, news
from dsecos_operator.stacks.observe import Observed
from dsecos_operator.stacks.status import status

from .objects import node, stack
from .world import World

LICENSED = Verdict(True, Reason.DEVELOPMENT_LICENSE)
CLAIM = Claim("node-1", "shop-1", 1, "10.20.0.2")


def observed(guest_status: dict[str, Any] | None = None, **spec: Any) -> Observed:
    """A Stack that is placed, with a guest whose agent said `guest_status`."""
    world = World()
    world.edit(**spec)
    world.settle()
    found = world.observed()
    raw = found.guests[0].to_dict()
    raw["metadata"]["generation"] = 1
    raw["status"] = guest_status or {}
    return replace(found, guests=(Guest.parse(raw),))


def report(guest: Observed, *, ready: str = "True", reason: str = "Running", **more: Any) -> Observed:
    """The agent's word on the guest."""
    conditions = [{"type": "Ready", "status": ready, "reason": reason, "message": "m"}]
    conditions += [{"type": name, "status": "True", "reason": reason} for name in more.pop("also", ())]
    raw = guest.guests[0].to_dict()
    digest = raw["spec"]["compose"]["digest"]
    raw["status"] = {"observedGeneration": 1, "composeDigest": digest, "conditions": conditions, **more}
    return replace(guest, guests=(Guest.parse(raw),))


def outcome(found: Observed, findings: Findings | None = None) -> tuple[str, str, set[str]]:
    assert found.stack is not None
    new = status(found, found.stack, findings or Findings(LICENSED, CLAIM))
    ready = next(each for each in new.conditions if each.type == Type.READY)
    abnormal = {each.type for each in new.conditions if each.type in (Type.RECONCILING, Type.STALLED)}
    return ready.status, ready.reason, abnormal


def test_serving_when_the_guest_is_ready_for_what_is_wanted_now() -> None:
    assert outcome(report(observed())) == ("True", "Serving", set())


@pytest.mark.parametrize(("policy", "reason"), [("Stopped", "Stopped"), ("Suspended", "Suspended")])
def test_what_is_not_to_run_is_ready_when_it_does_not(policy: str, reason: str) -> None:
    found = report(observed(runPolicy=policy), reason=reason, composeDigest="")
    assert outcome(found) == ("True", reason, set())


@pytest.mark.parametrize("stale", [{"observedGeneration": 0}, {"composeDigest": "another"}])
def test_an_old_report_is_no_report(stale: dict[str, Any]) -> None:
    assert outcome(report(observed(), **stale)) == ("False", "Progressing", {"Reconciling"})


def test_what_the_agent_gives_up_on_is_stalled() -> None:
    found = report(observed(), ready="False", reason="ImageNotFound", also=["Stalled"])
    assert outcome(found) == ("False", "ImageNotFound", {"Stalled"})


def test_what_the_agent_works_on_is_reconciling() -> None:
    found = report(observed(), ready="False", reason="Starting", also=["Reconciling"])
    assert outcome(found) == ("False", "Starting", {"Reconciling"})


def test_of_a_lost_node_nobody_knows() -> None:
    found = replace(report(observed()), node=node(ready=False))
    assert outcome(found) == ("Unknown", "AgentLost", set())


def test_a_refusal_that_only_the_user_can_mend_is_stalled() -> None:
    broken = Problem(Type.RENDERED, Refused(Reason.COMPOSE_INVALID, "line 1"))
    assert outcome(report(observed()), Findings(LICENSED, CLAIM, broken)) == (
        "False",
        "ComposeInvalid",
        {"Stalled"},
    )


def test_a_refusal_that_may_pass_is_reconciling() -> None:
    full = Problem(Type.SCHEDULED, Refused(Reason.NO_NODE_FITS, "full", stalled=False))
    assert outcome(replace(observed(), guests=()), Findings(LICENSED, None, full)) == (
        "False",
        "NoNodeFits",
        {"Reconciling"},
    )


def test_steps_after_the_one_that_failed_are_pending() -> None:
    problem = Problem(Type.RENDERED, Refused(Reason.COMPOSE_INVALID, "line 1"))
    mine = stack()
    new = status(Observed(mine), mine, Findings(LICENSED, None, problem))
    assert [(each.type, each.status) for each in new.conditions][:4] == [
        ("Licensed", "True"),
        ("Rendered", "False"),
        ("Scheduled", "Unknown"),
        ("GuestReady", "Unknown"),
    ]


def test_endpoints_are_the_exposed_tcp_ports_of_the_host() -> None:
    expose = [{"port": 80, "hostPort": 8080}, {"port": 53, "protocol": "UDP", "hostPort": 5300}, {"port": 9}]
    found = report(observed(expose=expose))
    assert found.stack is not None
    assert status(found, found.stack, Findings(LICENSED, CLAIM)).endpoints == ["http://192.0.2.1:8080"]


def test_endpoints_that_were_refused_are_not_shown() -> None:
    found = report(observed(expose=[{"port": 80, "hostPort": 8080}]))
    mine = stack(expose=[{"port": 80, "hostPort": 443}])
    problem = Problem(Type.SCHEDULED, Refused(Reason.PORT_CONFLICT, "443 is not given out"))
    new = status(found, mine, Findings(LICENSED, CLAIM, problem))
    assert new.endpoints == ["http://192.0.2.1:8080"], "where it still answers"


def condition(kind: str, value: str, reason: str, message: str = "") -> Condition:
    return Condition.model_validate({"type": kind, "status": value, "reason": reason, "message": message})


PENDING = [condition("Rendered", "Unknown", "Pending"), condition("Ready", "Unknown", "Pending")]
BROKEN = [
    condition("Rendered", "False", "ComposeInvalid", "line 1"),
    condition("Ready", "False", "ComposeInvalid", "line 1"),
    condition("Stalled", "True", "ComposeInvalid", "line 1"),
]
SERVING = [condition("Rendered", "True", "ComposeValid"), condition("Ready", "True", "Serving")]


def test_an_event_for_what_happened_and_none_for_what_is() -> None:
    assert news(PENDING, BROKEN) == [News(True, "ComposeInvalid", "line 1")]
    assert news(BROKEN, BROKEN) == []
    assert news(BROKEN, SERVING) == [News(False, "Serving", "as wanted")]
    assert news(SERVING, SERVING) == []
    lost = [SERVING[0], condition("Ready", "Unknown", "AgentLost", "m")]
    assert news(SERVING, lost) == [News(True, "AgentLost", "m")]


def test_a_change_on_its_way_is_no_event() -> None:
    working = [SERVING[0], condition("Ready", "False", "Progressing")]
    assert news(SERVING, working) == []
