"""HostPolicy: each node's own firewall and uplinks, given to a few nodes at a time."""
