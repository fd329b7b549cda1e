"""Commands in a VM, by a guest agent that carries them out on this host."""

import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from dsecos_agent.adapter_errors import UnsupportedError
from dsecos_agent.engines.errors import GuestFailedError, GuestSilentError, UnsafeConfigError
from dsecos_agent.engines.model import GuestKind
from dsecos_agent.engines.proxmox import guest_agent, refusals
from dsecos_proxmox_simulator.faults import SilentAgent
from hypothesis import given
from hypothesis import strategies as st

from . import world
from .world import OWNER, Lab


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with world.lab(tmp_path) as made:
        made.add_machine_template()
        made.world.run_in_guest = lambda _, command, text: run(command, text)
        yield made


def run(command: list[str], text: str) -> tuple[int, str, str]:
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, done.stdout, done.stderr


@given(stdin=st.binary(max_size=300), value=st.text(st.characters(codec="utf-8", exclude_characters="\0")))
def test_what_is_given_to_the_agent_is_plain_text_and_hides_everything(stdin: bytes, value: str) -> None:
    argv, text = guest_agent.command(["cat"], {"SECRET": value}, stdin, 5)
    assert text.isascii()
    assert "export SECRET" not in " ".join(argv)


@pytest.mark.parametrize("value", ["a b\n$c'\"", "grün, 5 €", ""])
async def test_words_of_any_language_arrive_and_come_back(lab: Lab, value: str) -> None:
    engine = lab.engine()
    await engine.write_config(world.config("one", kind=GuestKind.VM))
    await engine.start("one", OWNER)
    argv = ["sh", "-c", 'printf "%s|" "$VALUE"; cat']
    found = await engine.exec("one", OWNER, argv, stdin=value.encode(), env={"VALUE": value}, time_limit=10)
    assert found.stdout.decode() == f"{value}|{value}"
    await engine.close()


def test_input_is_packed_and_what_is_too_long_all_the_same_is_refused() -> None:
    _, text = guest_agent.command(["cat"], {}, b"services: {}\n" * 50_000, 5)
    assert len(text) < 5000
    noise = random.Random(0).randbytes(60_000)
    with pytest.raises(UnsupportedError, match="65536 characters"):
        guest_agent.command(["cat"], {}, noise, 5)
    with pytest.raises(UnsafeConfigError):
        guest_agent.command(["cat"], {"a b": "c"}, b"", 5)


async def test_an_agent_that_does_not_answer_yet_is_no_guest_that_has_ended(lab: Lab) -> None:
    engine = lab.engine()
    await engine.write_config(world.config("one", kind=GuestKind.VM))
    guest = await engine.start("one", OWNER)
    found = lab.world.guest(int(guest.engine_id))
    assert found is not None
    found.agent_running = False
    with pytest.raises(GuestSilentError):
        await engine.exec("one", OWNER, ["true"], time_limit=5)
    await engine.close()


async def test_a_look_that_the_agent_misses_does_not_end_the_command(lab: Lab) -> None:
    engine = lab.engine()
    await engine.write_config(world.config("one", kind=GuestKind.VM))
    await engine.start("one", OWNER)
    lab.simulator.faults.once("GET", "/nodes/{node}/qemu/{vmid}/agent/exec-status", SilentAgent(), times=2)
    assert (await engine.exec("one", OWNER, ["echo", "done"], time_limit=5)).stdout == b"done\n"
    await engine.close()


@pytest.mark.parametrize("words", ["CT 100 not running", "VM is locked (backup)", "no such VM"])
def test_the_guests_own_words_are_not_taken_for_proxmoxs(words: str) -> None:
    assert type(refusals.of_text(f"Agent error: {words}", "exec")) is GuestFailedError
