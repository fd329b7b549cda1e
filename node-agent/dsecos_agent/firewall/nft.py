"""`Firewall`: whole tables in one transaction by nft(8), and elements of sets alone by netlink.

nft is a process of its own and not a library in ours: nft 1.0 dies of a set that a newer nft has made
anywhere in the same network namespace, and an agent that dies with it could not even say so. What it lists is
described in libnftables-json(5). Before it adds an element it reads all that there is: we do that ourselves.
"""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address
from itertools import product
from pathlib import Path
from typing import Any

from dsecos_agent.engines.protocol import Watch
from dsecos_agent.firewall import addresses, elements, netlink
from dsecos_agent.firewall.changes import changes
from dsecos_agent.firewall.connections import forget_connections
from dsecos_agent.firewall.delta import Change, Guests, commands, delta, differing
from dsecos_agent.firewall.drift import Applied, digest_of_listing
from dsecos_agent.firewall.inet_sets import peers_set
from dsecos_agent.firewall.model import Denied, DeniedPeer, Direction, Drift, FirewallRefusedError, Policy
from dsecos_agent.firewall.peers import denied_peers, owners
from dsecos_agent.firewall.render import removal, render
from dsecos_agent.firewall.validate import Names, validate
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
        self._valid: Policy | None = None
        """The policy that was asked about last."""
        self._known: Guests | None = None
        """Whom the tables know, since our last apply; None: ask the kernel."""
        self._generation: int | None = None
        """The ruleset's, when we last knew that our tables are as we made them."""
        self._in_force: Policy | None = None
        """What our tables were made of, at that generation."""
        self._listed: Mapping[str, bytes] = {}
        """What nft said of our tables then, by family; empty: it was not asked yet."""
        self._changes: list[str] = []

    async def apply(self, policy: Policy) -> None:
        """Replace both tables. Raises InvalidPolicyError, FirewallRefusedError."""
        self._validate(policy)
        async with self._lock:
            gone = await self._apply(policy)
        # Connections of a guest that is no more must not let anybody reach the next one at its address.
        for address in sorted(gone):
            await forget_connections(address)

    async def drift(self, policy: Policy) -> Drift:
        """Compare. Raises InvalidPolicyError."""
        self._validate(policy)
        async with self._lock:
            return await self._drift(policy)

    async def remember(self) -> None:
        """List what a change by elements has made."""
        async with self._lock:
            if self._in_force is not None and not self._listed:
                await self._learn(self._in_force)

    def changes(self) -> Sequence[str]:
        """What the last `drift` found that others had changed."""
        return self._changes

    async def denied(self) -> Mapping[tuple[str, Direction], Denied]:
        """Counters by guest and direction."""
        async with self._lock:
            return await asyncio.to_thread(self._counters)

    async def denied_peers(self) -> Sequence[DeniedPeer]:
        """Whose packets were dropped lately. Raises FirewallRefusedError."""
        async with self._lock:
            known = owners(() if self._valid is None else self._valid.guests)
            found: list[DeniedPeer] = []
            for direction, family in product((Direction.INGRESS, Direction.EGRESS), addresses.FAMILIES):
                raw = await self._list("set", "inet", self._names.instance, peers_set(direction, family))
                if raw is not None:
                    found.extend(denied_peers(_parsed(raw), direction, known))
            return found

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

    def _validate(self, policy: Policy) -> None:
        # Most calls ask about the policy that the last one was about.
        if policy is not self._valid:
            validate(policy, self._names)
            self._valid = policy

    # What follows runs under the lock.

    async def _apply(self, policy: Policy) -> set[str]:
        """Change the tables; the addresses that have lost or changed their guest."""
        if self._known is None:
            before, after = await self._identities(), _identities_of(policy.guests)
        else:
            before, after = map(_identities_of, differing(self._known, policy.guests))
        self._applied.forget()
        if not await self._step(policy):
            await self._replace(policy)
        self._known = policy.guests
        return {address for _, _, address in before - after}

    async def _step(self, policy: Policy) -> bool:
        """By elements alone, if that can be done; what is listed then is asked later (`remember`)."""
        before, self._in_force = self._in_force, None
        start = netlink.generation()
        if before is None or start != self._generation:
            return False
        step = await asyncio.to_thread(delta, before, policy, self._names)
        if step is None:
            return False
        try:
            await self._send(step, start)
        except (FirewallRefusedError, OSError):
            return False
        self._listed = {}
        end = netlink.generation()
        if end != start + bool(step):
            return False
        self._generation, self._in_force = end, policy
        return True

    async def _send(self, step: Sequence[Change], generation: int) -> None:
        """Raises FirewallRefusedError, OSError; then nothing has changed, or it is not known."""
        if not step:
            return
        try:
            messages = elements.messages(step, self._names.instance)
        except elements.UnknownKindError:
            await self._command(commands(step, self._names.instance))
        else:
            await asyncio.to_thread(netlink.commit, messages, generation)

    async def _replace(self, policy: Policy) -> None:
        self._in_force = None
        counters = await asyncio.to_thread(self._counters)
        for _ in range(ATTEMPTS):
            start = netlink.generation()
            await self._command(await asyncio.to_thread(render, policy, self._names, counters))
            end = netlink.generation()
            listed = await self._tables()
            # What is listed is surely what we made only if nobody else was at it.
            if len(listed) == len(FAMILIES) and end == start + 1 and netlink.generation() == end:
                break
        if len(listed) < len(FAMILIES):
            raise FirewallRefusedError("the tables went away while they were applied")
        await self._note(policy, end, listed)

    async def _note(self, policy: Policy, generation: int, listed: Mapping[str, bytes]) -> None:
        self._generation, self._listed, self._in_force = generation, listed, policy
        await asyncio.to_thread(lambda: self._applied.remember(render(policy, self._names), _digest(listed)))

    async def _learn(self, policy: Policy) -> None:
        listed = await self._tables()
        # Somebody may have been at it meanwhile: then it is not what we made, and `drift` will find that.
        generation = netlink.generation()
        if len(listed) == len(FAMILIES) and generation == self._generation:
            await self._note(policy, generation, listed)

    async def _drift(self, policy: Policy) -> Drift:
        self._changes = []
        generation = netlink.generation()
        if policy == self._in_force and generation == self._generation:
            return Drift.NONE
        text = await asyncio.to_thread(render, policy, self._names)
        expected = self._applied.listing_for(text)
        listed = await self._tables()
        whole = len(listed) == len(FAMILIES)
        if whole and await asyncio.to_thread(_digest, listed) == expected:
            self._generation, self._listed, self._in_force = generation, listed, policy
            return Drift.NONE
        if expected is not None and self._listed:
            self._changes = await asyncio.to_thread(_changes, self._listed, listed)
        if whole:
            return Drift.CHANGED
        return Drift.MISSING if listed or expected is not None else Drift.NEVER_APPLIED

    async def _remove(self) -> None:
        self._applied.forget()
        await self._command(removal(self._names))
        self._generation = self._in_force = None
        self._known = None
        self._listed = {}

    async def _tables(self) -> dict[str, bytes]:
        """Those of our tables that are there, as JSON, by family."""
        found = {family: await self._list("table", family, self._names.instance) for family in FAMILIES}
        return {family: listing for family, listing in found.items() if listing is not None}

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
        found: set[Identity] = set()
        for name in ("identities", "identities6"):
            raw = await self._list("set", "bridge", self._names.instance, name)
            listing = [] if raw is None else _parsed(raw)
            elements = [element for one in listing if "set" in one for element in one["set"].get("elem", [])]
            found.update(tuple(element["concat"]) for element in elements)
        return frozenset(each for each in found if not ip_address(each[2]).is_link_local)

    async def _list(self, *what: str) -> bytes | None:
        """One thing as JSON; None when it is not there."""
        result = await run(["nft", "-j", "list", *what], time_limit=TIME_LIMIT, output_limit=LISTING_LIMIT)
        if result.exit_code != 0:
            if "No such file or directory" in result.text_err():
                return None
            raise _refused(result)
        return result.stdout

    async def _command(self, text: str) -> None:
        result = await run(["nft", "-f", "-"], stdin=text.encode(), time_limit=TIME_LIMIT)
        if result.exit_code != 0:
            raise _refused(result)


def _parsed(raw: bytes) -> list[dict[str, Any]]:
    return list(json.loads(raw)["nftables"])


def _digest(listed: Mapping[str, bytes]) -> str:
    return digest_of_listing([one for family in FAMILIES for one in _parsed(listed[family])])


def _changes(before: Mapping[str, bytes], found: Mapping[str, bytes]) -> list[str]:
    return changes(*({family: _parsed(raw) for family, raw in each.items()} for each in (before, found)))


def _identities_of(guests: Guests) -> frozenset[Identity]:
    return frozenset(
        (guest.link, guest.mac, str(address))
        for guest in guests
        for address in (guest.address, guest.address6)
        if address is not None
    )


def _refused(result: ProcessResult) -> FirewallRefusedError:
    if result.exit_code > 128:
        return FirewallRefusedError(
            f"nft died of signal {result.exit_code - 128}: "
            "a newer nft may have made tables here that this one cannot read"
        )
    return FirewallRefusedError(f"nft does not take the rules: {result.text_err().strip()[:2000]}")
