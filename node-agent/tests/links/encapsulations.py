"""How nodes are joined in tests: by each encapsulation that this kernel has.

Where it has no 802.1Q, the cases of `vlan` run in a virtual machine that has it (tests/vm).
"""

from dsecos_agent.links.probe import abilities
from dsecos_agent.links.protocol import Encapsulation

VXLAN, VLAN = Encapsulation.VXLAN, Encapsulation.VLAN
HAS_VLAN = "vlan" in abilities()
ENCAPSULATIONS = (VXLAN, VLAN) if HAS_VLAN else (VXLAN,)
