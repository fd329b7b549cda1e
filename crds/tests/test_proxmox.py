"""What a token of Proxmox VE lacks, and the command that mends it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from dsecos_api import proxmox
from dsecos_api.node import ProxmoxEngine
from dsecos_api.proxmox import Feature, Missing, Place, Scope

SCOPE = Scope(node="pve1", storage="fast", template_storage="local", resource_pool="dsecos")
SCHEMAS = Path(os.environ.get("DSECOS_PROXMOX_SCHEMA", Path(__file__).parents[2].parent / "shared" / "notes"))

PAGE = Path(__file__).parents[2] / "docs" / "proxmox.md"


def all_of(major: int) -> dict[str, dict[str, object]]:
    """Permissions of a token that has exactly what it needs."""
    found: dict[str, dict[str, object]] = {}
    for privilege in proxmox.wanted(major):
        found.setdefault(SCOPE.path(privilege.place), {})[privilege.name] = 1
    return found


def names(found: list[Missing]) -> list[tuple[str, str]]:
    return [(item.privilege.name, item.path) for item in found]


@pytest.mark.parametrize("major", proxmox.VERSIONS)
def test_exactly_the_list_is_enough(major: int) -> None:
    assert proxmox.missing(all_of(major), SCOPE, major=major) == []


@pytest.mark.parametrize("major", proxmox.VERSIONS)
def test_every_privilege_that_is_taken_away_is_missed_where_it_belongs(major: int) -> None:
    for privilege in proxmox.wanted(major):
        permissions = {path: dict(held) for path, held in all_of(major).items()}
        path = SCOPE.path(privilege.place)
        del permissions[path][privilege.name]
        assert names(proxmox.missing(permissions, SCOPE, major=major)) == [(privilege.name, path)]


def test_a_token_without_rights_misses_all() -> None:
    assert len(proxmox.missing({}, SCOPE, major=8)) == len(proxmox.wanted(8))


def test_a_right_above_counts_if_it_is_handed_down() -> None:
    whole: dict[str, dict[str, object]] = {"/": {privilege.name: 1 for privilege in proxmox.PRIVILEGES}}
    assert proxmox.missing(whole, SCOPE, major=9) == []
    there_only: dict[str, dict[str, object]] = {"/": {privilege.name: 0 for privilege in proxmox.PRIVILEGES}}
    assert len(proxmox.missing(there_only, SCOPE, major=9)) == len(proxmox.wanted(9))


def test_the_nearest_path_says_it_even_when_one_above_says_more() -> None:
    permissions: dict[str, dict[str, object]] = {**all_of(8), "/": {"Datastore.AllocateSpace": 1}}
    permissions["/storage/fast"] = {"Datastore.Audit": 1}
    found = proxmox.missing(permissions, SCOPE, major=8)
    assert names(found) == [("Datastore.AllocateSpace", "/storage/fast")]


def test_rights_to_all_guests_are_rights_to_those_of_the_pool() -> None:
    permissions = all_of(8)
    permissions["/vms"] = permissions.pop("/pool/dsecos")
    assert proxmox.missing(permissions, SCOPE, major=8) == []


def test_a_node_without_a_pool_needs_rights_to_all_guests() -> None:
    engine = ProxmoxEngine.model_validate(
        {"url": "https://pve1:8006", "node": "pve1", "tokenSecretRef": {"name": "token", "key": "token"}}
    )
    scope = Scope.of(engine)
    assert [scope.path(place) for place in (Place.GUESTS, Place.STORAGE, Place.TEMPLATES)] == [
        "/vms",
        "/storage/local-lvm",
        "/storage/local",
    ]


def test_the_commands_name_role_path_user_and_token() -> None:
    found = proxmox.missing({}, SCOPE, major=8)
    storage = [item for item in found if item.privilege.place is Place.STORAGE]
    assert proxmox.mending(storage, SCOPE, "dsecos@pve!pve1", major=8) == [
        'pveum role modify DsecOSStorage --privs "Datastore.Audit Datastore.AllocateSpace"',
        "pveum acl modify /storage/fast --roles DsecOSStorage --users dsecos@pve --tokens 'dsecos@pve!pve1'",
    ]


def test_guests_run_without_what_a_feature_is_for() -> None:
    always = {p.name for p in proxmox.PRIVILEGES if p.feature is Feature.ALWAYS}
    assert "VM.Allocate" in always
    assert not always & {"SDN.Allocate", "VM.Migrate", "VM.Backup"}


def test_no_token_needs_what_nothing_uses_yet() -> None:
    asked = {privilege.name for privilege in proxmox.wanted(9)}
    assert not asked & {"VM.Backup", "SDN.Allocate", "Datastore.Allocate", "Permissions.Modify", "Sys.Modify"}
    assert not any("SDN.Allocate" in command for command in proxmox.role_commands(9))


def test_ids_of_a_node() -> None:
    assert proxmox.vmid_range("100-102") == range(100, 103)
    assert proxmox.vmid_range(None) == range(20000, 30000)


@pytest.mark.parametrize("version", ["8.4", "9.1"])
def test_every_privilege_is_one_that_the_api_knows(version: str) -> None:
    file = SCHEMAS / f"proxmox-api-{version}.json"
    if not file.exists():
        print(f"not run: the schema of Proxmox VE {version} is not at {file}")
        return
    known = json.dumps(json.loads(file.read_text()))
    # Checked by code and not by declaration: the API's schema does not name these.
    undeclared = {"Datastore.Allocate", "VM.Backup", "VM.Config.Disk", "SDN.Use"}
    for privilege in proxmox.wanted(int(version[0]), later=True):
        assert f'"{privilege.name}"' in known or privilege.name in undeclared, privilege.name


def table() -> list[str]:
    """The privileges as the page shows them."""
    rows = []
    for privilege in proxmox.PRIVILEGES:
        version = "" if privilege.majors == proxmox.VERSIONS else f" (Proxmox VE {privilege.majors[0]})"
        without = f"no {privilege.feature}" if privilege.feature else "no guest"
        without += ", which no controller makes yet" if privilege.feature in proxmox.LATER else ""
        rows.append(
            f"| `{privilege.name}`{version} | `{privilege.place}` | {privilege.purpose} | {without} |"
        )
    return rows


def test_the_page_shows_exactly_the_privileges_and_the_commands() -> None:
    page = PAGE.read_text()
    rows = [line for line in page.splitlines() if line.startswith("| `") and "`DsecOS" in line]
    assert rows == table()
    scope = Scope(node="pve1", storage="local-lvm", template_storage="local", resource_pool="dsecos")
    shown = {line.strip() for line in page.splitlines()}
    commands = [*proxmox.role_commands(9), *proxmox.acl_commands(scope, "dsecos@pve!pve1")]
    assert [command for command in commands if command not in shown] == []


def test_the_page_says_what_no_token_may() -> None:
    page = PAGE.read_text()
    assert [what for what in proxmox.NO_TOKEN if f"| {what} |" not in page] == []
