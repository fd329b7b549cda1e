"""Calls to the API of Proxmox VE: asynchronous, counted, their failures typed.

A read is repeated when the API cannot be reached. A write is never repeated here: when it is not known
whether it was carried out, OutcomeUnknownError says so, and whoever made it has to look.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import prometheus_client
import requests
from dsecos_runtime import fault_point
from proxmoxer.core import ResourceException
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from dsecos_agent.adapter_errors import AdapterError, UnsupportedError
from dsecos_agent.engines.errors import EngineDeniedError, EngineUnreachableError, OutcomeUnknownError
from dsecos_agent.engines.proxmox import pinning, refusals
from dsecos_agent.engines.proxmox.settings import ProxmoxSettings
from dsecos_agent.engines.proxmox.transport import GarbledAnswerError, Transport

CALLS = prometheus_client.Counter(
    "dsecos_proxmox_calls_total", "Calls to the API of Proxmox VE.", ["method", "path", "result"]
)

READ_RETRIES = (0.2, 1.0)
"""Seconds between the tries of a read."""

SECRETS = frozenset({"password", "cipassword", "sshkeys", "ssh-public-keys", "input-data", "content"})
"""Parameters whose values are shown to nobody."""

_VARIABLE = {
    "nodes": "{node}",
    "lxc": "{vmid}",
    "qemu": "{vmid}",
    "tasks": "{upid}",
    "snapshot": "{snapname}",
    "storage": "{storage}",
    "content": "{volume}",
    "resources": "{sid}",
    "zones": "{zone}",
    "vnets": "{vnet}",
    "subnets": "{subnet}",
    "pools": "{pool}",
    "backup": "{id}",
}


_OF_STATUS: Mapping[int, type[AdapterError]] = {
    501: UnsupportedError,
    # The node that has to do it was never reached; 596 and above come after something was sent to it.
    595: EngineUnreachableError,
}


def template_of(path: str) -> str:
    """The path with its variables, as Proxmox's own documentation names them: few values for a metric."""
    shown: list[str] = []
    for part in path.strip("/").split("/"):
        if shown[-1:] != ["{volume}"]:
            shown.append(_VARIABLE.get(shown[-1], part) if shown else part)
    return "/" + "/".join(shown)


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    path: str
    parameters: Mapping[str, Any]
    answer_limit: float | None = None

    @property
    def template(self) -> str:
        return template_of(self.path)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


class Client:
    """One API, one credential. `calls` counts by method and path template, repeated reads included."""

    def __init__(
        self,
        settings: ProxmoxSettings,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        point: Callable[[str], None] = fault_point,
    ) -> None:
        """Connects to nothing. Raises UnsupportedError when the settings cannot work."""
        self.calls: Counter[tuple[str, str]] = Counter()
        self._settings = settings
        self._transport = Transport(settings)
        self._threads = ThreadPoolExecutor(settings.connections, thread_name_prefix="proxmox")
        self._sleep = sleep
        self._point = point

    async def get(self, path: str, /, **parameters: Any) -> Any:
        """Read; the answer's `data`. `path` is for instance f"/nodes/{node}/lxc".

        Repeated with back-off when the API does not answer. Raises EngineUnreachableError, EngineDeniedError,
        CertificateChangedError, and what `refusals` reads from the answer.
        """
        request = _Request("GET", path, parameters)
        for pause in READ_RETRIES:
            try:
                return await self._call(request)
            except EngineUnreachableError:
                await self._sleep(pause)
        return await self._call(request)

    async def post(self, path: str, /, *, answer_limit: float | None = None, **parameters: Any) -> Any:
        """Write, once; the answer's `data`: a task's id (UPID), or what the path says.

        Open files among the parameters are uploaded; `answer_limit` is in seconds. Parameters that are None
        are left out, booleans are sent as 1 and 0. Raises OutcomeUnknownError when it may have been carried
        out; after any other error it was not.
        """
        return await self._call(_Request("POST", path, parameters, answer_limit))

    async def put(self, path: str, /, **parameters: Any) -> Any:
        """Change, once. As `post`."""
        return await self._call(_Request("PUT", path, parameters))

    async def delete(self, path: str, /, **parameters: Any) -> Any:
        """Remove, once. As `post`."""
        return await self._call(_Request("DELETE", path, parameters))

    async def close(self) -> None:
        """Close the connections; calls on their way end first."""
        await asyncio.to_thread(self._threads.shutdown)
        self._transport.close()

    async def _call(self, request: _Request) -> Any:
        self._point(f"proxmox-before {request.method} {request.template}")
        call = asyncio.get_running_loop().run_in_executor(self._threads, self._attempt, request)
        try:
            answer = await asyncio.shield(call)
        except asyncio.CancelledError:
            # A thread cannot be called back: whoever comes next must not look before this call has ended.
            await asyncio.wait([call])
            raise
        self._point(f"proxmox-after {request.method} {request.template}")
        return answer

    # In a thread.

    def _attempt(self, request: _Request, *, renew: bool = True) -> Any:
        try:
            return self._counted(request)
        except ResourceException as refused:
            # 401 comes before anything is done, so a repeated call is carried out for the first time.
            if refused.status_code == 401 and renew and self._renewed(request):
                return self._attempt(request, renew=False)
            raise self._refused(refused, request) from None
        except (requests.RequestException, GarbledAnswerError) as failed:
            raise self._failed(failed, request) from failed

    def _counted(self, request: _Request) -> Any:
        self.calls[request.method, request.template] += 1
        result = "failed"
        sent = {
            name: int(value) if isinstance(value, bool) else value
            for name, value in request.parameters.items()
        }
        try:
            answer = self._transport.call(request.method, request.path, sent, request.answer_limit)
            result = "ok"
            return answer
        except ResourceException as refused:
            result = str(refused.status_code)
            raise
        finally:
            CALLS.labels(request.method, request.template, result).inc()

    def _renewed(self, request: _Request) -> bool:
        try:
            return self._transport.renew_login()
        except (requests.RequestException, GarbledAnswerError) as failed:
            raise EngineUnreachableError(f"{request}: no new ticket ({type(failed).__name__})") from failed

    def _refused(self, refused: ResourceException, request: _Request) -> AdapterError:
        text = self._clean(str(refused.content or ""), request)
        status = refused.status_code
        if status == 400 and isinstance(refused.errors, dict) and refused.errors:
            said = {
                name: "not shown" if name in SECRETS else self._clean(str(why), request)
                for name, why in refused.errors.items()
            }
            return refusals.of_parameters(said, str(request))
        if status in {400, 500}:
            return refusals.of_text(text, str(request))
        if status == 403:
            return refusals.denied(text, str(request))
        if status == 401:
            who = self._settings.identity
            return EngineDeniedError(
                f"{request}: Proxmox refuses the credential of {who} ({text or 'no reason given'}): "
                "it is wrong, expired or removed, so give the Node another one"
            )
        kind = _OF_STATUS.get(status, AdapterError)
        if status > 500 and kind is AdapterError:
            kind = EngineUnreachableError if request.method == "GET" else OutcomeUnknownError
        return kind(f"{request}: status {status}: {text or 'no reason given'}")

    def _failed(self, failed: Exception, request: _Request) -> AdapterError:
        text = str(failed)
        if isinstance(failed, requests.exceptions.SSLError) and (
            "CERTIFICATE_VERIFY_FAILED" in text or "Fingerprints did not match" in text
        ):
            return pinning.changed(self._settings, self._transport.host, self._transport.port)
        if request.method == "GET" or _was_not_sent(failed):
            return EngineUnreachableError(f"{request}: no answer ({type(failed).__name__})")
        return OutcomeUnknownError(f"{request}: the answer was lost ({type(failed).__name__})")

    def _clean(self, text: str, request: _Request) -> str:
        """Without the credential, and without what must not be shown, should Proxmox repeat it."""
        secrets = [self._settings.password, self._settings.token.partition("=")[2]]
        secrets += [str(value) for name, value in request.parameters.items() if name in SECRETS]
        for secret in secrets:
            if len(secret) > 3:
                text = text.replace(secret, "***")
        return text


def _was_not_sent(failed: Exception) -> bool:
    """The connection was never made, so nobody has read a byte of the call."""
    if isinstance(failed, requests.exceptions.ConnectTimeout):
        return True
    reason = getattr(failed.args[0], "reason", None) if failed.args else None
    return isinstance(reason, NewConnectionError | ConnectTimeoutError)
