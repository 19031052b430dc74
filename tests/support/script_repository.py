"""Places that Microsoft's script comes from: a git repository, zip files of it, and a web server for both."""

from __future__ import annotations

import base64
import http.server
import os
import subprocess
import urllib.parse
import zipfile
from pathlib import Path

from tests.support.web import LocalServer, running
from tools.collection_tree import CHECKOUT

SCRIPT, POWERSHELL = "xplat_offline_updates_download.sh", "xplat_offline_updates_download.ps1"
HOME = "linux/definition_downloader"
SIMULATED_SCRIPT = (CHECKOUT / "simulators" / "microsoft_script.sh").read_text(encoding="utf-8")


def edition(number):
    """The simulated script, which reports the edition that runs."""
    return SIMULATED_SCRIPT.replace("\nsay() {", f'\necho "edition {number}"\nsay() {{', 1)


class Repository:
    """A git repository with the layout of Microsoft's; each commit contains another edition of the script."""

    def __init__(self, folder):
        self.folder = folder
        self.editions = {}
        self.git("init", "-q", "-b", "main", str(folder), inside=False)
        self.git("config", "uploadpack.allowReachableSHA1InWant", "true")

    def git(self, *arguments, inside=True):
        where = ["-C", str(self.folder)] if inside else []
        environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        for name in ("AUTHOR", "COMMITTER"):
            environment.update({f"GIT_{name}_NAME": "A", f"GIT_{name}_EMAIL": "a@example.com"})
        command = ["git", *where, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout.strip()

    def write(self, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def release(self, number, script=None):
        """Commits an edition of the script and returns the commit."""
        self.write("VERSION", f"1.{number}.0\n")
        self.write("README.md", f"Edition {number}.\n")
        self.write(f"{HOME}/{SCRIPT}", script or edition(number))
        self.write(f"{HOME}/{POWERSHELL}", "exit 1\n")
        self.write(f"{HOME}/settings.json", '{"downloadFolder": "/tmp/wdav-update", "downloadMacUpdates": true}\n')
        self.write("linux/other/large.bin", "x" * 2_000_000)
        return self.commit(number)

    def commit(self, number):
        self.git("add", "--all")
        self.git("commit", "-q", "--allow-empty", "-m", f"Edition {number}")
        self.git("update-server-info")
        self.editions[number] = self.git("rev-parse", "HEAD")
        return self.editions[number]

    def zip(self, path, commit="HEAD"):
        """A zip of a commit in the form that GitHub provides."""
        name = self.git("rev-parse", commit)
        aside = path.with_suffix(".part")
        self.git("archive", "--format=zip", f"--prefix=mdatp-xplat-{name}/", "-o", str(aside), commit)
        aside.replace(path)
        return path


def remade(path, change=None, comment=None, **added):
    """Rewrites a zip: `change(info, data)` returns the new content of each member, or None to remove the member."""
    with zipfile.ZipFile(path) as old:
        members = [(info, old.read(info)) for info in old.infolist()]
        text = old.comment if comment is None else comment
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        new.comment = text
        for info, data in members:
            kept = data if change is None else change(info, data)
            if kept is not None:
                new.writestr(info, kept)
        for name, data in added.items():
            new.writestr(name, data)


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Serves files as a simple web server does, and git repositories below /git/ with git's own server."""

    def do_GET(self):
        self.server.requests.append((self.command, self.path, dict(self.headers)))
        wanted = self.server.credentials
        if wanted and self.headers.get("Authorization") != "Basic " + base64.b64encode(wanted.encode()).decode():
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="here"')
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif self.server.disturb and self.server.disturb(self):
            self.close_connection = True
        elif self.path.startswith("/git/"):
            self._backend()
        else:
            super().do_GET()

    def do_POST(self):
        self.do_GET()

    def _backend(self):
        path, _mark, query = self.path[len("/git") :].partition("?")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.server.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "PATH_INFO": urllib.parse.unquote(path),
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
        }
        done = subprocess.run(["git", "http-backend"], input=body, capture_output=True, env=environment, check=False)
        head, _gap, content = done.stdout.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
        self.send_response(int(fields.pop("Status", "200 OK").split()[0]))
        for name, value in {**fields, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def translate_path(self, path):
        return str(self.server.root / urllib.parse.unquote(urllib.parse.urlsplit(path).path).lstrip("/"))

    def log_message(self, *_arguments):
        pass


class RepositoryServer(LocalServer):
    """Serves a folder. If `disturb(handler)` returns True, it has sent the response itself."""

    def __init__(self, root, context=None):
        super().__init__(_Handler, context)
        self.root, self.credentials, self.disturb = Path(root), None, None

    def url_with(self, credentials):
        return self.url.replace("://", f"://{credentials}@")


def serving(root, context=None):
    return running(RepositoryServer(root, context))
