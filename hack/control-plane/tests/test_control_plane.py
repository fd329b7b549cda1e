"""The real control plane: who gets in, what is written down, what comes back after a kill."""

import json
import os
import signal
import ssl
import stat
import sys
from pathlib import Path

import httpx
import psutil
import pytest
from dsecos_control_plane import builds, configs, pki
from dsecos_control_plane.command import run, succeeds
from dsecos_control_plane.errors import CommandError
from dsecos_control_plane.readiness import wait
from dsecos_control_plane.testing import ControlPlane

SECRET = "correct-horse-battery-staple"


def get(plane: ControlPlane, path: str) -> httpx.Response:
    """Ask the API server without any credential, trusting its authority alone."""
    context = ssl.create_default_context(cafile=str(plane.settings.pki / "ca.crt"))
    return httpx.get(plane.settings.api_server + path, verify=context, trust_env=False)


def audit_log(plane: ControlPlane) -> str:
    return (plane.settings.logs / "audit" / "audit.log").read_text()


def test_server_and_kubectl_are_of_the_pinned_version(control_plane: ControlPlane) -> None:
    version = json.loads(control_plane.kubectl("version", "--output=json"))
    pinned = builds.kubernetes_version((builds.MODULE / "go.mod").read_text())
    assert version["serverVersion"]["gitVersion"] == version["clientVersion"]["gitVersion"] == pinned


def test_its_certificate_is_trusted_under_its_names(control_plane: ControlPlane) -> None:
    assert get(control_plane, "/readyz").text == "ok"
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(control_plane.settings.api_server + "/readyz", trust_env=False)


def test_old_tls_is_refused(control_plane: ControlPlane) -> None:
    context = ssl.create_default_context(cafile=str(control_plane.settings.pki / "ca.crt"))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(httpx.ConnectError):
        httpx.get(control_plane.settings.api_server + "/readyz", verify=context, trust_env=False)


@pytest.mark.parametrize("path", ["/api", "/apis", "/version", "/metrics", "/api/v1/secrets", "/openapi/v3"])
def test_who_shows_no_credential_gets_nothing_but_health(control_plane: ControlPlane, path: str) -> None:
    assert get(control_plane, path).status_code == httpx.codes.UNAUTHORIZED


def test_a_service_account_may_do_nothing_by_default(control_plane: ControlPlane) -> None:
    control_plane.kubectl("create", "serviceaccount", "nobody", "--namespace=default")
    account = "--as=system:serviceaccount:default:nobody"
    for verb, kind in (("list", "secrets"), ("create", "namespaces"), ("get", "nodes")):
        with pytest.raises(CommandError, match="ended with 1"):
            control_plane.kubectl("auth", "can-i", verb, kind, account)


def test_a_token_bound_to_a_secret_ends_with_it(control_plane: ControlPlane) -> None:
    kubectl = control_plane.kubectl
    kubectl("create", "namespace", "tokens")
    kubectl("create", "serviceaccount", "bound", "--namespace=tokens")
    kubectl("create", "secret", "generic", "binding", "--namespace=tokens")
    bound = ("--bound-object-kind=Secret", "--bound-object-name=binding")
    token = kubectl("create", "token", "bound", "--namespace=tokens", *bound).strip()
    context = ssl.create_default_context(cafile=str(control_plane.settings.pki / "ca.crt"))

    def status() -> int:
        url = control_plane.settings.api_server + "/version"
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.get(url, verify=context, headers=headers, trust_env=False).status_code

    assert status() == httpx.codes.OK
    kubectl("delete", "secret", "binding", "--namespace=tokens")
    wait(lambda: status() == httpx.codes.UNAUTHORIZED, "the token to be refused", 20)


def test_the_administrators_kubeconfig_is_private(control_plane: ControlPlane) -> None:
    assert stat.S_IMODE(control_plane.kubeconfig.stat().st_mode) == 0o600


def test_only_loopback_is_listened_on(control_plane: ControlPlane) -> None:
    names = ("etcd", "kube-apiserver", "kube-controller-manager")
    for name in names:
        sockets = psutil.Process(control_plane.pid(name)).net_connections(kind="inet")
        listening = {socket.laddr.ip for socket in sockets if socket.status == psutil.CONN_LISTEN}
        assert listening == {"127.0.0.1"}


def test_no_service_is_root(control_plane: ControlPlane) -> None:
    users = {psutil.Process(control_plane.pid(name)).uids().real for name in ("etcd", "kube-apiserver")}
    assert len(users) == 2
    assert 0 not in users


def test_etcd_refuses_a_client_of_the_api(control_plane: ControlPlane) -> None:
    pki = control_plane.settings.pki
    url = f"https://127.0.0.1:{control_plane.settings.etcd_port}/health"
    trusting = ["curl", "--silent", "--show-error", "--cacert", str(pki / "etcd-ca.crt"), url]
    assert succeeds(
        [*trusting, "--cert", str(pki / "etcd-client.crt"), "--key", str(pki / "etcd-client.key")]
    )
    assert not succeeds([*trusting, "--cert", str(pki / "admin.crt"), "--key", str(pki / "admin.key")])
    assert not succeeds(trusting)


def test_a_secret_is_neither_in_the_audit_log_nor_readable_in_etcd(control_plane: ControlPlane) -> None:
    literal = f"--from-literal=password={SECRET}"
    control_plane.kubectl("create", "secret", "generic", "audited", "--namespace=default", literal)
    wait(lambda: '"name":"audited"' in audit_log(control_plane), "the audit log to name the Secret", 10)
    assert SECRET not in audit_log(control_plane)
    files = (control_plane.settings.home / "etcd").rglob("*")
    data = b"".join(file.read_bytes() for file in files if file.is_file())
    assert b"audited" in data
    assert SECRET.encode() not in data


def test_the_audit_log_says_who_and_what_but_no_bodies(control_plane: ControlPlane) -> None:
    lines = [json.loads(line) for line in audit_log(control_plane).splitlines()]
    assert {line["level"] for line in lines} == {"Metadata"}
    assert "kubernetes-admin" in {line["user"].get("username") for line in lines}
    assert "leases" not in {line.get("objectRef", {}).get("resource") for line in lines}


@pytest.mark.parametrize("name", ["etcd", "kube-controller-manager", "kube-apiserver"])
def test_what_is_killed_comes_back_with_its_data(control_plane: ControlPlane, name: str) -> None:
    namespace = f"before-{name}"
    control_plane.kubectl("create", "namespace", namespace)
    former = control_plane.pid(name)
    os.kill(former, signal.SIGKILL)
    wait(lambda: control_plane.pid(name) not in (0, former), f"{name} to be started again", 30)
    control_plane.start()
    assert (
        control_plane.kubectl("get", "namespace", namespace, "--output=name").strip()
        == f"namespace/{namespace}"
    )


def test_namespaces_are_emptied_when_they_go(control_plane: ControlPlane) -> None:
    control_plane.kubectl("create", "namespace", "short")
    control_plane.kubectl("create", "configmap", "inside", "--namespace=short")
    control_plane.kubectl("delete", "namespace", "short", "--timeout=50s")


def test_starting_again_changes_nothing(control_plane: ControlPlane) -> None:
    names = ("etcd", "kube-apiserver", "kube-controller-manager")
    before = [control_plane.pid(name) for name in names]
    control_plane.start()
    assert [control_plane.pid(name) for name in names] == before


def test_a_renewed_certificate_restarts_who_reads_it_at_its_start(control_plane: ControlPlane) -> None:
    names = ("etcd", "kube-apiserver", "kube-controller-manager")
    before = {name: control_plane.pid(name) for name in names}
    (control_plane.settings.pki / "kube-controller-manager.key").unlink()
    pki.ensure(control_plane.settings)
    control_plane.start()
    changed = {name for name in names if control_plane.pid(name) != before[name]}
    assert changed == {"kube-controller-manager"}


def test_data_outlives_a_stop_and_leaving_removes_all() -> None:
    with ControlPlane() as plane:
        home = plane.settings.home
        plane.kubectl("create", "namespace", "kept")
        plane.stop()
        assert not running_from(home)
        plane.start()
        plane.kubectl("get", "namespace", "kept")
    assert not running_from(home)
    assert not home.exists()


def test_a_killed_test_run_is_cleaned_up_by_the_next(tmp_path: Path) -> None:
    """The first run is a process that is killed while its control plane runs."""
    script = (
        "import os, signal\n"
        "from dsecos_control_plane.testing import ControlPlane\n"
        "plane = ControlPlane().__enter__()\n"
        f"open({str(tmp_path / 'home')!r}, 'w').write(str(plane.settings.home))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    with pytest.raises(CommandError, match="ended with -9"):
        run([sys.executable, "-c", script])
    home = Path((tmp_path / "home").read_text())
    assert running_from(home)
    ControlPlane().remove()
    assert not running_from(home)
    assert not home.exists()


def test_the_audit_policy_never_asks_for_bodies() -> None:
    assert {rule["level"] for rule in configs.audit_policy()["rules"]} == {"None", "Metadata"}


def running_from(home: Path) -> list[str]:
    """Return the command lines of processes that belong to a home."""
    lines = (" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"]))
    return [line for line in lines if str(home) in line]
