"""`python -m dsecos_proxmox_simulator --port 8006`: a simulated cluster for people to try a client on."""

from __future__ import annotations

import argparse
import sys
import threading

from dsecos_proxmox_simulator.cluster import VERSIONS
from dsecos_proxmox_simulator.faults import Faults
from dsecos_proxmox_simulator.simulator import Simulator
from dsecos_proxmox_simulator.world import World


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(
        prog="dsecos_proxmox_simulator", description="A simulated Proxmox VE cluster"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8006, help="port to listen on, 0 for a free one")
    parser.add_argument("--version", choices=VERSIONS, default="8.4", help="Proxmox VE to be")
    parser.add_argument("--nodes", default="pve1,pve2,pve3", help="names of the nodes, by comma")
    parser.add_argument("--pace", type=float, default=0.2, help="seconds for each measured second of a task")
    parser.add_argument(
        "--fault-rate", type=float, default=0.0, help="part of the requests that go wrong, 0 to 1"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the faults")
    given = parser.parse_args()
    world = World(nodes=given.nodes.split(","), pace=given.pace)
    faults = Faults(given.fault_rate, given.seed)
    with Simulator(world, faults=faults, version=given.version, host=given.host, port=given.port) as pve:
        sys.stdout.write(
            f"{pve.url}\nfingerprint {pve.fingerprint}\nuser root@pam, password {world.root_password}\n"
        )
        sys.stdout.flush()
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            sys.stdout.write("stopped\n")


if __name__ == "__main__":
    main()
