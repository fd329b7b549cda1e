"""The Debian packages that a node needs. Those that `make up` installs stay: taking them away might hurt
others.
"""

import json
from pathlib import Path

from dsecos_control_plane.command import run, succeeds
from dsecos_control_plane.errors import CommandError
from dsecos_control_plane.files import write
from dsecos_control_plane.settings import SOURCE, Settings

REASONS = {
    "btrfs-progs": "default storage pool: clones, snapshots and quotas of guests",
    "bubblewrap": "compose files are loaded without privileges and network",
    "ca-certificates": "trust in public registries",
    "conntrack": "established connections end when a rule that allowed them goes",
    "dnsmasq-base": "names in zones; the package without a service",
    "docker-registry": "serves the catalog's images to the guests",
    "iproute2": "links and addresses, for people and tests",
    "lxc": "runs the guests",
    "nftables": "the firewall, and libnftables for the agent",
    "uidmap": "id maps of unprivileged guests",
    "zstd": "guest templates are compressed",
}
"""Package and why. What building the images needs is listed by `dsecos-images packages`."""

FOR_TESTS = {
    "busybox-static": "the smallest guest that boots",
    "curl": "asks a service from another network namespace",
    "iperf3": "measures what a firewall lets through in a second",
    "kmod": "modules of the kernel that some tests boot",
    "openssl": "makes certificates that are wrong",
    "procps": "finds processes",
    "qemu-system-x86": "boots a kernel that has what this machine's may lack",
}
"""What the tests need beside that."""

UNWANTED_SERVICES = ("docker-registry.service", "lxc-net.service", "lxc.service")
"""What Debian would start on its own with these packages: a registry on port 5000, a bridge with a DHCP
server.
"""


def wanted() -> list[str]:
    """Return all packages that a node needs, those for building images included.

    Raises:
        CommandError: `dsecos-images` could not be asked.
    """
    images = run([SOURCE / ".venv" / "bin" / "dsecos-images", "packages"]).split()
    return sorted({*REASONS, *images})


def missing(packages: list[str]) -> list[str]:
    """Return those packages that dpkg does not list as installed."""
    listed = run(["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n"])
    installed = {line.split()[0] for line in listed.splitlines() if line.endswith(" installed")}
    return [package for package in packages if package not in installed]


def install(settings: Settings, packages: list[str]) -> None:
    """Install packages without the services that they would start, and write down in the home that it was us.

    Raises:
        CommandError: apt-get failed, also with fresh package lists.
    """
    command = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", *packages]
    environment = {"DEBIAN_FRONTEND": "noninteractive"}
    policy = Path("/usr/sbin/policy-rc.d")
    ours = not policy.exists()
    if ours:
        # invoke-rc.d(8): 101 forbids the action, so no maintainer script starts a daemon.
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        try:
            run(command, env=environment)
        except CommandError:
            run(["apt-get", "update", "--quiet"])
            run(command, env=environment)
    finally:
        if ours:
            policy.unlink()
    for service in UNWANTED_SERVICES:
        if service.removesuffix(".service").removesuffix("-net") in packages and _known(service):
            run(["systemctl", "disable", "--quiet", service])
    if not settings.home.is_dir():
        return
    record = settings.home / "installed-packages.json"
    before = json.loads(record.read_text()) if record.exists() else []
    write(record, json.dumps(sorted({*before, *packages}), indent=2) + "\n")


def _known(service: str) -> bool:
    return Path("/run/systemd/system").is_dir() and succeeds(["systemctl", "cat", service])
