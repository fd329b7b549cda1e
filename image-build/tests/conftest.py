"""What the tests of images share: one finished build, and the catalog's documents."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from dsecos_images import build, bundle
from dsecos_images.cache import Cache
from dsecos_images.guest import BuildGuest
from dsecos_images.main import default_cache
from dsecos_images.process import run
from markupsafe import Markup

CATALOG = Path(__file__).parents[2] / "manifests" / "catalog"
COLD_BUILD_SECONDS = 1800
TEMPLATES = sorted(path.parent.name for path in CATALOG.glob("*/template.yaml"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whoever is first to need the build may have to wait for a cold one."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent) and "built" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(COLD_BUILD_SECONDS))


@dataclass(frozen=True)
class Built:
    """A build, laid out as `dsecos-images build` does."""

    output: Path
    manifest: bundle.Manifest

    @property
    def template(self) -> Path:
        return self.output / "debian-13-docker"

    @property
    def compose(self) -> Path:
        return self.output / "bin" / "docker-compose"


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """From the cache of this machine, built first where it lacks something (some minutes)."""
    output = tmp_path_factory.mktemp("images")
    return Built(output, build.build(Cache(default_cache()), output))


@pytest.fixture(scope="module")
def guest(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BuildGuest]:
    """A running guest of the template, without a network of its own."""
    machine = BuildGuest(tmp_path_factory.mktemp("guest"))
    for folder, tarball in ((machine.rootfs, "rootfs.tar.zst"), (machine.docker, "docker.tar.zst")):
        folder.mkdir()
        run([*build.UNPACK, "-C", folder, "-xf", built.template / tarball])
    # The temporary folder is root's alone; the guest's root must be able to pass it.
    machine.work.chmod(0o711)
    with machine.started():
        machine.wait_for_docker()
        yield machine


def schema(template: str) -> dict[str, Any]:
    """The values schema of a template."""
    loaded: dict[str, Any] = json.loads((CATALOG / template / "values.schema.json").read_text())
    return loaded


def fill(template: str, values: dict[str, Any]) -> str:
    """The compose document with these values and no others, by the rules of the catalog's README."""
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: value if isinstance(value, Markup | jinja2.Undefined) else _json(value),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["text"] = lambda value: Markup(_json(str(value))[1:-1])
    return environment.from_string((CATALOG / template / "compose.yaml.j2").read_text()).render(values)


def render(template: str, **values: Any) -> str:
    """The compose document, with the schema's defaults for what is not given."""
    properties = schema(template)["properties"]
    return fill(
        template,
        {name: entry["default"] for name, entry in properties.items() if "default" in entry} | values,
    )


def document(template: str, **values: Any) -> dict[str, Any]:
    """The same, as a tree."""
    loaded: dict[str, Any] = yaml.safe_load(render(template, **values))
    return loaded


def _json(value: object) -> Markup:
    return Markup(json.dumps(value).replace("$", "$$"))
