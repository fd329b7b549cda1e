"""One action at a time, each of them repeatable."""

from __future__ import annotations

import base64
from typing import Any

from dsecos_api import Guest, Stack
from dsecos_api.names import LABEL_MANAGED_BY, OPERATOR_FINALIZER, node_namespace
from dsecos_api.stack import StackStatus
from dsecos_runtime import CONFIG_MAP, GUEST, SECRET, STACK, Conflict, Key, NotFound, Resource, Runtime

from dsecos_operator.kinds import ANNOTATION_DIGEST, CONFIG_MAP_STAMP, LABEL_RETAINED, SECRET_STAMP, Stamp
from dsecos_operator.stacks import actions, retained
from dsecos_operator.stacks.claim import claim_of
from dsecos_operator.stacks.desired import labels, secrets_digest
from dsecos_operator.stacks.references import References


class Actor:
    """Does what the plan of one Stack says."""

    def __init__(self, runtime: Runtime, references: References) -> None:
        self._runtime = runtime
        self._references = references

    async def act(
        self, key: Key, stack: Stack | None, claimed: StackStatus | None, action: actions.Action
    ) -> None:
        """`claimed`: the status that a claim is written with. Raises ClusterError, Refused."""
        cluster = self._runtime.cluster
        match action:
            case actions.AddFinalizer() if stack is not None:
                await cluster.add_finalizer(STACK, stack, OPERATOR_FINALIZER)
            case actions.RemoveFinalizer() if stack is not None:
                await cluster.remove_finalizer(STACK, stack, OPERATOR_FINALIZER)
            case actions.WriteClaim(claim) if stack is not None and claimed is not None:
                await self._runtime.status.write(STACK, stack, claimed, urgent=True)
                written = self._runtime.cache.get(STACK, key)
                if written is None or written.uid != stack.uid or claim_of(written) != claim:
                    raise Conflict("the claim was not taken: the Stack is gone or was replaced")
            case actions.ApplyGuest(guest):
                await cluster.apply(GUEST, guest)
            case actions.DeleteGuest(guest):
                await self._check_owner(guest, stack)
                await self._delete(GUEST, guest.namespace, guest.name, guest.uid)
            case actions.ApplySecret() if stack is not None:
                await self._apply_secret(stack, action)
            case actions.CopySecret(stamp, namespace):
                await self._copy_secret(stamp, namespace)
            case actions.DeleteSecret(stamp):
                await self._delete(SECRET_STAMP, stamp.namespace, stamp.name, stamp.uid)
            case actions.Remember(node, entry) if stack is not None:
                await self._remember(stack, node, entry)

    async def _apply_secret(self, stack: Stack, action: actions.ApplySecret) -> None:
        values = await self._references.secrets(stack)
        if secrets_digest(stack.uid, values) != action.digest:
            raise Conflict("a Secret has changed meanwhile")
        await self._runtime.cluster.apply(
            SECRET_STAMP,
            {
                "metadata": {
                    "name": action.secret,
                    "namespace": action.namespace,
                    "labels": labels(stack),
                    "annotations": {ANNOTATION_DIGEST: action.digest},
                },
                "type": "Opaque",
                "data": {name: base64.b64encode(value).decode() for name, value in values.items()},
            },
        )

    async def _copy_secret(self, stamp: Stamp, namespace: str) -> None:
        found = await self._runtime.cluster.get(SECRET, stamp.name, stamp.namespace)
        metadata = found["metadata"]
        await self._runtime.cluster.apply(
            SECRET_STAMP,
            {
                "metadata": {
                    "name": stamp.name,
                    "namespace": namespace,
                    "labels": metadata.get("labels") or {},
                    "annotations": {ANNOTATION_DIGEST: metadata["annotations"][ANNOTATION_DIGEST]},
                },
                "type": "Opaque",
                "data": found.get("data") or {},
            },
        )

    async def _remember(self, stack: Stack, node: str, entry: str | None) -> None:
        key = Key(node_namespace(node), retained.CONFIG_MAP)
        if await self._runtime.cluster.find(CONFIG_MAP, key.name, key.namespace) is None:
            if entry is None:
                return
            metadata = {
                "name": key.name,
                "namespace": key.namespace,
                "labels": {LABEL_RETAINED: "true", LABEL_MANAGED_BY: "dsecos-operator"},
            }
            data = {retained.entry_key(stack): entry}
            await self._runtime.cluster.create(CONFIG_MAP_STAMP, {"metadata": metadata, "data": data})
            return
        # A merge patch touches this entry only; null removes it.
        await self._runtime.cluster.patch(CONFIG_MAP_STAMP, key, {"data": {retained.entry_key(stack): entry}})

    async def _check_owner(self, guest: Guest, stack: Stack | None) -> None:
        """A guest whose Stack the cache does not know is deleted only if the API server does not know it
        either.
        """
        ref = guest.spec.stack_ref
        if stack is not None and stack.uid == ref.uid:
            return
        owner = await self._runtime.cluster.find(STACK, ref.name, ref.namespace)
        if owner is not None and owner.uid == ref.uid:
            raise Conflict(f"Stack {ref.namespace}/{ref.name} is there, the cache is behind")

    async def _delete(self, resource: Resource[Any], namespace: str, name: str, uid: str) -> None:
        try:
            await self._runtime.cluster.delete(resource, name, namespace, uid=uid)
        except NotFound:
            return
