"""From guest to guest: two zones have agreed, or one with itself, and there is a way between their nodes."""

from __future__ import annotations

from dsecos_api import NetworkZone
from dsecos_api.networkzone import EncapsulationType, Peer
from dsecos_api.peering import encapsulation, key, spans_nodes

from dsecos_cli.explaining.model import Change, Place, Port, Step, name_of, nodes_of, ports_text
from dsecos_cli.explaining.objects import Objects
from dsecos_cli.explaining.texts import because, flow

Found = tuple[list[Step], list[Change]]


def between(objects: Objects, sender: Place, receiver: Place, port: Port) -> Found:
    """The steps from one zone to the other; none where one of them does not exist."""
    source, target = sender.zone, receiver.zone
    if source is None or target is None:
        return [], []
    steps, changes = [], []
    if key(source) != key(target):
        step = _named_by_sender(objects, source, target)
        steps.append(step)
        if not step.passes and not target.deleting:
            entry = {"namespace": target.namespace, "zone": target.name, "outboundOnly": True}
            changes.append(Change(flow([entry]), f"NetworkZone {name_of(source)}", "spec.peers"))
    consent, wanted = _consent(objects, source, target, port)
    steps.append(consent)
    changes += wanted
    way, wanted = _way((source, sender.node), (target, receiver.node))
    return [*steps, *way], [*changes, *wanted]


def _entry(zone: NetworkZone, other: NetworkZone) -> tuple[int, Peer] | None:
    """Where a zone names another one."""
    for index, peer in enumerate(zone.spec.peers):
        if (peer.namespace, peer.zone) == key(other):
            return index, peer
    return None


def _named_by_sender(objects: Objects, source: NetworkZone, target: NetworkZone) -> Step:
    subject = f"NetworkZone {name_of(source)}"
    if key(source) not in objects.agreeing:
        return _ended(source)
    if not source.status.gateway:
        return Step(
            subject, "status.gateway", f"is not there: it cannot be had{because(source)}", passes=False
        )
    found = _entry(source, target)
    if found is None:
        return Step(subject, "spec.peers", f"does not name {name_of(target)}", passes=False)
    return Step(subject, f"spec.peers[{found[0]}]", f"names {name_of(target)}")


def _ended(zone: NetworkZone) -> Step:
    says = "is set: what it agreed on with others has ended"
    return Step(f"NetworkZone {name_of(zone)}", "metadata.deletionTimestamp", says, passes=False)


def _consent(
    objects: Objects, source: NetworkZone, target: NetworkZone, port: Port
) -> tuple[Step, list[Change]]:
    """What the receiver's zone says to the sender's."""
    subject = f"NetworkZone {name_of(target)}"
    same = key(source) == key(target)
    if not same and key(target) not in objects.agreeing:
        return _ended(target), [Change(f"{subject} is about to go; use another zone.")]
    whom = "itself" if same else name_of(source)
    found = _entry(target, source)
    ports = [] if port.rule is None else [port.rule.to_dict()]
    entry = {"namespace": source.namespace, "zone": source.name, **({"ports": ports} if ports else {})}
    # Without ports an entry lets in everything, and nothing less lets in an echo request.
    wide = [] if ports else [Change(f"This lets every port and protocol in: {port} cannot be listed.")]
    if found is None:
        says = f"does not name {whom}" + (": its own guests do not reach each other" if same else "")
        added = Change(flow([entry]), subject, "spec.peers")
        return Step(subject, "spec.peers", says, passes=False), [added, *wide]
    index, peer = found
    field = f"spec.peers[{index}]"
    if peer.outbound_only:
        says = f"names {whom} with outboundOnly: nothing may connect from there"
        return Step(subject, field, says, passes=False), [Change(flow(entry), subject, field), *wide]
    if peer.ports and not port.within(peer.ports):
        says = f"names {whom} with {ports_text(peer.ports)}, not with {port}"
        added = Change(flow(ports), subject, f"{field}.ports")
        changes = [added] if ports else [Change(flow(entry), subject, field), *wide]
        return Step(subject, field, says, passes=False), changes
    back = "" if same or _entry(source, target) is None else ", and that names it back"
    return Step(subject, field, f"names {whom} with {ports_text(peer.ports)}{back}", decisive=True), []


def _way(sender: tuple[NetworkZone, str | None], receiver: tuple[NetworkZone, str | None]) -> Found:
    """How it comes from one node to the other."""
    (source, here), (target, there) = sender, receiver
    if here is None or there is None:
        return [], []  # Told where the Stack is looked at.
    if here == there:
        return [Step(f"Node {here}", "", "has both guests and routes between them")], []
    missing: list[Step] = []
    local = False
    for zone in {key(each): each for each in (source, target)}.values():
        subject = f"NetworkZone {name_of(zone)}"
        absent = [node for node in (here, there) if node not in nodes_of(zone)]
        if not spans_nodes(zone):
            local = True
            says = f"is local, and the guests are on two nodes, {here} and {there}"
            missing.append(Step(subject, "spec.encapsulation", says, passes=False))
        elif zone.status.id is None:
            missing.append(Step(subject, "status.id", f"is not there yet{because(zone)}", passes=False))
        elif absent:
            says = f"does not have {' and '.join(absent)} yet{because(zone)}"
            missing.append(Step(subject, "status.nodes", says, passes=False))
    if not missing:
        carrier = "802.1Q id" if encapsulation(target) == EncapsulationType.VLAN else "VXLAN"
        says = f"is {carrier} {target.status.id}, by which {here} sends it to {there}"
        return [Step(f"NetworkZone {name_of(target)}", "status.id", says)], []
    text = "Place both Stacks on one node (spec.placement.node)"
    rest = (
        ", or use zones whose encapsulation is vxlan or vlan; that of a zone cannot change." if local else "."
    )
    return missing, [Change(text + rest)]
