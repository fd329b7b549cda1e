"""What no token may set is set by root of the node, where the agent is that."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dsecos_agent.engines.model import Adopted, GuestConfig, GuestKind
from dsecos_agent.engines.proxmox.engine import ProxmoxEngine

from .world import IMAGE, OWNER, Lab, config, lab


class RootOfTheNode:
    """Stands for `pct set`, which does not exist here: the simulator's guest gets what it would write."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self.asked: list[str] = []

    async def set_mounts(self, vmid: int, mounts: Mapping[str, str]) -> None:
        self.asked.append("mounts")
        self._lab.world.change_config(vmid, **mounts)

    async def set_features(self, vmid: int, *, keyctl: bool) -> None:
        self.asked.append("keyctl")
        self._lab.world.change_config(vmid, features=f"nesting=1,keyctl={keyctl:d}")


def at_the_node(lab: Lab, root: Any) -> ProxmoxEngine:
    return ProxmoxEngine(
        lab.settings(),
        state=lab.home / "state",
        images=lambda image: lab.archive if image == IMAGE else None,
        local=root,
    )


async def test_a_container_that_runs_docker_gets_its_keyrings_once(tmp_path: Path) -> None:
    with lab(tmp_path) as made:
        root = RootOfTheNode(made)
        engine = at_the_node(made, root)
        assert await engine.write_config(config("one"))
        assert root.asked == ["keyctl"]
        assert not await engine.write_config(config("one"))
        guest = await engine.get("one")
        assert guest is not None
        made.world.change_config(int(guest.engine_id), features="nesting=1")
        assert await engine.write_config(config("one")), "somebody took it away"
        assert root.asked == ["keyctl", "keyctl"]
        await engine.close()


async def test_a_container_that_runs_no_containers_gets_none(tmp_path: Path) -> None:
    with lab(tmp_path) as made:
        root = RootOfTheNode(made)
        engine = at_the_node(made, root)
        assert await engine.write_config(config("one", nesting=False))
        assert not await engine.write_config(config("one", nesting=False))
        assert root.asked == []
        await engine.close()


async def test_what_is_adopted_is_not_touched_by_root(tmp_path: Path) -> None:
    with lab(tmp_path) as made:
        guest = made.add_foreign(105, GuestKind.CONTAINER, mp200="/srv/more,mp=/more")
        theirs = {key: guest.config[key] for key in ("features", "mp0", "mp200", "net0")}
        root = RootOfTheNode(made)
        engine = at_the_node(made, root)
        shop = GuestConfig("one", OWNER, Adopted("105"), None)
        assert await engine.write_config(shop)
        # It has no `exec` either: an adopted container sets its addresses itself.
        await engine.start("one", OWNER)
        assert not await engine.write_config(shop)
        assert root.asked == []
        assert {key: guest.config[key] for key in theirs} == theirs
        await engine.close()


async def test_elsewhere_a_token_makes_what_it_can(tmp_path: Path) -> None:
    with lab(tmp_path) as made:
        engine = made.engine()
        assert await engine.write_config(config("one"))
        assert not await engine.write_config(config("one"))
        await engine.close()
