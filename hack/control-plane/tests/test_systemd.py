"""The units on a real systemd: that of a Debian 13 container that sees the instance's home and nothing else.

Its root is the guest template: a Debian with systemd that every machine with DsecOS can build.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from dsecos_api.names import GUEST_TEMPLATE
from dsecos_control_plane import images, lifecycle, processes, testing
from dsecos_control_plane.command import run, succeeds
from dsecos_control_plane.identity import Identity
from dsecos_control_plane.processes import Process
from dsecos_control_plane.readiness import wait
from dsecos_control_plane.settings import Settings
from dsecos_control_plane.systemd import Systemd, unit_name

CONFIG = """
lxc.uts.name = machine
lxc.rootfs.path = dir:{rootfs}
lxc.init.cmd = /sbin/init
lxc.signal.halt = SIGRTMIN+3
lxc.pty.max = 64
lxc.environment = container=lxc
# systemd 257 wants to be asked before it runs on a host with cgroup v1.
lxc.environment = SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1
lxc.mount.auto = proc:rw sys:rw cgroup:rw:force
lxc.mount.entry = tmpfs run tmpfs rw,nosuid,nodev,mode=755,create=dir 0 0
lxc.mount.entry = {home} {inside} none bind,create=dir 0 0
lxc.net.0.type = empty
"""


@dataclass(frozen=True)
class Machine:
    """A booted container with systemd, its folder on the host, and the settings of the instance in it."""

    settings: Settings
    folder: Path
    backend: Systemd

    def run(self, *argv: str | Path) -> str:
        """Run a command as root in the container."""
        return run([*attach(self.folder), *map(str, argv)], timeout=60)

    def pid(self, name: str) -> int:
        """Return a process's id as the container sees it, or 0 while it does not run."""
        return next((s.pid for s in self.backend.states() if s.name == name and s.running), 0)

    def ready(self) -> bool:
        """Tell whether the API server answers."""
        kubectl = [f"{self.settings.bin}/kubectl", f"--kubeconfig={self.settings.admin_kubeconfig}"]
        return succeeds([*attach(self.folder), *kubectl, "get", "--raw=/readyz"])


def attach(folder: Path) -> list[str]:
    return ["lxc-attach", "-P", str(folder), "-n", "machine", "--clear-env", "--"]


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    settings = testing.scratch_settings()
    folder = settings.home / "lxc"
    rootfs = folder / "machine" / "rootfs"
    try:
        lifecycle.prepare(settings)
        images.build(settings, settings.home / "images", lambda _: None)
        rootfs.mkdir(parents=True)
        unpack = ["tar", "--xattrs", "--xattrs-include=*", "--numeric-owner", "--zstd", "--extract"]
        run(
            [
                *unpack,
                "--directory",
                rootfs,
                "--file",
                settings.home / "images" / GUEST_TEMPLATE / "rootfs.tar.zst",
            ]
        )
        inside = str(settings.home).lstrip("/")
        text = CONFIG.format(rootfs=rootfs, home=settings.home, inside=inside)
        (folder / "machine" / "config").write_text(text)
        run(["lxc-start", "-P", folder, "-n", "machine"])
        backend = Systemd(settings, rootfs / "etc" / "systemd" / "system", attach(folder))
        found = Machine(settings, folder, backend)
        up = [*attach(folder), "systemctl", "is-system-running", "--wait"]
        wait(lambda: succeeds(up), "systemd to have booted", 30)
        found.run("ip", "link", "set", "lo", "up")
        yield found
    finally:
        succeeds(["lxc-stop", "-P", folder, "-n", "machine", "--kill"])
        testing.remove(settings)


def test_the_control_plane_runs_in_its_sandbox(machine: Machine) -> None:
    plane = processes.control_plane(machine.settings)
    for process in plane:
        assert machine.backend.apply([process]) == [process.name]
    wait(machine.ready, "the API server", 60)
    assert machine.backend.apply(plane) == []
    status = Path("/proc") / str(machine.pid("etcd")) / "status"
    fields = dict(line.split(":\t", 1) for line in machine.run("cat", status).splitlines() if ":\t" in line)
    assert fields["Uid"].split()[0] == str(plane[0].identity.uid if plane[0].identity else 0)
    assert (fields["CapEff"], fields["CapBnd"], fields["Seccomp"]) == ("0" * 16, "0" * 16, "2")


def test_what_is_killed_comes_back(machine: Machine) -> None:
    former = machine.pid("etcd")
    machine.run("kill", "-KILL", str(former))
    wait(lambda: machine.pid("etcd") not in (0, former), "etcd to be started again", 20)
    wait(machine.ready, "the API server", 60)


def test_what_keeps_failing_is_tried_for_ever(machine: Machine) -> None:
    counter = machine.settings.run / "starts"
    counter.mkdir(mode=0o777)
    script = f"mktemp {counter}/XXXXXX; exit 1"
    process = Process(name="failing", argv=("/bin/sh", "-c", script), writable=(counter,))
    machine.backend.apply([process])
    wait(lambda: sum(1 for _ in counter.iterdir()) > 6, "more starts than systemd allows by default", 40)
    machine.backend.remove(["failing"])


def test_a_service_writes_where_it_may_and_nowhere_else(machine: Machine) -> None:
    user = Identity(machine.settings.guest_id_base - 1, machine.settings.guest_id_base - 1)
    folders = [machine.settings.run / name for name in ("may", "may-not")]
    for folder in folders:
        folder.mkdir()
        folder.chmod(0o777)
    script = f"for d in {folders[0]} {folders[1]} /etc /usr /root; do touch $d/written; done; exec sleep 1000"
    argv = ("/bin/sh", "-c", script)
    machine.backend.apply([Process(name="writer", argv=argv, identity=user, writable=(folders[0],))])
    wait((folders[0] / "written").exists, "the service to write", 10)
    assert not (folders[1] / "written").exists()
    machine.backend.remove(["writer"])


def test_the_operators_sandbox_still_lets_bubblewrap_make_one(machine: Machine) -> None:
    bwrap = machine.folder / "machine" / "rootfs" / "usr" / "bin" / "bwrap"
    shutil.copy2("/usr/bin/bwrap", bwrap)
    box = ("--unshare-all", "--unshare-user", "--uid", "65534", "--gid", "65534", "--cap-drop", "ALL")
    files = ("--tmpfs", "/tmp", "--ro-bind", "/usr", "/usr", "--symlink", "usr/lib", "/lib", "--dev", "/dev")
    lib64 = ("--symlink", "usr/lib64", "/lib64")
    argv = ("/usr/bin/bwrap", *box, *files, *lib64, "--", "/usr/bin/sleep", "4321")
    user = Identity(65534, 65534)
    machine.backend.apply([Process(name="boxes", argv=argv, identity=user, sandboxes=True)])
    wait(
        lambda: succeeds([*attach(machine.folder), "pgrep", "-f", "^/usr/bin/sleep 4321"]), "the sandbox", 10
    )
    machine.backend.remove(["boxes"])


def test_only_what_changed_is_restarted(machine: Machine) -> None:
    one, two = (Process(name=name, argv=("/bin/sleep", "1000")) for name in ("one", "two"))
    machine.backend.apply([one, two])
    before = machine.pid("one"), machine.pid("two")
    changed = Process(name="one", argv=one.argv, revision="new")
    assert machine.backend.apply([changed, two]) == ["one"]
    assert machine.pid("one") not in (0, before[0])
    assert machine.pid("two") == before[1]
    machine.backend.remove(["one", "two"])


def test_children_of_the_agent_outlive_it(machine: Machine) -> None:
    script = f"setsid sleep 1234 & echo $! > {machine.settings.run}/child; wait"
    argv = ("/bin/sh", "-c", script)
    machine.backend.apply([Process(name="parent", argv=argv, children_survive=True, root=True)])
    child = machine.settings.run / "child"
    wait(lambda: child.exists() and child.read_text().strip() != "", "the child", 10)
    machine.backend.remove(["parent"])
    assert "sleep\x001234" in machine.run("cat", f"/proc/{child.read_text().strip()}/cmdline")
    machine.run("kill", child.read_text().strip())


def test_odd_words_arrive_as_they_are(machine: Machine) -> None:
    words = ("50%", "two words", "it's", '"quoted"', "$HOME ${HOME}", "back\\slash", "%n", ";")
    process = Process(name="odd", argv=("/bin/sh", "-c", "sleep 1000 # $0", *words))
    machine.backend.apply([process])
    line = machine.run("cat", f"/proc/{machine.pid('odd')}/cmdline").split("\x00")
    assert tuple(line[3:-1]) == words
    machine.backend.remove(["odd"])


def test_closing_leaves_no_unit(machine: Machine) -> None:
    assert machine.backend.states()
    machine.backend.close()
    machine.backend.close()
    assert machine.backend.states() == []
    assert machine.settings.instance not in machine.run("systemctl", "list-units", "--all", "--plain")
    units = machine.folder / "machine" / "rootfs" / "etc" / "systemd" / "system"
    assert not list(units.rglob(unit_name(machine.settings, "*")))
