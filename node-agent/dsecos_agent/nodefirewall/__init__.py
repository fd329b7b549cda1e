"""The node's one firewall policy, made of all its zones and guests."""
