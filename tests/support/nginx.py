"""A real nginx on loopback that serves the folder of a mirror, the role mirror_http for it, and HTTP requests."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import socket
import ssl
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable

from tests.support.ansible_runs import Ansible, Run

NAME = "mirror.test"
OTHER = "other.test"
RELEASE = "1.449.108.0-1.1.25110.3002-3fa9c1d2"
PACKAGE = os.urandom(400_000)
MANIFEST = b'{"EngineVersion": "1.1.25110.3002", "DefinitionVersion": "1.449.108.0"}\n'
HELD: list[socket.socket] = []
SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin")


def find(command: str) -> str | None:
    """The path of a system command, also if PATH does not include the sbin folders."""
    return shutil.which(command, path=os.pathsep.join([os.environ.get("PATH", os.defpath), *SYSTEM_FOLDERS]))


def free_port() -> int:
    """A port for a server that is started later. The port stays bound here, so that no other process gets it.

    No process listens on it, and a server can still bind it with SO_REUSEADDR.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("", 0))
    HELD.append(held)
    return int(held.getsockname()[1])


def eventually(what: str, done: Callable[[], bool], seconds: float = 60) -> None:
    limit = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < limit, f"not within {seconds} s: {what}"
        time.sleep(0.05)


def mirror_tree(root: Path) -> Path:
    """The folder of a mirror as the engine creates it, including the files that must not be served."""
    release = root / ".releases" / "linux-x86_64" / RELEASE
    channel = root / "linux" / "production"
    for folder in (release, channel, root / ".state", root / ".incoming"):
        folder.mkdir(parents=True)
    (release / "updates.zip").write_bytes(PACKAGE)
    (release / "manifest.json").write_bytes(MANIFEST)
    (release / "release.json").write_text("{}\n", encoding="utf-8")
    (channel / "arch_x86_64").symlink_to(f"../../.releases/linux-x86_64/{RELEASE}")
    (root / ".state" / "channels.json").write_text("{}\n", encoding="utf-8")
    (root / ".incoming" / "part").write_text("half\n", encoding="utf-8")
    (root / "status.json").write_text('{"format": 1}\n', encoding="utf-8")
    return root


@dataclass(frozen=True)
class Answer:
    """The response of a server."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Server:
    """An nginx with its files in a folder, with a default site and another site, as on real hosts."""

    folder: Path
    user: str = ""
    port: int = field(default_factory=free_port)
    tls_port: int = field(default_factory=free_port)
    stock_port: int = 0

    def __post_init__(self) -> None:
        self.stock_port = self.stock_port or self.port
        self.root = mirror_tree(self.folder / "two words" / "srv")
        self.conf = self.folder / "etc"
        for name in ("sites-available", "sites-enabled", "temporary"):
            (self.conf / name).mkdir(parents=True)
        self.site = self.conf / "sites-available" / "mde-mirror.conf"
        self.link = self.conf / "sites-enabled" / "mde-mirror.conf"
        self.pid_file = self.conf / "nginx.pid"
        other = self.conf / "sites-available" / "other"
        other.write_text(
            f"server {{ listen 127.0.0.1:{self.stock_port}; server_name {OTHER}; return 200 'another site\\n'; }}\n"
            f"server {{ listen 127.0.0.1:{self.stock_port} default_server; return 404 'stock\\n'; }}\n",
            encoding="utf-8",
        )
        (self.conf / "sites-enabled" / "other").symlink_to(other)
        # Only the user that runs the tests can access the folder.
        user = self.user or ("root" if os.geteuid() == 0 else "")
        temporary = "".join(
            f"    {kind}_temp_path {self.conf}/temporary/{kind};\n"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        self.main_file = self.conf / "nginx.conf"
        self.main_file.write_text(
            (f"user {user};\n" if user else "")
            + f"worker_processes 2;\npid {self.pid_file};\nerror_log {self.conf}/error.log notice;\n"
            f"events {{ worker_connections 256; }}\n"
            f"http {{\n{temporary}"
            # Settings for all sites that a distribution or an operator may have made.
            "    autoindex on;\n    gzip on;\n    gzip_types *;\n    open_file_cache max=100;\n"
            f"    access_log {self.conf}/access.log;\n    include {self.conf}/sites-enabled/*;\n}}\n",
            encoding="utf-8",
        )

    def variables(self) -> dict[str, Any]:
        return {
            "mirror_http_unprivileged": True,
            "mirror_http_root": str(self.root),
            "mirror_http_server_name": NAME,
            "mirror_http_addresses": ["127.0.0.1"],
            "mirror_http_port": self.port,
            "mirror_http_tls_port": self.tls_port,
            "mirror_http_main_file": str(self.main_file),
            "mirror_http_site_file": str(self.site),
            "mirror_http_pid_file": str(self.pid_file),
        }

    @property
    def pid(self) -> int | None:
        with contextlib.suppress(FileNotFoundError, ValueError):
            return int(self.pid_file.read_text(encoding="utf-8"))
        return None

    def log(self) -> str:
        path = self.conf / "error.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def stop(self) -> None:
        pid = self.pid
        if pid is not None:
            os.kill(pid, signal.SIGTERM)
            eventually("nginx ends", lambda: self.pid is None)

    def ask(
        self,
        path: str,
        method: str = "GET",
        name: str = NAME,
        headers: dict[str, str] | None = None,
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> Answer:
        """Sends a request; the path is sent exactly as it is given."""
        connection = http.client.HTTPConnection("127.0.0.1", port or (self.tls_port if tls else self.port), timeout=30)
        connection.connect()
        if tls:
            connection.sock = tls.wrap_socket(connection.sock, server_hostname=name)
        with contextlib.closing(connection):
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for key, value in {"Host": name, **(headers or {})}.items():
                connection.putheader(key, value)
            connection.endheaders()
            response = connection.getresponse()
            received = {key.lower(): value for key, value in response.getheaders()}
            return Answer(response.status, received, response.read())


def messages(run: Run, hosts: int) -> list[str]:
    """The error messages of the hosts m0, m1, ..."""
    found = run.failures()
    assert len(found) == hosts, run.output
    return [found[f"m{number}"] for number in range(hosts)]


@dataclass
class Hosting:
    """A host with this server, and the role to test."""

    ansible: Ansible
    server: Server

    def apply(self, *options: str, **more: Any) -> Run:
        self.ansible.hosts["mirrors"] = {"m": {**self.server.variables(), **more}}
        return self.ansible.roles("mirror_http", "mirrors", *options)

    def refused(self, wrong: list[dict[str, Any]]) -> list[str]:
        """Applies the role with each of these sets of variables on a host of its own; returns the error messages."""
        self.ansible.hosts["mirrors"] = {f"m{n}": {**self.server.variables(), **one} for n, one in enumerate(wrong)}
        return messages(self.ansible.roles("mirror_http", "mirrors"), len(wrong))

    def works(self, **more: Any) -> Run:
        done = self.apply(**more)
        assert done.status == 0, done.output
        return done

    def tell(self, expression: str, role: str = "mirror_http", tasks: str = "main", **more: Any) -> str:
        """Applies the role, and returns the value of an expression afterwards."""
        self.ansible.hosts["mirrors"] = {"m": {**self.server.variables(), **more}}
        include = {"ansible.builtin.include_role": {"name": f"mde.offline.{role}", "tasks_from": tasks}}
        show = {"ansible.builtin.debug": {"msg": "RESULT<{{ %s }}>" % expression}}  # noqa: UP031
        done = self.ansible.tasks(include, show)
        assert done.status == 0, done.output
        return done.output.split("RESULT<")[1].split(">")[0]
