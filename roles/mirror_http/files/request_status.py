"""Requests status.json and prints the HTTP status. Arguments: address, port, scheme and name of the server."""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

import socket
import ssl
import sys

address, port, scheme, name = sys.argv[1:]
try:
    connection = socket.create_connection((address, int(port)), timeout=20)
    if scheme == "https":
        # The certificate is not verified, because only endpoints have to trust it. The handshake carries the server's
        # name (SNI), because another site of the same port may refuse a handshake without it.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = context.wrap_socket(connection, server_hostname=name.strip("[]"))
    connection.sendall(f"GET /status.json HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
    print(connection.makefile("rb").readline(100).split()[1].decode())
except IndexError:
    sys.exit("the connection was closed without an answer")
except (OSError, ValueError) as error:
    sys.exit(str(error))
