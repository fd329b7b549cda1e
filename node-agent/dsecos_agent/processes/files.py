"""Small files that say what is: replaced as a whole."""

import os
from pathlib import Path


def write_atomically(path: Path, text: str, *, mode: int = 0o600) -> None:
    """Replace a file so that a reader, or a crash of the host, sees the old text or the new. Blocking.

    Raises OSError, and leaves nothing half written then.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("w") as out:
            os.fchmod(out.fileno(), mode)
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
