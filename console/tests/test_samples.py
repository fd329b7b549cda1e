"""The samples: the API server takes each as it is, again without a change, and none is in another's way."""

from __future__ import annotations

from ipaddress import ip_network
from itertools import combinations
from pathlib import Path

import pytest
import yaml
from dsecos_api import KINDS
from dsecos_control_plane.testing import ControlPlane

from console.tests.objects import CHECKOUT, Object

SAMPLES = sorted((CHECKOUT / "manifests" / "samples").glob("*.yaml"))
MODELS = {kind.__name__: kind for kind in KINDS}


def documents(kind: str = "") -> list[Object]:
    """The objects of all samples, or those of one kind."""
    found = [document for sample in SAMPLES for document in yaml.safe_load_all(sample.read_text())]
    return [document for document in found if kind in ("", document["kind"])]


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_the_api_server_takes_it_and_a_second_apply_changes_nothing(
    control_plane: ControlPlane, sample: Path
) -> None:
    control_plane.kubectl("apply", "-f", str(sample))
    again = control_plane.kubectl("apply", "-f", str(sample)).splitlines()
    control_plane.kubectl("delete", "-f", str(sample), "--wait=false")
    assert again
    assert [line for line in again if not line.endswith("unchanged")] == []


@pytest.mark.parametrize("document", documents(), ids=lambda raw: f"{raw['kind']}-{raw['metadata']['name']}")
def test_nothing_in_it_is_unknown_to_the_model(document: Object) -> None:
    if document["kind"] not in MODELS:
        return
    parsed = MODELS[document["kind"]].parse(document).to_dict()
    for key, value in document["spec"].items():
        assert key in parsed["spec"], f"{key}: {value}"


def test_zones_do_not_overlap_and_no_host_port_is_asked_for_twice() -> None:
    networks = [ip_network(cidr) for zone in documents("NetworkZone") for cidr in zone["spec"]["cidrs"]]
    assert [pair for pair in combinations(networks, 2) if pair[0].overlaps(pair[1])] == []
    ports = [port["hostPort"] for stack in documents("Stack") for port in stack["spec"].get("expose", [])]
    assert len(ports) == len(set(ports))
