"""Serves the mirrors of the scenario broken_agents: a good one at the root, each broken one in its own folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

sys.path.insert(0, "/opt/rig")

import http.server
import ssl

from download_service import build_package

ROOT = Path("/srv/mirrors")
ENGINE = "1.1.26010.1003"
PRESENT, NEWER = "1.450.1.0", "1.450.2.0"
LONG_AGO = 1_700_000_000


class Site(http.server.SimpleHTTPRequestHandler):
    def __init__(self, *args, **options) -> None:  # type: ignore[no-untyped-def]
        super().__init__(*args, directory=str(ROOT), **options)

    def send_head(self):  # type: ignore[no-untyped-def]
        if self.path.startswith("/page/"):
            self.path = "/page.html"
        if self.path.startswith("/moved/"):
            self.send_response(302)
            self.send_header("Location", self.path[len("/moved") :])
            self.end_headers()
            return None
        if self.path.startswith("/forbidden/"):
            self.send_error(403)
            return None
        return super().send_head()

    def log_message(self, format: str, *args: object) -> None:
        """Suppresses the log."""


def publish(name: str, definitions: str) -> list[Path]:
    folders = []
    for arch in ("x86_64", "arm64"):
        folder = ROOT / name / "linux/production" / f"arch_{arch}"
        build_package(folder / "updates.zip", definitions, ENGINE, arch=arch, size=20_000)
        versions = {"EngineVersion": ENGINE, "DefinitionVersion": definitions}
        (folder / "manifest.json").write_text(json.dumps(versions), encoding="utf-8")
        folders.append(folder)
    return folders


def make() -> None:
    publish("", PRESENT)
    publish("newer", NEWER)
    for folder in publish("damaged", NEWER):
        package = bytearray((folder / "updates.zip").read_bytes())
        package[len(package) // 2] ^= 1
        (folder / "updates.zip").write_bytes(package)
    for folder in publish("older", "1.400.1.0"):
        os.utime(folder / "updates.zip", (LONG_AGO, LONG_AGO))
    for folder in publish("empty", PRESENT):
        (folder / "updates.zip").unlink()
    (ROOT / "page.html").write_text("<html>Please log in</html>", encoding="utf-8")


def main() -> None:
    make()
    certificate = ROOT.parent / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=rig-web", "-days", "2"),
            *("-keyout", f"{certificate}.key", "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, f"{certificate}.key")
    plain = http.server.ThreadingHTTPServer(("", 80), Site)
    secure = http.server.ThreadingHTTPServer(("", 443), Site)
    secure.socket = context.wrap_socket(secure.socket, server_side=True)
    threading.Thread(target=secure.serve_forever, daemon=True).start()
    Path("/run/ready").touch()
    plain.serve_forever()


if __name__ == "__main__":
    main()
