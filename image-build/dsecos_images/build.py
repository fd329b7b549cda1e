"""The build: root of the guest, images, a Docker directory that holds them; each is cached by its key.

guest/<key>/   rootfs.tar.zst, docker-compose, versions.json
image/<key>/   an image as a `dir:` folder, versions.json beside it
template/<key>/ what `bundle` describes
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from dsecos_images import bundle, guest, oci, recipe
from dsecos_images.bootstrap import architecture, bootstrap
from dsecos_images.cache import Cache
from dsecos_images.process import run
from dsecos_images.progress import say, step
from dsecos_images.recipe import Recipe

TEMPLATE = "debian-13-docker"
IMAGES = ("node-20", "postgres-17")

PACK = (
    "tar",
    "--xattrs",
    "--xattrs-include=*",
    "--numeric-owner",
    "--sort=name",
    "--use-compress-program=zstd -T0 -3",
)
UNPACK = ("tar", "--xattrs", "--xattrs-include=*", "--numeric-owner", "--preserve-permissions", "--zstd")

SEED = ("image", "overlay2")
"""What of /var/lib/docker is kept: the images. Engine id, networks and volumes are each guest's own."""


@dataclass(frozen=True)
class Plan:
    """Recipes and the keys that their results have."""

    guest: Recipe
    images: tuple[Recipe, ...]
    architecture: str

    @property
    def guest_key(self) -> str:
        """Key of the guest's root."""
        return recipe.key(self.guest, self.architecture)

    def image_key(self, image: Recipe) -> str:
        """Key of one image."""
        return recipe.key(image, self.architecture)

    @property
    def template_key(self) -> str:
        """Key of the whole: it changes with each of its parts."""
        return recipe.combine(self.guest_key, *(self.image_key(image) for image in self.images))


def plan() -> Plan:
    """What is to be built on this machine."""
    return Plan(recipe.load(TEMPLATE), tuple(recipe.load(name) for name in IMAGES), architecture())


def build(cache: Cache, output: Path, *, refresh: bool = False) -> bundle.Manifest:
    """Build what the cache lacks and bring the result to `output`; `refresh` builds all anew.

    Raises ToolError, GuestError, NoDebianSourceError.
    """
    wanted = plan()
    with cache.locked():
        if refresh or not cache.has("template", wanted.template_key):
            _fresh_work(cache)
            _build_missing(cache, wanted, refresh=refresh)
            _fresh_work(cache)
        for kind, key in entries(wanted):
            cache.used(kind, key)
        entry = cache.entry("template", wanted.template_key)
        manifest = bundle.read(entry)
        compose = cache.entry("guest", wanted.guest_key) / "docker-compose"
        fresh = bundle.publish(entry, manifest, compose, output)
    state = "is now" if fresh else "is"
    built = f"{manifest.created:%Y-%m-%d}"
    say(f"  {manifest.name} {manifest.digest[:19]}, packages of {built}, {state} in {output}")
    return manifest


def entries(wanted: Plan) -> list[tuple[str, str]]:
    """Kind and key of every cache entry that the plan uses."""
    images = [("image", wanted.image_key(image)) for image in wanted.images]
    return [("guest", wanted.guest_key), *images, ("template", wanted.template_key)]


def prune(cache: Cache, older_than_days: float) -> list[Path]:
    """Remove what a killed build left, and entries that were not used for so long; returns these."""
    with cache.locked():
        _fresh_work(cache)
        return cache.prune(older_than_days)


def _fresh_work(cache: Cache) -> None:
    guest.BuildGuest(cache.work / "guest").stop()
    cache.fresh_work()


def _build_missing(cache: Cache, wanted: Plan, *, refresh: bool) -> None:
    if refresh or not cache.has("guest", wanted.guest_key):
        with step(f"{wanted.guest.name}: root from Debian packages"):
            _build_guest(cache, wanted)
    for image in wanted.images:
        if refresh or not cache.has("image", wanted.image_key(image)):
            with step(f"{image.name}: image from Debian packages"):
                _build_image(cache, wanted, image)
    with step(f"{wanted.guest.name}: Docker directory with the images"):
        _build_template(cache, wanted)


def _build_guest(cache: Cache, wanted: Plan) -> None:
    folder = _new(cache, "guest")
    made = bootstrap(
        wanted.guest, folder / "rootfs.tar.zst", work=cache.work, compose=folder / "docker-compose"
    )
    (folder / "versions.json").write_text(json.dumps(made.versions))
    cache.keep(folder, "guest", wanted.guest_key)


def _build_image(cache: Cache, wanted: Plan, image: Recipe) -> None:
    if image.image is None:
        raise ValueError(f"recipe {image.name} has no [image]")
    folder = _new(cache, "image")
    rootfs = cache.work / "rootfs.tar"
    made = bootstrap(image, rootfs, work=cache.work)
    oci.make_image(image.image, rootfs, folder / "dir", work=cache.work)
    (folder / "versions.json").write_text(json.dumps(made.versions))
    cache.keep(folder, "image", wanted.image_key(image))
    rootfs.unlink()


def _build_template(cache: Cache, wanted: Plan) -> None:
    folder = _new(cache, "template")
    root = cache.entry("guest", wanted.guest_key)
    machine = guest.BuildGuest(cache.work / "guest")
    machine.rootfs.mkdir(parents=True)
    run([*UNPACK, "-C", machine.rootfs, "-xf", root / "rootfs.tar.zst"])
    images = [_described(cache, wanted, image) for image in wanted.images]
    with machine.started():
        say(f"    dockerd answered after {machine.wait_for_docker():.2f} s")
        for image, described in zip(wanted.images, images, strict=True):
            archive = machine.run / "image.tar"
            oci.to_archive(_image_folder(cache, wanted, image), described.reference, archive)
            machine.attach("docker", "load", "--quiet", "--input", "/run/dsecos/image.tar")
            archive.unlink()
    run([*PACK, "-C", machine.docker, "-cf", folder / "docker.tar.zst", *SEED])
    bundle.link_or_copy(root / "rootfs.tar.zst", folder / "rootfs.tar.zst")
    versions = json.loads((root / "versions.json").read_text())
    files = {name: bundle.describe(folder / name) for name in ("rootfs.tar.zst", "docker.tar.zst")}
    manifest = bundle.Manifest(
        name=wanted.guest.name,
        digest=bundle.digest_of(files),
        created=datetime.now(UTC).replace(microsecond=0),
        architecture=wanted.architecture,
        suite=wanted.guest.suite,
        docker_version=versions["docker.io"],
        compose_version=versions["docker-compose"],
        images=tuple(images),
        files=files,
        packages=versions,
    )
    bundle.write(folder, manifest)
    cache.keep(folder, "template", wanted.template_key)


def _new(cache: Cache, kind: str) -> Path:
    folder = cache.work / f"new-{kind}"
    folder.mkdir()
    return folder


def _image_folder(cache: Cache, wanted: Plan, image: Recipe) -> Path:
    return cache.entry("image", wanted.image_key(image)) / "dir"


def _described(cache: Cache, wanted: Plan, image: Recipe) -> bundle.Image:
    folder = _image_folder(cache, wanted, image)
    reference = image.image.reference if image.image else ""
    return bundle.Image(reference=reference, digest=oci.manifest_digest(folder), id=oci.image_id(folder))
