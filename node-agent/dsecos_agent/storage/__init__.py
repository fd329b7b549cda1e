"""Pools keep templates, guests' disks and volumes. `protocol` says what any pool offers."""
