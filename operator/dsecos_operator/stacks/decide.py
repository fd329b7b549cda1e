"""What a Stack should be, from all that is known: claim, Guest, and what keeps it from having them. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dsecos_api import Reason, Stack, Type
from dsecos_api.stack import Adoption

from dsecos_operator.license.check import check as check_license
from dsecos_operator.maintenance import view
from dsecos_operator.maintenance.upkeep import Upkeep
from dsecos_operator.rendering import Refused, Rendering
from dsecos_operator.scheduling import id_base
from dsecos_operator.stacks import desired, retained, strays
from dsecos_operator.stacks.assign import assign, assign_adopted
from dsecos_operator.stacks.claim import Claim
from dsecos_operator.stacks.departure import Surroundings
from dsecos_operator.stacks.findings import Findings, Problem
from dsecos_operator.stacks.guests import id_base_of
from dsecos_operator.stacks.observe import Observed
from dsecos_operator.stacks.occupancy import unplaced
from dsecos_operator.stacks.plan import Desired


@dataclass(frozen=True)
class Prepared:
    """What was found out before places are looked at."""

    rendering: Rendering
    secret_digest: str | None


def decide(
    stack: Stack,
    observed: Observed,
    prepared: Prepared | Adoption | Problem,
    world: view.World,
    first_id: int,
) -> tuple[Desired, Findings]:
    """`prepared`: what is to run, or what to take over as it is, or why neither can be. `first_id`: where the
    guests' user ids begin.
    """
    verdict, claim = check_license(observed.licenses), observed.claim
    problem = prepared if isinstance(prepared, Problem) else None
    notes = _notes(stack, prepared.rendering) if isinstance(prepared, Prepared) else ()
    if claim is not None and claim.moving_to is not None:
        return Desired(claim), Findings(verdict, claim, problem, notes)
    follows = strays.followed(stack, observed, world)
    if isinstance(follows, Claim):
        return Desired(follows), Findings(verdict, follows, problem, notes)
    found = Findings(verdict, claim, problem, notes)
    wanted, findings = _decide(stack, observed, prepared, world, first_id, found=found)
    return wanted, replace(findings, stray=follows)


def _decide(
    stack: Stack,
    observed: Observed,
    prepared: Prepared | Adoption | Problem,
    world: view.World,
    first_id: int,
    *,
    found: Findings,
) -> tuple[Desired, Findings]:
    """Of a Stack that is where it should be."""
    claim = found.claim
    upkeep = view.upkeep(stack, observed.node, world)
    if claim is not None and upkeep.move_to is not None and not stack.spec.paused:
        # Whatever else cannot be had, the node is emptied.
        claim = replace(claim, moving_to=upkeep.move_to, failed_move=None)
        return Desired(claim), replace(found, claim=claim)
    if isinstance(prepared, Problem):
        return Desired(upkeep=upkeep), found
    try:
        if isinstance(prepared, Prepared):
            wanted = _wanted(stack, observed, prepared, world, first_id, upkeep)
        else:
            wanted = _adopted(stack, observed, prepared, world, upkeep)
    except Refused as refused:
        return Desired(upkeep=upkeep), replace(found, problem=Problem(Type.SCHEDULED, refused))
    return wanted, replace(found, claim=wanted.claim)


def _wanted(  # noqa: PLR0917 - all that decide has
    stack: Stack,
    observed: Observed,
    prepared: Prepared,
    world: view.World,
    first_id: int,
    upkeep: Upkeep,
) -> Desired:
    """Raises Refused."""
    zone, present = observed.zone, observed.claim
    if zone is None:
        raise Refused(Reason.ZONE_NOT_FOUND, f"NetworkZone {stack.spec.zone} is gone", stalled=False)
    others = unplaced(world.stacks) if present is None else ()
    claim = assign(
        stack,
        zone,
        Surroundings(world.nodes, world.zones, world.occupants, world.rules, world.now, unplaced=others),
        present=present,
        guest=observed.guest,
        data_on=retained.home(observed.retained, stack),
    )
    if claim.moving_to is not None:
        return Desired(claim, upkeep=upkeep)
    guest = desired.guest(
        stack,
        zone,
        claim,
        document=prepared.rendering.document,
        secret_digest=prepared.secret_digest,
        id_base=_id_base(observed, claim.node, world, first_id),
    )
    return Desired(claim, guest, prepared.secret_digest, upkeep)


def _adopted(
    stack: Stack, observed: Observed, adoption: Adoption, world: view.World, upkeep: Upkeep
) -> Desired:
    """Raises Refused."""
    around = Surroundings(world.nodes, world.zones, world.occupants, world.rules, world.now)
    claim = assign_adopted(stack, adoption, around, present=observed.claim, guest=observed.guest)
    if claim.moving_to is not None:
        return Desired(claim, upkeep=upkeep)
    return Desired(claim, desired.adopted(stack, adoption, claim), upkeep=upkeep)


def _id_base(observed: Observed, node: str, world: view.World, first_id: int) -> int:
    """Unique on the node, and in the cluster of its engine: a guest takes its ids along."""
    guest = observed.guest_on(node)
    present = id_base_of(guest) if guest is not None else None
    if present is not None:
        return present
    clusters = {each.name: each.status.engine_cluster for each in world.nodes}
    cluster = clusters.get(node)
    together = {each for each, of in clusters.items() if cluster is not None and of == cluster} | {node}
    taken = [each.id_base for each in world.occupants if each.node in together]
    return id_base(first_id, [each for each in taken if each is not None])


def _notes(stack: Stack, rendering: Rendering) -> tuple[str, ...]:
    """What can be had, but is probably not what was meant."""
    notes = [
        f"volume {volume.name} is used by no service"
        for volume in stack.spec.volumes
        if volume.name not in rendering.volumes
    ]
    notes += [
        f"port {each.port}/{each.protocol} is exposed, but published by no service"
        for each in stack.spec.expose
        if not rendering.reaches(each.port, str(each.protocol))
    ]
    return tuple(notes)
