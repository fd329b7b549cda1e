"""What the name of an image means."""

import pytest
from dsecos_agent.guests.registry import Reference, parse

HUB = "docker.io"


@pytest.mark.parametrize(
    ("image", "wanted"),
    [
        ("node:20", Reference(HUB, "library/node", "20")),
        ("node", Reference(HUB, "library/node", "latest")),
        ("acme/shop:1", Reference(HUB, "acme/shop", "1")),
        ("docker.io/library/node:20", Reference(HUB, "library/node", "20")),
        ("ghcr.io/acme/shop:1", Reference("ghcr.io", "acme/shop", "1")),
        ("localhost/shop", Reference("localhost", "shop", "latest")),
        ("localhost:5000/shop", Reference("localhost:5000", "shop", "latest")),
        ("node@sha256:abc", Reference(HUB, "library/node", "sha256:abc")),
        ("node:20@sha256:abc", Reference(HUB, "library/node", "sha256:abc")),
    ],
)
def test_names(image: str, wanted: Reference) -> None:
    assert parse(image) == wanted
