"""Goes from a host to its mirror, step by step, each within its time. Private to the mde.offline collection."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function, unicode_literals

__metaclass__ = type

import json
import re
import socket
import ssl
import sys

from ansible_collections.mde.offline.plugins.module_utils._endpoint import process
from ansible_collections.mde.offline.plugins.module_utils._endpoint.errors import masked
from ansible_collections.mde.offline.plugins.module_utils._endpoint.text import decode

MAX_BYTES = 64 * 1024
PORTS = {"http": 80, "https": 443}
_ADDRESS = re.compile(r"^([a-z][a-z0-9+.-]*)://([^/?#]*)([^?#]*)([?#].*)?$", re.IGNORECASE)
_HOST = re.compile(r"^(?:\[([0-9a-f:.]+(?:%[\w.-]+)?)\]|([^\s\[\]:@<>\"']+))(?::([0-9]*))?$", re.IGNORECASE)
# In a process of its own: what waits inside the C library's resolver cannot be interrupted.
_RESOLVE = (
    "import json, socket, sys\n"
    "try:\n"
    "    found = socket.getaddrinfo(sys.argv[1], int(sys.argv[2]), 0, socket.SOCK_STREAM)\n"
    "    print(json.dumps([entry[4][0] for entry in found]))\n"
    "except (socket.error, UnicodeError) as failure:\n"
    "    print(json.dumps(str(failure)))\n"
)


class Unreachable(Exception):
    """One step did not succeed; `step` is name, port, tls or answer."""

    def __init__(self, step, message):
        super(Unreachable, self).__init__(message)
        self.step = step
        self.message = masked(message)


class Address:
    """The parts of a mirror's address, and what is wrong with its shape (None: nothing)."""

    def __init__(self, location):
        self.location = decode(location).strip()
        self.shown = masked(self.location)
        self.kind, self.host, self.port, self.path, self.problem = None, None, None, None, None
        if self.location.startswith("/"):
            self.kind, self.path = "folder", self.location.rstrip("/") or "/"
            return
        match = _ADDRESS.match(self.location)
        if match is None:
            self.problem = "it is neither an http(s) address nor an absolute directory"
            return
        scheme, authority, path, rest = match.groups()
        self.kind = scheme.lower()
        if self.kind not in PORTS:
            self.problem = "its scheme is {0}, and only http and https are documented".format(self.kind)
            return
        host = _HOST.match(authority.rpartition("@")[2])
        port = int(host.group(3) or PORTS[self.kind]) if host else 0
        if not host or not 0 < port < 65536 or re.search(r"\s", self.location):
            self.problem = "it has no usable host and port"
            return
        self.host, self.port, self.path = host.group(1) or host.group(2), port, path.rstrip("/")
        if "@" in authority:
            self.problem = "it has a user or a password, and agents send none"
        elif rest:
            self.problem = "it has a query or a fragment, and the agent appends a path to it"

    @property
    def host_header(self):
        """The host as a request names it."""
        host = "[{0}]".format(self.host) if ":" in self.host else self.host
        return host if self.port == PORTS[self.kind] else "{0}:{1}".format(host, self.port)


def resolve(host, port, timeout, call=process.run):
    """The addresses of a name, without repetitions."""
    if re.match(r"^[0-9.]+$", host) or ":" in host:
        return [host]
    result = call([sys.executable or "python3", "-c", _RESOLVE, host, "{0}".format(port)], timeout)
    if result["timed_out"]:
        raise Unreachable("name", "the name server gave no answer about {0} within {1} seconds".format(host, timeout))
    try:
        found = json.loads(result["out"])
    except ValueError:
        raise Unreachable("name", "{0} could not be asked for: {1}".format(host, result["err"].strip()[-200:]))
    if not isinstance(found, list):
        raise Unreachable("name", "{0} has no address: {1}".format(host, found))
    return [address for number, address in enumerate(found) if address not in found[:number]]


def connect(addresses, port, timeout):
    """A connection to the first address that takes one, and which that is."""
    failures = []
    for address in addresses[:4]:
        try:
            return socket.create_connection((str(address), port), timeout), address
        except socket.timeout:
            failures.append("{0}: no answer within {1} seconds".format(address, timeout))
        except (EnvironmentError, UnicodeError) as failure:
            failures.append("{0}: {1}".format(address, _reason(failure)))
    raise Unreachable("port", "port {0} takes no connection ({1})".format(port, "; ".join(failures)))


def encrypt(connection, host):
    """The same connection with TLS, the certificate checked against what this system trusts."""
    try:
        context = ssl.create_default_context()
        return context.wrap_socket(connection, server_hostname=str(host))
    except AttributeError:
        raise Unreachable("tls", "this Python is too old to check certificates")
    except (EnvironmentError, ValueError) as failure:  # TLS and certificate errors are among them
        raise Unreachable("tls", "no TLS connection with {0}: {1}".format(host, _reason(failure)))


def certificate(address, timeout, call=process.run):
    """What the certificate says of itself, as openssl shows it; empty where that cannot be had."""
    target = address.host_header if ":" in address.host_header else address.host_header + ":443"
    result = call(["openssl", "s_client", "-connect", target, "-servername", address.host], timeout)
    lines = [line.strip() for line in result["out"].splitlines()]
    return [line for line in lines if re.match(r"^(subject|issuer)\s*=", line)][:2]


def ask(connection, address, path, method, timeout):
    """Status, headers (names in lower case) and the beginning of the body of one answer."""
    deadline = process.now() + timeout
    lines = ["{0} {1} HTTP/1.0".format(method, _quoted(path)), "Host: " + address.host_header]
    lines += ["User-Agent: mde.offline", "Accept: */*", "Connection: close", "", ""]
    data = b""
    try:
        connection.settimeout(timeout)
        connection.sendall("\r\n".join(lines).encode("ascii", "replace"))
        while len(data) < MAX_BYTES and not (method == "HEAD" and b"\r\n\r\n" in data):
            left = deadline - process.now()
            if left <= 0:
                raise Unreachable("answer", "no complete answer to {0} within {1} seconds".format(path, timeout))
            connection.settimeout(left)
            part = connection.recv(MAX_BYTES)
            if not part:
                break
            data += part
    except socket.timeout:
        raise Unreachable("answer", "no complete answer to {0} within {1} seconds".format(path, timeout))
    except EnvironmentError as failure:
        raise Unreachable("answer", "the connection broke while {0} was asked for: {1}".format(path, _reason(failure)))
    head, _blank, body = data.partition(b"\r\n\r\n")
    rows = decode(head).split("\r\n")
    status = re.match(r"^HTTP/[0-9.]+ ([0-9]{3})", rows[0])
    if status is None:
        raise Unreachable("answer", "what answered does not speak HTTP; it said: {0}".format(rows[0][:80] or "nothing"))
    headers = [row.partition(":") for row in rows[1:]]
    return {
        "status": int(status.group(1)),
        "headers": {name.strip().lower(): value.strip() for name, _colon, value in headers},
        "body": body,
    }


def fetch(address, path, method, timeout, call=process.run):
    """One answer of a mirror, from the name to the status."""
    connection = connect(resolve(address.host, address.port, timeout, call), address.port, timeout)[0]
    try:
        if address.kind == "https":
            connection = encrypt(connection, address.host)
        return ask(connection, address, path, method, timeout)
    finally:
        connection.close()


def _quoted(path):
    """A path as a request has it: what is not ASCII as escapes."""
    return "".join(
        part if "!" <= part <= "~" else "".join("%{0:02X}".format(byte) for byte in bytearray(part.encode("utf-8")))
        for part in path
    )


def _reason(failure):
    """Why, in the system's words."""
    words = getattr(failure, "verify_message", None) or getattr(failure, "strerror", None) or str(failure)
    return decode(words).strip() or failure.__class__.__name__
