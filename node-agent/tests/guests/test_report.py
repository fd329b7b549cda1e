"""What a Guest's status says in each situation."""

from dataclasses import replace
from typing import Any

import pytest
from dsecos_agent.compose.protocol import Service
from dsecos_agent.guests.desired import Block
from dsecos_agent.guests.report import status
from dsecos_agent.guests.state import BringUpProblem, BringUpState, Observed, Phase
from dsecos_api.conditions import Reason, Type
from dsecos_api.guest import GuestStatus

from .samples import guest, wish
from .test_plan import converge, up


def service(name: str, state: str = "running", health: str = "none", exit_code: int | None = None) -> Service:
    return Service(name, "image", "sha256:0", state, health, 0, exit_code, "hash")


def told(seen: Observed, failure: Block | None = None, **changes: Any) -> GuestStatus:
    return status(guest(**changes), wish(**changes), seen, failure)


def brief(found: GuestStatus) -> dict[str, tuple[str, str]]:
    return {each.type: (str(each.status), each.reason) for each in found.conditions}


def seen_up(**changes: Any) -> Observed:
    model, wanted = up()
    return replace(model.seen(wanted), **changes)


def test_all_is_well() -> None:
    found = told(seen_up())
    assert brief(found) == {
        "VolumesReady": ("True", "Mounted"),
        "NetworkReady": ("True", "RulesInForce"),
        "GuestReady": ("True", "Running"),
        "DockerReady": ("True", "DockerRunning"),
        "ServicesReady": ("True", "AllHealthy"),
        "Ready": ("True", "AllHealthy"),
    }
    assert found.compose_digest == "d1"
    assert found.image == "sha256:abc"
    assert [each.name for each in found.services] == ["db", "web"]


def test_on_the_way() -> None:
    found = told(seen_up(services=None, bring_up=BringUpState("d1", Phase.COMPOSING)))
    assert brief(found)["DockerReady"] == ("True", "DockerRunning")
    assert brief(found)["ServicesReady"] == ("False", "Progressing")
    assert brief(found)["Ready"] == ("False", "Progressing")
    assert brief(found)["Reconciling"] == ("True", "Progressing")
    assert "Stalled" not in brief(found)


def test_an_unhealthy_service_is_named() -> None:
    found = told(seen_up(services=(service("db", health="unhealthy"), service("web"))))
    assert brief(found)["ServicesReady"] == ("False", "Unhealthy")
    assert next(each.message for each in found.conditions if each.type == "Ready") == "unhealthy: db"
    assert not {"Reconciling", "Stalled"} & set(brief(found)), "Docker goes on trying, we do not"


def test_a_missing_image_stalls() -> None:
    text = "no registry that this node may read has image nothing:1"
    problem = BringUpProblem(
        "d1", Type.SERVICES_READY, Reason.IMAGE_NOT_FOUND, text, stalled=True, waiting=True
    )
    found = told(seen_up(services=(), problem=problem))
    assert brief(found)["Ready"] == ("False", "ImageNotFound")
    assert brief(found)["Stalled"] == ("True", "ImageNotFound")


def test_the_problem_stays_visible_while_it_is_tried_again() -> None:
    problem = BringUpProblem(
        "d1", Type.SERVICES_READY, Reason.IMAGE_NOT_FOUND, "x", stalled=True, waiting=False
    )
    before = told(seen_up(services=(), problem=problem))
    during = told(seen_up(problem=problem, bring_up=BringUpState("d1", Phase.COMPOSING)))
    assert brief(before)["Stalled"] == brief(during)["Stalled"]


def test_a_dead_docker() -> None:
    problem = BringUpProblem(
        "d1", Type.DOCKER_READY, Reason.DOCKER_NOT_READY, "x", stalled=False, waiting=True
    )
    found = told(seen_up(services=None, problem=problem))
    assert brief(found)["DockerReady"] == ("False", "DockerNotReady")
    assert brief(found)["Ready"] == ("False", "DockerNotReady")


def test_out_of_memory() -> None:
    found = told(
        seen_up(services=(service("db", "exited", exit_code=137), service("web")), out_of_memory=True)
    )
    assert brief(found)["ServicesReady"] == ("False", "OutOfMemory")
    during = told(seen_up(out_of_memory=True, bring_up=BringUpState("d1", Phase.COMPOSING)))
    assert brief(during)["ServicesReady"] == ("False", "OutOfMemory")
    assert brief(during)["Reconciling"][0] == "True", "the agent is at it"


@pytest.mark.parametrize(("policy", "reason"), [("Stopped", "Stopped"), ("Suspended", "Suspended")])
def test_at_rest_as_wanted_is_ready(policy: str, reason: str) -> None:
    model, _ = up()
    wanted = wish(runPolicy=policy)
    assert brief(told(model.seen(wanted), runPolicy=policy))["Ready"] == ("False", reason), "not yet"
    converge(model, wanted)
    found = brief(told(model.seen(wanted), runPolicy=policy))
    assert found["Ready"] == ("True", reason)
    assert found["GuestReady"] == ("False", reason)


def test_paused() -> None:
    found = brief(told(seen_up(), paused=True))
    assert found["Stalled"] == ("True", "Paused")
    assert found["ServicesReady"] == ("True", "AllHealthy"), "it looks all the same"


def test_a_failed_step_tells_which() -> None:
    failure = Block(Type.VOLUMES_READY, Reason.POOL_FULL, "pool default is full")
    found = brief(told(Observed(), failure))
    assert found["VolumesReady"] == ("False", "PoolFull")
    assert found["Stalled"] == ("True", "PoolFull")


def test_the_same_situation_gives_the_same_status() -> None:
    first = told(seen_up())
    again = status(guest().model_copy(update={"status": first}), wish(), seen_up())
    assert again == first
