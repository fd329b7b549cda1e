"""Our words in the configuration of a container that was adopted: one block, between two comment lines.

Pure. It stands at the end, where the last word on a key is said, and without it the file is what it was, byte
for byte: files are taken as text with surrogate escapes, and a line end that the block needed before it is
told in its first line. Lines that somebody has added behind it stay theirs.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from dsecos_agent.engines.errors import UnsafeConfigError
from dsecos_agent.engines.lxc.config import (
    CPU_PERIOD_US,
    NAME,
    OWNER_LINE,
    HostFacts,
    digest_of,
    limit_lines,
    plain,
    startup_lines,
)
from dsecos_agent.engines.lxc.subids import IdRange
from dsecos_agent.engines.model import ConfigDigest, GuestConfig, Limits

MARK = "# dsecos.io/adopted:"
BEGIN = f"{MARK} begin, written by the node agent"
OPEN_LINE = "; the line above had no end"
END = f"{MARK} end"
BLOCK = re.compile(
    rf"^{re.escape(BEGIN)}(?P<open>{re.escape(OPEN_LINE)})?\n(?P<body>.*?)^{re.escape(END)}(?:\n|\Z)",
    re.MULTILINE | re.DOTALL,
)
GUEST_LINE = re.compile(r"^# dsecos\.io/guest = (\S+)$", re.MULTILINE)
HOOK_DIGEST = re.compile(r"^lxc\.hook\.start-host = .*\b([0-9a-f]{32})\b", re.MULTILINE)
OWN_LINE = re.compile(r"^[ \t]*(lxc\.[^\s=]+)[ \t]*=[ \t]*(.*?)[ \t\r]*$", re.MULTILINE)
OWN_IDMAP = re.compile(r"[ugb]\s+\d+\s+(\d+)\s+(\d+)")
SIZE = re.compile(r"(\d+)([KMGT]?)", re.IGNORECASE)

BOOT = digest_of("adopted")
"""Boot digest of every adopted container: nothing of ours waits for its restart. The note of a life holds the
digest of the limits that are in force instead.
"""

CLAIM = "adopted"
"""File in our directory of the guest that holds the container's name."""


@dataclass(frozen=True, slots=True)
class Parts:
    """A container's configuration, taken apart."""

    own: str
    """What is not ours."""
    body: str | None = None
    """What is between the two lines."""
    damaged: bool = False
    """Somebody has cut into the block; `own` is all of the text then."""

    @property
    def guest(self) -> str | None:
        """The directory of the guest that has adopted it."""
        found = GUEST_LINE.search(self.body or "")
        return found[1] if found else None

    @property
    def owner_uid(self) -> str | None:
        """Whose that guest is."""
        found = OWNER_LINE.search(self.body or "")
        return found[1] if found else None

    @property
    def limits_digest(self) -> str | None:
        """Of the limits that it is started with."""
        found = HOOK_DIGEST.search(self.body or "")
        return found[1] if found else None


def split(text: str) -> Parts:
    """Take a configuration apart."""
    marks = sum(line.startswith(MARK) for line in text.split("\n"))
    if not marks:
        return Parts(text)
    found = BLOCK.search(text)
    if found is None or marks != len((BEGIN, END)):
        return Parts(text, damaged=True)
    before, after = text[: found.start()], text[found.end() :]
    if found["open"] and not after:
        before = before.removesuffix("\n")
    return Parts(before + after, found["body"])


def join(own: str, body: str) -> str:
    """The configuration with our block at its end."""
    is_open = bool(own) and not own.endswith("\n")
    begin = f"\n{BEGIN}{OPEN_LINE}" if is_open else BEGIN
    return f"{own}{begin}\n{body}{END}\n"


def render(config: GuestConfig, facts: HostFacts) -> tuple[str, ConfigDigest]:
    """What goes between the two lines, and its digests: limits, start order, and whose it is.

    Raises UnsafeConfigError.
    """
    if not NAME.fullmatch(config.name):
        raise UnsafeConfigError(f"guest name {config.name!r} cannot be written to an LXC configuration")
    owner, directory = plain("owner", config.owner_uid), plain("directory", str(facts.directory))
    limits = list(_limits(config.limits, facts))
    lines = [
        f"# dsecos.io/owner-uid = {owner}",
        f"# dsecos.io/guest = {directory}",
        *limits,
        *startup_lines(config.startup),
        f"lxc.hook.start-host = {_boot_note(digest_of(' '.join(limits)), owner, directory)}",
    ]
    body = "".join(f"{line}\n" for line in lines)
    return body, ConfigDigest(full=digest_of(body), boot=BOOT)


def _limits(limits: Limits, facts: HostFacts) -> Iterator[str]:
    for line in limit_lines(limits, swap_accounting=facts.swap_accounting):
        # An empty value takes back what the container's own lines say; liblxc would set one after the other,
        # and memory above what memory and swap together still have fails.
        yield f"{line.partition(' ')[0]} ="
        yield line


def _boot_note(digest: str, owner: str, directory: str) -> str:
    # Hooks of version 0 are run as `exec <hook> <name> lxc start-host`, so it is one program that has no use
    # for more words. It is silent for a copy of the container, and where the guest is gone; it never fails,
    # for the container has to start without us, too.
    return (
        f"""sh -c '[ "$(cat {directory}/{CLAIM})" = "$LXC_NAME" ] && """
        f"""echo "$LXC_PID $(cut -d" " -f22 /proc/$LXC_PID/stat) {digest} {owner}" > {directory}/booted; :'"""
    )


def limited(limits: Limits) -> frozenset[str]:
    """Which of cpu, memory, pids these limits speak of."""
    said = {"cpu": limits.cpu_millis, "memory": limits.memory_bytes, "pids": limits.pids}
    return frozenset(name for name, value in said.items() if value is not None)


def limits_of(text: str, *, unified: bool) -> Limits:
    """Limits that a configuration sets on hosts with this version of control groups; what is included is not
    followed.
    """
    said = dict(OWN_LINE.findall(text))
    if unified:
        quota, _, period = said.get("lxc.cgroup2.cpu.max", "").partition(" ")
        memory, pids = said.get("lxc.cgroup2.memory.max", ""), said.get("lxc.cgroup2.pids.max", "")
    else:
        quota = said.get("lxc.cgroup.cpu.cfs_quota_us", "")
        period = said.get("lxc.cgroup.cpu.cfs_period_us", "")
        memory, pids = said.get("lxc.cgroup.memory.limit_in_bytes", ""), said.get("lxc.cgroup.pids.max", "")
    size, spread = SIZE.fullmatch(memory), int(period) if period.isdigit() else CPU_PERIOD_US
    return Limits(
        cpu_millis=int(quota) * 1000 // spread if quota.isdigit() else None,
        memory_bytes=int(size[1]) << 10 * " KMGT".index(size[2].upper() or " ") if size else None,
        pids=int(pids) if pids.isdigit() else None,
    )


def ranges_of(text: str) -> list[IdRange]:
    """Host ids of a container, from its own configuration; what is included is not followed."""
    maps = [OWN_IDMAP.fullmatch(value) for key, value in OWN_LINE.findall(text) if key == "lxc.idmap"]
    return [IdRange(int(each[1]), int(each[2])) for each in maps if each]
