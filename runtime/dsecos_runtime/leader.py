"""Leadership by a Lease, and a node's heartbeat by one.

Who holds the lease renews it; who does not hold it watches whether it changes. A lease is judged by how long
it has not changed on our own clock, never by the times in it: clocks of two machines differ. Our clock goes
on while the machine is suspended (CLOCK_BOOTTIME), so a leader that was asleep knows that it is none any
more.

Source: k8s.io/client-go `tools/leaderelection`; coordination.k8s.io/v1.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NoReturn

from dsecos_runtime import metrics
from dsecos_runtime.cluster import Cluster
from dsecos_runtime.conditions import utcnow
from dsecos_runtime.errors import ClusterError, Conflict, LeadershipLost, NotFound
from dsecos_runtime.logs import get_logger
from dsecos_runtime.resources import LEASE, Object


def boottime() -> float:
    """Seconds since boot, suspension included (clock_gettime(2), CLOCK_BOOTTIME)."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def micro_time(moment: datetime) -> str:
    """A time in the API's MicroTime form."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Leader:
    """One candidate for a lease. `acquire`, then `hold` for as long as it lasts, then `release`."""

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        name: str,
        *,
        identity: str,
        duration: float = 15.0,
        renew_deadline: float = 10.0,
        retry: float = 2.0,
        clock: Callable[[], float] = boottime,
        now: Callable[[], datetime] = utcnow,
    ) -> None:
        """Seconds: others take over `duration` after the last renewal that they saw; we stop acting
        `renew_deadline` after the last that succeeded; we renew three times in that and, after a failure, try
        every `retry`. `identity` is unique for each process.
        """
        if not retry < renew_deadline < duration:
            raise ValueError("retry < renew_deadline < duration must hold, or two could lead at a time")
        self._cluster, self._namespace, self._name = cluster, namespace, name
        self._identity = identity
        self._duration, self._renew_deadline, self._retry = duration, renew_deadline, retry
        self._clock, self._now = clock, now
        self._lease: Object | None = None
        self._seen: tuple[str, float] = ("", 0.0)
        self._until = 0.0
        self.epoch = 0

    async def acquire(self) -> int:
        """Wait until this process leads. Returns the epoch, which grows with each change of the holder."""
        log = get_logger(lease=self._name, identity=self._identity)
        log.info("waiting for leadership")
        while True:
            try:
                if await self._try():
                    metrics.LEADER.set(1)
                    log.info("leading", epoch=self.epoch)
                    return self.epoch
            except ClusterError as error:
                log.warning("lease not reached", error=str(error))
            await asyncio.sleep(self._retry)

    async def hold(self) -> NoReturn:
        """Renew until it is lost; then raise LeadershipLost."""
        pause = self._renew_deadline / 3
        while True:
            await asyncio.sleep(pause)
            try:
                if not await self._renew():
                    self._until = 0.0
                pause = self._renew_deadline / 3
            except ClusterError as error:
                get_logger().warning("lease not renewed", lease=self._name, error=str(error))
                pause = self._retry
            self.remaining()

    def remaining(self) -> float:
        """Seconds for which nobody else can lead. Raises LeadershipLost if there are none."""
        left = self._until - self._clock()
        if left <= 0:
            metrics.LEADER.set(0)
            raise LeadershipLost(f"lease {self._namespace}/{self._name} is not ours any more")
        return left

    @property
    def leads(self) -> bool:
        """Whether the lease is ours beyond doubt."""
        return self._until > self._clock()

    async def release(self) -> None:
        """Give the lease up, so that another can lead at once. An error is logged: it runs out then."""
        metrics.LEADER.set(0)
        led, self._until = self.leads, 0.0
        if not led or self._lease is None:
            return
        spec = {**self._lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}
        try:
            await self._cluster.replace(LEASE, {**self._lease, "spec": spec})
        except ClusterError as error:
            get_logger().warning("lease not released", lease=self._name, error=str(error))

    async def _renew(self) -> bool:
        """Renew what we hold, in one call as long as nobody else writes to the lease. Raises ClusterError."""
        start = self._clock()
        if self._lease is None or self._until <= start:
            return False
        try:
            await self._put(self._lease, self._spec(self._lease["spec"], ours=True), start)
        except Conflict:
            return await self._try()
        return True

    async def _try(self) -> bool:
        """Take or renew the lease if it may be taken. Whether it is ours then.

        Raises ClusterError; Conflict where somebody was quicker.
        """
        start = self._clock()
        try:
            lease = await self._cluster.get(LEASE, self._name, self._namespace)
        except NotFound:
            lease = {"metadata": {"name": self._name, "namespace": self._namespace}}
        spec = lease.get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        version = lease["metadata"].get("resourceVersion", "")
        if version != self._seen[0]:
            self._seen = (version, start)
        ours = holder == self._identity
        lapsed = start - self._seen[1] >= (spec.get("leaseDurationSeconds") or self._duration)
        if holder and not ours and not lapsed:
            return False
        if ours and self.epoch and self._until <= start:
            return False  # it was let slip once: what was decided under it must not go on
        await self._put(lease, self._spec(spec, ours), start)
        return True

    async def _put(self, lease: Object, spec: dict[str, Any], start: float) -> None:
        write = self._cluster.replace if lease["metadata"].get("resourceVersion") else self._cluster.create
        self._lease = await write(LEASE, {**lease, "spec": spec})
        self._seen = (self._lease["metadata"]["resourceVersion"], start)
        self._until = start + self._renew_deadline
        self.epoch = spec["leaseTransitions"]

    def _spec(self, before: dict[str, Any], ours: bool) -> dict[str, Any]:
        now = micro_time(self._now())
        transitions = before.get("leaseTransitions") or 0
        return {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": math.ceil(self._duration),
            "acquireTime": before["acquireTime"] if ours else now,
            "renewTime": now,
            "leaseTransitions": transitions if ours else transitions + 1,
        }


class Heartbeat:
    """Renews a node's Lease, so that others see that its agent lives."""

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        name: str,
        *,
        identity: str,
        interval: float = 10.0,
        duration: int = 40,
        now: Callable[[], datetime] = utcnow,
    ) -> None:
        """Seconds: renewed every `interval`; after `duration` without a renewal the node counts as lost."""
        self._cluster, self._interval, self._now = cluster, interval, now
        self._lease: Object = {
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"holderIdentity": identity, "leaseDurationSeconds": duration},
        }

    async def beat(self) -> None:
        """Renew once. Raises ClusterError."""
        spec = {**self._lease["spec"], "renewTime": micro_time(self._now())}
        await self._cluster.apply(LEASE, {**self._lease, "spec": spec})

    async def run(self) -> NoReturn:
        """Renew for ever; a renewal that fails is logged and tried again."""
        while True:
            try:
                await self.beat()
            except ClusterError as error:
                get_logger().warning("heartbeat failed", error=str(error))
            await asyncio.sleep(self._interval)
