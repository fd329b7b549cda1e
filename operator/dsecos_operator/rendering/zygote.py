"""The process in which everything that reads a stranger's text runs: no network, no credentials, no
privileges.

It loads the libraries once, then forks for each request, so a request costs a few milliseconds and leaves
nothing behind for the next one. The child has limits on memory, processor time and files; whoever sent the
request bounds its wall time by killing this process. Requests and answers are JSON with a length of four
bytes in front, on stdin and stdout.

    {"stage": "template", "template", "schema", "values"}
        -> {"text"}
    {"stage": "compose", "text", "secrets", "policy", "zone", "volumes", "stack"}
        -> {"document", "services", "volumes", "ports"}
    either
        -> {"refused": {"reason", "message"}}
"""

from __future__ import annotations

import json
import os
import resource
import secrets
import sys
from typing import Any, BinaryIO

from dsecos_api import Reason

from dsecos_operator.rendering import loader, policy, ports, preload, rewrite, template, text, values
from dsecos_operator.rendering.limits import LENGTH, MAX_ANSWER
from dsecos_operator.rendering.refused import Refused

MEMORY = 512 * 2**20
"""Address space of a request, in bytes."""
CPU_SECONDS = 2
"""Processor time of a request."""
MAX_SERVICES = 128
"""As many as a Stack's status has room for."""


def handle(request: dict[str, Any], binary: str) -> dict[str, Any]:
    """Answer one request. Never raises for what the request says."""
    try:
        return _template(request) if request["stage"] == "template" else _compose(request, binary)
    except Refused as refused:
        return {"refused": {"reason": refused.reason, "message": refused.message}}
    except (MemoryError, RecursionError):
        return _too_much(request["stage"])


def _template(request: dict[str, Any]) -> dict[str, Any]:
    full = values.complete(request["schema"], request["values"])
    return {"text": template.render(request["template"], full)}


def _compose(request: dict[str, Any], binary: str) -> dict[str, Any]:
    names = frozenset(request["secrets"])
    tree = text.parse(request["text"])
    preload.check(tree, names)
    # Not to be guessed, so that nothing in the document can pass for a reference to a secret.
    placeholders = {name: f"dsecos-{secrets.token_hex(16)}" for name in sorted(names)}
    document = loader.load(binary, tree, placeholders)
    services = document.get("services") or {}
    if not 0 < len(services) <= MAX_SERVICES:
        raise Refused(
            Reason.COMPOSE_INVALID,
            f"the compose document defines {len(services)} active services; between 1 and {MAX_SERVICES}"
            " are possible",
        )
    policy.check(document, policy.Policy(**request["policy"]), request["zone"])
    found = ports.published(document)
    final = rewrite.rewrite(document, placeholders, request["volumes"], request["stack"])
    return {
        "document": rewrite.dump(final),
        "services": sorted(services),
        "volumes": sorted(document.get("volumes") or {}),
        "ports": [[port.protocol, port.first, port.last, port.address] for port in found],
    }


def _too_much(stage: str) -> dict[str, Any]:
    what = "rendering the template" if stage == "template" else "reading the compose document"
    message = f"{what} needs more than {CPU_SECONDS} s of processor time or {MEMORY // 2**20} MiB of memory"
    return {"refused": {"reason": Reason.RENDER_LIMIT_EXCEEDED, "message": message}}


def _in_child(request: dict[str, Any], binary: str, output: int) -> None:
    """Does not return: the child ends here, whatever happens."""
    status = 1
    try:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        answer = json.dumps(handle(request, binary)).encode()
        with os.fdopen(output, "wb") as pipe:
            pipe.write(answer)
        status = 0
    finally:
        os._exit(status)


def _answer(request: dict[str, Any], binary: str) -> bytes:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _in_child(request, binary, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        answer = pipe.read(MAX_ANSWER)
    _, status = os.waitpid(child, 0)
    return answer if status == 0 and answer else json.dumps(_too_much(request["stage"])).encode()


def serve(given: BinaryIO, out: BinaryIO, binary: str) -> None:
    """Until stdin ends."""
    out.write(LENGTH.pack(0))
    out.flush()
    while len(head := given.read(LENGTH.size)) == LENGTH.size:
        request = json.loads(given.read(LENGTH.unpack(head)[0]))
        answer = _answer(request, binary)
        out.write(LENGTH.pack(len(answer)) + answer)
        out.flush()


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer, sys.argv[1])
