"""A real Squid between a replica and its mirror: with its default rules, and with rules that keep everything."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time

import pytest

from tests.support.engine import LONGEST, folders, until

SQUID = shutil.which("squid", path="/usr/sbin:/usr/local/sbin:/usr/bin")
pytestmark = pytest.mark.skipif(SQUID is None, reason="NOT TESTED: needs squid, not installed here")

DEFAULT = """
refresh_pattern -i (/cgi-bin/|\\?) 0 0% 0
refresh_pattern . 0 20% 4320
"""
# Rules of administrators who want to save bandwidth.
HOSTILE = "refresh_pattern . 1440 100% 10080 override-expire override-lastmod ignore-reload ignore-no-store\n"
CONFIGURATION = """
http_port 127.0.0.1:{port}
http_access allow all
acl all_addresses src all
cache_mem 64 MB
maximum_object_size_in_memory 16 MB
access_log none
cache_log {folder}/cache.log
pid_filename {folder}/squid.pid
coredump_dir {folder}
shutdown_lifetime 0 seconds
workers 1
pinger_enable off
netdb_filename none
{rules}
"""


@pytest.fixture
def squid(tmp_path):
    """Starts Squid with some rules, and returns the address of the proxy."""
    running = []

    def start(rules):
        folder = tmp_path / "squid"
        folder.mkdir()
        folder.chmod(0o777)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        text = CONFIGURATION.format(port=port, folder=folder, rules=rules)
        (folder / "squid.conf").write_text(text, encoding="utf-8")
        running.append(
            subprocess.Popen(
                [SQUID, "-N", "-f", str(folder / "squid.conf")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        )

        def answers():
            with socket.socket() as connection:
                return connection.connect_ex(("127.0.0.1", port)) == 0

        assert until(answers), (folder / "cache.log").read_text(errors="replace")
        return f"http://127.0.0.1:{port}"

    yield start
    for process in running:
        process.terminate()
        process.wait(LONGEST)


def behind(squid, rules, upstream, replica_of):
    replica = replica_of(upstream, proxy=squid(rules))
    replica.sync_well()
    return replica


def test_squid_as_debian_ships_it_holds_nothing_back(squid, mirror, upstream, replica_of):
    replica = behind(squid, DEFAULT, upstream, replica_of)
    for number in (2, 3):
        mirror.publish(number)

        replica.sync_well()

        assert replica.numbers("production") == [number, number]


def test_squid_that_keeps_everything_does_not_look_green(squid, mirror, upstream, replica_of):
    """The replica cannot know what the cache hides, but it does not report that it is current."""
    replica = behind(squid, HOSTILE, upstream, replica_of)
    seen = replica.run("status", "--json").report["current_as_of"]
    # The next status of the mirror has a later time.
    assert until(lambda: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()) > seen)
    mirror.publish(2)

    replica.sync_well()

    assert replica.numbers("production") == [1, 1]
    assert replica.run("status", "--json").report["current_as_of"] == seen


def test_squid_that_kept_an_old_package_does_not_spoil_a_new_release(squid, mirror, upstream, replica_of):
    """The cache keeps only packages. Each release has its own URL, so a new package is not answered from the cache."""
    replica = behind(squid, "refresh_pattern status 0 0% 0\n" + HOSTILE, upstream, replica_of)
    mirror.publish(2)

    replica.sync_well()

    assert replica.snapshot(folders("production")) == mirror.snapshot(folders("production"))
