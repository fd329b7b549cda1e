"""The LXC engine's parts that need no guest."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

import pytest
from dsecos_agent.adapter_errors import UnsupportedError
from dsecos_agent.engines.errors import UnsafeConfigError
from dsecos_agent.engines.lxc import LxcEngine, cgroups, counters
from dsecos_agent.engines.lxc.config import (
    HostFacts,
    cpu_quota_us,
    id_map_of,
    owner_of,
    ports_of,
    render,
    root_of,
    settings_of,
)
from dsecos_agent.engines.lxc.subids import IdRange, Subids
from dsecos_agent.engines.model import (
    GuestConfig,
    IdMap,
    Limits,
    Mount,
    NetworkInterface,
    RootDirectory,
    Startup,
)
from hypothesis import given
from hypothesis import strategies as st

FACTS = HostFacts(
    Path("/var/lib/dsecos/lxc/one"), Path("/var/lib/dsecos/lxc/guest.seccomp"), swap_accounting=True
)
GUEST = GuestConfig(
    name="one",
    owner_uid="uid-1",
    root=RootDirectory(Path("/pool/guests/one/rootfs")),
    id_map=IdMap(1_000_000),
    mounts=(
        Mount(Path("/pool/guests/one/docker"), "/var/lib/docker"),
        Mount(Path("/pool/x"), "/srv/x", read_only=True, executable=False),
    ),
    interfaces=(
        NetworkInterface(
            "dsg00000001",
            "dsz00000001",
            "02:00:00:00:00:01",
            IPv4Interface("10.0.0.2/32"),
            IPv4Address("10.0.0.1"),
        ),
    ),
    limits=Limits(1500, 1 << 30, 500),
)


def lines(config: GuestConfig) -> list[str]:
    return render(config, FACTS)[0].splitlines()


def test_the_text_says_whose_the_guest_is_and_which_ids_it_has() -> None:
    text, _ = render(GUEST, FACTS)
    assert owner_of(text) == "uid-1"
    assert id_map_of(text) == GUEST.id_map


def test_limits_for_both_versions_of_control_groups() -> None:
    assert {
        "lxc.cgroup.cpu.cfs_quota_us = 150000",
        "lxc.cgroup2.cpu.max = 150000 100000",
        "lxc.cgroup.memory.limit_in_bytes = 1073741824",
        "lxc.cgroup.memory.memsw.limit_in_bytes = 1073741824",
        "lxc.cgroup2.memory.max = 1073741824",
        "lxc.cgroup2.memory.swap.max = 0",
        "lxc.cgroup.pids.max = 500",
        "lxc.cgroup2.pids.max = 500",
    } <= set(lines(GUEST))


def test_mounts_map_ids_and_keep_devices_out() -> None:
    docker = "/pool/guests/one/docker var/lib/docker none bind,create=dir,nodev,idmap=container 0 0"
    assert f"lxc.mount.entry = {docker}" in lines(GUEST)
    read_only = next(line for line in lines(GUEST) if "/pool/x" in line)
    assert read_only.endswith("bind,create=dir,nodev,idmap=container,ro,nosuid,noexec 0 0")


def test_every_guest_is_confined() -> None:
    for config in (GUEST, replace(GUEST, id_map=None, privileged=True)):
        text = "\n".join(lines(config))
        assert "lxc.cap.drop = " in text
        assert "lxc.seccomp.profile = " in text
        assert "lxc.apparmor.profile = generated" in text
        assert "lxc.cgroup2.devices.deny = a" in text
        assert "unconfined" not in text


@given(
    st.text(max_size=20).filter(lambda text: any(c in text for c in "\n\r\0#\"' ")),
    st.sampled_from(
        ["name", "hostname", "owner_uid", "rootfs", "mount source", "mount target", "init", "link", "mac"]
    ),
)
def test_no_value_can_say_more_than_it_is_asked(value: str, where: str) -> None:
    interface = GUEST.interfaces[0]
    configs = {
        "name": replace(GUEST, name=value),
        "hostname": replace(GUEST, hostname=value),
        "owner_uid": replace(GUEST, owner_uid=value),
        "rootfs": replace(GUEST, root=RootDirectory(Path("/" + value))),
        "mount source": replace(GUEST, mounts=(Mount(Path("/" + value), "/x"),)),
        "mount target": replace(GUEST, mounts=(Mount(Path("/x"), "/" + value),)),
        "init": replace(GUEST, init=(value,)),
        "link": replace(GUEST, interfaces=(replace(interface, bridge=value),)),
        "mac": replace(GUEST, interfaces=(replace(interface, mac=value),)),
    }
    with pytest.raises(UnsafeConfigError):
        render(configs[where], FACTS)


@pytest.mark.parametrize(
    ("change", "restarts"),
    [
        ({"limits": Limits(pids=7)}, False),
        ({"startup": Startup(autostart=True)}, False),
        ({"interfaces": (replace(GUEST.interfaces[0], mtu=1400),)}, False),
        ({"interfaces": (replace(GUEST.interfaces[0], mtu=1500, bridge="other"),)}, True),
        ({"hostname": "other"}, True),
        ({"mounts": ()}, True),
        ({"environment": {"A": "b"}}, True),
        ({"id_map": IdMap(2_000_000)}, True),
    ],
)
def test_what_needs_a_restart(change: dict[str, object], restarts: bool) -> None:
    guest = replace(GUEST, interfaces=(replace(GUEST.interfaces[0], mtu=1500),))
    before, after = render(guest, FACTS)[1], render(replace(guest, **change), FACTS)[1]  # type: ignore[arg-type]
    assert before.full != after.full
    assert (before.boot != after.boot) is restarts


def test_when_the_host_starts_it_by_itself() -> None:
    config = replace(GUEST, startup=Startup(autostart=True, order=5, delay=30))
    assert {"lxc.start.auto = 1", "lxc.start.order = 5", "lxc.start.delay = 30"} <= set(lines(config))


def test_settings_are_the_files_keys_and_values() -> None:
    settings = settings_of(render(GUEST, FACTS)[0])
    assert settings["lxc.uts.name"] == "one"
    assert settings["lxc.idmap"] == "u 0 1000000 65536; g 0 1000000 65536", "a repeated key is one setting"
    assert settings["lxc.mount.entry"].count(";") == 1
    assert not [key for key in settings if key.startswith("#")]


@pytest.mark.parametrize(
    ("change", "keys"),
    [
        ({"hostname": "other"}, {"lxc.uts.name"}),
        ({"environment": {"A": "b"}}, {"lxc.environment"}),
        ({"startup": Startup(order=7)}, {"lxc.start.order"}),
    ],
)
def test_a_change_shows_in_the_settings_that_it_is_about_and_in_no_other(
    change: dict[str, object], keys: set[str]
) -> None:
    before = settings_of(render(GUEST, FACTS)[0])
    after = settings_of(render(replace(GUEST, **change), FACTS)[0])  # type: ignore[arg-type]
    assert {key for key in before | after if before.get(key) != after.get(key)} == keys


def test_what_a_file_says_of_root_and_ports() -> None:
    text, _ = render(GUEST, FACTS)
    assert root_of(text) == Path("/pool/guests/one/rootfs")
    assert ports_of(text) == ("dsg00000001",)
    assert root_of("lxc.uts.name = x\n") is None
    assert ports_of("") == ()


def test_counters_of_several_ports_are_one_sum(tmp_path: Path) -> None:
    for port, (received, sent) in {"a": (10, 200), "b": (1, 2)}.items():
        (tmp_path / port / "statistics").mkdir(parents=True)
        (tmp_path / port / "statistics/rx_bytes").write_text(f"{received}\n")
        (tmp_path / port / "statistics/tx_bytes").write_text(f"{sent}\n")
    assert counters.network(["a", "b", "gone"], tmp_path) == (202, 11), "in for the guest is out for the host"
    assert counters.network([], tmp_path) == (None, None)


def test_the_smallest_share_of_a_cpu() -> None:
    assert cpu_quota_us(1) == 1000
    assert cpu_quota_us(2500) == 250_000


def test_control_groups_of_version_1() -> None:
    text = "3:memory:/lxc.payload.one/init.scope\n2:cpu,cpuacct:/lxc.payload.one\n1:name=systemd:/x\n0::/\n"
    group = cgroups.locate(text, Path("/cg"), unified=False)
    assert group.directories == {
        "memory": Path("/cg/memory/lxc.payload.one"),
        "cpu": Path("/cg/cpu/lxc.payload.one"),
        "cpuacct": Path("/cg/cpuacct/lxc.payload.one"),
    }


def test_control_groups_of_version_2() -> None:
    group = cgroups.locate("0::/lxc.payload.one-1/init.scope\n", Path("/cg"), unified=True)
    assert set(group.directories.values()) == {Path("/cg/lxc.payload.one-1")}


def test_limits_and_usage_of_version_2(tmp_path: Path) -> None:
    files = {
        "cpu.max": "max 100000",
        "memory.max": "max",
        "pids.max": "max",
        "cpu.stat": "usage_usec 2500000\nuser_usec 1\n",
        "memory.current": "4096\n",
        "memory.events": "low 0\noom 1\noom_kill 2\n",
        "pids.current": "3\n",
        "cgroup.freeze": "0\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    group = cgroups.GuestCgroup(dict.fromkeys(("cpu", "memory", "pids", "freezer"), tmp_path), unified=True)
    cgroups.apply(group, Limits(1500, 1 << 20, None))
    assert (tmp_path / "cpu.max").read_text() == "150000 100000"
    assert (tmp_path / "memory.max").read_text() == "1048576"
    assert (tmp_path / "pids.max").read_text() == "max"
    usage = cgroups.usage(group)
    assert (usage.cpu_seconds, usage.memory_bytes, usage.pids, usage.oom_kills) == (2.5, 4096, 3, 2)
    assert not cgroups.is_frozen(group)


class TestSubids:
    """The reservation of ids, on files of the test's own."""

    WANTED = IdRange(1_000_000, 65536 * 10)

    def subids(self, tmp_path: Path) -> Subids:
        return Subids(self.WANTED, tmp_path / "run/subids.json", (tmp_path / "subuid", tmp_path / "subgid"))

    def test_added_once_and_taken_away(self, tmp_path: Path) -> None:
        (tmp_path / "subuid").write_text("alice:100000:65536\n")
        for _ in range(2):
            self.subids(tmp_path).reserve()
        assert (tmp_path / "subuid").read_text() == "alice:100000:65536\nroot:1000000:655360\n"
        assert (tmp_path / "subgid").read_text() == "root:1000000:655360\n"
        for _ in range(2):
            self.subids(tmp_path).release()
        assert (tmp_path / "subuid").read_text() == "alice:100000:65536\n"
        assert (tmp_path / "subgid").read_text() == ""

    def test_what_was_there_before_stays(self, tmp_path: Path) -> None:
        for name in ("subuid", "subgid"):
            (tmp_path / name).write_text("root:0:4000000000\n")
        self.subids(tmp_path).reserve()
        self.subids(tmp_path).release()
        assert (tmp_path / "subuid").read_text() == "root:0:4000000000\n"

    def test_ids_of_another_user_are_not_taken(self, tmp_path: Path) -> None:
        (tmp_path / "subuid").write_text("bob:1065536:65536\n")
        with pytest.raises(UnsupportedError, match="bob"):
            self.subids(tmp_path).reserve()
        assert (tmp_path / "subuid").read_text() == "bob:1065536:65536\n"


def test_a_path_that_is_too_long_for_a_socket_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError):
        LxcEngine(Path("/" + "x" * 80), tmp_path, IdRange(1_000_000, 65536))
