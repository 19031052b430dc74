"""What clients get over plain HTTP from a real nginx that the role mirror_http configured."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
from collections.abc import Iterator
from email.utils import formatdate, parsedate_to_datetime
from pathlib import Path

import pytest

from tests.support.ansible_runs import Ansible
from tests.support.nginx import MANIFEST, NAME, OTHER, PACKAGE, RELEASE, Hosting, Server

PACKAGE_PATH = "/linux/production/arch_x86_64/updates.zip"
FOLDER = "/linux/production/arch_x86_64/"


@pytest.fixture(scope="module")
def site(shared: Hosting) -> Hosting:
    shared.works()
    return shared


def test_packages_behind_links_are_served(site: Hosting) -> None:
    answer = site.server.ask(PACKAGE_PATH)
    assert (answer.status, answer.body) == (200, PACKAGE)
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["accept-ranges"] == "bytes"
    manifest = site.server.ask(FOLDER + "manifest.json", headers={"Accept-Encoding": "gzip"})
    assert (manifest.status, manifest.body) == (200, MANIFEST)
    assert manifest.headers["content-type"] == "application/json"


@contextlib.contextmanager
def published(release: Path) -> Iterator[None]:
    """Makes the channel point at this release until the end of the block."""
    link = release.parents[2] / "linux" / "production" / "arch_x86_64"
    former, staged = link.readlink(), link.with_name(".staged")
    try:
        staged.symlink_to(f"../../.releases/linux-x86_64/{release.name}")
        staged.replace(link)
        yield
    finally:
        staged.symlink_to(former)
        staged.replace(link)


def test_a_new_release_is_served_at_once(site: Hosting) -> None:
    release = site.server.root / ".releases" / "linux-x86_64" / "new"
    release.mkdir()
    (release / "updates.zip").write_bytes(b"new package")
    old_tag = site.server.ask(PACKAGE_PATH).headers["etag"]
    with published(release):
        answer = site.server.ask(PACKAGE_PATH, headers={"If-None-Match": old_tag})
        assert (answer.status, answer.body) == (200, b"new package")


def test_another_release_of_the_same_second_is_not_taken_for_the_former(site: Hosting) -> None:
    release = site.server.root / ".releases" / "linux-x86_64" / "twin"
    release.mkdir()
    twin = MANIFEST.replace(b"1.449.108.0", b"1.449.107.0")
    (release / "manifest.json").write_bytes(twin)
    second = (release.with_name(RELEASE) / "manifest.json").stat().st_mtime
    os.utime(release / "manifest.json", (second, second))
    old = site.server.ask(FOLDER + "manifest.json").headers
    known = {"If-None-Match": old.get("etag", '"6b0289da-4a"'), "If-Modified-Since": formatdate(second, usegmt=True)}
    with published(release):
        for headers in ({key: value} for key, value in known.items()):
            answer = site.server.ask(FOLDER + "manifest.json", headers=headers)
            assert (answer.status, answer.body) == (200, twin)


def test_head_tells_the_size_without_the_package(site: Hosting) -> None:
    answer = site.server.ask(PACKAGE_PATH, "HEAD")
    assert (answer.status, answer.headers["content-length"], answer.body) == (200, str(len(PACKAGE)), b"")


def test_downloads_can_be_resumed(site: Hosting) -> None:
    whole = site.server.ask(PACKAGE_PATH, "HEAD")
    part = site.server.ask(
        PACKAGE_PATH, headers={"Range": "bytes=300000-", "If-Range": whole.headers["etag"], "Accept-Encoding": "gzip"}
    )
    assert (part.status, part.body) == (206, PACKAGE[300_000:])
    beyond = site.server.ask(PACKAGE_PATH, headers={"Range": f"bytes={len(PACKAGE)}-"})
    assert beyond.status == 416


def test_caches_ask_again_for_packages_and_keep_json_for_a_short_while(site: Hosting) -> None:
    package = site.server.ask(PACKAGE_PATH, "HEAD")
    assert package.headers["cache-control"] == "no-cache"
    assert site.server.ask(PACKAGE_PATH, headers={"If-None-Match": package.headers["etag"]}).status == 304
    since = {"If-Modified-Since": package.headers["last-modified"]}
    assert site.server.ask(PACKAGE_PATH, headers=since).status == 304
    # A rollback publishes an older file, so a file is unchanged only if its time is exactly the requested one.
    later = parsedate_to_datetime(package.headers["last-modified"]).timestamp() + 60
    assert site.server.ask(PACKAGE_PATH, headers={"If-Modified-Since": formatdate(later, usegmt=True)}).status == 200
    for path in ("/status.json", FOLDER + "manifest.json", FOLDER + "release.json"):
        assert site.server.ask(path).headers["cache-control"] == "public, max-age=60, must-revalidate"


def test_much_that_is_sent_is_refused_as_another_method_and_not_as_much(site: Hosting) -> None:
    answer = site.server.ask("/new", "PUT", headers={"Content-Length": "99999999"})
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    "path", ["/status.json", PACKAGE_PATH, "/", "/linux/", "/new", "/linux/production/new.zip", "/.state/channels.json"]
)
@pytest.mark.parametrize(
    "method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "PROPFIND", "MKCOL", "MOVE", "FOO"]
)
def test_other_methods_are_refused(site: Hosting, method: str, path: str) -> None:
    answer = site.server.ask(path, method)
    assert answer.status == 405
    # nginx itself answers TRACE, before any site.
    assert method == "TRACE" or answer.headers["allow"] == "GET, HEAD"
    assert not (site.server.root / "new").exists()


@pytest.mark.parametrize(
    "path",
    [
        "/.state/channels.json",
        "/.state/",
        "/.state",
        "/.incoming/part",
        "/.releases/",
        "/.releases/linux-x86_64/",
        "/%2estate/channels.json",
        "/%2Estate%2Fchannels.json",
        "//.state//channels.json",
        "/./.state/channels.json",
        "/linux/../.state/channels.json",
        "/linux/production/arch_x86_64/../../.state/channels.json",
        "/linux/.hidden",
        "/.well-known/anything",
        "/status.json/.git",
        "/.state/manifest.json",
        "/%252estate/channels.json",
        "/%2E%73tate/channels.json",
        "/linux/%2e%2e/%2estate/channels.json",
        "/%5c.state/channels.json",
        "/linux%5c..%5c.state/channels.json",
        "/;/.state/channels.json",
        "/.state;x/channels.json",
        "/%c0%aestate/channels.json",
        "/.state%5cchannels.json",
        "/x%0a/.state/channels.json",
        "/linux%0a/.hidden",
        "/...",
        "/linux/production/arch_x86_64/.releases",
        "http://mirror.test/.state/channels.json",
    ],
)
def test_hidden_paths_do_not_exist(site: Hosting, path: str) -> None:
    (site.server.root / "linux" / ".hidden").write_text("hidden\n", encoding="utf-8")
    for method in ("GET", "HEAD"):
        assert site.server.ask(path, method).status == 404


@pytest.mark.parametrize("path", ["/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/..%2f..%2fetc/passwd"])
def test_nothing_outside_the_mirror_is_served(site: Hosting, path: str) -> None:
    assert site.server.ask(path).status in (400, 404)


@pytest.mark.parametrize("path", ["/", "/linux/", "/linux/production/", FOLDER])
def test_folders_are_not_listed(site: Hosting, path: str) -> None:
    answer = site.server.ask(path)
    assert answer.status in (403, 404)
    assert b"arch_" not in answer.body
    assert b"updates.zip" not in answer.body


def test_a_folder_without_its_slash_is_shown_the_way_without_naming_a_host(site: Hosting) -> None:
    answer = site.server.ask("/linux")
    assert (answer.status, answer.headers["location"]) == (301, "/linux/")


def test_the_server_does_not_tell_its_version(site: Hosting) -> None:
    for answer in (site.server.ask("/status.json"), site.server.ask("/nothing")):
        assert answer.headers["server"] == "nginx"
        assert b"nginx/" not in answer.body


def test_other_sites_answer_as_before(site: Hosting) -> None:
    assert site.server.ask("/", name=OTHER).body == b"another site\n"
    for name in ("127.0.0.1", "unknown.test"):
        answer = site.server.ask("/status.json", name=name)
        assert (answer.status, answer.body) == (404, b"stock\n")


def test_again_nothing_changes_and_nginx_is_left_alone(site: Hosting) -> None:
    log = site.server.log()
    for options in ((), ("--check", "--diff")):
        again = site.apply(*options)
        assert (again.status, again.recap["m"].changed) == (0, 0), again.output
    assert "reconfiguring" not in site.server.log()[len(log) :]


def test_the_fact_has_the_address_for_endpoints(site: Hosting) -> None:
    port = site.server.port
    assert site.tell("mirror_http_url") == f"http://{NAME}:{port}"
    address = site.tell("mirror_http_url | mde.offline.mirror_url('preview')", tasks="url")
    assert address == f"http://{NAME}:{port}/linux/preview/"
    both = {"mirror_http_protocols": ["http", "https"], "mirror_http_tls_port": 443}
    assert site.tell("mirror_http_url", tasks="url", **both) == f"https://{NAME}"
    assert site.tell("mirror_http_url", tasks="url", mirror_http_port=80) == f"http://{NAME}"


def test_a_worker_without_access_to_the_mirror_is_reported(
    tmp_path_factory: pytest.TempPathFactory, nginx: str
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can let nginx work as another account")
    group = grp.getgrgid(pwd.getpwnam("nobody").pw_gid).gr_name
    folder = tmp_path_factory.mktemp("closed")
    server = Server(folder, user=f"nobody {group}")
    try:
        closed = Hosting(Ansible(folder), server).apply()
        assert closed.status == 2
        assert "is answered with status 403 instead of the file" in closed.flat()
        assert "mode 0755" in closed.flat()
    finally:
        server.stop()
