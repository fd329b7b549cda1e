"""The programs are what go.mod pins, and each instance gets them without a second copy."""

import json
import re
from pathlib import Path

import pytest
from dsecos_control_plane import builds
from dsecos_control_plane.command import run
from dsecos_control_plane.errors import ToolchainError
from dsecos_control_plane.settings import Settings

GO_MOD = (builds.MODULE / "go.mod").read_text()


def test_the_version_is_that_of_go_mod() -> None:
    assert builds.kubernetes_version("require (\n\tk8s.io/kubernetes v1.36.3\n)") == "v1.36.3"
    with pytest.raises(ToolchainError):
        builds.kubernetes_version("module example\n")


def test_the_version_is_linked_in() -> None:
    flags = builds.linker_flags("v1.36.3")
    assert "-X k8s.io/component-base/version.gitVersion=v1.36.3" in flags
    assert "-X k8s.io/component-base/version.gitMinor=36" in flags


def test_all_staging_modules_are_of_one_release() -> None:
    version = builds.kubernetes_version(GO_MOD)
    staging = re.findall(r"^\s+(k8s\.io/\S+) => (\S+) (v\S+)$", GO_MOD, re.MULTILINE)
    assert len(staging) > 25
    assert {(module, release) for module, _, release in staging} == {
        (target, version.replace("v1.", "v0.", 1)) for _, target, _ in staging
    }


def test_the_key_is_that_of_the_content() -> None:
    assert builds.build_key() == builds.build_key()
    assert re.fullmatch(r"[0-9a-f]{16}", builds.build_key())


def test_every_program_says_its_version(settings: Settings) -> None:
    builds.install(builds.build(settings.cache), settings.bin)
    version = builds.kubernetes_version(GO_MOD)
    for name in ("kube-apiserver", "kube-controller-manager"):
        assert run([settings.bin / name, "--version"]).strip() == f"Kubernetes {version}"
    client = json.loads(run([settings.bin / "kubectl", "version", "--client", "--output=json"]))
    assert client["clientVersion"]["gitVersion"] == version
    assert "3.6" in run([settings.bin / "etcd", "--version"])


def test_installing_links_and_repairs(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "etcd").write_text("program")
    builds.install(tmp_path, settings.bin, ["etcd"])
    assert (settings.bin / "etcd").samefile(tmp_path / "etcd")
    (settings.bin / "etcd").unlink()
    (settings.bin / "etcd").write_text("half")
    builds.install(tmp_path, settings.bin, ["etcd"])
    assert (settings.bin / "etcd").read_text() == "program"
