"""The template at work: an unprivileged guest boots, has its images, and runs the catalog's application."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from dsecos_images.guest import ID_BASE, BuildGuest
from dsecos_images.process import run

from tests.patience import until

from .conftest import Built, render

PASSWORD = "a-password"
URL = "http://127.0.0.1:3000"


def compose(guest: BuildGuest, *words: str, document: str | None = None) -> str:
    """Docker Compose in the guest, with the document on standard input."""
    command = ["docker", "compose", "-p", "app", "-f", "-", *words]
    return guest.attach(
        "env",
        f"postgresPassword={PASSWORD}",
        "HOME=/root",
        *command,
        stdin=document or render("node-postgres"),
    )


@pytest.fixture(scope="module")
def application(guest: BuildGuest) -> Iterator[BuildGuest]:
    """The guest with the application of the catalog running in it."""
    compose(guest, "up", "-d", "--wait", "--quiet-pull")
    yield guest
    compose(guest, "down", "--volumes", "--timeout", "5")


def get(guest: BuildGuest, path: str, *options: str) -> str:
    return guest.attach("curl", "--silent", "--show-error", "--max-time", "10", *options, URL + path)


def test_the_guests_root_is_nobody_on_the_host(guest: BuildGuest) -> None:
    assert guest.attach("cat", "/proc/self/uid_map").split() == ["0", str(ID_BASE), "65536"]


def test_systemd_has_no_failed_unit(guest: BuildGuest) -> None:
    assert guest.attach("systemctl", "list-units", "--failed", "--no-legend", "--plain").strip() == ""


def test_an_address_of_proxmox_ve_is_its_own_after_each_start(guest: BuildGuest) -> None:
    assert guest.attach("systemctl", "is-enabled", "networking").strip() == "enabled"
    # As PVE::LXC::Setup::Debian writes it for an address with /32: the gateway has a route of its own.
    stanza = (
        "auto lo eth0\niface lo inet loopback\n\niface eth0 inet static\n\taddress 10.20.0.5/32\n"
        "# --- BEGIN PVE ---\n\tpost-up ip route add 10.20.0.1 dev eth0\n"
        "\tpost-up ip route add default via 10.20.0.1 dev eth0\n# --- END PVE ---\n"
    )
    own = guest.attach("cat", "/etc/network/interfaces")
    guest.attach("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "far")
    try:
        guest.attach("sh", "-c", "cat > /etc/network/interfaces", stdin=stanza)
        guest.attach("systemctl", "restart", "networking")
        assert "10.20.0.5/32" in guest.attach("ip", "address", "show", "eth0")
        assert "default via 10.20.0.1 dev eth0" in guest.attach("ip", "route")
    finally:
        guest.attach("ip", "link", "delete", "eth0")
        guest.attach("sh", "-c", "cat > /etc/network/interfaces", stdin=own)
        guest.attach("systemctl", "restart", "networking")


def test_docker_is_as_the_node_expects_it(guest: BuildGuest, built: Built) -> None:
    info = json.loads(guest.attach("docker", "info", "--format", "json"))
    assert info["Driver"] == "overlay2"
    assert info["LiveRestoreEnabled"]
    assert info["LoggingDriver"] == "local"
    assert info["RegistryConfig"]["Mirrors"] == ["https://registry.dsecos.internal:5001/"]
    assert built.manifest.docker_version.startswith(info["ServerVersion"].split("+")[0])
    assert built.manifest.compose_version.startswith(
        guest.attach("docker", "compose", "version", "--short").strip()
    )


def test_the_images_are_there_without_pulling(guest: BuildGuest, built: Built) -> None:
    listed = guest.attach(
        "docker", "images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"
    ).split("\n")
    for image in built.manifest.images:
        assert f"{image.reference.removeprefix('docker.io/library/')} {image.id}" in listed


def test_every_guest_gets_an_engine_id_of_its_own(guest: BuildGuest, built: Built) -> None:
    listing = guest.attach("sh", "-c", "ls /var/lib/docker")
    assert "engine-id" in listing  # made by this guest: the seed below holds images and nothing else
    names = run(["tar", "--zstd", "-tf", built.template / "docker.tar.zst"]).split()
    assert {name.split("/")[0] for name in names} == {"image", "overlay2"}


def test_nobody_can_log_in_and_nothing_of_the_builder_is_in_the_root(guest: BuildGuest) -> None:
    shadow = [line.split(":") for line in guest.attach("cat", "/etc/shadow").splitlines()]
    assert all(entry[1].startswith(("!", "*")) for entry in shadow)
    assert guest.attach("find", "/etc/apt", "-name", "*.sources", "-o", "-name", "sources.list").strip() == ""
    assert guest.attach("sh", "-c", "cat /etc/hostname /etc/resolv.conf 2>/dev/null; true").strip() == ""


def test_the_journal_is_bounded_and_in_memory(guest: BuildGuest) -> None:
    assert guest.attach("sh", "-c", "ls /var/log/journal 2>/dev/null | wc -l").strip() == "0"
    assert guest.attach("ls", "/run/log/journal").strip()


def test_the_application_shows_its_page(application: BuildGuest) -> None:
    page = get(application, "/")
    assert "Hello from your own cloud" in page
    assert "PostgreSQL 17" in page


def test_each_visit_counts(application: BuildGuest) -> None:
    def visits() -> int:
        return int(get(application, "/").split('class="count">')[1].split("<")[0])

    assert visits() + 1 == visits()


def test_what_is_added_is_shown_and_is_only_text(application: BuildGuest) -> None:
    answer = get(
        application, "/rows", "--data-urlencode", "said=<b>$1 & you</b>", "--write-out", "%{http_code}"
    )
    assert answer.endswith("303")
    assert "<span>&#60;b&#62;$1 &#38; you&#60;/b&#62;</span>" in get(application, "/")
    as_json = ["--header", "Content-Type: application/json", "--data", '{"said": "from a program"}']
    get(application, "/rows", *as_json)
    assert "from a program" in get(application, "/")


@pytest.mark.parametrize(
    ("path", "options", "status"),
    [
        ("/healthz", [], "200"),
        ("/nowhere", [], "404"),
        ("/rows", ["--data", "said="], "400"),
        ("/rows", ["--data", "said=" + "x" * 5000], "413"),
        ("/rows", ["--header", "Content-Type: application/json", "--data", "{"], "400"),
    ],
)
def test_answers_have_the_right_status(
    application: BuildGuest, path: str, options: list[str], status: str
) -> None:
    written = get(application, path, *options, "--output", "/dev/null", "--write-out", "%{http_code}")
    assert written == status


def test_services_run_without_root_and_without_capabilities(application: BuildGuest) -> None:
    for service, uid in (("web", "1000"), ("db", "999")):
        status = application.attach("docker", "exec", f"app-{service}-1", "cat", "/proc/self/status")
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert fields["Uid"].split()[0] == uid
        assert int(fields["CapBnd"], 16) == 0


def test_a_change_of_a_value_starts_only_the_service_that_it_concerns(application: BuildGuest) -> None:
    def ids() -> dict[str, str]:
        lines = application.attach("docker", "ps", "--format", "{{.Names}} {{.ID}}").splitlines()
        return dict(line.split() for line in lines)

    before = ids()
    compose(application, "up", "-d", "--wait", document=render("node-postgres", greeting="Another"))
    after = ids()
    assert after["app-db-1"] == before["app-db-1"]
    assert after["app-web-1"] != before["app-web-1"]
    assert "Another" in get(application, "/")


def test_production_has_its_memory_limits(application: BuildGuest) -> None:
    compose(application, "up", "-d", "--wait", document=render("node-postgres", env="prod", webMemory="200M"))
    limit = application.attach("docker", "inspect", "app-web-1", "--format", "{{.HostConfig.Memory}}")
    assert int(limit) == 200 * 2**20


def test_the_database_survives_being_killed_while_it_is_made(guest: BuildGuest) -> None:
    run_it = [
        "docker",
        "run",
        "--detach",
        "--name",
        "killed",
        "--network",
        "none",
        "--env",
        "POSTGRES_PASSWORD=x",
    ]
    mount = ["--mount", "type=volume,source=killed,target=/var/lib/postgresql/data"]
    try:
        guest.attach(*run_it, *mount, "postgres:17")
        _until(guest, "docker exec killed test -e /var/lib/postgresql/data/.initialising/PG_VERSION")
        guest.attach("docker", "kill", "--signal", "KILL", "killed")
        guest.attach("docker", "start", "killed")
        _until(guest, "docker exec killed pg_isready -q")
        assert "1" in guest.attach("docker", "exec", "killed", "psql", "-U", "postgres", "-c", "SELECT 1")
    finally:
        guest.attach("docker", "rm", "--force", "--volumes", "killed")
        guest.attach("docker", "volume", "rm", "--force", "killed")


def test_the_database_takes_a_directory_of_another_owner(guest: BuildGuest) -> None:
    guest.attach("install", "-d", "-o", "1234", "-g", "1234", "-m", "0755", "/srv/foreign")
    run_it = [
        "docker",
        "run",
        "--detach",
        "--name",
        "foreign",
        "--network",
        "none",
        "--env",
        "POSTGRES_PASSWORD=x",
    ]
    try:
        guest.attach(*run_it, "--volume", "/srv/foreign:/var/lib/postgresql/data", "postgres:17")
        _until(guest, "docker exec foreign pg_isready -q")
        assert guest.attach("stat", "-c", "%u %a", "/srv/foreign").split() == ["999", "700"]
    finally:
        guest.attach("docker", "rm", "--force", "--volumes", "foreign")


def test_the_database_leaves_a_directory_with_other_files_alone(guest: BuildGuest) -> None:
    guest.attach("sh", "-c", "mkdir -p /srv/other && touch /srv/other/precious")
    run_it = ["docker", "run", "--name", "other", "--network", "none", "--env", "POSTGRES_PASSWORD=x"]
    try:
        output = guest.attach(
            "sh", "-c", " ".join([*run_it, "-v /srv/other:/var/lib/postgresql/data postgres:17 2>&1 || true"])
        )
        assert "holds other files and no database" in output
        assert guest.attach("ls", "/srv/other").split() == ["precious"]
    finally:
        guest.attach("docker", "rm", "--force", "--volumes", "other")


def test_initialisation_scripts_and_password_files_work_as_in_the_official_image(guest: BuildGuest) -> None:
    guest.attach(
        "sh",
        "-c",
        "mkdir -p /srv/init && echo secret > /srv/password && cat > /srv/init/1.sql",
        stdin="CREATE TABLE made (x int); INSERT INTO made VALUES (42);",
    )
    options = ["-v", "/srv/init:/docker-entrypoint-initdb.d:ro", "-v", "/srv/password:/password:ro"]
    variables = ["-e", "POSTGRES_PASSWORD_FILE=/password", "-e", "POSTGRES_USER=me", "-e", "POSTGRES_DB=mine"]
    try:
        guest.attach(
            "docker", "run", "-d", "--name", "init", "--network", "none", *options, *variables, "postgres:17"
        )
        _until(guest, "docker exec init pg_isready -q -h 127.0.0.1")
        connect = ["docker", "exec", "-e", "PGPASSWORD=secret", "init", "psql", "-h", "127.0.0.1", "-U", "me"]
        assert guest.attach(*connect, "-At", "-c", "SELECT x FROM made", "mine").strip() == "42"
    finally:
        guest.attach("docker", "rm", "--force", "--volumes", "init")


def _until(guest: BuildGuest, command: str, timeout: float = 60) -> None:
    """Try a command in the guest until it succeeds."""
    shell = ("sh", "-c", f"{command} >/dev/null 2>&1 && echo yes || true")
    until(lambda: guest.attach(*shell).strip() == "yes", timeout, every=0.02, what=command)
