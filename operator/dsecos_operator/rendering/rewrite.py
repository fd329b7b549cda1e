"""From the normalised document to the one that the guest runs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from dsecos_api import Reason
from dsecos_api.names import VOLUME_MOUNT_ROOT

from dsecos_operator.rendering.loader import PROJECT
from dsecos_operator.rendering.refused import Refused

STACK_LABEL = "dsecos.io/stack"
_VARIABLE = re.compile(r"\$(?:\$|\{([A-Za-z_][A-Za-z0-9_]*)\}|(.?))")


def rewrite(
    document: Mapping[str, Any], placeholders: Mapping[str, str], volumes: Iterable[str], stack: str
) -> dict[str, Any]:
    """Secrets' references back in, the Stack's volumes bound to their directories, services that come back
    after a boot.

    `placeholders`: what stood for each secret while the document was loaded. `stack`: namespace/name, for
    people who look at containers. Raises Refused (UndefinedVariable) if a placeholder got anywhere but into
    `environment`.
    """
    finite = _run_to_completion(document)
    services = {
        name: _service(name, service, placeholders, stack, finite)
        for name, service in document["services"].items()
    }
    result: dict[str, Any] = {"name": PROJECT, "services": services}
    for section in ("networks", "volumes", "configs"):
        if document.get(section):
            result[section] = {name: _definition(entry) for name, entry in document[section].items()}
    for name in volumes:
        if name in result.get("volumes", {}):
            result["volumes"][name] = {
                "name": result["volumes"][name].get("name", f"{PROJECT}_{name}"),
                "driver": "local",
                "driver_opts": {"type": "none", "o": "bind", "device": f"{VOLUME_MOUNT_ROOT}/{name}"},
            }
    _check_variables(result, placeholders)
    return result


def dump(document: Mapping[str, Any]) -> str:
    """The text that the guest's Docker Compose gets: JSON, which is YAML that has one meaning only.
    Deterministic.
    """
    return json.dumps(document, sort_keys=True, indent=1, ensure_ascii=False) + "\n"


def _service(
    name: str, service: Mapping[str, Any], placeholders: Mapping[str, str], stack: str, finite: frozenset[str]
) -> dict[str, Any]:
    result = {key: value for key, value in service.items() if value is not None and key != "profiles"}
    environment = {}
    for key, value in (service.get("environment") or {}).items():
        # A variable without a value is inherited from whoever runs compose: a secret of that name, or
        # nothing.
        if value is None:
            continue
        text = str(value)
        for secret, placeholder in placeholders.items():
            text = text.replace(placeholder, f"${{{secret}}}")
        environment[key] = text
    if environment:
        result["environment"] = environment
    else:
        result.pop("environment", None)
    if (
        "restart" not in result
        and "restart_policy" not in (result.get("deploy") or {})
        and name not in finite
    ):
        result["restart"] = "unless-stopped"
    result["labels"] = {**(result.get("labels") or {}), STACK_LABEL: stack}
    return result


def _run_to_completion(document: Mapping[str, Any]) -> frozenset[str]:
    """Services that others wait for to end: starting them again would run a migration twice."""
    return frozenset(
        name
        for service in document["services"].values()
        for name, dependency in (service.get("depends_on") or {}).items()
        if (dependency or {}).get("condition") == "service_completed_successfully"
    )


def _definition(entry: Mapping[str, Any] | None) -> dict[str, Any]:
    return {key: value for key, value in (entry or {}).items() if value not in (None, {})}


def _check_variables(document: Mapping[str, Any], placeholders: Mapping[str, str]) -> None:
    """Docker Compose in the guest replaces variables once more; nothing but declared secrets may be left for
    it.
    """
    text = json.dumps(document, ensure_ascii=False)
    escaped = any(placeholder in text for placeholder in placeholders.values())
    unknown = [
        match[0]
        for match in _VARIABLE.finditer(text)
        if match[0] != "$$" and (match[1] is None or match[1] not in placeholders)
    ]
    if escaped or unknown:
        raise Refused(
            Reason.UNDEFINED_VARIABLE,
            f"after loading, outside of `environment`: {', '.join(unknown[:5]) or 'a secret'}",
        )
