"""`Firewall` through libnftables: whole tables, in one transaction (libnftables(3), libnftables-json(5))."""

import asyncio
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import nftables

from dsecos_agent.engines.protocol import Watch
from dsecos_agent.firewall import netlink
from dsecos_agent.firewall.connections import forget_connections
from dsecos_agent.firewall.drift import Applied, digest_of_listing
from dsecos_agent.firewall.model import Denied, Direction, Drift, FirewallRefusedError, Policy
from dsecos_agent.firewall.render import removal, render
from dsecos_agent.firewall.validate import Names

FAMILIES = ("bridge", "inet")
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
        self._library: nftables.Nftables | None = None
        self._rendered: tuple[Policy, str] | None = None
        self._known: frozenset[Identity] | None = None
        """Whom the tables know, since our last apply; None: ask the kernel."""
        self._generation: int | None = None
        """The ruleset's, when we last knew that our tables are as we made them."""

    async def apply(self, policy: Policy) -> None:
        """Replace both tables. Raises InvalidPolicyError, FirewallRefusedError."""
        text = self._text(policy)
        async with self._lock:
            gone = await asyncio.to_thread(self._apply, policy, text)
        # Connections of a guest that is no more must not let anybody reach the next one at its address.
        for address in sorted(gone):
            await forget_connections(address)

    async def drift(self, policy: Policy) -> Drift:
        """Compare. Raises InvalidPolicyError."""
        text = self._text(policy)
        async with self._lock:
            return await asyncio.to_thread(self._drift, text)

    async def denied(self) -> Mapping[tuple[str, Direction], Denied]:
        """Counters by guest and direction."""
        async with self._lock:
            return await asyncio.to_thread(self._counters)

    async def remove(self) -> None:
        """Delete both tables. Raises FirewallRefusedError."""
        async with self._lock:
            await asyncio.to_thread(self._remove)

    def subscribe(self, callback: Callable[[], None]) -> Watch:
        """Be told when somebody else changed our tables."""
        loop = asyncio.get_running_loop()
        checks: set[asyncio.Task[None]] = set()

        async def tell() -> None:
            # Our own change is announced too, maybe before we know its generation: wait for it.
            async with self._lock:
                ours = await asyncio.to_thread(netlink.generation) == self._generation
            if not ours:
                callback()

        def changed() -> None:
            task = loop.create_task(tell())
            checks.add(task)
            task.add_done_callback(checks.discard)

        return netlink.watch_table(self._names.instance, changed)

    async def close(self) -> None:
        """Release the library's socket."""
        self._library = None

    def _text(self, policy: Policy) -> str:
        # Most calls ask about the policy that the last one was about.
        if self._rendered is None or self._rendered[0] != policy:
            self._rendered = (policy, render(policy, self._names))
        return self._rendered[1]

    # Blocking, one at a time.

    def _apply(self, policy: Policy, text: str) -> set[str]:
        """Replace the tables; the addresses that have lost or changed their guest."""
        before = self._identities() if self._known is None else self._known
        counters = self._counters()
        self._applied.forget()
        for _ in range(ATTEMPTS):
            start = netlink.generation()
            self._command(render(policy, self._names, counters))
            end = netlink.generation()
            listing = self._listing()
            # What is listed is surely what we made only if nobody else was at it.
            if listing is not None and end == start + 1 and netlink.generation() == end:
                break
        if listing is None:
            raise FirewallRefusedError("the tables went away while they were applied")
        self._generation = end
        self._applied.remember(text, digest_of_listing(listing))
        self._known = frozenset((guest.link, guest.mac, str(guest.address)) for guest in policy.guests)
        return {address for _, _, address in before - self._known}

    def _drift(self, text: str) -> Drift:
        expected = self._applied.listing_for(text)
        generation = netlink.generation()
        if expected is not None and generation == self._generation:
            return Drift.NONE
        listing = self._listing()
        if listing is None:
            return Drift.MISSING if self._any_table() or expected is not None else Drift.NEVER_APPLIED
        if expected is None or digest_of_listing(listing) != expected:
            return Drift.CHANGED
        self._generation = generation
        return Drift.NONE

    def _remove(self) -> None:
        self._applied.forget()
        self._command(removal(self._names))
        self._generation = None
        self._known = None

    def _any_table(self) -> bool:
        return any(
            self._list(f"list table {family} {self._names.instance}") is not None for family in FAMILIES
        )

    def _listing(self) -> list[dict[str, Any]] | None:
        """Both tables as JSON; None when one is missing."""
        found: list[dict[str, Any]] = []
        for family in FAMILIES:
            table = self._list(f"list table {family} {self._names.instance}")
            if table is None:
                return None
            found.extend(table)
        return found

    def _counters(self) -> dict[tuple[str, Direction], Denied]:
        found: dict[tuple[str, Direction], Denied] = {}
        for family in FAMILIES:
            for one in self._list(f"list counters table {family} {self._names.instance}") or []:
                if "counter" in one:
                    counter = one["counter"]
                    direction, _, guest = counter["name"].partition("-")
                    if direction in set(Direction):
                        found[guest, Direction(direction)] = Denied(counter["packets"], counter["bytes"])
        return found

    def _identities(self) -> frozenset[Identity]:
        """Link, MAC and address of each guest that the kernel's rules know."""
        listing = self._list(f"list set bridge {self._names.instance} identities") or []
        elements = [element for one in listing if "set" in one for element in one["set"].get("elem", [])]
        return frozenset(tuple(element["concat"]) for element in elements)

    def _list(self, command: str) -> list[dict[str, Any]] | None:
        code, output, _ = self._nft().cmd(command)
        if code != 0:
            return None
        return list(json.loads(output)["nftables"]) if output else []

    def _command(self, text: str) -> None:
        code, _, error = self._nft().cmd(text)
        if code != 0:
            raise FirewallRefusedError(f"the kernel did not take the rules: {error.strip()[:2000]}")

    def _nft(self) -> nftables.Nftables:
        if self._library is None:
            self._library = nftables.Nftables()
            self._library.set_json_output(True)
        return self._library
