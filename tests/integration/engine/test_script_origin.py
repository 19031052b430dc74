"""Syncs that keep Microsoft's script up to date from a git repository or a zip."""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import signal
import tempfile
import threading
import time
from pathlib import Path

import pytest

from simulators.certificates import Authority
from tests.support.engine import HASTY, LONGEST, PATIENT, PRODUCTION, SIZE, needs, version
from tests.support.script_repository import HOME, SCRIPT, Repository, remade, serving
from tests.support.web import Proxy


@pytest.fixture(autouse=True)
def programs():
    needs("bash", "curl", "jq", "git")


@pytest.fixture
def upstream(tmp_path):
    repository = Repository(tmp_path / "upstream")
    repository.release(1)
    return repository


@pytest.fixture
def web(tmp_path):
    with serving(tmp_path) as server:
        yield server


@pytest.fixture
def scripted(mirror, service, monkeypatch):
    """A mirror that serves release 1 and has no copy of the script yet."""
    monkeypatch.setenv("DEFINITION_SERVICE", service.url)
    mirror.configure(channels=[], source={"type": "script"})
    return mirror


class Origin:
    """A source of the script: its URL, and how to publish a new commit there."""

    def __init__(self, upstream, tmp_path, web, kind):
        self.upstream, self.zip_path = upstream, tmp_path / "xplat.zip"
        self.address = {
            "git file": f"file://{upstream.folder}",
            "git path": str(upstream.folder),
            "git http": f"{web.url}/git/upstream",
            "git plain http": f"{web.url}/upstream/.git",
            "zip path": str(self.zip_path),
            "zip http": f"{web.url}/xplat.zip",
        }[kind]
        self.is_zip = kind.startswith("zip")
        if self.is_zip:
            upstream.zip(self.zip_path)

    def release(self, number, **options):
        commit = self.upstream.release(number, **options)
        if self.is_zip:
            self.upstream.zip(self.zip_path)
        return commit

    def gone(self):
        self.zip_path.unlink() if self.is_zip else self.upstream.folder.rename(self.upstream.folder.with_name("away"))


@pytest.fixture
def origin(upstream, tmp_path, web):
    return lambda kind: Origin(upstream, tmp_path, web, kind)


WAYS = ("git file", "git path", "git http", "git plain http", "zip path", "zip http")


def ran(mirror):
    """The edition of the script that ran last."""
    output = (mirror.root / ".state" / "script" / "output.log").read_text(encoding="utf-8")
    found = set(re.findall(r"^edition (\d+)$", output, re.MULTILINE))
    assert len(found) == 1, output
    return int(found.pop())


def copied(mirror):
    """The files of the copy, with inodes and times that change if they are written again."""
    folder = mirror.root / ".state" / "script" / "current"
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


def copies(mirror):
    return list((mirror.root / ".state" / "script" / "copies").iterdir())


def notes(run):
    return [note for unit in run.units.values() for note in unit["notes"]]


def published(mirror):
    return json.loads((mirror.root / PRODUCTION / "release.json").read_text(encoding="utf-8"))["origin"]


def fails(mirror, code):
    """Checks that a sync fails with this error code and changes nothing."""
    before = mirror.snapshot()
    run = mirror.sync()
    assert run.status == 1, run.text
    assert {unit["error"]["code"] for unit in run.units.values()} == {code}, run.text
    assert run.error()["message"] and run.error()["hint"]
    assert mirror.snapshot() == before
    assert list((mirror.root / ".incoming").iterdir()) == []
    return run


# -- sources of the script --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", WAYS)
def test_the_next_sync_uses_a_new_commit(scripted, origin, kind):
    there = origin(kind)
    scripted.configure(script={"url": there.address})
    run = scripted.publish(2)
    assert (ran(scripted), notes(run)) == (1, [])
    assert published(scripted) == f"Microsoft's script at commit {there.upstream.editions[1]}"
    before = copied(scripted)
    names = {"origin.json", "tree/VERSION", f"tree/{HOME}/{SCRIPT}", f"tree/{HOME}/xplat_offline_updates_download.ps1"}
    assert set(before) == names
    scripted.publish(3)
    assert (ran(scripted), copied(scripted)) == (1, before)
    there.release(2)
    run = scripted.publish(4)
    assert (ran(scripted), notes(run)) == (2, [])
    assert published(scripted) == f"Microsoft's script at commit {there.upstream.editions[2]}"
    assert len(copies(scripted)) == 1
    assert scripted.numbers("production") == [4, 4]
    scripted.agree()


def test_a_web_server_is_asked_whether_the_zip_is_new(scripted, origin, web):
    there = origin("zip http")
    scripted.configure(script={"url": there.address})
    scripted.publish(2)
    hour_ago = time.time() - 3600
    os.utime(there.zip_path, (hour_ago, hour_ago))
    asked, kept = [], []
    for number in (3, 4, 5):
        web.requests.clear()
        scripted.publish(number)
        ((_method, path, headers),) = web.requests
        assert path == "/xplat.zip"
        asked.append("If-Modified-Since" in headers)
        kept.append(copied(scripted))
    # A date is not used if the zip may still have changed within the same second, because the change would be missed.
    assert asked == [False, True, True]
    assert kept[0] == kept[1] == kept[2]


def test_the_origin_is_not_contacted_if_there_is_nothing_to_download(scripted, origin, web):
    scripted.configure(script={"url": origin("zip http").address})
    scripted.sync_well()
    scripted.sync("--check")
    assert web.requests == []


def test_check_writes_nothing(scripted, origin, web, service):
    scripted.configure(script={"url": origin("git http").address})
    service.publish(version(2), size=SIZE)
    before = scripted.tree()
    assert set(scripted.sync("--check").outcomes().values()) == {"updated"}
    assert (scripted.tree(), web.requests) == (before, [])


def test_a_source_with_only_the_script(scripted, upstream, tmp_path):
    """A repository or zip of the folder of the script, without other files."""
    repository = Repository(tmp_path / "small")
    repository.write(SCRIPT, (upstream.folder / HOME / SCRIPT).read_text(encoding="utf-8"))
    commit = repository.commit(1)
    scripted.configure(script={"url": str(tmp_path / "small")})
    scripted.publish(2)
    assert published(scripted).endswith(commit)
    small = repository.zip(tmp_path / "small.zip")
    scripted.configure(script={"url": str(small)})
    scripted.publish(3)
    assert (ran(scripted), published(scripted)[-40:]) == (1, commit)
    remade(small, comment=b"")
    scripted.publish(4)
    assert published(scripted) == "Microsoft's script"


def test_a_copy_of_another_origin_is_not_used(scripted, upstream, tmp_path, service):
    scripted.configure(script={"url": str(upstream.folder)})
    scripted.publish(2)
    scripted.configure(script={"url": str(tmp_path / "nothing")})
    service.publish(version(3), size=SIZE)
    assert "nothing" in fails(scripted, "script_missing").error()["message"]
    scripted.configure(script={"url": str(upstream.folder)})
    scripted.sync_well()


def test_the_settings_of_the_operator_are_never_changed(scripted, upstream):
    """Neither those of the mirror, nor those in the clone; and those in the clone are not used."""
    scripted.configure(script={"url": str(upstream.folder)}, downloadMacUpdates=False)
    clone = upstream.folder / HOME / "settings.json"
    clone.write_text('{"downloadFolder": "/nowhere", "logFilePath": "/nowhere/log"}', encoding="utf-8")
    scripted.publish(2)
    upstream.release(2)
    scripted.publish(3)
    assert ran(scripted) == 2
    assert json.loads(scripted.settings_file.read_text(encoding="utf-8")) == scripted.settings
    assert not list((scripted.root / ".state").rglob("settings.json"))
    assert not (scripted.root / "mac").exists()
    assert upstream.git("status", "--porcelain") == ""


# -- pinned ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", WAYS)
def test_a_pinned_commit_does_not_change(scripted, origin, kind, web):
    there = origin(kind)
    first = there.upstream.editions[1]
    scripted.configure(script={"url": there.address, "commit": first.upper()})
    scripted.publish(2)
    there.release(2)
    web.requests.clear()
    scripted.publish(3)
    assert (ran(scripted), published(scripted)[-40:], web.requests) == (1, first, [])
    scripted.configure(script={"commit": there.upstream.editions[2]})
    scripted.publish(4)
    assert (ran(scripted), published(scripted)[-40:]) == (2, there.upstream.editions[2])
    if not there.is_zip:
        # An older commit is pinned.
        scripted.configure(script={"commit": first})
        scripted.publish(5)
        assert ran(scripted) == 1


@pytest.mark.parametrize("kind", ["git file", "git http", "git plain http", "zip http"])
def test_another_commit_than_the_pinned_one_is_never_run(scripted, origin, kind, service):
    there = origin(kind)
    scripted.configure(script={"url": there.address})
    scripted.publish(2)
    scripted.configure(script={"commit": "0123456789" * 4})
    service.publish(version(3), size=SIZE)
    service.clear_requests()
    message = fails(scripted, "script_commit").error()["message"]
    assert "0123456789" * 4 in message
    assert there.upstream.editions[1] in message, "the message contains the commit that was found"
    assert service.asked("package") == []
    there.gone()
    assert there.upstream.editions[1] in fails(scripted, "script_commit").error()["message"]
    scripted.configure(script={"commit": None})
    assert notes(scripted.sync_well()), "the present copy is good enough without the pin"


@pytest.mark.parametrize(
    ("comment", "words"),
    [(b"", "an unknown commit"), (b"4" * 40, "4" * 40), (b"a comment of a person", "an unknown commit")],
)
def test_a_zip_must_name_the_pinned_commit(scripted, origin, upstream, comment, words, service):
    there = origin("zip path")
    remade(there.zip_path, comment=comment)
    scripted.configure(script={"url": there.address, "commit": upstream.editions[1]})
    service.publish(version(2), size=SIZE)
    assert words in fails(scripted, "script_commit").error()["message"]


# -- faults ------------------------------------------------------------------------------------------------------------

NO_UPDATE = ("gone", "no zip", "cut short", "without the script", "a link")


@pytest.mark.parametrize(
    ("kind", "fault"),
    [("zip http", fault) for fault in NO_UPDATE] + [("git file", f) for f in ("gone", "without the script", "a link")],
)
def test_the_present_copy_is_used_if_the_update_fails(scripted, origin, kind, fault, service):
    there = origin(kind)
    scripted.configure(script={"url": there.address})
    scripted.publish(2)
    before = copied(scripted)
    script = there.upstream.folder / HOME / SCRIPT
    if fault == "gone":
        there.gone()
    elif fault == "no zip":
        there.zip_path.write_text("<html>Please log in</html>")
    elif fault == "cut short":
        there.zip_path.write_bytes(there.zip_path.read_bytes()[:-200])
    else:
        script.unlink()
        (script.parent / "xplat_offline_updates_download.ps1").unlink()
        if fault == "a link":
            script.symlink_to("/bin/true")
        there.upstream.commit(2)
        if there.is_zip:
            there.upstream.zip(there.zip_path)
    run = scripted.publish(3)
    assert (ran(scripted), copied(scripted)) == (1, before)
    (note,) = notes(run)
    assert "could not be updated" in note
    assert list((scripted.root / ".incoming").iterdir()) == []
    # Without a copy, the sync fails.
    shutil.rmtree(scripted.root / ".state" / "script")
    service.publish(version(4), size=SIZE)
    fails(scripted, "script_missing")


def test_a_damaged_copy_is_replaced(scripted, upstream):
    scripted.configure(script={"url": str(upstream.folder)})
    scripted.publish(2)
    script = scripted.root / ".state" / "script" / "current" / "tree" / HOME / SCRIPT
    script.write_text(script.read_text(encoding="utf-8") + "exit 1\n", encoding="utf-8")
    assert notes(scripted.publish(3)) == []
    assert ran(scripted) == 1
    assert not script.read_text(encoding="utf-8").endswith("exit 1\n")


@pytest.mark.parametrize("kind", ["git http", "zip http"])
def test_an_origin_that_hangs_is_aborted(scripted, origin, kind, web, patience):
    there = origin(kind)
    scripted.configure(script={"url": there.address})
    scripted.publish(2)
    there.release(2)
    end = threading.Event()
    web.disturb = lambda _handler: patience.end("script_origin") or end.wait(10 * LONGEST)
    scripted.service.publish(version(3), size=SIZE)
    # git has the time limit of all programs; a zip and other requests have the time limit of the source.
    scripted.configure(source=PATIENT if kind == "git http" else HASTY)
    run = scripted.sync(command=patience.command)
    end.set()
    assert run.status == 0, run.text
    assert (ran(scripted), scripted.numbers("production")) == (1, [3, 3])
    assert "timeout" in notes(run)[0]


def test_a_missing_git_is_reported(scripted, upstream, tmp_path, monkeypatch, service):
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    for name in ("bash", "curl", "jq", "awk", "sed"):
        (bin_folder / name).symlink_to(shutil.which(name))
    scripted.configure(script={"url": f"file://{upstream.folder}"})
    service.publish(version(2), size=SIZE)
    monkeypatch.setenv("PATH", str(bin_folder))
    error = fails(scripted, "script_missing").error()
    assert "git is not installed" in error["message"]
    assert "git" in error["hint"]


@pytest.mark.parametrize(
    "moment", ["before write", "before replace_symlink", "after replace_symlink", "before remove_tree"]
)
def test_a_kill_during_the_update_of_the_copy(scripted, upstream, tmp_path, patched, moment):
    """The old or the new copy exists afterwards, complete, and the next sync updates it."""
    scripted.configure(script={"url": str(upstream.folder)})
    scripted.publish(2)
    upstream.release(2)
    when, name = moment.split()
    deadly = patched(
        "import os",
        "from _mirror.sources import script_checkout",
        f"real = script_checkout.{name}",
        "def deadly(*arguments):",
        "    real(*arguments)" if when == "after" else "",
        "    os.kill(os.getpid(), 9)",
        f"script_checkout.{name} = deadly",
    )
    scripted.service.publish(version(3), size=SIZE)
    run = scripted.sync(command=deadly)
    assert run.status == -signal.SIGKILL
    assert copied(scripted)
    upstream.folder.rename(tmp_path / "away")
    run = scripted.sync_well()
    assert ran(scripted) == (2 if moment == "after replace_symlink" else 1)
    (tmp_path / "away").rename(upstream.folder)
    assert notes(scripted.publish(4)) == []
    assert (ran(scripted), len(copies(scripted))) == (2, 1)
    assert list((scripted.root / ".incoming").iterdir()) == []


# -- network -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["git/upstream", "xplat.zip"])
def test_through_a_proxy_with_a_private_authority(scripted, upstream, tmp_path, server_certificate, service, path):
    upstream.zip(tmp_path / "xplat.zip")
    with serving(tmp_path, server_certificate.server_context()) as web, Proxy("mirror", "hidden") as proxy:
        proxied = f"http://mirror:hidden@127.0.0.1:{proxy.port}"
        scripted.configure(script={"url": f"{web.url}/{path}"}, source={"proxy": proxied})
        scripted.publish(2)
        assert ran(scripted) == 1
        assert f"127.0.0.1:{web.server_address[1]}" in proxy.tunnels
        upstream.release(2)
        upstream.zip(tmp_path / "xplat.zip")
        seen = len(web.requests)
        web.disturb = lambda handler: handler.send_error(503) or True
        service.publish(version(3), size=SIZE)
        run = scripted.sync_well()
        assert len(web.requests) > seen
        assert "503" in notes(run)[0]
    assert "hidden" not in run.text
    assert b"hidden" not in scripted.everything_written()


@pytest.mark.parametrize("path", ["git/upstream", "xplat.zip"])
def test_a_certificate_that_is_not_trusted(scripted, upstream, tmp_path, service, path):
    """The script is executed, so the verification cannot be disabled."""
    upstream.zip(tmp_path / "xplat.zip")
    unknown = Authority(tmp_path / "unknown").issue("server", ["127.0.0.1"])
    with serving(tmp_path, unknown.server_context()) as web:
        scripted.configure(script={"url": f"{web.url}/{path}"})
        service.publish(version(2), size=SIZE)
        assert "certificate" in fails(scripted, "script_missing").error()["message"]
        assert web.requests == []


@pytest.mark.parametrize("path", ["git/upstream", "upstream/.git", "xplat.zip"])
def test_a_password_in_the_address(scripted, upstream, tmp_path, web, service, path):
    """The password is sent to the server only, and never shown."""
    upstream.zip(tmp_path / "xplat.zip")
    web.credentials = "reader:pass/word%s"
    address = f"{web.url_with('reader:pass%2Fword%25s')}/{path}"
    scripted.configure(script={"url": address})
    run = scripted.publish(2)
    assert ran(scripted) == 1
    written = scripted.everything_written()
    web.credentials = "reader:another"
    service.publish(version(3), size=SIZE)
    run = scripted.sync("--json")
    assert run.status == 0, run.text
    assert notes(run)
    for text in ("pass/word", "pass%2Fword"):
        assert text not in run.text + scripted.run("status", "--json").text
        assert text.encode() not in written + scripted.everything_written()


@pytest.mark.parametrize("way", ["git", "zip"])
def test_a_password_is_not_sent_to_another_host(scripted, upstream, tmp_path, web, service, way):
    upstream.zip(tmp_path / "xplat.zip")
    with serving(tmp_path) as other:

        def elsewhere(handler):
            handler.send_response(302)
            target = other.url.replace("127.0.0.1", "localhost") + handler.path
            for name, value in {"Location": target, "Content-Length": "0"}.items():
                handler.send_header(name, value)
            handler.end_headers()
            return True

        web.disturb = elsewhere
        path = {"git": "git/upstream", "zip": "xplat.zip"}[way]
        scripted.configure(script={"url": f"{web.url_with('reader:secret')}/{path}"})
        service.publish(version(2), size=SIZE)
        fails(scripted, "script_missing")
        assert [headers for _method, _path, headers in other.requests if "Authorization" in headers] == []


def test_the_git_configuration_of_the_user_is_ignored(scripted, upstream, tmp_path, monkeypatch):
    """No URL is replaced, no hook runs, no prompt appears, and no other repository is changed."""
    home = tmp_path / "home"
    hooks = home / "template" / "hooks"
    hooks.mkdir(parents=True)
    for name in ("post-checkout", "reference-transaction", "post-index-change"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {home}/ran\n")
        (hooks / name).chmod(0o755)
    (home / ".gitconfig").write_text(
        f'[url "{tmp_path}/elsewhere"]\n\tinsteadOf = {upstream.folder}\n'
        f"[init]\n\ttemplateDir = {home}/template\n[core]\n\thooksPath = {hooks}\n"
    )
    for name, value in {
        "HOME": str(home),
        "GIT_DIR": str(upstream.folder / ".git"),
        "GIT_CONFIG_GLOBAL": str(home / ".gitconfig"),
        "GIT_TEMPLATE_DIR": str(home / "template"),
        "GIT_TRACE": str(home / "trace"),
    }.items():
        monkeypatch.setenv(name, value)
    scripted.configure(script={"url": str(upstream.folder)})
    scripted.publish(2)
    assert ran(scripted) == 1
    assert sorted(path.name for path in home.iterdir()) == [".gitconfig", "template"]


@pytest.fixture
def public():
    """A folder that all users can access, unlike the temporary folders of pytest."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: acting as another user takes root")
@pytest.mark.parametrize("kept", ["url", "path"])
def test_root_acts_as_the_owner(scripted, upstream, public, kept):
    """git and the script run as the owner of the mirror, so that later runs of the owner can use the files."""
    owner = pwd.getpwnam("nobody")
    body = (upstream.folder / HOME / SCRIPT).read_text(encoding="utf-8")
    upstream.release(2, script=body.replace('echo "edition', 'echo "user $(id -u) $(id -ru)"\necho "edition'))
    scripted.move_to(public)
    shutil.copytree(upstream.folder, public / "upstream")
    authority = shutil.copy(scripted.settings["source"]["caFile"], public)
    for path in (scripted.root, *scripted.root.rglob("*")):
        os.chown(path, owner.pw_uid, owner.pw_gid, follow_symlinks=False)
    address = {"url": f"file://{public}/upstream", "path": f"{public}/upstream"}[kept]
    scripted.configure(source={"caFile": str(authority)}, script={kept: address})
    scripted.publish(2)
    output = (scripted.root / ".state" / "script" / "output.log").read_text(encoding="utf-8")
    assert f"user {owner.pw_uid} {owner.pw_uid}\n" in output
    assert [path for path in scripted.root.rglob("*") if path.lstat().st_uid != owner.pw_uid] == []
    assert scripted.numbers("production") == [2, 2]
