"""Rules of Stack."""

from __future__ import annotations

from typing import Any

from tests.api.objects import ABSENT
from tests.api.rules import (
    Pair,
    Rules,
    Table,
    below,
    cel,
    enum,
    fixed,
    max_items,
    max_length,
    min_length,
    minimum,
    required,
    unique,
)
from tests.api.rules.parts import (
    ADDRESS,
    ENGINE_ID,
    EXPOSE,
    KEY,
    LABEL,
    LIFECYCLE_STATE,
    NAME,
    RESOURCES,
    SECRET_VALUES,
    SERVICES,
    STARTUP,
    STATUS,
    TIME,
    VOLUMES,
)

TEMPLATE = {"name": "node-postgres"}
COMPOSE = {"inline": "services: {}"}
ADOPT = {"node": "rack1-a", "id": "105"}
ONE_SOURCE = "name exactly one of template, compose and adopt"
ADOPT_FIXED = "adopt cannot change; create another Stack"
KEEPS_ITS_OWN = "what is adopted keeps its network and disks: leave out zone, address, expose and volumes"
DB, RACK = {"stacks": ["db"]}, {"topologyKey": "rack"}


def _names(count: int) -> list[Any]:
    return [f"n{number}" for number in range(count)]


COMPANIONS: Rules = {
    "": (
        cel(
            "name stacks, zones, or both",
            [DB, {"zones": ["back"]}, {**DB, "zones": ["back"]}, {**DB, "zones": []}],
            [{}, {"stacks": []}, {"zones": []}, {"preferred": True}, {"stacks": [], "zones": []}],
        ),
    ),
    ".stacks": (max_items(_names(33), 32), unique(["a", "b"], ["a", "a"])),
    ".stacks[]": LABEL,
    ".zones": (max_items(_names(33), 32), unique(["a", "b"], ["a", "a"])),
    ".zones[]": LABEL,
    ".topologyKey": (min_length("a", ""), max_length(316)),
}

TABLES = (
    Table(
        "Stack",
        "shop",
        {
            "": (
                *required("spec"),
                cel(
                    "the name of a Stack is an RFC 1123 label (a-z, 0-9 and -) of at most 63 characters",
                    ["a", "a" * 63, "1-a"],
                    ["a" * 64, "a.b"],
                    field="metadata.name",
                ),
            ),
            "spec": (
                *required("resources"),
                cel(ONE_SOURCE, [ABSENT], [COMPOSE], field="compose"),
                cel(ONE_SOURCE, [TEMPLATE], [ABSENT], field="template"),
                cel("zone is required", ["backend"], [ABSENT], field="zone"),
                fixed(ADOPT_FIXED, [ABSENT], [ADOPT], field="adopt"),
                cel(
                    "a hostPort can be given to one exposed port only",
                    [
                        [{"port": 1, "hostPort": 80}, {"port": 2, "hostPort": 81}, {"port": 3}, {"port": 4}],
                        [{"port": 1, "hostPort": 53}, {"port": 1, "protocol": "UDP", "hostPort": 53}],
                    ],
                    [
                        [{"port": 1, "hostPort": 80}, {"port": 2, "hostPort": 80}],
                        [{"port": 1, "hostPort": 80}, {"port": 2, "protocol": "TCP", "hostPort": 80}],
                    ],
                    field="expose",
                ),
                fixed(
                    "type cannot change; create another Stack", [ABSENT, "container"], ["vm"], field="type"
                ),
            ),
            "spec.template": required("name"),
            "spec.template.name": LABEL,
            **below("spec.template.secretValues", SECRET_VALUES),
            "spec.type": (enum("container", "vm"),),
            "spec.zone": (
                *LABEL,
                fixed("zone cannot change; create another Stack", ["backend"], ["frontend"]),
            ),
            "spec.address": ADDRESS,
            **below("spec.expose", EXPOSE),
            **below("spec.resources", RESOURCES),
            **below("spec.volumes", VOLUMES),
            "spec.placement.nodeSelector": (
                Pair(
                    "maxProperties",
                    ({f"l{number}": "" for number in range(16)},),
                    ({f"l{number}": "" for number in range(17)},),
                    "Too many",
                ),
            ),
            "spec.placement.nodeSelector.*": (max_length(63),),
            "spec.placement": (
                cel(
                    "affinity and antiAffinity demand the same companion",
                    [
                        {"affinity": DB},
                        {"antiAffinity": DB},
                        {"affinity": DB, "antiAffinity": {"stacks": ["web"], "zones": ["db"]}},
                        {"affinity": {**DB, "preferred": True}, "antiAffinity": DB},
                        {"affinity": DB, "antiAffinity": {**DB, "preferred": True}},
                        {"affinity": {**DB, **RACK}, "antiAffinity": DB},
                        {"node": "rack1-a", "nodeSelector": {"a": "b"}},
                    ],
                    [
                        {"affinity": DB, "antiAffinity": DB},
                        {"affinity": {"stacks": ["web", "db"]}, "antiAffinity": DB},
                        {"affinity": {"zones": ["back"]}, "antiAffinity": {**DB, "zones": ["back"]}},
                        {"affinity": {**DB, "preferred": False}, "antiAffinity": DB},
                        {"affinity": {**DB, **RACK}, "antiAffinity": {**DB, **RACK}},
                    ],
                ),
            ),
            "spec.placement.node": LABEL,
            **below("spec.placement.affinity", COMPANIONS),
            **below("spec.placement.antiAffinity", COMPANIONS),
            **below("spec.startup", STARTUP),
            "spec.disruptionGroup": LABEL,
            "spec.driftPolicy": (enum("Repair", "Report"),),
            "spec.runPolicy": (enum("Running", "Suspended", "Stopped"),),
            "spec.deletionPolicy": (enum("Delete", "Retain", "Orphan"),),
            **STATUS,
            **SERVICES,
            "status.state": (LIFECYCLE_STATE,),
            "status.failedMove": required("node", "generation", "time"),
            "status.failedMove.generation": (minimum(0),),
            "status.failedMove.time": TIME,
            "status.failedMove.message": (max_length(1024),),
            "status.epoch": (Pair("minimum", (0,), (-1,), "greater than or equal to"),),
            "status.endpoints": (max_items([f"http://10.0.0.5:{port}" for port in range(65)], 64),),
        },
    ),
    Table(
        "Stack",
        "hello",
        {
            "spec": (
                fixed(
                    "type cannot change; create another Stack", ["container", ABSENT], ["vm"], field="type"
                ),
            ),
            "spec.compose": (
                cel(
                    "name exactly one of inline and configMapRef",
                    [COMPOSE, {"configMapRef": {"name": "c"}}],
                    [{}, {**COMPOSE, "configMapRef": {"name": "c"}}],
                ),
            ),
            "spec.compose.inline": (min_length("a", ""), max_length(262_144)),
            **below("spec.compose.secretValues", SECRET_VALUES),
        },
    ),
    Table(
        "Stack",
        "elsewhere",
        {
            "spec": (
                fixed(
                    "type cannot change; create another Stack", ["vm"], ["container", ABSENT], field="type"
                ),
            ),
            "spec.compose.configMapRef": required("name"),
            "spec.compose.configMapRef.name": NAME,
            "spec.compose.configMapRef.key": KEY,
        },
    ),
    Table(
        "Stack",
        "wiki",
        {
            "spec": (
                cel(ONE_SOURCE, [ABSENT], [COMPOSE], field="compose"),
                cel(ONE_SOURCE, [ADOPT], [ABSENT], field="adopt"),
                cel(KEEPS_ITS_OWN, [ABSENT], ["backend"], field="zone"),
                cel(KEEPS_ITS_OWN, [ABSENT], ["10.20.0.5"], field="address"),
                cel(KEEPS_ITS_OWN, [ABSENT, []], [[{"port": 80}]], field="expose"),
                cel(KEEPS_ITS_OWN, [ABSENT, []], [[{"name": "data", "size": "1Gi"}]], field="volumes"),
                fixed(
                    ADOPT_FIXED,
                    [ADOPT],
                    [{**ADOPT, "id": "106"}, {**ADOPT, "node": "rack1-b"}],
                    field="adopt",
                ),
            ),
            "spec.adopt": required("node", "id"),
            "spec.adopt.node": LABEL,
            "spec.adopt.id": ENGINE_ID,
        },
    ),
)
