"""The HTTPS side: certificate, calls, and the command for people."""

from __future__ import annotations

import hashlib
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from dsecos_proxmox_simulator import Simulator
from requests.exceptions import ConnectionError as ConnectionLost
from requests.exceptions import SSLError

TEMPLATE = "local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst"


def shown(pve: Simulator) -> str:
    """The fingerprint of the certificate that the server shows."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    host, port = pve.host.split(":")
    with (
        socket.create_connection((host, int(port)), timeout=5) as plain,
        context.wrap_socket(plain) as secured,
    ):
        certificate = secured.getpeercert(binary_form=True)
    assert certificate is not None
    return hashlib.sha256(certificate).digest().hex(":").upper()


def test_the_fingerprint_is_that_of_the_certificate_and_nodes_tell_it(pve: Simulator, api: Any) -> None:
    assert shown(pve) == pve.fingerprint
    assert {node["ssl_fingerprint"] for node in api.nodes.get()} == {pve.fingerprint}


def test_a_renewed_certificate_is_not_the_one_that_was_pinned(
    pve: Simulator, connect: Callable[..., Any]
) -> None:
    before = pve.fingerprint
    pve.renew_certificate()
    assert shown(pve) == pve.fingerprint != before
    with pytest.raises(SSLError):
        connect()  # trusts what the first certificate was signed by


def test_every_call_is_counted_with_its_parameters_and_status(pve: Simulator, api: Any) -> None:
    pve.calls.clear()
    api.cluster.resources.get(type="vm")
    api.cluster.resources.get(type="node")
    assert pve.calls.counts() == {"GET /cluster/resources": 2}
    assert [call.parameters for call in pve.calls] == [{"type": "vm"}, {"type": "node"}]
    assert [call.status for call in pve.calls] == [200, 200]


def test_an_api_that_was_away_comes_back_where_it_was(pve: Simulator, api: Any, container: Any) -> None:
    container()
    before = pve.url
    pve.stop()
    with pytest.raises(ConnectionLost):
        api.nodes.get()
    pve.start()
    assert pve.url == before
    assert [row["vmid"] for row in api.cluster.resources.get(type="vm")] == [102]


def test_tasks_do_not_outlive_the_api(pve: Simulator, api: Any) -> None:
    pve.world.pace = 100
    upid = api.nodes("pve1").lxc.post(vmid=102, ostemplate=TEMPLATE, rootfs="btr:1")
    pve.stop()
    pve.start()
    assert api.nodes("pve1").tasks(upid).status.get()["exitstatus"] == "unexpected status"
    assert api.nodes("pve1").lxc(102).status.current.get()["lock"] == "create"


def test_people_can_run_it() -> None:
    command = [sys.executable, "-m", "dsecos_proxmox_simulator", "--port", "0", "--nodes", "one"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        try:
            assert url.startswith("https://127.0.0.1:")
        finally:
            process.terminate()
