"""docker(1) in a simulated VM, as far as the agent uses it: the containers are a file.

Run as a program by `machines.py`, with the directory of the VM's disk in DSECOS_TEST_STATE.
"""

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

LABEL = "com.docker.compose"


def container_id(service: str) -> str:
    return hashlib.sha256(service.encode()).hexdigest()


def up(document: dict[str, Any]) -> dict[str, Any]:
    """Everything is healthy at once."""
    return {
        name: {"image": service["image"], "state": "running", "health": "healthy", "code": 0}
        for name, service in document["services"].items()
    }


def shown(service: str, container: dict[str, Any]) -> dict[str, Any]:
    """As the agent's format of docker-inspect(1) prints it."""
    return {
        "container": {
            "Image": container["image"],
            "ImageID": "sha256:0",
            "State": container["state"],
            "Labels": {f"{LABEL}.service": service, f"{LABEL}.config-hash": "0", f"{LABEL}.oneoff": "False"},
        },
        "details": {
            "RestartCount": 0,
            "State": {"ExitCode": container["code"], "Health": {"Status": container["health"]}},
        },
    }


def main(words: list[str], disk: Path) -> None:
    """One command."""
    if (disk / "dead").exists():
        sys.exit("Cannot connect to the Docker daemon at unix:///var/run/docker.sock")
    kept = disk / "containers.json"
    containers = json.loads(kept.read_text()) if kept.exists() else {}
    match words:
        case ["version", *_]:
            print("26.1.5")
        case ["compose", *_] if "up" in words:
            kept.write_text(json.dumps(up(json.load(sys.stdin))))
            with (disk / "ups").open("a") as ups:
                print(*words, file=ups)
        case ["ps", *_]:
            print("".join(f"{container_id(name)}\n" for name in containers), end="")
        case ["inspect", "--type", "container", "--format", _, *ids]:
            for name, container in containers.items():
                if container_id(name) in ids:
                    print(json.dumps(shown(name, container)))
        case _:
            sys.exit(f"no such command: {words}")


if __name__ == "__main__":
    main(sys.argv[1:], Path(os.environ["DSECOS_TEST_STATE"]))
