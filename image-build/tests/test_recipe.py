"""Recipes and their keys: equal content, equal key; any other content, another key."""

import shutil
from pathlib import Path

import pytest
from dsecos_images import build, recipe
from dsecos_images.bootstrap import parse_versions
from dsecos_images.oci import config_options, split_reference
from pydantic import ValidationError

EVERY_RECIPE = sorted(path.name for path in recipe.RECIPES.iterdir())


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A folder with a copy of the node recipe."""
    shutil.copytree(recipe.RECIPES / "node-20", tmp_path / "node-20")
    return tmp_path


def key_in(folder: Path) -> str:
    return recipe.key(recipe.load("node-20", folder), "amd64")


def test_a_copy_has_the_same_key(copy: Path) -> None:
    assert key_in(copy) == key_in(recipe.RECIPES)


@pytest.mark.parametrize("changed", ["recipe.toml", "finish.sh", "files/usr/local/bin/docker-entrypoint.sh"])
def test_every_file_of_a_recipe_counts(copy: Path, changed: str) -> None:
    before = key_in(copy)
    path = copy / "node-20" / changed
    path.write_text(path.read_text() + "\n# more\n")
    assert key_in(copy) != before


def test_an_execute_bit_counts_and_a_time_does_not(copy: Path) -> None:
    before = key_in(copy)
    (copy / "node-20" / "finish.sh").touch()
    assert key_in(copy) == before
    (copy / "node-20" / "finish.sh").chmod(0o644)
    assert key_in(copy) != before


def test_each_architecture_has_its_own_key() -> None:
    node = recipe.load("node-20")
    assert recipe.key(node, "amd64") != recipe.key(node, "arm64")


def test_the_template_changes_with_each_of_its_parts() -> None:
    wanted = build.plan()
    fewer = build.Plan(wanted.guest, wanted.images[:1], wanted.architecture)
    assert fewer.template_key != wanted.template_key


def test_an_unknown_word_in_a_recipe_is_an_error(copy: Path) -> None:
    path = copy / "node-20" / "recipe.toml"
    path.write_text('package = ["curl"]\n' + path.read_text())
    with pytest.raises(ValidationError, match="package"):
        recipe.load("node-20", copy)


@pytest.mark.parametrize("name", EVERY_RECIPE)
def test_every_recipe_loads_and_finishes_with_an_executable_script(name: str) -> None:
    loaded = recipe.load(name)
    assert loaded.finish.stat().st_mode & 0o100
    assert (loaded.image is not None) == (loaded.kind == "oci")


def test_an_images_configuration_becomes_options_of_buildah() -> None:
    config = recipe.load("postgres-17").image
    assert config is not None
    options = config_options(config)
    assert options[options.index("--stop-signal") :][:2] == ["--stop-signal", "SIGINT"]
    assert "PGDATA=/var/lib/postgresql/data" in options
    assert '["/usr/local/bin/docker-entrypoint.sh"]' in options


def test_a_reference_is_split_into_repository_and_tag() -> None:
    assert split_reference("docker.io/library/node:20") == ("library/node", "20")


def test_versions_are_read_from_dpkgs_listing() -> None:
    assert parse_versions("curl\t8.14\nlibc6\t2.41-12\n\n") == {"curl": "8.14", "libc6": "2.41-12"}
