"""Operations on channels during a sync or an import: each has the same result as alone."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

from tests.support.engine import BACK, LONGEST, SIZE, needs, until, version
from tools.collection_tree import CHECKOUT

HOME, SCRIPT = "linux/definition_downloader", "xplat_offline_updates_download.sh"
VERBS = {
    "rollback": ["rollback", "production", "--reason", "bad"],
    "hold": ["hold", "production", "--reason", "freeze"],
    "promote": ["promote", "production", "canary"],
}


def shown(mirror, channel="production"):
    """The release, the n-1 and the hold of each architecture of a channel."""
    found = {}
    for entry in mirror.status()["channels"]:
        if entry["channel"] == channel:
            held = entry["held"] and entry["held"]["kind"]
            back = entry["back"] and entry["back"]["release"]
            found[entry["arch"]] = [entry["release"], back, held]
    return found


# -- while a server stalls ---------------------------------------------------------------------------------------------


@pytest.fixture
def stalled(mirror, service):
    """A sync of release 3 that waits for its packages. Release 2 is served, and release 1 is n-1."""
    mirror.publish(2)
    mirror.configure(source={"timeout": 10 * LONGEST})
    service.publish(version(3), size=SIZE)
    service.fault("stall", kind="package")
    service.clear_requests()
    with mirror.start("sync", "--json") as sync:
        assert until(lambda: service.asked("package"))
        yield sync
        if sync.poll() is None:
            sync.kill()


def ended(sync, service):
    service.clear_faults()
    stdout, stderr = sync.communicate(timeout=LONGEST)
    assert "Traceback" not in stderr, stderr
    return json.loads(stdout)


def test_a_rollback_does_not_wait_for_a_slow_sync_and_is_not_undone(mirror, service, stalled):
    alone = mirror.run("status").seconds
    run = mirror.well("rollback", "production", "--reason", "bad")
    assert stalled.poll() is None
    assert run.seconds < max(1.0, 3 * alone), (run.seconds, alone)
    assert mirror.numbers("production") == [1, 1]
    report = ended(stalled, service)
    assert report["result"] == "ok"
    assert {unit["outcome"] for unit in report["units"]} == {"held"}
    assert mirror.numbers("production") == [1, 1]
    assert {entry[2] for entry in shown(mirror).values()} == {"rollback"}
    mirror.agree()
    mirror.well("unhold", "production")
    mirror.sync_well()
    assert mirror.numbers("production") == [3, 3]


def test_a_hold_during_a_slow_sync_keeps_the_release_of_the_channel(mirror, service, stalled):
    mirror.well("hold", "production", "--reason", "freeze", "--arch", "x86_64")
    report = ended(stalled, service)
    assert report["result"] == "ok"
    outcomes = {unit["arch"]: (unit["outcome"], unit["after"]["definitions_version"]) for unit in report["units"]}
    assert outcomes == {"x86_64": ("held", version(2)), "arm64": ("updated", version(3))}
    mirror.agree()


def test_a_promotion_during_a_slow_sync_uses_the_release_that_is_served_then(mirror, service, stalled):
    mirror.well("promote", "production", "canary")
    assert mirror.numbers("canary") == [2, 2]
    assert ended(stalled, service)["result"] == "ok"
    assert mirror.numbers("production") == [3, 3]
    assert mirror.numbers("canary") == [2, 2]
    mirror.agree()


def test_a_channel_that_was_unheld_gets_the_release_of_the_sync(mirror, service, stalled):
    mirror.well("rollback", "production")
    mirror.well("unhold", "production")
    assert {unit["outcome"] for unit in ended(stalled, service)["units"]} == {"updated"}
    assert mirror.numbers("production") == [3, 3]
    assert mirror.name(BACK).startswith(version(1))
    mirror.agree()


# -- at each step ------------------------------------------------------------------------------------------------------

# Runs a command once for each of its steps that change something below the root, and runs an operator's verb in another
# process at that step. A step within a session continues at once, because the verb waits for the session.
DRIVER = """
import fcntl, json, os, shutil, sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
from _mirror.cli import main

root, template, work, verb = Path(sys.argv[2]), Path(sys.argv[3]), json.loads(sys.argv[4]), json.loads(sys.argv[5])
STEPS = {"os." + name for name in ("rename", "symlink", "link", "remove", "rmdir", "mkdir", "chmod")}


def child(function):
    pid = os.fork()
    if not pid:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os._exit(function())
    return pid


def status_of(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def in_session():
    try:
        lock = os.open(root / ".state" / "lock", os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def run(at):
    go, ready = os.pipe(), os.pipe()
    asked = False

    def operate():
        os.close(go[1])
        if not os.read(go[0], 1):
            return 99
        status = main(verb)
        os.write(ready[1], b".")
        return status

    def working():
        os.close(ready[1])
        done = 0

        def watch(event, given):
            nonlocal done
            written = event == "open" and (given[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if (written or event in STEPS) and str(given[0]).startswith(str(root)) and done <= at:
                done += 1
                if done == at:
                    done += 1
                    os.write(go[1], b".")
                    if not in_session():
                        os.read(ready[0], 1)

        sys.addaudithook(watch)
        return main(work)

    operator = child(operate)
    worker = child(working)
    os.close(go[0]), os.close(ready[1])
    first = status_of(worker)
    os.close(go[1])
    second = status_of(operator)
    os.close(ready[0])
    return first, second


def serves():
    fields = json.loads((root / "status.json").read_bytes())
    found = {}
    for entry in fields["channels"]:
        assert os.readlink(root / entry["path"]).endswith("/" + entry["release"])
        held = entry["held"] and entry["held"]["kind"]
        found[entry["path"]] = [entry["release"], entry["back"] and entry["back"]["release"], held]
    return found


def reset():
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(template, root, symlinks=True)


def in_turn(*commands):
    reset()
    for command in commands:
        assert status_of(child(lambda: main(command))) == 0, command
    return serves()


verb_first, work_first = in_turn(verb, work), in_turn(work, verb)
for at in range(1, 1000):
    reset()
    statuses = run(at)
    if statuses == (0, 99):
        break
    assert statuses == (0, 0), (at, statuses)
    for path, entry in serves().items():
        assert entry in (verb_first.get(path), work_first.get(path)), (at, path, entry, verb_first, work_first)
    assert list((root / ".incoming").iterdir()) == [], (at, list((root / ".incoming").iterdir()))
print(at - 1)
"""


@pytest.fixture
def work(mirror, web_server, new_mirror, service, tmp_path, monkeypatch):
    """Prepares a mirror that serves release 2 with an n-1, and returns the command that publishes release 3."""

    def prepared(kind):
        mirror.publish(2)
        mirror.well("promote", "production", "canary")
        if kind == "microsoft":
            service.publish(version(3), size=SIZE)
            return mirror, ["sync"]
        if kind == "script":
            needs("bash", "curl", "jq", "awk", "sed")
            folder = tmp_path / "clone" / HOME
            folder.mkdir(parents=True)
            shutil.copy(CHECKOUT / "simulators" / "microsoft_script.sh", folder / SCRIPT)
            monkeypatch.setenv("DEFINITION_SERVICE", service.url)
            mirror.configure(source={"type": "script"}, script={"path": str(tmp_path / "clone")})
            service.publish(version(3), size=SIZE)
            return mirror, ["sync"]
        other = new_mirror("other")
        shutil.copytree(mirror.root, other.root, symlinks=True)
        if kind == "mirror":
            other.configure(
                channels=["canary"],
                source={"type": "mirror", "url": f"{web_server(mirror.root).url}/", "caFile": None, "unsigned": True},
            )
            mirror.publish(3)
            return other, ["sync"]
        mirror.publish(3)
        mirror.well("export", tmp_path / "bundle.tar")
        return other, ["import", "--unsigned", str(tmp_path / "bundle.tar")]

    return prepared


@pytest.mark.slow
@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("kind", ["microsoft", "mirror", "script", "import"])
def test_a_verb_at_each_step(work, tmp_path, kind, verb):
    mirror, arguments = work(kind)
    template = tmp_path / "template"
    shutil.copytree(mirror.root, template, symlinks=True)
    mirror.settings_file.write_text(json.dumps(mirror.settings), encoding="utf-8")
    engine = CHECKOUT / "plugins" / "module_utils"
    settings = ["--settings", str(mirror.settings_file)]
    done = subprocess.run(
        [
            *(sys.executable, "-c", DRIVER, str(engine), str(mirror.root), str(template)),
            *(json.dumps([*arguments, *settings]), json.dumps([*VERBS[verb], *settings])),
        ],
        capture_output=True,
        text=True,
        timeout=3 * LONGEST,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout) >= 10
    mirror.agree()
