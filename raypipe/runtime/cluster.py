"""Clusters: a Ray that exists and is joined by its address, or one that the runs on this machine share."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Mapping
from types import TracebackType
from typing import Protocol, Self

import psutil
import ray

from raypipe.errors import ConfigurationError, StopError, UsageError
from raypipe.runtime import ray_settings
from raypipe.runtime.shared_session import SharedSession

REACH_TIMEOUT_S = 5.0  # a head in reach answers in milliseconds
ALLOW_INSECURE = "RAYPIPE_ALLOW_INSECURE_CLUSTER"
HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"  # with an empty SETTINGS frame
HTTP2_SETTINGS = 4


class Cluster(Protocol):
    """A Ray that this process uses; leaving the block frees what entering it took."""

    address: str

    def __enter__(self) -> Self:
        """Use the cluster."""
        ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Free what was started."""
        ...


def open_cluster(address: str) -> Cluster:
    """Return the Ray that this process is in, else the cluster at the address."""
    if ray.is_initialized():
        return JoinedCluster(ray.get_runtime_context().gcs_address)
    return connect(address)


def join_session(session: SharedSession) -> JoinedCluster:
    """Join the local cluster of a session, once it is started. Raises StopError."""
    cluster = JoinedCluster(session.address(), ray_settings.of_local_cluster(session.folder.token_path))
    cluster.join()
    return cluster


class JoinedCluster:
    """A cluster that others started. Its connection is closed by whoever opened it."""

    def __init__(self, address: str, settings: Mapping[str, str | None] | None = None) -> None:
        self.address = address
        self._settings = settings
        self._owned = False
        self._environment = ray_settings.Environment()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.disconnect()

    def disconnect(self) -> None:
        """Leave the cluster; it goes on."""
        if self._owned:
            self._owned = False
            ray.shutdown()
            self._environment.restore()
            ray_settings.show_raylet_messages(True)

    def join(self) -> None:
        """Connect this process to the cluster. Raises ConfigurationError or StopError within some seconds."""
        loopback = ray_settings.LOOPBACK_ONLY if is_loopback(self.address) else {}
        self._environment.set(self._settings or {"RAY_ADDRESS": None, **loopback, **ray_settings.token_mode()})
        try:
            require_token(self.address)
            _require_head(self.address)
            _require_node(self.address)
            self._connect()
        except BaseException:
            self._environment.restore()
            raise
        ray_settings.show_raylet_messages(False)
        self._owned = True

    def _connect(self) -> None:
        try:
            with ray_settings.own_signal_handlers_kept(), ray_settings.few_connect_attempts():
                ray.init(address=self.address, log_to_driver=False, logging_level=logging.ERROR)
        except ray.exceptions.AuthenticationError as error:
            raise not_let_in(self.address) from error
        except (ConnectionError, OSError, RuntimeError, TimeoutError, ValueError) as error:
            ray.shutdown()
            if "token" in f"{error.__cause__} {error}".lower():
                raise not_let_in(self.address) from error
            raise StopError(f"the Ray cluster at {self.address} cannot be joined: {error.__cause__ or error}") from error


def connect(address: str) -> JoinedCluster:
    """Join the cluster whose head is at `host:port`. This machine must be one of its nodes.

    Raises UsageError for an address of another kind, ConfigurationError where a token is missing or wrong, StopError
    when nobody answers: each within some seconds.
    """
    cluster = JoinedCluster(checked_address(address))
    cluster.join()
    return cluster


def checked_address(address: str) -> str:
    """Return `host:port`, or raise UsageError that says what is expected."""
    if address.startswith("ray://"):
        raise UsageError(
            f"--address: got {address!r}: Ray Client is not supported, because the driver must run where the destination is; "
            "expected host:port of the head (usually port 6379), given on a machine of the cluster"
        )
    if address.startswith(("http://", "https://")):
        raise UsageError(
            f"--address: got {address!r}, the address of Ray's job server; expected host:port of the head (usually 6379)"
        )
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise UsageError(f"--address: got {address!r}, expected host:port of the cluster's head, such as 10.0.0.5:6379")
    return address


def is_loopback(address: str) -> bool:
    """Tell whether `host:port` can be reached from this machine alone."""
    host = address.rpartition(":")[0].strip("[]")
    return host == "localhost" or host == "::1" or host.startswith("127.")


def require_token(address: str) -> None:
    """Refuse to use a cluster beyond this machine without a token. Raises ConfigurationError."""
    if ray_settings.token_is_required():
        if not ray_settings.token_is_known():
            raise ConfigurationError(
                f"RAY_AUTH_MODE is token, but there is no token for the cluster at {address}: "
                "set RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH to a file with the head's token"
            )
    elif not is_loopback(address) and os.environ.get(ALLOW_INSECURE) != "1":
        raise ConfigurationError(
            f"the Ray cluster at {address} would be used without a token: whoever reaches it can run code in it. "
            "Start its nodes with RAY_AUTH_MODE=token and set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH here; "
            f"in a private network where that is accepted, set {ALLOW_INSECURE}=1"
        )


def required_answer(host: str, port: int, question: str, greeting: bytes = b"") -> bytes:
    """Return the first bytes of the answer to a greeting, nothing where there is none to greet with.

    Raises StopError, with a question for the person, within some seconds where nobody answers.
    """
    try:
        with socket.create_connection((host, port), REACH_TIMEOUT_S) as connection:
            connection.settimeout(REACH_TIMEOUT_S)
            connection.sendall(greeting)
            return connection.recv(9) if greeting else b""
    except OSError as error:
        raise StopError(f"nobody answers at {host}:{port} ({error}): {question}") from error


def _require_head(address: str) -> None:
    """Refuse within seconds what Ray itself would try to reach for two minutes, and then end the process over."""
    host, _, port = address.rpartition(":")
    question = "is the head of the Ray cluster running, and is this its port?"
    answer = required_answer(host.strip("[]"), int(port), question, HTTP2_PREFACE)
    if len(answer) < 9 or answer[3] != HTTP2_SETTINGS:
        raise StopError(f"what answers at {address} is no Ray head: expected its port for nodes and drivers, usually 6379")


def _require_node(address: str) -> None:
    """Refuse a machine on which no node of the cluster runs: Ray would look for one for a minute."""
    port = address.rpartition(":")[2]
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.name() == "raylet" and any(
                part.startswith("--gcs-address=") and part.endswith(f":{port}") for part in process.cmdline()
            ):
                return
    raise StopError(
        f"this machine is no node of the Ray cluster at {address}: run raypipe on one of its machines, "
        f"or add this one with `ray start --address {address}`"
    )


def not_let_in(address: str) -> ConfigurationError:
    """Return the error of a cluster that refuses our token."""
    return ConfigurationError(
        f"the Ray cluster at {address} does not accept this token (or the lack of one): set RAY_AUTH_MODE=token, and "
        "RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH, to those of the head"
    )
