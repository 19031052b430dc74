"""Checks and creates the folders that the role mirror owns, without following links that the mirror's account made.

Arguments: a verb and a JSON text. `check` prints why the role must not use a folder, `predict` prints the folders that
`create` would create or change, and `create` does so and prints them.
"""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import collections
import grp
import json
import os
import pwd
import stat
import sys
from pathlib import Path
from typing import Any, Iterator

# Folders of the system, by their real paths. Folders below SYSTEM_TREES may not be used either.
SYSTEM_TREES = ("/bin", "/boot", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/sbin", "/sys", "/usr", "/System")
SYSTEM_FOLDERS = {
    "/": "dev etc home media mnt opt private root run srv tmp var Applications Library Network Users Volumes",
    "/usr/local": "bin etc games include lib lib64 libexec man opt sbin share src var",
    "/var": "account adm backups cache crash db empty games lib local lock log mail opt root run snap spool tmp vm www",
    "/private": "etc tmp var",
}
HOMES = ("/home", "/Users")
MAX_LINKS = 40


class RefusedError(Exception):
    """A path that leads through a link which the role must not follow."""


def is_system_folder(path: str) -> bool:
    parent, name = os.path.split(path)
    if path in ("/", "/usr/local") or parent in HOMES or name in SYSTEM_FOLDERS.get(parent, "").split():
        return True
    return not path.startswith("/usr/local/") and any((path + "/").startswith(tree + "/") for tree in SYSTEM_TREES)


class Reached:
    """What a path leads to: an open folder, or no folder yet."""

    def __init__(self, handle: int | None, path: str, created: bool) -> None:
        self.handle, self.path, self.created = handle, path, created


def reach(path: str, create: bool) -> Reached:
    """Opens a folder, one name at a time. Only links that root or the caller made in their own folders are followed."""
    trusted = (0, os.geteuid())
    handle, place, missing, created, links = os.open("/", os.O_RDONLY), "/", False, False, 0
    names = path.split("/")[::-1]
    while names:
        name = names.pop()
        if name in ("", "."):
            continue
        # A path that begins with two slashes would keep both.
        place = os.path.normpath(Path(place, name))
        if missing:
            continue
        try:
            found = os.stat(name, dir_fd=handle, follow_symlinks=False)
        except FileNotFoundError:
            if not create:
                missing = True
                continue
            os.mkdir(name, 0o755, dir_fd=handle)
            found, created = os.stat(name, dir_fd=handle, follow_symlinks=False), not names
        if stat.S_ISLNK(found.st_mode):
            links += 1
            if found.st_uid not in trusted or os.fstat(handle).st_uid not in trusted or links > MAX_LINKS:
                raise RefusedError(f"{place} is a link that the owner of its folder may have made")
            target = os.readlink(name, dir_fd=handle)
            names += target.split("/")[::-1]
            place = "/" if target.startswith("/") else str(Path(place).parent)
            following = os.open("/", os.O_RDONLY) if target.startswith("/") else os.dup(handle)
        else:
            # O_NOFOLLOW refuses a link that has replaced the folder in the meantime.
            following = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=handle)
        os.close(handle)
        handle = following
    if missing:
        os.close(handle)
        return Reached(None, place, False)
    return Reached(handle, place, created)


def account(name: str | int) -> int | None:
    """The uid of an account; None if the role sets no owner, -1 for an account that does not exist yet."""
    if not name:
        return None
    try:
        return int(name) if str(name).isdigit() else pwd.getpwnam(str(name)).pw_uid
    except KeyError:
        return -1


def group(name: str | int) -> int | None:
    if not name:
        return None
    try:
        return int(name) if str(name).isdigit() else grp.getgrnam(str(name)).gr_gid
    except KeyError:
        return -1


def content(handle: int) -> set[str]:
    # A new file system contains this folder.
    return set(os.listdir(handle)) - {"lost+found"}


def is_mirror(handle: int) -> bool:
    """Whether the engine or Microsoft's script filled this folder."""
    if content(handle) & {".state", ".releases", "status.json"}:
        return True
    for platform in content(handle) & {"linux", "mac"}:
        for _path, folders, _files, _handle in os.fwalk(platform, dir_fd=handle):
            if any(name.startswith("arch_") for name in folders):
                return True
    return False


def entries(handle: int) -> Iterator[tuple[int, str, str, os.stat_result]]:
    """Everything below a folder, the deepest first: the handle of its folder, its name, its path and its status."""
    for path, folders, files, inside in os.fwalk(".", topdown=False, dir_fd=handle):
        if path.split("/")[1:2] == ["lost+found"]:
            continue
        for name in folders + files:
            if path != "." or name != "lost+found":
                yield (
                    inside,
                    name,
                    os.path.normpath(f"{path}/{name}"),
                    os.stat(name, dir_fd=inside, follow_symlinks=False),
                )


def foreign(handle: int, owner: int) -> list[str]:
    """Files that belong neither to root nor to the account, or that have a hard link outside of the folder."""
    names: dict[tuple[int, int], list[str]] = collections.defaultdict(list)
    found, linked = [], {}
    for _inside, _name, path, status in entries(handle):
        if status.st_uid not in (0, owner):
            found.append(path)
        elif stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
            names[status.st_dev, status.st_ino].append(path)
            linked[status.st_dev, status.st_ino] = status.st_nlink
    return found + [paths[0] for inode, paths in names.items() if len(paths) < linked[inode]]


def faults_of_root(folder: dict[str, Any], reached: Reached) -> Iterator[str]:
    handle, owner = reached.handle, account(folder["owner"])
    if handle is None or owner is None or not content(handle):
        return
    own = os.fstat(handle).st_uid == owner
    if not (own and owner != 0) and not is_mirror(handle):
        yield f"{folder['path']} contains other files than a mirror. Name a folder that is empty or does not exist yet."
        return
    others = [] if own else foreign(handle, owner)
    if others:
        yield (
            f"{folder['path']} contains files that belong to neither root nor {folder['owner']}, or have a hard link"
            f" outside of it: {', '.join(sorted(others)[:3])}. If it is a mirror, chown -hR it to {folder['owner']}."
        )


def faults_of_other(folder: dict[str, Any], reached: Reached) -> Iterator[str]:
    handle, owner = reached.handle, account(folder["owner"])
    if handle is None or owner is None or not content(handle):
        return
    name = Path(reached.path).name
    own = owner != 0 and os.fstat(handle).st_uid == owner
    if not own and folder["holds"] not in content(handle) and "mde" not in name and "mirror" not in name:
        yield (
            f"{folder['path']} is in use for other files. Name another folder. If this one is meant for the mirror"
            f" alone, create the empty file {folder['holds']} in it first."
        )


JUDGED = {"root": faults_of_root, "own": faults_of_other}


def faults(job: dict[str, Any]) -> list[str]:
    """Why the role must not set owner and mode of its folders."""
    found: list[str] = []
    places: dict[str, str] = {}
    for folder in job["folders"]:
        variable, path = folder["variable"], folder["path"]
        try:
            reached = reach(path, create=False)
        except RefusedError as error:
            found.append(f"{variable}: {error}. Remove the link.")
            continue
        except OSError as error:
            found.append(f"{variable}: {path} cannot be a folder: {error.strerror}.")
            continue
        if folder["kind"] not in JUDGED:
            continue
        if is_system_folder(os.path.normpath("/" + path.lstrip("/"))) or is_system_folder(reached.path):
            found.append(f"{variable}: {path} is a folder of the system.")
        elif reached.path in places:
            found.append(
                f"{variable}: {path} is also the folder of {places[reached.path]}. Each needs a folder of its own."
            )
        else:
            found += [f"{variable}: {fault}" for fault in JUDGED[folder["kind"]](folder, reached)]
        places[reached.path] = variable
    return found


def faults_of_files(job: dict[str, Any]) -> list[str]:
    """Files that root writes must not be where the account of the mirror could replace their folder."""
    given = [os.path.realpath(folder["path"]) for folder in job["folders"] if folder["owner"] not in ("", "root")]
    return [
        f"{variable}: {path} is in a folder that the account of the mirror owns. Name a path outside of it."
        for variable, path in job["files"].items()
        if any((os.path.realpath(path) + "/").startswith(folder + "/") for folder in given)
    ]


def apply(folder: dict[str, Any], reached: Reached, write: bool) -> bool:
    """Sets owner, group and mode, and the owner of what root left in the mirror. Returns whether that was needed."""
    handle, owner, wanted_group = reached.handle, account(folder["owner"]), group(folder["group"])
    if handle is None:
        return True
    found = os.fstat(handle)
    mode = int(folder["mode"], 8) if folder["mode"] else stat.S_IMODE(found.st_mode)
    change_owner = owner not in (None, found.st_uid) or wanted_group not in (None, found.st_gid)
    if write and change_owner:
        numbers = (-1 if owner is None else owner, -1 if wanted_group is None else wanted_group)
        if folder["kind"] == "root" and found.st_uid != owner:
            for inside, name, _path, _status in entries(handle):
                os.chown(name, *numbers, dir_fd=inside, follow_symlinks=False)
        # The folder itself comes last, so that the next run continues an interrupted one.
        os.fchown(handle, *numbers)
    if write:
        os.fchmod(handle, mode)
    return reached.created or change_owner or mode != stat.S_IMODE(found.st_mode)


def main(verb: str, text: str) -> dict[str, Any]:
    job = json.loads(text)
    if verb == "check":
        return {"faults": faults(job) + faults_of_files(job)}
    changed = []
    for folder in job["folders"]:
        reached = reach(folder["path"], create=verb == "create")
        if apply(folder, reached, write=verb == "create"):
            changed.append(folder["path"])
    return {"changed": changed}


if __name__ == "__main__":
    try:
        print(json.dumps(main(*sys.argv[1:])))
    except (OSError, RefusedError) as error:
        sys.exit(str(error))
