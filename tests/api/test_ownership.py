"""Who writes what: unknown fields, status apart from spec, server-side apply by several managers, GitOps."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from dsecos_api import KINDS
from dsecos_api.generate import CHECKOUT
from dsecos_control_plane.testing import ControlPlane

from tests.api.client import Api, Object, RefusedError
from tests.api.objects import EXAMPLES, changed, example

EVERY_EXAMPLE = pytest.mark.parametrize("name", [each["metadata"]["name"] for each in EXAMPLES])


def condition(kind: str, status: str = "True") -> Object:
    return {"type": kind, "status": status, "reason": "Tested", "message": ""}


def status_of(obj: Object, **status: object) -> Object:
    """What a controller applies to the status of an object."""
    metadata = {key: obj["metadata"][key] for key in ("name", "namespace") if key in obj["metadata"]}
    return {"apiVersion": obj["apiVersion"], "kind": obj["kind"], "metadata": metadata, "status": status}


@EVERY_EXAMPLE
def test_applying_an_object_twice_changes_nothing(name: str, api: Api) -> None:
    obj = example(name, f"twice-{name}")
    obj.pop("status", None)
    first = api.apply(obj, "git")
    second = api.apply(obj, "git")
    assert first["metadata"]["generation"] == 1
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


@EVERY_EXAMPLE
def test_the_server_keeps_a_spec_as_it_was_written(name: str, api: Api) -> None:
    obj = example(name, f"kept-{name}")
    assert api.create(obj)["spec"] == obj["spec"]


def test_only_a_missing_protocol_is_filled_in(api: Api) -> None:
    obj = example("hello", "defaults")
    obj["spec"]["expose"] = [{"port": 3000}]
    expected = {**obj["spec"], "expose": [{"port": 3000, "protocol": "TCP"}]}
    assert api.create(obj)["spec"] == expected


@EVERY_EXAMPLE
def test_an_unknown_field_is_refused_or_warned_of(name: str, api: Api) -> None:
    obj = changed(example(name, "unknown"), "spec.colour", "blue")
    with pytest.raises(RefusedError, match=r"unknown field .spec\.colour"):
        api.create(obj, dry_run=True)
    answer = api.create(obj, dry_run=True, validation="Warn")
    assert "colour" not in answer["spec"]
    assert any(r"unknown field \"spec.colour\"" in warning for warning in api.warnings)


def test_values_of_a_template_may_be_anything(api: Api) -> None:
    values = {"a": [1, {"b": None}], "c": True, "d": {"e": 1.5}, "f": ""}
    obj = changed(example("shop", "values"), "spec.template.values", values)
    kept = api.create(obj)["spec"]["template"]["values"]
    assert kept == values


def test_users_cannot_write_status_and_controllers_cannot_write_spec(api: Api) -> None:
    created = api.create(example("shop", "apart"))
    assert "status" not in created

    obj = status_of(created, node="rack1-a")
    obj["spec"] = {**created["spec"], "runPolicy": "Stopped"}
    written = api.replace({**created, **obj, "metadata": created["metadata"]}, "status")
    assert written["status"] == {"node": "rack1-a"}
    assert written["spec"] == created["spec"]
    assert written["metadata"]["generation"] == 1

    edited = api.replace(
        {**written, "spec": {**created["spec"], "paused": True}, "status": {"node": "other"}}
    )
    assert edited["status"] == {"node": "rack1-a"}
    assert edited["metadata"]["generation"] == 2


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_conditions_of_two_managers_stand_side_by_side(kind: type, api: Api) -> None:
    base = next(each for each in EXAMPLES if each["kind"] == kind.__name__)
    obj = example(base["metadata"]["name"], f"shared-{base['metadata']['name']}")
    api.create(obj)

    api.apply(status_of(obj, conditions=[condition("Ready"), condition("Reconciling")]), "first", "status")
    api.apply(status_of(obj, conditions=[condition("NetworkReady")]), "second", "status")
    merged = api.apply(status_of(obj, conditions=[condition("Ready", "False")]), "first", "status")

    found = {each["type"]: each["status"] for each in merged["status"]["conditions"]}
    assert found == {"Ready": "False", "NetworkReady": "True"}, "what `first` no longer applies is gone"


def test_two_managers_cannot_fight_over_one_condition_unseen(api: Api) -> None:
    obj = example("backend", "contested")
    api.create(obj)
    api.apply(status_of(obj, conditions=[condition("Ready")]), "first", "status")
    with pytest.raises(RefusedError, match='conflict with "first"') as refusal:
        api.apply(status_of(obj, conditions=[condition("Ready", "False")]), "second", "status")
    assert refusal.value.code == 409


def test_a_status_that_is_applied_again_is_not_written(api: Api) -> None:
    obj = example("shop", "quiet")
    api.create(obj)
    first = api.apply(status_of(obj, **obj["status"]), "operator", "status")
    second = api.apply(status_of(obj, **obj["status"]), "operator", "status")
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


def test_ports_and_volumes_of_two_managers_merge(api: Api) -> None:
    obj = example("hello", "merged")
    obj["spec"]["expose"] = [{"port": 80, "protocol": "TCP"}]
    api.apply(obj, "git")
    other = {key: obj[key] for key in ("apiVersion", "kind", "metadata")}
    merged = api.apply({**other, "spec": {"expose": [{"port": 80, "protocol": "UDP"}]}}, "hand")
    assert merged["spec"]["expose"] == [{"port": 80, "protocol": "TCP"}, {"port": 80, "protocol": "UDP"}]


def test_a_kind_without_controller_can_say_so(api: Api) -> None:
    obj = example("nightly", "later")
    api.create(obj)
    unknown = {**condition("Ready", "Unknown"), "reason": "ControllerNotAvailable"}
    answer = api.apply(status_of(obj, observedGeneration=1, conditions=[unknown]), "operator", "status")
    assert answer["status"]["conditions"] == [unknown]


def test_a_name_may_have_63_characters_and_not_one_more(api: Api) -> None:
    assert api.create(example("shop", "n" * 63))["metadata"]["name"] == "n" * 63
    with pytest.raises(RefusedError, match="at most 63 characters"):
        api.create(example("shop", "n" * 64))


def test_a_refusal_says_what_to_write_instead(plane: ControlPlane, api: Api) -> None:
    obj = changed(example("shop"), "spec.resources.memory", 2)
    with pytest.raises(RefusedError, match=r"spec\.resources\.memory.*write for example 2Gi"):
        api.create(obj, dry_run=True)


@pytest.mark.parametrize(
    "sample", sorted((CHECKOUT / "manifests/samples").glob("*.yaml")), ids=lambda path: path.name
)
def test_samples_are_valid_and_a_second_sync_finds_no_difference(sample: Path, plane: ControlPlane) -> None:
    documents = [each for each in yaml.safe_load_all(sample.read_text()) if each]
    for namespace in {each["metadata"].get("namespace") for each in documents} - {None}:
        made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
        plane.kubectl("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump(made))
    plane.kubectl("apply", "--server-side", "--validate=strict", "-f", str(sample))
    assert plane.kubectl("diff", "--server-side", "-f", str(sample)) == ""
