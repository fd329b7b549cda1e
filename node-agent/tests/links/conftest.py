"""What needs a kernel with 802.1Q is collected where there is one."""

from .encapsulations import HAS_VLAN

collect_ignore = [] if HAS_VLAN else ["test_vlan.py"]
