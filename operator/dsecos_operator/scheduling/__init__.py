"""Where a Stack runs: node, address, user ids. Pure functions over what the API says.

In this version a Stack is placed once. A node that is lost keeps its Stacks: nobody can know from outside
whether its guests still run and write, so moving them is left to the part that can fence nodes.
"""

from dsecos_operator.scheduling import addresses
from dsecos_operator.scheduling.identity import ID_COUNT, id_base, mac
from dsecos_operator.scheduling.model import Occupant, Rules, Wanted
from dsecos_operator.scheduling.place import place, stay

__all__ = ["ID_COUNT", "Occupant", "Rules", "Wanted", "addresses", "id_base", "mac", "place", "stay"]
