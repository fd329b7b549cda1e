"""The Guest that a Stack should have: everything that its node needs to know, fully resolved. Pure."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

from dsecos_api import Guest, Metadata, NetworkZone, Stack
from dsecos_api.guest import GuestCompose, GuestNetwork, GuestSpec, IdMap, StackRef
from dsecos_api.names import (
    AGENT_FINALIZER,
    ANNOTATION_RESTART,
    GUEST_TEMPLATE,
    LABEL_MANAGED_BY,
    LABEL_STACK,
    LABEL_STACK_NAMESPACE,
    LABEL_STACK_UID,
    LABEL_ZONE,
    LABEL_ZONE_NAMESPACE,
    attachment_name,
    node_namespace,
)
from dsecos_api.stack import Adoption
from dsecos_api.types import GuestType, RunPolicy

from dsecos_operator.scheduling import ID_COUNT, addresses, mac
from dsecos_operator.stacks.claim import Claim
from dsecos_operator.stacks.retained import guest_policy, policy

MAX_RESTART = 253
"""Characters that Guest.spec.restart takes."""


def guest(
    stack: Stack,
    zone: NetworkZone,
    claim: Claim,
    *,
    document: str,
    secret_digest: str | None,
    id_base: int,
) -> Guest:
    """`secret_digest` None: the document needs no secrets. Needs a zone that has a gateway, and a claim with
    an address there.
    """
    cidr = addresses.ipv4(zone.spec.cidrs) or ""
    address6 = addresses.beside(claim.address or "", zone.spec.cidrs)
    return _guest(
        stack,
        claim,
        image=GUEST_TEMPLATE,
        id_map=IdMap(base=id_base, count=ID_COUNT),
        network=GuestNetwork(
            attachment=attachment_name(zone.namespace, zone.name),
            address=claim.address or "",
            prefix_length=int(cidr.rpartition("/")[2]),
            gateway=zone.status.gateway or "",
            address6=address6,
            gateway6=zone.status.gateway6 if address6 is not None else None,
            mac=mac(stack.uid),
            ports=stack.spec.expose,
        ),
        volumes=[
            volume.model_copy(update={"deletion_policy": policy(stack, volume.deletion_policy)})
            for volume in stack.spec.volumes
        ],
        compose=GuestCompose(
            document=document,
            digest=document_digest(document, secret_digest),
            secret_name=claim.guest if secret_digest is not None else None,
        ),
    )


def adopted(stack: Stack, adoption: Adoption, claim: Claim) -> Guest:
    """One that was there before: image, network, disks and what runs in it are its own."""
    return _guest(stack, claim, adopt=adoption.id)


def _guest(stack: Stack, claim: Claim, **own: Any) -> Guest:
    """What all guests have, and what this one has beside."""
    spec = stack.spec
    return Guest(
        kind="Guest",
        metadata=Metadata(
            name=claim.guest,
            namespace=node_namespace(claim.node),
            labels=labels(stack),
            # From the beginning, in the same write: the agent only takes it away.
            finalizers=[AGENT_FINALIZER],
        ),
        spec=GuestSpec(
            stack_ref=StackRef(namespace=stack.namespace, name=stack.name, uid=stack.uid),
            type=spec.type or GuestType.CONTAINER,
            hostname=hostname(stack.name),
            epoch=claim.epoch,
            resources=spec.resources,
            run_policy=spec.run_policy or RunPolicy.RUNNING,
            restart=restart(stack),
            startup=spec.startup,
            drift_policy=spec.drift_policy,
            deletion_policy=guest_policy(stack),
            **own,
        ),
    )


def restart(stack: Stack) -> str | None:
    """The restart that was asked for last. One too long for the Guest is told apart by its SHA-256."""
    text = stack.metadata.annotations.get(ANNOTATION_RESTART)
    if text is None or len(text) <= MAX_RESTART:
        return text or None
    return hashlib.sha256(text.encode()).hexdigest()


def labels(stack: Stack) -> dict[str, str]:
    """What tells whose an object in a node's namespace is."""
    zone = stack.spec.zone
    return {
        LABEL_STACK: stack.name,
        LABEL_STACK_NAMESPACE: stack.namespace,
        LABEL_STACK_UID: stack.uid,
        **({LABEL_ZONE: zone, LABEL_ZONE_NAMESPACE: stack.namespace} if zone is not None else {}),
        LABEL_MANAGED_BY: "dsecos-operator",
    }


def hostname(name: str) -> str:
    """The Stack's name as an RFC 1123 label."""
    return name.replace(".", "-")


def document_digest(document: str, secret_digest: str | None) -> str:
    """SHA-256 over the document and its secrets."""
    return hashlib.sha256(f"{document}\0{secret_digest or ''}".encode()).hexdigest()


def secrets_digest(uid: str, values: Mapping[str, bytes]) -> str:
    """Changes with every value, and cannot be compared between Stacks: keyed with the Stack's UID."""
    digest = hmac.new(uid.encode(), digestmod=hashlib.sha256)
    for name, value in sorted(values.items()):
        for part in (name.encode(), value):
            digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()
