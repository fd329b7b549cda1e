"""One simulated cluster: state, access, tasks and faults, and the way of a request through them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

from dsecos_proxmox_simulator import parameters
from dsecos_proxmox_simulator.access import Access, Identity
from dsecos_proxmox_simulator.api import ENDPOINTS
from dsecos_proxmox_simulator.calls import Call, Calls
from dsecos_proxmox_simulator.errors import ApiError, failure, unauthorized
from dsecos_proxmox_simulator.faults import Fault, Faults, Site
from dsecos_proxmox_simulator.ha import Manager
from dsecos_proxmox_simulator.routing import Endpoint, Request, allow
from dsecos_proxmox_simulator.schema import Schema, declared
from dsecos_proxmox_simulator.tasks import Tasks
from dsecos_proxmox_simulator.world import World

VERSIONS = ("8.4", "9.1")
RELEASES = {"8.4": ("8.4.14", "b502d23c55afcba1"), "9.1": ("9.1.1", "42db4a6cf33dac83")}


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a request brings to prove who asks."""

    authorization: str = ""
    ticket: str = ""
    csrf: str | None = None


@dataclass(slots=True)
class Reply:
    """An answer before it becomes HTTP. `body` None stands for an empty body."""

    status: int = 200
    reason: str = "OK"
    body: dict[str, object] | None = field(default_factory=dict)


class Cluster:
    """The simulated Proxmox VE cluster of one version."""

    def __init__(self, world: World, faults: Faults, version: str, clock: Callable[[], float]) -> None:
        if version not in VERSIONS:
            raise ValueError(f"version {version} is not simulated; known: {', '.join(VERSIONS)}")
        self.world = world
        self.faults = faults
        self.version = version
        self.clock = clock
        self.access = Access(world, clock, version)
        self.tasks = Tasks(world, clock)
        self.ha = Manager(self)
        self.calls = Calls()
        self.schema = Schema.find(version)
        self.schema_errors: list[str] = []
        self.fingerprint = ""
        self._endpoints = [e for e in ENDPOINTS if not e.since or version >= e.since]
        world.on_node_change.append(self.ha.node_changed)

    @property
    def release(self) -> tuple[str, str]:
        """Full version and build."""
        return RELEASES[self.version]

    def now(self) -> int:
        """Seconds since 1970 by the simulator's clock."""
        return int(self.clock())

    def handle(self, method: str, path: str, given: Mapping[str, object], credentials: Credentials) -> Reply:
        """Answer one request. Raises ConnectionDroppedError where a fault says so."""
        endpoint, raw = self._match(method, path, given)
        call = Call(method, endpoint.template if endpoint else path, raw, self.clock())
        with self.world.mutex:
            self.calls.add(call)
            site = Site(self, method, call.template, raw)
            fault = self.faults.choose(site) if endpoint else None
            try:
                if fault is not None:
                    fault.before(site)
                reply = self._reply(endpoint, call, path, credentials, fault)
                if fault is not None:
                    fault.after(site)
            except ApiError as error:
                reply = refusal(error)
            call.status = reply.status
            return reply

    def _reply(
        self, endpoint: Endpoint | None, call: Call, path: str, credentials: Credentials, fault: Fault | None
    ) -> Reply:
        try:
            reply = self._answer(endpoint, call, path, credentials, fault)
        except ApiError as error:
            return refusal(error)
        call.done = True
        return reply

    def _match(
        self, method: str, path: str, given: Mapping[str, object]
    ) -> tuple[Endpoint | None, dict[str, object]]:
        for endpoint in self._endpoints:
            if endpoint.method == method and (found := endpoint.pattern.match(path)):
                return endpoint, dict(given) | {k: unquote(v) for k, v in found.groupdict().items()}
        return None, dict(given)

    def _answer(
        self, endpoint: Endpoint | None, call: Call, path: str, credentials: Credentials, fault: Fault | None
    ) -> Reply:
        world_may = endpoint is not None and endpoint.permissions[""] == {"user": "world"}
        identity = Identity("") if world_may else self._authenticate(call.method, credentials)
        if endpoint is None:
            self._note_gap(call.method, path)
            raise ApiError(501, f"Method '{call.method} {path}' not implemented")
        raw = call.parameters
        allow(lambda name: str(raw.get(name, "")), self, identity, endpoint.permission(self.version))
        self._proxy(endpoint, raw)
        self._refuse_gaps(endpoint, raw)
        values = parameters.check(endpoint.table(self.version), raw, self.version)
        if self.schema:
            self.schema.check_parameters(call.method, endpoint.template, raw)
        request = Request(self, identity, values, fault.effect if fault else None)
        data = endpoint.handler(request)
        if self.schema:
            self.schema_errors += self.schema.errors_of_answer(call.method, endpoint.template, data)
        return Reply(body={"data": data})

    def _note_gap(self, method: str, path: str) -> None:
        """Say it where a method is real and only the simulator lacks it. Raises ApiError 501."""
        if self.schema and self.schema.knows(method, path):
            raise ApiError(501, f"the simulator does not know the real method {method} {path}")

    def _refuse_gaps(self, endpoint: Endpoint, raw: Mapping[str, object]) -> None:
        """Say it where a parameter is real and only the simulator lacks it. Raises ApiError 501."""
        if self.schema is None:
            return
        real = self.schema.properties(endpoint.method, endpoint.template)
        for name in raw:
            if parameters.find(endpoint.table(self.version), name) is None and declared(real, name):
                raise ApiError(
                    501, f"the simulator does not know the real parameter {name} of {endpoint.template}"
                )

    def _authenticate(self, method: str, credentials: Credentials) -> Identity:
        if credentials.authorization.startswith("PVEAPIToken="):
            return self.access.by_token(credentials.authorization)
        if not credentials.ticket:
            raise unauthorized()
        return self.access.by_ticket(unquote(credentials.ticket), credentials.csrf, changes=method != "GET")

    def _proxy(self, endpoint: Endpoint, raw: Mapping[str, object]) -> None:
        """Any node answers for all; one that is gone cannot be reached."""
        if "{node}" not in endpoint.template:
            return
        name = str(raw["node"])
        node = self.world.nodes.get(name)
        if node is None:
            raise failure(
                f"hostname lookup '{name}' failed - failed to get address info for: {name}: "
                "Temporary failure in name resolution"
            )
        if not node.online:
            raise ApiError(595, "No route to host", empty=True)


def refusal(error: ApiError) -> Reply:
    """The answer that tells an error: its words stand in the status line and in the body."""
    body: dict[str, object] | None = None
    if not error.empty:
        body = {"data": None, "message": error.message.rstrip("\n") + "\n"}
        if error.errors:
            body["errors"] = error.errors
    return Reply(error.status, error.message.splitlines()[0] if error.message else "", body)
