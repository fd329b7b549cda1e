"""`Firewall` through nft(8): whole tables, in one transaction (libnftables-json(5) for what it lists).

In a process of its own and not as a library in ours: nft 1.0 dies of a set that a newer nft has made anywhere
in the same network namespace, and an agent that dies with it could not even say so.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dsecos_agent.engines.protocol import Watch
from dsecos_agent.firewall import netlink
from dsecos_agent.firewall.connections import forget_connections
from dsecos_agent.firewall.drift import Applied, digest_of_listing
from dsecos_agent.firewall.model import Denied, Direction, Drift, FirewallRefusedError, Policy
from dsecos_agent.firewall.render import removal, render
from dsecos_agent.firewall.validate import Names
from dsecos_agent.processes import ProcessResult, run

FAMILIES = ("bridge", "inet")
TIME_LIMIT = 60.0
LISTING_LIMIT = 64 << 20
"""Bytes; a thousand guests take half a million."""

ATTEMPTS = 5
"""How often we apply again because somebody else changed rules in the same moment."""

Identity = tuple[str, str, str]
"""Link, MAC and address of a guest."""


class NftFirewall:
    """Tables `bridge <instance>` and `inet <instance>` in the network namespace that we are in."""

    def __init__(self, instance: str, link_prefix: str, run_directory: Path) -> None:
        """Nothing is touched yet."""
        self._names = Names(instance, link_prefix)
        self._applied = Applied(run_directory / "firewall.json")
        self._lock = asyncio.Lock()
        self._rendered: tuple[Policy, str] | None = None
        self._known: frozenset[Identity] | None = None
        """Whom the tables know, since our last apply; None: ask the kernel."""
        self._generation: int | None = None
        """The ruleset's, when we last knew that our tables are as we made them."""

    async def apply(self, policy: Policy) -> None:
        """Replace both tables. Raises InvalidPolicyError, FirewallRefusedError."""
        text = self._text(policy)
        async with self._lock:
            gone = await self._apply(policy, text)
        # Connections of a guest that is no more must not let anybody reach the next one at its address.
        for address in sorted(gone):
            await forget_connections(address)

    async def drift(self, policy: Policy) -> Drift:
        """Compare. Raises InvalidPolicyError."""
        text = self._text(policy)
        async with self._lock:
            return await self._drift(text)

    async def denied(self) -> Mapping[tuple[str, Direction], Denied]:
        """Counters by guest and direction."""
        async with self._lock:
            return await asyncio.to_thread(self._counters)

    async def remove(self) -> None:
        """Delete both tables. Raises FirewallRefusedError."""
        async with self._lock:
            await self._remove()

    def subscribe(self, callback: Callable[[], None]) -> Watch:
        """Be told when somebody else changed our tables."""
        loop = asyncio.get_running_loop()
        checks: set[asyncio.Task[None]] = set()

        async def tell() -> None:
            # Our own change is announced too, maybe before we know its generation: wait for it.
            async with self._lock:
                ours = netlink.generation() == self._generation
            if not ours:
                callback()

        def changed() -> None:
            task = loop.create_task(tell())
            checks.add(task)
            task.add_done_callback(checks.discard)

        return netlink.watch_table(self._names.instance, changed)

    async def close(self) -> None:
        """Nothing is held open."""

    def _text(self, policy: Policy) -> str:
        # Most calls ask about the policy that the last one was about.
        if self._rendered is None or self._rendered[0] != policy:
            self._rendered = (policy, render(policy, self._names))
        return self._rendered[1]

    # What follows runs under the lock.

    async def _apply(self, policy: Policy, text: str) -> set[str]:
        """Replace the tables; the addresses that have lost or changed their guest."""
        before = self._known if self._known is not None else await self._identities()
        counters = await asyncio.to_thread(self._counters)
        self._applied.forget()
        for _ in range(ATTEMPTS):
            start = netlink.generation()
            await self._command(render(policy, self._names, counters))
            end = netlink.generation()
            listing = await self._listing()
            # What is listed is surely what we made only if nobody else was at it.
            if listing is not None and end == start + 1 and netlink.generation() == end:
                break
        if listing is None:
            raise FirewallRefusedError("the tables went away while they were applied")
        self._generation = end
        await asyncio.to_thread(lambda: self._applied.remember(text, digest_of_listing(listing)))
        self._known = frozenset((guest.link, guest.mac, str(guest.address)) for guest in policy.guests)
        return {address for _, _, address in before - self._known}

    async def _drift(self, text: str) -> Drift:
        expected = self._applied.listing_for(text)
        generation = netlink.generation()
        if expected is not None and generation == self._generation:
            return Drift.NONE
        listing = await self._listing()
        if listing is None:
            return Drift.MISSING if await self._any_table() or expected is not None else Drift.NEVER_APPLIED
        if expected is None or await asyncio.to_thread(digest_of_listing, listing) != expected:
            return Drift.CHANGED
        self._generation = generation
        return Drift.NONE

    async def _remove(self) -> None:
        self._applied.forget()
        await self._command(removal(self._names))
        self._generation = None
        self._known = None

    async def _any_table(self) -> bool:
        tables = [await self._list("table", family, self._names.instance) for family in FAMILIES]
        return any(table is not None for table in tables)

    async def _listing(self) -> list[dict[str, Any]] | None:
        """Both tables as JSON; None when one is missing."""
        found: list[dict[str, Any]] = []
        for family in FAMILIES:
            table = await self._list("table", family, self._names.instance)
            if table is None:
                return None
            found.extend(table)
        return found

    def _counters(self) -> dict[tuple[str, Direction], Denied]:
        found: dict[tuple[str, Direction], Denied] = {}
        for family in FAMILIES:
            for name, (packets, size) in netlink.counters(family, self._names.instance).items():
                direction, _, guest = name.partition("-")
                if direction in set(Direction):
                    found[guest, Direction(direction)] = Denied(packets, size)
        return found

    async def _identities(self) -> frozenset[Identity]:
        """Link, MAC and address of each guest that the kernel's rules know."""
        listing = await self._list("set", "bridge", self._names.instance, "identities") or []
        elements = [element for one in listing if "set" in one for element in one["set"].get("elem", [])]
        return frozenset(tuple(element["concat"]) for element in elements)

    async def _list(self, *what: str) -> list[dict[str, Any]] | None:
        """One thing as JSON; None when it is not there."""
        result = await run(["nft", "-j", "list", *what], time_limit=TIME_LIMIT, output_limit=LISTING_LIMIT)
        if result.exit_code != 0:
            if "No such file or directory" in result.text_err():
                return None
            raise _refused(result)
        return list((await asyncio.to_thread(json.loads, result.stdout))["nftables"])

    async def _command(self, text: str) -> None:
        result = await run(["nft", "-f", "-"], stdin=text.encode(), time_limit=TIME_LIMIT)
        if result.exit_code != 0:
            raise _refused(result)


def _refused(result: ProcessResult) -> FirewallRefusedError:
    if result.exit_code > 128:
        return FirewallRefusedError(
            f"nft died of signal {result.exit_code - 128}: "
            "a newer nft may have made tables here that this one cannot read"
        )
    return FirewallRefusedError(f"nft does not take the rules: {result.text_err().strip()[:2000]}")
