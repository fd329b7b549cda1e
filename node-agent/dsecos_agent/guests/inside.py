"""Telling a guest that runs where its node's registry is, and where it finds names, by a command in it.

For guests whose disk cannot be written from outside; `rootfiles` does the same in a fresh clone. One that
sees nothing of the host is told each time that its services are brought up: cloud-init writes /etc/hosts
anew when it starts, and the registry's authority may have changed. Where it finds names each is told once.
"""

import asyncio
from pathlib import Path

from dsecos_api.names import REGISTRY_HOST

from dsecos_agent.adapter_errors import RetryableError
from dsecos_agent.compose.protocol import InGuest
from dsecos_agent.engines.protocol import Engine
from dsecos_agent.guests.config import TRUST, trust_directory
from dsecos_agent.guests.desired import Wanted
from dsecos_agent.guests.record import Records

TIME_LIMIT = 30.0
SAID = 300
"""Characters of a failed command's words that are told."""

AUTHORITY = "ca.crt"

_SCRIPT = r"""
set -eu
grep -vw "$2" /etc/hosts >/etc/hosts.new || true
printf '%s %s\n' "$1" "$2" >>/etc/hosts.new
cat /etc/hosts.new >/etc/hosts
rm -f /etc/hosts.new
mkdir -p "${4%/*}"
file=/etc/docker/daemon.json
if [ -n "$5" ]; then
    [ -d "$4" ] || ln -sfn "$5" "$4"
else
    mkdir -p "$4"
    cat >"$4/.new"
    [ -s "$4/.new" ] || rm "$4/.new"
    [ ! -e "$4/.new" ] || mv "$4/.new" "$4/ca.crt"
    [ -f "$file" ] || printf '{"registry-mirrors": []}\n' >"$file"
    grep -q '"registry-mirrors"' "$file" || { echo "$file has no list of registry-mirrors" >&2; exit 1; }
fi
if [ -f "$file" ] && ! grep -qF "\"$3\"" "$file"; then
    sed -i -E "s#(\"registry-mirrors\": *\[)[^]]*#\1\"$3\"#" "$file"
    pkill -HUP -x dockerd || true
fi
if [ -n "$6" ]; then
    ! grep -qs 'BEGIN PVE' /etc/resolv.conf || : >/etc/.pve-ignore.resolv.conf
    printf '%s' "$6" >/etc/resolv.conf.new
    mv -f /etc/resolv.conf.new /etc/resolv.conf
fi
"""
"""Only the host's name, the authority and dockerd's list of mirrors are changed; dockerd(8) reads that list
anew on SIGHUP, and the authority with each pull. $5: where the authority is seen; empty: it is the input.

$6 takes the place of resolv.conf(5), also of a link. Proxmox VE writes into a container's at each start,
between marks, unless there is a file .pve-ignore (pct(1), "Guest Operating System Configuration").
"""


class Preparation:
    """Prepares the guests of this node."""

    def __init__(self, engine: Engine, records: Records, trust: Path, port: int) -> None:
        """`trust` holds the certificate that guests trust the registry by, which listens at `port`."""
        self._engine = engine
        self._records = records
        self._trust = trust
        self._port = port

    async def prepare(self, wanted: Wanted) -> None:
        """Let a guest that runs find its node's registry at its gateway. May be repeated.

        Raises RetryableError when the guest cannot do it (yet), and what `exec` raises.
        """
        record = self._records.get(wanted.name)
        prepared = record is not None and record.owner_uid == wanted.owner_uid and record.prepared
        apart = isinstance(wanted.docker, InGuest)
        if not wanted.own_disks or (prepared and not apart):
            return
        authority = await asyncio.to_thread(self._authority) if apart else b""
        mirror = f"https://{REGISTRY_HOST}:{self._port}"
        words = [wanted.gateway, REGISTRY_HOST, mirror, trust_directory(self._port), "" if apart else TRUST]
        words.append("" if prepared else wanted.resolver)
        result = await self._engine.exec(
            wanted.name,
            wanted.owner_uid,
            ["/bin/sh", "-c", _SCRIPT, "sh", *words],
            stdin=authority,
            time_limit=TIME_LIMIT,
        )
        if result.exit_code != 0:
            said = result.stderr.decode(errors="replace")[-SAID:].strip()
            raise RetryableError(f"guest {wanted.name} was not told where its registry is: {said}")
        if not prepared:
            self._records.update(wanted.name, wanted.owner_uid, prepared=True)

    def _authority(self) -> bytes:
        try:
            return (self._trust / AUTHORITY).read_bytes()
        except FileNotFoundError:
            return b""  # the node has no registry
