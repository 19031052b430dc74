"""Reading and replacing a file of an endpoint: as a whole or not at all, also after errors and in race conditions."""

from __future__ import annotations

import errno
import os
import resource
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mde.offline.plugins.module_utils._endpoint import path_resolution, xattrs
from ansible_collections.mde.offline.plugins.module_utils._endpoint.managed import files, writing
from ansible_collections.mde.offline.plugins.module_utils._endpoint.managed.files import FileProblem

OTHER = 65533
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: only root can give files to other users")


class Module:
    """The part of AnsibleModule that concerns SELinux."""

    def __init__(self, selinux: bool = False) -> None:
        self.selinux = selinux

    def selinux_enabled(self) -> bool:
        return self.selinux

    def selinux_default_context(self, path: str) -> list[str | None]:
        return ["u", "r", f"default_of_{Path(path).name}_t", None]

    @staticmethod
    def _symbolic_mode_to_octal(_status: os.stat_result, _mode: str) -> int:
        raise ValueError("bad symbolic permission")


def read(path: Path | str) -> bytes | None:
    with files.Target(Module(), str(path)) as target:
        data: bytes | None = target.read()
        return data


def replace(path: Path, data: bytes, module: Module | None = None, **attributes: Any) -> None:
    module = module or Module()
    with writing.Target(module, str(path)) as target:
        target.read()
        target.replace(data, files.Attributes(module, **attributes))


def change(path: Path, **attributes: Any) -> list[tuple[str, tuple[int, ...], tuple[int, ...]]]:
    """Changes the attributes of a file whose content stays, as managed_config does; returns the predicted changes."""
    module = Module()
    wanted = files.Attributes(module, **attributes)
    with writing.Target(module, str(path)) as target:
        target.read()
        foretold: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = target.changes(wanted)
        if wanted.protect:
            target.protect_folders()
        target.change(wanted)
    return foretold


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def acl(*entries: tuple[int, int, int]) -> bytes:
    """The value of an attribute with an ACL: tag, permissions and number of each entry."""
    return b"\x02\0\0\0" + b"".join(
        tag.to_bytes(2, "little") + granted.to_bytes(2, "little") + number.to_bytes(4, "little")
        for tag, granted, number in entries
    )


NOBODY = 0xFFFFFFFF


def with_acl(path: Path, value: bytes) -> None:
    try:
        os.setxattr(path, "system.posix_acl_access", value)
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            pytest.skip("NOT TESTED: this file system has no ACLs")
        raise


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Limits the size of files, so that a write stops half-way as on a full disk. This needs no root."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "one" / "two" / "Größe.json"
    assert read(path) is None
    replace(path, b"new")
    assert read(path) == b"new"
    assert [mode(place) for place in (path.parent, path)] == [0o755, 0o644]
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_the_working_folder_and_the_handles_are_as_before(tmp_path: Path) -> None:
    handles = Path("/proc/self/fd")
    before = Path.cwd(), len(list(handles.iterdir()))
    replace(tmp_path / "folder" / "file", b"")
    with pytest.raises(FileProblem):
        read(tmp_path)
    assert (Path.cwd(), len(list(handles.iterdir()))) == before


def test_the_umask_does_not_count(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        replace(tmp_path / "folder" / "file", b"")
    finally:
        os.umask(before)
    assert mode(tmp_path / "folder") == 0o755
    assert mode(tmp_path / "folder" / "file") == 0o644


def test_a_file_keeps_its_mode_and_owner_by_default(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o604)
    if os.geteuid() == 0:
        os.chown(path, OTHER, OTHER)
    before = path.stat()
    replace(path, b"new")
    after = path.stat()
    assert (after.st_uid, after.st_gid, after.st_mode) == (before.st_uid, before.st_gid, before.st_mode)
    assert after.st_ino != before.st_ino
    replace(path, b"newer", mode="0600")
    assert mode(path) == 0o600


def test_a_file_keeps_its_acl_and_its_group_gets_no_more_rights(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o640)
    value = acl((1, 6, NOBODY), (2, 6, OTHER), (4, 4, NOBODY), (16, 6, NOBODY), (32, 0, NOBODY))
    with_acl(path, value)
    replace(path, b"new")
    assert os.getxattr(path, "system.posix_acl_access") == value
    assert mode(path) == 0o660  # The permissions of the group are the mask of the ACL.


def test_a_file_gets_no_acl_from_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o644)
    with_acl(path, acl((1, 6, NOBODY), (4, 4, NOBODY), (32, 4, NOBODY)))
    value = acl((1, 7, NOBODY), (2, 7, OTHER), (4, 5, NOBODY), (16, 7, NOBODY), (32, 5, NOBODY))
    os.setxattr(tmp_path, "system.posix_acl_default", value)
    replace(path, b"new")
    assert "system.posix_acl_access" not in os.listxattr(path)
    assert mode(path) == 0o644


def test_a_file_keeps_its_other_attributes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    kept = {"user.note": b"by hand", "user.empty": b""}
    if os.geteuid() == 0:
        kept.update({"trusted.t": b"\0\1", "security.selinux": b"system_u:object_r:etc_t:s0\0"})
    try:
        for name, value in kept.items():
            os.setxattr(path, name, value)
    except OSError:
        pytest.skip("NOT TESTED: this file system has no such attributes")
    replace(path, b"new")
    assert {name: os.getxattr(path, name) for name in os.listxattr(path) if name in kept} == kept


def test_without_an_attribute_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    monkeypatch.setattr(xattrs, "names", lambda _handle: [b"user.odd", *xattrs.OF_THE_KERNEL])
    monkeypatch.setattr(xattrs, "value", lambda handle, name: name if os.fstat(handle).st_size == 3 else None)

    def refuse(_handle: int, name: bytes, _content: bytes) -> None:
        assert name == b"user.odd"
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(xattrs, "write", refuse)
    with pytest.raises(FileProblem, match=r"not written, because the attribute user\.odd of the old file cannot"):
        replace(path, b"a new one")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_new_file_gets_the_selinux_context_of_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "folder" / "file"
    given: dict[int, bytes] = {}
    monkeypatch.setattr(xattrs, "write", lambda handle, _name, value: given.update({os.fstat(handle).st_ino: value}))
    replace(path, b"new", module=Module(selinux=True))
    assert given == {
        path.parent.stat().st_ino: b"u:r:default_of_folder_t\0",
        path.stat().st_ino: b"u:r:default_of_file_t\0",
    }


def test_a_write_that_stops_half_way_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with largest_file(1000), pytest.raises(FileProblem, match=r"Cannot write .*file"):
        replace(path, b"x" * 100_000)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"owner": "no-such-user"}, "no user no-such-user"),
        ({"group": "no-such-group"}, "no group no-such-group"),
        ({"mode": "nonsense"}, "mode is not valid"),
    ],
)
def test_attributes_that_are_not_valid_leave_the_old_file_and_nothing_else(
    tmp_path: Path, attributes: dict[str, str], words: str
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(FileProblem, match=words):
        replace(path, b"new", **attributes)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_reader_never_sees_a_part(tmp_path: Path) -> None:
    path = tmp_path / "file"
    versions = {bytes([letter]) * 50_000 for letter in b"ab"}
    replace(path, min(versions))
    seen: set[bytes] = set()
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            seen.add(path.read_bytes())

    reader = threading.Thread(target=look)
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
    target.write_bytes(b"here")
    folder.mkdir()
    (folder / "link").symlink_to("../target")
    (tmp_path / "way").symlink_to(folder)
    with writing.Target(Module(), str(tmp_path / "way" / "link")) as found:
        assert (found.shown, found.linked, found.read()) == (str(target), True, b"here")
    (folder / "dangling").symlink_to("nowhere")
    with pytest.raises(FileProblem, match=r"symbolic link to .*nowhere"):
        read(folder / "dangling")
    (folder / "loop").symlink_to("loop")
    with pytest.raises(FileProblem, match="symbolic link"):
        read(folder / "loop")
    (folder / "new").symlink_to("../later")
    with pytest.raises(FileProblem, match="symbolic link"):
        read(folder / "new")


@as_root
@pytest.mark.parametrize("shape", ["owner", "group", "everybody", "acl", "sticky"])
def test_links_of_others_are_not_followed(tmp_path: Path, shape: str) -> None:
    secret, folder = tmp_path / "secret", tmp_path / "folder"
    secret.write_bytes(b"secret")
    folder.mkdir()
    (folder / "link").symlink_to(secret)
    (folder / "inner").symlink_to(tmp_path)
    if shape == "owner":
        os.chown(folder, OTHER, OTHER)
    elif shape == "acl":
        with_acl(folder, acl((1, 7, NOBODY), (2, 7, OTHER), (4, 5, NOBODY), (16, 7, NOBODY), (32, 5, NOBODY)))
    else:
        folder.chmod({"group": 0o775, "everybody": 0o777, "sticky": 0o1777}[shape])
    if shape == "sticky":
        assert read(folder / "link") == b"secret"
        for link in ("link", "inner"):
            os.lchown(folder / link, OTHER, OTHER)
    for path in (folder / "link", folder / "inner" / "secret"):
        with pytest.raises(FileProblem, match="it is not followed"):
            read(path)


def test_what_is_no_regular_file_of_sane_size_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "huge").touch()
    os.truncate(tmp_path / "huge", files.LARGEST + 1)
    for path, words in ((tmp_path, "regular"), (tmp_path / "fifo", "regular"), (tmp_path / "huge", "larger than")):
        with pytest.raises(FileProblem, match=words):
            read(path)
    for name in ("/", "/dev/null", "/dev/zero"):
        with pytest.raises(FileProblem, match="regular"):
            read(name)
    with pytest.raises(FileProblem, match="absolute"):
        read("managed.json")
    (tmp_path / "file").touch()
    with pytest.raises(FileProblem, match="correct the path"):
        read(tmp_path / "file" / "below")


@pytest.mark.skipif(os.geteuid() == 0, reason="NOT TESTED as root: root may write everywhere")
def test_an_unprivileged_user_is_advised_to_become_root(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(FileProblem, match="become: true"):
        replace(tmp_path / "file", b"")


def test_digests_tell_contents_apart() -> None:
    assert len({files.digest(data) for data in (None, b"", b"a", b"absent")}) == 4


# --- Races ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    path = tmp_path / "victim" / "mdatp_managed.json"
    path.parent.mkdir()
    path.write_bytes(b"victim")
    path.chmod(0o600)
    return path


def untouched(victim: Path) -> bool:
    return (victim.read_bytes(), mode(victim), victim.stat().st_uid) == (b"victim", 0o600, os.geteuid())


def test_a_folder_that_is_swapped_for_a_link_changes_nothing_elsewhere(tmp_path: Path, victim: Path) -> None:
    path = tmp_path / "folder" / "mdatp_managed.json"
    path.parent.mkdir()
    path.write_bytes(b"old")
    with writing.Target(Module(), str(path)) as target:
        assert target.read() == b"old"
        path.parent.rename(tmp_path / "moved")
        path.parent.symlink_to(victim.parent)
        backup = target.backup(b"old")
        target.replace(b"new", files.Attributes(Module(), mode="0666"))
    assert untouched(victim)
    assert (tmp_path / "moved" / path.name).read_bytes() == b"new"
    assert (tmp_path / "moved" / Path(os.fsdecode(backup)).name).read_bytes() == b"old"


def test_a_file_that_is_swapped_for_a_link_changes_nothing_elsewhere(tmp_path: Path, victim: Path) -> None:
    path = tmp_path / "mdatp_managed.json"
    path.write_bytes(b"old")
    for act in ("change", "replace", "backup"):
        with writing.Target(Module(), str(path)) as target:
            target.read()
            path.unlink()
            path.symlink_to(victim)
            if act == "change":
                target.change(files.Attributes(Module(), mode="0666"))
            elif act == "replace":
                target.replace(b"new", files.Attributes(Module(), mode="0666"))
            else:
                target.backup(b"old")
        assert untouched(victim)
        path.unlink()
        path.write_bytes(b"old")


def test_a_staged_file_that_is_swapped_for_a_link_changes_nothing_elsewhere(
    tmp_path: Path, victim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "folder" / "mdatp_managed.json"
    path.parent.mkdir()
    path.write_bytes(b"old")
    copy = writing._copy_attributes

    def swap(*arguments: Any) -> None:
        [staged] = path.parent.glob(".mde-offline-*")
        staged.unlink()
        staged.symlink_to(victim)
        copy(*arguments)

    monkeypatch.setattr(writing, "_copy_attributes", swap)
    with pytest.raises(FileProblem, match="replaced by another process"):
        replace(path, b"new", mode="0666")
    assert untouched(victim)


def test_names_of_staged_files_and_backups_are_not_foreseeable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    created: list[str] = []
    real = os.open

    def spy(name: Any, flags: int, *arguments: Any) -> int:
        if flags & os.O_CREAT:
            assert flags & os.O_EXCL
            assert flags & os.O_NOFOLLOW
            created.append(os.fsdecode(name))
        return real(name, flags, *arguments)

    monkeypatch.setattr(os, "open", spy)
    with writing.Target(Module(), str(path)) as target:
        target.read()
        for _number in range(2):
            target.backup(b"old")
    for _number in range(2):
        replace(path, b"new")
    assert len(set(created)) == 4
    assert all(sum(letter in "0123456789abcdef" for letter in name) >= 16 for name in created)


def test_an_old_kernel_constant_is_that_of_this_python() -> None:
    assert getattr(os, "O_PATH", 0o10000000) == 0o10000000
    assert path_resolution.O_CLOEXEC == os.O_CLOEXEC


# --- Protection -------------------------------------------------------------------------------------------------------


def test_a_mode_is_changed_on_the_file_and_on_the_folders_above(tmp_path: Path) -> None:
    path = tmp_path / "one" / "two" / "file"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    path.chmod(0o666)
    path.parent.chmod(0o2777)
    path.parent.parent.chmod(0o1777)
    foretold = change(path, protect=True)
    assert [(name, before[2], after[2]) for name, before, after in foretold] == [
        (str(path), 0o666, 0o644),
        (str(path.parent), 0o2777, 0o2755),
    ]
    assert [mode(place) for place in (path, path.parent, path.parent.parent)] == [0o644, 0o2755, 0o1777]
    assert change(path, protect=True) == []


def test_an_acl_no_longer_lets_others_write(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    with_acl(path, acl((1, 6, NOBODY), (2, 6, OTHER), (4, 4, NOBODY), (16, 6, NOBODY), (32, 4, NOBODY)))
    assert len(change(path, protect=True)) == 1
    assert mode(path) == 0o644
    assert change(path, protect=True) == []


@as_root
def test_what_belongs_to_others_is_given_to_root_but_not_folders_far_above(tmp_path: Path) -> None:
    above, agent = tmp_path / "above", tmp_path / "above/etc/opt/microsoft/mdatp"
    path = agent / "managed" / "file"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    for place in (above, agent, path.parent, path):
        os.chown(place, OTHER, OTHER)
        place.chmod(0o775)
    (above / "etc").chmod(0o775)
    change(path, protect=True)
    places = (above, above / "etc", agent, path.parent, path)
    assert [place.stat().st_uid for place in places] == [OTHER, 0, 0, 0, 0]
    assert [mode(place) for place in places] == [0o775, 0o755, 0o755, 0o755, 0o755]
    assert agent.stat().st_gid == OTHER
    assert change(path, protect=True) == []


@as_root
def test_an_explicit_owner_and_mode_have_precedence(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    path.chmod(0o666)
    change(path, protect=True, owner=str(OTHER), mode="0640")
    assert (path.stat().st_uid, mode(path)) == (OTHER, 0o640)


# --- Python 2.7 -------------------------------------------------------------------------------------------------------

WITHOUT_XATTRS = """
import os, sys
if sys.version_info[0] > 2:
    del os.getxattr, os.listxattr, os.setxattr, os.removexattr
from ansible_collections.mde.offline.plugins.module_utils._endpoint import xattrs
handle = os.open(sys.argv[1], os.O_RDWR)
xattrs.write(handle, b"user.one", b"1")
xattrs.write(handle, b"user.two", b"")
assert xattrs.value(handle, b"user.one") == b"1"
assert xattrs.value(handle, b"user.none") is None
assert xattrs.of_path(sys.argv[1].encode(), b"user.one") == b"1"
xattrs.remove(handle, b"user.one")
assert b"user.two" in xattrs.names(handle) and b"user.one" not in xattrs.names(handle)
assert xattrs.names(os.open("/proc/self/status", os.O_RDONLY)) in ([], [b"security.selinux"])
try:
    xattrs.write(handle, b"nonsense", b"")
except EnvironmentError as error:
    assert error.errno == __import__("errno").ENOTSUP, error
else:
    raise AssertionError("no error")
"""


def test_attributes_by_ctypes(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    try:
        os.setxattr(tmp_path / "file", "user.try", b"")
    except OSError:
        pytest.skip("NOT TESTED: this file system has no attributes of users")
    environment = {**os.environ, "PYTHONPATH": os.environ["ANSIBLE_COLLECTIONS_PATH"]}
    subprocess.run([sys.executable, "-c", WITHOUT_XATTRS, str(tmp_path / "file")], check=True, env=environment)
