"""Mirrors with channels of their own, driven through the command, and a web server before them that can be disturbed.

The service, the certificates and the command are those of the tests next door.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import re
import shutil
import sys
import threading
from pathlib import Path

import pytest

from ..mirror.conftest import (  # noqa: F401 (pytest takes fixtures by their names here)
    CHECKOUT,
    ENGINE,
    Mirror,
    authority,
    damage,
    running_service,
    server_certificate,
    service,
    tmpfs,
    until,
)
from .web import LocalServer, running

SIZE = 12_000
ARCHITECTURES = ("x86_64", "arm64")


def version(number):
    return f"1.443.{500 + number}.0"


def folders(channel, *architectures, platform="linux"):
    return [f"{platform}/{channel}/arch_{arch}" for arch in architectures or ARCHITECTURES]


PRODUCTION, BACK, CANARY = (folders(channel)[0] for channel in ("production", "production_back", "canary"))


def needs(*programs):
    """Skips where one of these programs is not installed."""
    missing = [name for name in programs if not shutil.which(name)]
    if missing:
        pytest.skip("NOT TESTED: Microsoft's script needs {}, not installed here".format(", ".join(missing)))


class Station(Mirror):
    """A mirror with channels of its own."""

    promotes = True

    def __init__(self, directory, *service_and_ca_file):
        directory.mkdir(exist_ok=True)
        super().__init__(directory, *service_and_ca_file)
        self.configure(downloadPreviewUpdates=False, channels=["canary", "pilot"], logFilePath=None)

    def publish(self, number, **options):
        """A release lands at Microsoft's and is synced."""
        self.service.publish(version(number), **{"size": SIZE, **options})
        return self.sync_well()

    def verb(self, *arguments, **options):
        run = self.run(*map(str, arguments), "--json", **options)
        assert run.report["changed"] in (True, False)
        return run

    def well(self, *arguments, **options):
        run = self.verb(*arguments, **options)
        assert run.status == 0, run.text
        assert (run.report["result"], run.report["errors"]) == ("ok", [])
        self.check()
        return run

    def refused(self, code, *arguments, **options):
        """The verb fails with that code, says what to do, and changes nothing that it should not."""
        before = self.stand()
        run = self.verb(*arguments, **options)
        assert run.status == 1, run.text
        (error,) = run.report["errors"]
        assert error["code"] == code, error
        assert error["message"] and error["hint"]
        assert run.report["changed"] is False
        assert self.stand() == before
        if before:
            self.check()
        return error

    def stand(self):
        """Everything that says what is served: the tree without the lock, who holds it, and scraps."""
        if not self.root.exists():
            return {}
        found = {name: data for name, data in self.tree().items() if not name.startswith((".state", ".incoming"))}
        found[".state"] = self.channels()
        return {name: data for name, data in found.items() if data or name.count("/") > 1}

    def serves(self, path):
        """The definitions version that clients get, as a number; None where there is nothing to get."""
        if not (self.root / path).exists():
            return None
        return int(self.served(path).definitions.split(".")[2]) - 500

    def numbers(self, channel, *architectures):
        return [self.serves(path) for path in folders(channel, *architectures)]

    def name(self, path):
        return Path(os.readlink(self.root / path)).name

    def channels(self):
        file = self.root / ".state" / "channels.json"
        return json.loads(file.read_bytes())["channels"] if file.exists() else {}

    def state_writes(self):
        """Something that tells, from now on, whether the state was written."""

        def look():
            stat = (self.root / ".state" / "channels.json").stat()
            # The number of an inode is soon given to another file.
            return stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns

        before = look()
        return lambda: look() != before

    def history(self, path, key="action"):
        return [entry[key] for entry in self.channels()[path]["history"]]

    def shelved(self, arch="x86_64"):
        names = (path.name for path in (self.root / ".releases" / f"linux-{arch}").iterdir())
        return sorted({int(name.split(".")[2]) - 500 for name in names})

    def agree(self):
        """State, links and status say the same, and nothing is left lying about."""
        self.check()
        seen = {}
        for path, entry in self.channels().items():
            platform, channel, folder = path.split("/")
            seen[path] = entry["current"]
            if entry["previous"]:
                seen[f"{platform}/{channel}_back/{folder}"] = entry["previous"]
        assert {path: self.name(path) for path in self.folders()} == seen
        told = {}
        for entry in self.status()["channels"]:
            told[entry["path"]] = entry["release"]
            if entry["back"]:
                told["{platform}/{channel}_back/arch_{arch}".format(**entry)] = entry["back"]["release"]
        assert told == seen
        assert list((self.root / ".incoming").iterdir()) == []
        assert self.run("verify").status == 0


@pytest.fixture
def patched(tmp_path):
    """Makes commands: `patched("from _mirror import x", "x.SECONDS = 1")` is mde-mirror with that done before."""

    def make(*lines):
        driver = tmp_path / "mde-mirror-patched.py"
        head = ["import sys", f"sys.path.insert(0, {str(CHECKOUT / 'plugins' / 'module_utils')!r})"]
        tail = ["from _mirror.cli import main", "sys.exit(main())", ""]
        driver.write_text("\n".join([*head, *lines, *tail]), encoding="utf-8")
        return [sys.executable, str(driver)]

    return make


@pytest.fixture
def patience(patched, tmp_path):
    """A command that waits for silent programs until it is told not to; two real minutes are no test.

    Programs are named by the code of their failures.
    """

    class Patience:
        flags = tmp_path / "patience"
        command = patched(
            "from pathlib import Path",
            "from _mirror.sources.subprocesses import Watchdog",
            f"over = lambda watch: Path({str(flags)!r}, watch.code).exists()",
            "Watchdog.patience = property(lambda watch: 0.5 if over(watch) else 3600.0)",
        )

        def end(self, code):
            self.flags.mkdir(exist_ok=True)
            (self.flags / code).touch()

        @contextlib.contextmanager
        def ends_when(self, condition, code):
            over = threading.Event()
            watcher = threading.Thread(target=lambda: until(lambda: over.is_set() or condition()) and self.end(code))
            watcher.start()
            try:
                yield
            finally:
                over.set()
                watcher.join()

    return Patience()


@pytest.fixture
def station(tmp_path, service, authority):  # noqa: F811
    """Makes mirrors: `station("name")`."""

    def make(name="mirror", **settings):
        made = Station(tmp_path / name, service, authority.cert)
        made.configure(**settings)
        return made

    return make


@pytest.fixture(scope="session")
def first_release(tmp_path_factory, running_service, authority):  # noqa: F811
    """The root of a mirror that serves release 1; tests get copies of it."""
    made = Station(tmp_path_factory.mktemp("first"), running_service, authority.cert)
    made.publish(1)
    return made.root


@pytest.fixture
def mirror(station, first_release, service):  # noqa: F811
    """A mirror that serves release 1, as the service does."""
    service.publish(version(1), size=SIZE)
    made = station()
    shutil.copytree(first_release, made.root, symlinks=True)
    return made


# -- a web server before a mirror --------------------------------------------------------------------------------------


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server = self.server
        path = self.path.lstrip("/").partition("?")[0]
        asked = self.headers.get("Range")
        server.requests.append((path, asked))
        server.targets.append((self.path, self.headers.get("Cache-Control")))
        for disturb in list(server.disturbances.get(path, [])):
            if disturb(self):
                return
        file = server.root / path
        if path.startswith(".") or not file.is_file():
            self.answer(404, b"not here")
        else:
            self.file(file.read_bytes(), asked)

    def file(self, data, asked=None, cut=None):
        """A file or, as a real web server does, the part that was asked for; `cut` bytes of it only."""
        etag = f'"{hash(data) & 0xFFFFFFFF:x}"'
        match = re.fullmatch(r"bytes=(\d+)-", asked or "")
        at = int(match[1]) if match and self.headers.get("If-Range", etag) == etag else 0
        status = 206 if at else 200
        headers = {"ETag": etag, "Accept-Ranges": "bytes"}
        if at:
            headers["Content-Range"] = f"bytes {at}-{len(data) - 1}/{len(data)}"
        self.answer(status, data[at:], headers, cut)

    def answer(self, status, data, headers=None, cut=None):
        self.send_response(status)
        for name, value in {"Content-Length": len(data), **(headers or {})}.items():
            self.send_header(name, str(value))
        if cut is not None:
            self.close_connection = True
        self.end_headers()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.wfile.write(data[:cut])

    def log_message(self, *_arguments):
        pass


class Front(LocalServer):
    """Serves the root of a mirror. `disturb` puts something in the way of one path, so often or always."""

    def __init__(self, root, context=None):
        super().__init__(_Handler, context)
        self.root, self.disturbances = root, {}
        # The whole address of each request, and what it says to caches.
        self.targets = []

    def disturb(self, path, act, times=None):
        """`act(handler)` answers in place of the file; where it returns nothing, the file is served after all."""
        left = [times]

        def once(handler):
            if left[0] is not None:
                if left[0] == 0:
                    return False
                left[0] -= 1
            return act(handler)

        self.disturbances.setdefault(path, []).append(once)

    def asked(self, ending):
        return [path for path, _range in self.requests if path.endswith(ending)]


@pytest.fixture
def front():
    """Starts web servers: `front(mirror.root)`."""
    with contextlib.ExitStack() as cleanup:
        yield lambda root, context=None: cleanup.enter_context(running(Front(root, context)))


@pytest.fixture
def upstream(mirror, front):
    """A web server for a mirror that serves release 1."""
    return front(mirror.root)


@pytest.fixture
def replica_of(station):
    def make(server, name="replica", **source):
        made = station(name, channels=[])
        made.configure(source={"type": "mirror", "url": f"{server.url}/", "caFile": None, **source})
        return made

    return make
