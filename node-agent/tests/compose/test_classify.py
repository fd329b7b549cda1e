"""What compose says, as it was recorded from compose 2.26 on Docker 26, and what it means."""

import pytest
from dsecos_agent.compose.classify import blanked, classify
from dsecos_agent.compose.protocol import (
    ComposeFailedError,
    ConfigInvalidError,
    ImageNotFoundError,
    RegistryUnreachableError,
    ServiceUnhealthyError,
)

PULL_REFUSED = """\
 web Pulling
 web Error Get "https://registry-1.docker.io/v2/": dial tcp: lookup registry-1.docker.io: refused
Error response from daemon: Get "https://registry-1.docker.io/v2/": dial tcp: lookup registry-1.docker.io
"""
PULL_UNKNOWN = """\
 web Pulling
 web Error manifest for nosuch:1 not found: manifest unknown: manifest unknown
Error response from daemon: manifest for nosuch:1 not found: manifest unknown: manifest unknown
"""
PULL_DENIED = """\
 web Error pull access denied for nosuch, repository does not exist
Error response from daemon: pull access denied for nosuch, repository does not exist
"""
NO_REFERENCE = "unable to get image 'A B': Error response from daemon: invalid reference format\n"
EXITED = " Container app-my-web-1  Waiting\ncontainer app-my-web-1 exited (1)\n"
UNHEALTHY = " Container app-db-1  Waiting\ncontainer app-db-1 is unhealthy\n"
SLOW = "application not healthy after 7s\n"
PORT = "Error response from daemon: Bind for 0.0.0.0:80 failed: port is already allocated\n"


@pytest.mark.parametrize(
    ("exit_code", "log", "kind", "service"),
    [
        (18, PULL_REFUSED, RegistryUnreachableError, "web"),
        (18, PULL_UNKNOWN, ImageNotFoundError, "web"),
        (18, PULL_DENIED, ImageNotFoundError, "web"),
        (1, NO_REFERENCE, ImageNotFoundError, ""),
        (1, EXITED, ServiceUnhealthyError, "my-web"),
        (1, UNHEALTHY, ServiceUnhealthyError, "db"),
        (1, SLOW, ServiceUnhealthyError, ""),
        (15, "yaml: line 1: did not find expected node content\n", ConfigInvalidError, ""),
        (15, "empty compose file\n", ConfigInvalidError, ""),
        (
            15,
            "validating -: services.web Additional property nosuch is not allowed\n",
            ConfigInvalidError,
            "",
        ),
        (1, PORT, ComposeFailedError, ""),
        (1, "", ComposeFailedError, ""),
    ],
)
def test_words_and_their_meaning(
    exit_code: int, log: str, kind: type[ComposeFailedError], service: str
) -> None:
    error = classify(exit_code, log)
    assert type(error) is kind
    assert error.service == service
    assert error.log == log
    assert len(str(error)) < 400


def test_values_of_secrets_are_blanked() -> None:
    assert blanked("a hunter2 b hunter22 c", ["hunter2", "hunter22", ""]) == "a *** b *** c"
