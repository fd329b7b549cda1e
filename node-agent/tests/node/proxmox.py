"""A node whose guests are those of a simulated Proxmox VE, for tests: the same harness as for LXC.

    with proxmox_node() as node:
        node.apply(node.attachment())
        node.apply(node.guest("shop-00000001", 2))
        node.wait_ready("shop-00000001")
        node.simulator.issued("vzcreate")

`node.simulator` has the cluster's world, its faults and its calls. What is double is said in
`proxmox_agent.py`.
"""

import hashlib
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dsecos_api import proxmox
from dsecos_control_plane.testing import ControlPlane
from dsecos_proxmox_simulator import Faults, Simulator, World

from .harness import Node, Object, know_kinds

AGENT = Path(__file__).with_name("proxmox_agent.py")
IMAGE = "debian-13-docker"
STORAGE, TEMPLATES = "local-lvm", "local"
VMIDS = (20000, 20999)
SECRET = "proxmox-token"


class ProxmoxNode(Node):
    """One node of a simulated cluster with its agent."""

    def __init__(
        self,
        plane: ControlPlane,
        images: Path,
        simulator: Simulator,
        *,
        pve: str = "pve1",
        name: str = "",
        home: Path | None = None,
    ) -> None:
        """Nothing runs before `register` and `start`. `pve`: its name in Proxmox VE."""
        super().__init__(plane, images, registry=False, name=name, home=home)
        self.argv = (sys.executable, str(AGENT))
        self.simulator = simulator
        self.pve = pve
        simulator.world.add_bridge(self.bridge)
        self.user = "agent" if pve == "pve1" else f"agent-{pve}"
        wanted = rights(simulator.version, self.bridge, pve)
        self.token = simulator.add_token("dsecos@pve", self.user, wanted)

    def register(self, *, secret: bool = True, **changes: object) -> None:
        """Make the Node, and the Secret with the API's token."""
        if secret:
            self.apply(self.secret())
        settings = {
            "url": self.simulator.url,
            "node": self.pve,
            "tokenSecretRef": {"name": SECRET, "key": "token"},
            "fingerprint": self.simulator.fingerprint,
            "storage": STORAGE,
            "templateStorage": TEMPLATES,
            "vmids": f"{VMIDS[0]}-{VMIDS[1]}",
            **changes,
        }
        self.apply(
            {
                "apiVersion": "dsecos.io/v1alpha1",
                "kind": "Node",
                "metadata": {"name": self.settings.node_name},
                "spec": {"engine": {"type": "proxmox", "proxmox": settings}},
            }
        )

    def secret(self, token: str | None = None) -> Object:
        """The Secret; without a token the right one."""
        value = token or f"dsecos@pve!{self.user}={self.token}"
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": SECRET, "namespace": self.settings.namespace},
            "stringData": {"token": value},
        }

    def wait_engine(self, status: str = "True", reason: str = "") -> Object:
        """EngineReady of the Node, once it is so."""
        return self.wait_condition(
            self.settings.node_name, "EngineReady", status, reason, of="node", seconds=60
        )

    def vmid(self, name: str) -> int:
        """Id of a guest in Proxmox, as its status tells."""
        found = self.get("guest", name) or {}
        return int(found["status"]["engineId"])

    def guests_in_proxmox(self) -> list[int]:
        """Ids of our range that exist."""
        with self.simulator.world.mutex:
            return sorted(vmid for vmid in self.simulator.world.guests if VMIDS[0] <= vmid <= VMIDS[1])


def rights(version: str, bridge: str, pve: str = "pve1") -> dict[str, list[str]]:
    """Exactly the privileges that the documentation names, by path, and the zone's bridge."""
    scope = proxmox.Scope(pve, STORAGE, TEMPLATES)
    found: dict[str, list[str]] = {f"/sdn/zones/localnetwork/{bridge}": ["SDN.Use"]}
    for privilege in proxmox.wanted(int(version[0])):
        found.setdefault(scope.path(privilege.place), []).append(privilege.name)
    return found


def make_image(folder: Path) -> None:
    """A guest template that is large enough for a simulator."""
    build = folder / IMAGE
    build.mkdir(parents=True)
    content = b"not much of a root file system"
    (build / "rootfs.tar.zst").write_bytes(content)
    files = {"rootfs.tar.zst": {"sha256": hashlib.sha256(content).hexdigest()}}
    digests = json.dumps({name: file["sha256"] for name, file in files.items()}, sort_keys=True)
    digest = f"sha256:{hashlib.sha256(digests.encode()).hexdigest()}"
    (build / "manifest.json").write_text(json.dumps({"name": IMAGE, "digest": digest, "files": files}))


@contextmanager
def proxmox_node(
    *, faults: Faults | None = None, nodes: tuple[str, ...] = ("pve1", "pve2"), register: bool = True
) -> Iterator[ProxmoxNode]:
    """A control plane, a simulated cluster and an agent that is ready; all of it goes with the block."""
    with (
        tempfile.TemporaryDirectory(prefix="dsecos-images-") as folder,
        ControlPlane() as plane,
        Simulator(World(nodes=nodes), faults=faults) as simulator,
    ):
        make_image(Path(folder))
        know_kinds(plane)
        node = ProxmoxNode(plane, Path(folder), simulator)
        plane.kubectl("create", "namespace", node.settings.namespace)
        try:
            if register:
                node.register()
                node.start()
                node.wait_engine()
            yield node
        finally:
            node.close()
