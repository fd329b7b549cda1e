"""`make up`, `status`, `down` and `clean` of the control plane alone, as their user sees them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from dsecos_control_plane import footprint, testing
from dsecos_control_plane.lock import locked
from dsecos_control_plane.main import main
from dsecos_control_plane.settings import Settings
from dsecos_control_plane.testing import ControlPlane


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Settings in the environment, for a home that does not exist yet."""
    monkeypatch.delenv("KUBECONFIG", raising=False)
    scratch = testing.scratch_settings()
    scratch.home.rmdir()
    for name, value in scratch.environment().items():
        monkeypatch.setenv(name, value)
    yield scratch
    (scratch.cache / "locks" / f"{scratch.instance}.lock").unlink(missing_ok=True)


def own(settings: Settings) -> list[str]:
    """Return the lines of the footprint that name this instance."""
    signs = (str(settings.home), settings.instance, f":{settings.api_port}", f":{settings.etcd_port}")
    return [line for line in footprint.footprint(settings) if any(sign in line for sign in signs)]


def test_from_nothing_up_and_back_to_nothing(fresh: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert own(fresh) == []
    try:
        assert main(["up", "--only", "control-plane"]) == 0
        assert "started etcd, kube-apiserver, kube-controller-manager" in capsys.readouterr().out
        assert any(f":{fresh.api_port}" in line for line in own(fresh))

        assert main(["up", "--only", "control-plane"]) == 0
        assert "started" not in capsys.readouterr().out

        assert main(["status"]) == 1
        shown = capsys.readouterr().out
        assert shown.count("ready") == 3
        assert "operator" in shown

        assert main(["down"]) == 0
        assert [line for line in own(fresh) if not line.startswith("home ")] == []
        assert (fresh.home / "etcd").is_dir()
        assert main(["down"]) == 0
    finally:
        assert main(["clean"]) == 0
    assert own(fresh) == []
    assert main(["clean"]) == 0


def test_a_cluster_of_the_users_is_used_instead(
    fresh: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with ControlPlane() as theirs:
        monkeypatch.setenv("KUBECONFIG", str(theirs.kubeconfig))
        try:
            assert main(["up", "--only", "control-plane"]) == 0
            assert theirs.settings.api_server in capsys.readouterr().out
            assert not any(line.startswith(("process", "listen")) for line in own(fresh))
            assert not fresh.admin_kubeconfig.exists()
        finally:
            assert main(["clean"]) == 0
        theirs.kubectl("get", "namespaces")


def test_two_at_a_time_are_refused(fresh: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    with locked(fresh.cache / "locks" / f"{fresh.instance}.lock"):
        assert main(["up", "--only", "control-plane"]) == 1
    assert "another process" in capsys.readouterr().err
    assert not fresh.home.exists()


def test_a_folder_of_others_is_refused_in_one_line(
    fresh: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    fresh.home.mkdir()
    precious = fresh.home / "precious"
    precious.touch()
    try:
        for verb in (["up", "--only", "control-plane"], ["clean"]):
            assert main(verb) == 1
            assert str(fresh.home) in capsys.readouterr().err.replace("\n", "")
        assert precious.exists()
    finally:
        precious.unlink()
        fresh.home.rmdir()


def test_a_setting_that_makes_no_sense_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("DSECOS_HOME", str(tmp_path))
    monkeypatch.setenv("DSECOS_API_PORT", "70000")
    assert main(["up"]) == 1
    assert "api_port" in capsys.readouterr().err
