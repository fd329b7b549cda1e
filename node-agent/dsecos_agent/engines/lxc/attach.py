"""How a program is put into a guest: lxc-attach(1), with nothing of the host's environment.

The tool runs on the host as root before it enters the guest: no variable of the guest's choice may carry its
own name there, like LD_PRELOAD.
"""

from collections.abc import Mapping, Sequence

from dsecos_agent.engines.errors import UnsafeConfigError
from dsecos_agent.engines.lxc.config import ENV_NAME
from dsecos_agent.engines.lxc.directory import Place
from dsecos_agent.engines.lxc.life import PATH

TERM = "xterm-256color"

LOGIN_SHELL = (
    "/bin/sh",
    "-c",
    "while IFS=: read -r user _ _ _ _ _ shell; do "
    '[ "$user" = root ] && break; done 2>/dev/null </etc/passwd; '
    '[ -x "$shell" ] || shell=/bin/sh; exec "$shell" -l',
)
"""Root's own shell, as the guest says."""


def command(place: Place, argv: Sequence[str], env: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """Argument list and environment of the tool that runs `argv` in the guest there with `env`.

    Values are in the environment only, never in the list. Raises UnsafeConfigError.
    """
    names = sorted(env)
    handed = {f"DSECOS_{number}": env[variable] for number, variable in enumerate(names)}
    tool = ["lxc-attach", "-P", str(place.lxcpath), "-n", place.name, "--clear-env"]
    tool += [option for variable in handed for option in ("--keep-var", variable)]
    tool += ["--set-var", "HOME=/root", "--", *_named(names, handed), *argv]
    return tool, {"PATH": PATH, **handed}


def _named(names: Sequence[str], handed: Mapping[str, str]) -> list[str]:
    """A command that, in the guest, gives the variables their names and runs what follows."""
    if not names:
        return []
    if wrong := [name for name in names if not ENV_NAME.fullmatch(name)]:
        raise UnsafeConfigError(f"{wrong[0]!r} is not the name of an environment variable")
    exports = " ".join(f'{name}="${variable}"' for name, variable in zip(names, handed, strict=True))
    return ["/bin/sh", "-c", f'export {exports}; unset {" ".join(handed)}; exec "$@"', "sh"]
