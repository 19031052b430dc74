"""Measures how fast nginx, as configured by the role mirror_http, serves many endpoints, relative to plain loopback.

    .venv/bin/python tests/benchmark/serving.py

The raw capacity is the speed of a minimal server that sends the same file with sendfile(2) to the same clients. The
servers share the processors with the clients, so small differences are meaningless. The benchmark does not fail if it
is slow.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import socket
import ssl
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT))
sys.path.insert(1, str(CHECKOUT / "tools"))

from ending import Failed, status_of  # noqa: E402
from skipped import skipped  # noqa: E402

from simulators.certificates import Authority  # noqa: E402
from tests.support.ansible_runs import Ansible  # noqa: E402
from tests.support.nginx import NAME, RELEASE, Hosting, Server, find  # noqa: E402

MB = 1_000_000
PACKAGE, STATUS = "/linux/production/arch_x86_64/updates.zip", "/status.json"
TIME_LIMIT = 60.0


@dataclass(frozen=True)
class Candidate:
    """A server on a port of loopback."""

    name: str
    port: int
    tls: bool = False


class RawServer:
    """Sends one file to each client without parsing the request, with one thread for each processor."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = int(self._listener.getsockname()[1])
        for _number in range(os.cpu_count() or 1):
            threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _address = self._listener.accept()
            except OSError:
                return
            self._send(client)

    def _send(self, client: socket.socket) -> None:
        size = self._path.stat().st_size
        with client, self._path.open("rb") as file:
            client.recv(4096)
            client.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode())
            sent = 0
            while sent < size:
                sent += os.sendfile(client.fileno(), file.fileno(), sent, size - sent)

    def close(self) -> None:
        self._listener.close()


def pull(candidate: Candidate, path: str, ca_file: str) -> int:
    """Downloads a file on a new connection, as an endpoint does; returns the size of the body."""
    connection: socket.socket = socket.create_connection(("127.0.0.1", candidate.port), timeout=TIME_LIMIT)
    if candidate.tls:
        connection = ssl.create_default_context(cafile=ca_file).wrap_socket(connection, server_hostname=NAME)
    buffer = bytearray(1024 * 1024)
    with connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n".encode())
        head = b""
        while b"\r\n\r\n" not in head:
            received = connection.recv(65536)
            if not received:
                raise ConnectionError(f"{candidate.name} closed the connection before the end of its response")
            head += received
        header, body = head.split(b"\r\n\r\n", 1)
        if b" 200 " not in header.split(b"\r\n")[0]:
            raise ConnectionError(f"{candidate.name} returned {header[:60]!r}")
        total = len(body)
        while count := connection.recv_into(buffer):
            total += count
    return total


def pull_many(
    candidate: Candidate, path: str, ca_file: str, clients: int, times: int, results: multiprocessing.Queue
) -> None:  # type: ignore[type-arg]
    """Runs the clients of one process; each client downloads the file `times` times."""
    try:
        with ThreadPoolExecutor(clients) as pool:
            counted = pool.map(lambda _number: pull(candidate, path, ca_file), range(clients * times))
            results.put(sum(counted))
    except OSError as error:
        results.put(error)


def together(candidate: Candidate, path: str, ca_file: str, clients: int, times: int = 1) -> tuple[float, int]:
    """Runs all clients at once; returns the seconds and the size of all bodies. Raises `OSError` if a client failed."""
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    workers = [
        context.Process(target=pull_many, args=(candidate, path, ca_file, share, times, results), daemon=True)
        for share in (clients // 2, clients - clients // 2)
    ]
    started = time.monotonic()
    for worker in workers:
        worker.start()
    counted = [results.get(timeout=TIME_LIMIT) for _worker in workers]
    seconds = time.monotonic() - started
    for worker in workers:
        worker.join()
    for count in counted:
        if isinstance(count, OSError):
            raise count
    return seconds, sum(counted)


def big_package(root: Path, size: int) -> Path:
    path = root / ".releases" / "linux-x86_64" / RELEASE / "updates.zip"
    block = os.urandom(MB)
    with path.open("wb") as file:
        for _number in range(size // MB):
            file.write(block)
    return path


def compare(candidates: list[Candidate], ca_file: str, size: int, clients: int) -> None:
    """Measures each server in three rounds; the best time counts, so that other load has little effect."""
    print(
        f"(a) {clients} endpoints download a package of {size // MB} MB at the same time, each on its own connection\n"
    )
    best: dict[str, float] = {}
    for _round in range(3):
        for candidate in candidates:
            seconds, count = together(candidate, PACKAGE, ca_file, clients)
            if count != size * clients:
                raise ConnectionError(f"{candidate.name} sent {count} bytes instead of {size * clients}")
            best[candidate.name] = min(seconds, best.get(candidate.name, seconds))
    raw = best[candidates[0].name]
    print(f"    {'':24}{'seconds':>12}{'MB/s':>12}{'share of the raw capacity':>28}")
    for name, seconds in best.items():
        print(f"    {name:24}{seconds:12.2f}{size * clients / MB / seconds:12.0f}{raw / seconds:28.2f}", flush=True)

    times = 20
    print(f"\n(b) {clients} endpoints request status.json {times} times each, each time on a new connection\n")
    print(f"    {'':24}{'seconds':>12}{'requests/s':>12}")
    for candidate in candidates[1:]:
        seconds, _count = together(candidate, STATUS, ca_file, clients, times)
        print(f"    {candidate.name:24}{seconds:12.2f}{clients * times / seconds:12.0f}", flush=True)


def measure(size: int, clients: int) -> None:
    with tempfile.TemporaryDirectory(prefix="mde-benchmark-") as name:
        directory = Path(name)
        if shutil.disk_usage(directory).free < 2 * size:
            raise Failed(f"{directory.parent} has less than {2 * size // MB} MB free; set TMPDIR.")
        server = Server(directory)
        authority = Authority(directory / "authority")
        certificate = authority.issue("server", [NAME])
        package = big_package(server.root, size)
        (server.root / "status.json").write_text(json.dumps({"format": 1, "channels": ["x" * 1500]}), encoding="utf-8")
        applied = Hosting(Ansible(directory), server).apply(
            mirror_http_protocols=["http", "https"],
            mirror_http_tls_certificate=str(certificate.cert),
            mirror_http_tls_key=str(certificate.key),
        )
        raw = RawServer(package)
        try:
            if applied.status != 0:
                raise Failed(f"the role mirror_http failed, so there is no measurement:\n{applied.output}")
            candidates = [
                Candidate("raw sendfile", raw.port),
                Candidate("nginx, http", server.port),
                Candidate("nginx, https", server.tls_port, tls=True),
            ]
            compare(candidates, str(authority.cert), size, clients)
        except OSError as error:
            raise Failed(str(error)) from error
        finally:
            raw.close()
            server.stop()


def main() -> int:
    parser = argparse.ArgumentParser(description="Measures how fast nginx serves many endpoints.")
    parser.add_argument("--size", type=int, default=40, metavar="MB", help="size of a package (default: %(default)s)")
    parser.add_argument("--clients", type=int, default=100, help="number of endpoints (default: %(default)s)")
    options = parser.parse_args()
    options.clients = max(options.clients, 2)
    if not find("nginx"):
        skipped("benchmark of serving", "nginx is not installed (apt-get install nginx-light)")
        return 0
    return status_of(lambda: measure(options.size * MB, options.clients))


if __name__ == "__main__":
    sys.exit(main())
