"""A Stack, from apply to the first HTTP 200, against a shell script that takes the same raw steps.

Both use the same template, volume layout, LXC configuration and compose document, in alternation within one
run. Figures are printed; only the ratio has a goal.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import time
from pathlib import Path

import pytest

from tests.e2e.cloud import Cloud, Object, until
from tests.e2e.conftest import PASSWORD, shop_stack

SCRIPT = Path(__file__).with_name("raw-deploy.sh")
ROUNDS = 5
GOAL = 1.15
PORT = 23900
NAME, BRIDGE, GATEWAY, ADDRESS = "raw-shop", "drawz0", "10.81.0.1", "10.81.0.2"

RULES = f"""
table inet {NAME} {{
    chain forward {{
        type filter hook forward priority filter; policy accept;
        ct state established,related accept
        oifname "{BRIDGE}" ip daddr {ADDRESS} tcp dport 3000 accept
        oifname "{BRIDGE}" drop
        iifname "{BRIDGE}" drop
    }}
    chain input {{
        type filter hook input priority filter; policy accept;
        iifname "{BRIDGE}" ct state established,related accept
        iifname "{BRIDGE}" drop
    }}
    chain here {{
        type nat hook output priority -100; policy accept;
        fib daddr type local tcp dport {PORT} dnat ip to {ADDRESS}:3000
    }}
    chain source {{
        type nat hook postrouting priority srcnat; policy accept;
        oifname "{BRIDGE}" ip saddr 127.0.0.0/8 masquerade
    }}
}}
"""


def empty_shop(cloud: Cloud) -> Object:
    """The Stack whose data goes with it, so that each round begins with an empty database."""
    return shop_stack(cloud, volumes=[{"name": "pgdata", "size": "2Gi", "deletionPolicy": "Delete"}])


def product(cloud: Cloud) -> float:
    """Seconds from `kubectl apply` to the first HTTP 200."""
    begun = time.monotonic()
    cloud.apply(empty_shop(cloud))
    until(lambda: cloud.http(23000, timeout=1)[0] == 200, 120, every=0.01)
    return time.monotonic() - begun


def raw(folder: Path) -> float:
    """Seconds that the script needs for the same."""
    begun = time.monotonic()
    env = {**os.environ, "postgresPassword": PASSWORD}
    subprocess.run([SCRIPT, "up", folder], env=env, check=True, timeout=180)
    return time.monotonic() - begun


def undo(folder: Path) -> None:
    """Take away what the script made."""
    subprocess.run([SCRIPT, "down", folder], check=True, timeout=60)


def prepare(cloud: Cloud, folder: Path) -> None:
    """Write down what the product made of the Stack, for the script to do the same by hand."""
    guest = cloud.guest("shop")
    name = guest["metadata"]["name"]
    pool = cloud.home / "pools" / "default"
    config = (cloud.home / "lxc" / name / "config").read_text()
    lines = [line for line in config.splitlines() if not line.startswith(("#", "lxc.hook"))]
    text = "\n".join(lines)
    bridge = next(a for a in cloud.find("zoneattachments"))["status"]["bridge"]
    link = next(line.split(" = ")[1] for line in lines if line.startswith("lxc.net.0.veth.pair"))
    for old, new in {
        f"{pool}/guests/{name}/rootfs": f"{pool}/bench-rootfs",
        f"{pool}/guests/{name}/docker": f"{pool}/bench-docker",
        f"{pool}/guests/{name}/shared": f"{folder}/shared",
        f"{pool}/volumes/{cloud.namespace}/shop/pgdata/data": f"{pool}/bench-pgdata",
        bridge: BRIDGE,
        link: "drawg0",
        f"{guest['spec']['network']['address']}/32": f"{ADDRESS}/32",
        guest["spec"]["network"]["gateway"]: GATEWAY,
    }.items():
        assert old in text, old
        text = text.replace(old, new)
    container = folder / "lxc" / NAME
    container.mkdir(parents=True)
    (folder / "shared").mkdir()
    for path in (folder, folder / "lxc", container, folder / "shared"):
        path.chmod(0o755)
    (container / "config").write_text(f"{text}\n")
    (folder / "rules.nft").write_text(RULES)
    (folder / "document.json").write_text(guest["spec"]["compose"]["document"])
    template = next((pool / "templates").iterdir()).relative_to(pool)
    env = {
        "NAME": NAME,
        "POOL": pool,
        "TEMPLATE": template,
        "BRIDGE": BRIDGE,
        "GATEWAY": GATEWAY,
        "PORT": PORT,
    }
    (folder / "env").write_text("".join(f"{key}={value}\n" for key, value in env.items()))


@pytest.mark.timeout(1500)
def test_a_stack_is_as_quick_as_a_script(running: Cloud, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = Path("/tmp/dsecos-bench")
    subprocess.run(["rm", "-rf", folder], check=True)
    folder.mkdir()
    running.apply(empty_shop(running))
    running.wait_ready("shop")
    prepare(running, folder)
    running.delete_stack("shop")
    rounds: list[tuple[float, float]] = []
    try:
        for _ in range(ROUNDS):
            ours = product(running)
            running.wait_ready("shop")
            running.delete_stack("shop")
            theirs = raw(folder)
            undo(folder)
            rounds.append((ours, theirs))
            print(f"Stack {ours:.2f} s, script {theirs:.2f} s, ratio {ours / theirs:.2f}")
    finally:
        undo(folder)
        subprocess.run(["rm", "-rf", folder], check=True)
    ours, theirs = (statistics.median(values) for values in zip(*rounds, strict=True))
    print(json.dumps({"stack": ours, "script": theirs, "ratio": ours / theirs, "goal": GOAL}))
    assert ours / theirs <= GOAL
