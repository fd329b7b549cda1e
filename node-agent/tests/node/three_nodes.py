"""A cluster of three nodes with an operator. Each node is a network namespace with real containers and an
agent of its own; what joins them is a switch, which also is the rest of the world.

    n1 192.0.2.1 --+
    n2 192.0.2.2 --+-- switch 192.0.2.254
    n3 192.0.2.3 --+
"""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from dsecos_agent.zones.naming import bridge_name, transit_name
from dsecos_control_plane.testing import ControlPlane

from tests.network.namespaces import Space
from tests.reader import Reader

from .cloud import apply, namespace, obj, stack, start_operator
from .harness import Node, Object, eventually
from .machine import Machine

NODES = ("n1", "n2", "n3")
WORLD = "192.0.2.254"


def address(node: str) -> str:
    """Of a node, for the others."""
    return f"192.0.2.{NODES.index(node) + 1}"


class Cluster:
    """What users and administrators do and see."""

    def __init__(
        self, plane: ControlPlane, nodes: Mapping[str, Node], machines: Mapping[str, Machine], switch: Machine
    ) -> None:
        self.plane = plane
        self.nodes = nodes
        self.machines = machines
        self.switch = switch
        self._reader = Reader(plane.kubeconfig)

    # Users

    def add_tenant(self, name: str) -> None:
        """A namespace."""
        apply(self.plane, namespace(name))

    def apply(self, *wanted: Object) -> None:
        """As a user with all rights."""
        apply(self.plane, *wanted)

    def zone(self, tenant: str, name: str, *cidrs: str, **spec: object) -> Object:
        """A zone across nodes, unless `spec` says otherwise."""
        return obj(
            "NetworkZone", name, tenant, **{"cidrs": cidrs, "encapsulation": {"type": "vxlan"}, **spec}
        )

    def stack(self, tenant: str, name: str, zone: str, node: str, **spec: object) -> Object:
        """A Stack that is to be on a node."""
        return stack(name, tenant, zone=zone, placement={"node": node}, **spec)

    def get(self, kind: str, name: str, tenant: str = "") -> Object:
        """An object; empty when there is none."""
        return self._reader.get(kind, name, tenant) or {}

    # What is to be seen

    def wait(self, look: Any, what: str, seconds: float = 120) -> Any:
        """The first value of `look` that is true."""
        try:
            return eventually(look, what, seconds)
        except AssertionError as error:
            kinds = ("stacks", "networkzones", "nodes", "zoneattachments", "guests")
            told = [
                {"of": f"{kind}/{each['metadata']['name']}", **each.get("status", {})}
                for kind in kinds
                for each in self._reader.find(kind)
            ]
            logs = "\n".join(f"--- {name}\n{node.log_tail(3000)}" for name, node in self.nodes.items())
            raise AssertionError(f"{error}\n{json.dumps(told, indent=1)[-12000:]}\n{logs}") from None

    def condition(self, obj: Object, kind: str = "Ready") -> Object:
        """A condition of the present generation; empty when it is not there."""
        generation = obj.get("metadata", {}).get("generation")
        return next(
            (
                each
                for each in obj.get("status", {}).get("conditions", [])
                if each["type"] == kind and each.get("observedGeneration") == generation
            ),
            {},
        )

    def guests(self) -> dict[tuple[str, str], Object]:
        """Guests by tenant and Stack."""
        found = self._reader.find("guests")
        return {
            (each["spec"]["stackRef"]["namespace"], each["spec"]["stackRef"]["name"]): each for each in found
        }

    def wait_network(self, *stacks: tuple[str, str]) -> dict[tuple[str, str], Object]:
        """The Guests, once all of them run and their rules are in force; what runs in them may come later."""

        def up(guest: Object) -> bool:
            return all(
                self.condition(guest, kind).get("status") == "True" for kind in ("NetworkReady", "GuestReady")
            )

        def look() -> dict[tuple[str, str], Object] | None:
            assert not any(node.died() for node in self.nodes.values()), "an agent has ended"
            there = self.guests()
            return there if all(key in there and up(there[key]) for key in stacks) else None

        return dict(self.wait(look, f"{len(stacks)} guests have their network", 240))

    def wait_zones(self, *zones: tuple[str, str]) -> None:
        """Until zones are Ready as they are now."""

        def look() -> bool:
            found = [self.get("networkzone", name, tenant) for tenant, name in zones]
            return all(self.condition(each).get("status") == "True" for each in found)

        self.wait(look, f"zones {zones} are ready", 60)

    def links(self, node: str, tenant: str, zone: str) -> tuple[str, str]:
        """Names of a zone's bridge and transit link on a node."""
        uid = self.get("networkzone", zone, tenant)["metadata"]["uid"]
        prefix = self.nodes[node].settings.link_prefix
        return bridge_name(prefix, uid), transit_name(prefix, uid)

    def on(self, node: str, *command: str, check: bool = True) -> str:
        """What a command says on a node."""
        done = subprocess.run(
            self.machines[node].argv(*command), capture_output=True, text=True, check=False, timeout=60
        )
        assert not check or done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def space(self, guest: Object) -> "Inside":
        """A guest's network."""
        node = guest["metadata"]["namespace"].removeprefix("dsecos-node-")
        lxc = str(self.plane.settings.home / "lxc")
        said = self.on(node, "lxc-info", "-P", lxc, "-n", guest["metadata"]["name"], "-p", "-H")
        return Inside(int(said))


class Inside(Space):
    """The network namespace of a process."""

    def __init__(self, pid: int) -> None:
        self._descriptor = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
        with self.entered():
            # For echo requests by an ordinary socket (icmp(7)).
            Path("/proc/sys/net/ipv4/ping_group_range").write_text("0 2147483647")


@contextmanager
def three_nodes(images: Path) -> Iterator[Cluster]:
    """Control plane, operator and three agents that are ready; all of it goes with the block."""
    with ControlPlane() as plane, ExitStack() as stack_:
        operator = start_operator(plane)
        stack_.callback(operator.wait)
        stack_.callback(operator.kill)
        apply(plane, obj("License", "dsecos", development=True))
        home = plane.settings.home
        switch = Machine(home, home)
        stack_.callback(switch.close)
        _run(switch, f"ip link add sw type bridge && ip addr add {WORLD}/24 dev sw && ip link set sw up")
        nodes: dict[str, Node] = {}
        machines: dict[str, Machine] = {}
        for name in NODES:
            own = Path(stack_.enter_context(tempfile.TemporaryDirectory(prefix="dsecos-")))
            own.chmod(0o711)
            shutil.copyfile(plane.kubeconfig, own / plane.kubeconfig.name)
            machine = machines[name] = Machine(home, own)
            stack_.callback(machine.close)
            machine.lead(plane.settings.api_port)
            _run(switch, f"ip link add {name} master sw up type veth peer name eth0 netns {machine.pid}")
            _run(machine, f"ip addr add {address(name)}/24 dev eth0 && ip link set eth0 up")
            _run(machine, f"ip route add default via {WORLD}")
            node = nodes[name] = Node(plane, images, name=name, registry=False, home=own)
            stack_.callback(_end, node, machine)
            node.argv = machine.argv(*node.argv)
            node.environment["DSECOS_POOL_SIZE"] = str(8 << 30)
            plane.kubectl("create", "namespace", node.settings.namespace)
            apply(plane, obj("Node", name, engine={"type": "lxc"}))
            node.start()
        cluster = Cluster(plane, nodes, machines, switch)
        for name in NODES:
            nodes[name].wait_condition(name, "Ready", "True", of="node", seconds=300)
        yield cluster


def _run(machine: Machine, script: str) -> None:
    subprocess.run(machine.argv("sh", "-ec", script), check=True, capture_output=True)


def _end(node: Node, machine: Machine) -> None:
    """The agent, then the containers, which outlive it."""
    node.close()
    home = str(node.plane.settings.home)
    script = f"for n in $(lxc-ls -P {home}/lxc --running -1); do lxc-stop -P {home}/lxc -n $n -k & done; wait"
    subprocess.run(machine.argv("sh", "-c", script), check=False, capture_output=True, timeout=120)
    mounts = f"grep -o ' {home}/[^ ]*' /proc/self/mounts | sort -r | xargs -r -n1 umount"
    subprocess.run(machine.argv("sh", "-c", mounts), check=False, capture_output=True, timeout=60)
