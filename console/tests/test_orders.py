"""Orders to guests: what is refused before anything is written, what is written, and when it is done."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread
from typing import Any

import pytest
import typer
from dsecos_api import Stack
from dsecos_api.lifecycle import LifecycleState, Order
from dsecos_cli.completion import complete_node, complete_stack
from dsecos_cli.errors import CliError
from dsecos_cli.main import app
from dsecos_cli.orders import TARGETS, Plan, describe, plan_run_policy
from hypothesis import given
from hypothesis import strategies as st
from typer.main import get_command

from console.tests.conftest import Namespace, Run, Server
from console.tests.objects import condition, guest_object, lifecycle, stack_object

READY = condition("Ready", "True", "Serving")


def stack(state: str | None, run_policy: str | None = None, **spec: Any) -> Stack:
    raw = stack_object(**({"runPolicy": run_policy} if run_policy else {}), **spec)
    raw["metadata"] |= {"namespace": "demo", "generation": 1}
    return Stack.parse({**raw, "status": {"observedGeneration": 1, **({"state": state} if state else {})}})


@pytest.mark.parametrize(
    ("order", "state", "declared", "expected"),
    [
        (Order.START, "Stopped", "Stopped", "Running"),
        (Order.STOP, "Running", None, "Stopped"),
        (Order.STOP, "Suspended", "Suspended", "Stopped"),
        (Order.SUSPEND, "Running", "Running", "Suspended"),
        (Order.RESUME, "Suspended", "Suspended", "Running"),
        # What is not made yet can be declared all the same.
        (Order.STOP, None, None, "Stopped"),
        (Order.START, None, "Stopped", "Running"),
        # An order that was not carried out yet is taken back.
        (Order.START, "Running", "Stopped", "Running"),
        (Order.RESUME, "Running", "Suspended", "Running"),
    ],
)
def test_an_order_writes_the_run_policy_and_nothing_else(
    order: Order, state: str | None, declared: str | None, expected: str
) -> None:
    assert plan_run_policy(stack(state, declared), order) == Plan({"spec": {"runPolicy": expected}})


@pytest.mark.parametrize(
    ("order", "state", "declared", "said", "way_out"),
    [
        (Order.RESUME, "Stopped", "Stopped", "it is Stopped", "dsecos start shop -n demo"),
        (Order.RESUME, "Stopped", None, "it is Stopped", "dsecos start shop -n demo"),
        (Order.SUSPEND, "Stopped", "Stopped", "it is Stopped", "dsecos start shop -n demo"),
        (Order.START, "Suspended", "Suspended", "it is Suspended", "dsecos resume shop -n demo"),
        (Order.STOP, "Migrating", None, "it is Migrating", "Wait until that is over"),
        (Order.SUSPEND, None, None, "has no guest yet", ""),
    ],
)
def test_an_order_that_the_state_does_not_allow_is_refused_with_the_one_to_give_first(
    order: Order, state: str | None, declared: str | None, said: str, way_out: str
) -> None:
    with pytest.raises(CliError) as raised:
        plan_run_policy(stack(state, declared), order)
    assert said in raised.value.message
    assert way_out in raised.value.hint


def test_a_guest_that_is_there_already_needs_nothing() -> None:
    assert plan_run_policy(stack("Stopped", "Stopped"), Order.STOP) == Plan(None, done=True)


def test_an_order_that_is_under_way_is_followed_and_not_written_again() -> None:
    assert plan_run_policy(stack("Stopping", "Stopped"), Order.STOP) == Plan(None)


def test_a_paused_stack_says_so_and_how_to_go_on() -> None:
    with pytest.raises(CliError, match="is paused") as raised:
        plan_run_policy(stack("Running", paused=True), Order.STOP)
    assert '"paused":null' in raised.value.hint


def planned(before: Stack, order: Order) -> tuple[Plan | None, str]:
    """The plan, or the way out where the order is refused."""
    try:
        return plan_run_policy(before, order), ""
    except CliError as refused:
        return None, refused.hint


@given(
    st.sampled_from(sorted(TARGETS)),
    st.sampled_from([None, *LifecycleState]),
    st.sampled_from([None, "Running", "Suspended", "Stopped"]),
)
def test_whatever_the_state_an_order_is_refused_with_a_way_out_or_leads_to_its_target(
    order: Order, state: LifecycleState | None, declared: str | None
) -> None:
    before = stack(state.value if state else None, declared)
    plan, way_out = planned(before, order)
    if plan is None:
        assert way_out
        return
    after = before.to_dict()
    after["spec"] |= (plan.patch or {}).get("spec", {})
    policy, target = TARGETS[order]
    assert (after["spec"].get("runPolicy") or "Running") == policy
    assert plan.done == (plan.patch is None and state is target)


def test_the_words_of_the_condition_are_shown_only_for_the_present_spec() -> None:
    raw = stack("Stopping", "Stopped").to_dict()
    raw["status"]["conditions"] = [condition("Ready", "False", "Progressing", "asks init to shut down")]
    assert describe(Stack.parse(raw)) == "Stopping  Progressing: asks init to shut down"
    raw["status"]["observedGeneration"] = 0
    assert describe(Stack.parse(raw)) == "Stopping"


@pytest.fixture
def shop(namespace: Namespace, server: Server) -> Namespace:
    """A namespace with a Stack that runs on a node of the test's own."""
    namespace.apply(stack_object())
    serve(namespace, "Running", node=server.name)
    return namespace


def serve(namespace: Namespace, state: str, *conditions: dict[str, Any], **more: Any) -> None:
    """What the operator writes of a guest that is in this state."""
    generation = namespace.get("stack", "shop")["metadata"]["generation"]
    namespace.set_status(
        "stack",
        "shop",
        observedGeneration=generation,
        guest="shop-12345678",
        state=state,
        conditions=list(conditions or [READY]),
        **more,
    )


def while_running(play: Callable[[], None], run: Callable[[], Any]) -> Any:
    """Run the command while something plays the controllers."""
    thread = Thread(target=play)
    thread.start()
    try:
        return run()
    finally:
        thread.join()


def test_stop_changes_one_field_and_waits_until_the_guest_is_stopped(dsecos: Run, shop: Namespace) -> None:
    before = shop.get("stack", "shop")["spec"]

    def operate() -> None:
        shop.kubectl("wait", "--for=jsonpath={.spec.runPolicy}=Stopped", "stack/shop", "--timeout=60s")
        serve(shop, "Stopping", condition("Ready", "False", "Progressing", "asks init to shut down"))
        serve(shop, "Stopped", condition("Ready", "True", "Stopped"))

    result = while_running(operate, lambda: dsecos("stop", "shop", "-n", shop.name, "--timeout", "60s"))
    assert result.exit_code == 0, result.stderr
    assert "runPolicy is Stopped now" in result.stderr
    assert result.stderr.splitlines()[-1].split()[1:] == ["done", "shop", "Stopped"]
    assert shop.get("stack", "shop")["spec"] == {**before, "runPolicy": "Stopped"}
    assert result.stdout == ""


def test_of_several_stacks_none_is_changed_if_one_refuses(dsecos: Run, shop: Namespace) -> None:
    shop.apply(stack_object("other", runPolicy="Stopped"))
    shop.set_status("stack", "other", observedGeneration=1, state="Stopped", conditions=[READY])
    result = dsecos("suspend", "shop", "other", "-n", shop.name, "--no-wait")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: stack other: Suspend is for a guest that is Running")
    assert f"dsecos start other -n {shop.name}" in result.stderr
    assert "runPolicy" not in shop.get("stack", "shop")["spec"]


def test_an_order_that_ends_nowhere_is_told_in_the_conditions_own_words(dsecos: Run, shop: Namespace) -> None:
    words = "the engine cannot suspend guests of type container"

    def operate() -> None:
        shop.kubectl("wait", "--for=jsonpath={.spec.runPolicy}=Suspended", "stack/shop", "--timeout=60s")
        found = (("Ready", "False"), ("Stalled", "True"))
        serve(shop, "Running", *(condition(type_, status, "Unsupported", words) for type_, status in found))

    result = while_running(operate, lambda: dsecos("suspend", "shop", "-n", shop.name, "--timeout", "60s"))
    assert result.exit_code == 1
    assert f"error: stack shop does not go on: Unsupported: {words}" in result.stderr


def test_the_wait_ends_with_its_time_and_says_where_the_guest_is(dsecos: Run, shop: Namespace) -> None:
    result = dsecos("stop", "shop", "-n", shop.name, "--timeout", "1s")
    assert result.exit_code == 5
    assert "after 1 s stack shop is Running" in result.stderr


def test_nothing_is_started_on_a_node_in_maintenance(dsecos: Run, shop: Namespace, server: Server) -> None:
    serve(shop, "Stopped", condition("Ready", "True", "Stopped"))
    server.patch(maintenance=True)
    result = dsecos("start", "shop", "-n", shop.name)
    assert result.exit_code == 1
    assert "which is in maintenance" in result.stderr
    assert f"dsecos undrain {server.name}" in result.stderr


def test_a_missing_stack_is_named(dsecos: Run, namespace: Namespace) -> None:
    assert dsecos("stop", "nothing", "-n", namespace.name).exit_code == 6


def test_restart_is_done_when_the_guest_says_that_it_carried_out_this_request(
    dsecos: Run, shop: Namespace, server: Server
) -> None:
    server.apply_guest(guest_object("shop-12345678", server.name, shop.name))
    words = ("restart", "shop", "-n", shop.name, "--timeout")

    def operate() -> None:
        server.set_guest_status(
            "shop-12345678", restart=ordered(shop), lifecycle=lifecycle("Running", "RestartRequested")
        )

    first = while_running(operate, lambda: dsecos(*words, "60s"))
    assert first.exit_code == 0, first.stderr
    assert shop.get("stack", "shop")["metadata"]["generation"] == 1
    again = dsecos(*words, "1s")
    assert again.exit_code == 5, "an older request says nothing about a new one"


def test_who_may_not_read_the_guest_sees_a_restart_in_the_stack(
    dsecos: Run, shop: Namespace, as_tenant: Callable[[], None]
) -> None:
    as_tenant()

    def operate() -> None:
        ordered(shop)
        serve(shop, "Running", {**READY, "lastTransitionTime": "2026-11-20T10:00:09Z"})

    words = ("restart", "shop", "-n", shop.name, "--timeout", "60s")
    result = while_running(operate, lambda: dsecos(*words))
    assert result.exit_code == 0, result.stderr


def ordered(shop: Namespace) -> str:
    """The restart request, once it is there."""
    path = "{.metadata.annotations.dsecos\\.io/restart}"
    shop.kubectl("wait", f"--for=jsonpath={path}", "stack/shop", "--timeout=60s")
    return str(shop.get("stack", "shop")["metadata"]["annotations"]["dsecos.io/restart"])


def test_a_stopped_guest_is_not_restarted(dsecos: Run, shop: Namespace) -> None:
    serve(shop, "Stopped", condition("Ready", "True", "Stopped"))
    result = dsecos("restart", "shop", "-n", shop.name)
    assert result.exit_code == 1
    assert f"dsecos start shop -n {shop.name}" in result.stderr
    assert "annotations" not in shop.get("stack", "shop")["metadata"]


def test_the_shell_completes_stacks_and_nodes(shop: Namespace, server: Server) -> None:
    context = typer.Context(get_command(app))
    context.params["namespace"] = shop.name
    assert complete_stack(context, "sh") == ["shop"]
    assert complete_stack(context, "x") == []
    assert complete_node(context, server.name) == [server.name]


def test_without_a_cluster_nothing_is_completed(environment: object) -> None:
    assert complete_stack(typer.Context(get_command(app)), "") == []
