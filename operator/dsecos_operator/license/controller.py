"""License: tells what a License is good for. The controller that asks a license server comes later."""

from __future__ import annotations

from dsecos_api import Reason, Type
from dsecos_api.license import LicenseStatus
from dsecos_runtime import LICENSE, Conditions, Controller, Input, Key, Requeue, Runtime, ignoring_status


class LicenseController(Controller):
    """Writes the status of Licenses."""

    name = "license"

    def __init__(self, runtime: Runtime) -> None:
        super().__init__()
        self._runtime = runtime
        self.inputs = (Input(LICENSE, changed=ignoring_status),)

    async def reconcile(self, key: Key) -> Requeue | None:
        """A development License is valid as it is; of any other nothing can be said yet."""
        found = self._runtime.cache.get(LICENSE, key)
        if found is None or found.deleting:
            return None
        conditions = Conditions(found.status, found.metadata.generation, order=(Type.VALID,))
        if found.spec.development:
            conditions.true(Type.VALID, Reason.DEVELOPMENT_LICENSE, "for development and trial")
            conditions.ready(Reason.DEVELOPMENT_LICENSE, "for development and trial")
        else:
            message = (
                "this version cannot validate tokens; use spec.development: true for development and trial"
            )
            conditions.unknown(Type.VALID, Reason.CONTROLLER_NOT_AVAILABLE, message)
            conditions.unknown(Type.READY, Reason.CONTROLLER_NOT_AVAILABLE, message)
        status = LicenseStatus(
            observed_generation=found.metadata.generation,
            edition="development" if found.spec.development else None,
            conditions=conditions.build(),
        )
        await self._runtime.status.write(LICENSE, found, status)
        return None
