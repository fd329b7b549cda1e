"""Tasks: their ids, their results, when they are looked at, and what is noted of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from dsecos_agent.engines.errors import EngineUnreachableError, GuestFailedError, OutcomeUnknownError
from dsecos_agent.engines.model import GuestKind
from dsecos_agent.engines.proxmox import upid
from dsecos_agent.engines.proxmox.client import Client
from dsecos_agent.engines.proxmox.gates import Gates
from dsecos_agent.engines.proxmox.journal import REMEMBERED, Claim, Entry, Intent, Journal
from dsecos_agent.engines.proxmox.pace import LONGEST, SHORTEST, Pace, back_off
from dsecos_agent.engines.proxmox.tasks import WORKERS, Tasks, judge
from dsecos_proxmox_simulator import LostAnswer, SlowTask
from hypothesis import given
from hypothesis import strategies as st

from .world import PRIVILEGES, Lab, QuickClock, lab

NODE = st.from_regex(r"[a-z]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
WORD = st.text("abcdefghijklmnopqrstuvwxyz0123456789@.!-_", min_size=1, max_size=12)
WORKER = st.sampled_from(sorted(name for names in WORKERS.values() for name in names))


@st.composite
def upids(draw: st.DrawFn) -> tuple[str, upid.Upid]:
    node, kind, id_, user = draw(NODE), draw(WORKER), draw(st.just("") | WORD), draw(WORD)
    start = draw(st.integers(0, 2**32 - 1))
    pid, pstart = draw(st.integers(0, 2**32 - 1)), draw(st.integers(0, 2**36 - 1))
    text = f"UPID:{node}:{pid:08X}:{pstart:08X}:{start:08X}:{kind}:{id_}:{user}:"
    return text, upid.Upid(node, kind, id_, start, user)


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Lab]:
    with lab(tmp_path) as cluster:
        cluster.world.add_guest(100, hostname="x", storage="local-lvm")
        yield cluster


@pytest.fixture
async def client(made: Lab) -> AsyncIterator[Client]:
    client = Client(made.settings(), sleep=QuickClock().sleep, point=lambda _: None)
    yield client
    await client.close()


def tasks_of(made: Lab, client: Client, **changes: Any) -> Tasks:
    settings = made.settings(**changes)
    journal = Journal(made.home / "journal", point=lambda _: None)
    return Tasks(client, journal, settings, Gates(settings), QuickClock())


async def start(tasks: Tasks, client: Client) -> None:
    path = "/nodes/pve1/lxc/100/status/start"
    await tasks.run("one", "start", node="pve1", vmid=100, issue=lambda: client.post(path))


# Ids


@given(upids())
def test_an_id_is_read_as_it_was_written(made: tuple[str, upid.Upid]) -> None:
    text, meant = made
    assert upid.parse(text) == meant
    assert upid.is_upid(text)


@pytest.mark.parametrize(
    "text",
    [
        "UPID:pve1:00000563:0002B8A0:6B02122D:vzcreate:102:root@pam:",
        "UPID:pve1:00000DBF:00034470:6B021393:vzcreate:110:probe@pve!t1:",
        "UPID:pve1:00000F68:00036AF6:6B0213F6:reloadnetworkall::root@pam:",
        "UPID:pve1:00000AD7:0003149D:6B021319:imgdel:102@local:root@pam:",
    ],
)
def test_ids_of_a_real_node(text: str) -> None:
    assert upid.parse(text).node == "pve1"


@given(st.text() | st.none() | st.integers())
def test_nothing_else_is_an_id(text: object) -> None:
    assert not upid.is_upid(text)


# Results


@given(st.integers(1, 999))
def test_warnings_are_no_failure(count: int) -> None:
    assert judge(f"WARNINGS: {count}", "u", "start of one").warnings == count


def test_results() -> None:
    assert judge("OK", "u", "start of one").warnings == 0
    with pytest.raises(GuestFailedError, match="something else"):
        judge("something else", "u", "start of one")
    with pytest.raises(OutcomeUnknownError):
        judge("", "u", "start of one")


# When to look


@given(st.floats(0.01, 600), st.lists(st.floats(0.01, 600), max_size=20))
def test_looks_are_never_closer_than_the_shortest_nor_further_than_sense(
    usual: float, later: list[float]
) -> None:
    pace = Pace()
    for seconds in (usual, *later):
        pace.learn("vzcreate", seconds)
    first, *rest = islice(pace.pauses("vzcreate"), 30)
    assert first >= SHORTEST
    assert all(SHORTEST <= pause <= LONGEST for pause in rest)
    assert rest == sorted(rest)
    assert list(islice(back_off(), 3)) == [0.05, 0.1, 0.2]


# Notes


NOTES = st.builds(
    Entry,
    st.none() | st.builds(Claim, st.integers(100, 999), st.text(), st.sampled_from(GuestKind), st.text()),
    st.none()
    | st.builds(
        Intent, st.text(), st.text(), st.none() | st.integers(), st.floats(0, 1e10), st.text(), st.text()
    ),
    st.lists(st.text(), max_size=REMEMBERED).map(tuple),
)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40), NOTES)
def test_a_note_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, guest: str, note: Entry
) -> None:
    directory = tmp_path_factory.mktemp("notes")
    journal = Journal(directory, point=lambda _: None)
    assert journal.read(guest) == Entry()
    journal.write(guest, note)
    again = Journal(directory, point=lambda _: None)
    assert again.read(guest) == note
    assert again.claims() == ({note.claim.vmid: guest} if note.claim else {})
    again.forget(guest)
    assert journal.read(guest) == Entry()


def test_a_note_that_the_disk_has_damaged_says_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path, point=lambda _: None)
    journal.write("one", Entry(Claim(100, "u", GuestKind.VM, "pve1")))
    (tmp_path / "one.json").write_text("{")
    assert journal.read("one") == Entry()


def test_what_a_killed_writer_left_half_written_is_removed_by_the_next(tmp_path: Path) -> None:
    (tmp_path / "one.json.tmp").write_text('{"claim": {"vm')
    assert Journal(tmp_path, point=lambda _: None).read("one") == Entry()
    assert list(tmp_path.iterdir()) == []


def test_only_the_latest_ended_tasks_are_remembered() -> None:
    note = Entry()
    for number in range(20):
        note = note.begun(Intent("start", "pve1", 100, 0.0, upid=f"u{number}")).over()
    assert note.ended == tuple(f"u{number}" for number in range(12, 20))


# On their way


async def test_a_task_that_takes_too_long_is_waited_for_again_by_the_next_call(
    made: Lab, client: Client
) -> None:
    made.simulator.faults.once("POST", "/nodes/{node}/lxc/{vmid}/status/start", SlowTask(60))
    hasty = tasks_of(made, client, task_limits={}, task_limit=0.05)
    with pytest.raises(OutcomeUnknownError, match="still runs"):
        await start(hasty, client)
    await start(tasks_of(made, client), client)
    assert len(made.simulator.issued("vzstart")) == 1


async def test_a_task_whose_answer_was_lost_is_found_by_the_one_who_asked(made: Lab, client: Client) -> None:
    made.simulator.faults.once("POST", "/nodes/{node}/lxc/{vmid}/status/start", LostAnswer())
    await start(tasks_of(made, client), client)
    assert len(made.simulator.issued("vzstart")) == 1


async def test_a_task_that_had_ended_before_is_not_taken_for_one_that_was_lost(
    made: Lab, client: Client
) -> None:
    tasks = tasks_of(made, client)
    await start(tasks, client)
    made.world.set_status(100, "stopped")
    journal = Journal(made.home / "journal", point=lambda _: None)
    intent = Intent("start", "pve1", 100, made.simulator.issued("vzstart")[0].starttime)
    journal.write("one", journal.read("one").begun(intent))
    resumed = await tasks.resume("one")
    assert resumed is not None
    assert resumed.result is None
    assert journal.read("one").intent is None


async def test_while_the_node_is_away_nothing_is_begun(tmp_path: Path) -> None:
    with lab(tmp_path, nodes=("pve1", "pve2")) as other:
        journal = Journal(other.home / "journal", point=lambda _: None)
        journal.write("one", Entry().begun(Intent("start", "pve2", 100, 0.0)))
        other.world.node_down("pve2")
        api = Client(other.settings(), sleep=QuickClock().sleep, point=lambda _: None)
        tasks = tasks_of(other, api)
        with pytest.raises(EngineUnreachableError):
            await start(tasks, api)
        assert journal.read("one").intent is not None
        await api.close()
        assert other.simulator.issued() == []


async def test_what_somebody_else_does_to_the_guest_meanwhile_is_not_taken_for_ours(
    made: Lab, client: Client
) -> None:
    secret = made.simulator.add_token("admin@pve", "hand", {"/": PRIVILEGES}, privsep=False)
    by_hand = Client(
        made.settings(token=f"admin@pve!hand={secret}"), sleep=QuickClock().sleep, point=lambda _: None
    )
    path = "/nodes/pve1/lxc/100/status/start"
    journal = Journal(made.home / "journal", point=lambda _: None)
    journal.write("one", Entry().begun(Intent("start", "pve1", 100, QuickClock().now())))
    await by_hand.post(path)
    await by_hand.close()
    resumed = await tasks_of(made, client).resume("one")
    assert resumed is not None
    assert resumed.result is None, "our own was never begun"
