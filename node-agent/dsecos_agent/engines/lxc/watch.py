"""Instant notice of a guest's death: a pidfd becomes readable when its process ends (pidfd_open(2))."""

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass

from dsecos_agent.engines.lxc.state import Boot, is_alive


@dataclass(slots=True)
class _Watched:
    boot: Boot
    pidfd: int
    callback: Callable[[str], None]


class _Handle:
    """Ends one watch, unless a later one has taken its place."""

    def __init__(self, end: Callable[[], None]) -> None:
        self._end = end

    def close(self) -> None:
        """End it; twice is fine."""
        self._end()


class DeathWatches:
    """At most one watch a guest, of its present life."""

    def __init__(self) -> None:
        """Empty; must be used on one event loop."""
        self._watched: dict[str, _Watched] = {}

    def add(self, name: str, boot: Boot | None, callback: Callable[[str], None]) -> _Handle:
        """Watch this life of the guest; None, or a life that is over, calls back at once."""
        present = self._watched.get(name)
        if present is not None and present.boot == boot:
            present.callback = callback
            return _Handle(lambda: self._remove_if(name, callback))
        self._remove(name)
        pidfd = self._open(boot)
        if boot is None or pidfd is None:
            asyncio.get_running_loop().call_soon(callback, name)
            return _Handle(lambda: None)
        self._watched[name] = _Watched(boot, pidfd, callback)
        asyncio.get_running_loop().add_reader(pidfd, self._died, name)
        return _Handle(lambda: self._remove_if(name, callback))

    def close(self) -> None:
        """End all."""
        for name in list(self._watched):
            self._remove(name)

    @staticmethod
    def _open(boot: Boot | None) -> int | None:
        if boot is None:
            return None
        try:
            pidfd = os.pidfd_open(boot.init_pid)
        except ProcessLookupError:
            return None
        # The pid may have been given to another process between the look and the open.
        if is_alive(boot):
            return pidfd
        os.close(pidfd)
        return None

    def _died(self, name: str) -> None:
        callback = self._watched[name].callback
        self._remove(name)
        callback(name)

    def _remove_if(self, name: str, callback: Callable[[str], None]) -> None:
        present = self._watched.get(name)
        if present is not None and present.callback is callback:
            self._remove(name)

    def _remove(self, name: str) -> None:
        watched = self._watched.pop(name, None)
        if watched is not None:
            asyncio.get_running_loop().remove_reader(watched.pidfd)
            os.close(watched.pidfd)
