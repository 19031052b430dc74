"""The options of mirror_http: listing, limits, networks, metrics, and being the default server."""

from __future__ import annotations

import socket
import threading
import time
import warnings

from tests.support.nginx import PACKAGE, Hosting, eventually, free_port

PACKAGE_PATH = "/linux/production/arch_x86_64/updates.zip"


def own_address() -> str | None:
    """An address of this machine other than loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as towards:
        try:
            towards.connect(("192.0.2.1", 9))
        except OSError:
            return None
        return str(towards.getsockname()[0])


def test_listing_limits_and_metrics(hosting: Hosting) -> None:
    metrics, server = free_port(), hosting.server
    hosting.works(
        mirror_http_listing=True,
        mirror_http_rate_limit=len(PACKAGE) // 8,
        mirror_http_connections_per_client=2,
        mirror_http_connections=100,
        mirror_http_metrics_port=metrics,
        mirror_http_cache_seconds=5,
    )
    listed = server.ask("/linux/production/")
    assert listed.status == 200
    assert b"arch_x86_64" in listed.body
    top = server.ask("/")
    assert b"status.json" in top.body
    assert b".state" not in top.body
    assert b".releases" not in top.body
    assert server.ask("/.releases/").status == 404
    assert "max-age=5," in server.ask("/status.json").headers["cache-control"]

    counters = server.ask("/nginx_status", port=metrics)
    assert counters.status == 200
    assert b"Active connections" in counters.body
    assert server.ask("/nginx_status").status == 404
    assert server.ask("/status.json", port=metrics).status == 404

    answers, took = [], []

    def download() -> None:
        started = time.monotonic()
        answers.append(server.ask(PACKAGE_PATH))
        took.append(time.monotonic() - started)

    clients = [threading.Thread(target=download) for _ in range(2)]
    for client in clients:
        client.start()
    # An earlier request would use one of the connections. nginx also counts the request for its counters.
    eventually("both are served", lambda: b"Writing: 3" in server.ask("/nginx_status", port=metrics).body)
    refused = 0
    while any(client.is_alive() for client in clients):
        refused += server.ask(PACKAGE_PATH, "HEAD").status == 503
        time.sleep(0.1)
    for client in clients:
        client.join()
    assert [answer.body == PACKAGE for answer in answers] == [True, True]
    assert min(took) > 2
    assert refused > 0
    eventually("both have ended", lambda: server.ask(PACKAGE_PATH, "HEAD").status == 200)


def test_networks_and_server_names(hosting: Hosting) -> None:
    hosting.server.stock_port = 0
    aliases = ["alias.test", "*.wild.test"]
    hosting.works(mirror_http_server_aliases=aliases, mirror_http_networks=["192.0.2.0/24", "2001:db8::/32"])
    for name in ("mirror.test", "alias.test", "a.wild.test"):
        assert hosting.server.ask("/status.json", name=name).status == 200
    site = hosting.server.site.read_text(encoding="utf-8")
    assert "allow 192.0.2.0/24;" in site
    assert "deny all;" in site.split("location")[0]

    address = own_address()
    if address:
        # The host connects to this address from the same address.
        hosting.works(mirror_http_networks=["192.0.2.0/24"], mirror_http_addresses=[address])
    else:
        warnings.warn("NOT TESTED with an address that is not loopback's: this machine has no route", stacklevel=1)

    own = free_port()
    hosting.works(mirror_http_default_server=True, mirror_http_port=own)
    for name in ("mirror.test", "anything.test", "127.0.0.1"):
        assert hosting.server.ask("/status.json", name=name, port=own).status == 200
    assert hosting.server.ask("/status.json").body == b"stock\n"
