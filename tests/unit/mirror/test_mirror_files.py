"""Files that are replaced atomically, and the owners of files."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from ansible_collections.mde.offline.plugins.module_utils._mirror import files
from ansible_collections.mde.offline.plugins.module_utils._mirror.errors import MirrorError
from ansible_collections.mde.offline.plugins.module_utils._mirror.privileges import acting_as_owner

from tools.collection_tree import CHECKOUT

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: only root can act as another user")
not_root = pytest.mark.skipif(os.geteuid() == 0, reason="NOT TESTED as root: nothing is forbidden to root")


@pytest.fixture
def aside(tmp_path):
    folder = tmp_path / "aside"
    folder.mkdir()
    return folder


def a_folder(path):
    path.mkdir()
    (path / "updates.zip").write_text("old")


def a_link(path):
    path.symlink_to("old-target")


def a_link_to_a_folder(path):
    a_folder(path.with_name("old"))
    path.symlink_to("old")


def a_file(path):
    path.write_text("old")


def nothing(path):
    return None


@pytest.mark.parametrize("before", [nothing, a_link, a_link_to_a_folder, a_file, a_folder])
def test_a_link_takes_the_place_of_whatever_is_there(tmp_path, aside, before):
    link, target = tmp_path / "link", tmp_path / "target"
    before(link)
    a_folder(target)

    files.replace_symlink(link, "target", aside)

    assert link.is_symlink()
    assert os.readlink(link) == "target"
    assert list(aside.iterdir()) == []
    assert (target / "updates.zip").read_text() == "old"
    if before is a_link_to_a_folder:
        assert (tmp_path / "old" / "updates.zip").read_text() == "old"


@pytest.mark.skipif(sys.platform != "linux", reason="NOT TESTED: only Linux swaps two names in one step")
@pytest.mark.parametrize("before", [a_link_to_a_folder, a_folder])
def test_there_is_no_moment_without_the_name(tmp_path, aside, before):
    """A reader that reads continuously always finds one of the two folders at the name."""
    target = tmp_path / "target"
    target.mkdir()
    (target / "updates.zip").write_text("new")
    names = [tmp_path / str(number) / "arch" for number in range(60)]
    for name in names:
        name.parent.mkdir()
        before(name)
    missing, seen, stop, started = [], set(), threading.Event(), threading.Event()

    def read():
        while not stop.is_set():
            for name in names:
                try:
                    seen.add((name / "updates.zip").read_text())
                except FileNotFoundError:
                    # The old folder loses its files after the exchange; the name must exist at any time.
                    if not os.path.lexists(name):
                        missing.append(name)
            started.set()

    reader = threading.Thread(target=read)
    reader.start()
    try:
        assert started.wait(300)
        for name in names:
            files.replace_symlink(name, str(target), aside)
    finally:
        stop.set()
        reader.join()
    assert missing == []
    assert "old" in seen
    assert {name.joinpath("updates.zip").read_text() for name in names} == {"new"}


def test_a_link_that_cannot_be_set_leaves_nothing_behind(tmp_path, aside):
    with pytest.raises(OSError):
        files.replace_symlink(tmp_path / "no" / "such" / "folder", "target", aside)
    assert list(aside.iterdir()) == []


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_modes_do_not_depend_on_the_umask(tmp_path, aside, mask):
    before = os.umask(mask)
    try:
        files.make_directory(tmp_path / "a" / "b")
        files.make_directory(tmp_path / "private", 0o700)
        files.replace(tmp_path / "a" / "file", b"1", aside)
        files.replace(tmp_path / "a" / "secret", b"1", aside, 0o640)
    finally:
        os.umask(before)
    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode)
        for path in (tmp_path / "a", tmp_path / "a" / "b", tmp_path / "private", *(tmp_path / "a").glob("*"))
    }
    assert modes == {"a": 0o755, "b": 0o755, "private": 0o700, "file": 0o644, "secret": 0o640}


def test_a_file_is_replaced_and_not_written_through_a_link(tmp_path, aside):
    (tmp_path / "elsewhere").write_bytes(b"theirs")
    (tmp_path / "file").symlink_to("elsewhere")
    files.replace(tmp_path / "file", b"ours", aside)
    assert (tmp_path / "elsewhere").read_bytes() == b"theirs"
    assert (tmp_path / "file").read_bytes() == b"ours"
    with pytest.raises(OSError):
        files.replace(tmp_path, b"ours", aside)
    assert list(aside.iterdir()) == []


@pytest.mark.parametrize("before", [nothing, a_link, a_link_to_a_folder, a_file, a_folder])
def test_a_tree_is_removed_and_what_it_points_at_is_not(tmp_path, before):
    before(tmp_path / "doomed")
    files.remove_tree(tmp_path / "doomed")
    assert not os.path.lexists(tmp_path / "doomed")
    assert (tmp_path / "old" / "updates.zip").exists() is (before is a_link_to_a_folder)


@not_root
def test_what_is_forbidden_becomes_advice(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(MirrorError) as refused, files.advising("writing", tmp_path / "x"):
        files.write(tmp_path / "x", b"")
    assert refused.value.code == "not_writable"


def test_a_full_disk_becomes_advice():
    full = Path("/dev/full")
    with pytest.raises(MirrorError) as refused, files.advising("writing", full), full.open("wb", 0) as stream:
        stream.write(b"x")
    assert refused.value.code == "disk_full"
    assert "/dev/full" in refused.value.message


# --- the owner of the files -------------------------------------------------------------------------------------------

OTHER_USER = 54321


@pytest.fixture
def folder_of_another_user():
    """A folder of another user, where that user can reach it (pytest keeps its own folders private)."""
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, OTHER_USER, OTHER_USER + 1)
        yield Path(folder)


def identity():
    return os.geteuid(), os.getegid(), os.getgroups()


@as_root
def test_root_acts_as_the_owner_of_the_folder(folder_of_another_user):
    before = identity()
    with acting_as_owner(folder_of_another_user):
        assert identity() == (OTHER_USER, OTHER_USER + 1, [OTHER_USER + 1])
        (folder_of_another_user / "made").touch()
    assert identity() == before
    made = (folder_of_another_user / "made").stat()
    assert (made.st_uid, made.st_gid) == (OTHER_USER, OTHER_USER + 1)


@as_root
def test_root_is_root_again_after_a_failure(folder_of_another_user):
    before = identity()
    with pytest.raises(KeyError), acting_as_owner(folder_of_another_user):
        raise KeyError
    assert identity() == before


@as_root
def test_root_stays_root_in_its_own_folder_and_in_a_missing_one(tmp_path):
    before = identity()
    for folder in (tmp_path, tmp_path / "none"):
        with acting_as_owner(folder):
            assert identity() == before


@not_root
def test_a_user_stays_who_he_is(tmp_path):
    before = identity()
    for folder in (tmp_path, tmp_path / "none", "/"):
        with acting_as_owner(tmp_path / folder):
            assert identity() == before


def run_to_its_end(*command):
    return subprocess.run([str(part) for part in command], capture_output=True, timeout=300, text=True, check=False)


def a_python_for_everybody():
    """A Python on PATH with a library that other users can read, because a run by root continues as another user."""
    for folder in os.get_exec_path():
        python = shutil.which("python3", path=folder)
        if python:
            printed = run_to_its_end(python, "-c", "import os; print(os.__file__)")
            library = Path(printed.stdout.strip())
            if printed.returncode == 0 and all(parent.stat().st_mode & stat.S_IXOTH for parent in library.parents):
                return python
    return pytest.skip("NOT TESTED: no python3 on PATH has a library that other users can read")


def sync_settings(tmp_path, **fields):
    path = tmp_path / "settings.json"
    path.write_text(json.dumps({**fields, "source": {"url": "http://localhost:9/", "retries": 0}}))
    return path


@as_root
@pytest.mark.parametrize(
    "log",
    [
        "",
        "sync.log",
    ],
    ids=["no log", "log"],
)
def test_a_sync_by_root_leaves_no_files_of_root(tmp_path, folder_of_another_user, log):
    folder = folder_of_another_user
    settings = sync_settings(tmp_path, downloadFolder=str(folder), logFilePath=log and str(folder / log))
    command = CHECKOUT / "tools" / "mde_mirror_dev.py"
    run = run_to_its_end(a_python_for_everybody(), command, "sync", "--settings", settings)
    assert run.returncode == 1, run.stderr
    assert "Traceback" not in run.stderr
    assert (folder / "status.json").exists()
    assert [path for path in folder.rglob("*") if path.lstat().st_uid != OTHER_USER] == []


WATCHED_SYNC = """
import os, sys
from pathlib import Path

class Watch:
    def find_spec(self, name, path=None, target=None):
        if os.geteuid() != 0:
            print("imported", name)

sys.path.insert(0, sys.argv[1])
from _mirror.settings import load
from _mirror.sync import sync
sys.meta_path.insert(0, Watch())
assert sync(load(Path(sys.argv[2]))).failed
"""


@as_root
def test_nothing_is_imported_while_root_acts_as_another_user(tmp_path, folder_of_another_user):
    """An import would raise an exception if the other user cannot read root's Python (a home of mode 0700)."""
    settings = sync_settings(tmp_path, downloadFolder=str(folder_of_another_user))
    engine = CHECKOUT / "plugins" / "module_utils"
    run = run_to_its_end(a_python_for_everybody(), "-c", WATCHED_SYNC, engine, settings)
    assert (run.stdout, run.stderr, run.returncode) == ("", "", 0)
