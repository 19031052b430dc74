"""Microsoft's script as the source: its faults never affect endpoints, and each fault is an error of the sync."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import stat
from pathlib import Path

import pytest

from simulators.download_service import build_package
from tests.support.engine import ARCHITECTURES, ENGINE, PRODUCTION, SIZE, folders, kill, needs, until, version
from tests.support.script_repository import HOME, POWERSHELL, SCRIPT
from tests.support.web import Proxy
from tools.collection_tree import CHECKOUT

NEEDED = ("bash", "curl", "jq")
OTHERS = ("awk", "cat", "cp", "cut", "date", "dirname", "du", "env", "mkdir", "mv", "rm", "sed", "sync", "touch", "tr")


@pytest.fixture(autouse=True)
def programs():
    needs(*NEEDED)


@pytest.fixture
def clone(tmp_path):
    """A clone of Microsoft's repository, with settings of the operator for manual runs of the script."""
    folder = tmp_path / "clone" / HOME
    folder.mkdir(parents=True)
    shutil.copy(CHECKOUT / "simulators" / "microsoft_script.sh", folder / SCRIPT)
    (folder / "settings.json").write_text('{"downloadFolder": "/tmp/wdav-update", "downloadMacUpdates": true}\n')
    (tmp_path / "clone" / "README.md").write_text("A clone.\n")
    return tmp_path / "clone"


@pytest.fixture
def scripted(mirror, clone, service, monkeypatch, tmp_path):
    """A mirror that serves release 1 and uses the script as its source. Checks that no process is left afterwards."""
    monkeypatch.setenv("DEFINITION_SERVICE", service.url)
    mirror.configure(channels=[], source={"type": "script"}, script={"path": str(clone)})
    yield mirror
    for pid in workers(tmp_path):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def workers(folder):
    """The processes whose working directory is in a folder, also if the folder was removed."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.readlink(process / "cwd").startswith(f"{folder}/"):
                found.append(int(process.name))
    return found


def tree(folder):
    return {
        path.relative_to(folder): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else None)
        for path in folder.rglob("*")
    }


def fetched(service):
    return sorted(exchange.unit.arch for exchange in service.asked("package"))


def codes(run):
    return {unit["error"]["code"] for unit in run.report["units"] if unit["error"]}


# -- without faults ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("below", ["", HOME])
def test_packages_of_the_script_are_published(scripted, clone, below):
    scripted.configure(script={"path": str(clone / below)})
    shutil.rmtree(scripted.root)
    before = tree(clone)
    run = scripted.publish(2)
    assert run.outcomes() == dict.fromkeys(folders("production"), "updated")
    assert scripted.numbers("production") == [2, 2]
    scripted.publish(3)
    assert (scripted.numbers("production"), scripted.numbers("production_back")) == ([3, 3], [2, 2])
    assert tree(clone) == before
    scripted.agree()


def test_nothing_new_does_not_run_the_script(scripted, clone, service):
    (clone / HOME / SCRIPT).write_text("exit 1\n")
    service.clear_requests()
    run = scripted.sync_well()
    assert run.report["changed"] is False
    assert fetched(service) == []


def test_check_does_not_run_the_script(scripted, service):
    service.publish(version(2), size=SIZE)
    service.clear_requests()
    before = scripted.tree()
    assert set(scripted.sync("--check").outcomes().values()) == {"updated"}
    assert fetched(service) == []
    assert scripted.tree() == before


def test_only_the_needed_packages_are_downloaded(scripted, service):
    """The script itself cannot select architectures."""
    service.publish(version(2), arch="arm64", size=SIZE)
    service.clear_requests()
    scripted.sync_well()
    assert fetched(service) == ["arm64"]
    scripted.configure(architectures=["x86_64"])
    service.publish(version(3), size=SIZE)
    service.clear_requests()
    scripted.sync_well()
    assert fetched(service) == ["x86_64"]
    assert scripted.numbers("production") == [3, 2]


def test_rings_and_platforms(scripted, service):
    scripted.configure(downloadPreviewUpdates=True, downloadMacUpdates=True)
    run = scripted.publish(2)
    assert len(run.outcomes()) == 8
    assert set(run.outcomes().values()) == {"updated"}
    scripted.agree()


def test_a_damaged_package_is_downloaded_again(scripted, service):
    scripted.publish(2)
    before = scripted.snapshot()
    (scripted.root / PRODUCTION / "updates.zip").write_bytes(b"damaged")
    service.clear_requests()
    assert scripted.sync_well().outcomes() == dict(zip(folders("production"), ("repaired", "unchanged")))
    assert fetched(service) == ["x86_64"]
    assert scripted.snapshot() == before


def test_published_files_are_readable_whatever_the_umask_is(scripted):
    umask = os.umask(0o077)
    try:
        scripted.publish(2)
    finally:
        os.umask(umask)
    for path in scripted.folders():
        folder = scripted.root / path
        assert stat.S_IMODE(folder.stat().st_mode) == 0o755
        assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o644}


def test_without_a_home(scripted, monkeypatch):
    monkeypatch.delenv("HOME")
    scripted.publish(2)


def test_through_a_proxy(scripted, service):
    """Microsoft's script has no setting for a proxy."""
    service.publish(version(2), size=SIZE)
    with Proxy("mirror", "secret") as proxy:
        scripted.configure(source={"proxy": f"http://mirror:secret@127.0.0.1:{proxy.port}"})
        before = service.connections
        scripted.sync_well()
        assert len(proxy.tunnels) == service.connections - before
    assert scripted.numbers("production") == [2, 2]
    assert "secret" not in scripted.run("status", "--json").text


@pytest.mark.parametrize("edition", ["0.0.2", "1.2"])
def test_one_platform_is_new_and_the_other_is_not(scripted, service, monkeypatch, edition):
    """The version of 2026 ends after the first platform that already has a manifest."""
    monkeypatch.setenv("SCRIPT_EDITION", edition)
    scripted.configure(downloadMacUpdates=True)
    scripted.publish(2)
    for platform, number in (("mac", 3), ("linux", 3), ("mac", 4)):
        service.publish(version(number), size=SIZE, platform=platform)
        scripted.sync_well()
        assert [scripted.serves(path) for path in folders("production", platform=platform)] == [number, number]
    service.publish(version(5), size=SIZE, arch="arm64")
    scripted.sync_well()
    assert scripted.numbers("production") == [3, 5]
    scripted.agree()


def test_a_rollback_is_respected(scripted, service):
    """The script itself would publish the newer package again."""
    scripted.publish(2)
    scripted.well("rollback", "production")
    service.publish(version(3), size=SIZE)
    service.clear_requests()
    assert set(scripted.sync_well().outcomes().values()) == {"held"}
    assert (scripted.numbers("production"), fetched(service)) == ([1, 1], [])
    scripted.well("unhold", "production")
    scripted.sync_well()
    assert scripted.numbers("production") == [3, 3]


def test_no_files_of_the_script_accumulate(scripted):
    """The log, temporary files and output of the script do not grow, and none of them is in a served folder."""
    scripted.publish(2)
    before = {path for path in scripted.root.rglob("*") if ".releases" not in path.parts and path.is_file()}
    said = (scripted.root / ".state" / "script" / "output.log").stat().st_size
    # The original may have been run manually on this machine.
    default_log = Path("/tmp/mdatp_offline_updates.log")
    theirs = default_log.stat().st_mtime_ns if default_log.exists() else None
    for number in (3, 4):
        scripted.publish(number)
    assert {path for path in scripted.root.rglob("*") if ".releases" not in path.parts and path.is_file()} == before
    assert (scripted.root / ".state" / "script" / "output.log").stat().st_size < 2 * said
    assert (default_log.stat().st_mtime_ns if default_log.exists() else None) == theirs


def test_powershell_if_the_bash_script_cannot_run(scripted, clone, service, tmp_path, monkeypatch):
    """A simulated pwsh, which runs the simulated script with bash."""
    folder = clone / HOME
    (folder / POWERSHELL).write_text("# for PowerShell\n")
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    for name in (*NEEDED, *OTHERS):
        if name != "jq":
            (bin_folder / name).symlink_to(shutil.which(name))
    service.publish(version(2), size=SIZE)
    pwsh = bin_folder / "pwsh"
    pwsh.write_text(
        f'#!/bin/bash\necho "arguments: $*"\nPATH={shlex.quote(os.environ["PATH"])}\n'
        f'for script; do :; done\n[ "$script" = "$PWD/{POWERSHELL}" ] || exit 9\n'
        f"cp {shlex.quote(str(folder / SCRIPT))} run.sh\nbash run.sh\n"
    )
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(bin_folder))
        assert codes(scripted.sync()) == {"script_failed"}
        pwsh.chmod(0o755)
        scripted.sync_well()
    assert scripted.numbers("production") == [2, 2]
    output = (scripted.root / ".state" / "script" / "output.log").read_text()
    assert "arguments: -NoLogo -NoProfile -NonInteractive -File /" in output


# -- faults ------------------------------------------------------------------------------------------------------------

# Faults of the package, and of the request for the versions after it.
PACKAGE_FAULTS = {
    "404": ("status", {"code": 404}),
    "503": ("status", {"code": 503}),
    "a login page": ("html", {}),
    "nothing": ("empty", {}),
    "nonsense": ("garbage", {}),
    "a damaged zip": ("corrupt", {}),
    "a zip cut short": ("short_zip", {}),
    "a zip with more behind it": ("trailing", {}),
    "broken off": ("truncate", {}),
    "reset": ("reset", {}),
    "hung up": ("close", {}),
    "no length and broken off": ("no_length", {"after": 5000}),
    "a redirect loop": ("redirect", {"to": "loop"}),
}
VERSIONS_FAULTS = {
    "404": ("status", {"code": 404}),
    "a login page": ("html", {}),
    "nothing": ("empty", {}),
    "no XML": ("bad_xml", {}),
    "hung up": ("close", {}),
    "other quotes": (
        "text",
        {"body": "<versions><engine>1.1</engine><signatures date='x'>1.2</signatures></versions>"},
    ),
}


def unharmed(scripted, service):
    """Checks that a sync fails, changes nothing, leaves no files, and does not affect the next one."""
    before = scripted.snapshot()
    run = scripted.sync()
    assert run.status == 1, run.text
    assert run.error()["message"] and run.error()["hint"]
    assert scripted.served() == before[PRODUCTION]
    assert scripted.run("verify").status == 0
    assert list((scripted.root / ".incoming").iterdir()) == []
    assert scripted.numbers("production_back") in ([None, None], [None, 1])
    service.clear_faults()
    scripted.sync_well()
    assert scripted.numbers("production_back") == [1, 1], "what failed did not become n-1"
    scripted.agree()
    return run


@pytest.mark.parametrize("fault", PACKAGE_FAULTS)
def test_an_invalid_package_is_not_published(scripted, service, fault):
    name, options = PACKAGE_FAULTS[fault]
    service.publish(version(2), size=SIZE)
    service.fault(name, kind="package", arch="x86_64", **options)
    run = unharmed(scripted, service)
    assert codes(run) <= {"not_a_package", "corrupt_package", "script_failed", "size_out_of_bounds"}
    assert scripted.numbers("production") == [2, 2]


@pytest.mark.parametrize("fault", VERSIONS_FAULTS)
def test_invalid_versions_are_not_published(scripted, service, fault):
    """mde-mirror sends one request before the script does, so the second response is for the script."""
    name, options = VERSIONS_FAULTS[fault]
    service.publish(version(2), size=SIZE)
    service.fault(name, kind="info", arch="x86_64", skip=1, **options)
    run = unharmed(scripted, service)
    assert codes(run) == {"script_failed"}
    # If the request for the versions is interrupted, the script always ends at this package.
    others = "failed" if fault == "hung up" else "updated"
    assert run.outcomes() == dict(zip(folders("production"), ("failed", others)))
    assert scripted.numbers("production") == [2, 2]


def test_a_release_between_package_and_versions(scripted, service):
    """The zip is release 2, its manifest is of release 3, and the script never notices it."""
    service.publish(version(2), size=SIZE)
    service.fault("publish", kind="package", arch="x86_64", times=1, definitions=version(3), size=SIZE)
    before = scripted.served()
    run = scripted.sync()
    assert (run.status, run.error()["code"]) == (1, "versions_moved")
    assert scripted.served() == before
    scripted.sync_well()
    assert scripted.serves(PRODUCTION) == 3
    scripted.agree()


def test_a_release_during_the_download_of_another_unit(scripted, service):
    """The packages that the script downloaded before are of release 2; the service now offers release 3."""
    service.publish(version(2), size=SIZE)
    service.fault("publish", kind="package", arch="arm64", times=1, definitions=version(3), size=SIZE)
    service.fault("publish", kind="info", arch="x86_64", skip=2, times=1, definitions=version(3), size=SIZE)
    run = scripted.sync()
    assert run.status == 1
    scripted.check()
    assert set(scripted.numbers("production")) <= {1, 2}
    scripted.sync_well()
    assert scripted.numbers("production") == [3, 3]


@pytest.mark.parametrize("failing", ARCHITECTURES)
def test_the_first_failure_ends_the_script_and_not_the_sync(scripted, service, failing):
    service.publish(version(2), size=SIZE)
    service.fault("reset", kind="package", arch=failing)
    run = scripted.sync()
    assert run.outcomes() == {path: "failed" if path.endswith(failing) else "updated" for path in run.units}
    assert run.status == 1
    service.clear_faults()
    scripted.sync_well()
    assert scripted.numbers("production") == [2, 2]


def test_files_of_an_interrupted_run_are_not_used(scripted, service):
    """The folder of a killed run contains a zip with the manifest of the next release."""
    service.publish(version(2), size=SIZE)
    for left in ((scripted.root / ".incoming" / "script.left"), scripted.root / ".state" / "script"):
        for path in folders("production"):
            folder = left / "downloads" / path
            folder.mkdir(parents=True)
            shutil.copy(scripted.root / path / "updates.zip", folder)
            (folder / "manifest.json").write_text(
                f'{{"EngineVersion": "{ENGINE}", "DefinitionVersion": "{version(2)}"}}'
            )
    scripted.sync_well()
    assert scripted.numbers("production") == [2, 2]
    scripted.check()
    assert list((scripted.root / ".incoming").iterdir()) == []


def test_a_run_that_was_killed_does_not_disturb_the_next_one(scripted, service, tmp_path):
    """The script of the killed run continues for a while and writes files."""
    service.publish(version(2), size=400_000)
    service.fault("stall", kind="package", arch="x86_64", times=1, after=100_000)
    process = scripted.start("sync")
    assert until(lambda: any(exchange.bytes_sent >= 100_000 for exchange in service.asked("package")))
    kill(process)
    scripted.sync_well()
    before = scripted.snapshot()
    assert scripted.numbers("production") == [2, 2]
    assert workers(tmp_path)
    service.clear_faults()
    assert until(lambda: not workers(tmp_path))
    assert scripted.snapshot() == before
    assert scripted.run("verify").status == 0


@pytest.mark.parametrize("fault", ["stall", "drip"])
def test_a_script_that_hangs_is_stopped(scripted, service, tmp_path, patience, fault):
    service.publish(version(2), size=SIZE)
    service.fault(fault, kind="package", arch="arm64")
    before = scripted.snapshot()
    with patience.ends_when(lambda: fetched(service)[:1] == ["arm64"], "script_failed"):
        run = scripted.sync(command=patience.command)
    assert run.outcomes() == dict(zip(folders("production"), ("updated", "failed")))
    assert run.error(folders("production")[1])["code"] == "timeout"
    assert scripted.served(folders("production")[1]) == before[folders("production")[1]]
    assert until(lambda: not workers(tmp_path))
    service.clear_faults()
    scripted.sync_well()
    assert scripted.numbers("production") == [2, 2]


def test_a_signal_also_stops_the_script(scripted, service, tmp_path):
    service.publish(version(2), size=SIZE)
    service.fault("stall", kind="package")
    before = scripted.snapshot()
    service.clear_requests()
    process = scripted.start("sync")
    assert until(lambda: service.asked("package"))
    kill(process, signal.SIGTERM)
    assert process.returncode not in (0, 75)
    # The processes got their signal, but may not have ended yet.
    assert until(lambda: not workers(tmp_path))
    assert scripted.snapshot() == before
    service.clear_faults()
    scripted.sync_well()


@pytest.mark.parametrize("missing", ["jq", "curl"])
def test_a_missing_program_is_reported(scripted, service, tmp_path, monkeypatch, missing):
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    for name in (*NEEDED, *OTHERS):
        if name != missing and shutil.which(name):
            (bin_folder / name).symlink_to(shutil.which(name))
    service.publish(version(2), size=SIZE)
    before = scripted.snapshot()
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(bin_folder))
        run = scripted.sync()
    assert run.status == 1
    assert codes(run) == {"script_failed"}
    assert missing in run.error()["hint"]
    assert missing in run.error()["message"]
    assert scripted.snapshot() == before
    scripted.sync_well()


def test_a_full_disk(scripted, service, tmpfs, tmp_path):
    """The script ends with status 0 also in this case."""
    scripted.move_to(tmpfs(tmp_path / "disk", "6m"))
    service.publish(version(2), size=8_000_000, arch="x86_64")
    unchanged = scripted.snapshot()
    run = scripted.sync()
    assert run.status == 1
    assert scripted.snapshot(folders("production", "x86_64")) == {PRODUCTION: unchanged[PRODUCTION]}
    assert list((scripted.root / ".incoming").iterdir()) == []
    service.publish(version(3), size=SIZE)
    scripted.sync_well()
    assert scripted.numbers("production") == [3, 3]


# -- other scripts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("echo this version cannot do that >&2; exit 3", "script_failed"),
        ("exit 0", "script_failed"),
        ("kill -9 $$", "script_failed"),
        ("not even a script (", "script_failed"),
    ],
)
def test_a_script_that_does_not_work(scripted, clone, service, body, code):
    script = clone / HOME / SCRIPT
    original = script.read_text()
    script.write_text(body + "\n")
    service.publish(version(2), size=SIZE)
    before = scripted.snapshot()
    run = scripted.sync()
    assert (run.status, codes(run)) == (1, {code})
    assert scripted.snapshot() == before
    if "exit 3" in body:
        assert "status 3" in run.error()["message"]
        assert "this version cannot do that" in run.error()["message"]
    script.write_text(original)
    scripted.sync_well()


@pytest.mark.parametrize("leave", ["ln -s /etc/passwd updates.zip", "mkdir updates.zip", "mkfifo updates.zip", ":"])
def test_a_package_must_be_a_regular_file(scripted, clone, service, leave):
    """The manifests are valid, but the packages are not regular files."""
    lines = ["set -e"]
    for path in folders("production"):
        manifest = f'{{"EngineVersion": "{ENGINE}", "DefinitionVersion": "{version(2)}"}}'
        lines += [f'folder="$(jq -r .downloadFolder settings.json)/{path}"', 'mkdir -p "$folder"', 'cd "$folder"']
        lines += [f"echo '{manifest}' > manifest.json", leave, "cd - > /dev/null"]
    (clone / HOME / SCRIPT).write_text("\n".join(lines) + "\n")
    service.publish(version(2), size=SIZE)
    before = scripted.snapshot()
    run = scripted.sync()
    assert (run.status, codes(run)) == (1, {"not_a_package"})
    assert scripted.snapshot() == before


def test_a_folder_without_the_script(scripted, service, tmp_path):
    scripted.configure(script={"path": str(tmp_path)})
    service.publish(version(2), size=SIZE)
    before = scripted.snapshot()
    run = scripted.sync()
    assert (run.status, codes(run)) == (1, {"script_missing"})
    assert len(run.units) == len(ARCHITECTURES)
    assert scripted.snapshot() == before


def test_a_folder_of_a_manual_run_of_the_script_is_adopted_and_repaired(scripted, service):
    """The zip is release 1 and its manifest is of release 2: a race that the script never notices."""
    shutil.rmtree(scripted.root)
    service.publish(version(2), size=SIZE)
    for arch, path in zip(ARCHITECTURES, folders("production")):
        folder = scripted.root / path
        build_package(folder / "updates.zip", version(1), ENGINE, arch=arch, size=SIZE // 2)
        (folder / "manifest.json").write_text(f'{{"EngineVersion": "{ENGINE}", "DefinitionVersion": "{version(2)}"}}')
    scripted.sync()
    scripted.sync_well()
    assert scripted.numbers("production") == [2, 2]
    scripted.check()
