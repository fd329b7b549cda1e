"""What the API server does with each call, and which error says so."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from dsecos_api import NetworkZone
from dsecos_runtime import (
    CONFIG_MAP,
    NETWORK_ZONE,
    SECRET,
    SERVICE_ACCOUNT,
    STACK,
    Cluster,
    Conflict,
    CredentialsError,
    Forbidden,
    Invalid,
    Key,
    LeadershipLost,
    NotFound,
    Object,
    Resource,
    Unavailable,
)
from dsecos_runtime.metrics import REQUESTS, WRITES
from dsecos_runtime.tokens import Claims

FINALIZER = "dsecos.io/operator"
Make = Callable[..., Any]


class TestReads:
    async def test_an_object_of_a_model_is_read_as_that_model(self, cluster: Cluster, zone: Make) -> None:
        made = await cluster.create(NETWORK_ZONE, zone())
        found = await cluster.get(NETWORK_ZONE, made.name, made.namespace)
        assert isinstance(found, NetworkZone)
        assert found.spec.cidrs == ["10.20.0.0/24"]

    async def test_an_object_without_a_model_is_a_dict(self, cluster: Cluster, config_map: Make) -> None:
        made = await cluster.create(CONFIG_MAP, config_map(a="1"))
        assert (await cluster.get(CONFIG_MAP, "cm", made["metadata"]["namespace"]))["data"] == {"a": "1"}

    async def test_what_is_missing_is_not_found(self, cluster: Cluster, namespace: str) -> None:
        with pytest.raises(NotFound):
            await cluster.get(CONFIG_MAP, "no", namespace)
        assert await cluster.find(CONFIG_MAP, "no", namespace) is None

    async def test_lists_select_by_namespace_and_label(
        self, cluster: Cluster, config_map: Make, namespace: str
    ) -> None:
        for name in ("a", "b"):
            obj = config_map(name)
            obj["metadata"]["labels"] = {"name": name}
            await cluster.create(CONFIG_MAP, obj)
        found = await cluster.list(CONFIG_MAP, namespace, labels={"name": "b"})
        assert [Key.of(each).name for each in found] == ["b"]
        assert found[0]["kind"] == "ConfigMap"
        found = await cluster.list(CONFIG_MAP, fields={"metadata.namespace": namespace, "metadata.name": "a"})
        assert [Key.of(each).name for each in found] == ["a"]

    async def test_long_lists_come_in_pages(
        self, cluster: Cluster, config_map: Make, namespace: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("dsecos_runtime.reader.PAGE", 2)
        for number in range(5):
            await cluster.create(CONFIG_MAP, config_map(f"cm-{number}"))
        found = await cluster.list(CONFIG_MAP, namespace, fields="metadata.name!=kube-root-ca.crt")
        assert len(found) == 5

    async def test_whether_a_kind_is_served(self, cluster: Cluster) -> None:
        assert await cluster.served(STACK)
        assert not await cluster.served(Resource("dsecos.io", "v1alpha1", "gadgets", "Gadget"))
        assert not await cluster.served(Resource("no.such.group", "v1", "gadgets", "Gadget"))


class TestWrites:
    async def test_create_of_what_exists_conflicts(self, cluster: Cluster, config_map: Make) -> None:
        await cluster.create(CONFIG_MAP, config_map())
        with pytest.raises(Conflict):
            await cluster.create(CONFIG_MAP, config_map())

    async def test_replace_needs_the_present_version(self, cluster: Cluster, config_map: Make) -> None:
        first = await cluster.create(CONFIG_MAP, config_map(a="1"))
        await cluster.replace(CONFIG_MAP, {**first, "data": {"a": "2"}})
        with pytest.raises(Conflict):
            await cluster.replace(CONFIG_MAP, {**first, "data": {"a": "3"}})

    async def test_apply_creates_and_then_changes_what_is_ours_only(
        self, cluster: Cluster, config_map: Make, namespace: str
    ) -> None:
        await cluster.apply(CONFIG_MAP, config_map(ours="1", gone="1"))
        await cluster.apply(CONFIG_MAP, config_map(theirs="1"), field_manager="other")
        found = await cluster.apply(CONFIG_MAP, config_map(ours="2"))
        assert found["data"] == {"ours": "2", "theirs": "1"}

    async def test_apply_of_an_object_that_was_read_works(self, cluster: Cluster, zone: Make) -> None:
        made = await cluster.apply(NETWORK_ZONE, zone())
        assert (await cluster.apply(NETWORK_ZONE, made)).uid == made.uid

    async def test_exact_apply_needs_the_present_version(self, cluster: Cluster, config_map: Make) -> None:
        first = await cluster.apply(CONFIG_MAP, config_map(a="1"))
        first["metadata"].pop("managedFields")
        await cluster.apply(CONFIG_MAP, config_map(a="2"))
        with pytest.raises(Conflict):
            await cluster.apply(CONFIG_MAP, first, exact=True)

    async def test_what_the_schema_refuses_is_invalid(self, cluster: Cluster, zone: Make) -> None:
        raw = NETWORK_ZONE.encode(zone())
        raw["spec"]["cidrs"] = ["nonsense"]
        with pytest.raises(Invalid, match="cidr"):
            await cluster.apply(NETWORK_ZONE, raw)

    async def test_delete_minds_the_uid(self, cluster: Cluster, config_map: Make, namespace: str) -> None:
        made = await cluster.create(CONFIG_MAP, config_map())
        with pytest.raises(Conflict):
            await cluster.delete(CONFIG_MAP, "cm", namespace, uid="another")
        await cluster.delete(CONFIG_MAP, "cm", namespace, uid=made["metadata"]["uid"])
        with pytest.raises(NotFound):
            await cluster.delete(CONFIG_MAP, "cm", namespace)

    async def test_writes_and_reads_are_counted_by_kind_and_verb(
        self, cluster: Cluster, config_map: Make, namespace: str
    ) -> None:
        def count() -> tuple[float, float, float]:
            return (
                WRITES.labels("ConfigMap", "apply")._value.get(),
                WRITES.labels("ConfigMap", "create")._value.get(),
                REQUESTS.labels("ConfigMap", "create", "409")._value.get(),
            )

        before = count()
        await cluster.apply(CONFIG_MAP, config_map())
        with pytest.raises(Conflict):
            await cluster.create(CONFIG_MAP, config_map())
        await cluster.list(CONFIG_MAP, namespace)
        assert [now - then for now, then in zip(count(), before, strict=True)] == [1, 0, 1]


class TestStatus:
    async def test_status_is_applied_to_the_subresource_only(self, cluster: Cluster, zone: Make) -> None:
        made = await cluster.create(NETWORK_ZONE, zone())
        found = await cluster.apply_status(
            NETWORK_ZONE, made, {"observedGeneration": 1, "gateway": "10.20.0.1"}
        )
        assert found.status.gateway == "10.20.0.1"
        assert found.metadata.generation == made.metadata.generation
        assert found.spec == made.spec

    async def test_status_of_what_is_gone_is_not_found(self, cluster: Cluster, zone: Make) -> None:
        made = await cluster.create(NETWORK_ZONE, zone())
        await cluster.delete(NETWORK_ZONE, made.name, made.namespace)
        with pytest.raises(NotFound):
            await cluster.apply_status(NETWORK_ZONE, made, {"observedGeneration": 1})
        with pytest.raises(NotFound):
            await cluster.apply_status(NETWORK_ZONE, Key.of(made), {"observedGeneration": 1})

    async def test_status_of_what_was_made_anew_conflicts(self, cluster: Cluster, zone: Make) -> None:
        made = await cluster.create(NETWORK_ZONE, zone())
        await cluster.delete(NETWORK_ZONE, made.name, made.namespace)
        await cluster.create(NETWORK_ZONE, zone())
        with pytest.raises(Conflict):
            await cluster.apply_status(NETWORK_ZONE, made, {"observedGeneration": 1})


class TestFinalizers:
    async def test_added_once_and_removed(self, cluster: Cluster, zone: Make) -> None:
        made = await cluster.create(NETWORK_ZONE, zone())
        added = await cluster.add_finalizer(NETWORK_ZONE, made, FINALIZER)
        assert added.metadata.finalizers == [FINALIZER]
        again = await cluster.add_finalizer(NETWORK_ZONE, added, FINALIZER)
        assert again.metadata.resource_version == added.metadata.resource_version
        removed = await cluster.remove_finalizer(NETWORK_ZONE, added, FINALIZER)
        assert removed is not None
        assert removed.metadata.finalizers == []

    async def test_an_outdated_object_does_not_undo_what_others_did(
        self, cluster: Cluster, zone: Make
    ) -> None:
        made = await cluster.create(NETWORK_ZONE, zone())
        await cluster.add_finalizer(NETWORK_ZONE, made, "example.com/theirs")
        found = await cluster.add_finalizer(NETWORK_ZONE, made, FINALIZER)
        assert found.metadata.finalizers == ["example.com/theirs", FINALIZER]
        await cluster.add_finalizer(NETWORK_ZONE, found, "example.com/more")
        removed = await cluster.remove_finalizer(NETWORK_ZONE, found, FINALIZER)
        assert removed is not None
        assert removed.metadata.finalizers == ["example.com/theirs", "example.com/more"]
        for name in removed.metadata.finalizers:
            await cluster.remove_finalizer(NETWORK_ZONE, removed, name)

    async def test_removing_the_last_one_of_a_deleted_object_ends_it(
        self, cluster: Cluster, zone: Make
    ) -> None:
        created: NetworkZone = await cluster.create(NETWORK_ZONE, zone())
        made = await cluster.add_finalizer(NETWORK_ZONE, created, FINALIZER)
        await cluster.delete(NETWORK_ZONE, made.name, made.namespace, uid=made.uid)
        assert (await cluster.get(NETWORK_ZONE, made.name, made.namespace)).deleting
        assert await cluster.remove_finalizer(NETWORK_ZONE, made, FINALIZER) is None
        assert await cluster.find(NETWORK_ZONE, made.name, made.namespace) is None
        assert await cluster.remove_finalizer(NETWORK_ZONE, made, FINALIZER) is None

    async def test_a_namesake_is_left_alone(self, cluster: Cluster, zone: Make) -> None:
        made = await cluster.create(NETWORK_ZONE, zone())
        await cluster.delete(NETWORK_ZONE, made.name, made.namespace)
        await cluster.create(NETWORK_ZONE, zone())
        with pytest.raises(NotFound):
            await cluster.add_finalizer(NETWORK_ZONE, made, FINALIZER)


class TestTokens:
    async def test_a_token_is_bound_to_its_secret(self, cluster: Cluster, namespace: str) -> None:
        await cluster.create(SERVICE_ACCOUNT, {"metadata": {"name": "agent", "namespace": namespace}})
        secret: Object = {"metadata": {"name": "agent", "namespace": namespace}}
        secret = await cluster.create(SECRET, secret)
        token = await cluster.request_token(
            namespace, "agent", expiration=timedelta(hours=1), bound_secret=secret
        )
        claims = Claims.parse(token.token)
        assert claims is not None
        assert (claims.namespace, claims.service_account) == (namespace, "agent")
        assert claims.life == timedelta(hours=1)
        assert claims.expires == token.expires
        assert claims.bound_secret is not None
        assert claims.bound_secret["metadata"]["uid"] == secret["metadata"]["uid"]


class TestErrors:
    async def test_no_connection_is_unavailable(self, control_plane: Any, tmp_path: Path) -> None:
        text = control_plane.kubeconfig.read_text().replace(str(control_plane.settings.api_port), "1")
        (tmp_path / "kubeconfig").write_text(text)
        cluster = Cluster.connect(tmp_path / "kubeconfig")
        with pytest.raises(Unavailable):
            await cluster.list(CONFIG_MAP)
        await cluster.close()

    async def test_what_we_may_not_do_is_forbidden(
        self, control_plane: Any, cluster: Cluster, namespace: str, kubeconfig_of: Make
    ) -> None:
        ours = Cluster.connect(await kubeconfig_of("nobody"))
        with pytest.raises(Forbidden):
            await ours.list(CONFIG_MAP, namespace)
        await ours.close()

    async def test_a_lost_lease_stops_writes_but_not_reads(
        self, cluster: Cluster, config_map: Make, namespace: str
    ) -> None:
        def lost() -> float:
            raise LeadershipLost("lost")

        cluster.fence = lost
        with pytest.raises(LeadershipLost):
            await cluster.create(CONFIG_MAP, config_map())
        assert await cluster.find(CONFIG_MAP, "cm", namespace) is None
        cluster.fence = None

    def test_a_broken_kubeconfig_is_named(self, tmp_path: Path) -> None:
        for text in ("", "{}", "clusters: [", "current-context: x\nclusters: []\ncontexts: []"):
            (tmp_path / "kubeconfig").write_text(text)
            with pytest.raises(CredentialsError, match="kubeconfig"):
                Cluster.connect(tmp_path / "kubeconfig")
