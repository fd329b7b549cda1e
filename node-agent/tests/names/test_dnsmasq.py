"""A zone's names, asked by its guests of a real dnsmasq."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from dsecos_agent.names.dnsmasq import DnsmasqServers
from dsecos_agent.names.model import NameServerError
from dsecos_agent.names.servers import Folder, end_all
from dsecos_api.names import REGISTRY_HOST

from tests.patience import async_until, heard

from .query import Answer
from .world import Bridge, Upstream

SHOP = "shop.acme.dsecos.internal"
WEB = "web.shop.acme.dsecos.internal"
MAIL = "mail.acme.dsecos.internal"
UNKNOWN = Answer("NXDOMAIN")
REFUSED = Answer("REFUSED")

Agent = Callable[..., DnsmasqServers]


def known(*addresses: str, ttl: int = 5) -> Answer:
    return Answer("NOERROR", frozenset(addresses), ttl)


def pid(state: Path, bridge: Bridge) -> int:
    server = Folder(state).server(bridge.name)
    assert server is not None
    return server.pid


async def renamed(bridge: Bridge, name: str, answer: Answer) -> None:
    """A signal is obeyed a moment after it is given."""
    await async_until(lambda: bridge.ask(name) == answer)


class TestAnswers:
    @pytest.mark.parametrize("tcp", [False, True])
    @pytest.mark.parametrize("six", [False, True])
    async def test_names_of_stacks_and_services_are_answered(
        self, servers: DnsmasqServers, one: Bridge, tcp: bool, six: bool
    ) -> None:
        await servers.ensure(one.zone(shop="10.1.0.5 fd00:1::5", web_shop="10.1.0.5"))

        assert one.ask(SHOP, tcp=tcp, six=six) == known("10.1.0.5")
        assert one.ask(SHOP, "AAAA", tcp=tcp, six=six) == known("fd00:1::5")
        assert one.ask(WEB, tcp=tcp, six=six) == known("10.1.0.5")
        assert one.ask(MAIL, tcp=tcp, six=six) == UNKNOWN

    async def test_a_name_without_an_address_of_the_kind_exists(
        self, servers: DnsmasqServers, one: Bridge
    ) -> None:
        await servers.ensure(one.zone(shop="10.1.0.5"))

        assert one.ask(SHOP, "AAAA") == Answer("NOERROR")

    async def test_the_nodes_registry_is_at_the_gateway_of_each_zone(
        self, servers: DnsmasqServers, one: Bridge, two: Bridge
    ) -> None:
        await servers.ensure(one.zone())
        await servers.ensure(two.zone(shop="10.2.0.5"))

        assert one.ask(REGISTRY_HOST) == known("10.1.0.1")
        assert two.ask(REGISTRY_HOST) == known("10.2.0.1")
        assert one.ask(REGISTRY_HOST, "AAAA") == Answer("NOERROR"), "it listens by IPv4 alone"

    async def test_case_does_not_matter(self, servers: DnsmasqServers, one: Bridge) -> None:
        await servers.ensure(one.zone(shop="10.1.0.5"))

        assert one.ask(SHOP.upper()) == known("10.1.0.5")

    async def test_an_address_has_the_name_of_its_stack(self, servers: DnsmasqServers, one: Bridge) -> None:
        await servers.ensure(one.zone(a_shop="10.1.0.5 fd00:1::5", shop="10.1.0.5 fd00:1::5"))

        assert one.reverse("10.1.0.5") == known(SHOP)
        assert one.reverse("fd00:1::5") == known(SHOP)
        assert one.reverse("10.1.0.6") == UNKNOWN

    async def test_a_server_says_nothing_about_itself(self, servers: DnsmasqServers, one: Bridge) -> None:
        await servers.ensure(one.zone(shop="10.1.0.5"))

        for name in ("version.bind", "cachesize.bind", "servers.bind"):
            assert not one.guest.ask(name, "TXT", server="10.1.0.1", chaos=True).records

    async def test_the_nodes_own_hosts_file_is_nobodys_business(
        self, servers: DnsmasqServers, one: Bridge
    ) -> None:
        await servers.ensure(one.zone(shop="10.1.0.5"))

        assert one.ask("localhost.localdomain") == REFUSED
        assert one.ask(socket.gethostname()).records == frozenset()

    async def test_many_addresses_come_whole_by_tcp(self, servers: DnsmasqServers, one: Bridge) -> None:
        many = [f"10.1.1.{number}" for number in range(200)]
        await servers.ensure(one.zone(shop=" ".join(many)))

        assert one.ask(SHOP, tcp=True) == known(*many)


class TestOtherNames:
    async def test_are_refused_where_the_zone_does_not_forward(
        self, agent: Agent, one: Bridge, upstream: Upstream, resolv: Path
    ) -> None:
        await agent(resolv=resolv).ensure(one.zone(shop="10.1.0.5"))

        assert one.ask("example.org") == REFUSED
        assert upstream.asked == []

    async def test_are_asked_of_the_nodes_resolvers_where_it_does(
        self, agent: Agent, one: Bridge, upstream: Upstream, resolv: Path
    ) -> None:
        await agent(resolv=resolv).ensure(one.zone(forwards=True, shop="10.1.0.5"))

        assert one.ask("example.org").records == {Upstream.ADDRESS}
        assert upstream.asked == ["example.org"]
        assert one.ask("example.org", tcp=True).records == {Upstream.ADDRESS}

    async def test_names_of_the_domain_and_private_addresses_are_never_asked_of_others(
        self, agent: Agent, one: Bridge, upstream: Upstream, resolv: Path
    ) -> None:
        await agent(resolv=resolv).ensure(one.zone(forwards=True, shop="10.1.0.5"))

        assert one.ask(SHOP) == known("10.1.0.5")
        assert one.ask(MAIL) == UNKNOWN
        assert one.ask("dsecos.internal").records == frozenset()
        assert one.ask(SHOP, "TXT").records == frozenset()
        assert one.ask("secret.SHOP.acme.DSECOS.internal") == UNKNOWN
        assert one.ask("mail") == UNKNOWN
        assert one.reverse("10.1.0.77") == UNKNOWN
        assert one.reverse("fd00:1::77") == UNKNOWN
        assert upstream.asked == []

    async def test_forwarding_is_given_and_taken_by_a_change(
        self, agent: Agent, one: Bridge, upstream: Upstream, resolv: Path
    ) -> None:
        servers, zone = agent(resolv=resolv), one.zone(shop="10.1.0.5")
        for forwards, code in ((False, "REFUSED"), (True, "NOERROR"), (False, "REFUSED")):
            assert await servers.ensure(replace(zone, forwards=forwards))
            assert one.ask("example.org").code == code
            assert one.ask(SHOP) == known("10.1.0.5")

    async def test_resolvers_that_change_are_followed(
        self, agent: Agent, one: Bridge, upstream: Upstream, resolv: Path
    ) -> None:
        _replace(resolv, "")
        await agent(resolv=resolv).ensure(one.zone(forwards=True))
        assert one.ask("example.org") == REFUSED

        _replace(resolv, "nameserver 192.0.2.2\n")

        await async_until(lambda: one.ask("example.org").records == {Upstream.ADDRESS})


class TestZones:
    async def test_each_knows_its_own_names_only(
        self, servers: DnsmasqServers, one: Bridge, two: Bridge
    ) -> None:
        await servers.ensure(one.zone(shop="10.1.0.5"))
        await servers.ensure(two.zone(mail="10.2.0.5"))

        assert (one.ask(SHOP), one.ask(MAIL)) == (known("10.1.0.5"), UNKNOWN)
        assert (two.ask(SHOP), two.ask(MAIL)) == (UNKNOWN, known("10.2.0.5"))
        assert one.reverse("10.2.0.5") == UNKNOWN
        assert await servers.serving() == {one.name, two.name}

    @pytest.mark.parametrize("tcp", [False, True])
    async def test_a_zones_server_does_not_answer_guests_of_another(
        self, servers: DnsmasqServers, one: Bridge, two: Bridge, tcp: bool
    ) -> None:
        await servers.ensure(one.zone(shop="10.1.0.5"))
        await servers.ensure(two.zone(mail="10.2.0.5"))

        with pytest.raises(OSError):  # noqa: PT011 - silence, or a connection that is closed
            one.guest.ask(MAIL, server="10.2.0.1", tcp=tcp, time_limit=0.5)

    async def test_removing_one_leaves_the_other(
        self, servers: DnsmasqServers, state: Path, one: Bridge, two: Bridge
    ) -> None:
        await servers.ensure(one.zone(shop="10.1.0.5"))
        await servers.ensure(two.zone(mail="10.2.0.5"))

        await servers.remove(one.name)
        await servers.remove(one.name)

        assert await servers.serving() == {two.name}
        assert _files(state) == {two.name}
        assert two.ask(MAIL) == known("10.2.0.5")


class TestChanges:
    async def test_nothing_is_done_where_nothing_changed(
        self, servers: DnsmasqServers, state: Path, one: Bridge
    ) -> None:
        zone = one.zone(shop="10.1.0.5")
        assert await servers.ensure(zone)
        before = pid(state, one), (state / f"{one.name}.hosts").stat().st_ino

        assert not await servers.ensure(zone)

        assert (pid(state, one), (state / f"{one.name}.hosts").stat().st_ino) == before

    async def test_names_change_without_an_interruption(
        self, servers: DnsmasqServers, state: Path, one: Bridge
    ) -> None:
        await servers.ensure(one.zone(shop="10.1.0.5"))
        before = pid(state, one)
        wrong: list[object] = []
        over = threading.Event()

        def ask_on() -> None:
            while not over.is_set():
                for tcp in (False, True):
                    try:
                        answer: object = one.guest.ask(SHOP, server="10.1.0.1", tcp=tcp)
                    except OSError as error:
                        answer = error
                    if answer != known("10.1.0.5"):
                        wrong.append(answer)

        asking = threading.Thread(target=ask_on)
        asking.start()
        try:
            for number in range(10, 30):
                assert await servers.ensure(one.zone(shop="10.1.0.5", mail=f"10.1.0.{number}"))
                await asyncio.to_thread(one.ask, MAIL)
        finally:
            over.set()
            asking.join()

        await renamed(one, MAIL, known("10.1.0.29"))
        assert wrong == []
        assert pid(state, one) == before

    async def test_the_next_agent_goes_on_with_the_server(
        self, agent: Agent, state: Path, one: Bridge
    ) -> None:
        first = agent()
        await first.ensure(one.zone(shop="10.1.0.5"))
        before = pid(state, one)
        await first.close()
        assert one.ask(SHOP) == known("10.1.0.5")

        second = agent()
        assert not await second.ensure(one.zone(shop="10.1.0.5"))
        assert await second.ensure(one.zone(mail="10.1.0.6"))

        await renamed(one, MAIL, known("10.1.0.6"))
        assert one.ask(SHOP) == UNKNOWN
        assert pid(state, one) == before

    async def test_names_that_were_written_by_an_agent_that_then_died_take_effect(
        self, agent: Agent, state: Path, one: Bridge
    ) -> None:
        first = agent()
        await first.ensure(one.zone(shop="10.1.0.5"))
        await first.close()
        hosts = state / f"{one.name}.hosts"
        hosts.write_text(hosts.read_text().replace("10.1.0.5", "10.1.0.6"))

        assert not await agent().ensure(one.zone(shop="10.1.0.6"))

        await renamed(one, SHOP, known("10.1.0.6"))

    async def test_names_that_were_written_by_a_call_that_was_cancelled_take_effect(
        self, servers: DnsmasqServers, state: Path, one: Bridge
    ) -> None:
        await servers.ensure(one.zone(shop="10.1.0.10"))
        for number in range(11, 31):
            call = asyncio.create_task(servers.ensure(one.zone(shop=f"10.1.0.{number}")))
            await async_until(lambda: f"10.1.0.{number} " in _hosts(state, one), every=0)  # noqa: B023
            call.cancel()
            await asyncio.wait([call])

            await servers.ensure(one.zone(shop=f"10.1.0.{number}"))

            await renamed(one, SHOP, known(f"10.1.0.{number}"))

    async def test_an_update_of_the_program_takes_effect(
        self, agent: Agent, state: Path, one: Bridge
    ) -> None:
        program = state.parent.parent / "dnsmasq"
        shutil.copy(_dnsmasq(), program)
        servers, zone = agent(program=program), one.zone(shop="10.1.0.5")
        await servers.ensure(zone)
        before = pid(state, one)

        fresh = program.with_name("fresh")
        shutil.copy(_dnsmasq(), fresh)
        fresh.replace(program)

        assert await servers.ensure(zone)
        assert pid(state, one) != before
        assert one.ask(SHOP) == known("10.1.0.5")

    async def test_a_bridge_that_is_made_again_is_answered_at(
        self, servers: DnsmasqServers, state: Path, one: Bridge
    ) -> None:
        await servers.ensure(one.zone(shop="10.1.0.5"))
        before = pid(state, one)

        one.delete()
        one.make()
        one.plug()

        await async_until(lambda: _answers(one, tcp=False) and _answers(one, tcp=True))
        assert pid(state, one) == before
        assert not await servers.ensure(one.zone(shop="10.1.0.5"))

    async def test_who_asks_twice_at_once_gets_one_server(
        self, servers: DnsmasqServers, one: Bridge, two: Bridge
    ) -> None:
        zones = [one.zone(shop="10.1.0.5"), two.zone(mail="10.2.0.5")] * 2

        changed = await asyncio.gather(*(servers.ensure(zone) for zone in zones))

        assert changed == [True, True, False, False]
        assert (one.ask(SHOP), two.ask(MAIL)) == (known("10.1.0.5"), known("10.2.0.5"))


class TestDeath:
    async def test_a_killed_server_is_told_of_and_started_again(
        self, servers: DnsmasqServers, state: Path, one: Bridge
    ) -> None:
        told: asyncio.Queue[str] = asyncio.Queue()
        servers.subscribe(told.put_nowait)
        zone = one.zone(shop="10.1.0.5")
        await servers.ensure(zone)

        os.kill(pid(state, one), signal.SIGKILL)

        assert await heard(told) == one.name
        assert await servers.serving() == frozenset()
        assert await servers.ensure(zone)
        assert one.ask(SHOP) == known("10.1.0.5")

    async def test_so_is_one_that_a_former_agent_began(self, agent: Agent, state: Path, one: Bridge) -> None:
        zone, told = one.zone(shop="10.1.0.5"), asyncio.Queue[str]()
        first = agent()
        await first.ensure(zone)
        await first.close()
        second = agent()
        second.subscribe(told.put_nowait)
        await second.ensure(zone)

        os.kill(pid(state, one), signal.SIGKILL)

        assert await heard(told) == one.name

    async def test_one_that_we_end_is_not_told_of(self, servers: DnsmasqServers, one: Bridge) -> None:
        told: list[str] = []
        servers.subscribe(told.append)
        await servers.ensure(one.zone(shop="10.1.0.5"))
        await servers.ensure(one.zone(shop="10.1.0.5", forwards=True))
        await servers.remove(one.name)

        assert told == []

    async def test_who_has_unsubscribed_hears_nothing(
        self, servers: DnsmasqServers, state: Path, one: Bridge
    ) -> None:
        gone: list[str] = []
        told: asyncio.Queue[str] = asyncio.Queue()
        servers.subscribe(gone.append)()
        servers.subscribe(told.put_nowait)
        await servers.ensure(one.zone())

        os.kill(pid(state, one), signal.SIGKILL)

        await heard(told)
        assert gone == []

    async def test_a_connection_that_outlives_its_server_does_not_keep_the_port(
        self, servers: DnsmasqServers, state: Path, one: Bridge
    ) -> None:
        zone = one.zone(shop="10.1.0.5")
        await servers.ensure(zone)
        with one.guest.socket("10.1.0.1", tcp=True) as idle:
            idle.connect(("10.1.0.1", 53))
            assert one.ask(SHOP, tcp=True) == known("10.1.0.5")  # so the idle one was accepted before
            told: asyncio.Queue[str] = asyncio.Queue()
            servers.subscribe(told.put_nowait)
            os.kill(pid(state, one), signal.SIGKILL)
            await heard(told)  # a signal takes effect a moment after it is sent

            assert await servers.ensure(zone)

            assert one.ask(SHOP, tcp=True) == known("10.1.0.5")

    async def test_a_pid_that_another_process_has_got_is_not_taken_for_the_server(
        self, servers: DnsmasqServers, state: Path, one: Bridge
    ) -> None:
        zone = one.zone(shop="10.1.0.5")
        await servers.ensure(zone)
        await servers.remove(one.name)
        (state / f"{one.name}.pid").write_text(f"{os.getpid()}\n")

        assert await servers.serving() == frozenset()
        assert await servers.ensure(zone)
        assert await servers.serving() == {one.name}
        await servers.remove(one.name)

    async def test_a_guests_process_is_never_taken_for_a_server(
        self, servers: DnsmasqServers, state: Path, one: Bridge, tmp_path: Path
    ) -> None:
        """Its arguments may be any."""
        zone = one.zone(shop="10.1.0.5")
        await servers.ensure(zone)
        await servers.remove(one.name)
        with _called(f"--addn-hosts={state}/{one.name}.hosts", tmp_path, one) as other:
            (state / f"{one.name}.pid").write_text(f"{other.pid}\n")

            assert await servers.serving() == frozenset()
            assert await servers.ensure(zone)
            await servers.remove(one.name)

            assert other.poll() is None

    async def test_a_server_whose_files_were_lost_is_replaced(
        self, agent: Agent, state: Path, one: Bridge
    ) -> None:
        first = agent()
        await first.ensure(one.zone(shop="10.1.0.5"))
        await first.close()
        shutil.rmtree(state)

        assert await agent().ensure(one.zone(shop="10.1.0.6"))

        assert one.ask(SHOP) == known("10.1.0.6")


class TestFailures:
    async def test_a_port_that_is_taken_is_told_with_who_has_it(
        self, servers: DnsmasqServers, one: Bridge
    ) -> None:
        zone = one.zone(shop="10.1.0.5")
        with socket.create_server(("10.1.0.1", 53)):
            with pytest.raises(
                NameServerError, match=r"TCP port 53 of 10\.1\.0\.1 is taken by \S+: end that"
            ):
                await servers.ensure(zone)
            assert await servers.serving() == frozenset()

        assert await servers.ensure(zone)
        assert one.ask(SHOP) == known("10.1.0.5")

    async def test_so_is_one_that_is_taken_on_all_addresses(
        self, servers: DnsmasqServers, one: Bridge
    ) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind(("0.0.0.0", 53))
            with pytest.raises(NameServerError, match=r"UDP port 53 of 10\.1\.0\.1 is taken"):
                await servers.ensure(one.zone())

    async def test_a_bridge_that_is_not_there_is_told(self, servers: DnsmasqServers, one: Bridge) -> None:
        one.delete()

        with pytest.raises(NameServerError, match=r"dnz1 has no 10\.1\.0\.1"):
            await servers.ensure(one.zone(shop="10.1.0.5"))

    async def test_a_program_that_is_missing_is_told_with_what_to_install(
        self, agent: Agent, one: Bridge
    ) -> None:
        with pytest.raises(NameServerError, match=r"/no/dnsmasq .*install dnsmasq-base"):
            await agent(program=Path("/no/dnsmasq")).ensure(one.zone())

    async def test_a_server_that_does_not_start_is_told_in_its_own_words(
        self, agent: Agent, state: Path, one: Bridge
    ) -> None:
        resolv = Path("/no/such/folder/resolv.conf")

        with pytest.raises(NameServerError, match=r"directory /no/such/folder/resolv\.conf"):
            await agent(resolv=resolv).ensure(one.zone(forwards=True))

    @pytest.mark.parametrize("bridge", ["../x", "a,b", "*"])
    async def test_what_is_no_bridge_is_refused(
        self, servers: DnsmasqServers, one: Bridge, bridge: str
    ) -> None:
        with pytest.raises(NameServerError, match="cannot be the name of a bridge"):
            await servers.ensure(replace(one.zone(), bridge=bridge))
        with pytest.raises(NameServerError, match="cannot be the name of a bridge"):
            await servers.remove(bridge)


class TestTheEnd:
    async def test_nothing_is_left_of_any_server(
        self, servers: DnsmasqServers, state: Path, one: Bridge, two: Bridge
    ) -> None:
        await servers.ensure(one.zone(shop="10.1.0.5"))
        await servers.ensure(two.zone(mail="10.2.0.5"))
        await servers.close()
        pids = [pid(state, one), pid(state, two)]

        assert end_all(state) == [one.name, two.name]

        assert _files(state) == set()
        assert not any(_runs(pid) for pid in pids)
        assert end_all(state) == []

    async def test_a_server_that_does_not_obey_is_killed(
        self, servers: DnsmasqServers, state: Path, one: Bridge, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("dsecos_agent.names.servers.PATIENCE", 0.2)
        await servers.ensure(one.zone(shop="10.1.0.5"))
        server = pid(state, one)
        os.kill(server, signal.SIGSTOP)

        await servers.remove(one.name)

        await async_until(lambda: not _runs(server))

    async def test_it_runs_without_rights_and_without_its_agent(
        self, servers: DnsmasqServers, state: Path, one: Bridge
    ) -> None:
        await servers.ensure(one.zone(shop="10.1.0.5"))
        server = pid(state, one)

        status = _status(server)
        assert "0" not in status["Uid"].split()
        assert int(status["CapEff"], 16) == 1 << 10  # CAP_NET_BIND_SERVICE, for a bridge that comes again
        assert os.getsid(server) != os.getsid(0)
        assert status["PPid"].strip() != str(os.getpid())


@contextmanager
def _called(argument: str, folder: Path, bridge: Bridge) -> Iterator[subprocess.Popen[bytes]]:
    """A guest's process with this as its second argument: a file that never ends."""
    file = folder / argument
    file.parent.mkdir(parents=True)
    os.mkfifo(file)
    with bridge.guest.space.entered():
        process = subprocess.Popen(["cat", "--", argument], cwd=folder)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _hosts(state: Path, bridge: Bridge) -> str:
    return (state / f"{bridge.name}.hosts").read_text()


def _replace(file: Path, text: str) -> None:
    """As those do who write resolv.conf(5)."""
    fresh = file.with_name("fresh")
    fresh.write_text(text)
    fresh.replace(file)


def _files(state: Path) -> set[str]:
    """Bridges that have any."""
    return {file.stem for file in state.glob("*")}


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines)


def _answers(bridge: Bridge, tcp: bool) -> bool:
    try:
        answer = bridge.guest.ask(SHOP, server="10.1.0.1", tcp=tcp, time_limit=1)
    except OSError:
        return False
    return answer == known("10.1.0.5")


def _dnsmasq() -> str:
    found = shutil.which("dnsmasq")
    assert found is not None, "dnsmasq-base is not installed"
    return found


def _runs(pid: int) -> bool:
    """Not also a zombie, where nobody takes it away."""
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except OSError:
        return False
