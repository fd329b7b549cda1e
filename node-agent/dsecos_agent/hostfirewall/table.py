"""The one table in the kernel: loaded as a whole by nft(8), and compared with what was loaded."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

from dsecos_agent.engines.protocol import Watch
from dsecos_agent.firewall import netlink
from dsecos_agent.firewall.drift import Applied, digest_of_listing
from dsecos_agent.firewall.model import FirewallRefusedError
from dsecos_agent.hostfirewall.render import removal, table_name
from dsecos_agent.processes import run

TIME_LIMIT = 30.0
LISTING_LIMIT = 4 << 20
ATTEMPTS = 5
"""How often we load again because somebody else changed rules in the same moment; then the next look does."""


class HostTable:
    """`table inet <instance>_host` in the network namespace that we are in."""

    def __init__(self, instance: str, memory: Path) -> None:
        """`memory`: file in which the digest of what was loaded is kept. Nothing is touched yet."""
        self._instance = instance
        self._name = table_name(instance)
        self._applied = Applied(memory)

    async def load(self, text: str | None) -> None:
        """Replace the table by one transaction; None: there is to be none. Raises FirewallRefusedError."""
        self._applied.forget()
        for _ in range(ATTEMPTS):
            start = netlink.generation()
            await self._nft(text or removal(self._instance))
            end = netlink.generation()
            if text is None:
                return
            listing = await self._listing()
            # What is listed is surely what we made only if nobody else was at it.
            if listing is not None and end == start + 1 and netlink.generation() == end:
                self._applied.remember(text, digest_of_listing(listing))
                return

    async def holds(self, text: str | None) -> bool:
        """Whether the kernel has just what `load(text)` made. Raises FirewallRefusedError."""
        listing = await self._listing()
        if text is None or listing is None:
            return text is None and listing is None
        return self._applied.listing_for(text) == digest_of_listing(listing)

    def subscribe(self, callback: Callable[[], None]) -> Watch:
        """Be told when anybody, we too, changed the table."""
        return netlink.watch_table(self._name, callback)

    async def _nft(self, text: str) -> None:
        result = await run(["nft", "-f", "-"], stdin=text.encode(), time_limit=TIME_LIMIT)
        if result.exit_code != 0:
            said = result.text_err().strip()[:2000]
            raise FirewallRefusedError(f"nft does not take the node's own firewall: {said}")

    async def _listing(self) -> list[dict[str, object]] | None:
        result = await run(
            ["nft", "-j", "list", "table", "inet", self._name],
            time_limit=TIME_LIMIT,
            output_limit=LISTING_LIMIT,
        )
        if result.exit_code != 0:
            if "No such file or directory" in result.text_err():
                return None
            raise FirewallRefusedError(f"nft does not list {self._name}: {result.text_err().strip()[:2000]}")
        return list((await asyncio.to_thread(json.loads, result.stdout))["nftables"])
