"""What an instance may have left on the host, and its removal: guests, cgroups, name servers, links, nftables
tables, mounts, loop devices.

Everything is found on the host by this instance's names, never remembered, so it works after a crash at any
point and may be repeated. Data inside `DSECOS_HOME` stays.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psutil

from dsecos_control_plane import configs, home
from dsecos_control_plane.command import run, succeeds
from dsecos_control_plane.errors import CommandError
from dsecos_control_plane.readiness import wait
from dsecos_control_plane.settings import Settings

STOP_SECONDS = 20
"""How long a guest may take to shut down before it is killed."""

CGROUPS = Path("/sys/fs/cgroup")

NAME_SERVER_SECONDS = 5
"""How long a name server may take to end before it is killed."""

UNMOUNT_SECONDS = 15
"""How long a mount may be busy, by what is just ending."""


def guests(settings: Settings) -> list[str]:
    """Return the names of this instance's containers that run."""
    lxc = settings.home / "lxc"
    if not lxc.is_dir():
        return []
    try:
        return sorted(run(["lxc-ls", "-P", lxc, "--running", "-1"]).split())
    except CommandError:
        return []


def stop_guests(settings: Settings, grace: int = STOP_SECONDS) -> list[str]:
    """Shut down every guest, several at once, kill those that take longer than `grace` seconds, and return
    all.
    """
    lxc = settings.home / "lxc"
    found = guests(settings)

    def stop(name: str) -> None:
        if not succeeds(["lxc-stop", "-P", lxc, "-n", name, "-t", str(grace)]):
            run(["lxc-stop", "-P", lxc, "-n", name, "--kill"])

    with ThreadPoolExecutor(max_workers=8) as pool:
        list(pool.map(stop, found))
    return [*found, *_kill_unreachable_guests(lxc)]


def give_back(settings: Settings) -> list[str]:
    """Have the agent's code release the host's own containers that guests have taken over; their names.

    Raises:
        CommandError: one could not be released; it names the container and what to do.
    """
    if not any((settings.home / "lxc").glob("*/adopted")):
        return []
    python = settings.home / "venv" / "agent" / "bin" / "python"
    return run([python, "-m", "dsecos_agent.release"], env=settings.environment()).split()


def _kill_unreachable_guests(lxc: Path) -> list[str]:
    """Kill the init of guests whose monitor runs but cannot be asked, and return their names.

    liblxc talks to monitors over abstract sockets (unix(7)), which each network namespace has for itself: a
    guest that was started in another one is `STOPPED` to all its tools here.
    """
    title = f"[lxc monitor] {lxc} "
    killed = []
    for monitor in psutil.process_iter(["cmdline"]):
        line = " ".join(monitor.info["cmdline"] or [])
        if line.startswith(title):
            for init in monitor.children():
                init.kill()
            monitor.wait(timeout=STOP_SECONDS)
            killed.append(line.removeprefix(title))
    return killed


def tables(settings: Settings) -> list[str]:
    """Return this instance's nftables tables as `family name`."""
    ours = {settings.instance, f"{settings.instance}_host", configs.firewall_table(settings)}
    try:
        listed = json.loads(run(["nft", "--json", "list", "tables"]))["nftables"]
    except CommandError:
        return []
    found = [entry["table"] for entry in listed if "table" in entry]
    return sorted(f"{table['family']} {table['name']}" for table in found if table["name"] in ours)


def remove_tables(settings: Settings) -> list[str]:
    """Delete this instance's tables in one transaction and return them."""
    found = tables(settings)
    if found:
        run(["nft", "-f", "-"], stdin="".join(f"delete table {table}\n" for table in found))
    return found


def links(settings: Settings) -> list[str]:
    """Return this instance's network links: the prefix, a letter, eight hexadecimal digits."""
    ours = re.compile(rf"{re.escape(settings.link_prefix)}[a-z][0-9a-f]{{8}}")
    return sorted(path.name for path in Path("/sys/class/net").iterdir() if ours.fullmatch(path.name))


def remove_links(settings: Settings) -> list[str]:
    """Delete this instance's links and return them; one that went by itself meanwhile is fine."""
    found = links(settings)
    for link in found:
        if not succeeds(["ip", "link", "delete", link]) and link in links(settings):
            run(["ip", "link", "delete", link])
    return found


def name_servers(settings: Settings) -> list[psutil.Process]:
    """Return this instance's dnsmasq processes: those that read their names in its home."""
    ours = f"--addn-hosts={settings.home}/"
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(word.startswith(ours) for word in process.info["cmdline"] or [])
    ]


def end_name_servers(settings: Settings) -> list[str]:
    """End them, remove their files, and return the bridges that they served."""
    found = name_servers(settings)
    for end in (psutil.Process.terminate, psutil.Process.kill):
        for process in found:
            with suppress(psutil.NoSuchProcess):
                end(process)
        _, alive = psutil.wait_procs(found, NAME_SERVER_SECONDS)
        if not alive:
            break
    shutil.rmtree(settings.run / "names", ignore_errors=True)
    words = (word for process in found for word in process.info["cmdline"])
    option = "--interface="
    return sorted({word.removeprefix(option) for word in words if word.startswith(option)})


def unmount(settings: Settings) -> list[str]:
    """Unmount all that is mounted inside the home, the innermost first, and return it.

    Raises:
        NotReadyError: something stays busy.
    """
    found: list[str] = []
    while mounts := home.mounts_inside(settings.home):
        for mount in mounts:
            found.append(str(mount))
            wait(_unmounting(mount), f"{mount} to be free", UNMOUNT_SECONDS)
    return found


def loop_devices(settings: Settings) -> list[str]:
    """Return the loop devices whose file lies in the home."""
    try:
        listed = run(["losetup", "--list", "--noheadings", "--raw", "--output=NAME,BACK-FILE"])
    except CommandError:
        return []
    pairs = [line.split(None, 1) for line in listed.splitlines()]
    return [pair[0] for pair in pairs if len(pair) == 2 and Path(pair[1]).is_relative_to(settings.home)]


def detach_loop_devices(settings: Settings) -> list[str]:
    """Detach loop devices whose file lies in the home and return them."""
    found = loop_devices(settings)
    for device in found:
        run(["losetup", "--detach", device])
    return found


def cgroups(settings: Settings) -> list[Path]:
    """Return the cgroups that liblxc left behind of this instance's containers, the innermost first.

    liblxc 5 on cgroup v1 leaves the monitor's if it was killed, and sometimes if it was not.
    """
    names = [path.name for path in (settings.home / "lxc").glob("*/")]
    tops = [
        path
        for name in names
        for root in (CGROUPS, *CGROUPS.glob("*/"))
        for path in (root / f"lxc.monitor.{name}", root / f"lxc.payload.{name}")
        if path.is_dir()
    ]
    inside = [path for top in tops for path in (top, *top.glob("**/"))]
    return sorted(set(inside), key=lambda path: len(path.parts), reverse=True)


def remove_cgroups(settings: Settings) -> list[str]:
    """Remove those and return their names. Only empty ones can be removed (cgroups(7))."""
    found = cgroups(settings)
    for path in found:
        wait(_removing(path), f"cgroup {path} to be empty", UNMOUNT_SECONDS)
    return sorted({path.name for path in found})


def release(settings: Settings) -> dict[str, list[str]]:
    """Remove all of this from the host, in the order in which it holds on to each other, and tell what it
    was.
    """
    return {
        "guests": stop_guests(settings),
        "cgroups": remove_cgroups(settings),
        "name servers": end_name_servers(settings),
        "links": remove_links(settings),
        "tables": remove_tables(settings),
        "mounts": unmount(settings),
        "loop devices": detach_loop_devices(settings),
    }


def _unmounting(mount: Path) -> Callable[[], bool]:
    return lambda: subprocess.run(["umount", str(mount)], capture_output=True, check=False).returncode == 0


def _removing(cgroup: Path) -> Callable[[], bool]:
    def remove() -> bool:
        try:
            cgroup.rmdir()
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True

    return remove
