"""Guest templates as builds deliver them."""

import hashlib
import json
from pathlib import Path

from dsecos_agent.node.images import read_images


def build(folder: Path, name: str, *files: str, digest: str = "") -> None:
    target = folder / f".{name}.abc"
    target.mkdir(parents=True)
    digests = {each: hashlib.sha256(each.encode()).hexdigest() for each in files}
    manifest = {
        "name": name,
        "digest": digest
        or f"sha256:{hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()}",
        "files": {each: {"sha256": digests[each], "size": 1} for each in files},
    }
    (target / "manifest.json").write_text(json.dumps(manifest))
    (folder / name).symlink_to(target.name)


def test_a_build_is_found_once_and_resolved(tmp_path: Path) -> None:
    build(tmp_path, "debian-13-docker", "rootfs.tar.zst", "docker.tar.zst")
    (image,) = read_images(tmp_path)
    assert image.name == "debian-13-docker"
    assert len(image.template.digest) == 64
    assert image.template.rootfs.path == tmp_path / ".debian-13-docker.abc/rootfs.tar.zst"
    assert image.template.rootfs.sha256 == hashlib.sha256(b"rootfs.tar.zst").hexdigest()
    assert image.template.docker is not None
    assert image.template.docker.path == tmp_path / ".debian-13-docker.abc/docker.tar.zst"


def test_without_a_docker_directory(tmp_path: Path) -> None:
    build(tmp_path, "plain", "rootfs.tar.zst")
    assert read_images(tmp_path)[0].template.docker is None


def test_what_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    build(tmp_path, "empty")
    build(tmp_path, "escape", "rootfs.tar/../../etc/passwd")
    build(tmp_path, "renamed", "rootfs.tar.zst", digest=f"sha256:{64 * 'a'}")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/manifest.json").write_text("{")
    (tmp_path / "bin").mkdir()
    assert read_images(tmp_path) == []
