"""What an instance leaves on the host is found by name and removed; what others have stays."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from dsecos_control_plane import configs, host
from dsecos_control_plane.command import run, succeeds
from dsecos_control_plane.settings import Settings


@pytest.fixture
def foreign_link(settings: Settings) -> Iterator[str]:
    """A bridge that has our prefix, but not the shape of our names."""
    name = f"{settings.link_prefix}-foreign"
    run(["ip", "link", "add", name, "type", "bridge"])
    yield name
    run(["ip", "link", "delete", name])


@pytest.fixture
def foreign_table(settings: Settings) -> Iterator[str]:
    """A table whose name begins like ours."""
    name = f"{settings.instance}_foreign"
    run(["nft", "add", "table", "inet", name])
    yield f"inet {name}"
    run(["nft", "delete", "table", "inet", name])


def test_links_go_and_foreign_ones_stay(settings: Settings, foreign_link: str) -> None:
    bridge, port = f"{settings.link_prefix}z0123abcd", f"{settings.link_prefix}g0123abcd"
    run(["ip", "link", "add", bridge, "type", "bridge"])
    run(["ip", "link", "add", port, "type", "veth", "peer", "name", f"{settings.link_prefix}p0123abcd"])
    assert bridge in host.remove_links(settings)
    assert host.links(settings) == []
    assert (Path("/sys/class/net") / foreign_link).exists()


def test_tables_go_and_foreign_ones_stay(settings: Settings, foreign_table: str) -> None:
    own = [
        ("inet", settings.instance),
        ("bridge", settings.instance),
        ("inet", f"{settings.instance}_host"),
        ("inet", configs.firewall_table(settings)),
    ]
    for family, name in own:
        run(["nft", "add", "table", family, name])
    assert len(host.remove_tables(settings)) == 4
    assert host.tables(settings) == []
    assert foreign_table.split()[1] in run(["nft", "list", "tables"])


def test_name_servers_end_and_those_of_others_go_on(settings: Settings) -> None:
    bridge = f"{settings.link_prefix}z0123abcd"
    folder, foreign = settings.run / "names", settings.home.with_name(f"{settings.home.name}-foreign")
    folder.mkdir(parents=True)
    foreign.mkdir()
    # No port, so that nobody else's is in the way; otherwise as the agent begins one.
    common = ("--conf-file=", "--port=0", f"--interface={bridge}", "--no-hosts", "--no-resolv")
    for place in (folder, foreign):
        run(["dnsmasq", f"--addn-hosts={place}/{bridge}.hosts", f"--pid-file={place}/pid", *common])
    try:
        assert host.end_name_servers(settings) == [bridge]
        assert host.name_servers(settings) == []
        assert not folder.exists()
        assert Path("/proc", (foreign / "pid").read_text().strip()).exists()
    finally:
        run(["kill", (foreign / "pid").read_text().strip()])
        shutil.rmtree(foreign)


def test_mounts_and_loop_devices_go_the_innermost_first(settings: Settings) -> None:
    image, pool = settings.home / "pools" / "default.img", settings.home / "pools" / "default"
    pool.mkdir(parents=True)
    with image.open("wb") as file:
        file.truncate(200 << 20)
    run(["mkfs.btrfs", "--quiet", image])
    run(["mount", "-o", "loop", image, pool])
    inner = pool / "inner"
    inner.mkdir()
    run(["mount", "--bind", "/usr/share", inner])
    run(["mount", "--bind", "/usr/share", inner])
    device = run(["losetup", "--find", "--show", image]).strip()
    removed = host.release(settings)
    assert removed["mounts"][0] == str(inner)
    assert removed["loop devices"] == [device]
    assert host.loop_devices(settings) == []
    assert Path("/usr/share").exists()


def test_nothing_to_release_is_fine(settings: Settings) -> None:
    assert not any(host.release(settings).values())
    assert not any(host.release(settings).values())


def test_a_running_guest_is_stopped(settings: Settings) -> None:
    """A container whose init ignores the request to shut down, so that it has to be killed."""
    lxc = settings.home / "lxc"
    (lxc / "g1" / "rootfs").mkdir(parents=True)
    config = lxc / "g1" / "config"
    config.write_text(
        f"lxc.uts.name = g1\nlxc.rootfs.path = dir:{lxc}/g1/rootfs\nlxc.net.0.type = empty\n"
        "lxc.signal.halt = SIGCONT\n"
        + "".join(
            f"lxc.mount.entry = /{d} {d} none bind,ro,create=dir 0 0\n"
            for d in ("usr", "bin", "lib", "lib64")
        )
    )
    run(["lxc-start", "-P", lxc, "-n", "g1", "--", "/bin/sleep", "infinity"], timeout=30)
    assert host.guests(settings) == ["g1"]
    assert host.stop_guests(settings, grace=1) == ["g1"]
    assert host.guests(settings) == []
    assert config.exists()
    assert not succeeds(["pgrep", "-f", f"lxc monitor. {lxc} g1"])
