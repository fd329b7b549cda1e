"""Running the guest template once, as an unprivileged LXC container without a network."""

import hashlib
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dsecos_images.process import ToolError, run

ID_BASE = 0x70000000
"""First host id of the build guest: above what useradd, systemd-nspawn and DsecOS's own guests take."""

SEEN = "/mnt"
"""Where LXC sees the guest's folders, in a mount namespace of its own.

The guest's root is nobody on the host and could not pass a cache below a home directory of mode 0700.
"""

CONFIG = """\
lxc.include = /usr/share/lxc/config/common.conf
lxc.include = /usr/share/lxc/config/userns.conf
lxc.uts.name = {name}
lxc.rootfs.path = dir:{seen}/rootfs
lxc.rootfs.options = idmap=container
lxc.net.0.type = empty
lxc.idmap = u 0 {base} 65536
lxc.idmap = g 0 {base} 65536
lxc.apparmor.profile = unconfined
lxc.cap.drop =
lxc.mount.auto =
lxc.mount.auto = proc:rw sys:rw cgroup:rw:force
lxc.mount.entry = tmpfs run tmpfs rw,nosuid,nodev,mode=755,create=dir 0 0
lxc.mount.entry = {seen}/run run/dsecos none bind,create=dir,idmap=container 0 0
lxc.mount.entry = {seen}/docker var/lib/docker none bind,create=dir,idmap=container 0 0
lxc.log.file = {seen}/lxc.log
lxc.log.level = WARN
"""
# `/run` is mounted by LXC already: systemd would mount it over the socket's folder otherwise.
# `unconfined` is about AppArmor alone, which not every build machine has; the guest is in a user namespace.

LXC_ENV = {"PATH": "/usr/sbin:/sbin"}
"""Without newuidmap(1) in sight LXC writes id maps itself, and needs no line in the host's /etc/subuid."""


class GuestError(Exception):
    """The guest's Docker Engine did not answer."""


class BuildGuest:
    """A guest below `work`, with `rootfs`, `docker` (its /var/lib/docker) and `run` (its /run/dsecos) there.

    Ids on disk are those that the guest sees (idmapped mounts).
    """

    def __init__(self, work: Path) -> None:
        self.work = work
        self.rootfs, self.docker, self.run = work / "rootfs", work / "docker", work / "run"
        self.name = f"dsecos-images-{hashlib.sha256(str(work).encode()).hexdigest()[:8]}"
        self.socket = self.run / "docker.sock"

    @contextmanager
    def started(self) -> Iterator[None]:
        """The guest, running; stopped in any case at the end. Raises ToolError."""
        container = self.work / "lxc" / self.name
        for folder in (self.docker, self.run, container):
            folder.mkdir(parents=True, exist_ok=True)
        (container / "config").write_text(CONFIG.format(name=self.name, seen=SEEN, base=ID_BASE))
        self._lxc("start")
        try:
            yield
        finally:
            self.stop()

    def stop(self) -> None:
        """Stop the guest if it runs: at the end of a build, or what a killed one left."""
        if not (self.work / "lxc" / self.name).is_dir():
            return
        if self._lxc("info", "--state", "--no-humanize").strip() != "STOPPED":
            try:
                self._lxc("stop", "--timeout", "20")
            except ToolError:
                self._lxc("stop", "--kill")

    def attach(self, *command: str, stdin: str | None = None) -> str:
        """Run a command in the guest and return its output; raises ToolError."""
        return self._lxc("attach", "--clear-env", "--", *command, stdin=stdin)

    def wait_for_docker(self, timeout: float = 60) -> float:
        """Wait until the engine answers, and return the seconds it took; raises GuestError."""
        begin = time.monotonic()
        while time.monotonic() - begin < timeout:
            if self._docker_answers():
                return time.monotonic() - begin
            time.sleep(0.02)
        raise GuestError(f"no Docker Engine within {timeout:.0f} s; see {self.work / 'lxc.log'}")

    def _docker_answers(self) -> bool:
        """Docker Engine API, `GET /_ping`."""
        with socket.socket(socket.AF_UNIX) as connection, suppress(OSError):
            connection.settimeout(5)
            connection.connect(str(self.socket))
            connection.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return b" 200 " in connection.recv(64)
        return False

    def _lxc(self, verb: str, *arguments: str, stdin: str | None = None) -> str:
        """`lxc-<verb>`, where the work folder is at SEEN."""
        bind = f'/usr/bin/mount --bind "$0" {SEEN} && exec "$@"'
        tool = (f"/usr/bin/lxc-{verb}", "--lxcpath", f"{SEEN}/lxc", "--name", self.name, *arguments)
        alone = ("/usr/bin/unshare", "--mount", "/bin/sh", "-c", bind)
        return run([*alone, self.work, *tool], env=LXC_ENV, stdin=stdin)
