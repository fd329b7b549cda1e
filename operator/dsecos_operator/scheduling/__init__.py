"""Where a Stack runs: node, address, user ids. Pure functions over what the API says.

A Stack keeps its place until it is told to move. A node that is lost keeps its Stacks: nobody can know from
outside whether its guests still run and write, so moving them is left to the part that can fence nodes.
"""

from dsecos_operator.scheduling import addresses
from dsecos_operator.scheduling.companions import Company, Member
from dsecos_operator.scheduling.engines import engine_node
from dsecos_operator.scheduling.identity import ID_COUNT, id_base, mac
from dsecos_operator.scheduling.model import Occupant, Rules, Wanted
from dsecos_operator.scheduling.place import adopt, follow, move, place, stay

__all__ = [
    "ID_COUNT",
    "Company",
    "Member",
    "Occupant",
    "Rules",
    "Wanted",
    "addresses",
    "adopt",
    "engine_node",
    "follow",
    "id_base",
    "mac",
    "move",
    "place",
    "stay",
]
