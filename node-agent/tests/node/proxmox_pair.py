"""Two nodes of one simulated cluster of Proxmox VE, each with its agent, and the operator beside them.

    with proxmox_pair() as pair:
        pair.deploy("shop")
        pair.edit("shop", placement={"node": "pve2"})
        pair.wait("shop", "Ready", node="pve2")

Node pve2 has network and directories of its own under the same names, as another machine has: its agent runs
in a network and a mount namespace, and reaches API server and Proxmox at the same loopback addresses.
"""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from dsecos_agent.zones.naming import bridge_name
from dsecos_control_plane.testing import ControlPlane
from dsecos_proxmox_simulator import Simulator, World
from dsecos_proxmox_simulator.model import Guest

from tests.reader import Reader

from ..engines.schedules.history import Histories  # noqa: TID252 - node-agent is no name to be imported
from .cloud import apply, namespace, obj, stack, start_operator
from .harness import Object, eventually
from .machine import Machine
from .proxmox import ProxmoxNode, make_image
from .proxmox_agent import DOCKER

FIRST, SECOND = "pve1", "pve2"
SPACE = "acme"


class Pair:
    """Both nodes, and what users do and see."""

    def __init__(self, plane: ControlPlane, simulator: Simulator, nodes: Mapping[str, ProxmoxNode]) -> None:
        self.plane = plane
        self.simulator = simulator
        self.nodes = nodes
        self._reader = Reader(plane.kubeconfig)

    # Users

    def deploy(self, name: str, **spec: object) -> Object:
        """A Stack that is alone in its zone, once it is Ready."""
        apply(self.plane, obj("NetworkZone", name, SPACE, cidrs=[f"{self.nodes[FIRST].net}.0/24"]))
        zone = self._get("networkzone", name)
        bridge = bridge_name(self.nodes[FIRST].settings.link_prefix, zone["metadata"]["uid"])
        self.simulator.world.add_bridge(bridge)
        apply(self.plane, stack(name, SPACE, zone=name, **spec))
        return self.wait(name, node=FIRST)

    def edit(self, name: str, **spec: object) -> None:
        """Change fields of a Stack; None removes one."""
        self._patch("stack", name, spec)

    def edit_node(self, name: str, **spec: object) -> None:
        """Change fields of a Node; None removes one."""
        self._patch("nodes.dsecos.io", name, spec)

    def delete(self, name: str) -> None:
        """Delete a Stack and its zone, and wait until both are gone."""
        for kind in ("stack", "networkzone"):
            self._kubectl("delete", kind, name, "--wait=false", "--ignore-not-found")
        eventually(lambda: not self._get("networkzone", name), f"{name} is gone", 90)

    # What is to be seen

    def stack(self, name: str) -> Object:
        """A Stack; empty when there is none."""
        return self._get("stack", name)

    def node(self, name: str) -> Object:
        """A Node."""
        return self._get("node", name)

    def condition(self, name: str, kind: str = "Ready") -> Object:
        """A condition of the present generation of a Stack; empty when it is not there."""
        found = self.stack(name)
        told = found.get("status", {}).get("conditions", [])
        generation = found.get("metadata", {}).get("generation")
        fits = (each for each in told if each.get("observedGeneration") == generation)
        return next((each for each in fits if each["type"] == kind), {})

    def wait(self, name: str, *, node: str, seconds: float = 90) -> Object:
        """The Stack, once it is Ready on that node and nowhere else."""

        def look() -> Object | None:
            assert not any(each.died() for each in self.nodes.values()), "an agent has ended"
            found = self.stack(name)
            status = found.get("status", {})
            there = status.get("node") == node and "movingTo" not in status
            ready = self.condition(name).get("status") == "True"
            return found if there and ready and self.homes(name) == [node] else None

        return dict(self._eventually(look, f"{name} is Ready on {node}", name, seconds))

    def wait_condition(self, name: str, kind: str, reason: str, seconds: float = 60) -> Object:
        """A condition of a Stack, once it has that reason."""

        def look() -> Object | None:
            found = self.condition(name, kind)
            return found if found.get("reason") == reason else None

        return dict(self._eventually(look, f"{kind} of {name} is {reason}", name, seconds))

    def guest(self, name: str, node: str) -> Object:
        """The Guest of a Stack on a node; empty when there is none."""
        place = self.nodes[node].settings.namespace
        found = self._reader.find("guests", place, f"dsecos.io/stack={name}")
        return found[0] if found else {}

    def homes(self, name: str) -> list[str]:
        """Nodes that have a Guest of the Stack."""
        return [node for node in self.nodes if self.guest(name, node)]

    def machines(self, name: str) -> list[Guest]:
        """What Proxmox has of the Stack."""
        world = self.simulator.world
        with world.mutex:
            return [each for each in world.guests.values() if f"dsecos-guest-{name}-" in each.config["tags"]]

    def records(self, name: str, node: str) -> list[str]:
        """What an agent has noted of the Stack, and the rules that it keeps for it."""
        settings = self.nodes[node].settings
        files = [path for path in settings.state.rglob("*") if path.name.startswith(f"{name}-")]
        shared = (settings.run / "guests").glob(f"{name}-*")
        return sorted(path.name for path in (*files, *shared))

    def rules(self, node: str) -> str:
        """The firewall's rules on a node."""
        instance = self.nodes[node].settings.instance
        command = ("nft", "list", "table", "inet", instance)
        return subprocess.run(
            [*self.nodes[node].argv[:-2], *command], capture_output=True, text=True, check=False
        ).stdout

    def doubled(self) -> list[str]:
        """Tasks that an agent has issued although they were done."""
        tokens = (f"dsecos@pve!{each.user}" for each in self.nodes.values())
        return [text for token in tokens for text in Histories(self.simulator, token).doubled()]

    def _get(self, kind: str, name: str) -> Object:
        return self._reader.get(kind, name, SPACE) or {}

    def _patch(self, kind: str, name: str, spec: Mapping[str, object]) -> None:
        self._kubectl("patch", kind, name, "--type=merge", "-p", json.dumps({"spec": spec}))

    def _kubectl(self, *args: str) -> str:
        return self.plane.kubectl("-n", SPACE, *args)

    def _eventually(self, look: Any, what: str, name: str, seconds: float) -> Any:
        try:
            return eventually(look, what, seconds)
        except AssertionError as error:
            guests = {node: self.guest(name, node) for node in self.nodes}
            told = [self.stack(name), *guests.values()]
            logs = "\n".join(f"--- {each.pve}\n{each.log_tail(3000)}" for each in self.nodes.values())
            raise AssertionError(f"{error}\n{json.dumps(told, indent=1)}\n{logs}") from None


@contextmanager
def proxmox_pair() -> Iterator[Pair]:
    """Control plane, cluster, operator and two agents that are ready; all of it goes with the block."""
    world = World(nodes=(FIRST, SECOND))
    with ControlPlane() as plane, Simulator(world) as simulator, ExitStack() as stack_:
        images = Path(stack_.enter_context(tempfile.TemporaryDirectory(prefix="dsecos-images-")))
        make_image(images)
        docker = stack_.enter_context(tempfile.TemporaryDirectory(prefix="dsecos-docker-"))
        operator = start_operator(plane)
        stack_.callback(operator.wait)
        stack_.callback(operator.kill)
        own = Path(stack_.enter_context(tempfile.TemporaryDirectory(prefix="dsecos-")))
        shutil.copyfile(plane.kubeconfig, own / plane.kubeconfig.name)
        machine = Machine(plane.settings.home, own)
        stack_.callback(machine.close)
        for port in (plane.settings.api_port, int(simulator.host.rpartition(":")[2])):
            machine.lead(port)
        first = ProxmoxNode(plane, images, simulator, name=FIRST)
        second = ProxmoxNode(plane, images, simulator, pve=SECOND, name=SECOND, home=own)
        second.argv = machine.argv(*second.argv)
        pair = Pair(plane, simulator, {FIRST: first, SECOND: second})
        apply(plane, namespace(SPACE), obj("License", "dsecos", development=True))
        for each in pair.nodes.values():
            stack_.callback(each.close)
            each.environment[DOCKER] = docker
            plane.kubectl("create", "namespace", each.settings.namespace)
            each.register()
            each.start()
        for each in pair.nodes.values():
            each.wait_engine()
            each.wait_condition(each.settings.node_name, "Ready", "True", of="node")
        yield pair
