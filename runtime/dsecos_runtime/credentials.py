"""Whom the API server sees: server, trust, and the token that may change under our feet.

Both clients (kopf's and lightkube's) ask here before each request, so that a token that was rotated on disk
is used at once, by whoever rotated it.
"""

from __future__ import annotations

import base64
import os
import ssl
from pathlib import Path

import yaml
from lightkube.config.client_adapter import verify_cluster
from lightkube.config.kubeconfig import SERVICE_ACCOUNT, KubeConfig, SingleConfig
from lightkube.core.exceptions import ConfigError
from msgspec import ValidationError

from dsecos_runtime.errors import CredentialsError


class Credentials:
    """The present context of a kubeconfig, or the pod's service account. Tokens are read again when their
    file changes.
    """

    def __init__(self, kubeconfig: Path | None) -> None:
        """`kubeconfig` None: the pod's service account. Raises CredentialsError."""
        self.kubeconfig = kubeconfig
        self.config = self._load()
        user = self.config.user
        if user is None or user.exec or user.auth_provider:
            raise CredentialsError(
                f"{self}: needs a user with a token, a token file, a certificate or a password"
            )
        self._stamp = self._stat()
        self._authorization = self._read()

    @classmethod
    def find(cls, kubeconfig: Path | None = None) -> Credentials:
        """Those of `kubeconfig`, else of $KUBECONFIG, else the pod's. Raises CredentialsError."""
        if kubeconfig is None and os.environ.get("KUBECONFIG"):
            kubeconfig = Path(os.environ["KUBECONFIG"])
        return cls(kubeconfig)

    @property
    def server(self) -> str:
        """URL of the API server."""
        return self.config.cluster.server

    @property
    def source(self) -> Path | None:
        """The file that holds the token; None without one."""
        user = self.config.user
        if user is not None and user.token_file:
            return Path(self.config.abs_file(user.token_file))
        return self.kubeconfig if user is not None and user.token else None

    @property
    def token(self) -> str | None:
        """The present bearer token."""
        scheme, _, token = (self.authorization() or "").partition(" ")
        return token if scheme == "Bearer" else None

    def authorization(self) -> str | None:
        """The Authorization header of the next request; None where a client certificate says who we are."""
        if self._stat() != self._stamp:
            self.reload()
        return self._authorization

    def reload(self) -> bool:
        """Read the token again. Returns whether it changed; an unreadable file leaves it as it was."""
        before, stamp = self._authorization, self._stat()
        try:
            self.config = self._load()
            self._authorization = self._read()
        except CredentialsError:
            return False  # a file that is half written, or gone for a moment
        self._stamp = stamp
        return self._authorization != before

    def ssl_context(self) -> ssl.SSLContext:
        """What the server is checked against, with the client certificate if there is one."""
        user = self.config.user
        assert user is not None  # noqa: S101 - checked when it was loaded
        return verify_cluster(self.config.cluster, user, self.config.abs_file, trust_env=False)

    def _load(self) -> SingleConfig:
        try:
            if self.kubeconfig is None:
                found = KubeConfig.from_service_account(SERVICE_ACCOUNT).get()
            else:
                found = KubeConfig.from_file(self.kubeconfig).get()
        except (
            ConfigError,
            ValidationError,
            LookupError,
            TypeError,
            AttributeError,
            OSError,
            yaml.YAMLError,
        ) as error:
            raise CredentialsError(f"{self}: cannot be used: {error!r}") from error
        assert found is not None  # noqa: S101 - get() raises without a context
        return found

    def _read(self) -> str | None:
        user = self.config.user
        if user is None:
            return None
        if user.token_file:
            try:
                return f"Bearer {Path(self.config.abs_file(user.token_file)).read_text().strip()}"
            except OSError as error:
                raise CredentialsError(f"{self}: token file: {error}") from error
        if user.token:
            return f"Bearer {user.token}"
        if user.username and user.password:
            return "Basic " + base64.b64encode(f"{user.username}:{user.password}".encode()).decode()
        return None

    def _stat(self) -> tuple[int, int, int]:
        source = self.source
        if source is None:
            return (0, 0, 0)
        try:
            found = source.stat()
        except OSError:
            return (0, 0, 0)
        return (found.st_ino, found.st_mtime_ns, found.st_size)

    def __str__(self) -> str:
        return str(self.kubeconfig or "service account of the pod")
