"""Asking the node's registry whether it has an image (OCI Distribution Specification, `HEAD
/v2/<name>/manifests/<ref>`).

Docker asks the node's registry first and, when that does not have an image of docker.io, docker.io itself.
Where a zone lets nothing out, its words are about the second attempt: "cannot be reached". So whether the
image exists for this node is asked here.
"""

import asyncio
import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

HUB = ("docker.io", "index.docker.io")
TIME_LIMIT = 3.0
TYPES = (
    "application/vnd.docker.distribution.manifest.v2+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, "
    "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json"
)


@dataclass(frozen=True, slots=True)
class Reference:
    """An image's name, taken apart."""

    domain: str
    repository: str
    reference: str
    """Tag or digest."""


def parse(image: str) -> Reference:
    """What Docker understands by a name (distribution/reference, `ParseNormalizedNamed`)."""
    name, _, digest = image.partition("@")
    domain, slash, rest = name.partition("/")
    if not slash or not ("." in domain or ":" in domain or domain == "localhost"):
        domain, rest = HUB[0], name
    path, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:
        path, tag = rest, "latest"
    if domain in HUB and "/" not in path:
        path = f"library/{path}"
    return Reference(HUB[0] if domain in HUB else domain, path, digest or tag)


class NodeRegistry:
    """The read-only side of this node's registry."""

    def __init__(self, port: int, authority: Path) -> None:
        """Nothing is asked yet."""
        self._port = port
        self._authority = authority

    async def lacks(self, image: str) -> bool:
        """Whether the registry answers that it does not have an image that is looked for there."""
        wanted = parse(image)
        return wanted.domain == HUB[0] and await asyncio.to_thread(self._lacks, wanted)

    def _lacks(self, wanted: Reference) -> bool:
        url = f"https://127.0.0.1:{self._port}/v2/{wanted.repository}/manifests/{wanted.reference}"
        request = Request(url, method="HEAD", headers={"Accept": TYPES})
        try:
            context = ssl.create_default_context(cafile=str(self._authority))
            with urlopen(request, timeout=TIME_LIMIT, context=context):  # noqa: S310
                return False
        except HTTPError as error:
            return error.code == 404
        except (OSError, ValueError):
            return False
