"""The inside of VMs on a simulated Proxmox VE: commands run here, each VM with an /etc of its own, and with a
docker that is a double.

    inside = Machines(folder, simulator.world)
    inside.add_template()
    inside.tell(vmid, "web", health="unhealthy")

Real are the shell, the scripts of the agent and what they write below /etc; `docker_double.py` is the docker.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from dsecos_proxmox_simulator import Guest, World

IMAGE = "debian-13-docker"
TEMPLATE = 9000
STORAGE = "local-lvm"

DOCKER = f"""#!/bin/sh
exec {sys.executable} -IS {Path(__file__).with_name("docker_double.py")} "$@"
"""


class Machines:
    """All VMs of a world; each has its disk below `folder`, which begins empty and goes with it."""

    def __init__(self, folder: Path, world: World) -> None:
        """Commands of the guest agent run here from now on."""
        self._folder = folder
        self._world = world
        self._disks: dict[int, tuple[Guest, Path]] = {}
        self._programs = folder / "bin"
        self._programs.mkdir(parents=True)
        for name, text in {"docker": DOCKER, "pkill": "#!/bin/sh\n"}.items():
            (self._programs / name).write_text(text)
            (self._programs / name).chmod(0o755)
        world.run_in_guest = self._run

    def add_template(self) -> None:
        """What VMs are cloned from, as the documentation tells to make it."""
        template = self._world.add_guest(
            TEMPLATE,
            kind="qemu",
            storage=STORAGE,
            disk="3G",
            name=f"dsecos-{IMAGE}",
            tags="dsecos-template",
            net0="virtio=BC:24:11:00:00:01,bridge=vmbr0",
        )
        template.config["template"] = "1"

    def remove_template(self) -> None:
        """Somebody destroys it."""
        self._world.destroy_guest(TEMPLATE)

    def etc(self, vmid: int) -> Path:
        """The VM's /etc."""
        return self._disk(self._guest(vmid)) / "etc"

    def ups(self, vmid: int) -> int:
        """How often its compose document was brought up."""
        kept = self._disk(self._guest(vmid)) / "ups"
        return len(kept.read_text().splitlines()) if kept.exists() else 0

    def tell(self, vmid: int, service: str, **changes: str | int) -> None:
        """Something happens to a container: `State`, `health`, `code`."""
        kept = self._disk(self._guest(vmid)) / "containers.json"
        containers = json.loads(kept.read_text())
        containers[service] |= changes
        fresh = kept.with_suffix(".new")
        fresh.write_text(json.dumps(containers))
        fresh.replace(kept)

    def kill_docker(self, vmid: int, *, dead: bool = True) -> None:
        """Its dockerd does not answer, or answers again."""
        mark = self._disk(self._guest(vmid)) / "dead"
        mark.touch() if dead else mark.unlink(missing_ok=True)

    def answer(self, vmid: int, *, answers: bool) -> None:
        """Whether its guest agent does."""
        self._guest(vmid).agent_running = answers

    def _guest(self, vmid: int) -> Guest:
        guest = self._world.guest(vmid)
        assert guest is not None
        return guest

    def _disk(self, guest: Guest) -> Path:
        known, disk = self._disks.get(guest.vmid, (None, self._folder))
        if known is not guest:
            disk = Path(tempfile.mkdtemp(prefix=f"{guest.vmid}-", dir=self._folder))
            (disk / "etc" / "docker").mkdir(parents=True)
            (disk / "etc" / "hosts").write_text("127.0.0.1 localhost\n")
            self._disks[guest.vmid] = (guest, disk)
        return disk

    def _run(self, guest: Guest, command: list[str], given: str) -> tuple[int, str, str]:
        disk = self._disk(guest)
        env, clean, path, *rest = command
        assert (env, clean) == ("/usr/bin/env", "-i")
        path = path.replace("PATH=", f"PATH={self._programs}:")
        enter = 'mount --bind "$0" /etc && exec "$@"'
        words = [env, clean, path, f"DSECOS_TEST_STATE={disk}", *rest]
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", enter, str(disk / "etc"), *words],
            input=given,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=dict(os.environ),
        )
        return done.returncode, done.stdout, done.stderr
