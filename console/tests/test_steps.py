"""A Stack's conditions as steps, and when it has arrived."""

from __future__ import annotations

from typing import Any

from dsecos_api import Stack
from dsecos_cli.overview import next_step
from dsecos_cli.steps import StepState, Verdict, steps, verdict

from console.tests.objects import condition, stack_object


def stack(*conditions: dict[str, Any], observed: int = 1) -> Stack:
    raw = stack_object()
    raw["metadata"] |= {"namespace": "demo", "generation": 1}
    return Stack.parse({**raw, "status": {"observedGeneration": observed, "conditions": list(conditions)}})


def states(found: Stack) -> list[str]:
    return [step.state.value for step in steps(found)]


DONE = [
    condition(name, "True", "Done")
    for name in (
        "Licensed",
        "Rendered",
        "Scheduled",
        "GuestReady",
        "VolumesReady",
        "NetworkReady",
        "DockerReady",
    )
]


def test_before_the_operator_looked_the_first_step_is_awaited() -> None:
    found = Stack.parse(
        {**stack_object(), "metadata": {"name": "shop", "namespace": "demo", "generation": 1}}
    )
    assert verdict(found) is Verdict.GOING
    assert states(found)[0] == StepState.BUSY
    assert set(states(found)[1:]) == {StepState.WAITING}
    assert "operator" in next_step(found)


def test_the_step_under_way_is_the_first_that_does_not_hold() -> None:
    found = stack(
        *DONE, condition("ServicesReady", "False", "Starting"), condition("Ready", "False", "Progressing")
    )
    assert states(found) == ["done"] * 7 + ["busy", "waiting"]
    assert verdict(found) is Verdict.GOING


def test_a_step_that_is_not_set_up_keeps_nothing_from_serving() -> None:
    found = stack(
        *DONE,
        condition("ServicesReady", "True", "AllHealthy"),
        condition("Registered", "False", "NotConfigured"),
        condition("Ready", "True", "Serving"),
    )
    assert states(found) == ["done"] * 8 + ["unused"]
    assert verdict(found) is Verdict.READY
    assert next_step(found) == ""


def test_what_is_the_own_business_of_an_adopted_guest_is_no_step_that_was_done() -> None:
    own = ("Rendered", "VolumesReady", "NetworkReady", "DockerReady", "ServicesReady")
    found = stack(
        *(condition(step, "True", "Adopted", "it is its own") for step in own),
        condition("Licensed", "True", "LicenseValid"),
        condition("Scheduled", "True", "Placed"),
        condition("GuestReady", "True", "Running"),
        condition("Registered", "False", "NotConfigured"),
        condition("Ready", "True", "Adopted"),
    )
    done = {step.type for step in steps(found) if step.state == "done"}
    assert done == {"Licensed", "Scheduled", "GuestReady"}
    assert verdict(found) is Verdict.READY


def test_a_stalled_stack_names_the_step_that_failed_and_the_way_out() -> None:
    found = stack(
        DONE[0],
        condition("Rendered", "False", "TemplateNotFound", "spec.template.name: the catalog has no nod"),
        condition("Ready", "False", "TemplateNotFound"),
        condition("Stalled", "True", "TemplateNotFound"),
    )
    assert states(found)[:3] == ["done", "failed", "waiting"]
    assert verdict(found) is Verdict.STALLED
    assert "spec.template.name" in next_step(found)


def test_the_step_that_says_no_comes_before_one_that_was_not_reached() -> None:
    found = stack(
        DONE[0],
        condition("Rendered", "Unknown", "Pending"),
        condition("Scheduled", "False", "ZoneNotFound", "spec.zone: there is no NetworkZone backend"),
        condition("Ready", "False", "ZoneNotFound"),
    )
    assert states(found)[:4] == ["done", "waiting", "busy", "waiting"]
    assert next_step(found).startswith("Create the zone")


def test_a_status_about_an_older_spec_says_nothing_about_the_present_one() -> None:
    found = stack(condition("Ready", "True", "Serving"), observed=0)
    assert verdict(found) is Verdict.GOING


def test_a_service_that_is_not_well_leads_to_its_logs() -> None:
    found = stack(
        *DONE, condition("ServicesReady", "False", "Unhealthy"), condition("Ready", "False", "Unhealthy")
    )
    assert next_step(found) == "Read what it says: `dsecos logs shop -n demo SERVICE`."
