"""The users other than root who can write a file, a folder or a link: a table of cases, and complete paths."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from ansible_collections.mde.offline.plugins.module_utils._endpoint.agent import health_report
from ansible_collections.mde.offline.plugins.module_utils._endpoint.managed import writers
from ansible_collections.mde.offline.plugins.module_utils._endpoint.managed.writers import Trusted

from tests.unit.endpoint.test_files_of_endpoints import NOBODY, OTHER, acl, as_root, with_acl

ROOT, USER = Trusted((0,)), Trusted((0, 1000), 1000)
FILE, FOLDER = stat.S_IFREG, stat.S_IFDIR
NAMED = acl((1, 6, NOBODY), (2, 6, 1000), (4, 4, NOBODY), (8, 6, 50), (16, 6, NOBODY), (32, 4, NOBODY))
MASKED = acl((1, 6, NOBODY), (2, 6, 1000), (4, 6, NOBODY), (16, 4, NOBODY), (32, 4, NOBODY))
HARMLESS = acl((1, 6, NOBODY), (2, 6, 0), (2, 4, 1000), (4, 4, NOBODY), (16, 6, NOBODY), (32, 4, NOBODY))


@pytest.mark.parametrize(
    ("mode", "owner", "group", "value", "trust", "who"),
    [
        (FILE | 0o644, 0, 0, None, ROOT, []),
        (FILE | 0o644, 1000, 0, None, ROOT, ["its owner, uid 1000"]),
        (FILE | 0o444, 1000, 0, None, ROOT, ["its owner, uid 1000"]),
        (FILE | 0o644, 0, 1000, None, ROOT, []),
        (FILE | 0o664, 0, 0, None, ROOT, ["its group, gid 0"]),
        (FILE | 0o646, 0, 0, None, ROOT, ["everybody"]),
        (FILE | 0o1666, 0, 5, None, ROOT, ["everybody", "its group, gid 5"]),
        (FILE | 0o664, 0, 5, NAMED, ROOT, ["uid 1000, by an ACL", "gid 50, by an ACL"]),
        (FILE | 0o644, 0, 5, MASKED, ROOT, []),
        (FILE | 0o664, 0, 5, MASKED, ROOT, []),
        (FILE | 0o664, 0, 5, HARMLESS, ROOT, []),
        (FOLDER | 0o755, 0, 0, None, ROOT, []),
        (FOLDER | 0o775, 0, 5, None, ROOT, ["its group, gid 5"]),
        (FOLDER | 0o777, 0, 5, None, ROOT, ["everybody", "its group, gid 5"]),
        (FOLDER | 0o1777, 0, 5, None, ROOT, []),
        (FOLDER | 0o1777, 1000, 5, None, ROOT, ["its owner, uid 1000"]),
        (FILE | 0o644, 1000, 1000, None, USER, []),
        (FILE | 0o644, 0, 0, None, USER, []),
        (FILE | 0o664, 1000, 1000, None, USER, []),
        (FILE | 0o664, 1000, 100, None, USER, ["its group, gid 100"]),
        (FILE | 0o664, 1000, 1000, NAMED, USER, ["gid 50, by an ACL"]),
        (FILE | 0o644, 1001, 1000, None, USER, ["its owner, uid 1001"]),
    ],
)
def test_who_can_write(mode: int, owner: int, group: int, value: bytes | None, trust: Trusted, who: list[str]) -> None:
    status = os.stat_result((mode, 0, 0, 1, owner, group, 0, 0, 0, 0))
    assert sorted(writers.others(status, value, trust)) == sorted(who)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "managed" / "mdatp_managed.json"
    path.parent.mkdir()
    path.parent.chmod(0o755)
    path.write_text("{}")
    path.chmod(0o644)
    return path


def ids(path: Path) -> list[str]:
    return [entry["id"] for entry in health_report.read_writers(str(path))]


def test_a_file_below_a_sticky_folder_is_safe(path: Path) -> None:
    assert ids(path) == []
    path.parent.chmod(0o1777)
    assert ids(path) == []
    assert ids(path.with_name("missing") / "file") == []


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_a_file_that_others_can_write(path: Path, mode: int) -> None:
    path.chmod(mode)
    [entry] = health_report.read_writers(str(path))
    assert (entry["id"], entry["severity"]) == ("managed_file_writable", "error")
    assert str(path) in entry["message"]


def test_a_file_that_an_acl_lets_others_write(path: Path) -> None:
    with_acl(path, acl((1, 6, NOBODY), (2, 6, OTHER), (4, 4, NOBODY), (16, 6, NOBODY), (32, 4, NOBODY)))
    assert ids(path) == ["managed_file_writable"]


def test_a_folder_above_that_others_can_write(path: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o757)
    assert ids(path) == ["managed_file_writable"]
    assert ids(path.parent / "missing" / "file") == ["managed_file_writable"]


def test_a_folder_on_the_way_of_a_link(path: Path, tmp_path: Path) -> None:
    links = tmp_path / "links"
    links.mkdir()
    (links / "managed").symlink_to(path.parent)
    links.chmod(0o755)
    assert ids(links / "managed" / path.name) == []
    links.chmod(0o777)
    assert ids(links / "managed" / path.name) == ["managed_file_writable"]


@as_root
def test_a_link_of_another_user_in_a_sticky_folder(path: Path, tmp_path: Path) -> None:
    links = tmp_path / "links"
    links.mkdir()
    links.chmod(0o1777)
    (links / "managed").symlink_to(path.parent)
    assert ids(links / "managed" / path.name) == []
    os.lchown(links / "managed", OTHER, OTHER)
    assert ids(links / "managed" / path.name) == ["managed_file_writable"]


@as_root
def test_a_file_of_another_user(path: Path) -> None:
    os.chown(path, OTHER, 0)
    assert ids(path) == ["managed_file_writable"]
