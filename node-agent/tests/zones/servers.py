"""Name servers that only remember what they were asked."""

from collections.abc import Callable

from dsecos_agent.names.model import NameServerError, Zone


class Servers:
    """A `NameServers` without processes."""

    def __init__(self) -> None:
        self.asked: list[Zone] = []
        self.running: set[str] = set()
        self.broken = ""
        """Why none can be started."""
        self._known: dict[str, Zone] = {}
        self._ended: list[Callable[[str], None]] = []

    async def ensure(self, zone: Zone) -> bool:
        self.asked.append(zone)
        if self.broken:
            raise NameServerError(self.broken)
        same = zone.bridge in self.running and self._known.get(zone.bridge) == zone
        self.running.add(zone.bridge)
        self._known[zone.bridge] = zone
        return not same

    async def remove(self, bridge: str) -> None:
        self.running.discard(bridge)

    async def serving(self) -> frozenset[str]:
        return frozenset(self.running)

    def subscribe(self, ended: Callable[[str], None]) -> Callable[[], None]:
        self._ended.append(ended)
        return lambda: self._ended.remove(ended)

    async def close(self) -> None:
        """Nothing is held."""

    def kill(self, bridge: str) -> None:
        """It ends by itself."""
        self.running.discard(bridge)
        for callback in self._ended:
            callback(bridge)
