"""Give back what the agent changed in the host's settings; it wrote down what was there before."""

import json
from pathlib import Path
from typing import Any

from dsecos_control_plane.files import write
from dsecos_control_plane.settings import Settings


def sysctls(settings: Settings, root: Path = Path("/proc/sys")) -> list[str]:
    """Set back the kernel parameters in `run/sysctl.json` (path below /proc/sys -> former value) and forget
    them.
    """
    record = settings.run / "sysctl.json"
    former = _read(record)
    for name, value in former.items():
        path = root / name
        # A parameter of a link is gone with the link.
        if path.exists():
            path.write_text(f"{value}\n")
    record.unlink(missing_ok=True)
    return sorted(former)


def subordinate_ids(settings: Settings) -> list[str]:
    """Take the lines away that `run/subids.json` names (line -> files it was added to), and forget them."""
    record = settings.run / "subids.json"
    added: dict[str, list[str]] = _read(record).get("added", {})
    for line, names in added.items():
        for path in map(Path, names):
            lines = path.read_text().splitlines() if path.exists() else []
            if line in lines:
                lines.remove(line)
                write(path, "".join(f"{kept}\n" for kept in lines))
    record.unlink(missing_ok=True)
    return sorted(added)


def _read(record: Path) -> dict[str, Any]:
    """Return a record; one that was cut off by a crash says nothing."""
    try:
        content = json.loads(record.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
