"""Maintenance: who on a node is moved or stopped when, and what that means for each guest. Pure."""
