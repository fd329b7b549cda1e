"""Why a step of the launcher could not be done."""


class ControlPlaneError(Exception):
    """A step failed; the message says what to look at. All errors of this package derive from it."""


class CommandError(ControlPlaneError):
    """A program that we called ended with an error; the message ends with the last lines it wrote."""


class ToolchainError(ControlPlaneError):
    """The Go toolchain could not be installed, or a program could not be built."""


class NotReadyError(ControlPlaneError):
    """Something did not become ready in its time."""


class UnsafeHomeError(ControlPlaneError):
    """A folder is not ours to remove: its marker is missing, or something is still mounted inside."""


class BusyError(ControlPlaneError):
    """Another process does the same at the moment."""
