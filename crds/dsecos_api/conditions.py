"""The status contract: conditions after kstatus, the same for every kind.

`Ready` is always there. `Reconciling` and `Stalled` are abnormal-true: present and True only while they hold.
Beside them stands one condition a step, in the order of the work. Messages carry no time and no running
counter.

Source: sigs.k8s.io/cli-utils, `pkg/kstatus`; Kubernetes API conventions, "Typical status properties".
"""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from dsecos_api.base import ApiModel
from dsecos_api.types import Time


class ConditionStatus(StrEnum):
    """Whether a condition holds."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(ApiModel):
    """One observation about the object, with the reason for its present value."""

    type: str = Field(
        description="Name of the condition, in CamelCase.", max_length=63, pattern=r"^[A-Z][A-Za-z0-9]*$"
    )
    status: ConditionStatus = Field(description="Whether the condition holds: True, False or Unknown.")
    reason: str = Field(
        description="Why, as one CamelCase word for programs.", max_length=63, pattern=r"^[A-Z][A-Za-z0-9]*$"
    )
    message: str = Field(default="", description="Why and what to do next, for people.", max_length=32768)
    observed_generation: int | None = Field(
        default=None, description="The metadata.generation that this observation is about.", ge=0
    )
    last_transition_time: Time | None = Field(default=None, description="When the status last changed.")


class Type(StrEnum):
    """Every condition type that DsecOS writes."""

    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"

    LICENSED = "Licensed"
    RENDERED = "Rendered"
    SCHEDULED = "Scheduled"
    GUEST_READY = "GuestReady"
    VOLUMES_READY = "VolumesReady"
    NETWORK_READY = "NetworkReady"
    DOCKER_READY = "DockerReady"
    SERVICES_READY = "ServicesReady"
    REGISTERED = "Registered"

    PEERS_AGREED = "PeersAgreed"
    NAMES_SERVED = "NamesServed"

    NODE_REGISTERED = "NodeRegistered"
    ENGINE_READY = "EngineReady"
    STORAGE_READY = "StorageReady"
    FIREWALL_ENFORCED = "FirewallEnforced"
    HOST_FIREWALL = "HostFirewall"
    UPLINKS = "Uplinks"
    MANDATORY_ACCESS_CONTROL = "MandatoryAccessControl"
    DRAINED = "Drained"

    VALID = "Valid"
    WITHIN_LIMITS = "WithinLimits"
    LAST_RESTORE_VERIFIED = "LastRestoreVerified"


STACK_STEPS = (
    Type.LICENSED,
    Type.RENDERED,
    Type.SCHEDULED,
    Type.GUEST_READY,
    Type.VOLUMES_READY,
    Type.NETWORK_READY,
    Type.DOCKER_READY,
    Type.SERVICES_READY,
    Type.REGISTERED,
)
"""The steps of a deployment in the order of the work.

The firewall's rules are in force before the guest's first packet.
"""

GUEST_STEPS = (
    Type.VOLUMES_READY,
    Type.NETWORK_READY,
    Type.GUEST_READY,
    Type.DOCKER_READY,
    Type.SERVICES_READY,
)
"""What the agent does for a Guest, in the order of the work."""


class Reason(StrEnum):
    """Every reason that DsecOS writes. Programs may rely on these words."""

    PENDING = "Pending"
    PROGRESSING = "Progressing"
    PAUSED = "Paused"
    DELETING = "Deleting"
    FAILED = "Failed"
    CONTROLLER_NOT_AVAILABLE = "ControllerNotAvailable"
    INTERNAL_ERROR = "InternalError"

    # License
    LICENSE_VALID = "LicenseValid"
    DEVELOPMENT_LICENSE = "DevelopmentLicense"
    LICENSE_MISSING = "LicenseMissing"
    LICENSE_NOT_VALIDATED = "LicenseNotValidated"

    # Rendering
    COMPOSE_VALID = "ComposeValid"
    TEMPLATE_NOT_FOUND = "TemplateNotFound"
    TEMPLATE_BROKEN = "TemplateBroken"
    TEMPLATE_FORBIDDEN = "TemplateForbidden"
    RENDER_LIMIT_EXCEEDED = "RenderLimitExceeded"
    COMPOSE_LOADER_MISSING = "ComposeLoaderMissing"
    UNDEFINED_VARIABLE = "UndefinedVariable"
    VALUES_INVALID = "ValuesInvalid"
    COMPOSE_NOT_FOUND = "ComposeNotFound"
    COMPOSE_INVALID = "ComposeInvalid"
    COMPOSE_TOO_LARGE = "ComposeTooLarge"
    COMPOSE_FORBIDDEN = "ComposeForbidden"
    SECRET_NOT_FOUND = "SecretNotFound"  # noqa: S105 - a reason, not a password

    # Scheduling
    PLACED = "Placed"
    ZONE_NOT_FOUND = "ZoneNotFound"
    ZONE_NOT_READY = "ZoneNotReady"
    NO_NODE_FITS = "NoNodeFits"
    ADDRESS_CONFLICT = "AddressConflict"
    ADDRESS_INVALID = "AddressInvalid"
    ADDRESSES_EXHAUSTED = "AddressesExhausted"
    PORT_CONFLICT = "PortConflict"
    UNSUPPORTED = "Unsupported"

    # Guest
    RUNNING = "Running"
    STARTING = "Starting"
    STOPPED = "Stopped"
    SUSPENDED = "Suspended"
    MOUNTED = "Mounted"
    RULES_IN_FORCE = "RulesInForce"
    DOCKER_RUNNING = "DockerRunning"
    DOCKER_NOT_READY = "DockerNotReady"
    ALL_HEALTHY = "AllHealthy"
    UNHEALTHY = "Unhealthy"
    IMAGE_NOT_FOUND = "ImageNotFound"
    COMPOSE_FAILED = "ComposeFailed"
    OUT_OF_MEMORY = "OutOfMemory"
    REGISTRY_UNREACHABLE = "RegistryUnreachable"
    GUEST_TEMPLATE_MISSING = "GuestTemplateMissing"
    POOL_NOT_FOUND = "PoolNotFound"
    POOL_FULL = "PoolFull"
    NOT_OURS = "NotOurs"
    ENGINE_FAILED = "EngineFailed"
    UNPRIVILEGED_IMPOSSIBLE = "UnprivilegedImpossible"
    ILLEGAL_TRANSITION = "IllegalTransition"
    MIGRATING = "Migrating"
    MIGRATION_FAILED = "MigrationFailed"
    DRIFTED = "Drifted"
    ADOPTED = "Adopted"
    LOCKED = "Locked"
    ID_RANGE_EXHAUSTED = "IdRangeExhausted"
    BRIDGE_MISSING = "BridgeMissing"
    ENGINE_UNREACHABLE = "EngineUnreachable"
    ENGINE_DENIED = "EngineDenied"
    CERTIFICATE_CHANGED = "CertificateChanged"
    OUTCOME_UNKNOWN = "OutcomeUnknown"
    DENIED_PACKETS = "DeniedPackets"

    # Stack
    SERVING = "Serving"
    NOT_CONFIGURED = "NotConfigured"

    # NetworkZone and ZoneAttachment
    IN_FORCE = "InForce"
    NO_GUESTS = "NoGuests"
    CIDR_INVALID = "CidrInvalid"
    CIDR_OVERLAPS = "CidrOverlaps"
    IN_USE = "InUse"
    ID_INVALID = "IdInvalid"
    ID_TAKEN = "IdTaken"
    MTU_TOO_SMALL = "MtuTooSmall"
    NODE_INCAPABLE = "NodeIncapable"
    ZONE_TOO_LARGE = "ZoneTooLarge"
    PEER_NOT_AGREED = "PeerNotAgreed"
    ALL_AGREED = "AllAgreed"
    NAME_SERVER_FAILED = "NameServerFailed"
    REPAIRED = "Repaired"

    # HostPolicy
    LOCKS_OUT_API_SERVER = "LocksOutApiServer"
    LOCKS_OUT_ADMINISTRATORS = "LocksOutAdministrators"
    LOCKS_OUT_NODES = "LocksOutNodes"
    UPLINK_INVALID = "UplinkInvalid"
    ROLLED_BACK = "RolledBack"
    ROLLOUT_STOPPED = "RolloutStopped"

    # Node
    AGENT_REPORTING = "AgentReporting"
    AGENT_LOST = "AgentLost"
    NEVER_REPORTED = "NeverReported"
    REGISTERED = "Registered"
    DEFAULT_DROP = "DefaultDrop"
    NONE_ACTIVE = "NoneActive"
    ACTIVE = "Active"
    MAINTENANCE = "Maintenance"
    DRAINING = "Draining"
    DRAINED = "Drained"
    ENGINE_NOT_CONFIGURED = "EngineNotConfigured"
    AVAILABLE = "Available"
