"""A guest's LXC configuration as text: rendered by a pure function, read back for what it says.

Keys are those of lxc.container.conf(5). Limits are written for both cgroup versions; liblxc ignores those of
the version that the host does not use. Nothing is included from the distribution, so the file says all that
holds for the guest.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dsecos_agent.engines.errors import UnsafeConfigError
from dsecos_agent.engines.model import (
    ConfigDigest,
    GuestConfig,
    IdMap,
    Limits,
    Mount,
    RootDirectory,
    Startup,
)

OWNER_LINE = re.compile(r"^# dsecos\.io/owner-uid = (\S+)$", re.MULTILINE)
SETTING_LINE = re.compile(r"^(lxc\.\S+) *= *(.*?) *$", re.MULTILINE)
BOOT_DIGEST = re.compile(r"\b[0-9a-f]{32}\b")
ROOT_LINE = re.compile(r"^lxc\.rootfs\.path = dir:(\S+)$", re.MULTILINE)
PORT_LINE = re.compile(r"^lxc\.net\.\d+\.veth\.pair = (\S+)$", re.MULTILINE)
MTU = re.compile(r"^(lxc\.net\.\d+\.mtu =) \d+$")
"""Not worth a restart: what is too large for a zone whose packets got smaller, its gateway says to the guest
(RFC 1191). So every MTU counts as the first one that there was.
"""

IDMAP_LINE = re.compile(r"^lxc\.idmap = u 0 (\d+) (\d+)$", re.MULTILINE)

NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
LINK = re.compile(r"[A-Za-z0-9_.-]{1,15}")
MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
PLAIN = re.compile(r"[^\s\x00-\x1f\x7f#\"'\\]+")
"""What a path or a word may be made of: liblxc has no quoting."""

CPU_PERIOD_US = 100_000
MIN_CPU_QUOTA_US = 1_000
"""The kernel refuses less (Documentation/scheduler/sched-bwc)."""

DROPPED_CAPABILITIES = (
    "audit_control audit_read block_suspend bpf checkpoint_restore lease linux_immutable mac_admin "
    "mac_override perfmon sys_module sys_pacct sys_rawio sys_time sys_tty_config syslog wake_alarm"
)
"""All that systemd, dockerd and runc do without; what stays counts in the guest's own user namespace only."""

DEVICES = ("c 1:3", "c 1:5", "c 1:7", "c 1:8", "c 1:9", "c 5:0", "c 5:1", "c 5:2", "c 136:*")
"""null, zero, full, random, urandom, tty, console, ptmx, terminals; no disk, no fuse, no tun."""


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What the text depends on beside the guest's own configuration."""

    directory: Path
    """Of this guest, below the lxcpath."""
    seccomp: Path
    swap_accounting: bool
    """cgroup v1: memory.memsw files exist."""


def plain(what: str, value: str) -> str:
    """The value, if liblxc takes it for what it is. Raises UnsafeConfigError."""
    if not PLAIN.fullmatch(value):
        raise UnsafeConfigError(f"{what} {value!r} has characters that an LXC configuration cannot hold")
    return value


def _check_isolation(config: GuestConfig) -> None:
    if config.id_map is None and not config.privileged:
        raise UnsafeConfigError(f"guest {config.name} has no id map and is not declared privileged")
    if config.id_map is not None and config.privileged:
        raise UnsafeConfigError(f"guest {config.name} is declared privileged but has an id map")
    if config.id_map is not None and (config.id_map.base < 65536 or config.id_map.count < 1):
        raise UnsafeConfigError(
            f"guest {config.name}: id map at {config.id_map.base} meets the host's own ids"
        )


def _check_words(config: GuestConfig) -> None:
    wrong = [
        *(f"name {name!r}" for name in (config.name, config.hostname or "x") if not NAME.fullmatch(name)),
        *(
            f"link {link!r}"
            for interface in config.interfaces
            for link in (interface.host_name, interface.bridge, interface.name)
            if not LINK.fullmatch(link)
        ),
        *(f"MAC {i.mac!r}" for i in config.interfaces if not MAC.fullmatch(i.mac)),
        *(
            f"mount target {mount.target!r}"
            for mount in config.mounts
            if ".." in Path(mount.target).parts or not mount.target.startswith("/")
        ),
        *(
            f"environment variable {name!r}"
            for name, value in config.environment.items()
            if not ENV_NAME.fullmatch(name) or re.search(r"[\x00-\x1f\x7f]", value)
        ),
    ]
    if wrong:
        raise UnsafeConfigError(f"guest {config.name!r} cannot be configured: {', '.join(wrong)}")


def _root(config: GuestConfig) -> Path:
    if not isinstance(config.root, RootDirectory):
        raise UnsafeConfigError(f"guest {config.name}: LXC takes a root directory, not an image")
    return config.root.path


def _identity(config: GuestConfig) -> Iterator[str]:
    yield f"lxc.uts.name = {config.hostname or config.name}"
    yield "lxc.arch = linux64"
    yield f"lxc.rootfs.path = dir:{plain('rootfs', str(_root(config)))}"
    if config.id_map is not None:
        yield "lxc.rootfs.options = idmap=container"
        for kind in ("u", "g"):
            yield f"lxc.idmap = {kind} 0 {config.id_map.base} {config.id_map.count}"
    yield f"lxc.init.cmd = {' '.join(plain('init', word) for word in config.init)}"
    yield f"lxc.signal.halt = {plain('halt signal', config.halt_signal)}"
    yield "lxc.tty.max = 0"
    yield "lxc.pty.max = 1024"
    for name, value in sorted(config.environment.items()):
        yield f"lxc.environment = {name}={value}"


def _confinement(config: GuestConfig, facts: HostFacts) -> Iterator[str]:
    yield f"lxc.cap.drop = {DROPPED_CAPABILITIES}"
    yield f"lxc.seccomp.profile = {facts.seccomp}"
    # liblxc passes over these two where the kernel has no AppArmor.
    yield "lxc.apparmor.profile = generated"
    yield f"lxc.apparmor.allow_nesting = {int(config.nesting)}"
    for controller in ("cgroup", "cgroup2"):
        yield f"lxc.{controller}.devices.deny = a"
        for device in DEVICES:
            yield f"lxc.{controller}.devices.allow = {device} rwm"


def _mount(mount: Mount, *, mapped: bool) -> str:
    options = ["bind", "create=dir", "nodev"]
    if mapped and mount.idmapped:
        options.append("idmap=container")
    if mount.read_only:
        options.append("ro")
    if not mount.executable:
        options += ["nosuid", "noexec"]
    source, target = plain("mount source", str(mount.source)), plain("mount target", mount.target)
    return f"lxc.mount.entry = {source} {target.lstrip('/')} none {','.join(options)} 0 0"


def _mounts(config: GuestConfig) -> Iterator[str]:
    # systemd in the guest needs writable cgroups, runc needs a proc and a sys that are not masked in part.
    yield f"lxc.mount.auto = {'proc:rw sys:rw' if config.nesting else 'proc:mixed sys:mixed'} cgroup:rw:force"
    if any(mount.target.startswith("/run/") for mount in config.mounts):
        # An init that finds no file system on /run mounts one, over whatever was mounted below it.
        yield "lxc.mount.entry = tmpfs run tmpfs rw,nosuid,nodev,mode=755,size=20%,create=dir 0 0"
    for mount in config.mounts:
        yield _mount(mount, mapped=config.id_map is not None)


def _network(config: GuestConfig) -> Iterator[str]:
    if not config.interfaces:
        yield "lxc.net.0.type = empty"
    for index, interface in enumerate(config.interfaces):
        key = f"lxc.net.{index}"
        yield f"{key}.type = veth"
        yield f"{key}.link = {interface.bridge}"
        yield f"{key}.veth.pair = {interface.host_name}"
        yield f"{key}.name = {interface.name}"
        yield f"{key}.hwaddr = {interface.mac}"
        if interface.mtu is not None:
            yield f"{key}.mtu = {interface.mtu}"
        yield f"{key}.ipv4.address = {interface.address}"
        if interface.gateway is not None:
            yield f"{key}.ipv4.gateway = {interface.gateway}"
        if interface.address6 is not None:
            yield f"{key}.ipv6.address = {interface.address6}"
        if interface.gateway6 is not None:
            yield f"{key}.ipv6.gateway = {interface.gateway6}"
        yield f"{key}.flags = up"


def cpu_quota_us(cpu_millis: int) -> int:
    """CPU time in microseconds a period of CPU_PERIOD_US."""
    return max(MIN_CPU_QUOTA_US, cpu_millis * CPU_PERIOD_US // 1000)


def limit_lines(limits: Limits, *, swap_accounting: bool) -> Iterator[str]:
    """For both versions of control groups."""
    if limits.cpu_millis is not None:
        quota = cpu_quota_us(limits.cpu_millis)
        yield f"lxc.cgroup.cpu.cfs_period_us = {CPU_PERIOD_US}"
        yield f"lxc.cgroup.cpu.cfs_quota_us = {quota}"
        yield f"lxc.cgroup2.cpu.max = {quota} {CPU_PERIOD_US}"
    if limits.memory_bytes is not None:
        yield f"lxc.cgroup.memory.limit_in_bytes = {limits.memory_bytes}"
        if swap_accounting:
            yield f"lxc.cgroup.memory.memsw.limit_in_bytes = {limits.memory_bytes}"
        yield f"lxc.cgroup2.memory.max = {limits.memory_bytes}"
        yield "lxc.cgroup2.memory.swap.max = 0"
    if limits.pids is not None:
        yield f"lxc.cgroup.pids.max = {limits.pids}"
        yield f"lxc.cgroup2.pids.max = {limits.pids}"


def startup_lines(startup: Startup) -> Iterator[str]:
    """When the host starts it by itself."""
    yield f"lxc.start.auto = {int(startup.autostart)}"
    yield f"lxc.start.order = {startup.order}"
    yield f"lxc.start.delay = {startup.delay}"


def _boot_note(boot: str, owner_uid: str, facts: HostFacts) -> str:
    # liblxc runs it in the host's namespaces just before init: whoever starts the guest, we can tell with
    # what.
    note = plain("directory", str(facts.directory / "booted"))
    return f'echo "$LXC_PID $(cut -d" " -f22 /proc/$LXC_PID/stat) {boot} {owner_uid}" > {note}'


def _hash(lines: list[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:32]


def render(config: GuestConfig, facts: HostFacts) -> tuple[str, ConfigDigest]:
    """The file's text and its two digests.

    Raises UnsafeConfigError for what could mean something else to liblxc than to us, and for a safe mode that
    would not be safe.
    """
    _check_isolation(config)
    _check_words(config)
    fixed = [
        *_identity(config),
        *_confinement(config, facts),
        *_mounts(config),
        *_network(config),
    ]
    boot = _hash([MTU.sub(r"\1 1500", line) for line in fixed])
    lines = [
        f"# dsecos.io/owner-uid = {plain('owner', config.owner_uid)}",
        "# Written by the node agent; a change by hand is undone.",
        *fixed,
        *limit_lines(config.limits, swap_accounting=facts.swap_accounting),
        *startup_lines(config.startup),
        "lxc.hook.version = 1",
        f"lxc.hook.start-host = {_boot_note(boot, config.owner_uid, facts)}",
    ]
    text = "\n".join(lines) + "\n"
    return text, ConfigDigest(full=digest_of(text), boot=boot)


def digest_of(text: str) -> str:
    """Digest of a configuration file as it is on disk."""
    return _hash([text])


def owner_of(text: str) -> str | None:
    """The owner's UID from a configuration file's text."""
    found = OWNER_LINE.search(text)
    return found[1] if found else None


def id_map_of(text: str) -> IdMap | None:
    """The id map from a configuration file's text."""
    found = IDMAP_LINE.search(text)
    return IdMap(int(found[1]), int(found[2])) if found else None


def settings_of(text: str) -> dict[str, str]:
    """Keys and values of a configuration file's text; the values of a repeated key are joined by `; `, and an
    empty one takes back what was said before.

    The digest in the note of a boot says nothing of its own and is left out.
    """
    settings: dict[str, str] = {}
    for key, value in SETTING_LINE.findall(text):
        shown = BOOT_DIGEST.sub("DIGEST", value) if key == "lxc.hook.start-host" else value
        if not value:
            settings.pop(key, None)
        else:
            settings[key] = f"{settings[key]}; {shown}" if key in settings else shown
    return settings


def ports_of(text: str) -> tuple[str, ...]:
    """The host's ends of the guest's network interfaces, from a configuration file's text."""
    return tuple(PORT_LINE.findall(text))


def root_of(text: str) -> Path | None:
    """The guest's root directory, from a configuration file's text."""
    found = ROOT_LINE.search(text)
    return Path(found[1]) if found else None
