"""Rules of Guest."""

from __future__ import annotations

from tests.api.objects import ABSENT
from tests.api.rules import (
    UNCHANGED,
    Table,
    below,
    between,
    cel,
    enum,
    fixed,
    max_items,
    max_length,
    minimum,
    required,
    unique,
)
from tests.api.rules.parts import (
    ADDRESS,
    CAUSE,
    ENGINE_ID,
    EXPOSE,
    LABEL,
    LIFECYCLE_STATE,
    MAC,
    RESOURCES,
    SERVICES,
    STARTUP,
    STATUS,
    TIME,
    UID,
    VOLUMES,
)

LARGEST_ID = 4_294_967_294
TRANSITION = {"to": "Running", "cause": "Boot", "time": "2026-11-20T02:00:41Z"}
MADE_WITH = ("image", "idMap", "network", "compose")
WHOLE_OR_ADOPTED = "name image, idMap, network and compose, or adopt alone"
STACK_REF = {"namespace": "acme", "name": "shop", "uid": "6f1f9c0e-8d3f-4f43-9f7a-0a1a2a3a4a5a"}

TABLES = (
    Table(
        "Guest",
        "shop-1a2b3c4d",
        {
            "": required("spec"),
            "spec": (
                *required(
                    "stackRef", "type", "hostname", "epoch", "resources", "runPolicy", "deletionPolicy"
                ),
                *(cel(WHOLE_OR_ADOPTED, [UNCHANGED], [ABSENT], each) for each in MADE_WITH),
                cel(WHOLE_OR_ADOPTED, [ABSENT], ["105"], "adopt"),
            ),
            "spec.stackRef": (
                *required("namespace", "name", "uid"),
                fixed("stackRef cannot change", [STACK_REF], [{**STACK_REF, "uid": "another"}]),
            ),
            "spec.stackRef.namespace": LABEL,
            "spec.stackRef.name": LABEL,
            "spec.stackRef.uid": UID,
            "spec.type": (enum("container", "vm"),),
            "spec.hostname": LABEL,
            "spec.epoch": (minimum(1),),
            "spec.image": LABEL,
            "spec.pool": LABEL,
            **below("spec.resources", RESOURCES),
            "spec.idMap": (
                *required("base", "count"),
                cel(
                    f"the range ends above the largest id, {LARGEST_ID}",
                    [{"base": LARGEST_ID - 65535, "count": 65536}],
                    [{"base": LARGEST_ID - 65536, "count": 65538}],
                ),
            ),
            "spec.idMap.base": between(65536, LARGEST_ID - 65535),
            "spec.idMap.count": (minimum(65536),),
            "spec.network": required("attachment", "address", "prefixLength", "gateway", "mac"),
            "spec.network.attachment": LABEL,
            "spec.network.address": ADDRESS,
            "spec.network.prefixLength": between(1, 128),
            "spec.network.gateway": ADDRESS,
            "spec.network.mac": MAC,
            "spec.network.address6": ADDRESS,
            "spec.network.gateway6": ADDRESS,
            **below("spec.network.ports", EXPOSE),
            **below("spec.volumes", VOLUMES),
            "spec.compose": required("document", "digest"),
            "spec.compose.document": (max_length(1_048_576),),
            "spec.compose.digest": (max_length(128),),
            "spec.compose.secretName": LABEL,
            "spec.runPolicy": (enum("Running", "Suspended", "Stopped"),),
            "spec.restart": (max_length(253),),
            **below("spec.startup", STARTUP),
            "spec.driftPolicy": (enum("Repair", "Report"),),
            "spec.migrate": required("node", "engineNode"),
            "spec.migrate.node": LABEL,
            "spec.migrate.engineNode": LABEL,
            "spec.deletionPolicy": (enum("Delete", "Retain", "Orphan"),),
            **STATUS,
            **SERVICES,
            "status.epoch": (minimum(0),),
            "status.startedAt": TIME,
            "status.lifecycle": required("state", "since", "cause"),
            "status.lifecycle.state": (LIFECYCLE_STATE,),
            "status.lifecycle.since": TIME,
            "status.lifecycle.cause": (CAUSE,),
            "status.lifecycle.transitions": (max_items([TRANSITION] * 11, 10),),
            "status.lifecycle.transitions[]": required("to", "cause", "time"),
            "status.lifecycle.transitions[].from": (LIFECYCLE_STATE,),
            "status.lifecycle.transitions[].to": (LIFECYCLE_STATE,),
            "status.lifecycle.transitions[].cause": (CAUSE,),
            "status.lifecycle.transitions[].message": (max_length(1024),),
            "status.lifecycle.transitions[].time": TIME,
            "status.engineId": (max_length(63),),
            "status.engineNode": (max_length(63),),
            "status.restart": (max_length(253),),
            "status.drift": (
                max_items([f"s{number}" for number in range(65)], 64),
                unique(["memory", "cores"], ["memory", "memory"]),
            ),
        },
    ),
    Table(
        "Guest",
        "wiki-5e6f7a8b",
        {
            "spec": (
                cel(WHOLE_OR_ADOPTED, [ABSENT], ["debian-13-docker"], "image"),
                cel(WHOLE_OR_ADOPTED, ["105"], [ABSENT], "adopt"),
                fixed("adopt cannot change", ["105"], ["106", ABSENT], "adopt"),
            ),
            "spec.adopt": ENGINE_ID,
        },
    ),
)
