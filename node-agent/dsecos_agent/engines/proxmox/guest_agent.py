"""Commands in a VM, through the QEMU guest agent (qga): what it is told and what it tells.

The agent knows no environment and no time limit. Variables go before the command's own input, where no
argument list shows them; timeout(1) in the guest ends what takes too long.

Proxmox turns neither input nor output into text: a character beyond Latin-1 in the input is an error there,
one beyond ASCII arrives as one byte, and each byte of the output comes as one character
(PVE::QemuServer::Agent). So input goes as base64, packed since its size is limited.
"""

import base64
import gzip
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from dsecos_agent.adapter_errors import UnsupportedError
from dsecos_agent.engines.errors import ExecTimeoutError, GuestSilentError, UnsafeConfigError
from dsecos_agent.engines.model import ExecResult
from dsecos_agent.engines.proxmox import properties
from dsecos_agent.engines.proxmox.access import Access
from dsecos_agent.engines.proxmox.pace import back_off
from dsecos_agent.engines.proxmox.places import Place

INPUT_LIMIT = 65536
"""Characters that Proxmox passes on (schema of agent/exec)."""

ENDED_BY_TIMEOUT = frozenset({124, 137})
"""Exit codes of timeout(1): the first signal was enough, or it needed the second."""
SLACK = 10.0
"""Seconds that the agent has beyond the command's own time."""

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def command(argv: Sequence[str], env: Mapping[str, str], stdin: bytes, limit: float) -> tuple[list[str], str]:
    """What the agent runs, and what it gives that to read. Pure.

    Raises UnsafeConfigError for a name that no variable can have, UnsupportedError for input that is too
    long.
    """
    if wrong := [name for name in env if not NAME.fullmatch(name)]:
        raise UnsafeConfigError(f"{wrong[0]!r} is not the name of an environment variable")
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in sorted(env.items())).encode()
    given = base64.b64encode(gzip.compress(exports + stdin, mtime=0)).decode() if exports or stdin else ""
    if len(given) > INPUT_LIMIT:
        raise UnsupportedError(
            f"the QEMU guest agent takes {INPUT_LIMIT} characters of input, and this is {len(given)}, packed"
        )
    script = 'exec "$@"'
    if exports:
        # dd reads so many bytes and not one more, so the rest is the command's.
        script = f'eval "$(dd bs=1 count={len(exports)} 2>/dev/null)"; {script}'
    if given:
        script = f"base64 -d | gzip -dc | {{ {script}; }}"
    bounded = ["timeout", "-k", "2", f"{limit:g}", *argv]
    return [
        "/usr/bin/env",
        "-i",
        f"PATH={PATH}",
        "HOME=/root",
        "/bin/sh",
        "-c",
        script,
        "sh",
        *bounded,
    ], given


async def execute(
    access: Access,
    place: Place,
    argv: Sequence[str],
    *,
    stdin: bytes,
    env: Mapping[str, str],
    time_limit: float,
    output_limit: int,
) -> ExecResult:
    """Run a command. Raises ExecTimeoutError, GuestSilentError, UnsafeConfigError, UnsupportedError."""
    words, given = command(argv, env, stdin, time_limit)
    more: dict[str, Any] = {"input-data": given} if given else {}
    begin = access.clock.elapsed()
    begun = await access.client.post(f"{place.path}/agent/exec", command=words, **more)
    for pause in back_off():
        await access.clock.sleep(pause)
        try:
            status = await access.client.get(f"{place.path}/agent/exec-status", pid=begun["pid"])
        except GuestSilentError:
            # Under load it misses a look; the command goes on.
            status = {}
        if properties.is_true(status.get("exited", 0)):
            result = _result(status, output_limit)
            # A command may end with these by itself; then it was quicker.
            if result.exit_code not in ENDED_BY_TIMEOUT or access.clock.elapsed() - begin < time_limit:
                return result
            break
        if access.clock.elapsed() - begin > time_limit + SLACK:
            break
    raise ExecTimeoutError(f"{argv[0]} in guest {place.vmid} did not end within {time_limit:g} s")


def _result(status: Mapping[str, Any], output_limit: int) -> ExecResult:
    exit_code = int(status["exitcode"]) if "exitcode" in status else 128 + int(status.get("signal", 0))
    out, err = (_bytes(str(status.get(key, ""))) for key in ("out-data", "err-data"))
    cut = any(properties.is_true(status.get(key, 0)) for key in ("out-truncated", "err-truncated"))
    too_long = max(len(out), len(err)) > output_limit
    return ExecResult(exit_code, out[-output_limit:], err[-output_limit:], cut or too_long)


def _bytes(shown: str) -> bytes:
    try:
        return shown.encode("latin-1")
    except UnicodeEncodeError:
        return shown.encode()  # text after all
