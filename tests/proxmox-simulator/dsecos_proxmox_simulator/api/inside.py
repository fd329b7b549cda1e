"""What reaches into a virtual machine: cloud-init and the guest agent."""

from __future__ import annotations

from dsecos_proxmox_simulator import guests, properties, qemu
from dsecos_proxmox_simulator.errors import failure
from dsecos_proxmox_simulator.model import Guest
from dsecos_proxmox_simulator.privileges import needs, needs_any
from dsecos_proxmox_simulator.routing import Request, Routes

routes = Routes()
ONE = "/nodes/{node}/qemu/{vmid}"
CLOUD_INIT = (
    "ciuser",
    "cipassword",
    "citype",
    "ciupgrade",
    "sshkeys",
    "nameserver",
    "searchdomain",
    "cicustom",
)


@routes.add("GET", f"{ONE}/cloudinit", check=needs("/vms/{vmid}", "VM.Audit"))
def cloud_init(request: Request) -> object:
    """The options that the drive is made of."""
    guest = request.guest("qemu")
    return [
        {"key": key, "value": value}
        for key, value in guest.config.items()
        if key in CLOUD_INIT or qemu.stem(key) == "ipconfig"
    ]


@routes.add("PUT", f"{ONE}/cloudinit", check=needs("/vms/{vmid}", "VM.Config.Cloudinit"))
def remake_cloud_init(request: Request) -> object:
    """Write the drive anew."""
    guests.check_lock(request.guest("qemu"))
    return None


# The guest agent.

AGENT = needs("/vms/{vmid}", "VM.Monitor")
ASK = needs_any("/vms/{vmid}", "VM.GuestAgent.Audit", "VM.GuestAgent.Unrestricted")
RUN = needs("/vms/{vmid}", "VM.GuestAgent.Unrestricted")


def agent_of(request: Request) -> Guest:
    """The guest whose agent answers. Raises ApiError 500 if there is none."""
    guest = request.guest("qemu")
    if guest.status != "running":
        raise failure(f"VM {guest.vmid} is not running")
    if properties.split(guest.config.get("agent", "0"), "enabled").get("enabled") != "1":
        raise failure("No QEMU guest agent configured")
    if not guest.agent_running or guest.paused:
        raise failure("QEMU guest agent is not running")
    return guest


@routes.add("POST", f"{ONE}/agent/ping", check=AGENT, check_91=ASK)
def ping(request: Request) -> object:
    """Whether the agent answers."""
    agent_of(request)
    return {"result": {}}


@routes.add("GET", f"{ONE}/agent/network-get-interfaces", check=AGENT, check_91=ASK)
def agent_interfaces(request: Request) -> object:
    """Links and addresses inside."""
    guest = agent_of(request)
    found = []
    for key, value in guest.config.items():
        if qemu.stem(key) == "net":
            number = key.removeprefix("net")
            address = properties.split(guest.config.get(f"ipconfig{number}", "")).get("ip", "")
            mac = value.split(",")[0].partition("=")[2].lower()
            row: dict[str, object] = {"name": f"eth{number}", "hardware-address": mac, "ip-addresses": []}
            if "/" in address:
                ip, _, prefix = address.partition("/")
                row["ip-addresses"] = [{"ip-address": ip, "ip-address-type": "ipv4", "prefix": int(prefix)}]
            found.append(row)
    return {"result": found}


@routes.add(
    "POST", f"{ONE}/agent/exec", "command! array\ninput-data string len:..65536", check=AGENT, check_91=RUN
)
def execute(request: Request) -> object:
    """Runs at once; the world's `run_in_guest` says with what result.

    Input is taken byte by character (encode_base64 of PVE::QemuServer::Agent): UTF-8 gets lost.
    """
    guest = agent_of(request)
    command = request.parameters["command"]
    assert isinstance(command, list)
    try:
        given = request.text("input-data").encode("latin-1").decode(errors="replace")
    except UnicodeEncodeError:
        raise failure("Wide character in subroutine entry") from None
    pid = 1000 + len(guest.executions)
    guest.executions[pid] = request.world.run_in_guest(guest, command, given)
    return {"pid": pid}


@routes.add("GET", f"{ONE}/agent/exec-status", "pid! integer", check=AGENT, check_91=RUN)
def execution(request: Request) -> object:
    """Exit code and output, each byte as one character."""
    guest = agent_of(request)
    pid = request.number("pid")
    if pid not in guest.executions:
        raise failure(f"Agent error: PID {pid} does not exist")
    code, *said = guest.executions[pid]
    out, err = (text.encode().decode("latin-1") for text in said)
    row: dict[str, object] = {"exited": 1, "exitcode": code}
    return row | ({"out-data": out} if out else {}) | ({"err-data": err} if err else {})
