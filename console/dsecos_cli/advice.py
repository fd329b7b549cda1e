"""What each reason in a condition means, and what to do about it.

One table for people who look at `dsecos status` and for those who read the documentation:
docs/reasons.md is `page()`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from dsecos_api.conditions import Reason


@dataclass(frozen=True)
class Advice:
    """`meaning` completes "this says that ..."; `action` is what to do next, empty where nothing is to be
    done.
    """

    meaning: str
    action: str = ""


WAIT = "Wait; `dsecos status STACK -w` follows it."

ADVICE: Mapping[Reason, Advice] = {
    # Any kind
    Reason.PENDING: Advice("the step waits for one before it", WAIT),
    Reason.PROGRESSING: Advice("the work is under way", WAIT),
    Reason.PAUSED: Advice(
        "`spec.paused` is true: nothing is changed", "Set `spec.paused` to false or remove it to go on."
    ),
    Reason.DELETING: Advice(
        "the object is deleted and the outside is cleaned up", "Wait; the message names what is still there."
    ),
    Reason.FAILED: Advice(
        "a step failed; it is tried again", "Read the message; `dsecos status STACK` shows the events."
    ),
    Reason.CONTROLLER_NOT_AVAILABLE: Advice(
        "this version stores the object but has no controller for it", "Nothing; a later version acts on it."
    ),
    Reason.INTERNAL_ERROR: Advice(
        "a controller met an error of its own; it tries again",
        "Read the operator's and the agent's log (docs/operate.md) and report it.",
    ),
    # License
    Reason.LICENSE_VALID: Advice("the license holds"),
    Reason.DEVELOPMENT_LICENSE: Advice("the cluster runs under the development license"),
    Reason.LICENSE_MISSING: Advice(
        "there is no License, so nothing new is deployed; what runs goes on",
        "`kubectl apply -f manifests/samples/01-license-development.yaml`, or apply your own License.",
    ),
    Reason.LICENSE_NOT_VALIDATED: Advice(
        "a License names a token, and this version has no validation for it",
        "Use `spec.development: true` until a version with validation is installed.",
    ),
    # Rendering
    Reason.COMPOSE_VALID: Advice("the compose document was rendered and passed the policy"),
    Reason.TEMPLATE_NOT_FOUND: Advice(
        "the catalog has no entry of that name",
        "Correct `spec.template.name`; the message lists what the catalog holds.",
    ),
    Reason.TEMPLATE_BROKEN: Advice(
        "the catalog entry itself is wrong",
        "Correct the entry in the catalog; the message names file and line.",
    ),
    Reason.TEMPLATE_FORBIDDEN: Advice(
        "the catalog entry does what its sandbox forbids",
        "Correct the entry; the message names file and line.",
    ),
    Reason.RENDER_LIMIT_EXCEEDED: Advice(
        "rendering took too long or its result is too large",
        "Make the template, its values or the document smaller.",
    ),
    Reason.COMPOSE_LOADER_MISSING: Advice(
        "the operator has no Docker Compose to load documents with",
        "`make up` on the control plane's machine.",
    ),
    Reason.UNDEFINED_VARIABLE: Advice(
        "a template's variable has neither value nor default, or a document's ${name} is no secret value",
        "Set it in `spec.template.values` or `secretValues`; write `$$` for a dollar sign.",
    ),
    Reason.VALUES_INVALID: Advice(
        "a value does not fit the entry's values.schema.json", "Correct the value that the message names."
    ),
    Reason.COMPOSE_NOT_FOUND: Advice(
        "the ConfigMap or its key in `spec.compose.configMapRef` does not exist",
        "Create it in the Stack's namespace, or correct the reference.",
    ),
    Reason.COMPOSE_INVALID: Advice(
        "compose does not accept the document", "Correct it; the message gives compose's own words."
    ),
    Reason.COMPOSE_TOO_LARGE: Advice(
        "the document, as written or with its anchors expanded, is too large",
        "Make it smaller or split the Stack.",
    ),
    Reason.COMPOSE_FORBIDDEN: Advice(
        "the document asks for what the policy refuses",
        "Remove what the message names (docs/compose.md), or allow it in the NetworkZone's `spec.policy`.",
    ),
    Reason.SECRET_NOT_FOUND: Advice(
        "a Secret or its key in `secretValues` does not exist",
        "Create it in the Stack's namespace: `kubectl create secret generic NAME --from-literal=KEY=...`.",
    ),
    # Scheduling
    Reason.PLACED: Advice("the Stack has a node, an address and an id map"),
    Reason.ZONE_NOT_FOUND: Advice(
        "the namespace has no NetworkZone of that name", "Create the zone, or name another in a new Stack."
    ),
    Reason.ZONE_NOT_READY: Advice(
        "the zone is not in force yet", "Look at it: `kubectl get networkzones -o wide`."
    ),
    Reason.NO_NODE_FITS: Advice(
        "no node has the room, the labels, the pool or the guest template that the Stack asks for",
        "Ask for less in `spec.resources`, or make room; the message tells why each node was left out.",
    ),
    Reason.ADDRESS_CONFLICT: Advice(
        "another Stack of the zone holds the address in `spec.address`",
        "Choose another address, or leave it out to have one allocated.",
    ),
    Reason.ADDRESS_INVALID: Advice(
        "`spec.address` is not an address for a guest of this zone",
        "Choose one inside of the zone's network that is neither its first, its last nor the gateway.",
    ),
    Reason.ADDRESSES_EXHAUSTED: Advice(
        "the zone has no free address", "Delete a Stack of the zone, or use a zone with a larger network."
    ),
    Reason.PORT_CONFLICT: Advice(
        "another Stack or the node itself has that hostPort, or the node's `spec.hostPorts` leave it out",
        "Choose another hostPort, or add it to the Node's `spec.hostPorts`.",
    ),
    Reason.UNSUPPORTED: Advice(
        "the object asks for something that this version does not do", "The message names it; leave it out."
    ),
    # Guest
    Reason.RUNNING: Advice("the guest runs"),
    Reason.STARTING: Advice("the guest or its services are starting", WAIT),
    Reason.STOPPED: Advice(
        "`spec.runPolicy` is Stopped, or the node is in maintenance", "`dsecos start STACK` starts the guest."
    ),
    Reason.SUSPENDED: Advice("`spec.runPolicy` is Suspended", "`dsecos resume STACK` lets it go on."),
    Reason.MOUNTED: Advice("the volumes are there and mounted"),
    Reason.RULES_IN_FORCE: Advice("link, address and firewall rules are in force"),
    Reason.DOCKER_RUNNING: Advice("the guest's Docker answers"),
    Reason.DOCKER_NOT_READY: Advice(
        "the guest's Docker does not answer yet, or in a VM the guest agent does not",
        "Wait a minute; then look: `lxc-attach -P /var/lib/dsecos/lxc -n GUEST -- journalctl -u docker`.",
    ),
    Reason.ALL_HEALTHY: Advice("every service runs and is healthy"),
    Reason.UNHEALTHY: Advice(
        "a service does not run or its health check fails", "Read what it says: `dsecos logs STACK SERVICE`."
    ),
    Reason.IMAGE_NOT_FOUND: Advice(
        "an image is neither on the node nor in a registry that the guest reaches",
        "Correct the image's name; use one of the catalog's, or let the zone's egress reach the registry.",
    ),
    Reason.REGISTRY_UNREACHABLE: Advice(
        "the guest does not reach the registry that an image comes from; it is tried again",
        "Let the zone's egress reach it (docs/expose.md), or use an image that the node holds.",
    ),
    Reason.OUT_OF_MEMORY: Advice(
        "the kernel killed a process at the guest's memory limit",
        "Raise `spec.resources.memory`; nothing restarts.",
    ),
    Reason.COMPOSE_FAILED: Advice(
        "`docker compose up` failed in the guest",
        "The message has its last words; `dsecos logs STACK` has more.",
    ),
    Reason.GUEST_TEMPLATE_MISSING: Advice(
        "the node does not hold the guest template", "Build it: `make up` on the node."
    ),
    Reason.POOL_NOT_FOUND: Advice(
        "the node has no storage pool of that name",
        "Name one of the Node's `spec.pools`, or leave `pool` out.",
    ),
    Reason.POOL_FULL: Advice(
        "the storage pool has no room left",
        "Delete what is not needed (docs/retained-data.md), or enlarge the pool.",
    ),
    Reason.NOT_OURS: Advice(
        "something outside bears the name of ours but not our mark; it is not touched",
        "Look what it is; rename or remove it by hand if nobody needs it.",
    ),
    Reason.ENGINE_FAILED: Advice(
        "the engine (LXC or Proxmox VE) refused or failed; it is tried again",
        "The message has its words; `dsecos doctor` looks at the machine.",
    ),
    Reason.UNPRIVILEGED_IMPOSSIBLE: Advice(
        "this machine cannot run the guest unprivileged, and it never runs otherwise",
        "`dsecos doctor` names what is missing.",
    ),
    Reason.ILLEGAL_TRANSITION: Advice(
        "what is ordered cannot be done in the guest's present state",
        "The message names the states in which it can; docs/lifecycle.md has all of them.",
    ),
    Reason.MIGRATING: Advice("the guest is on its way to another node", WAIT),
    Reason.MIGRATION_FAILED: Advice(
        "the guest could not be moved and is where it was; or somebody else has moved it from where it is"
        " to be",
        "Correct what the message names; it is tried again when the Stack changes, or after ten minutes. To"
        " leave it where it is, set `spec.placement.node` back.",
    ),
    Reason.DRIFTED: Advice(
        "the guest was changed past DsecOS, and `spec.driftPolicy` is Report; or one that was"
        " adopted was removed",
        "Undo the change by hand, put it into the Stack, or set `spec.driftPolicy` to Repair."
        " Delete the Stack of an adopted one.",
    ),
    Reason.ADOPTED: Advice(
        "a container or VM that was there before was taken over; its network and what runs in it are its own"
    ),
    Reason.LOCKED: Advice(
        "the engine holds a lock on the guest, for a backup, a snapshot or a task of somebody; it is tried"
        " again",
        "Wait; if no task runs, one that died with its node has left it: `pct unlock ID` or `qm unlock ID` on"
        " the engine's node.",
    ),
    Reason.ID_RANGE_EXHAUSTED: Advice(
        "every id of the node's range is taken",
        "Enlarge `spec.engine.proxmox.vmids` of the Node, or delete guests that are not needed.",
    ),
    Reason.BRIDGE_MISSING: Advice(
        "the bridge or vnet that the guest's zone needs is not on the engine's node",
        "Create what the message names, and apply the network's pending changes on the engine.",
    ),
    Reason.ENGINE_UNREACHABLE: Advice(
        "the engine does not answer; its guests go on as they are",
        "Look at the machine and at `spec.engine` of the Node; `dsecos doctor` asks the engine.",
    ),
    Reason.ENGINE_DENIED: Advice(
        "the engine refuses the token, or the token has not the privilege that is needed",
        "Give it the privilege that the message names; `dsecos doctor` checks all of them.",
    ),
    Reason.CERTIFICATE_CHANGED: Advice(
        "the engine shows another certificate than the pinned one; nothing is sent to it",
        "Find out why it changed; if it was you, set the new `spec.engine.proxmox.fingerprint` on the Node.",
    ),
    Reason.OUTCOME_UNKNOWN: Advice(
        "the engine's answer was lost, so nobody knows whether it acted; it is read again before anything is"
        " sent again",
        "Wait; if it stays, read the task log of the engine's node.",
    ),
    Reason.DENIED_PACKETS: Advice(
        "the firewall dropped packets of or to this guest",
        "If they should pass: expose the port, allow the egress or name a peer (docs/expose.md).",
    ),
    # Stack
    Reason.SERVING: Advice("everything is as asked"),
    Reason.NOT_CONFIGURED: Advice("nothing is set up for this step, which is no fault"),
    # NetworkZone and ZoneAttachment
    Reason.IN_FORCE: Advice("the zone is in force on every node that it is on"),
    Reason.NO_GUESTS: Advice("no Stack uses the zone, so it is on no node"),
    Reason.CIDR_INVALID: Advice(
        "a network in `spec.cidrs` cannot be used", "Create the zone anew with another network."
    ),
    Reason.CIDR_OVERLAPS: Advice(
        "the zone's network overlaps another zone's, or one that a node itself is in",
        "Create the zone anew with another network.",
    ),
    Reason.IN_USE: Advice("Stacks still use the zone", "Delete them first; the message names them."),
    Reason.ID_INVALID: Advice(
        "the operator does not give out the 802.1Q id that `spec.encapsulation.id` asks for",
        "Create the zone anew with an id of the range that the message names, or without one. An"
        " administrator can widen `DSECOS_VLAN_IDS` of the operator.",
    ),
    Reason.ID_TAKEN: Advice(
        "an older zone has the id that `spec.encapsulation.id` asks for, or every id that is given out is"
        " taken",
        "Create the zone anew with another id, or without one: then a free one is taken. Where none is left,"
        " do what the message says.",
    ),
    Reason.MTU_TOO_SMALL: Advice(
        "packets between nodes would be smaller than the zone's protocols need",
        "Raise the MTU of the interface that the message names, to 1500 or more.",
    ),
    Reason.NODE_INCAPABLE: Advice(
        "a node cannot do what the zone's encapsulation or network needs; its status.capabilities tell",
        "Boot a kernel that has what the message names, or place the Stacks elsewhere.",
    ),
    Reason.ZONE_TOO_LARGE: Advice(
        "a zone has more nodes, or more guests on one node, than its other nodes can be told of",
        "Spread its Stacks over nodes, or over several zones that name each other as peers.",
    ),
    Reason.PEER_NOT_AGREED: Advice(
        "a zone of `spec.peers` is not there or does not name this zone; nothing passes between them",
        "Let the other zone's `spec.peers` name this one too.",
    ),
    Reason.ALL_AGREED: Advice("every zone of `spec.peers` names this zone too"),
    Reason.NAME_SERVER_FAILED: Advice(
        "the zone's name server does not run on this node; its guests find no names; all else works",
        "Do what the message says: install dnsmasq-base, or end what has the zone's port 53.",
    ),
    Reason.REPAIRED: Advice(
        "somebody changed links or rules of ours, and they were put back",
        "Read the message, and find out who did it.",
    ),
    # HostPolicy
    Reason.LOCKS_OUT_API_SERVER: Advice(
        "with this `spec.firewall` the node would lose the API server: it was not tried",
        "Add the address and port that the message names to `spec.firewall.egress` of the Node.",
    ),
    Reason.LOCKS_OUT_ADMINISTRATORS: Advice(
        "with this `spec.firewall` nobody could log in to the node: it was not tried",
        "Name your own network in `spec.firewall.managementNetworks` of the Node.",
    ),
    Reason.LOCKS_OUT_NODES: Advice(
        "with these `spec.uplinks` the node would lose an address that others know it by: it was not tried",
        "Keep the address that the message names, or set `spec.addresses` of the Node to another one first.",
    ),
    Reason.UPLINK_INVALID: Advice(
        "`spec.uplinks` names what this node cannot have: nothing was touched",
        "Read the message, and change `spec.uplinks` of the Node.",
    ),
    Reason.ROLLED_BACK: Advice(
        "the node's own firewall or uplinks were undone: with them the API server or the gateway could not be"
        " reached",
        "Read the message, and change `spec.firewall` or `spec.uplinks` of the Node; the same is not tried"
        " again.",
    ),
    Reason.ROLLOUT_STOPPED: Advice(
        "another node has refused or undone its own firewall or uplinks, so this one keeps what it had",
        "Look at the Node that the message names.",
    ),
    # Node
    Reason.AGENT_REPORTING: Advice("the node's agent reports"),
    Reason.AGENT_LOST: Advice(
        "the node's agent has not reported for two minutes; guests there go on",
        "Look at the machine: is it up, does it reach the API server, what does the agent's log say?",
    ),
    Reason.NEVER_REPORTED: Advice(
        "no agent has reported for this Node", "Start its agent: `make up` on the machine itself."
    ),
    Reason.REGISTERED: Advice("the node has its namespace, its account and its credential"),
    Reason.DEFAULT_DROP: Advice("the firewall is in force and drops what is not allowed"),
    Reason.NONE_ACTIVE: Advice(
        "the kernel has no mandatory access control active",
        "Id map, cgroups and seccomp confine the guests; a kernel with AppArmor or SELinux adds to it.",
    ),
    Reason.ACTIVE: Advice("it is active"),
    Reason.MAINTENANCE: Advice(
        "the Node is in maintenance: nothing new is placed there; of a Stack: it is stopped for that time",
        "`dsecos undrain NODE` when you are done; guests then run again as their Stacks ask.",
    ),
    Reason.DRAINING: Advice(
        "the Node is in maintenance, and guests still run there",
        "Wait; `dsecos drain NODE` shows what it waits for, `dsecos undrain NODE` ends it.",
    ),
    Reason.DRAINED: Advice(
        "no guest runs on the Node any more; it may be worked on",
        "`dsecos undrain NODE` when you are done.",
    ),
    Reason.ENGINE_NOT_CONFIGURED: Advice(
        "the Node's engine needs settings that are not there",
        "Set what the message names in `spec.engine` of the Node, or create the Secret that it names.",
    ),
    Reason.AVAILABLE: Advice("it is there and works"),
}


def advice_for(reason: str) -> Advice | None:
    """The advice for a reason as it stands in a condition; None for one that this version does not know."""
    try:
        return ADVICE[Reason(reason)]
    except (KeyError, ValueError):
        return None


def page() -> str:
    """The whole table as it stands in the documentation."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "# Reasons"
    yield ""
    yield "Every reason that a condition of DsecOS can carry, what it says, and what to do. Programs may"
    yield "rely on these words. [troubleshoot.md](troubleshoot.md) tells where to look first."
    yield "Written by `python -m dsecos_cli.advice`."
    yield ""
    yield "| reason | it says that | what to do |"
    yield "| --- | --- | --- |"
    for reason in sorted(ADVICE, key=str):
        advice = ADVICE[reason]
        yield f"| `{reason}` | {advice.meaning} | {advice.action or 'Nothing.'} |"


if __name__ == "__main__":
    sys.stdout.write(page())
