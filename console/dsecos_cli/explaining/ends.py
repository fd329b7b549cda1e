"""What FROM and TO mean."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from ipaddress import ip_address

from dsecos_cli.errors import NotFoundError
from dsecos_cli.explaining.model import End, NotJudgedError
from dsecos_cli.explaining.objects import Objects

NODE = "node/"
FORMS = "STACK, NAMESPACE/STACK, an IP address or node/NAME"


def resolve(objects: Objects, text: str, namespace: str) -> End:
    """The end that a word of the command line names. Raises NotFoundError, NotJudgedError.

    A word `node/NAME` is a node: a Stack of a namespace `node` is named with `-n node`.
    """
    try:
        return objects.at(ip_address(text))
    except ValueError:
        pass
    if text.startswith(NODE):
        return _node(objects, text.removeprefix(NODE))
    head, slash, tail = text.partition("/")
    place, name = (head, tail) if slash else (namespace, head)
    for end in objects.places:
        if (end.namespace, end.name) == (place, name):
            return end
    for stack in objects.stacks:
        if (stack.namespace, stack.name) == (place, name):
            raise NotJudgedError(
                f"stack {place}/{name} was adopted", "Its network is its own: no zone filters it."
            )
    known = [f"{end.namespace}/{end.name}" for end in objects.places]
    near = [
        *(f"{place}/{each}" for each in _near(name, _names(known, place))),
        *(each for each in known if each.endswith(f"/{name}")),
    ] or _near(f"{place}/{name}", known)
    raise NotFoundError(f"there is no stack {place}/{name}", _meant(near) or f"Write {FORMS}.")


def _node(objects: Objects, name: str) -> End:
    if name not in objects.hosts:
        near = [f"{NODE}{each}" for each in _near(name, objects.hosts) or sorted(objects.hosts)[:3]]
        raise NotFoundError(f"there is no node {name}", _meant(near) or "No node has joined.")
    return objects.hosts[name]


def _names(known: Iterable[str], namespace: str) -> list[str]:
    return [each.partition("/")[2] for each in known if each.startswith(f"{namespace}/")]


def _near(name: str, known: Iterable[str]) -> list[str]:
    return get_close_matches(name, list(known), n=3)


def _meant(near: list[str]) -> str:
    return f"Did you mean {' or '.join(near)}?" if near else ""
