"""Sends HTTP requests to a mirror, with a time limit for each step. Private to the mde.offline collection."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function, unicode_literals

__metaclass__ = type

import re
import socket
import threading

from ansible_collections.mde.offline.plugins.module_utils._endpoint import process
from ansible_collections.mde.offline.plugins.module_utils._endpoint.masking import masked, quoted
from ansible_collections.mde.offline.plugins.module_utils._endpoint.text import decode

# More than any manifest or release.json has.
MAX_BYTES = 64 * 1024
_MAX_HEADERS = 16 * 1024
_MOST_ADDRESSES = 4


class Unreachable(Exception):
    """A step failed: `step` is name, port, tls or answer."""

    def __init__(self, step, message):
        super(Unreachable, self).__init__(message)
        self.step = step
        self.message = masked(message)


def resolve(host, port, timeout, lookup=socket.getaddrinfo):
    """The addresses of a host name, without repetitions."""
    if re.match(r"^[0-9.]+$", host) or ":" in host:
        return [host]
    found, failures = [], []

    def ask():
        try:
            found.extend(entry[4][0] for entry in lookup(str(host), port, 0, socket.SOCK_STREAM))
        except (EnvironmentError, UnicodeError) as failure:
            failures.append(_reason(failure))

    # The resolver of the C library has no time limit and cannot be interrupted, so a thread waits for it.
    thread = threading.Thread(target=ask)
    thread.daemon = True
    thread.start()
    thread.join(timeout)
    if thread.is_alive():
        raise Unreachable("name", "the resolver gave no answer for {0} within {1} seconds".format(host, timeout))
    if not found:
        raise Unreachable("name", "{0} has no address: {1}".format(host, "".join(failures) or "an empty answer"))
    return [address for number, address in enumerate(found) if address not in found[:number]]


def connect(addresses, port, timeout):
    """A connection to the first address that accepts one, and that address."""
    failures = []
    for address in addresses[:_MOST_ADDRESSES]:
        try:
            return socket.create_connection((str(address), port), timeout), address
        except socket.timeout:
            failures.append("{0}: no answer within {1} seconds".format(address, timeout))
        except (EnvironmentError, UnicodeError) as failure:
            failures.append("{0}: {1}".format(address, _reason(failure)))
    raise Unreachable("port", "port {0} accepts no connection ({1})".format(port, "; ".join(failures)))


def encrypt(connection, host):
    """The same connection with TLS; the certificate is checked against what this system trusts."""
    import ssl  # Imported late: this takes long, and most mirrors use http.

    try:
        context = ssl.create_default_context()
        return context.wrap_socket(connection, server_hostname=str(host))
    except AttributeError:
        raise Unreachable("tls", "this Python is too old to check certificates")
    except (EnvironmentError, ValueError) as failure:  # TLS and certificate errors are subclasses of these.
        raise Unreachable("tls", "no TLS connection with {0}: {1}".format(host, _reason(failure)))


def certificate(address, timeout, call=process.run):
    """Subject and issuer of the certificate, as openssl shows them; empty without openssl."""
    target = address.host_header if ":" in address.host_header else address.host_header + ":443"
    result = call(["openssl", "s_client", "-connect", target, "-servername", address.host], timeout)
    found = re.findall(r"^\s*(subject|issuer)\s*=(.*)$", result["out"], re.MULTILINE)
    return ["{0}={1}".format(name, quoted(value)) for name, value in found[:2]]


def ask(connection, address, path, method, timeout, more=(), most=MAX_BYTES):
    """Status, headers (names in lower case) and the beginning of the body of a response.

    `more` are further lines of the request, `most` is the number of bytes of the body that are read at least.
    """
    deadline = process.now() + timeout
    lines = ["{0} {1} HTTP/1.0".format(method, _quoted(path)), "Host: " + address.host_header]
    lines += ["User-Agent: mde.offline", "Accept: */*", "Cache-Control: no-cache", "Connection: close"]
    lines += list(more) + ["", ""]
    data = b""
    late = Unreachable("answer", "no complete answer to {0} within {1} seconds".format(path, timeout))
    try:
        connection.settimeout(timeout)
        connection.sendall("\r\n".join(lines).encode("ascii", "replace"))
        while len(data) <= most + _MAX_HEADERS and not (method == "HEAD" and b"\r\n\r\n" in data):
            left = deadline - process.now()
            if left <= 0:
                raise late
            connection.settimeout(left)
            part = connection.recv(MAX_BYTES)
            if not part:
                break
            data += part
    except socket.timeout:
        raise late
    except EnvironmentError as failure:
        raise Unreachable(
            "answer", "the connection broke during the request for {0}: {1}".format(path, _reason(failure))
        )
    return _parsed(data)


def _parsed(data):
    head, _blank, body = data.partition(b"\r\n\r\n")
    rows = decode(head).split("\r\n")
    status = re.match(r"^HTTP/[0-9.]+ ([0-9]{3})", rows[0])
    if status is None:
        raise Unreachable("answer", "the server does not speak HTTP; it sent: {0}".format(quoted(rows[0]) or "nothing"))
    headers = [row.partition(":") for row in rows[1:]]
    return {
        "status": int(status.group(1)),
        "headers": {name.strip().lower(): value.strip() for name, _colon, value in headers},
        "body": body,
    }


def fetch(address, path, method, timeout, more=(), most=MAX_BYTES):
    """One answer of a mirror: resolves the name, connects and sends the request, all within the time limit."""
    deadline = process.now() + timeout

    def left():
        return max(0.05, deadline - process.now())

    connection = connect(resolve(address.host, address.port, left()), address.port, left())[0]
    try:
        if address.kind == "https":
            connection.settimeout(left())
            connection = encrypt(connection, address.host)
        return ask(connection, address, path, method, left(), more, most)
    finally:
        connection.close()


def redirect_message(shown, answer):
    """The message about a redirect. Whether agents follow redirects is not documented, so this code does not."""
    target = quoted(answer["headers"].get("location", "")) or "an unknown address"
    return "The mirror redirects {0} to {1} (status {2}).".format(shown, target, answer["status"])


def _quoted(path):
    """A path for a request, with characters outside of ASCII percent-encoded."""
    return "".join(
        part if "!" <= part <= "~" else "".join("%{0:02X}".format(byte) for byte in bytearray(part.encode("utf-8")))
        for part in path
    )


def _reason(failure):
    """The reason of an error, in the words of the system."""
    words = getattr(failure, "verify_message", None) or getattr(failure, "strerror", None) or str(failure)
    return decode(words).strip() or failure.__class__.__name__
