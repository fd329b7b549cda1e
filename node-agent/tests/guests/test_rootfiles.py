"""Writing into a fresh clone follows nothing out of it."""

import os
from pathlib import Path

import pytest
from dsecos_agent.guests.rootfiles import point_to_registry, use_resolver, write_in


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root/etc/docker").mkdir(parents=True)
    (tmp_path / "root/etc/hosts").write_text("127.0.0.1 localhost\n")
    daemon = '{"registry-mirrors": ["https://registry.dsecos.internal:5001"], "live-restore": true}'
    (tmp_path / "root/etc/docker/daemon.json").write_text(daemon)
    return tmp_path / "root"


def test_a_guest_finds_its_registry(root: Path) -> None:
    for gateway in ("10.20.0.1", "10.30.0.1", "10.30.0.1"):
        point_to_registry(root, gateway, 7001)
    assert (root / "etc/hosts").read_text() == ("127.0.0.1 localhost\n10.30.0.1 registry.dsecos.internal\n")
    assert '"https://registry.dsecos.internal:7001"' in (root / "etc/docker/daemon.json").read_text()
    assert "live-restore" in (root / "etc/docker/daemon.json").read_text()


def test_a_template_without_docker(root: Path) -> None:
    (root / "etc/docker/daemon.json").unlink()
    point_to_registry(root, "10.20.0.1", 5001)
    assert not (root / "etc/docker/daemon.json").exists()


def test_a_guest_asks_its_gateway_for_names_whatever_its_template_has(root: Path, tmp_path: Path) -> None:
    resolver, stub = root / "etc/resolv.conf", tmp_path / "stub-resolv.conf"
    stub.write_text("of the host")
    use_resolver(root, "nameserver 10.20.0.1\n")
    assert resolver.read_text() == "nameserver 10.20.0.1\n"
    use_resolver(root, "nameserver 10.30.0.1\n")
    assert resolver.read_text() == "nameserver 10.30.0.1\n"
    for target in (stub, Path("../run/systemd/resolve/stub-resolv.conf")):
        resolver.unlink()
        resolver.symlink_to(target)
        use_resolver(root, "nameserver 10.20.0.1\n")
        assert not resolver.is_symlink()
        assert resolver.read_text() == "nameserver 10.20.0.1\n"
        assert resolver.stat().st_mode & 0o777 == 0o644
    assert stub.read_text() == "of the host"


def test_a_template_whose_etc_leads_out_is_refused(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "resolv.conf").write_text("of the host")
    (root / "etc").rename(root / "aside")
    (root / "etc").symlink_to(outside)
    with pytest.raises(OSError, match="etc"):
        use_resolver(root, "nameserver 10.20.0.1\n")
    assert (outside / "resolv.conf").read_text() == "of the host"


def test_no_link_is_followed(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "hosts").write_text("of the host")
    (root / "link").symlink_to(outside)
    (root / "file").symlink_to(outside / "hosts")
    for path in ("link/hosts", "file"):
        with pytest.raises(OSError, match=path.rsplit("/", maxsplit=1)[0]):
            write_in(root, path, b"x")
    assert (outside / "hosts").read_text() == "of the host"


def test_a_pipe_does_not_hold_us_up(root: Path) -> None:
    os.mkfifo(root / "etc/pipe")
    with pytest.raises(OSError, match=r"pipe|device"):
        write_in(root, "etc/pipe", b"x")
