"""Facts are the kernel's own."""

import os
import socket
from datetime import datetime
from pathlib import Path

from dsecos_agent.node import facts


def test_security_modules_are_the_kernels() -> None:
    modules = facts.security_modules()
    if facts.SECURITYFS.exists():
        assert modules == facts.SECURITYFS.read_text().strip().split(",")
    else:
        assert modules is None or "capability" in modules or modules == []


def test_a_module_that_is_not_listed_does_not_confine() -> None:
    assert facts.mandatory_access_control(["capability", "landlock", "yama"]) == []


def test_boot_time_is_past() -> None:
    booted = datetime.fromisoformat(facts.boot_time())
    assert booted < datetime.now(booted.tzinfo)


def test_kernel_and_memory() -> None:
    assert facts.kernel() == os.uname().release
    total = Path("/proc/meminfo").read_text().split()[1]
    assert facts.memory_bytes() == int(total) * 1024


def test_primary_address_is_one_of_ours() -> None:
    address = facts.primary_address()
    if address is not None:
        with socket.socket() as listener:
            listener.bind((address, 0))


def test_the_mtu_of_an_address_is_its_interfaces() -> None:
    assert facts.mtu_of("127.0.0.1") == int(Path("/sys/class/net/lo/mtu").read_text())
    assert facts.mtu_of("192.0.2.99") is None
    assert facts.mtu_of(None) is None
