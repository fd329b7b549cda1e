"""HostPolicy: each node's own firewall, given to a few nodes at a time."""
