"""The machine has what our tests need of a kernel, runs them as they are, and tells what became of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from dsecos_control_plane.settings import SOURCE

from tests.patience import until
from tests.vm.inside import assert_passed, run_tests
from tests.vm.machine import SHARED, Machine, MachineError

PYTHON = SOURCE / ".venv" / "bin" / "python"


def test_it_runs_debians_kernel(machine: Machine) -> None:
    release = machine.run("uname", "-r", within=10).output.strip()
    assert release.endswith("-amd64")
    assert Path("/proc/sys/kernel/osrelease").read_text().strip() != release


def test_it_can_do_all_that_a_zone_may_need(machine: Machine) -> None:
    code = "from dsecos_agent.links.probe import abilities; print(*sorted(abilities()))"
    done = machine.run(PYTHON, "-c", code, within=60)
    assert done.output.split() == ["ipv6", "vlan", "vxlan"]


def test_a_link_with_a_tag_is_made_of_a_veth(machine: Machine) -> None:
    lines = (
        "ip link add lower type veth peer other",
        "ip link add link lower tagged type vlan id 7",
        "ip -details link show tagged",
        "ip link delete lower",
    )
    done = machine.run("sh", "-ec", "\n".join(lines), within=20)
    assert "vlan protocol 802.1Q id 7" in done.output
    assert done.code == 0


def test_rules_as_ours_can_be_loaded(machine: Machine) -> None:
    rules = """
        table inet t {
            chain p {
                type filter hook prerouting priority 0;
                ct state established accept
                fib saddr . iif oif missing drop
            }
            chain n {
                type nat hook postrouting priority 100;
                oif != lo masquerade
            }
        }
        table bridge t {
            chain f {
                type filter hook forward priority 0;
                ct state invalid drop
            }
        }
    """
    (machine.shared / "rules").write_text(rules)
    own = machine.run("unshare", "--net", "nft", "--file", SHARED / "rules", within=20)
    assert (own.code, own.output) == (0, "")


def test_it_has_no_network(machine: Machine) -> None:
    assert machine.run("ls", "/sys/class/net", within=10).output.split() == ["lo"]


def test_what_it_changes_is_changed_for_it_alone(machine: Machine, tmp_path: Path) -> None:
    for file in (tmp_path / "file", SOURCE / "README.md"):
        before = file.read_bytes() if file.exists() else None
        assert machine.run("sh", "-c", f"echo text > {file} && cat {file}", within=10).output == "text\n"
        assert (file.read_bytes() if file.exists() else None) == before


def test_a_folder_is_shared_both_ways(machine: Machine) -> None:
    (machine.shared / "there").write_text("hello")
    assert machine.run("cp", SHARED / "there", SHARED / "back", within=10).code == 0
    assert (machine.shared / "back").read_text() == "hello"


def test_a_command_tells_how_it_ended(machine: Machine) -> None:
    done = machine.run("sh", "-c", "echo out; echo err >&2; exit 3", within=10)
    assert (done.code, done.output) == (3, "out\nerr\n")


def test_our_tests_run_in_it_and_move_real_packets(machine: Machine, tmp_path: Path) -> None:
    folder = "node-agent/tests/links"
    cases = [
        f"{folder}/test_entries.py::test_the_link_local_address_of_a_mac",
        f"{folder}/test_transit.py::test_guests_of_three_nodes_reach_each_other[vxlan]",
    ]
    bad = tmp_path / "test_bad.py"
    bad.write_text("def test_sum(): assert 1 + 1 == 3\n")
    found = run_tests(machine, *cases, f"{bad}", within=120)
    assert_passed(found[:2])
    assert [each.test for each in found[:2]] == cases
    assert found[2].outcome == "failure"


def test_a_command_that_takes_too_long_is_ended_with_the_machine_and_another_boots(machine: Machine) -> None:
    with pytest.raises(MachineError, match=r"sleep(.|\n)*begun"):
        machine.run("sh", "-c", "echo begun; sleep 1000", within=2)
    assert machine.run("true", within=10).code == 0


def test_a_machine_that_ends_is_told_with_its_last_words(machine: Machine) -> None:
    with pytest.raises(MachineError, match=r"the machine ended(.|\n)*sysrq_handle_crash"):
        machine.run("sh", "-c", "echo c > /proc/sysrq-trigger", within=20)


def test_it_ends_with_the_process_that_has_it(tmp_path: Path) -> None:
    program = (
        "import time\n"
        "from tests.vm.kernel import kernel\n"
        "from tests.vm.machine import Machine\n"
        "with Machine(kernel()) as machine:\n"
        "    machine.run('true', within=10)\n"
        "    print(machine._qemu.pid, flush=True)\n"
        "    time.sleep(1000)\n"
    )
    env = {**os.environ, "TMPDIR": f"{tmp_path}"}
    command = [sys.executable, "-c", program]
    owner = subprocess.Popen(command, cwd=SOURCE, env=env, stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    pid = owner.stdout.readline().strip()
    assert b"qemu-system" in Path("/proc", pid, "cmdline").read_bytes()
    owner.kill()
    owner.wait()
    until(lambda: not Path("/proc", pid, "cmdline").exists(), what="it runs on")
