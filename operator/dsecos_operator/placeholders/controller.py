"""Backup has no controller in this version, and its status says so."""

from __future__ import annotations

from dsecos_api import Reason, Type
from dsecos_api.backup import BackupStatus
from dsecos_runtime import BACKUP, Conditions, Controller, Input, Key, Requeue, Runtime, ignoring_status


class BackupPlaceholder(Controller):
    """Writes Ready=Unknown, so that nobody waits for a backup that does not come."""

    name = "backup"

    def __init__(self, runtime: Runtime) -> None:
        super().__init__()
        self._runtime = runtime
        self.inputs = (Input(BACKUP, changed=ignoring_status),)

    async def reconcile(self, key: Key) -> Requeue | None:
        """Say that nothing is backed up."""
        found = self._runtime.cache.get(BACKUP, key)
        if found is None or found.deleting:
            return None
        conditions = Conditions(found.status, found.metadata.generation)
        message = "this version makes no backups: nothing is backed up"
        conditions.unknown(Type.READY, Reason.CONTROLLER_NOT_AVAILABLE, message)
        status = BackupStatus(observed_generation=found.metadata.generation, conditions=conditions.build())
        await self._runtime.status.write(BACKUP, found, status)
        return None
