"""What Proxmox VE says when it does not do something, as typed errors.

The same sentence may come at once, as status 500, or minutes later as the exit status of a task; both are
read here. Sentences are those of the recorded answers of a real node and of its sources (PVE::LXC,
PVE::QemuServer, PVE::QemuServer::Agent, PVE::QMPClient, PVE::Cluster).
"""

import re
from collections.abc import Callable, Mapping

from dsecos_agent.adapter_errors import (
    AdapterError,
    NotFoundError,
    OutOfSpaceError,
    RetryableError,
    UnsupportedError,
)
from dsecos_agent.engines.errors import (
    BridgeMissingError,
    EngineDeniedError,
    EngineUnreachableError,
    GuestFailedError,
    GuestLockedError,
    GuestNotRunningError,
    GuestSilentError,
    IllegalTransitionError,
    ImageMissingError,
    OutcomeUnknownError,
)


class InvalidParametersError(AdapterError):
    """Status 400: Proxmox does not take these parameters; `parameters` says which, and why."""

    def __init__(self, message: str, parameters: Mapping[str, str]) -> None:
        super().__init__(message)
        self.parameters = dict(parameters)


class IdTakenError(AdapterError):
    """A guest with this VMID is there already."""


class GuestGoneError(NotFoundError):
    """The node has no configuration of this guest: it was destroyed, or it has moved."""


class AlreadyRunningError(IllegalTransitionError):
    """The guest runs already."""


class GuestModifiedError(RetryableError):
    """Somebody changed the configuration after we read it (`digest`)."""


class NameTakenError(AdapterError):
    """A snapshot of this name is there already."""


class UnnamedPrivilegeError(EngineDeniedError):
    """Status 403 that does not say which privilege is missing."""


class TaskUnknownError(RetryableError):
    """The node does not know this task, or not yet."""


def _locked(message: str, match: re.Match[str]) -> AdapterError:
    return GuestLockedError(message, match.groupdict().get("lock") or "file")


def _plain(kind: type[AdapterError]) -> Callable[[str, re.Match[str]], AdapterError]:
    return lambda message, _: kind(message)


_SENTENCES: tuple[tuple[str, Callable[[str, re.Match[str]], AdapterError]], ...] = (
    # What follows are the guest's own words, so nothing is read from them.
    (r"^Agent error:", _plain(GuestFailedError)),
    (r"QEMU guest agent is not running|command 'guest-[a-z-]+' failed", _plain(GuestSilentError)),
    (r"(CT|VM) is locked \((?P<lock>[^)]*)\)", _locked),
    (
        r"can't (lock|open) file .*(got timeout|lock)|got lock (request )?timeout|unable to acquire lock",
        _locked,
    ),
    (r"(CT|VM) \d+ already exists|config file already exists", _plain(IdTakenError)),
    (r"[Cc]onfiguration file '.*' does not exist|no such (CT|VM)\b", _plain(GuestGoneError)),
    (r"snapshot name '.*' already used", _plain(NameTakenError)),
    (r"snapshot '.*' does not exist|can't find snapshot", _plain(NotFoundError)),
    (r"already running", _plain(AlreadyRunningError)),
    (r"detected modified configuration", _plain(GuestModifiedError)),
    (r"unable to shrink|shrinking disks is not supported", _plain(UnsupportedError)),
    (r"snapshot feature is not available|feature is not (available|supported)", _plain(UnsupportedError)),
    (r"bridge '.*' does not exist|no such bridge", _plain(BridgeMissingError)),
    (
        r"[Nn]o space left|(not enough|insufficient) free space|out of (disk )?space|[Qq]uota exceeded"
        r"|free space .* insufficient|free space in thin pool .* reached threshold|data space .* full",
        _plain(OutOfSpaceError),
    ),
    (r"volume '.*(vztmpl|import|iso)/.*' does not exist|no such template", _plain(ImageMissingError)),
    (r"no such cluster node|hostname lookup '.*' failed|no such node", _plain(NotFoundError)),
    (r"no such task", _plain(TaskUnknownError)),
    (r"got no worker upid|unexpected status", _plain(OutcomeUnknownError)),
    (r"no quorum|cluster not ready|No route to host|Connection refused", _plain(EngineUnreachableError)),
    (r"(is running|overwrite running|of a running)", _plain(IllegalTransitionError)),
    (r"not running", _plain(GuestNotRunningError)),
)
_COMPILED = tuple((re.compile(pattern), make) for pattern, make in _SENTENCES)

_PRIVILEGE = re.compile(r"\((?P<path>/[^,)]*), (?P<privilege>[^)]+)\)")
_REASON = re.compile(r"Permission check failed \((?P<reason>.+)\)")


def of_text(text: str, what: str, otherwise: type[AdapterError] = AdapterError) -> AdapterError:
    """The error that a sentence of Proxmox means; `what` says what was tried."""
    message = f"{what}: {text.strip() or 'Proxmox gave no reason'}"
    for pattern, make in _COMPILED:
        if match := pattern.search(text):
            return make(message, match)
    if "Permission check failed" in text:
        return denied(text, what)
    return otherwise(message)


def of_parameters(parameters: Mapping[str, str], what: str) -> AdapterError:
    """Status 400: which parameters, and why. An id that is taken is told this way, too."""
    said = {name: " ".join(str(why).split()) for name, why in sorted(parameters.items())}
    message = f"{what}: Proxmox refuses " + ", ".join(f"{name} ({why})" for name, why in said.items())
    if re.search(r"already exists", said.get("vmid", "")):
        return IdTakenError(message)
    return InvalidParametersError(message, said)


def denied(text: str, what: str) -> EngineDeniedError:
    """Status 403, with privilege and path as far as Proxmox tells them."""
    if match := _PRIVILEGE.search(text):
        return EngineDeniedError(
            f"{what}: the credential lacks the privilege {match['privilege']} on {match['path']}"
        )
    if match := _REASON.search(text):
        return EngineDeniedError(f"{what}: {match['reason']}")
    return UnnamedPrivilegeError(
        f"{what}: the credential lacks a privilege for it, and Proxmox does not say which: "
        "compare its roles with the list in the documentation"
    )
