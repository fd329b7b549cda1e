"""Docker Compose's own loader: one truth about what a compose document means.

`docker-compose config` needs no daemon. It is run on a tree that was checked before, with nothing in its
environment but a placeholder for each secret, so that it normalises the whole document (types, short forms,
references) without ever seeing a secret. Runs inside the sandbox of `zygote`.

Source: `docker compose config --help`; exit code 0 and JSON on stdout, or a message on stderr (compose 2.26).
"""

from __future__ import annotations

import json
import resource
import subprocess
import tempfile
from collections.abc import Mapping
from typing import Any

from dsecos_api import Reason

from dsecos_operator.rendering.refused import Refused, shown

PROJECT = "app"
"""The compose project's name in every guest."""
TIMEOUT = 8.0
MAX_OUTPUT = 4 * 1_048_576
_ADDRESS_SPACE = 8 * 2**30
"""Go reserves far more addresses than it uses; its memory is bounded by MAX_OUTPUT-sized inputs and TIMEOUT.
"""


def load(binary: str, tree: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """The normalised document. Raises Refused (ComposeInvalid, ComposeLoaderMissing, RenderLimitExceeded)."""
    command = [binary, "-p", PROJECT, "-f", "-", "--project-directory", "/", "config", "--format", "json"]
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(json.dumps(tree).encode())
        given.seek(0)
        try:
            done = subprocess.run(
                command,
                stdin=given,
                stdout=out,
                stderr=err,
                env=dict(environment),
                cwd="/",
                timeout=TIMEOUT,
                check=False,
                preexec_fn=_limit,
            )
        except FileNotFoundError as error:
            raise missing(binary) from error
        except subprocess.TimeoutExpired as error:
            raise Refused(
                Reason.RENDER_LIMIT_EXCEEDED, f"Docker Compose did not load the document within {TIMEOUT:g} s"
            ) from error
        out.seek(0)
        err.seek(0)
        if done.returncode != 0:
            raise Refused(
                Reason.COMPOSE_INVALID, f"the compose document is not valid: {_explain(err.read(65536))}"
            )
        document = json.loads(out.read(MAX_OUTPUT))
    if not isinstance(document, dict):
        raise Refused(Reason.COMPOSE_INVALID, "the compose document is not valid: it is not a mapping")
    return document


def missing(binary: str) -> Refused:
    """The answer where the loader is not installed."""
    return Refused(
        Reason.COMPOSE_LOADER_MISSING,
        f"Docker Compose is not at {binary}; `make up` puts it there, and DSECOS_COMPOSE_BINARY names"
        " another place",
    )


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE, _ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_OUTPUT, MAX_OUTPUT))


def _explain(output: bytes) -> str:
    lines = [line for line in output.decode(errors="replace").splitlines() if not line.startswith("time=")]
    text = " ".join(lines).replace("validating -: ", "").removesuffix(": invalid compose project")
    return shown(text, 500) or "Docker Compose refused it without a word"
