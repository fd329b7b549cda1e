"""Links: the zones' bridges and the guests' ports on them, by netlink. `protocol` says what is offered."""
