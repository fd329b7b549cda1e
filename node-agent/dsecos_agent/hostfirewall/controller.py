"""The HostPolicy controller: brings the node's own firewall and uplinks to what the operator wrote, or says
why not.
"""

import asyncio
from collections.abc import Iterable, Sequence

from dsecos_api import HostPolicy
from dsecos_api.conditions import Reason, Type
from dsecos_api.hostpolicy import HOST_POLICY_NAME, HostFirewall, HostPolicyStatus, Uplink
from dsecos_runtime import (
    HOST_POLICY,
    Conditions,
    Controller,
    Input,
    Key,
    Requeue,
    Runtime,
    get_logger,
    ignoring_status,
)

from dsecos_agent.adapter_errors import AdapterError, RetryableError
from dsecos_agent.hostfirewall.check import check
from dsecos_agent.hostfirewall.keeper import Keeper
from dsecos_agent.hostfirewall.model import (
    ApiServer,
    HostPolicyInvalidError,
    Rules,
    known_addresses,
    rules_of,
)
from dsecos_agent.hostfirewall.probe import HostProbe
from dsecos_agent.hostfirewall.render import render
from dsecos_agent.hostfirewall.table import HostTable
from dsecos_agent.uplinks import kernel, watch
from dsecos_agent.uplinks.check import UplinkRefusedError
from dsecos_agent.uplinks.check import check as check_uplinks

SOON = 5.0
"""Seconds until another look whether a change can be made."""
LATER = 60.0
"""Seconds until another try of what has failed by no fault of the policy's."""
BETWEEN_REPAIRS = 1.0
"""Seconds at least, of uplinks: a program that insists on something else is not raced with."""


class HostFirewallController(Controller):
    """One key: the node's HostPolicy."""

    name = "host-firewall"
    outputs = (HOST_POLICY,)
    workers = 1
    resync = 30.0

    def __init__(
        self,
        runtime: Runtime,
        keeper: Keeper,
        table: HostTable,
        *,
        namespace: str,
        instance: str,
        link_prefix: str,
    ) -> None:
        """Nothing is touched before `run`."""
        super().__init__()
        self._runtime = runtime
        self._keeper = keeper
        self._table = table
        self._probe = HostProbe(runtime.credentials)
        self._instance = instance
        self._link_prefix = link_prefix
        self._key = Key(namespace, HOST_POLICY_NAME)
        self.inputs = (Input(HOST_POLICY, changed=ignoring_status),)

    async def background(self) -> None:
        """Listen for changes of the table and the uplinks."""
        table, links = asyncio.Event(), asyncio.Event()
        subscriptions = (self._table.subscribe(table.set), watch.subscribe(self._uplinks, links.set))
        try:
            await asyncio.gather(self._heed(table, 0.0), self._heed(links, BETWEEN_REPAIRS))
        finally:
            for each in subscriptions:
                each.close()

    async def _heed(self, changed: asyncio.Event, between: float) -> None:
        while True:
            await changed.wait()
            changed.clear()
            self.wake(self._key)
            await asyncio.sleep(between)

    def _uplinks(self) -> Iterable[str]:
        confirmed = self._keeper.confirmed
        return [] if confirmed is None else [each.interface for each in confirmed.uplinks]

    async def reconcile(self, key: Key) -> Requeue | None:
        """Compare, change, tell."""
        policy = self._runtime.cache.get(HOST_POLICY, key)
        if policy is None or key != self._key:
            return None
        if policy.spec.paused:
            text = "spec.paused is true: the agent looks and changes nothing"
            await self._tell(policy, Reason.PAUSED, text)
            return None
        try:
            return await self._obey_or_refuse(policy)
        except RetryableError as error:
            await self._tell(policy, Reason.PENDING, str(error))
            return Requeue(SOON)
        except AdapterError as error:
            await self._tell(policy, Reason.FAILED, str(error))
            return Requeue(LATER)

    async def _obey_or_refuse(self, policy: HostPolicy) -> Requeue | None:
        try:
            return await self._obey(policy)
        except (HostPolicyInvalidError, UplinkRefusedError) as error:
            await self._refuse(policy, error.reason, str(error))
            return Requeue(LATER)  # an interface may appear

    async def _obey(self, policy: HostPolicy) -> Requeue | None:
        firewall, uplinks = policy.spec.firewall, policy.spec.uplinks
        if firewall is None and not uplinks:
            self._keeper.forgive()
            await self._keeper.lessen(None, None, ())
            text = "spec.firewall and spec.uplinks of the Node are unset"
            await self._tell(policy, Reason.NOT_CONFIGURED, text)
            return None
        api = await self._probe.api_server()
        refusal = None if firewall is None else check(self._rules(policy, firewall, api), api)
        if refusal is not None:
            await self._refuse(policy, refusal.reason, refusal.message)
            return Requeue(LATER)  # the API server's name may mean another address then
        await self._check_uplinks(policy)
        undone = self._keeper.failure(firewall, uplinks)
        if undone is not None:
            # What was in force before goes on, with the nodes of now.
            confirmed = self._keeper.confirmed
            if confirmed is None:
                await self._repair(policy)
            else:
                await self._bring(policy, confirmed.firewall, confirmed.uplinks, api)
            await self._tell(policy, Reason.ROLLED_BACK, self._undone(undone))
            return None
        self._keeper.forgive()
        problem = await self._bring(policy, firewall, uplinks, api)
        confirmed = self._keeper.confirmed
        if problem is None:
            await self._tell(policy, Reason.IN_FORCE, "" if confirmed is None else confirmed.proof)
            return None
        if self._keeper.failure(firewall, uplinks) is None:
            # The same, only the nodes are others: they are not to blame.
            await self._tell(policy, Reason.PENDING, self._undone(problem))
            return Requeue(LATER)
        await self._tell(policy, Reason.ROLLED_BACK, self._undone(problem))
        return None

    async def _bring(
        self, policy: HostPolicy, firewall: HostFirewall | None, uplinks: Sequence[Uplink], api: ApiServer
    ) -> str | None:
        """Why it was undone; None: in force."""
        text = None
        if firewall is not None:
            text = render(self._rules(policy, firewall, api), self._instance, self._link_prefix)
        if self._keeper.adds_nothing(text, uplinks):
            self._told_repaired(policy, await self._keeper.lessen(firewall, text, uplinks))
            return None
        problem = await self._keeper.change(firewall, text, self._probe, uplinks)
        get_logger().info("the node's own firewall and uplinks were changed", undone=problem)
        return problem

    async def _check_uplinks(self, policy: HostPolicy) -> None:
        names = [each.interface for each in policy.spec.uplinks]
        check_uplinks(
            policy.spec.uplinks,
            await kernel.observe(names),
            elsewhere=kernel.addresses_elsewhere(names),
            nodes=known_addresses(policy.spec.nodes),
            link_prefix=self._link_prefix,
        )

    def _rules(self, policy: HostPolicy, firewall: HostFirewall, api: ApiServer) -> Rules:
        return rules_of(firewall, policy.spec.nodes, api_port=api.port if api.here else None)

    async def _repair(self, policy: HostPolicy) -> None:
        self._told_repaired(policy, await self._keeper.repair())

    def _told_repaired(self, policy: HostPolicy, repaired: list[str]) -> None:
        if repaired:
            text = f"somebody changed {' and '.join(repaired)}: put back"
            self._runtime.events.warning(HOST_POLICY, policy, Reason.REPAIRED, text)

    async def _refuse(self, policy: HostPolicy, reason: Reason, message: str) -> None:
        """Nothing is changed; what was in force is kept so."""
        await self._repair(policy)
        await self._tell(policy, reason, f"{message}. {self._instead()}")

    def _undone(self, problem: str) -> str:
        return f"undone, because with it {problem}. {self._instead()}"

    def _instead(self) -> str:
        if self._keeper.confirmed is None:
            return "The node is as it was before"
        return "The former one is in force"

    async def _tell(self, policy: HostPolicy, reason: Reason, message: str) -> None:
        conditions = Conditions(policy.status, policy.metadata.generation)
        if reason in {Reason.IN_FORCE, Reason.NOT_CONFIGURED}:
            conditions.ready(reason, message)
        elif reason is Reason.PENDING:
            conditions.reconciling(reason, message)
        else:
            conditions.stalled(reason, message)
        before = next((each.reason for each in policy.status.conditions if each.type == Type.READY), None)
        if reason is Reason.ROLLED_BACK and before != reason:
            self._runtime.events.warning(HOST_POLICY, policy, reason, message)
        confirmed = self._keeper.confirmed
        told = HostPolicyStatus(
            observed_generation=policy.metadata.generation,
            conditions=conditions.build(),
            enforced=None if confirmed is None else confirmed.firewall,
            uplinks=[] if confirmed is None else list(confirmed.uplinks),
        )
        await self._runtime.status.write(HOST_POLICY, policy, told)
