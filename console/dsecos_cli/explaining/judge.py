"""The answer to: does a packet that begins a connection pass?"""

from __future__ import annotations

from collections.abc import Iterator

from dsecos_api import NetworkZone
from dsecos_api.lifecycle import LifecycleState
from dsecos_api.types import RunPolicy

from dsecos_cli.explaining import outside, peers
from dsecos_cli.explaining.model import (
    Address,
    Change,
    Elsewhere,
    End,
    Gateway,
    Host,
    Judgement,
    NotJudgedError,
    Packet,
    Place,
    Port,
    Step,
    Transport,
    Verdict,
    name_of,
)
from dsecos_cli.explaining.objects import Objects
from dsecos_cli.explaining.texts import because, why

Found = tuple[list[Step], list[Change]]
NAME_A_GUEST = (
    "Name a guest: by its Stack, by its address, or by a hostPort of its node. What a node itself takes is"
    " said by its spec.firewall."
)


def judge(objects: Objects, sender: End, receiver: End, port: Port) -> Verdict:
    """Whether the first packet passes, and its answer comes back. Raises NotJudgedError."""
    if isinstance(sender, Gateway):
        raise NotJudgedError(f"{sender} is on each of its nodes", "Name the node: node/NAME.")
    if isinstance(sender, Place):
        found = tuple(_families(objects, sender, receiver, port))
        return Verdict(found, _notes(sender, receiver))
    if isinstance(receiver, Host):
        return _host_port(objects, sender, receiver, port)
    if isinstance(receiver, Place):
        return Verdict(tuple(_families(objects, sender, receiver, port)), _notes(receiver))
    if isinstance(receiver, Elsewhere) and receiver.zone is not None:
        step = Step(f"NetworkZone {name_of(receiver.zone)}", "spec.cidrs", _nobody(receiver), passes=False)
        return Verdict((Judgement(receiver.address.version, "", f"{receiver}", (step,)),))
    raise NotJudgedError(f"neither {sender} nor {receiver} is a guest", NAME_A_GUEST)


def _host_port(objects: Objects, sender: Elsewhere | Host, node: Host, port: Port) -> Verdict:
    """What a node passes to a guest."""
    for place in objects.places:
        for index, entry in enumerate(outside.exposures(place)):
            wanted = (node.name, port.number, port.transport.value)
            if (place.node, entry.host_port, entry.protocol.value) != wanted:
                continue
            passed = Step(
                f"{place}", f"spec.expose[{index}].hostPort", f"is {port.number} of node {node.name}"
            )
            inner = Port(Transport(entry.protocol.value), entry.port)
            found = [
                Judgement(each.version, each.source, _at(node, each), (passed, *each.steps), each.changes)
                for each in _families(objects, sender, place, inner, node)
            ]
            return Verdict(tuple(found), _notes(place))
    raise NotJudgedError(f"{port} of node {node.name} is passed to no guest", NAME_A_GUEST)


def _at(node: Host, of: Judgement) -> str:
    return next((f"{each}" for each in node.addresses if each.version == of.version), "")


def _families(
    objects: Objects, sender: End, receiver: End, port: Port, through: Host | None = None
) -> Iterator[Judgement]:
    """One judgement for each family that both ends have. An end without an address fits any."""
    known = [_known(end) for end in (sender, receiver)]
    families = [{address.version for address in addresses} for addresses in known if addresses]
    versions = sorted(set.intersection(*families)) if families else [0]
    if not versions:
        names = " and ".join(sorted(f"IPv{version}" for version in set.union(*families)))
        step = Step(
            "", "", f"{sender} and {receiver} have no family of addresses in common: {names}", passes=False
        )
        yield Judgement(
            0, "", "", (step,), (Change("Name an IPv4 and an IPv6 network in a zone's spec.cidrs."),)
        )
    for version in versions:
        ends = [[each for each in addresses if each.version == version][:1] for addresses in known]
        source, destination = (each[0] if each else None for each in ends)
        packet = Packet(source, destination, port, through)
        steps, changes = _steps(objects, sender, receiver, packet)
        yield Judgement(version, _text(source), _text(destination), tuple(steps), tuple(changes))


def _text(address: Address | None) -> str:
    return "" if address is None else f"{address}"


def _known(end: End) -> tuple[Address, ...]:
    return end.addresses if isinstance(end, Place | Host) else (end.address,)


def _steps(objects: Objects, sender: End, receiver: End, packet: Packet) -> Found:
    before = [_presence(sender, packet.source)] if isinstance(sender, Place) else []
    after = [_presence(receiver, packet.destination)] if isinstance(receiver, Place) else []
    steps, changes = _rules(objects, sender, receiver, packet)
    return [*before, *steps, *after], changes


def _rules(objects: Objects, sender: End, receiver: End, packet: Packet) -> Found:
    match sender, receiver:
        case Place(), Place():
            if (sender.namespace, sender.name) == (receiver.namespace, receiver.name):
                same = Step(f"{sender}", "", "is both ends: the packet never leaves its guest", decisive=True)
                return [same], []
            return peers.between(objects, sender, receiver, packet.port)
        case Place(zone=NetworkZone() as zone), Host() | Gateway() | Elsewhere():
            return outside.leaving(objects, zone, receiver, packet)
        case Host() | Elsewhere(), Place():
            return outside.entering(sender, receiver, packet)
    return [], []


def _presence(place: Place, address: Address | None) -> Step:
    """Where an end is; a packet needs an address and a node."""
    told = because(place.stack) if place.stack is not None else ""
    if place.zone is None:
        return Step(f"{place}", "spec.zone", f"names {place.zone_name}, which is not there", passes=False)
    if place.node is None:
        return Step(f"{place}", "status.node", f"is not there: it has no place yet{told}", passes=False)
    if address is None:
        return Step(f"{place}", "status.address", f"is not there: it has none yet{told}", passes=False)
    return Step(f"{place}", "", f"has {address} in NetworkZone {name_of(place.zone)}, on node {place.node}")


def _nobody(end: Elsewhere) -> str:
    return f"holds {end.address}, which no guest has"


def _notes(*ends: End) -> tuple[str, ...]:
    """What keeps the answer from being the whole truth just now."""
    found = [note for end in ends if isinstance(end, Place) for note in (*_of_stack(end), *_of_zone(end))]
    return tuple(dict.fromkeys(found))


def _of_stack(place: Place) -> Iterator[str]:
    stack = place.stack
    if stack is None:
        yield f"{place} runs on although its Stack is gone; only its node knows its rules."
        return
    policy = stack.spec.run_policy or RunPolicy.RUNNING
    if policy is not RunPolicy.RUNNING:
        yield f"{place} spec.runPolicy is {policy.value}: nothing is sent or answered."
    elif stack.status.state not in (None, LifecycleState.RUNNING):
        yield f"{place} status.state is {stack.status.state.value}: nothing is sent or answered till it runs."
    if stack.spec.paused:
        yield f"{place} spec.paused is true: changes of its spec are not in force."
    if stack.status.moving_to is not None:
        yield f"{place} is on its way to node {stack.status.moving_to}."


def _of_zone(place: Place) -> Iterator[str]:
    zone = place.zone
    if zone is None:
        return
    subject = f"NetworkZone {name_of(zone)}"
    if zone.deleting:
        yield f"{subject} is about to go, when its Stacks are gone."
    if zone.spec.paused:
        yield f"{subject} spec.paused is true: changes of its spec are not in force."
    if reason := why(zone):
        yield f"{subject} is not Ready: its nodes may still have former rules ({reason})."
    elif zone.metadata.generation != zone.status.observed_generation:
        yield f"{subject} was changed just now: its nodes may still have former rules."
