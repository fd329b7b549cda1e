"""Archives of templates: checked, then unpacked."""

import hashlib
from pathlib import Path

from dsecos_agent.adapter_errors import OutOfSpaceError
from dsecos_agent.processes import ToolFailedError, check
from dsecos_agent.storage.protocol import Archive, TemplateDamagedError
from dsecos_agent.storage.trees import is_full

UNPACK_LIMIT = 1200.0
"""Seconds."""


def verify(archive: Archive) -> None:
    """Hold a file against its digest. Blocking. Raises TemplateDamagedError."""
    try:
        with archive.path.open("rb") as content:
            found = hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        raise TemplateDamagedError(f"{archive.path} cannot be read: {error.strerror}") from error
    if found != archive.sha256:
        raise TemplateDamagedError(
            f"{archive.path} is not what was built: its SHA-256 is {found}, not {archive.sha256};"
            " remove its folder and run make up"
        )


async def unpack(archive: Path, into: Path) -> None:
    """As it was packed: ids, modes, capabilities. Raises OutOfSpaceError, TemplateDamagedError."""
    options = ["--numeric-owner", "--same-permissions", "--xattrs", "--xattrs-include=*", "--same-owner"]
    try:
        await check(["tar", "-C", into, *options, "-xf", archive], time_limit=UNPACK_LIMIT)
    except ToolFailedError as error:
        if is_full(str(error)):
            raise OutOfSpaceError(f"no space to unpack {archive.name}") from error
        raise TemplateDamagedError(f"{archive.name} cannot be unpacked: {error}") from error
