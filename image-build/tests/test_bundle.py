"""What a build delivers: a manifest that describes its files, exchanged as a whole."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from dsecos_images import bundle


def finished(folder: Path, content: str) -> bundle.Manifest:
    """A template as the cache keeps it, with one word in its files."""
    folder.mkdir(parents=True)
    for name in ("rootfs.tar.zst", "docker.tar.zst"):
        (folder / name).write_text(content + name)
    files = {name: bundle.describe(folder / name) for name in ("rootfs.tar.zst", "docker.tar.zst")}
    manifest = bundle.Manifest(
        name="debian-13-docker",
        digest=bundle.digest_of(files),
        created=datetime(2026, 1, 1, tzinfo=UTC),
        architecture="amd64",
        suite="trixie",
        docker_version="26.1.5",
        compose_version="2.26.1",
        images=(bundle.Image(reference="docker.io/library/node:20", digest="sha256:1", id="sha256:2"),),
        files=files,
        packages={"docker.io": "26.1.5"},
    )
    bundle.write(folder, manifest)
    return manifest


@pytest.fixture
def compose(tmp_path: Path) -> Path:
    path = tmp_path / "docker-compose"
    path.write_text("program")
    path.chmod(0o755)
    return path


def test_a_manifest_reads_as_it_was_written(tmp_path: Path) -> None:
    manifest = finished(tmp_path / "entry", "a")
    assert bundle.read(tmp_path / "entry") == manifest
    assert '"dockerVersion": "26.1.5"' in (tmp_path / "entry" / "manifest.json").read_text()


def test_the_digest_is_of_the_files(tmp_path: Path) -> None:
    one, same, other = (
        finished(tmp_path / name, text) for name, text in [("1", "a"), ("2", "a"), ("3", "b")]
    )
    assert one.digest == same.digest
    assert one.digest != other.digest
    assert one.digest.startswith("sha256:")


def test_publishing_lays_out_template_and_compose(tmp_path: Path, compose: Path) -> None:
    manifest = finished(tmp_path / "entry", "a")
    assert bundle.publish(tmp_path / "entry", manifest, compose, tmp_path / "out")

    folder = tmp_path / "out" / "debian-13-docker"
    assert bundle.read(folder) == manifest
    assert {name: bundle.describe(folder / name) for name in manifest.files} == manifest.files
    assert (tmp_path / "out" / "bin" / "docker-compose").stat().st_mode & 0o111


def test_publishing_again_changes_nothing(tmp_path: Path, compose: Path) -> None:
    manifest = finished(tmp_path / "entry", "a")
    bundle.publish(tmp_path / "entry", manifest, compose, tmp_path / "out")
    assert not bundle.publish(tmp_path / "entry", manifest, compose, tmp_path / "out")


def test_a_reader_that_resolved_the_folder_keeps_one_build_until_the_next_is_complete(
    tmp_path: Path, compose: Path
) -> None:
    bundle.publish(tmp_path / "entry", finished(tmp_path / "entry", "a"), compose, tmp_path / "out")
    newer = finished(tmp_path / "newer", "b")
    link = tmp_path / "out" / "debian-13-docker"
    old = link.resolve()
    with (old / "rootfs.tar.zst").open() as reading:
        bundle.publish(tmp_path / "newer", newer, compose, tmp_path / "out")
        assert reading.read() == "arootfs.tar.zst"
    assert bundle.read(link) == newer
    assert not old.exists()


def test_what_a_killed_publishing_left_is_in_nobodys_way(tmp_path: Path, compose: Path) -> None:
    manifest = finished(tmp_path / "entry", "a")
    short = manifest.digest.removeprefix("sha256:")[:16]
    half = tmp_path / "out" / f".debian-13-docker.{short}.new"
    half.mkdir(parents=True)
    (half / "rootfs.tar.zst").write_text("half")
    bundle.publish(tmp_path / "entry", manifest, compose, tmp_path / "out")
    assert bundle.read(tmp_path / "out" / "debian-13-docker") == manifest
    assert not half.exists()
