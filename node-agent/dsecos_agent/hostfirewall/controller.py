"""The HostPolicy controller: brings the node's own firewall to what the operator wrote, or says why not."""

import asyncio

from dsecos_api import HostPolicy
from dsecos_api.conditions import Reason, Type
from dsecos_api.hostpolicy import HOST_POLICY_NAME, HostFirewall, HostPolicyStatus
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
from dsecos_agent.hostfirewall.model import ApiServer, HostPolicyInvalidError, Rules, rules_of
from dsecos_agent.hostfirewall.probe import HostProbe
from dsecos_agent.hostfirewall.render import render
from dsecos_agent.hostfirewall.table import HostTable

SOON = 5.0
"""Seconds until another look whether a change can be made."""
LATER = 60.0
"""Seconds until another try of what has failed by no fault of the policy's."""


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
        """Listen for changes of the table."""
        changed = asyncio.Event()
        subscription = self._table.subscribe(changed.set)
        try:
            while True:
                await changed.wait()
                changed.clear()
                self.wake(self._key)
        finally:
            subscription.close()

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
            return await self._obey(policy)
        except RetryableError as error:
            await self._tell(policy, Reason.PENDING, str(error))
            return Requeue(SOON)
        except HostPolicyInvalidError as error:
            await self._refuse(policy, Reason.CIDR_INVALID, str(error))
            return None
        except AdapterError as error:
            await self._tell(policy, Reason.FAILED, str(error))
            return Requeue(LATER)

    async def _obey(self, policy: HostPolicy) -> Requeue | None:
        firewall = policy.spec.firewall
        if firewall is None:
            if await self._keeper.clear():
                get_logger().info("the node's own firewall is removed")
            await self._tell(policy, Reason.NOT_CONFIGURED, "spec.firewall of the Node is unset")
            return None
        api = await self._probe.api_server()
        refusal = check(self._rules(policy, firewall, api), api)
        if refusal is not None:
            await self._refuse(policy, refusal.reason, refusal.message)
            return Requeue(LATER)  # the API server's name may mean another address then
        undone = self._keeper.failure(firewall)
        if undone is not None:
            # What was in force before goes on, with the nodes of now.
            confirmed = self._keeper.confirmed
            if confirmed is None:
                await self._repair(policy)
            else:
                await self._bring(policy, confirmed.firewall, api)
            await self._tell(policy, Reason.ROLLED_BACK, self._undone(undone))
            return None
        problem = await self._bring(policy, firewall, api)
        confirmed = self._keeper.confirmed
        if problem is None:
            await self._tell(policy, Reason.IN_FORCE, "" if confirmed is None else confirmed.proof)
            return None
        if self._keeper.failure(firewall) is None:
            # The same firewall, only the nodes are others: they are not to blame.
            await self._tell(policy, Reason.PENDING, self._undone(problem))
            return Requeue(LATER)
        await self._tell(policy, Reason.ROLLED_BACK, self._undone(problem))
        return None

    async def _bring(self, policy: HostPolicy, firewall: HostFirewall, api: ApiServer) -> str | None:
        """Why it was undone; None: in force."""
        text = render(self._rules(policy, firewall, api), self._instance, self._link_prefix)
        confirmed = self._keeper.confirmed
        if confirmed is not None and confirmed.text == text:
            await self._repair(policy)
            return None
        problem = await self._keeper.change(firewall, text, self._probe)
        get_logger().info("the node's own firewall was changed", undone=problem)
        return problem

    def _rules(self, policy: HostPolicy, firewall: HostFirewall, api: ApiServer) -> Rules:
        return rules_of(firewall, policy.spec.nodes, api_port=api.port if api.here else None)

    async def _repair(self, policy: HostPolicy) -> None:
        if await self._keeper.repair():
            text = f"somebody changed table inet {self._instance}_host: it was put back"
            self._runtime.events.warning(HOST_POLICY, policy, Reason.REPAIRED, text)

    async def _refuse(self, policy: HostPolicy, reason: Reason, message: str) -> None:
        """Nothing is changed; what was in force is kept so."""
        await self._repair(policy)
        await self._tell(policy, reason, f"{message}. {self._instead()}")

    def _undone(self, problem: str) -> str:
        return f"undone, because with it {problem}. {self._instead()}"

    def _instead(self) -> str:
        if self._keeper.confirmed is None:
            return "The node has no firewall of its own"
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
        )
        await self._runtime.status.write(HOST_POLICY, policy, told)
