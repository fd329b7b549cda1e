"""License: what entitles the cluster to new deployments. Written by administrators."""

from __future__ import annotations

from typing import ClassVar

from pydantic import ConfigDict, Field

from dsecos_api.base import ApiModel, KindInfo, KubeObject, PrinterColumn, rule, schema
from dsecos_api.shared import Status
from dsecos_api.types import DataKey, DnsLabel, ObjectName, Time


class LicenseKeyRef(ApiModel):
    """One key of a Secret in any namespace."""

    namespace: DnsLabel = Field(description="Namespace of the Secret.")
    name: ObjectName = Field(description="Name of the Secret.")
    key: DataKey = Field(description="Key in the Secret's data.")


class LicenseSpec(ApiModel):
    """Where the license comes from."""

    model_config = ConfigDict(
        json_schema_extra=schema(
            rule(
                "(has(self.development) && self.development) != has(self.keySecretRef)",
                "name exactly one of development: true and keySecretRef",
            ),
            rule("!has(self.server) || has(self.keySecretRef)", "server goes with keySecretRef"),
        )
    )

    development: bool | None = Field(
        default=None,
        description="True: a license for development and trial on this cluster, without a server.",
    )
    server: str | None = Field(
        default=None,
        description="License server. Unset: the token is judged offline.",
        pattern=r"^https://",
        max_length=253,
    )
    key_secret_ref: LicenseKeyRef | None = Field(default=None, description="Token or activation key.")
    paused: bool | None = Field(
        default=None, description="True: controllers look, report and change nothing."
    )


class LicenseStatus(Status):
    """What was seen."""

    holder: str | None = Field(default=None, description="Whom the license was issued to.")
    edition: str | None = Field(default=None, description="Edition.")
    max_nodes: int | None = Field(default=None, ge=0, description="Most nodes that the license covers.")
    expires: Time | None = Field(default=None, description="When it ends.")


class License(KubeObject):
    """What entitles the cluster to new deployments. It never stops what already runs."""

    info: ClassVar[KindInfo] = KindInfo(
        plural="licenses",
        singular="license",
        short_names=("lic",),
        namespaced=False,
        description="What entitles the cluster to new deployments. It never stops what already runs.",
        columns=(
            PrinterColumn("Ready", '.status.conditions[?(@.type=="Ready")].status'),
            PrinterColumn("Reason", '.status.conditions[?(@.type=="Ready")].reason'),
            PrinterColumn("Holder", ".status.holder"),
            PrinterColumn("Edition", ".status.edition"),
            PrinterColumn("Nodes", ".status.maxNodes", "integer"),
            PrinterColumn("Expires", ".status.expires", "date"),
            PrinterColumn("Age", ".metadata.creationTimestamp", "date"),
        ),
    )

    kind: str = "License"
    spec: LicenseSpec
    status: LicenseStatus = Field(default_factory=LicenseStatus)
