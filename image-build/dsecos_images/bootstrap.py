"""Root file systems from Debian packages, by mmdebstrap(1)."""

import os
import shlex
import tempfile
from dataclasses import dataclass
from pathlib import Path

from dsecos_images import sources
from dsecos_images.process import run
from dsecos_images.recipe import Recipe

UNREAD = ("man", "doc", "doc-base", "info", "locale", "i18n", "lintian", "bug")
"""Folders of /usr/share that are never installed. The locale C.UTF-8 lives elsewhere (/usr/lib/locale)."""

COMPOSE = "/usr/libexec/docker/cli-plugins/docker-compose"
"""Where Debian's docker-compose package has the compose plugin, which is also a program of its own."""


@dataclass(frozen=True)
class Bootstrapped:
    """What came out beside the tarball."""

    versions: dict[str, str]
    """Debian package -> version, of everything in the root."""


def architecture() -> str:
    """Debian's name of this machine's architecture, for example amd64."""
    return run(["dpkg", "--print-architecture"]).strip()


def apt_sources(suite: str) -> list[str]:
    """One-line sources for `suite` from this machine's apt configuration; raises NoDebianSourceError."""
    codename = sources.host_codename(Path("/etc/os-release").read_text())
    return sources.retarget(sources.configured(), codename, suite)


def host_apt_options() -> list[str]:
    """The machine's proxies and credentials as apt options: its mirror may be out of reach without them."""
    dump = run(["apt-config", "dump", "Acquire"]).splitlines()
    proxies = [line.rstrip(";") for line in dump if "proxy" in line.lower() and not line.endswith('"";')]
    netrc = Path("/etc/apt/auth.conf")
    return [*proxies, f'Dir::Etc::netrc "{netrc}"', f'Dir::Etc::netrcparts "{netrc}.d"']


def bootstrap(recipe: Recipe, tarball: Path, *, work: Path, compose: Path | None = None) -> Bootstrapped:
    """Build the recipe's root as a tarball, compressed as its suffix says.

    With `compose`, the compose program of the root is copied there. Raises ToolError, NoDebianSourceError.
    """
    with tempfile.TemporaryDirectory(dir=work) as scratch:
        listing = Path(scratch) / "packages"
        hooks = _hooks(recipe, listing, compose)
        # mmdebstrap mounts /proc, /sys and /dev in the new root: in a mount namespace of its own they end
        # with it, also when it is killed, so that nobody ever deletes through them.
        run(
            [
                *("unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"),
                *("mmdebstrap", "--quiet", "--mode=root", f"--variant={recipe.variant}", *hooks),
                # The recipe's last step cleans up; mmdebstrap would stumble over what is gone then.
                "--skip=cleanup/apt,cleanup/mmdebstrap,cleanup/run",
                f"--keyring={sources.KEYRING}",
                '--aptopt=Apt::Install-Recommends "false"',
                *(f"--aptopt={option}" for option in host_apt_options()),
                *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in UNREAD),
                f"--include={','.join(recipe.packages)}",
                recipe.suite,
                tarball,
                *apt_sources(recipe.suite),
            ],
            env={**os.environ, "TMPDIR": scratch},
        )
        return Bootstrapped(versions=parse_versions(listing.read_text()))


def _hooks(recipe: Recipe, listing: Path, compose: Path | None) -> list[str]:
    """The recipe's last steps. The `extract` variant has no customize stage: nothing is configured in it."""
    stage = "extract" if recipe.variant == "extract" else "customize"
    listed = {
        "extract": 'for deb in "$1"/var/cache/apt/archives/*.deb; do dpkg-deb -W "$deb"; done',
        "customize": "chroot \"$1\" dpkg-query -W -f '${Package}\\t${Version}\\n'",
    }
    steps = [f"{{ {listed[stage]}; }} > {shlex.quote(str(listing))}"]
    if compose is not None:
        steps.append(f'cp "$1"{COMPOSE} {shlex.quote(str(compose))}')
    if recipe.files.is_dir():
        # Modes as a fresh checkout under any umask should have had them.
        steps.append(
            f"tar -C {shlex.quote(str(recipe.files))} --owner=0 --group=0 --mode=u=rwX,go=rX -cf - . | "
            'tar -C "$1" --no-overwrite-dir -xf -'
        )
    steps.append(f'sh {shlex.quote(str(recipe.finish))} "$1"')
    return [f"--{stage}-hook={step}" for step in steps]


def parse_versions(listing: str) -> dict[str, str]:
    """`package<TAB>version` lines, as dpkg-deb -W and dpkg-query -W write them."""
    return dict(line.split("\t", 1) for line in listing.splitlines() if "\t" in line)
