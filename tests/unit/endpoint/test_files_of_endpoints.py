"""Reading and replacing a file of an endpoint: whole or not at all, whatever goes wrong on the way."""

from __future__ import annotations

import os
import resource
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ansible_collections.mde.offline.plugins.module_utils._endpoint.managed import files


class Module:
    """What a module knows of SELinux; remembers which context each new file got."""

    def __init__(self, selinux: bool = False) -> None:
        self.selinux = selinux
        self.given: dict[str, str] = {}

    def selinux_enabled(self) -> bool:
        return self.selinux

    def selinux_context(self, path: str) -> str:
        assert Path(path).exists()
        return f"as {path} has it"

    def selinux_default_context(self, path: str) -> str:
        return f"as {path} should have it"

    def set_context_if_different(self, path: str, context: str, changed: bool) -> bool:
        self.given["staged" if ".mde-offline-" in path else path] = context
        return True


def replace(path: Path, data: bytes, mode: int | None = None, module: Module | None = None) -> None:
    files.replace(module or Module(), str(path), data, lambda staged: mode and Path(staged).chmod(mode))


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """The nearest thing to a full disk that needs no root: a write that stops half-way."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "one" / "two" / "Größe.json"
    assert files.read(files.resolve(str(path))) is None
    replace(path, b"new")
    assert files.read(files.resolve(str(path))) == b"new"
    assert [stat.S_IMODE(place.stat().st_mode) for place in (path.parent, path)] == [0o755, 0o644]
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_the_umask_does_not_count(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        replace(tmp_path / "folder" / "file", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "folder" / "file").stat().st_mode) == 0o644


def test_a_file_keeps_its_mode_and_owner_by_default(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o604)
    if os.geteuid() == 0:
        os.chown(path, 65534, 65534)
    before = path.stat()
    replace(path, b"new")
    after = path.stat()
    assert (after.st_uid, after.st_gid, after.st_mode) == (before.st_uid, before.st_gid, before.st_mode)
    assert after.st_ino != before.st_ino
    replace(path, b"newer", mode=0o600)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_keeps_its_selinux_context_and_a_new_one_gets_that_of_its_place(tmp_path: Path) -> None:
    path, module = tmp_path / "folder" / "file", Module(selinux=True)
    replace(path, b"new", module=module)
    folder = str(path.parent)
    assert module.given == {folder: f"as {folder} should have it", "staged": f"as {path} should have it"}
    replace(path, b"newer", module=module)
    assert module.given["staged"] == f"as {path} has it"


def test_a_write_that_stops_half_way_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with largest_file(1000), pytest.raises(files.FileProblem, match=r"Cannot write .*file"):
        replace(path, b"x" * 100_000)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_failure_while_setting_attributes_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail(_staged: str) -> None:
        raise SystemExit(1)  # as fail_json does

    with pytest.raises(SystemExit):
        files.replace(Module(), str(path), b"new", fail)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_reader_never_sees_a_part(tmp_path: Path) -> None:
    path = tmp_path / "file"
    versions = {bytes([letter]) * 50_000 for letter in b"ab"}
    replace(path, min(versions))
    seen: set[bytes] = set()
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.add(path.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for _round in range(50):
            for data in versions:
                replace(path, data)
    finally:
        done.set()
        reader.join()
    assert seen <= versions
    assert seen


def test_links_lead_to_the_file(tmp_path: Path) -> None:
    target, folder = tmp_path / "target", tmp_path / "folder"
    target.write_bytes(b"")
    folder.mkdir()
    (folder / "link").symlink_to("../target")
    (tmp_path / "way").symlink_to(folder)
    assert files.resolve(str(tmp_path / "way" / "link")) == str(target)
    (folder / "dangling").symlink_to("nowhere")
    with pytest.raises(files.FileProblem, match=r"symbolic link to .*nowhere"):
        files.resolve(str(folder / "dangling"))
    (folder / "loop").symlink_to("loop")
    with pytest.raises(files.FileProblem, match="symbolic link"):
        files.resolve(str(folder / "loop"))


def test_what_is_no_regular_file_of_sane_size_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "huge").touch()
    os.truncate(tmp_path / "huge", files.LARGEST + 1)
    for path, words in ((tmp_path, "regular"), (tmp_path / "fifo", "regular"), (tmp_path / "huge", "larger than")):
        with pytest.raises(files.FileProblem, match=words):
            files.read(files.resolve(str(path)))
    for path in ("/dev/null", "/dev/zero"):
        with pytest.raises(files.FileProblem, match="regular"):
            files.read(files.resolve(path))
    with pytest.raises(files.FileProblem, match="absolute"):
        files.resolve("managed.json")
    (tmp_path / "file").touch()
    with pytest.raises(files.FileProblem, match="correct the path"):
        files.read(files.resolve(str(tmp_path / "file" / "below")))


@pytest.mark.skipif(os.geteuid() == 0, reason="NOT TESTED as root: root may write everywhere")
def test_an_unprivileged_user_is_advised_to_become_root(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(files.FileProblem, match="become: true"):
        replace(tmp_path / "file", b"")


def test_digests_tell_contents_apart() -> None:
    assert len({files.digest(data) for data in (None, b"", b"a", b"absent")}) == 4
