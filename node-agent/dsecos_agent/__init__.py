"""Converges one node with the objects in its namespace."""
