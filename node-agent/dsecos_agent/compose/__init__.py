"""Compose: what runs inside a guest, through its docker CLI (to change) and its docker socket (to look)."""
