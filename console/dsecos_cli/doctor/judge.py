"""What the facts about a machine mean. Pure: facts in, checks out, in the order in which they are mended."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from dsecos_cli.doctor.model import Check, Level, MachineFacts
from dsecos_cli.settings import Settings

GIB = 2**30
OLDEST_KERNEL = (5, 15)
"""btrfs takes id-mapped mounts since 5.15 (kernel newbies, Linux 5.15); ext4 since 5.12."""

TOOLS: Mapping[str, tuple[str, tuple[int, int]]] = {
    "lxc-start": ("lxc", (5, 0)),
    "newuidmap": ("uidmap", (0, 0)),
    "nft": ("nftables", (1, 0)),
    "ip": ("iproute2", (5, 0)),
    "mkfs.btrfs": ("btrfs-progs", (5, 0)),
    "bwrap": ("bubblewrap", (0, 4)),
    "conntrack": ("conntrack", (1, 4)),
    "docker-registry": ("docker-registry", (2, 8)),
    "zstd": ("zstd", (1, 4)),
    "dnsmasq": ("dnsmasq-base", (2, 80)),
}
"""Tool -> (Debian package, oldest version that does). LXC maps ids on mounts since 5.0."""

BUILD_TOOLS = {"mmdebstrap": "mmdebstrap", "buildah": "buildah"}
"""Tool -> Debian package; needed only where the guest template and the images are built."""

NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")
CONTROLLERS = ("cpu", "memory", "pids")


def judge_machine(facts: MachineFacts, settings: Settings) -> list[Check]:
    """Every finding about this machine."""
    return [
        *_rights(facts),
        *_kernel(facts),
        *_tools(facts),
        *_network(facts, settings),
        *_room(facts, settings),
    ]


def _rights(facts: MachineFacts) -> Iterator[Check]:
    if not facts.root:
        yield Check(
            "machine", "root", Level.WARN, "not root, so some checks cannot look", "sudo dsecos doctor"
        )


def _kernel(facts: MachineFacts) -> Iterator[Check]:
    good = facts.kernel >= OLDEST_KERNEL
    yield Check(
        "kernel",
        "version",
        Level.OK if good else Level.FAIL,
        f"{facts.kernel_release} on {facts.os_name}",
        "" if good else "Boot Debian 12's kernel or a newer one: id-mapped mounts on btrfs want 5.15.",
    )
    missing = [name for name in NAMESPACES if name not in facts.namespaces]
    yield _all_there(
        "kernel",
        "namespaces",
        NAMESPACES,
        missing,
        "Boot a kernel with CONFIG_NAMESPACES and CONFIG_USER_NS.",
    )
    if facts.max_user_namespaces == 0:
        yield Check(
            "kernel",
            "user namespaces",
            Level.FAIL,
            "switched off",
            "sysctl -w user.max_user_namespaces=15000",
        )
    missing = [name for name in CONTROLLERS if name not in facts.cgroup_controllers]
    yield _all_there(
        "kernel",
        "cgroup controllers",
        CONTROLLERS,
        missing,
        "Boot without cgroup_disable=; mount cgroup2 or cgroup v1.",
    )
    overlay = "overlay" in facts.filesystems
    yield Check("kernel", "overlay", *_yes(overlay, "Docker's overlay2 works", "missing", "modprobe overlay"))
    btrfs = "btrfs" in facts.filesystems and facts.loop_devices
    yield Check(
        "kernel",
        "btrfs",
        Level.OK if btrfs else Level.WARN,
        "pools with snapshots and quotas"
        if btrfs
        else "no btrfs on a loop device: pools of type dir, slower and without quotas",
        "" if btrfs else "modprobe btrfs loop",
    )
    for name, works in facts.kernel_can.items():
        if works is None:
            yield Check("kernel", name, Level.WARN, "not looked at, it takes root", "sudo dsecos doctor")
        else:
            yield Check("kernel", name, *_yes(works, "works", "refused by the kernel", f"modprobe {name}"))
    yield _access_control(facts.security_modules)


def _access_control(modules: tuple[str, ...] | None) -> Check:
    mandatory = [name for name in modules or () if name in ("apparmor", "selinux", "smack", "tomoyo")]
    if mandatory:
        return Check("kernel", "access control", Level.OK, f"{', '.join(mandatory)} active")
    if modules is None:
        return Check(
            "kernel",
            "access control",
            Level.WARN,
            "/sys/kernel/security is not mounted, so it cannot be seen",
            "mount -t securityfs securityfs /sys/kernel/security",
        )
    seen = f"the kernel lists {', '.join(modules)}"
    return Check(
        "kernel",
        "access control",
        Level.WARN,
        f"{seen}: guests are confined by id map, cgroups and seccomp alone",
        "Boot with lsm=...,apparmor (kernel parameter) on a kernel that has it.",
    )


def _tools(facts: MachineFacts) -> Iterator[Check]:
    for tool, (package, oldest) in TOOLS.items():
        text = facts.versions.get(tool)
        if text is None:
            yield Check(
                "tools", tool, Level.FAIL, "not installed", f"apt-get install {package}   (`make up` does it)"
            )
        elif (found := version_of(text)) and found < oldest:
            yield Check("tools", tool, Level.FAIL, f"{text} is too old", f"apt-get install {package}")
        else:
            yield Check("tools", tool, Level.OK, text or "installed")
    missing = {tool: package for tool, package in BUILD_TOOLS.items() if facts.versions.get(tool) is None}
    if missing:
        yield Check(
            "tools",
            "image build",
            Level.WARN,
            f"{', '.join(missing)} not installed: this machine cannot build guest templates",
            f"apt-get install {' '.join(missing.values())}   (`make up` does it)",
        )
    else:
        yield Check("tools", "image build", Level.OK, ", ".join(BUILD_TOOLS))


def _network(facts: MachineFacts, settings: Settings) -> Iterator[Check]:
    yield Check(
        "network",
        "ip_forward",
        Level.OK if facts.ip_forward else Level.WARN,
        "on" if facts.ip_forward else "off; the agent switches it on when the first zone comes",
        "" if facts.ip_forward else "sysctl -w net.ipv4.ip_forward=1",
    )
    yield _forwarding(facts, settings)
    wanted = {
        settings.api_port: "API server",
        settings.etcd_port: "etcd",
        settings.etcd_port + 1: "etcd peers",
        settings.controller_manager_port: "controller manager",
        settings.registry_port: "registry",
        settings.registry_port + 1: "registry, read side",
        settings.operator_metrics_port: "operator's metrics",
        settings.agent_metrics_port: "agent's metrics",
    }
    taken = [listener for listener in facts.listeners if listener.port in wanted and not listener.ours]
    for listener in taken:
        yield Check(
            "network",
            f"port {listener.port}",
            Level.FAIL,
            f"wanted for the {wanted[listener.port]}, taken by {listener.process}",
            "Stop it, or choose another port: DSECOS_*_PORT (docs/operate.md).",
        )
    if not taken:
        yield Check("network", "ports", Level.OK, f"{', '.join(str(port) for port in wanted)} free or ours")


def _forwarding(facts: MachineFacts, settings: Settings) -> Check:
    if facts.forward_drops is None or facts.legacy_forward_drop is None:
        return Check(
            "network", "forwarding", Level.WARN, "not looked at, it takes root", "sudo dsecos doctor"
        )
    drops = [f"{c.family} {c.table} {c.chain}" for c in facts.forward_drops]
    drops += ["iptables-legacy FORWARD"] if facts.legacy_forward_drop else []
    if not drops:
        return Check("network", "forwarding", Level.OK, "no foreign rule drops guests' packets")
    bridges = f"{settings.link_prefix}z+"
    tool = "iptables-legacy" if facts.legacy_forward_drop and not facts.forward_drops else "iptables"
    chain = "DOCKER-USER" if any(c.chain == "FORWARD" for c in facts.forward_drops) else "FORWARD"
    return Check(
        "network",
        "forwarding",
        Level.FAIL,
        f"{', '.join(drops)} drops what it does not accept, guests' packets too",
        f"{tool} -I {chain} -i {bridges} -j ACCEPT; {tool} -I {chain} -o {bridges} -j ACCEPT",
    )


def _room(facts: MachineFacts, settings: Settings) -> Iterator[Check]:
    memory = facts.memory_bytes / GIB
    level = Level.FAIL if memory < 1.5 else Level.WARN if memory < 3.5 else Level.OK
    yield Check(
        "room",
        "memory",
        level,
        f"{memory:.1f} GiB",
        "" if level is Level.OK else "4 GiB or more run the control plane and some guests.",
    )
    disk = facts.disk_free_bytes / GIB
    level = Level.FAIL if disk < 8 else Level.WARN if disk < 20 else Level.OK
    fix = (
        ""
        if level is Level.OK
        else f"Free some space at {settings.home}: the images and one guest take 8 GiB, 20 leave room."
    )
    yield Check("room", "disk", level, f"{disk:.1f} GiB free at {settings.home}", fix)
    yield Check(
        "room",
        "cpu",
        Level.OK if facts.cpus > 1 else Level.WARN,
        f"{facts.cpus} cores",
        "" if facts.cpus > 1 else "Two cores or more.",
    )
    yield _subids(facts, settings.guest_id_base)


def _subids(facts: MachineFacts, base: int) -> Check:
    foreign = [
        f"{user}:{first}:{count}"
        for user, ranges in facts.subid_ranges.items()
        for first, count in ranges
        if user not in ("root", "0") and first + count > base
    ]
    if foreign:
        return Check(
            "room",
            "user ids",
            Level.FAIL,
            f"/etc/subuid gives ids of the guests' range ({base} and above) away: {', '.join(foreign)}",
            "Move that range below it, or set DSECOS_GUEST_ID_BASE to another one.",
        )
    return Check("room", "user ids", Level.OK, f"{base} and above are the guests' alone")


def version_of(text: str) -> tuple[int, int] | None:
    """The first `number.number` in a tool's version text."""
    match = re.search(r"(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else None


def _yes(good: bool, yes: str, no: str, fix: str) -> tuple[Level, str, str]:
    return (Level.OK, yes, "") if good else (Level.FAIL, no, fix)


def _all_there(area: str, name: str, wanted: tuple[str, ...], missing: list[str], fix: str) -> Check:
    if missing:
        return Check(area, name, Level.FAIL, f"missing: {', '.join(missing)}", fix)
    return Check(area, name, Level.OK, ", ".join(wanted))
