"""Kubernetes quantities: text such as `500m`, `2`, `1.5Gi` (apimachinery, `resource.Quantity`).

Signs, exponents (`1e3`) and more than 18 digits, which Kubernetes takes too, are refused: nobody means them.
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal

PATTERN = r"^[0-9]{1,18}(\.[0-9]{1,3})?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$"
"""The form that the API server checks."""

_FACTORS = {
    "": Decimal(1),
    "m": Decimal("0.001"),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
    "P": Decimal(10**15),
    "Ki": Decimal(2**10),
    "Mi": Decimal(2**20),
    "Gi": Decimal(2**30),
    "Ti": Decimal(2**40),
    "Pi": Decimal(2**50),
}
_FORM = re.compile(PATTERN)


def parse(text: str) -> Decimal:
    """The value in the unit's base (cores, bytes, pieces). Raises ValueError."""
    match = _FORM.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a quantity; write for example 500m, 2 or 2Gi")
    unit = match[2] or ""
    return Decimal(text.removesuffix(unit)) * _FACTORS[unit]


def to_bytes(text: str) -> int:
    """Bytes, rounded up. Raises ValueError."""
    return int(parse(text).to_integral_value(ROUND_CEILING))


def to_millicores(text: str) -> int:
    """Thousandths of a CPU core, rounded up. Raises ValueError."""
    return int((parse(text) * 1000).to_integral_value(ROUND_CEILING))


def format_bytes(count: int) -> str:
    """The shortest exact binary form: 2147483648 is `2Gi`."""
    for unit in ("Pi", "Ti", "Gi", "Mi", "Ki"):
        factor = int(_FACTORS[unit])
        if count and count % factor == 0:
            return f"{count // factor}{unit}"
    return str(count)


def format_millicores(count: int) -> str:
    """The shortest form: 2000 is `2`, 1500 is `1500m`."""
    return str(count // 1000) if count % 1000 == 0 else f"{count}m"
