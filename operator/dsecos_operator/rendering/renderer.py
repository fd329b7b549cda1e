"""From what a Stack says to the document that its guest runs.

template and values -> text -> tree -> (refused, or) normalised by Docker Compose -> judged by the zone's
policy -> rewritten. The same inputs are rendered once: answers, refusals included, are kept by the digest of
their inputs.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from dsecos_api import Reason

from dsecos_operator.rendering.catalog import Entry
from dsecos_operator.rendering.policy import Policy
from dsecos_operator.rendering.ports import Published, reachable
from dsecos_operator.rendering.refused import Refused
from dsecos_operator.rendering.worker import Worker

KEPT = 2048
"""Answers kept; a document has some kilobytes."""
_PASSING = frozenset({Reason.COMPOSE_LOADER_MISSING, Reason.RENDER_LIMIT_EXCEEDED})
"""Refusals that are about this machine or this moment, and may be different next time."""


@dataclass(frozen=True)
class Request:
    """Everything that a rendering depends on. Either `entry` and `values`, or `text`."""

    stack: str
    zone: str
    policy: Policy
    secrets: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    text: str | None = None
    entry: Entry | None = None
    values: Mapping[str, Any] = field(default_factory=dict)

    def digest(self) -> str:
        """SHA-256 over all of it."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Rendering:
    """What the guest runs, and what the operator needs to know of it."""

    document: str
    services: tuple[str, ...]
    volumes: tuple[str, ...]
    ports: tuple[Published, ...]

    def reaches(self, port: int, protocol: str) -> bool:
        """Whether a service can be reached at that port of the guest."""
        return reachable(list(self.ports), port, protocol)


class Renderer:
    """Renders in the sandbox, each input once."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._kept: OrderedDict[str, Rendering | Refused] = OrderedDict()

    async def render(self, request: Request) -> Rendering:
        """Raises Refused with the reason and message for the condition Rendered."""
        digest = request.digest()
        if digest not in self._kept:
            try:
                self._keep(digest, await self._render(request))
            except Refused as refused:
                if refused.reason in _PASSING:
                    raise
                self._keep(digest, refused)
        self._kept.move_to_end(digest)
        answer = self._kept[digest]
        if isinstance(answer, Refused):
            raise Refused(answer.reason, answer.message, stalled=answer.stalled)
        return answer

    async def warm(self) -> None:
        """Be ready for the first request. Raises Refused where the sandbox cannot be had."""
        await self._worker.warm()

    async def close(self) -> None:
        """End the sandbox."""
        await self._worker.close()

    def _keep(self, digest: str, answer: Rendering | Refused) -> None:
        self._kept[digest] = answer
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)

    async def _render(self, request: Request) -> Rendering:
        text = request.text
        if request.entry is not None:
            rendered = await self._worker.ask(
                {
                    "stage": "template",
                    "template": request.entry.template,
                    "schema": request.entry.schema,
                    "values": dict(request.values),
                }
            )
            text = rendered["text"]
        answer = await self._worker.ask(
            {
                "stage": "compose",
                "text": text or "",
                "secrets": list(request.secrets),
                "policy": asdict(request.policy),
                "zone": request.zone,
                "volumes": list(request.volumes),
                "stack": request.stack,
            }
        )
        return Rendering(
            document=answer["document"],
            services=tuple(answer["services"]),
            volumes=tuple(answer["volumes"]),
            ports=tuple(
                Published("", protocol, first, last, address)
                for protocol, first, last, address in answer["ports"]
            ),
        )
