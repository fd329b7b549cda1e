"""Telling a guest that runs where its node's registry is, by a command in it.

For guests whose disk cannot be written from outside; `rootfiles` does the same in a fresh clone.
"""

from dsecos_api.names import REGISTRY_HOST

from dsecos_agent.adapter_errors import RetryableError
from dsecos_agent.engines.protocol import Engine
from dsecos_agent.guests.config import TRUST, trust_directory

TIME_LIMIT = 30.0
SAID = 300
"""Characters of a failed command's words that are told."""

_SCRIPT = r"""
set -eu
grep -vw "$2" /etc/hosts >/etc/hosts.new || true
printf '%s %s\n' "$1" "$2" >>/etc/hosts.new
cat /etc/hosts.new >/etc/hosts
rm -f /etc/hosts.new
mkdir -p "${4%/*}"
[ -d "$4" ] || ln -s "$5" "$4"
file=/etc/docker/daemon.json
if [ -f "$file" ] && ! grep -qF "\"$3\"" "$file"; then
    sed -i -E "s#(\"registry-mirrors\": *\[)[^]]*#\1\"$3\"#" "$file"
    pkill -HUP -x dockerd || true
fi
"""
"""Only the host's name and dockerd's list of mirrors are changed; dockerd(8) reads that list anew on
SIGHUP.
"""


async def point_inside(engine: Engine, guest: str, owner_uid: str, gateway: str, port: int) -> None:
    """Let the guest find its node's registry at its gateway. May be repeated.

    Raises RetryableError when the guest cannot do it (yet), and what `exec` raises.
    """
    mirror = f"https://{REGISTRY_HOST}:{port}"
    argv = ["/bin/sh", "-c", _SCRIPT, "sh", gateway, REGISTRY_HOST, mirror, trust_directory(port), TRUST]
    result = await engine.exec(guest, owner_uid, argv, time_limit=TIME_LIMIT)
    if result.exit_code != 0:
        said = result.stderr.decode(errors="replace")[-SAID:].strip()
        raise RetryableError(f"guest {guest} was not told where its registry is: {said}")
