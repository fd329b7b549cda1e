"""What the facts about a cluster mean. Pure: facts in, checks out."""

from __future__ import annotations

from collections.abc import Iterator

from dsecos_cli.advice import advice_for
from dsecos_cli.doctor.judge_proxmox import judge_proxmox
from dsecos_cli.doctor.model import Check, ClusterFacts, Level


def judge_cluster(facts: ClusterFacts) -> list[Check]:
    """Every finding about the cluster."""
    return list(_cluster(facts))


def _cluster(facts: ClusterFacts) -> Iterator[Check]:
    if facts.error:
        yield Check("cluster", "API server", Level.FAIL, facts.error, facts.hint)
        return
    yield Check("cluster", "API server", Level.OK, f"{facts.version} at {facts.address}")
    if facts.missing_kinds:
        yield Check(
            "cluster",
            "CRDs",
            Level.FAIL,
            f"missing: {', '.join(facts.missing_kinds)}",
            "kubectl apply --server-side -f crds/yaml   (`make up` does it)",
        )
        return
    yield Check("cluster", "CRDs", Level.OK, "all kinds of dsecos.io are served")
    if facts.license_reason is None:
        yield Check(
            "cluster", "license", Level.FAIL, "none, so nothing new is deployed", _fix("LicenseMissing")
        )
    else:
        yield _told("license", facts.licensed, facts.license_reason)
    if not facts.nodes:
        yield Check("cluster", "nodes", Level.FAIL, "none", "`make up` joins this machine.")
    for name, (ready, reason) in sorted(facts.nodes.items()):
        yield _told(f"node {name}", ready, reason)
    for engine in facts.proxmox:
        yield from judge_proxmox(engine)


def _told(name: str, ready: bool, reason: str) -> Check:
    if ready:
        return Check("cluster", name, Level.OK, reason)
    if not reason:
        return Check(
            "cluster", name, Level.FAIL, "nobody has looked at it yet", "Does the operator run? `make status`"
        )
    return Check("cluster", name, Level.FAIL, reason, _fix(reason))


def _fix(reason: str) -> str:
    advice = advice_for(reason)
    return advice.action if advice else ""
