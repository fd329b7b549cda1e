"""The directory that host and guest share, for guests whose disk the engine makes.

    <home>/run/guests/            mode 0700: nobody on the host looks in but root
        <guest>/                  mode 0777: the guest's root has an id that the engine chose

What lies in it is the guest's word. It is emptied only when the guest is gone. Blocking calls.
"""

import shutil
from pathlib import Path


def make_shared(folder: Path) -> None:
    """Make it; one that is there stays as it is. Raises OSError."""
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.parent.chmod(0o700)
    folder.mkdir(exist_ok=True)
    folder.chmod(0o777)


def remove_shared(folder: Path) -> None:
    """Remove it with all that is in it; links are not followed. A missing one is fine. Raises OSError."""
    if folder.is_dir() and not folder.is_symlink():
        shutil.rmtree(folder)
