"""What the Node's status says. Pure but for the clock."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dsecos_api import Node
from dsecos_api.conditions import Reason, Type
from dsecos_api.node import Addresses, NodeInfo, NodeStatus, ResourceCount
from dsecos_api.quantity import format_bytes, format_millicores, to_bytes, to_millicores
from dsecos_runtime import Conditions

from dsecos_agent.engines.model import Capabilities, Capability, GuestKind
from dsecos_agent.guests.desired import Block

RESERVED_CPU = "250m"
RESERVED_MEMORY = "512Mi"

STEPS = (
    Type.ENGINE_READY,
    Type.STORAGE_READY,
    Type.FIREWALL_ENFORCED,
    Type.MANDATORY_ACCESS_CONTROL,
)


@dataclass(frozen=True, slots=True)
class Facts:
    """What was found."""

    agent_version: str
    engine: Capabilities
    engine_problem: Block | None
    kernel: str
    os_image: str
    boot_time: str
    cpu_millis: int
    memory_bytes: int
    disk_bytes: int | None
    """Of the default pool."""
    max_guests: int
    address: str | None
    modules: Sequence[str] | None
    """Active security modules, None when the kernel does not tell."""
    confining: Sequence[str]
    """Those that confine programs."""
    images: Sequence[str]
    storage_problem: str
    importing: str
    firewall_enforced: bool
    tunnel_mtu: int | None
    """Of the interface that has the tunnel address."""
    zones: Iterable[str]
    """What the kernel can do for zones: encapsulations, and `ipv6`."""


def status(node: Node, facts: Facts) -> NodeStatus:
    """The part of the status that the agent writes; the rest is the operator's."""
    conditions = Conditions(node.status, node.metadata.generation, order=STEPS)
    _engine(conditions, facts)
    _storage(conditions, facts)
    if facts.firewall_enforced:
        conditions.true(Type.FIREWALL_ENFORCED, Reason.DEFAULT_DROP)
    else:
        conditions.false(Type.FIREWALL_ENFORCED, Reason.FAILED, "the rules could not be put into force")
    _confinement(conditions, facts)
    conditions.ready(Reason.AGENT_REPORTING, f"agent {facts.agent_version} reports")
    steps = {*STEPS, Type.READY}
    return NodeStatus(
        observed_generation=node.metadata.generation,
        conditions=[each for each in conditions.build() if each.type in steps],
        addresses=_addresses(node, facts),
        capacity=_count(facts, facts.cpu_millis, facts.memory_bytes),
        allocatable=_allocatable(node, facts),
        node_info=NodeInfo(
            kernel=facts.kernel,
            os_image=facts.os_image,
            agent=facts.agent_version,
            engine=facts.engine.engine,
            boot_time=facts.boot_time,
            security_modules=list(facts.modules or ()),
        ),
        guest_images=sorted(facts.images),
        engine_cluster=facts.engine.cluster or None,
        tunnel_mtu=facts.tunnel_mtu,
        capabilities=sorted(
            [
                *(f"{kind}/{each}" for kind, found in facts.engine.kinds.items() for each in found),
                *(f"zone/{each}" for each in facts.zones),
            ]
        ),
    )


def _engine(conditions: Conditions, facts: Facts) -> None:
    engine = facts.engine
    problem = facts.engine_problem
    if problem is not None:
        conditions.false(Type.ENGINE_READY, problem.reason, problem.message)
        return
    missing = {"cpu", "memory", "pids"} - engine.limits
    shared_ids = engine.why_not(GuestKind.CONTAINER, Capability.UNPRIVILEGED)
    if shared_ids:
        conditions.false(Type.ENGINE_READY, Reason.UNPRIVILEGED_IMPOSSIBLE, shared_ids)
    elif missing:
        text = f"{engine.engine}; this host does not limit {', '.join(sorted(missing))}"
        conditions.true(Type.ENGINE_READY, Reason.AVAILABLE, text)
    else:
        conditions.true(Type.ENGINE_READY, Reason.AVAILABLE, engine.engine)


def _storage(conditions: Conditions, facts: Facts) -> None:
    if facts.storage_problem:
        conditions.false(Type.STORAGE_READY, Reason.FAILED, facts.storage_problem)
    elif facts.importing and not facts.images:
        text = f"importing guest template {facts.importing}"
        conditions.false(Type.STORAGE_READY, Reason.PROGRESSING, text)
    elif not facts.images:
        conditions.false(Type.STORAGE_READY, Reason.GUEST_TEMPLATE_MISSING, "no guest template is installed")
    else:
        conditions.true(Type.STORAGE_READY, Reason.AVAILABLE, f"guest templates: {', '.join(facts.images)}")


def _confinement(conditions: Conditions, facts: Facts) -> None:
    if facts.modules is None:
        text = "this kernel does not tell its security modules"
        conditions.unknown(Type.MANDATORY_ACCESS_CONTROL, Reason.UNSUPPORTED, text)
        return
    text = f"kernel lists {', '.join(facts.modules) or 'none'}"
    if facts.confining:
        conditions.true(Type.MANDATORY_ACCESS_CONTROL, Reason.ACTIVE, text)
    else:
        conditions.false(Type.MANDATORY_ACCESS_CONTROL, Reason.NONE_ACTIVE, text)


def tunnel_address(node: Node, primary: str | None) -> str | None:
    """Where the node takes zones' traffic of other nodes: as its Node says, else its `primary` address."""
    return (node.spec.addresses.tunnel if node.spec.addresses else None) or primary


def _addresses(node: Node, facts: Facts) -> Addresses:
    given = node.spec.addresses or Addresses()
    return Addresses(management=given.management or facts.address, tunnel=tunnel_address(node, facts.address))


def _allocatable(node: Node, facts: Facts) -> ResourceCount:
    reserved = node.spec.reserved
    cpu = to_millicores(reserved.cpu if reserved and reserved.cpu else RESERVED_CPU)
    memory = to_bytes(reserved.memory if reserved and reserved.memory else RESERVED_MEMORY)
    return _count(facts, max(0, facts.cpu_millis - cpu), max(0, facts.memory_bytes - memory))


def _count(facts: Facts, cpu: int, memory: int) -> ResourceCount:
    return ResourceCount(
        cpu=format_millicores(cpu),
        memory=format_bytes(memory),
        guests=str(facts.max_guests),
        disk=None if facts.disk_bytes is None else format_bytes(facts.disk_bytes),
    )
