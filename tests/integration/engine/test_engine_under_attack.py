"""Attacks on mde-mirror: responses without end, link loops, lost state, full disks for the output.

Each case is a fault that the engine once had. Processes are killed at every single step on the disk, not at random
moments.
"""

from __future__ import annotations

import errno
import fcntl
import io
import json
import os
import pwd
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import zipfile
from pathlib import Path

import pytest
from ansible_collections.mde.offline.plugins.module_utils._mirror.cancel import Cancel
from ansible_collections.mde.offline.plugins.module_utils._mirror.errors import MirrorError
from ansible_collections.mde.offline.plugins.module_utils._mirror.lock import locked
from ansible_collections.mde.offline.plugins.module_utils._mirror.package import prove
from ansible_collections.mde.offline.plugins.module_utils._mirror.settings import PackagePolicy

from simulators.download_service import build_package
from tests.support.engine import (
    ARCHITECTURES,
    BACK,
    CANARY,
    COMMAND,
    ENGINE,
    HASTY,
    PRODUCTION,
    SIZE,
    ChannelMirror,
    version,
)
from tests.support.web import Handler, LocalServer, running

FULL = Path("/dev/full")
ZIP = f"{PRODUCTION}/updates.zip"


@pytest.fixture
def upstream(mirror, web_server):
    """A web server for a mirror that serves release 2."""
    mirror.publish(2)
    return web_server(mirror.root)


@pytest.fixture
def replica(upstream, new_mirror, first_release):
    """A replica that serves release 1."""
    made = new_mirror("replica", channels=[])
    made.configure(source={"type": "mirror", "url": upstream.url, "unsigned": True, "caFile": None})
    shutil.copytree(first_release, made.root, symlinks=True)
    return made


# -- responses ---------------------------------------------------------------------------------------------------------


def head(handler, status, *lines):
    handler.close_connection = True
    handler.wfile.write("\r\n".join([f"HTTP/1.1 {status} Some", *lines, "", ""]).encode())


def chunks(*parts):
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)


@pytest.mark.parametrize("whole", [True, False])
def test_trailers_that_never_end(replica, mirror, upstream, whole):
    """Trailers do not count as progress, however fast they arrive."""
    data = (mirror.root / ZIP).read_bytes()
    given_up = threading.Event()

    def act(handler):
        head(handler, 200, "Transfer-Encoding: chunked")
        handler.wfile.write(chunks(data if whole else data[:5000]) + b"0\r\n")
        try:
            while True:
                handler.wfile.write(b"X-More: of the same\r\n" * 100)
        except OSError:
            given_up.set()
        return True

    upstream.disturb(ZIP, act)
    replica.configure(source=HASTY)
    run = replica.sync()
    assert run.status == 1
    assert run.error(PRODUCTION)["code"] == "timeout"
    assert given_up.wait(10)
    assert replica.numbers("production") == [1, 2]
    replica.check()


@pytest.mark.parametrize("body", ["cut", "stalled", "endless", "of no length"])
def test_the_body_of_a_redirect_is_not_needed(replica, upstream, body):
    over = threading.Event()

    def act(handler):
        lines = {"cut": ["Content-Length: 100"], "stalled": ["Content-Length: 100"]}.get(body, [])
        lines += ["Transfer-Encoding: chunked"] if body == "endless" else []
        head(handler, 302, f"Location: /linux//production/{PRODUCTION.split('/')[-1]}/updates.zip", *lines)
        handler.wfile.write(chunks(b"moved") if body == "endless" else b"moved")
        if body != "cut":
            handler.wfile.flush()
            over.wait(20)
        return True

    upstream.disturb(ZIP, act)
    try:
        run = replica.sync_well()
    finally:
        over.set()
    assert run.outcomes()[PRODUCTION] == "updated"
    assert run.seconds < 15


@pytest.mark.parametrize("host", ["a..example.com", ".example.com", "a" * 64 + ".example.com"])
def test_a_host_name_that_is_invalid_in_dns(mirror, service, host):
    service.publish(version(2), size=SIZE)
    service.fault("redirect", kind="package-redirect", to=f"https://{host}/updates.zip")
    mirror.configure(source={"allowedHosts": ["127.0.0.1", "*.example.com"]})
    assert {unit["error"]["code"] for unit in mirror.sync().report["units"]} == {"redirect_refused"}
    mirror.configure(source={"url": f"https://{host}/"})
    run = mirror.run("sync")
    assert run.status == 2
    assert "source.url" in run.text


class RedirectsWithBody(Handler):
    """A service whose redirects have a body, with its Content-Length in the response to HEAD."""

    package = b""

    def do_GET(self):
        if self.path.startswith("/info"):
            versions = f"<versions><engine>{ENGINE}</engine><signatures>{version(2)}</signatures></versions>"
            self.answer(200, versions.encode())
        elif self.path.startswith("/package"):
            self.answer(200, self.package)
        else:
            self.answer(302, b"<html>moved</html>", {"Location": "/info" if "info" in self.path else "/package"})

    do_HEAD = do_GET


def left_by_script(root, number, arch="x86_64", channel="production", **options):
    folder = root / "linux" / channel / f"arch_{arch}"
    build_package(folder / "updates.zip", version(number), ENGINE, arch=arch, size=SIZE, **options)
    manifest = {"EngineVersion": ENGINE, "DefinitionVersion": version(number)}
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder


def test_the_size_of_the_package_is_read_after_the_redirect(new_mirror, tmp_path):
    """Otherwise, an old package with a new manifest of Microsoft's script would be adopted and kept."""
    made = new_mirror("adopting", architectures=["x86_64"], channels=[])
    folder = left_by_script(made.root, 2)
    right = folder.joinpath("updates.zip").read_bytes()
    build_package(folder / "updates.zip", version(1), ENGINE, size=2 * SIZE)
    with running(LocalServer(type("Service", (RedirectsWithBody,), {"package": right}))) as server:
        made.configure(source={"url": f"{server.url}/", "caFile": None})
        made.sync_well()
    assert made.served(PRODUCTION).zip == right


def test_another_package_with_the_served_versions(replica, mirror):
    """The other mirror replaced a wrong package that it had adopted; its replica must replace it too."""
    replica.sync_well()
    path = replica.directory / "other.zip"
    with zipfile.ZipFile(mirror.root / ZIP) as old, zipfile.ZipFile(path, "w") as new:
        for info in old.infolist():
            new.writestr(info, old.read(info) + (b"more" if info.filename.endswith(".vdm") else b""))
    pool = mirror.root / ".releases" / "linux-x86_64"
    record = json.loads((mirror.root / PRODUCTION / "release.json").read_bytes())
    shutil.rmtree(pool)
    (mirror.root / ".state" / "seen.json").unlink()
    left = left_by_script(mirror.root / "left", 2)
    path.replace(left / "updates.zip")
    for name in ("production", "production_back"):
        (mirror.root / "linux" / name / "arch_x86_64").unlink()
    shutil.move(str(left), str(mirror.root / PRODUCTION))
    state = mirror.root / ".state" / "channels.json"
    fields = json.loads(state.read_bytes())
    del fields["channels"][PRODUCTION]
    state.write_text(json.dumps(fields), encoding="utf-8")
    # The source cannot be reached, so the mirror serves the adopted package.
    mirror.configure(source={"url": "https://127.0.0.1:9/"})
    mirror.sync()
    assert mirror.status()["channels"][-1]["sha256"] != record["sha256"]

    run = replica.sync_well()
    assert run.outcomes()[PRODUCTION] == "repaired"
    assert replica.served(PRODUCTION) == mirror.served(PRODUCTION)
    assert "another package" in " ".join(run.units[PRODUCTION]["notes"])
    assert replica.sync_well().report["changed"] is False


# -- packages ----------------------------------------------------------------------------------------------------------


def link(target, name="lib.so.1"):
    def add(package):
        info = zipfile.ZipInfo(name)
        info.create_system, info.external_attr = 3, 0o120777 << 16
        package.writestr(info, target)

    return add


def proven(path, change=None, edit=None):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as package:
        package.writestr("lib.so", b"an engine" * 100)
        if change:
            change(package)
    if edit:
        path.write_bytes(edit(path.read_bytes()))
    prove(path, PackagePolicy(1, 1 << 20, ()), "the package", Cancel())


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("/etc", "lib.so.1"),
        ("../x", "lib.so.1"),
        ("./../x", "lib.so.1"),
        ("a/../../x", "lib.so.1"),
        ("x" * 5000, "lib.so.1"),
        ("../../x", "a/lib.so.1"),
        ("../../x", "a/./lib.so.1"),
        # The text of the path stays inside the package, but the path leads outside if `a` is a link to its own folder.
        ("a/../../x", "b/c/lib.so.1"),
    ],
)
def test_a_link_that_leads_out_of_the_package(tmp_path, target, name):
    with pytest.raises(MirrorError) as refused:
        proven(tmp_path / "a.zip", link(target, name))
    assert refused.value.code == "unexpected_content"


@pytest.mark.parametrize(("target", "name"), [("lib.so", "lib.so.1"), ("./../../lib.so", "a/b/lib.so.1")])
def test_a_link_within_the_package_is_accepted(tmp_path, target, name):
    proven(tmp_path / "a.zip", link(target, name))


def test_a_member_below_a_link_is_refused(tmp_path):
    def below(package):
        link("x/y", "a")(package)
        link("../../lib.so", "a/b/lib.so.1")(package)

    with pytest.raises(MirrorError) as refused:
        proven(tmp_path / "a.zip", below)
    assert refused.value.code == "unexpected_content"


@pytest.mark.parametrize("name", ["./lib.so", ".//lib.so", "lib.so/"])
def test_equal_names_in_different_spellings_are_refused(tmp_path, name):
    with pytest.raises(MirrorError) as refused:
        proven(tmp_path / "a.zip", lambda package: package.writestr(name, b""))
    assert refused.value.code == "unexpected_content"


@pytest.mark.parametrize(("at", "form"), [(8, "<H"), (14, "<L"), (18, "<L"), (22, "<L"), (6, "<H")])
def test_a_local_header_that_differs_from_the_central_directory_is_refused(tmp_path, at, form):
    """Python reads only the central directory, but the program that unpacks on an endpoint may not."""

    def edit(data):
        value = struct.unpack_from(form, data, at)[0] ^ 1
        return data[:at] + struct.pack(form, value) + data[at + struct.calcsize(form) :]

    with pytest.raises(MirrorError) as refused:
        proven(tmp_path / "a.zip", edit=edit)
    assert refused.value.code == "corrupt_package"


@pytest.mark.parametrize("zip64", [True, False])
def test_sizes_outside_of_the_local_header_are_accepted(tmp_path, zip64):
    """In an extra field, or after the member because the archive was written to a pipe."""

    class Pipe(io.RawIOBase):
        def __init__(self):
            super().__init__()
            self.data = b""

        def writable(self):
            return True

        def write(self, data):
            self.data += bytes(data)
            return len(data)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as package, package.open(
        "lib.so", "w", force_zip64=zip64
    ) as member:
        member.write(b"an engine" * 100)
    (tmp_path / "pipe.zip").write_bytes(pipe.data)
    prove(tmp_path / "pipe.zip", PackagePolicy(1, 1 << 20, ()), "the package", Cancel())
    with zipfile.ZipFile(tmp_path / "file.zip", "w") as package, package.open(
        "lib.so", "w", force_zip64=zip64
    ) as member:
        member.write(b"an engine" * 100)
    prove(tmp_path / "file.zip", PackagePolicy(1, 1 << 20, ()), "the package", Cancel())


# -- the folder --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [PRODUCTION, BACK, "mac/production/arch_x86_64", "some/where/arch_else"])
def test_a_link_that_points_at_itself(mirror, place):
    mirror.publish(2)
    path = mirror.root / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(path.name)
    own = place in (PRODUCTION, BACK)
    assert mirror.run("status").status == 0
    assert mirror.run("verify").status == (1 if own else 0)
    run = mirror.sync("--allow-downgrade")
    assert (run.status, run.report["errors"]) == (0, [])
    assert mirror.numbers("production") == [2, 2]
    if own:
        mirror.agree()


def test_a_folder_that_cannot_be_repaired_does_not_stop_other_units(mirror):
    mirror.well("promote", "production", "canary")
    mirror.publish(2)
    shutil.rmtree(mirror.root / "linux" / "canary")
    (mirror.root / "linux" / "canary").write_text("in the way", encoding="utf-8")
    mirror.service.publish(version(3), size=SIZE)

    run = mirror.sync()

    assert run.status == 1
    assert run.outcomes()[PRODUCTION] == "updated"
    assert (run.outcomes()[CANARY], run.error(CANARY)["code"]) == ("failed", "file")
    assert mirror.status()["last_sync"]["result"] == "failed"
    assert mirror.numbers("production") == [3, 3]
    mirror.refused("file", "promote", "production", "canary")
    mirror.well("rollback", "production")
    assert mirror.numbers("production") == [2, 2]

    (mirror.root / "linux" / "canary").unlink()
    mirror.sync_well()
    assert mirror.numbers("canary") == [1, 1]
    mirror.agree()


@pytest.mark.parametrize("content", [None, "", "{", '{"channels": {"linux/production/arch_x86_64": {"hold": "yes"}}}'])
def test_a_hold_survives_the_loss_of_the_state(mirror, content):
    mirror.publish(2)
    mirror.well("rollback", "production", "--reason", "breaks ours", "--by", "alice")
    held = mirror.channels()[PRODUCTION]["hold"]
    state = mirror.root / ".state" / "channels.json"
    for number in (3, 4):
        state.unlink()
        if content is not None:
            state.write_text(content, encoding="utf-8")
        run = mirror.publish(number)
        assert run.outcomes()[PRODUCTION] == "held"
        assert mirror.numbers("production") == [1, 1]
        assert mirror.channels()[PRODUCTION]["hold"] == held
        assert mirror.history(PRODUCTION)[-1] == "rollback"
    mirror.well("unhold", "production")
    mirror.sync_well()
    assert mirror.numbers("production") == [4, 4]
    mirror.agree()


def test_a_copy_of_the_state_that_does_not_match_the_links_holds_nothing(mirror):
    """Only entries that match the links are used."""
    mirror.well("hold", "production")
    copy = mirror.root / ".state" / "channels-copy.json"
    fields = json.loads(copy.read_text(encoding="utf-8"))
    for entry in fields["channels"].values():
        entry["current"] = "1.443.1.0-1.1.1.1-00000000"
    copy.write_text(json.dumps(fields), encoding="utf-8")
    (mirror.root / ".state" / "channels.json").unlink()
    mirror.publish(2)
    assert mirror.numbers("production") == [2, 2]


@pytest.mark.parametrize(
    "fields",
    [
        {"last_sync": {"units": []}},
        {"last_sync": {"result": "ok", "finished": 5, "units": [], "errors": []}},
        {"last_sync": {"result": "ok", "finished": "now", "units": [{}], "errors": ["none"]}},
        {"last_success": 5, "last_import": [1]},
    ],
)
def test_an_invalid_record(mirror, fields):
    (mirror.root / ".state" / "last-sync.json").write_text(json.dumps(fields), encoding="utf-8")
    assert mirror.run("status").status == 0
    assert mirror.run("status", "--max-age", "5").status == 1
    assert mirror.run("metrics").status == 0
    mirror.sync_well()
    assert mirror.run("status", "--max-age", "5").status == 0


@pytest.mark.parametrize("fault", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_filesystem_without_locks_is_refused_by_name(tmp_path, monkeypatch, fault):
    def flock(_descriptor, _how):
        raise OSError(fault, os.strerror(fault))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(MirrorError) as refused, locked(tmp_path / "lock"):
        pytest.fail("nothing may be done without the lock")
    assert refused.value.code == "file"
    assert str(tmp_path / "lock") in refused.value.message


# -- special files, and files of other users ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_a_bundle_must_be_a_regular_file(mirror, tmp_path, kind):
    path = tmp_path / "carrier"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path = Path(os.devnull)
    mirror.refused("file", "export", path)
    mirror.refused("file", "import", "--unsigned", path)
    assert not path.is_file()


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: acting as another user takes root")
def test_root_imports_a_bundle_that_only_root_can_read(mirror, service, authority):
    mirror.publish(2)
    owner = pwd.getpwnam("nobody")
    with tempfile.TemporaryDirectory() as name:
        public = Path(name)
        public.chmod(0o755)
        carried = public / "bundle.tar"
        mirror.well("export", carried)
        carried.chmod(0o600)
        island = ChannelMirror(public / "island", service, authority.cert)
        island.configure(source={"caFile": None})
        island.root.mkdir()
        os.chown(island.root, owner.pw_uid, owner.pw_gid)
        island.well("import", "--unsigned", carried, "--check")
        island.well("import", "--unsigned", carried)
        assert island.numbers("production") == [2, 2]
        assert {path.lstat().st_uid for path in island.root.rglob("*")} == {owner.pw_uid}


# -- the terminal and the log ------------------------------------------------------------------------------------------


def into_full():
    return ["sh", "-c", f'exec "$0" "$@" >{FULL}', *COMMAND]


@pytest.mark.skipif(not FULL.exists(), reason="NOT TESTED: this system has no /dev/full")
def test_a_full_disk_for_the_output_does_not_stop_a_sync(mirror):
    mirror.service.publish(version(2), size=SIZE)
    run = mirror.run("sync", command=into_full())
    assert run.status == 1
    assert "output" in run.stderr
    assert mirror.numbers("production") == [2, 2]
    assert mirror.status()["last_sync"]["result"] == "ok"
    assert mirror.run("status", command=into_full()).status == 1


@pytest.mark.skipif(not FULL.exists(), reason="NOT TESTED: this system has no /dev/full")
def test_a_full_disk_for_the_log_is_reported_once(mirror):
    mirror.service.publish(version(2), size=SIZE)
    mirror.configure(logFilePath=str(FULL))
    run = mirror.run("sync")
    assert run.status == 0
    assert run.stderr.count("no log in") == 1
    assert mirror.numbers("production") == [2, 2]


def test_characters_that_the_terminal_cannot_show_do_not_stop_a_sync(mirror, service):
    service.publish(version(2), size=SIZE)
    service.fault("versions", kind="info", arch="x86_64", signatures="1.443.\u65e5.0")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    run = mirror.run("sync", env=environment)
    assert run.status == 1
    assert r"\u65e5" in run.stdout
    assert mirror.numbers("production") == [1, 2]
    bundle = mirror.directory / "\u0142.tar"
    assert mirror.run("export", str(bundle), env=environment).status == 0
    assert bundle.is_file()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_sync_has_the_documented_exit_status(mirror, service, number):
    service.throttle = 200_000
    service.publish(version(2), size=2_000_000)
    with mirror.start("sync") as process:
        assert service.wait_for(lambda: sum(exchange.bytes_sent for exchange in service.requests) > 100_000)
        process.send_signal(number)
        output = "".join(process.communicate(timeout=20))
    assert process.returncode == 130, output
    assert "Traceback" not in output
    assert mirror.numbers("production") == [1, 1]


# -- kill -9 at every step ---------------------------------------------------------------------------------------------

# Runs the command repeatedly on copies of one folder, and kills it before the first, the second, ... step that changes
# something below the root. All packages must be valid then, and a second run must have the result of an unkilled run.
DRIVER = """
import json, os, shutil, signal, sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
from _mirror.cli import main

root, template, arguments = Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:]
STEPS = {"os." + name for name in ("rename", "symlink", "link", "remove", "rmdir", "mkdir", "chmod")}


def run(last):
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    done = 0

    def watch(event, given):
        nonlocal done
        written = event == "open" and (given[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if (written or event in STEPS) and str(given[0]).startswith(str(root)):
            done += 1
            if done == last:
                os.kill(os.getpid(), signal.SIGKILL)

    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.addaudithook(watch)
    os._exit(main(arguments))


def shown():
    found = {}
    for folder in sorted(root.glob("*/*/arch_*")):
        record = json.loads((folder / "release.json").read_bytes()) if (folder / "release.json").exists() else None
        manifest = json.loads((folder / "manifest.json").read_bytes())
        data = (folder / "updates.zip").read_bytes()
        found[folder.relative_to(root).as_posix()] = [manifest["DefinitionVersion"], len(data), bool(record)]
    return found


def reset():
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(template, root, symlinks=True)


reset()
before = shown()
assert run(0) == 0
after = shown()
for last in range(1, 1000):
    reset()
    status = run(last)
    if status == 0:
        break
    assert os.WIFSIGNALED(status), (last, status)
    seen = shown()
    for path, entry in seen.items():
        assert entry in (before.get(path), after.get(path)), (last, path, entry)
    assert not set(before) & set(after) - set(seen), (last, seen)
    assert run(0) == 0, last
    assert shown() == after, (last, shown(), after)
    assert list((root / ".incoming").iterdir()) == [], (last, list((root / ".incoming").iterdir()))
print(last - 1)
"""


@pytest.mark.parametrize("verb", ["sync", "promote", "rollback", "import", "--unsigned", "adopt"])
def test_killed_before_each_step(mirror, service, tmp_path, verb):
    if verb == "adopt":
        shutil.rmtree(mirror.root)
        for arch in ARCHITECTURES:
            left_by_script(mirror.root, 1, arch)
            left_by_script(mirror.root, 0, arch, "production_back")
    elif verb in ("promote", "rollback"):
        mirror.well("promote", "production", "canary")
        mirror.publish(2)
    arguments = {
        "promote": ["promote", "production", "canary"],
        "rollback": ["rollback", "production"],
        "import": ["import", "--unsigned", str(tmp_path / "bundle.tar")],
    }.get(verb, ["sync"])
    template = tmp_path / "template"
    shutil.copytree(mirror.root, template, symlinks=True)
    if verb == "sync":
        service.publish(version(2), size=SIZE)
    elif verb == "import":
        mirror.publish(2)
        mirror.well("export", tmp_path / "bundle.tar")
    mirror.configure(retain=1)
    mirror.settings_file.write_text(json.dumps(mirror.settings), encoding="utf-8")
    engine = Path(COMMAND[1]).resolve().parents[1] / "plugins" / "module_utils"
    done = subprocess.run(
        [
            *(sys.executable, "-c", DRIVER, str(engine), str(mirror.root), str(template)),
            *(*arguments, "--settings", str(mirror.settings_file)),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) >= 10
    mirror.agree()
