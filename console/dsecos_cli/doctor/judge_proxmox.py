"""What the facts about a Node's Proxmox VE mean. Pure: facts in, checks out, in the order of mending."""

from __future__ import annotations

from collections.abc import Iterator

from dsecos_api import proxmox
from dsecos_api.proxmox import Feature, Place, Scope

from dsecos_cli.doctor.model import Check, Level, ProxmoxFacts, StorageFacts

GIB = 2**30
LITTLE, TOO_LITTLE = 20 * GIB, 8 * GIB
"""Free bytes on the storage for disks: one guest and its images take 8 GiB."""


def judge_proxmox(facts: ProxmoxFacts) -> list[Check]:
    """Every finding about the Proxmox VE of one Node."""
    return list(_checks(facts))


def _checks(facts: ProxmoxFacts) -> Iterator[Check]:
    area, engine = f"proxmox {facts.node}", facts.engine

    def check(name: str, level: Level, reason: str, fix: str = "") -> Check:
        return Check(area, name, level, reason, fix)

    if facts.no_token:
        reference = engine.token_secret_ref
        yield check(
            "token",
            Level.FAIL,
            facts.no_token,
            f"kubectl -n dsecos-node-{facts.node} create secret generic {reference.name}"
            f" --from-literal={reference.key}='USER@REALM!NAME=SECRET'",
        )
        return
    if facts.error:
        yield check("API", Level.FAIL, f"{engine.url}: {facts.error}", "Is it the right address? curl -k URL")
        return
    if (bad := _certificate(facts)) is not None:
        yield check("certificate", Level.FAIL, *bad)
        return
    yield check("API", Level.OK, f"{engine.url} reached, its certificate is trusted")
    if facts.token_refused:
        user, _, name = facts.token.partition("!")
        yield check(
            "token",
            Level.FAIL,
            f"{facts.token} is refused",
            f"pveum user token add {user} {name}   (and put it into the Secret)",
        )
        return
    yield from (check(*found) for found in _findings(facts))


Finding = tuple[str, Level, str, str]


def _findings(facts: ProxmoxFacts) -> Iterator[Finding]:
    engine = facts.engine
    major = _major(facts.version)
    if major in proxmox.VERSIONS:
        yield "version", Level.OK, facts.version, ""
    else:
        known = " and ".join(f"{number}.x" for number in proxmox.VERSIONS)
        level = Level.FAIL if major < proxmox.VERSIONS[0] else Level.WARN
        yield "version", level, f"{facts.version or 'unknown'}; DsecOS knows {known}", "Upgrade Proxmox VE."
    yield from _privileges(facts, major if major in proxmox.VERSIONS else proxmox.VERSIONS[-1])
    if engine.node not in facts.nodes:
        seen = ", ".join(facts.nodes) or "none"
        yield "node", Level.FAIL, f"there is no node {engine.node}; seen: {seen}", "spec.engine.proxmox.node"
        return
    scope = Scope.of(engine)
    yield _storage(facts, scope.storage, proxmox.DISK_CONTENT, "rootdir")
    yield _storage(facts, scope.template_storage, proxmox.TEMPLATE_CONTENT, "vztmpl")
    yield _ids(facts)
    if facts.bridges:
        yield "bridges", Level.OK, ", ".join(facts.bridges), ""
    else:
        fix = proxmox.acl_commands(scope, facts.token, [Place.BRIDGES])[0]
        yield "bridges", Level.WARN, "the token sees none", fix


def _certificate(facts: ProxmoxFacts) -> tuple[str, str] | None:
    """Reason and remedy; None where it is trusted."""
    shown = facts.shown_fingerprint
    compare = "Compare on the node: openssl x509 -noout -fingerprint -sha256 -in /etc/pve/local/pve-ssl.pem"
    then = f"{compare}; if it is the same: spec.engine.proxmox.fingerprint: {shown}"
    if facts.engine.fingerprint is not None and shown != facts.engine.fingerprint.upper():
        return "it is not the certificate that the Node pins", then
    if facts.untrusted:
        return "nobody that this machine trusts has signed it, and the Node pins none", then
    return None


def _privileges(facts: ProxmoxFacts, major: int) -> Iterator[Finding]:
    scope = Scope.of(facts.engine)
    missing = proxmox.missing(facts.permissions, scope, major=major)
    for place in Place:
        here = [item for item in missing if item.privilege.place is place]
        if not here:
            continue
        always = any(item.privilege.feature is Feature.ALWAYS for item in here)
        named = "; ".join(
            f"{item.privilege.name} ({item.privilege.purpose}"
            + (f": only for {item.privilege.feature})" if item.privilege.feature else ")")
            for item in here
        )
        yield (
            f"rights to {scope.path(place)}",
            Level.FAIL if always else Level.WARN,
            f"missing: {named}",
            " && ".join(proxmox.mending(here, scope, facts.token, major=major)),
        )
    if not missing:
        yield "rights", Level.OK, f"{facts.token} has every privilege that is used", ""


def _storage(facts: ProxmoxFacts, name: str, wanted: frozenset[str], needed: str) -> Finding:
    storage = facts.storages.get(name)
    title = f"storage {name}"
    if storage is None:
        seen = ", ".join(sorted(facts.storages)) or "none"
        return title, Level.FAIL, f"not there, or the token does not see it; seen: {seen}", "pvesm status"
    if not storage.active:
        return title, Level.FAIL, "not active on this node", f"pvesm set {name} --disable 0; pvesm status"
    content = ",".join(sorted(storage.content | wanted))
    if needed not in storage.content:
        return title, Level.FAIL, f"takes no {needed}", f"pvesm set {name} --content {content}"
    return _room(
        title, storage, is_for_disks=needed == "rootdir", fix=f"pvesm set {name} --content {content}"
    )


def _room(title: str, storage: StorageFacts, *, is_for_disks: bool, fix: str) -> Finding:
    if is_for_disks and storage.free_bytes is not None and storage.free_bytes < LITTLE:
        level = Level.FAIL if storage.free_bytes < TOO_LITTLE else Level.WARN
        return title, level, f"{storage.free_bytes / GIB:.1f} GiB free", "Free some space, or add a disk."
    free = "" if storage.free_bytes is None else f", {storage.free_bytes / GIB:.1f} GiB free"
    if is_for_disks and "images" not in storage.content:
        return title, Level.WARN, f"{storage.kind}{free}; takes no images: no VMs", fix
    return title, Level.OK, f"{storage.kind}{free}", ""


def _ids(facts: ProxmoxFacts) -> Finding:
    ids = proxmox.vmid_range(facts.engine.vmids)
    span = f"{ids.start}-{ids.stop - 1}"
    free = len(ids) - len(facts.foreign_ids) - facts.our_ids
    if not free:
        return "ids", Level.FAIL, f"none of {span} is free", "spec.engine.proxmox.vmids: another range"
    if facts.foreign_ids:
        some = ", ".join(str(number) for number in facts.foreign_ids[:5])
        more = " and more" if len(facts.foreign_ids) > 5 else ""
        return (
            "ids",
            Level.WARN,
            f"guests of others have {some}{more} of {span}",
            "Give DsecOS its own range.",
        )
    return "ids", Level.OK, f"{free} of {span} free", ""


def _major(version: str) -> int:
    text = version.partition(".")[0]
    return int(text) if text.isdigit() else 0
