"""The mirror with kill -9, full disks, missing permissions, simultaneous runs, clock changes and damaged files."""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import threading
import time

import pytest

from simulators.download_service import build_package
from tests.support.engine import (
    FIRST,
    LONGEST,
    MEASURED,
    PRODUCTION,
    SECOND,
    SIZE,
    THIRD,
    UNITS,
    Served,
    assert_whole,
    damage,
    kill,
    linger,
    until,
    version,
)

BIG = 2_000_000


def sent(service):
    """The number of bytes of all downloads, unfinished and finished."""
    return sum(exchange.bytes_sent for exchange in service.requests)


def partly_fetched(mirror):
    """The size of the only unfinished download; its metadata file has only a few bytes."""
    sizes = []
    for path in (mirror.root / ".incoming").rglob("*"):
        # The file may have been removed in the meantime.
        with contextlib.suppress(FileNotFoundError):
            sizes.append(path.stat().st_size if path.is_file() else 0)
    return max(sizes, default=0)


# -- kill -9 -----------------------------------------------------------------------------------------------------------


def served_numbers(mirror):
    return {path: served.number for path, served in mirror.snapshot(UNITS).items()}


def kill_after_publishing(mirror, service, number, size, throttle, condition):
    """Kills a sync; checks that clients see valid packages that are not older than before."""
    before = served_numbers(mirror)
    service.throttle = throttle
    service.publish(version(number), size=size)
    service.clear_requests()
    process = mirror.start("sync")
    try:
        condition(process)
    finally:
        kill(process)
    mirror.check()
    after = served_numbers(mirror)
    assert all(after[path] >= before[path] for path in UNITS)


def test_kill_9_at_any_moment(filled, service):
    chance = random.Random(2)

    def bytes_sent(limit):
        return lambda process: until(lambda: sent(service) >= limit or process.poll() is not None)

    def seconds(limit):
        return lambda process: linger(process, limit)

    # By bytes: during downloads. By time: also while releases are stored and published.
    for number in range(9, 17):
        limit = chance.randrange(0, 4 * BIG)
        kill_after_publishing(filled, service, number, BIG, 8 * BIG, bytes_sent(limit))
    service.throttle = 0
    begun = time.monotonic()
    service.publish(version(19), size=SIZE)
    filled.sync_well()
    whole = time.monotonic() - begun
    for number in range(20, 32):
        kill_after_publishing(filled, service, number, SIZE, 0, seconds(chance.uniform(0.3, 1.0) * whole))

    filled.sync_well()
    assert set(served_numbers(filled).values()) == {31}
    assert not list((filled.root / ".incoming").iterdir())
    stored = [path for path in (filled.root / ".releases").glob("*/*") if path.is_dir()]
    assert all((path / "updates.zip").is_file() for path in stored), stored
    assert len(list((filled.root / ".releases" / "linux-x86_64").iterdir())) <= 2 * 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_sync_at_once(filled, service, number):
    """The sync does not wait for its downloads."""
    filled.configure(source={"timeout": 10 * LONGEST})
    service.publish(SECOND, size=BIG)
    service.fault("stall", kind="package", after=BIG // 2)
    process = filled.start("sync")
    assert until(lambda: sent(service) > BIG)
    kill(process, number)
    assert process.returncode not in (0, 75)
    filled.check(UNITS)
    service.clear_faults()
    filled.sync_well()
    assert filled.served().definitions == SECOND


def test_after_a_kill_only_the_missing_bytes_are_downloaded(filled, service):
    filled.configure(downloadPreviewUpdates=False, architectures=["x86_64"])
    (release,) = service.publish(SECOND, size=BIG, platform="linux", arch="x86_64", ring="production")
    size = release.path.stat().st_size
    service.fault("stall", kind="package", after=size * 3 // 4)
    process = filled.start("sync")
    # Sent bytes may still be in network buffers; the bytes on the disk count.
    assert until(lambda: partly_fetched(filled) > size // 4)
    kill(process)
    have = partly_fetched(filled)
    assert size // 4 < have < size
    service.clear_faults()
    assert until(lambda: all(exchange.finished for exchange in service.requests))
    service.clear_requests()
    filled.sync_well()
    assert until(lambda: all(exchange.finished for exchange in service.requests))
    assert sum(exchange.bytes_sent for exchange in service.asked("package")) == size - have
    assert filled.served().definitions == SECOND


@pytest.mark.parametrize(
    ("fault", "options"),
    [
        ("ignore_range", {}),
        ("wrong_range", {}),
        ("wrong_range", {"shift": -1}),
        ("unsatisfiable", {}),
        ("change_etag", {}),
    ],
)
@pytest.mark.parametrize("validators", [True, False])
def test_a_resumed_download_never_mixes_two_packages(filled, service, fault, options, validators):
    """The unfinished download is of one representation, and the response is of another or has other bytes of it."""
    filled.configure(downloadPreviewUpdates=False, architectures=["x86_64"], source={"retries": 2})
    service.etag = service.last_modified = validators
    service.publish(SECOND, size=SIZE)
    service.fault("truncate", kind="package", times=1)
    service.fault(fault, kind="package", skip=1, **options)
    run = filled.sync_well()
    assert run.outcomes() == {PRODUCTION: "updated"}
    assert filled.served().definitions == SECOND


def test_a_newer_release_after_a_kill_is_not_mixed_with_the_old_one(filled, service):
    service.throttle = 500_000
    service.publish(SECOND, size=BIG)
    process = filled.start("sync")
    assert until(lambda: sent(service) > BIG)
    kill(process)
    service.throttle = 0
    service.publish(THIRD, size=BIG)
    filled.sync_well()
    assert {served.definitions for served in filled.snapshot(UNITS).values()} == {THIRD}


# -- simultaneous runs -------------------------------------------------------------------------------------------------


def test_a_second_run_ends_and_names_the_first(filled, service):
    filled.configure(source={"timeout": 10 * LONGEST})
    service.publish(SECOND, size=SIZE)
    service.fault("stall", kind="package")
    service.clear_requests()
    with filled.start("sync", "--json") as first:
        assert until(lambda: service.asked("package"))
        second = filled.run("sync")
        in_json = filled.sync()
        assert first.poll() is None
        service.clear_faults()
        stdout, _stderr = first.communicate(timeout=LONGEST)
    assert (second.status, in_json.status) == (75, 75)
    assert str(first.pid) in second.text
    assert str(first.pid) in in_json.report["errors"][0]["message"]
    assert in_json.report["errors"][0]["code"] == "locked"
    assert json.loads(stdout)["result"] == "ok"
    filled.check()
    assert filled.served().definitions == SECOND


def test_a_killed_run_leaves_no_lock(filled, service):
    service.publish(SECOND, size=SIZE)
    service.fault("stall", kind="package", times=1)
    service.clear_requests()
    process = filled.start("sync")
    assert until(lambda: service.asked("package"))
    kill(process)
    filled.sync_well()


# -- readers -----------------------------------------------------------------------------------------------------------


class Reader(threading.Thread):
    """Repeatedly reads what clients read; records packages that are not valid as errors."""

    def __init__(self, mirror, path):
        super().__init__(daemon=True)
        self.folder, self.path, self.mirror = mirror.root / path, path, mirror
        self.done = threading.Event()
        self.errors, self.seen, self.rounds = [], [], 0

    def run(self):
        while not self.done.is_set():
            try:
                self.look()
            except Exception as error:
                self.errors.append(error)
            self.rounds += 1
            self.done.wait(0.01)

    def look(self):
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            pair = []
            for name in ("updates.zip", "manifest.json"):
                with open(name, "rb", opener=lambda file, flags: os.open(file, flags, dir_fd=descriptor)) as stream:
                    pair.append(stream.read())
        except FileNotFoundError:
            if os.path.samestat(os.fstat(descriptor), self.folder.stat()):
                raise
            # A folder that was replaced after it was opened loses its files. The next round reads the new folder.
            return
        finally:
            os.close(descriptor)
        served = Served(*pair)
        assert_whole(served, self.path)
        self.seen.append(served.definitions)
        json.loads((self.folder / "manifest.json").read_bytes())
        status = self.mirror.root / "status.json"
        if status.exists():
            json.loads(status.read_bytes())

    def sees(self, definitions):
        return definitions in self.seen[-1:]

    def end(self):
        assert until(lambda: self.rounds > 20)
        self.done.set()
        self.join(LONGEST)
        assert not self.errors, self.errors[:3]


def test_no_reader_ever_sees_an_incomplete_publication(filled, service):
    readers = [Reader(filled, path) for path in (PRODUCTION, UNITS[1])]
    for reader in readers:
        reader.start()
    for number in range(9, 17):
        service.publish(version(number), size=SIZE)
        filled.sync_well()
        assert until(lambda: all(reader.errors or reader.sees(version(number)) for reader in readers))  # noqa: B023
    for reader in readers:
        reader.end()
        assert len(set(reader.seen)) > 7
        numbers = [int(seen.split(".")[2]) for seen in reader.seen]
        assert numbers == sorted(numbers)


# -- damage ------------------------------------------------------------------------------------------------------------


def junk_for_link(folder):
    folder.unlink()
    folder.write_text("junk")


def junk_folder_for_link(folder):
    folder.unlink()
    folder.mkdir()
    (folder / "updates.zip").write_text("junk")


def dangling_link(folder):
    folder.unlink()
    folder.symlink_to("../../.releases/nowhere")


def link_to_another_release(folder):
    other = os.readlink(folder.parent / "arch_arm64")
    folder.unlink()
    folder.symlink_to(other)


DAMAGES = {
    "a bit of the zip flipped": damage,
    "zip truncated": lambda folder: os.truncate(folder / "updates.zip", 1000),
    "zip grown": lambda folder: (folder / "updates.zip").open("ab").write(b"more"),
    "zip empty": lambda folder: os.truncate(folder / "updates.zip", 0),
    "zip deleted": lambda folder: (folder / "updates.zip").unlink(),
    "zip another file": lambda folder: (folder / "updates.zip").write_text("<html>"),
    "manifest deleted": lambda folder: (folder / "manifest.json").unlink(),
    "manifest empty": lambda folder: os.truncate(folder / "manifest.json", 0),
    "manifest of another release": lambda folder: (folder / "manifest.json").write_text(
        '{"EngineVersion": "1.1.1.1", "DefinitionVersion": "1.443.509.0"}'
    ),
    "record deleted": lambda folder: (folder / "release.json").unlink(),
    "release deleted": lambda folder: shutil.rmtree(folder.resolve()),
    "link deleted": lambda folder: folder.unlink(),
    "link replaced by a file": junk_for_link,
    "link replaced by a folder": junk_folder_for_link,
    "link to nowhere": dangling_link,
    "link to another release": link_to_another_release,
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_damage_is_repaired_without_a_new_release(filled, service, kind):
    filled.sync_well()
    before = filled.snapshot()
    (filled.root / PRODUCTION).resolve().chmod(0o755)
    DAMAGES[kind](filled.root / PRODUCTION)
    run = filled.sync_well()
    assert run.report["changed"] is True
    assert run.outcomes() == {path: "repaired" if path == PRODUCTION else "unchanged" for path in UNITS}
    assert filled.snapshot(UNITS) == {path: before[path] for path in UNITS}
    again = filled.sync_well()
    assert again.report["changed"] is False
    assert filled.run("verify").status == 0


def test_everything_that_clients_see_is_deleted(filled):
    before = filled.snapshot()
    shutil.rmtree(filled.root / "linux")
    filled.sync_well()
    assert filled.snapshot(UNITS) == before


@pytest.mark.parametrize(
    "content", [None, "", "{", '{"format": 1}', "[]", '{"channels": {"linux/production/arch_x86_64": 7}}']
)
def test_a_sync_works_after_the_state_was_lost_or_damaged(filled, service, content):
    before = filled.snapshot()
    for path in [*(filled.root / ".state").glob("*.json"), filled.root / "status.json"]:
        path.unlink()
        if content is not None:
            path.write_text(content)
    filled.sync_well()
    assert filled.snapshot() == before
    assert not service.asked("package")
    service.publish(SECOND, size=SIZE)
    filled.sync_well()
    assert filled.served().definitions == SECOND
    assert filled.served("linux/production_back/arch_x86_64") == before[PRODUCTION]


def test_damage_does_not_become_n_1(filled, service):
    service.publish(SECOND, size=SIZE)
    filled.sync_well()
    damage(filled.root / PRODUCTION)
    service.publish(THIRD, size=SIZE)
    filled.sync_well()
    assert filled.served().definitions == THIRD
    back = "linux/production_back/arch_x86_64"
    assert not (filled.root / back).exists() or filled.served(back).definitions in (FIRST, SECOND)


def test_verify_finds_what_is_damaged(filled):
    assert filled.run("verify").status == 0
    damage(filled.root / PRODUCTION)
    found = filled.run("verify", "--json")
    assert found.status == 1
    assert [entry["path"] for entry in found.report if entry["damages"]] == [PRODUCTION]
    assert PRODUCTION in filled.run("verify").text


# -- the file system ---------------------------------------------------------------------------------------------------


def failed_codes(run):
    return {unit["error"]["code"] for unit in run.units.values() if unit["error"]} | {
        error["code"] for error in run.report["errors"]
    }


def test_a_full_disk_is_detected_before_the_download(filled, service, tmpfs, tmp_path):
    filled.move_to(tmpfs(tmp_path / "small", "12m"))
    filled.configure(parallel=1)
    service.publish(SECOND, size=9_000_000, platform="linux", arch="x86_64", ring="production")
    run = filled.sync()
    assert run.status == 1
    assert run.error()["code"] == "disk_full"
    assert not [exchange for exchange in service.asked("package") if exchange.bytes_sent > 4_000_000]
    filled.check()
    assert filled.served().definitions == FIRST
    service.publish(THIRD, size=SIZE)
    filled.sync_well()


def test_a_disk_that_becomes_full_during_the_download(filled, service, tmpfs, tmp_path):
    """Without a Content-Length, the size is not known before the download."""
    filled.move_to(tmpfs(tmp_path / "small", "8m"))
    filled.configure(parallel=1, logFilePath=None)
    before = filled.snapshot(UNITS)
    service.publish(SECOND, size=9_000_000, platform="linux", arch="x86_64", ring="production")
    service.fault("chunked", kind="package")
    run = filled.sync()
    assert run.status == 1
    assert run.error()["code"] == "disk_full"
    assert filled.snapshot(UNITS) == before
    filled.check()
    service.publish(THIRD, size=SIZE)
    filled.sync_well()
    assert filled.served().definitions == THIRD


def test_a_quota_on_file_size(filled, service):
    """A limit has the same effect as a full disk, and needs no file system to be mounted."""
    service.publish(SECOND, size=BIG, platform="linux", arch="x86_64", ring="production")
    service.publish(SECOND, size=SIZE, platform="linux", arch="arm64")
    run = filled.sync(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (BIG // 2, BIG // 2)))
    assert run.status == 1
    assert run.error()["code"] == "disk_full"
    assert run.outcomes()[UNITS[1]] == "updated"
    filled.check()
    assert filled.served().definitions == FIRST
    filled.sync_well()
    assert filled.served().definitions == SECOND


def test_a_root_that_is_read_only(filled, service, tmpfs, tmp_path):
    frozen = tmpfs(tmp_path / "frozen", "20m")
    filled.move_to(frozen)
    filled.configure(logFilePath=None)
    service.publish(SECOND, size=SIZE)
    subprocess.run(["mount", "-o", "remount,ro", str(frozen)], check=True)
    before = filled.tree()
    run = filled.sync()
    assert run.status == 1
    assert failed_codes(run) == {"not_writable"}
    synced = filled.run("sync")
    assert str(filled.root) in synced.text
    assert filled.tree() == before
    assert filled.run("status").status == 0
    subprocess.run(["mount", "-o", "remount,rw", str(frozen)], check=True)
    filled.sync_well()


@pytest.mark.skipif(os.geteuid() == 0, reason="NOT TESTED: root may write anywhere")
def test_a_root_without_permissions(filled, service):
    service.publish(SECOND, size=SIZE)
    for folder in (filled.root, filled.root / ".incoming", filled.root / ".state"):
        folder.chmod(0o555)
    run = filled.sync()
    for folder in (filled.root, filled.root / ".incoming", filled.root / ".state"):
        folder.chmod(0o755)
    assert run.status == 1
    assert failed_codes(run) == {"not_writable"}


def test_a_root_that_is_a_file(unsynced):
    unsynced.root.write_text("in the way")
    run = unsynced.sync()
    assert run.status == 1
    assert run.report["errors"][0]["hint"]
    assert unsynced.root.read_text() == "in the way"


def test_published_files_are_readable_whatever_the_umask_is(unsynced):
    run = unsynced.sync_well(umask=0o077)
    assert run.status == 0
    for folder in (unsynced.root, *unsynced.root.glob("linux/**/"), *(unsynced.root / ".releases").glob("**/")):
        assert folder.stat().st_mode & 0o777 == 0o755, folder
    assert (unsynced.root / "status.json").stat().st_mode & 0o777 == 0o644


# -- the clock ---------------------------------------------------------------------------------------------------------

JUMPING_CLOCK = """
import random, time
real, jump = time.time, random.Random(1)
time.time = lambda: real() + jump.choice([-400, 0, 400]) * 86400.0
time.time_ns = lambda: int(time.time() * 1e9)
"""


def test_a_clock_that_changes(filled, service, tmp_path):
    """The system time alternates between now and a year ahead each time it is read."""
    (tmp_path / "jump").mkdir()
    (tmp_path / "jump" / "sitecustomize.py").write_text(JUMPING_CLOCK)
    jumping = {"env": {**os.environ, "PYTHONPATH": str(tmp_path / "jump")}}
    filled.configure(source={"retries": 1})
    for number in range(9, 13):
        service.publish(version(number), size=SIZE)
        service.fault("status", kind="info", times=1, code=503, retry_after=1, retry_date=True)
        run = filled.sync_well(**jumping)
        # The sync ended, so it neither waits for the system time nor measures with it.
        assert all(0 <= unit["seconds"] <= run.seconds for unit in run.units.values())
        assert filled.served().definitions == version(number)
    status = filled.run("status", "--json", **jumping)
    assert status.status == 0
    assert all(channel["age_seconds"] >= 0 for channel in status.report["channels"])


# -- memory ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_memory_does_not_grow_with_the_package(unsynced, service, tmp_path):
    unsynced.configure(downloadPreviewUpdates=False, architectures=["x86_64"])
    unit = {"platform": "linux", "arch": "x86_64", "ring": "production"}
    (release,) = service.publish(SECOND, size=300_000_000, stored=True, **unit)
    try:
        run = unsynced.sync_well(command=MEASURED)
        assert release.path.stat().st_size == run.units[PRODUCTION]["bytes"]
        assert run.peak < 80 << 20
    finally:
        shutil.rmtree(unsynced.root, ignore_errors=True)
        release.path.unlink()


# -- migration from Microsoft's script --------------------------------------------------------------------------------


@pytest.fixture
def scripted(unsynced, service):
    """A folder in the form that Microsoft's script creates, with the settings file of the script."""
    for path in (*UNITS, *(path.replace("/arch", "_back/arch") for path in UNITS)):
        platform, channel, arch = path.split("/")
        definitions = "1.443.400.0" if channel.endswith("_back") else FIRST
        folder = unsynced.root / path
        ring = channel.replace("_back", "")
        build_package(
            folder / "updates.zip", definitions, "1.1.25110.3002", platform, arch.replace("arch_", ""), ring, size=SIZE
        )
        manifest = {"EngineVersion": "1.1.25110.3002", "DefinitionVersion": definitions}
        (folder / "manifest.json").write_text(json.dumps(manifest))
    return unsynced


def test_a_folder_of_microsofts_script_is_adopted_without_a_download(scripted, service):
    before = scripted.snapshot()
    reader = Reader(scripted, PRODUCTION)
    reader.start()
    run = scripted.sync_well()
    reader.end()
    assert run.outcomes() == dict.fromkeys(UNITS, "adopted")
    assert not service.asked("package", "GET")
    assert {path: served.zip for path, served in scripted.snapshot().items()} == {
        path: served.zip for path, served in before.items()
    }
    again = scripted.sync_well()
    assert again.outcomes() == dict.fromkeys(UNITS, "unchanged")


def test_an_adopted_release_becomes_n_1_of_a_newer_one(scripted, service):
    service.publish(SECOND, size=SIZE)
    scripted.sync_well()
    assert {scripted.served(path).definitions for path in UNITS} == {SECOND}
    assert scripted.served("linux/production_back/arch_x86_64").definitions == FIRST


@pytest.mark.parametrize("broken", ["zip is HTML", "zip missing", "manifest empty", "manifest missing"])
def test_a_damaged_folder_of_microsofts_script_is_replaced(scripted, service, broken):
    folder = scripted.root / PRODUCTION
    if broken == "zip is HTML":
        (folder / "updates.zip").write_text("<html>404</html>")
    elif broken == "zip missing":
        (folder / "updates.zip").unlink()
    elif broken == "manifest missing":
        (folder / "manifest.json").unlink()
    else:
        (folder / "manifest.json").write_text("")
    run = scripted.sync_well()
    assert run.outcomes() == {path: run.outcomes()[path] if path == PRODUCTION else "adopted" for path in UNITS}
    assert run.outcomes()[PRODUCTION] in ("repaired", "updated")
    assert scripted.served().definitions == FIRST
    assert len(service.asked("package", "GET")) == 1


def test_a_damaged_n_1_of_microsofts_script_is_no_longer_served(scripted):
    back = "linux/production_back/arch_x86_64"
    (scripted.root / back / "updates.zip").write_text("<html>404</html>")
    scripted.sync_well()
    assert not (scripted.root / back).exists() or scripted.served(back).zip.startswith(b"PK")


def test_an_adoption_that_was_killed_is_completed(scripted, service):
    chance = random.Random(3)
    for _ in range(4):
        process = scripted.start("sync")
        linger(process, chance.uniform(0.2, 0.5))
        kill(process)
        for path in UNITS:
            assert_whole(scripted.served(path), path)
    scripted.sync_well()
    assert {scripted.served(path).definitions for path in UNITS} == {FIRST}
    assert not service.asked("package", "GET")


def test_a_wrong_manifest_of_microsofts_script_is_detected(scripted, service):
    """The script downloads the zip before the versions, so the manifest may belong to a newer release than the zip."""
    lie = {"EngineVersion": "1.1.25110.3002", "DefinitionVersion": SECOND}
    (scripted.root / PRODUCTION / "manifest.json").write_text(json.dumps(lie))
    service.publish(SECOND, size=SIZE + 5000)
    scripted.sync_well()
    assert {scripted.served(path).definitions for path in UNITS} == {SECOND}
