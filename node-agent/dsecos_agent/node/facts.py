"""Facts about this server, read from the kernel each time that they are asked for."""

import ctypes
import os
import platform
import socket
from datetime import UTC, datetime
from pathlib import Path

import psutil
from dsecos_runtime import timestamp

PROC = Path("/proc")
SECURITYFS = Path("/sys/kernel/security/lsm")

SYS_LSM_LIST_MODULES = 461
"""lsm_list_modules(2), Linux 6.8; the same number on all architectures."""

LSM_NAMES = {
    100: "capability",
    101: "selinux",
    102: "smack",
    103: "tomoyo",
    104: "apparmor",
    105: "yama",
    106: "loadpin",
    107: "safesetid",
    108: "lockdown",
    109: "bpf",
    110: "landlock",
    111: "ima",
    112: "evm",
    113: "ipe",
}
"""LSM_ID_* of linux/lsm.h."""

MANDATORY = ("selinux", "apparmor", "smack", "tomoyo")
"""The modules that confine programs by a policy of the system."""


def kernel() -> str:
    """Kernel release (uname(2))."""
    return platform.release()


def os_image() -> str:
    """PRETTY_NAME of os-release(5)."""
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        return ""


def boot_id() -> str:
    """Id of this boot of the kernel (random(4))."""
    return (PROC / "sys/kernel/random/boot_id").read_text().strip()


def boot_time() -> str:
    """When the kernel started, RFC 3339 (`btime` of proc_stat(5), which does not move with the clock's
    corrections).
    """
    for line in (PROC / "stat").read_text().splitlines():
        if line.startswith("btime "):
            return timestamp(datetime.fromtimestamp(int(line.split()[1]), UTC))
    return timestamp(datetime.fromtimestamp(int(psutil.boot_time()), UTC))


def cpu_millis() -> int:
    """Thousandths of the CPUs that are online."""
    return (os.cpu_count() or 1) * 1000


def memory_bytes() -> int:
    """MemTotal of proc_meminfo(5)."""
    return int(psutil.virtual_memory().total)


def security_modules() -> list[str] | None:
    """Active security modules in the order of their calls; None when this kernel does not tell.

    Source: /sys/kernel/security/lsm, or the system call where securityfs is not mounted.
    """
    try:
        return [name for name in SECURITYFS.read_text().strip().split(",") if name]
    except OSError:
        return _list_modules()


def _list_modules() -> list[str] | None:
    ids = (ctypes.c_uint64 * 64)()
    size = ctypes.c_uint32(ctypes.sizeof(ids))
    libc = ctypes.CDLL(None, use_errno=True)
    count = libc.syscall(SYS_LSM_LIST_MODULES, ids, ctypes.byref(size), 0)
    if count < 0:
        return None
    return [LSM_NAMES.get(number, f"lsm-{number}") for number in ids[:count]]


def mandatory_access_control(modules: list[str]) -> list[str]:
    """Those of the modules that confine programs and are enforcing."""
    return [name for name in modules if name in MANDATORY and _enforcing(name)]


def _enforcing(name: str) -> bool:
    switch = {
        "selinux": (Path("/sys/fs/selinux/enforce"), "1"),
        "apparmor": (Path("/sys/module/apparmor/parameters/enabled"), "Y"),
    }.get(name)
    if switch is None:
        return True
    path, yes = switch
    try:
        return path.read_text().strip() == yes
    except OSError:
        return False


def primary_address() -> str | None:
    """The address that this host speaks to others from.

    The kernel is asked for the route to a documentation address (RFC 5737); nothing is sent.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        return str(probe.getsockname()[0])


def mtu_of(address: str | None) -> int | None:
    """Largest packet of the interface that has an address; None: no interface has it."""
    for name, addresses in psutil.net_if_addrs().items():
        if any(each.family == socket.AF_INET and each.address == address for each in addresses):
            found = psutil.net_if_stats().get(name)
            return None if found is None else found.mtu
    return None
