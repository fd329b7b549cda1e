"""A compose document of the user's own, through the real sandbox and Docker Compose's real loader."""

from __future__ import annotations

import json
from typing import Any

import pytest
from dsecos_api import Reason
from dsecos_operator.rendering import Policy, Refused, Renderer, Rendering, Request

pytestmark = pytest.mark.asyncio(loop_scope="session")

WEB = "services:\n  web:\n    image: node:20\n"


async def render(renderer: Renderer, text: str, policy: Policy | None = None, **more: Any) -> Rendering:
    return await renderer.render(
        Request(stack="acme/shop", zone="backend", policy=policy or Policy(), text=text, **more)
    )


async def refusal(renderer: Renderer, text: str, **more: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        await render(renderer, text, **more)
    return caught.value


def service(rendering: Rendering, name: str = "web") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(rendering.document)["services"][name]
    return found


class TestWhatIsRun:
    async def test_short_forms_are_normalised_and_the_project_is_fixed(self, renderer: Renderer) -> None:
        rendering = await render(
            renderer, WEB + "    ports: ['3000:3000']\n    command: node /app.js\nname: mine\n"
        )
        document = json.loads(rendering.document)
        assert document["name"] == "app"
        assert service(rendering)["command"] == ["node", "/app.js"]
        assert service(rendering)["ports"][0]["target"] == 3000
        assert rendering.reaches(3000, "TCP")
        assert not rendering.reaches(3001, "TCP")

    async def test_a_port_on_the_loopback_cannot_be_reached(self, renderer: Renderer) -> None:
        rendering = await render(renderer, WEB + "    ports: ['127.0.0.1:3000:3000']\n")
        assert not rendering.reaches(3000, "TCP")

    async def test_the_same_document_gives_the_same_text(self, renderer: Renderer) -> None:
        one = await render(renderer, WEB + "    environment: {B: '2', A: '1'}\n")
        two = await render(renderer, WEB + "    environment: {A: '1', B: '2'}\n")
        assert one.document == two.document

    async def test_services_come_back_after_a_boot(self, renderer: Renderer) -> None:
        assert service(await render(renderer, WEB))["restart"] == "unless-stopped"
        assert service(await render(renderer, WEB + "    restart: 'no'\n"))["restart"] == "no"

    async def test_what_others_wait_for_to_end_is_not_started_again(self, renderer: Renderer) -> None:
        text = (
            WEB
            + "    depends_on: {job: {condition: service_completed_successfully}}\n  job: {image: node:20}\n"
        )
        assert "restart" not in service(await render(renderer, text), "job")

    async def test_a_stack_volume_is_bound_to_its_directory(self, renderer: Renderer) -> None:
        text = WEB + "    volumes: ['data:/data', 'scratch:/scratch']\nvolumes: {data: {}, scratch: {}}\n"
        rendering = await render(renderer, text, volumes=("data", "unused"))
        volumes = json.loads(rendering.document)["volumes"]
        assert volumes["data"]["driver_opts"] == {"type": "none", "o": "bind", "device": "/srv/volumes/data"}
        assert "driver_opts" not in volumes["scratch"]
        assert rendering.volumes == ("data", "scratch")

    async def test_secrets_stay_references(self, renderer: Renderer) -> None:
        text = (
            WEB
            + "    environment:\n      URL: postgres://u:${pw}@db\n      PRICE: 5 $$\n"
            + "      pw:\n      UNSET:\n"
        )
        environment = service(await render(renderer, text, secrets=("pw",)))["environment"]
        assert environment == {"URL": "postgres://u:${pw}@db", "PRICE": "5 $$", "pw": "${pw}"}

    async def test_services_of_a_profile_are_left_out(self, renderer: Renderer) -> None:
        rendering = await render(
            renderer, WEB + "  debug: {image: node:20, profiles: [debug], privileged: true}\n"
        )
        assert rendering.services == ("web",)

    async def test_numbers_and_words_mean_what_compose_says_they_mean(self, renderer: Renderer) -> None:
        text = (
            WEB
            + "    environment:\n      PORTS: 22:22\n      ANSWER: yes\n"
            + "      DAY: 2026-11-21\n      MODE: 0644\n"
        )
        environment = service(await render(renderer, text))["environment"]
        assert environment == {"PORTS": "22:22", "ANSWER": "yes", "DAY": "2026-11-21", "MODE": "420"}

    async def test_extends_within_the_document_and_anchors_work(self, renderer: Renderer) -> None:
        text = "x-env: &env {A: '${pw}'}\nservices:\n  base: {image: node:20, environment: *env}\n"
        rendering = await render(renderer, text + "  web: {extends: {service: base}}\n", secrets=("pw",))
        assert service(rendering)["environment"] == {"A": "${pw}"}

    async def test_an_inline_document_is_not_a_template(self, renderer: Renderer) -> None:
        rendering = await render(renderer, WEB + "    environment: {A: '{{ 7 * 7 }}'}\n")
        assert service(rendering)["environment"] == {"A": "{{ 7 * 7 }}"}


BAD = {
    "not YAML": ("services: [", Reason.COMPOSE_INVALID, "line 2"),
    "not a mapping": ("- a\n", Reason.COMPOSE_INVALID, "mapping"),
    "two documents": (WEB + "---\n" + WEB, Reason.COMPOSE_INVALID, "single document"),
    "a key twice": (WEB + "    image: other\n", Reason.COMPOSE_INVALID, "image is there twice"),
    "a key that is no text": ("services: {1: {image: a}}", Reason.COMPOSE_INVALID, "not text"),
    "a tag": ("a: !!python/object/apply:os.system [id]\n", Reason.COMPOSE_INVALID, "tag"),
    "a local tag": (WEB + "    ports: !reset []\n", Reason.COMPOSE_INVALID, "tag"),
    "no service": ("services: {}", Reason.COMPOSE_INVALID, "0 active services"),
    "no image": ("services: {web: {}}", Reason.COMPOSE_INVALID, "neither an image"),
    "a field that compose does not know": (WEB + "    imagee: x\n", Reason.COMPOSE_INVALID, "imagee"),
    "a wrong type": (WEB + "    ports: 5\n", Reason.COMPOSE_INVALID, "services.web.ports"),
    "a dependency that is missing": (WEB + "    depends_on: [db]\n", Reason.COMPOSE_INVALID, "db"),
    "a port twice": (WEB + "    ports: ['80:80', '80:81']\n", Reason.COMPOSE_INVALID, "80/tcp"),
    "a port range twice": (WEB + "    ports: ['80-85:80-85', '82:9']\n", Reason.COMPOSE_INVALID, "82/tcp"),
    "include": ("include: [/etc/passwd]\n" + WEB, Reason.COMPOSE_FORBIDDEN, "include"),
    "extends from a file": (
        WEB + "    extends: {file: /x, service: a}\n",
        Reason.COMPOSE_FORBIDDEN,
        "extends.file",
    ),
    "env_file": (WEB + "    env_file: /etc/passwd\n", Reason.COMPOSE_FORBIDDEN, "services.web.env_file"),
    "label_file": (WEB + "    label_file: /etc/passwd\n", Reason.COMPOSE_FORBIDDEN, "label_file"),
    "build": (WEB + "    build: https://example.org/x.git\n", Reason.COMPOSE_FORBIDDEN, "services.web.build"),
    "develop": (WEB + "    develop: {}\n", Reason.COMPOSE_FORBIDDEN, "develop"),
    "a config from a file": (
        WEB + "configs: {c: {file: /etc/passwd}}\n",
        Reason.COMPOSE_FORBIDDEN,
        "configs.c.file",
    ),
    "a config from the environment": (
        WEB + "configs: {c: {environment: HOME}}\n",
        Reason.COMPOSE_FORBIDDEN,
        "configs.c.environment",
    ),
    "a secret from a file": (
        WEB + "secrets: {s: {file: /etc/passwd}}\n",
        Reason.COMPOSE_FORBIDDEN,
        "secrets.s.file",
    ),
    "a secret from the environment": (
        WEB + "secrets: {s: {environment: HOME}}\n",
        Reason.COMPOSE_FORBIDDEN,
        "secrets.s.environment",
    ),
    "an external network": (
        WEB + "networks: {n: {external: true}}\n",
        Reason.COMPOSE_FORBIDDEN,
        "networks.n",
    ),
    "an external volume": (WEB + "volumes: {v: {external: true}}\n", Reason.COMPOSE_FORBIDDEN, "volumes.v"),
    "an undeclared secret": (WEB + "    environment: {A: '${x}'}\n", Reason.UNDEFINED_VARIABLE, "${x}"),
    "a default for a variable": (
        WEB + "    environment: {A: '${pw:-x}'}\n",
        Reason.UNDEFINED_VARIABLE,
        "${pw:-x}",
    ),
    "a bare variable": (WEB + "    environment: {A: $pw}\n", Reason.UNDEFINED_VARIABLE, "$pw"),
    "a secret in the image": (
        "services: {web: {image: 'a:${pw}'}}",
        Reason.UNDEFINED_VARIABLE,
        "services.web.image",
    ),
    "a secret in the command": (WEB + "    command: 'echo ${pw}'\n", Reason.UNDEFINED_VARIABLE, "command"),
    "a secret as a name": (WEB + "    environment: ['${pw}=x']\n", Reason.UNDEFINED_VARIABLE, "environment"),
    "a secret in a key": (WEB + "    environment: {'${pw}': x}\n", Reason.UNDEFINED_VARIABLE, "key"),
}


@pytest.mark.parametrize(("text", "reason", "told"), BAD.values(), ids=BAD.keys())
async def test_bad_input_is_refused_with_its_place(
    renderer: Renderer, text: str, reason: Reason, told: str
) -> None:
    refused = await refusal(renderer, text, secrets=("pw",))
    assert refused.reason == reason, refused.message
    assert told in refused.message
    assert refused.stalled


class TestTooMuch:
    async def test_a_document_of_a_megabyte(self, renderer: Renderer) -> None:
        refused = await refusal(renderer, WEB + "#" * 1_048_576)
        assert refused.reason == Reason.COMPOSE_TOO_LARGE
        assert "262144" in refused.message

    @pytest.mark.parametrize("merge", [False, True], ids=["lists", "merges"])
    async def test_anchors_that_explode(self, renderer: Renderer, merge: bool) -> None:
        lines = ["a0: &a0 {k: lol}" if merge else "a0: &a0 [lol]"]
        for level in range(1, 40):
            below = ", ".join([f"*a{level - 1}"] * 9)
            lines.append(f"a{level}: &a{level} " + (f"{{<<: [{below}]}}" if merge else f"[{below}]"))
        refused = await refusal(renderer, "\n".join([*lines, WEB]))
        assert refused.reason == Reason.COMPOSE_INVALID
        assert "with its aliases" in refused.message

    async def test_an_alias_of_itself(self, renderer: Renderer) -> None:
        refused = await refusal(renderer, "services: &s {web: *s}")
        assert "contains itself" in refused.message

    @pytest.mark.parametrize("text", ["[" * 100_000, "{a: " * 50_000, "- " * 100_000])
    async def test_nesting_without_end(self, renderer: Renderer, text: str) -> None:
        refused = await refusal(renderer, text)
        assert refused.reason == Reason.COMPOSE_INVALID

    async def test_more_services_than_a_status_can_tell_of(self, renderer: Renderer) -> None:
        refused = await refusal(
            renderer, "services:\n" + "".join(f"  s{n}: {{image: a}}\n" for n in range(129))
        )
        assert "129 active services" in refused.message


PRIVILEGED = Policy(privileged_guests=True)
HOST_MOUNTS = Policy(host_mounts=True)
DEVICES = Policy(devices=True)
NOBODY = None

FORBIDDEN = {
    "privileged": ("privileged: true", PRIVILEGED),
    "added capabilities": ("cap_add: [SYS_ADMIN]", PRIVILEGED),
    "the guest's network": ("network_mode: host", PRIVILEGED),
    "a container's network": ("network_mode: 'container:x'", PRIVILEGED),
    "the guest's processes": ("pid: host", PRIVILEGED),
    "the guest's IPC": ("ipc: host", PRIVILEGED),
    "the guest's host name": ("uts: host", PRIVILEGED),
    "the guest's users": ("userns_mode: host", PRIVILEGED),
    "the guest's cgroup": ("cgroup: host", PRIVILEGED),
    "another cgroup": ("cgroup_parent: /x", PRIVILEGED),
    "no seccomp": ("security_opt: ['seccomp:unconfined']", PRIVILEGED),
    "sysctls": ("sysctls: {net.ipv4.ip_forward: 1}", PRIVILEGED),
    "more groups": ("group_add: [docker]", PRIVILEGED),
    "no OOM killer": ("oom_kill_disable: true", PRIVILEGED),
    "the guest as a host name": ("extra_hosts: ['h:host-gateway']", PRIVILEGED),
    "a bind mount": ("volumes: ['/etc:/x:ro']", HOST_MOUNTS),
    "a relative bind mount": ("volumes: ['./x:/x']", HOST_MOUNTS),
    "Docker's socket": ("volumes: ['/var/run/docker.sock:/var/run/docker.sock']", HOST_MOUNTS),
    "Docker's socket in the long form": (
        "volumes: [{type: bind, source: /run/docker.sock, target: /x}]",
        HOST_MOUNTS,
    ),
    "a device": ("devices: ['/dev/kvm:/dev/kvm']", DEVICES),
    "device rules": ("device_cgroup_rules: ['c 1:3 mr']", DEVICES),
    "reserved devices": (
        "deploy: {resources: {reservations: {devices: [{capabilities: [gpu]}]}}}",
        DEVICES,
    ),
    "another runtime": ("runtime: runc2", NOBODY),
    "volumes of another container": ("volumes_from: ['container:x']", NOBODY),
    "storage options": ("storage_opt: {size: 1G}", NOBODY),
    "a foreign log driver": (
        "logging: {driver: syslog, options: {syslog-address: 'tcp://10.0.0.1:514'}}",
        NOBODY,
    ),
    "a label of compose's own": ("labels: {com.docker.compose.project: other}", NOBODY),
    "annotations": ("annotations: {a: b}", NOBODY),
    "external links": ("external_links: [x]", NOBODY),
    "isolation": ("isolation: hyperv", NOBODY),
}


@pytest.mark.parametrize(("line", "allowed"), FORBIDDEN.values(), ids=FORBIDDEN.keys())
async def test_a_service_gets_what_reaches_beyond_it_only_by_policy(
    renderer: Renderer, line: str, allowed: Policy | None
) -> None:
    field = line.partition(":")[0]
    everything_else = [policy for policy in (PRIVILEGED, HOST_MOUNTS, DEVICES) if policy != allowed]
    for policy in [Policy(), *everything_else]:
        refused = await refusal(renderer, WEB + f"    {line}\n", policy=policy)
        assert refused.reason == Reason.COMPOSE_FORBIDDEN
        assert f"services.web.{field}" in refused.message
        assert ("NetworkZone backend" in refused.message) == (allowed is not None)
    if allowed is not None:
        await render(renderer, WEB + f"    {line}\n", policy=allowed)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("volumes: {data: {driver_opts: {type: none, o: bind, device: /etc}}}", "volumes.data.driver_opts"),
        ("volumes: {data: {driver: sshfs}}", "volumes.data.driver"),
    ],
)
async def test_a_volume_is_no_way_around_the_policy(renderer: Renderer, text: str, told: str) -> None:
    refused = await refusal(renderer, WEB + "    volumes: ['data:/v']\n" + text + "\n")
    assert refused.reason == Reason.COMPOSE_FORBIDDEN
    assert told in refused.message


async def test_a_network_is_a_bridge(renderer: Renderer) -> None:
    refused = await refusal(renderer, WEB + "    networks: [n]\nnetworks: {n: {driver: macvlan}}\n")
    assert "networks.n.driver" in refused.message


async def test_what_is_harmless_is_allowed(renderer: Renderer) -> None:
    await render(
        renderer,
        WEB + "    security_opt: ['no-new-privileges:true']\n    cap_drop: [ALL]\n    read_only: true\n"
        "    tmpfs: [/tmp]\n    privileged: false\n    ulimits: {nofile: 1000}\n    init: true\n"
        "    logging: {driver: local}\n"
        "    healthcheck: {test: 'true', interval: 3s}\n    deploy: {resources: {limits: {cpus: '0.5'}}}\n",
    )
