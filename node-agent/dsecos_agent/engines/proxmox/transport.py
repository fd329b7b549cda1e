"""One blocking call over HTTPS, with proxmoxer's sessions, authentication and encoding.

proxmoxer's own password login does not use the session that it gives out (so neither its pinning), and sends
a ticket that has just expired once more; `TicketLogin` does both right.
"""

import threading
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import requests
from proxmoxer.backends.https import (
    JsonSerializer,
    ProxmoxHTTPApiTokenAuth,
    ProxmoxHTTPAuth,
    ProxmoxHTTPAuthBase,
    ProxmoxHttpSession,
)
from proxmoxer.core import ProxmoxResource

from dsecos_agent.adapter_errors import UnsupportedError
from dsecos_agent.engines.errors import EngineDeniedError
from dsecos_agent.engines.proxmox import pinning
from dsecos_agent.engines.proxmox.settings import ProxmoxSettings

RENEW_AGE = 3600.0
"""Seconds after which a ticket is renewed; Proxmox takes it for 7200."""


class GarbledAnswerError(Exception):
    """What came back is not an answer of Proxmox."""


class _Json(JsonSerializer):  # type: ignore[misc]  # proxmoxer has no types
    def loads(self, response: requests.Response) -> Any:
        try:
            return response.json()["data"]
        except (ValueError, KeyError, TypeError) as error:
            raise GarbledAnswerError("the answer is not what Proxmox answers") from error

    def loads_errors(self, response: requests.Response) -> Any:
        try:
            body = response.json()
        except ValueError:
            return None
        return body.get("errors") if isinstance(body, dict) else None


class _Session(ProxmoxHttpSession):  # type: ignore[misc]
    """Each call may have its own time limit, which proxmoxer keeps with the credential instead."""

    limits: tuple[float, float] = (10.0, 60.0)

    def request(self, method: str, url: str, **options: Any) -> requests.Response:
        answer: requests.Response = super().request(method, url, timeout=self.limits, **options)
        return answer


class Transport:
    """Calls the API; a session a thread. Blocking."""

    def __init__(self, settings: ProxmoxSettings) -> None:
        """Connects to nothing. Raises UnsupportedError when the settings cannot work."""
        parts = urlsplit(settings.url)
        if parts.scheme != "https" or not parts.hostname:
            raise UnsupportedError(f"{settings.url!r} is no https address of a Proxmox VE")
        self.host, self.port = parts.hostname, parts.port or 8006
        self._settings = settings
        shown = f"[{self.host}]" if ":" in self.host else self.host
        self._base = f"https://{shown}:{self.port}{parts.path.rstrip('/')}/api2/json"
        self._of_thread = threading.local()
        self._sessions: list[requests.Session] = []
        self._login = self._authentication()

    def call(
        self, method: str, path: str, parameters: Mapping[str, Any], answer_limit: float | None = None
    ) -> Any:
        """Send one call and give the answer's `data`. Raises ResourceException,
        GarbledAnswerError and what requests raises.
        """
        session = self._session()
        session.limits = (self._settings.connect_limit, answer_limit or self._settings.answer_limit)
        resource = ProxmoxResource(base_url=self._base, session=session, serializer=_Json())
        return getattr(resource(path), method.lower())(**parameters)

    def renew_login(self) -> bool:
        """After a 401: get a new ticket; False where there is none to get. Raises EngineDeniedError."""
        if isinstance(self._login, TicketLogin):
            self._login.renew()
            return True
        return False

    def close(self) -> None:
        """Close all connections."""
        for session in self._sessions:
            session.close()

    def _session(self) -> Any:
        session = getattr(self._of_thread, "session", None)
        if session is None:
            session = self._prepared(_Session())
            session.auth = self._login if isinstance(self._login, TicketLogin) else self._authentication()
            self._of_thread.session = session
        return session

    def _prepared(self, session: requests.Session) -> requests.Session:
        # No proxy, no .netrc of the environment, and no redirect: the credential goes to this server.
        session.trust_env = False
        session.max_redirects = 0
        session.verify = pinning.authority(self._settings)
        if self._settings.fingerprint is not None:
            session.mount("https://", pinning.Pinned(self._settings.fingerprint))
        self._sessions.append(session)
        return session

    def _authentication(self) -> Any:
        settings = self._settings
        if not settings.token:
            return TicketLogin(self._prepared(requests.Session()), self._base, settings)
        identity, equals, secret = settings.token.partition("=")
        user, mark, name = identity.rpartition("!")
        if not (equals and mark and "@" in user):
            raise UnsupportedError("the Proxmox token is not of the form user@realm!name=secret")
        return ProxmoxHTTPApiTokenAuth(user, name, secret, verify_ssl=pinning.authority(settings))


class TicketLogin(ProxmoxHTTPAuth):  # type: ignore[misc]
    """User and password, exchanged for a ticket that is renewed in time, by one thread at a time."""

    def __init__(self, session: requests.Session, base: str, settings: ProxmoxSettings) -> None:
        """Asks for nothing yet. Raises UnsupportedError when there is no user or no password."""
        if not settings.user or not settings.password:
            raise UnsupportedError("Proxmox needs a token, or a user and a password")
        ProxmoxHTTPAuthBase.__init__(self, verify_ssl=pinning.authority(settings))
        self._session, self._url, self._settings = session, f"{base}/access/ticket", settings
        self._lock = threading.Lock()
        self.birth_time = float("-inf")

    def get_cookies(self) -> Any:
        """The ticket; it is asked for before a request is built, so this is where it is renewed."""
        with self._lock:
            if time.monotonic() - self.birth_time >= RENEW_AGE:
                self._log_in()
        return super().get_cookies()

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add what a write needs beside the ticket."""
        if request.method != "GET":
            request.headers["CSRFPreventionToken"] = self.csrf_prevention_token
        return request

    def renew(self) -> None:
        """Get a new ticket now. Raises EngineDeniedError."""
        with self._lock:
            self._log_in()

    def _log_in(self) -> None:
        settings = self._settings
        answer = self._session.post(
            self._url,
            data={"username": settings.user, "password": settings.password},
            timeout=(settings.connect_limit, settings.answer_limit),
        )
        if answer.status_code == 401:
            raise EngineDeniedError(f"Proxmox refuses the password of {settings.user}")
        answer.raise_for_status()
        data = _Json().loads(answer)
        if data.get("NeedTFA"):
            raise EngineDeniedError(f"{settings.user} needs a second factor: give an API token instead")
        self.pve_auth_ticket = data["ticket"]
        self.csrf_prevention_token = data["CSRFPreventionToken"]
        self.birth_time = time.monotonic()
