"""A controller process against a real API server: wake-ups, outages, and the ways in which it ends."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import ssl
import statistics
import time
import urllib.request
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from dsecos_control_plane.testing import ControlPlane
from dsecos_runtime import (
    CONFIG_MAP,
    NETWORK_ZONE,
    NODE,
    Backoff,
    Cluster,
    Controller,
    Input,
    Key,
    Requeue,
    Runtime,
    ignoring_status,
)
from dsecos_runtime.metrics import WRITES
from dsecos_runtime.testing import Gateway, Run

from tests.patience import async_until

Make = Callable[..., Any]
Start = Callable[..., Run]


class Recorder(Controller):
    """Remembers when it looked at what, and what the cache held then."""

    name = "recorder"
    inputs: Sequence[Input[Any]] = (Input(CONFIG_MAP),)

    def __init__(self, runtime: Runtime) -> None:
        super().__init__()
        self.runtime = runtime
        self.looks: list[tuple[float, Key, Any]] = []

    async def reconcile(self, key: Key) -> Requeue | None:
        obj = self.runtime.cache.get(self.inputs[0].resource, key)
        self.looks.append((time.monotonic(), key, obj))
        return None

    def last(self, name: str) -> tuple[float, Any]:
        """When it last looked at the name, and what it saw."""
        return next(
            ((moment, obj) for moment, key, obj in reversed(self.looks) if key.name == name), (0.0, None)
        )

    def saw(self, name: str, value: str) -> bool:
        """Whether it last saw that value."""
        obj = self.last(name)[1]
        return obj is not None and obj["data"].get("v") == value


R = TypeVar("R", bound=Controller)


async def running(start: Start, kind: Callable[[Runtime], R], **settings: Any) -> tuple[Run, R]:
    """A process with one controller, as soon as that is made."""
    made: list[R] = []

    def make(runtime: Runtime) -> list[R]:
        made.append(kind(runtime))
        return made

    run = start(make, **settings)
    await async_until(lambda: run.ended or made)
    assert not run.ended
    return run, made[0]


async def recording(start: Start, **settings: Any) -> tuple[Run, Recorder]:
    """A process that watches ConfigMaps, once it has looked at the one that is in every namespace."""
    run, recorder = await running(start, Recorder, **settings)
    await async_until(lambda: run.ended or recorder.looks)
    assert not run.ended
    return run, recorder


async def restart_api_server(control_plane: ControlPlane) -> None:
    """Kill it, and wait until its supervisor has it back."""
    killed = control_plane.pid("kube-apiserver")
    os.kill(killed, signal.SIGKILL)
    await async_until(lambda: control_plane.pid("kube-apiserver") not in (0, killed), within=30)
    await asyncio.to_thread(control_plane.start)


def compact(control_plane: ControlPlane) -> None:
    """Make etcd forget all versions but the newest (etcd API v3, kv/compaction)."""
    settings = control_plane.settings
    context = ssl.create_default_context(cafile=str(settings.pki / "etcd-ca.crt"))
    context.load_cert_chain(str(settings.pki / "etcd-client.crt"), str(settings.pki / "etcd-client.key"))

    def call(method: str, body: dict[str, Any]) -> Any:
        url = f"https://127.0.0.1:{settings.etcd_port}/v3/kv/{method}"
        with urllib.request.urlopen(url, json.dumps(body).encode(), context=context) as answer:
            return json.load(answer)

    revision = call("range", {"key": "eA=="})["header"]["revision"]
    call("compaction", {"revision": revision, "physical": True})


class TestWakeUps:
    async def test_changes_wake_the_controller(
        self, start: Start, cluster: Cluster, config_map: Make, record_property: Make
    ) -> None:
        _, recorder = await recording(start)
        latencies = []
        for number in range(30):
            began = time.monotonic()
            await cluster.apply(CONFIG_MAP, config_map(v=str(number)))
            await async_until(partial(recorder.saw, "cm", str(number)), within=5.0)
            latencies.append(recorder.last("cm")[0] - began)
        median, worst = statistics.median(latencies), max(latencies)
        record_property("latency", f"median {median * 1000:.1f} ms, worst {worst * 1000:.1f} ms")
        print(f"apply to reconcile: median {median * 1000:.1f} ms, worst {worst * 1000:.1f} ms")

    async def test_deletion_wakes_with_an_empty_cache(
        self, start: Start, cluster: Cluster, config_map: Make, namespace: str
    ) -> None:
        _, recorder = await recording(start)
        await cluster.apply(CONFIG_MAP, config_map(v="1"))
        await async_until(lambda: recorder.saw("cm", "1"))
        await cluster.delete(CONFIG_MAP, "cm", namespace)
        await async_until(lambda: recorder.last("cm")[1] is None)

    async def test_what_existed_before_the_start_is_looked_at(
        self, start: Start, cluster: Cluster, config_map: Make
    ) -> None:
        await cluster.apply(CONFIG_MAP, config_map(v="1"))
        _, recorder = await recording(start)
        await async_until(lambda: recorder.saw("cm", "1"))

    async def test_other_namespaces_are_not_watched(
        self, start: Start, cluster: Cluster, namespace: str
    ) -> None:
        _, recorder = await recording(start)
        assert {key.namespace for _, key, _ in recorder.looks} == {namespace}

    async def test_selectors_narrow_the_watch(self, start: Start, cluster: Cluster, config_map: Make) -> None:
        class Selective(Recorder):
            inputs: Sequence[Input[Any]] = (
                Input(CONFIG_MAP, labels="wanted=yes"),
                Input(NODE, fields="metadata.name=of-ours"),
            )

        run, recorder = await running(start, Selective)
        await async_until(lambda: run.runtime.cache.watches and run.runtime.cache.ready())
        for name, labels in (("no", {}), ("yes", {"wanted": "yes"})):
            obj = config_map(name, v="1")
            obj["metadata"]["labels"] = labels
            await cluster.apply(CONFIG_MAP, obj)
        await async_until(lambda: recorder.saw("yes", "1"))
        assert [key.name for key in run.runtime.cache.keys(CONFIG_MAP)] == ["yes"]

    async def test_who_writes_reads_at_once_what_it_wrote(
        self, start: Start, config_map: Make, namespace: str
    ) -> None:
        run, recorder = await recording(start)
        ours = run.runtime
        for number in range(20):
            await ours.cluster.apply(CONFIG_MAP, config_map(v=str(number)))
            found = ours.cache.get(CONFIG_MAP, Key(namespace, "cm"))
            assert found is not None
            assert found["data"]["v"] == str(number)
        await async_until(lambda: recorder.saw("cm", "19"))


class TestRights:
    async def test_a_part_that_may_see_its_own_namespace_and_node_only_runs(
        self, start: Start, kubeconfig_of: Make, control_plane: ControlPlane, cluster: Cluster, namespace: str
    ) -> None:
        """As the agent: a stolen credential shows one node."""

        class Agent(Recorder):
            inputs = (
                Input(NETWORK_ZONE),
                Input(NODE, fields=f"metadata.name={namespace}"),
            )

        kubeconfig = await kubeconfig_of("agent")
        account = f"--serviceaccount={namespace}:agent"
        zones = ("role", "agent", "--verb=get,list,watch", "--resource=networkzones.dsecos.io")
        own = ("clusterrole", namespace, "--verb=get,list,watch", "--resource=nodes.dsecos.io")
        control_plane.kubectl("create", "-n", namespace, *zones)
        control_plane.kubectl("create", "-n", namespace, "rolebinding", "agent", "--role=agent", account)
        control_plane.kubectl("create", *own, f"--resource-name={namespace}")
        control_plane.kubectl(
            "create", "clusterrolebinding", namespace, f"--clusterrole={namespace}", account
        )
        run, recorder = await running(start, Agent, kubeconfig=kubeconfig)
        for name in (namespace, f"{namespace}-other"):
            await cluster.create(NODE, {"metadata": {"name": name}, "spec": {"engine": {"type": "lxc"}}})
        await async_until(lambda: recorder.last(namespace) != (0.0, None))
        assert [key.name for key in run.runtime.cache.keys(NODE)] == [namespace]
        for name in (namespace, f"{namespace}-other"):
            await cluster.delete(NODE, name)


class TestWrites:
    async def test_passes_that_change_nothing_write_nothing(
        self, start: Start, cluster: Cluster, zone: Make
    ) -> None:
        class Zones(Controller):
            name = "zones"
            inputs = (Input(NETWORK_ZONE, changed=ignoring_status),)
            passes = 0

            def __init__(self, runtime: Runtime) -> None:
                super().__init__()
                self.runtime = runtime

            async def reconcile(self, key: Key) -> Requeue | None:
                found = self.runtime.cache.get(NETWORK_ZONE, key)
                assert found is not None
                found = await self.runtime.cluster.add_finalizer(NETWORK_ZONE, found, "dsecos.io/operator")
                status = {"observedGeneration": found.metadata.generation, "gateway": "10.20.0.1"}
                await self.runtime.status.write(NETWORK_ZONE, found, status)
                self.passes += 1
                return None

        await cluster.create(NETWORK_ZONE, zone())
        run, zones = await running(start, Zones)
        await async_until(lambda: zones.passes)

        def written() -> float:
            return sum(
                sample.value
                for metric in WRITES.collect()
                for sample in metric.samples
                if sample.name.endswith("_total") and sample.labels["kind"] == "NetworkZone"
            )

        before = written()
        for _ in range(4):
            passes = zones.passes
            zones.wake_all()
            await async_until(lambda before=passes: zones.passes > before)  # type: ignore[misc]
        assert written() == before
        found = run.runtime.cache.list(NETWORK_ZONE)[0]
        await cluster.remove_finalizer(NETWORK_ZONE, found, "dsecos.io/operator")


class TestOutages:
    async def test_the_watch_goes_on_after_the_api_server_was_killed(
        self, start: Start, cluster: Cluster, config_map: Make, control_plane: ControlPlane
    ) -> None:
        run, recorder = await recording(start)
        await restart_api_server(control_plane)
        await cluster.apply(CONFIG_MAP, config_map(v="after"))
        applied = time.monotonic()
        await async_until(lambda: recorder.saw("cm", "after"), within=30)
        print(f"seen {recorder.last('cm')[0] - applied:.2f} s after the API server was back")
        assert not run.ended

    async def test_an_outage_of_60_s_is_survived_in_the_watch_and_in_a_list(
        self, start: Start, cluster: Cluster, config_map: Make, control_plane: ControlPlane, tmp_path: Path
    ) -> None:
        """kopf alone gives up on a list that was answered with errors for some 54 s."""
        (tmp_path / "cut").mkdir()
        async with (
            Gateway(control_plane.kubeconfig, tmp_path / "cut") as cut,
            Gateway(control_plane.kubeconfig, tmp_path) as failing,
        ):
            watching, one = await recording(start, kubeconfig=cut.kubeconfig)
            listing, other = await recording(start, kubeconfig=failing.kubeconfig)
            await cut.cut()
            failing.failing, failing.lists_only, failing.forgetful = 503, True, True
            await failing.cut()
            await failing.open()
            await async_until(lambda: failing.requests[-1].endswith("/configmaps"))
            await cluster.apply(CONFIG_MAP, config_map(v="during"))
            await asyncio.sleep(60)
            assert not watching.ended
            assert not listing.ended
            await cut.open()
            failing.failing = 0
            await async_until(lambda: one.saw("cm", "during") and other.saw("cm", "during"), within=10)
            await watching.end()
            await listing.end()

    async def test_401_is_waited_out(
        self, start: Start, cluster: Cluster, config_map: Make, gateway: Gateway
    ) -> None:
        run, recorder = await recording(start, kubeconfig=gateway.kubeconfig)
        gateway.failing = 401
        await gateway.cut()
        await gateway.open()
        await async_until(lambda: len(gateway.requests) > 8)
        gateway.failing = 0
        await cluster.apply(CONFIG_MAP, config_map(v="after"))
        await async_until(lambda: recorder.saw("cm", "after"), within=10)
        assert not run.ended

    async def test_what_was_deleted_while_history_was_lost_leaves_no_ghost(
        self, start: Start, cluster: Cluster, config_map: Make, gateway: Gateway, namespace: str
    ) -> None:
        run, recorder = await recording(start, kubeconfig=gateway.kubeconfig)
        for name in ("ghost", "stays"):
            await cluster.apply(CONFIG_MAP, config_map(name, v="1"))
            await async_until(partial(recorder.saw, name, "1"))
        await gateway.cut()
        await cluster.delete(CONFIG_MAP, "ghost", namespace)
        gateway.forgetful = True
        await gateway.open()
        await async_until(lambda: recorder.last("ghost")[1] is None)
        assert run.runtime.cache.get(CONFIG_MAP, Key(namespace, "ghost")) is None
        assert run.runtime.cache.get(CONFIG_MAP, Key(namespace, "stays")) is not None

    async def test_history_that_etcd_has_compacted_is_no_loss(
        self,
        start: Start,
        cluster: Cluster,
        config_map: Make,
        gateway: Gateway,
        namespace: str,
        control_plane: ControlPlane,
    ) -> None:
        """As after an outage of more than five minutes: the version that the watch goes on from is gone."""
        run, recorder = await recording(start, kubeconfig=gateway.kubeconfig)
        for name in ("ghost", "stays"):
            await cluster.apply(CONFIG_MAP, config_map(name, v="1"))
            await async_until(partial(recorder.saw, name, "1"))
        await gateway.cut()
        await cluster.delete(CONFIG_MAP, "ghost", namespace)
        await cluster.apply(CONFIG_MAP, config_map("stays", v="2"))
        await asyncio.to_thread(compact, control_plane)
        await restart_api_server(control_plane)
        await gateway.open()
        await async_until(lambda: recorder.saw("stays", "2") and recorder.last("ghost")[1] is None, within=30)
        assert not run.ended

    async def test_it_waits_for_an_api_server_that_is_not_there_yet(
        self, start: Start, gateway: Gateway, config_map: Make, cluster: Cluster
    ) -> None:
        kubeconfig = gateway.kubeconfig
        await gateway.cut()
        await cluster.apply(CONFIG_MAP, config_map(v="1"))
        starting = asyncio.create_task(running(start, Recorder, kubeconfig=kubeconfig))
        await asyncio.sleep(1.5)
        assert not starting.done()
        await gateway.open()
        _, recorder = await starting
        await async_until(lambda: recorder.saw("cm", "1"))


class TestEnds:
    async def test_a_stop_is_clean(self, start: Start) -> None:
        run, _ = await recording(start)
        assert await run.end() == 0

    async def test_work_in_hand_is_finished_before_the_end(self, start: Start) -> None:
        finished = asyncio.Event()

        class Slow(Recorder):
            async def reconcile(self, key: Key) -> Requeue | None:
                await super().reconcile(key)
                await asyncio.sleep(0.5)
                finished.set()
                return None

        run, slow = await running(start, Slow)
        await async_until(lambda: slow.looks)
        assert not finished.is_set()
        assert await run.end() == 0
        assert finished.is_set()

    async def test_a_watcher_task_that_is_gone_ends_the_process(self, start: Start, namespace: str) -> None:
        run, _ = await recording(start)
        name = f"watcher for configmaps.v1@{namespace}"
        watcher = next(task for task in asyncio.all_tasks() if task.get_name() == name)
        await asyncio.sleep(2.5)  # supervision has seen it alive
        watcher.cancel()
        assert await run.code() == 1

    async def test_an_error_in_the_stream_that_kopf_gives_up_on_ends_the_process(
        self, start: Start, gateway: Gateway, namespace: str
    ) -> None:
        run, _ = await recording(start, kubeconfig=gateway.kubeconfig)
        status = {"kind": "Status", "status": "Failure", "code": 500, "message": "etcdserver: gone"}
        path = f"/api/v1/namespaces/{namespace}/configmaps"
        await gateway.inject(path, {"type": "ERROR", "object": status})
        assert await run.code() == 1

    async def test_a_task_beside_the_controllers_that_dies_ends_the_process(self, start: Start) -> None:
        async def die() -> None:
            raise OSError("netlink is gone")

        run, _ = await recording(start)
        run.runtime.spawn(asyncio.sleep(0), name="may end")
        await asyncio.sleep(0.1)
        assert not run.ended
        run.runtime.spawn(die(), name="dies")
        assert await run.code() == 1

    async def test_a_kubeconfig_that_is_missing_ends_the_process(self, start: Start, tmp_path: Any) -> None:
        assert await start(lambda _: [], kubeconfig=tmp_path / "none").code() == 1


async def test_a_failing_pass_is_tried_again_with_growing_pauses(start: Start) -> None:
    failures = 3

    class Failing(Recorder):
        backoff = Backoff(first=0.1, jitter=0.0)

        async def reconcile(self, key: Key) -> Requeue | None:
            await super().reconcile(key)
            if len(self.looks) <= failures:
                raise OSError("not yet")
            return None

    _, failing = await running(start, Failing)
    await async_until(lambda: len(failing.looks) == failures + 1)
    moments = [moment for moment, _, _ in failing.looks]
    pauses = [after - before for before, after in itertools.pairwise(moments)]
    assert pauses == sorted(pauses)
    assert pauses[0] >= 0.1
