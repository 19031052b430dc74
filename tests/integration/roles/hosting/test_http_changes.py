"""What mirror_http changes on a server: a new site, a restore after a failure, and a removal. Other sites stay."""

from __future__ import annotations

import os
import re
import socket
import time
from pathlib import Path
from typing import Any

import yaml

from tests.support.nginx import OTHER, Hosting, eventually, free_port
from tools.collection_tree import CHECKOUT


def answers(hosting: Hosting) -> bool:
    return hosting.server.ask("/status.json").status == 200


def state(folder: Path) -> dict[str, bytes | str]:
    return {
        str(path.relative_to(folder)): os.readlink(path) if path.is_symlink() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or (path.is_file() and path.suffix not in (".log", ".pid"))
    }


def test_from_nothing_to_a_site_and_away(hosting: Hosting) -> None:
    server = hosting.server
    untouched = state(server.conf)
    rehearsal = hosting.apply("--check", "--diff")
    assert rehearsal.status == 0, rehearsal.output
    assert rehearsal.recap["m"].changed > 0
    assert "+    server_name mirror.test;" in rehearsal.output
    assert state(server.conf) == untouched
    assert server.pid is None

    hosting.works()
    assert answers(hosting)
    assert server.link.resolve() == server.site
    pid = server.pid

    hosting.works(mirror_http_cache_seconds=7)
    assert "max-age=7," in server.ask("/status.json").headers["cache-control"]
    assert server.pid == pid

    rehearsal = hosting.apply("--check", mirror_http_state="absent")
    assert (rehearsal.status, rehearsal.recap["m"].changed > 0) == (0, True), rehearsal.output
    assert answers(hosting)
    gone = hosting.works(mirror_http_state="absent")
    assert gone.recap["m"].changed > 0
    assert state(server.conf) == untouched
    assert server.pid == pid
    eventually("the stock server answers", lambda: server.ask("/status.json").body == b"stock\n")
    assert server.ask("/", name=OTHER).body == b"another site\n"
    assert (server.root / "status.json").exists()
    again = hosting.works(mirror_http_state="absent")
    assert again.recap["m"].changed == 0


def test_what_nginx_refuses_does_not_stay(hosting: Hosting) -> None:
    server = hosting.server
    untouched = state(server.conf)
    first = hosting.apply(mirror_http_default_server=True)
    assert first.status == 2
    assert "Leave mirror_http_default_server at false" in first.flat()
    assert state(server.conf) == untouched

    hosting.works()
    good = state(server.conf)
    missing = {
        "mirror_http_protocols": ["http", "https"],
        "mirror_http_tls_certificate": str(server.folder / "nowhere.pem"),
        "mirror_http_tls_key": str(server.folder / "nowhere.key"),
    }
    broken = hosting.apply(**missing)
    assert broken.status == 2
    assert "nowhere.pem" in broken.flat()
    assert "the previous state was restored" in broken.flat()
    assert state(server.conf) == good
    assert answers(hosting)
    again = hosting.works()
    assert again.recap["m"].changed == 0


def test_a_site_that_cannot_be_taken_away_stays_whole(hosting: Hosting) -> None:
    hosting.works()
    good = state(hosting.server.conf)
    other = hosting.server.conf / "sites-enabled" / "broken"
    other.write_text("nonsense here;\n", encoding="utf-8")
    refused = hosting.apply(mirror_http_state="absent")
    assert refused.status == 2
    assert "Correct the configuration" in refused.flat()
    assert "nonsense" in refused.output
    other.unlink()
    assert state(hosting.server.conf) == good
    hosting.works(mirror_http_state="absent")
    eventually("the stock server answers", lambda: hosting.server.ask("/status.json").body == b"stock\n")


def test_a_site_that_serves_unknown_names_by_being_first_goes_on_to(hosting: Hosting) -> None:
    server = hosting.server
    (server.conf / "sites-enabled" / "other").unlink()
    shop = server.conf / "sites-enabled" / "shop.conf"
    shop.write_text(f"server {{ listen 127.0.0.1:{server.port}; return 200 'shop\\n'; }}\n", encoding="utf-8")
    variables = yaml.safe_load((CHECKOUT / "roles/mirror_http/vars/main.yml").read_text(encoding="utf-8"))
    usual = set(re.findall(r"/etc/nginx/[a-z.-]+/([^'/]+)'", variables["__mirror_http_site_file"]))
    assert len(usual) == 1
    hosting.works(mirror_http_site_file=str(server.site.with_name(usual.pop())))
    assert answers(hosting)
    assert server.ask("/", name="unknown.test").body == b"shop\n"


def test_a_port_that_is_taken_brings_the_former_site_back(hosting: Hosting) -> None:
    hosting.works()
    good = state(hosting.server.conf)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        # nginx -t does not detect a port in use. Only the reload does, and reports it only in the log.
        refused = hosting.apply(mirror_http_port=port)
    assert refused.status == 2
    assert f"Another program may use port {port}" in refused.flat()
    assert state(hosting.server.conf) == good
    assert answers(hosting)
    assert hosting.works().recap["m"].changed == 0


def test_a_server_that_another_site_broke_is_recognised(hosting: Hosting) -> None:
    hosting.works()
    good = state(hosting.server.conf)
    other = hosting.server.conf / "sites-enabled" / "broken"
    other.write_text("nonsense here;\n", encoding="utf-8")
    refused = hosting.apply(mirror_http_listing=True)
    assert refused.status == 2
    assert "refuses its configuration without this change too" in refused.flat()
    assert "nonsense" in refused.output
    other.unlink()
    assert state(hosting.server.conf) == good
    assert answers(hosting)


def test_a_run_that_was_killed_before_the_reload_is_made_good(hosting: Hosting) -> None:
    hosting.works()
    # This is the state after a killed run: the new file is complete, and nginx has not read it.
    hosting.works(mirror_http_listing=True)
    written = hosting.server.site.read_bytes()
    hosting.works()
    hosting.server.site.write_bytes(written)
    later = time.time() + 3
    os.utime(hosting.server.site, (later, later))
    assert hosting.server.ask("/").status == 403
    repaired = hosting.works(mirror_http_listing=True)
    assert repaired.recap["m"].changed == 1, repaired.output
    assert hosting.server.ask("/").status == 200


def test_a_file_that_nginx_does_not_include_is_noticed(hosting: Hosting) -> None:
    aside = hosting.server.conf / "aside"
    aside.mkdir()
    refused = hosting.apply(mirror_http_site_file=str(aside / "mirror.conf"))
    assert refused.status == 2
    assert f"{hosting.server.main_file} does not include {aside}/mirror.conf" in refused.flat()
    assert list(aside.iterdir()) == []


def test_what_cannot_work_is_refused_before_anything_is_touched(hosting: Hosting) -> None:
    untouched = state(hosting.server.conf)
    port = free_port()
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"mirror_http_root": '/srv/"; }'}, "without quotation marks"),
        ({"mirror_http_server_name": "http://mirror.test"}, "without scheme and port"),
        ({"mirror_http_server_name": "mirror.test; return 200"}, "without scheme and port"),
        ({"mirror_http_networks": ["everybody"]}, "addresses or networks"),
        ({"mirror_http_port": port, "mirror_http_metrics_port": port}, "all different"),
        ({"mirror_http_tls_key": '/etc/"; }'}, "must not contain quotation marks"),
        ({"mirror_http_port": 70000}, "from 1 to 65535"),
        ({"mirror_http_protocols": ["ftp"]}, "must be one"),
    ]
    refused = hosting.refused([variables for variables, _words in wrong])
    for (_variables, words), message in zip(wrong, refused):
        assert words in message
    assert state(hosting.server.conf) == untouched
