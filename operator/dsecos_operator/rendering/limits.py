"""Bounds and framing that both sides of the renderer's sandbox know. Imports nothing heavy, on purpose."""

from __future__ import annotations

import struct

MAX_CHARACTERS = 262_144
"""Largest compose document, before and after its template was rendered. The API enforces the same for inline
text.
"""
LENGTH = struct.Struct(">I")
"""In front of each message between the operator and its sandbox: its length in bytes."""
MAX_ANSWER = 8 * 2**20
"""Largest answer of the sandbox in bytes."""
