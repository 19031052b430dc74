"""Releases carried across an air gap as one file: an inventory, the packages, and a seal over every byte before it.

The file is a tar archive, so it can be looked into anywhere: `inventory.json` first, then `packages/<sha256>.zip`, then
`seal.json` with the SHA-256 of everything in front of it. Nothing may follow but the zeros that end an archive.
"""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import re
import stat
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Iterator

from . import VERSION
from .cancel import Cancel
from .errors import MirrorError
from .files import (
    CHUNK,
    FILE_MODE,
    advising,
    json_bytes,
    make_directory,
    os_error,
    remove_tree,
    replacing,
    sha256_of,
    unique,
)
from .package import check_size, prove
from .privileges import acting_as_owner
from .records import ZIP, Release
from .session import Mirror, MirrorSession
from .settings import PackagePolicy, Settings
from .sources.replica import read_offers
from .state import State
from .times import now_iso
from .units import Unit, unit_of_path
from .versions import is_version
from .workspace import Workspace

FORMAT = 1
_KIND = "mde-mirror bundle"
_INVENTORY, _SEAL = "inventory.json", "seal.json"
_MAX_INVENTORY_BYTES = 4 * 1024 * 1024
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


def export_bundle(settings: Settings, target: Path, base: Path | None = None, check: bool = False) -> dict[str, Any]:
    """Writes everything that channels serve to `target`, which appears complete or not at all.

    `base` is a `status.json` of the mirror that will import the bundle: packages that it has are left out. A bundle
    that lies at `target` already and carries the same is left as it is.
    """
    with advising("writing", target):
        is_other = target.exists() and not target.is_file()
    if is_other:
        raise MirrorError("file", f"{target} exists and is not a regular file", "Name a file; it need not exist yet.")
    mirror = Mirror(settings.root, settings.keep_previous, settings.retain)
    state = mirror.state()
    there = _digests_in(base) if base else set()
    entries, packages = [], {}
    for unit in state.units():
        release = state.current(unit)
        if release is None or not state.is_whole(unit, release.name):
            raise _spoiled(f"the package that {unit} serves")
        carried = release.sha256 not in there
        entries.append({"path": unit.path, **_inventory_fields(release), "carried": carried})
        if carried:
            packages[release.sha256] = mirror.store.folder(release) / ZIP
    if not entries:
        raise MirrorError("nothing_to_export", f"{mirror.root} serves nothing yet", "Run a sync first.")
    changed = not _carries(target, entries)
    if changed and not check:
        _write_whole(target, entries, packages)
    return {
        "changed": changed,
        "path": str(target),
        "carried": [entry["path"] for entry in entries if entry["carried"]],
        "left_out": [entry["path"] for entry in entries if not entry["carried"]],
        **(_size_and_digest(target) if not (changed and check) else {"bytes": None, "sha256": None}),
    }


def import_bundle(
    settings: Settings, source: Path, check: bool = False, allow_downgrade: bool = False, cancel: Cancel | None = None
) -> dict[str, Any]:
    """Publishes what a bundle carries.

    Every byte is verified before a channel is changed; a bundle that is damaged, cut short, older than what is
    published or not made by `mde-mirror export` is refused as a whole. A channel that is held stays as it is, and does
    not keep the others from moving.
    """
    cancel = cancel or Cancel()
    mirror = Mirror(settings.root, settings.keep_previous, settings.retain)
    workspace = Workspace(settings.root, settings.retain)
    units = {*settings.followed_units(), *settings.promoted_units()}
    # The bundle is opened before privileges are dropped: removable media is often readable by root only.
    with _opened(source) as bundle:
        if check:
            with acting_as_owner(settings.root):
                state = mirror.state()
                return _result(state, _plan(state, units, _verified(bundle, cancel), allow_downgrade))
        with workspace.occupied(settings.followed_units()):
            inventory = _verified(bundle, cancel)
            # What cannot be imported is refused before the packages are read and written.
            _plan(mirror.state(), units, inventory, allow_downgrade)
            folder = workspace.folder / unique("bundle")
            try:
                make_directory(folder)
                with workspace.reserved(bundle.size):
                    _unpack(bundle, inventory, folder, settings.policy, cancel)
                prepared = _prepared(workspace, folder, units, inventory)
                return mirror.change(lambda session: _publish(session, units, inventory, allow_downgrade, prepared))
            finally:
                remove_tree(folder)


def _prepared(workspace: Workspace, folder: Path, units: set[Unit], inventory: dict[str, Any]) -> dict[str, Path]:
    """The unpacked packages, ready to be stored, by the key of their release."""
    found: dict[str, Path] = {}
    for unit, entry in _entries(inventory):
        release = _release(unit, entry, inventory)
        if unit in units and entry["carried"] and release.key not in found:
            with advising("storing", folder):
                # Platforms may share a package: a second name costs no copy.
                named = folder / unique(ZIP)
                os.link(str(folder / f"{release.sha256}.zip"), str(named))
            found[release.key] = workspace.prepared(named, release)
    return found


def _publish(
    session: MirrorSession,
    units: set[Unit],
    inventory: dict[str, Any],
    allow_downgrade: bool,
    prepared: dict[str, Path],
) -> dict[str, Any]:
    """Plans again on what the mirror serves now, and publishes."""
    state = session.state
    steps = _plan(state, units, inventory, allow_downgrade)
    for step in steps:
        if step.unit in session.broken:
            raise session.broken[step.unit]
    result = _result(state, steps)
    changes = [step for step in steps if step.outcome in ("updated", "repaired")]
    whole = {step.unit: state.is_whole(step.unit, state.channel(step.unit).current) for step in changes}
    for step in changes:
        release = step.release
        if release.key in prepared:
            release = session.add(prepared.pop(release.key), release)
        channel = state.channel(step.unit)
        session.set_channel(step.unit, channel.publish(release.name, "import", current_is_whole=whole[step.unit]))
    for folder in prepared.values():
        remove_tree(folder)
    session.prune()
    session.record(last_import=now_iso())
    return result


# --- writing ------------------------------------------------------------------------------------------------------


def _spoiled(what: str) -> MirrorError:
    return MirrorError(
        "damaged",
        f"{what} was damaged or deleted, so it cannot be exported",
        "Run a sync, which mends what the source still has, and export again.",
    )


def _inventory_fields(release: Release) -> dict[str, Any]:
    return {
        "definitions_version": release.definitions_version,
        "engine_version": release.engine_version,
        "definitions_date": release.definitions_date,
        "sha256": release.sha256,
        "bytes": release.size,
    }


def _carries(target: Path, entries: list[dict[str, Any]]) -> bool:
    """True when `target` is a whole bundle of exactly these releases."""
    try:
        with _opened(target) as bundle:
            return bool(_verified(bundle, Cancel())["channels"] == entries)
    except MirrorError:
        return False


def _size_and_digest(path: Path) -> dict[str, Any]:
    with advising("reading", path):
        return {"bytes": path.stat().st_size, "sha256": sha256_of(path)}


def _write_whole(target: Path, entries: list[dict[str, Any]], packages: dict[str, Path]) -> None:
    inventory = {
        "kind": _KIND,
        "format": FORMAT,
        "generator": f"mde-mirror {VERSION}",
        "created": now_iso(),
        "channels": entries,
    }
    with advising("writing", target), replacing(target) as file:
        _write(file, inventory, packages)


def _digests_in(path: Path) -> set[str]:
    try:
        return {offer.sha256 for offer in read_offers(json.loads(path.read_bytes())).values()}
    except OSError as error:
        raise os_error(error, "reading", path) from None
    except (ValueError, RecursionError) as error:
        raise MirrorError(
            "bad_status",
            f"{path} is not the status of a mirror: {error}",
            "Bring status.json from the root of the mirror that will import the bundle.",
        ) from None


class _Hashing:
    """A file that is written or read once, from front to back, and knows the digest of what went through."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self.digest.update(data)
        return data

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return self._file.write(data)

    def tell(self) -> int:
        return self._file.tell()


def _write(file: IO[bytes], inventory: dict[str, Any], packages: dict[str, Path]) -> None:
    out: Any = _Hashing(file)
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        _add(archive, _INVENTORY, json_bytes(inventory))
        for digest, package in sorted(packages.items()):
            with _package(package) as content:
                read: Any = _Hashing(content)
                archive.addfile(_head(f"packages/{digest}.zip", os.fstat(content.fileno()).st_size), read)
            if read.digest.hexdigest() != digest:
                raise _spoiled(f"the package {package}")
        sealed = out.digest.hexdigest()
        _add(archive, _SEAL, json_bytes({"sha256": sealed}))


def _package(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except FileNotFoundError:
        # No lock is held: a sync may have published newer ones and pruned this one meanwhile.
        raise _spoiled(f"the package {path}") from None


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    archive.addfile(_head(name, len(data)), io.BytesIO(data))


def _head(name: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, FILE_MODE
    return entry


# --- reading ------------------------------------------------------------------------------------------------------


class _Bundle:
    """A bundle that is open for reading; as a text, its path."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self._path, self.file = path, file

    def __str__(self) -> str:
        return str(self._path)

    @property
    def size(self) -> int:
        return os.fstat(self.file.fileno()).st_size


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[_Bundle]:
    with contextlib.ExitStack() as cleanup:
        with advising("reading", path):
            # What is no file must not keep us waiting for somebody who writes to it.
            descriptor = os.open(str(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            cleanup.callback(os.close, descriptor)
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise MirrorError("file", f"{path} is no file", "Name a file that `mde-mirror export` wrote.")
            file = cleanup.enter_context(os.fdopen(descriptor, "rb", closefd=False))
        yield _Bundle(path, file)


def _foreign(source: _Bundle, what: str) -> MirrorError:
    return MirrorError(
        "foreign_bundle",
        f"{source} is no bundle that this version can read: {what}",
        "Bring a file that `mde-mirror export` of the same or an earlier version wrote.",
    )


def _damaged(source: _Bundle, what: str) -> MirrorError:
    return MirrorError(
        "damaged_bundle",
        f"the bundle {source} was damaged or cut short: {what}",
        "Nothing was imported. Copy the file again, or export it anew; compare its SHA-256 on both sides.",
    )


def _no_archive(source: _Bundle) -> MirrorError:
    """What cannot even be opened as an archive: no bundle at all, or one whose first header was hit."""
    with advising("reading", source):
        source.file.seek(0)
        head = source.file.read(tarfile.BLOCKSIZE)
    if head[257:262] == b"ustar" or head.startswith(_INVENTORY.encode()):
        return _damaged(source, "its beginning is damaged")
    return MirrorError(
        "foreign_bundle",
        f"{source} is no bundle, or its beginning is damaged",
        "Bring a file that `mde-mirror export` wrote. If this is one, copy it again and compare its SHA-256 on both "
        "sides.",
    )


@contextlib.contextmanager
def _reading(source: _Bundle) -> Iterator[tuple[tarfile.TarFile, IO[bytes]]]:
    try:
        source.file.seek(0)
        with tarfile.open(fileobj=source.file, mode="r:") as archive:
            yield archive, source.file
    except tarfile.ReadError as error:
        if str(error) in ("empty file", "truncated header", "unexpected end of data"):
            raise _damaged(source, str(error)) from None
        raise _no_archive(source) from None
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        # The last two are what tarfile makes of numbers that no archive of ours holds; EINVAL is another.
        raise _damaged(source, str(error)) from None
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise _damaged(source, "a header of it names an impossible size") from None
        raise os_error(error, "reading", source) from None


def _verified(source: _Bundle, cancel: Cancel) -> dict[str, Any]:
    """The inventory of a bundle of ours whose seal fits and that holds what the inventory names."""
    inventory = _inventory_of(source)
    with _reading(source) as (archive, file):
        _check_seal(source, archive, file, cancel)
        _check_members(source, archive, inventory)
    return inventory


def _inventory_of(source: _Bundle) -> dict[str, Any]:
    with _reading(source) as (archive, _file):
        entry = archive.next()
        if entry is None or entry.name != _INVENTORY or entry.size > _MAX_INVENTORY_BYTES:
            raise _foreign(source, f"it does not begin with {_INVENTORY}")
        try:
            fields = json.loads(_content(archive, entry).read())
        except (ValueError, RecursionError):
            raise _damaged(source, f"{_INVENTORY} is not readable") from None
    if not isinstance(fields, dict) or fields.get("kind") != _KIND:
        raise _foreign(source, f"{_INVENTORY} is not ours")
    if fields.get("format") != FORMAT:
        raise _foreign(source, f"it has format {fields.get('format')!r}, known is {FORMAT}")
    return fields


def _content(archive: tarfile.TarFile, entry: tarfile.TarInfo) -> IO[bytes]:
    content = archive.extractfile(entry) if entry.isreg() else None
    if content is None:
        raise tarfile.TarError(f"{entry.name!r} is no regular file")
    return content


@dataclass(frozen=True)
class _Step:
    """What a bundle brings for one unit; `outcome` is that of a sync: updated, repaired, unchanged or held."""

    unit: Unit
    release: Release
    carried: bool
    outcome: str


def _plan(state: State, units: set[Unit], inventory: dict[str, Any], allow_downgrade: bool) -> list[_Step]:
    """What the inventory asks for, refused as a whole where one entry cannot be followed."""
    steps = []
    for unit, entry in _entries(inventory):
        if unit not in units:
            continue
        release = _release(unit, entry, inventory)
        step = _Step(unit, release, bool(entry["carried"]), _outcome(state, unit, release))
        _refuse_downgrade(step, state, allow_downgrade)
        _require_package(step, state)
        steps.append(step)
    if not steps:
        raise MirrorError(
            "nothing_to_import",
            "the bundle carries nothing that the settings of this mirror ask for",
            "Compare its channels with downloadLinuxUpdates, downloadMacUpdates, downloadPreviewUpdates, architectures "
            "and channels in the settings.",
        )
    return steps


def _release(unit: Unit, entry: dict[str, Any], inventory: dict[str, Any]) -> Release:
    return Release(
        unit.shelf,
        entry["definitions_version"],
        entry["engine_version"],
        entry["definitions_date"],
        entry["sha256"],
        entry["bytes"],
        now_iso(),
        "bundle of {}".format(inventory.get("created")),
    )


def _refuse_downgrade(step: _Step, state: State, allowed: bool) -> None:
    served, carried = state.served_versions(step.unit), step.release.versions
    if step.outcome == "updated" and served and carried.lower_than(served) and not allowed:
        raise MirrorError(
            "downgrade",
            f"the bundle carries {carried} for {step.unit}, lower than the published {served}",
            "Bring a newer bundle, or import once with --allow-downgrade (module: allow_downgrade).",
        )


def _entries(inventory: dict[str, Any]) -> list[tuple[Unit, dict[str, Any]]]:
    try:
        entries = [(unit_of_path(entry["path"]), entry) for entry in inventory["channels"]]
        for _unit, entry in entries:
            _check_entry(entry)
        if len({unit for unit, _entry in entries}) != len(entries):
            raise ValueError("a channel is named twice")
    except (KeyError, TypeError, ValueError, AttributeError):
        raise MirrorError(
            "foreign_bundle",
            "the inventory of the bundle names its releases in a way that this version does not know",
            "Bring a file that `mde-mirror export` of the same or an earlier version wrote.",
        ) from None
    return entries


def _check_entry(entry: Any) -> None:
    """Raises `ValueError` unless the entry has everything a release needs, in the right shape."""
    right = (
        is_version(entry["definitions_version"])
        and is_version(entry["engine_version"])
        and (entry["definitions_date"] is None or isinstance(entry["definitions_date"], str))
        and _SHA256.match(entry["sha256"])
        and isinstance(entry["bytes"], int)
        and isinstance(entry["carried"], bool)
    )
    if not right:
        raise ValueError(entry)


def _require_package(step: _Step, state: State) -> None:
    """Refuses a bundle that leaves out a package which this mirror does not have."""
    if step.carried or step.outcome == "held" or state.is_whole(step.unit, step.release.name):
        return
    raise MirrorError(
        "incomplete_bundle",
        f"the bundle leaves out {step.release.name} for {step.unit}, which this mirror does not have",
        "It was made for another mirror or an older state of this one. Export it again with the present "
        "status.json of this mirror, or without --base.",
    )


def _outcome(state: State, unit: Unit, release: Release) -> str:
    """What becomes of a unit that a bundle has a release for. A held channel is repaired at most."""
    channel = state.channel(unit)
    if channel.current != release.name:
        return "held" if channel.hold else "updated"
    return "unchanged" if state.is_whole(unit, release.name) else "repaired"


def _unpack(source: _Bundle, inventory: dict[str, Any], folder: Path, policy: PackagePolicy, cancel: Cancel) -> None:
    """Takes the packages out of the bundle and verifies every byte of it: the seal, each SHA-256, each zip."""
    with _reading(source) as (archive, file):
        _check_seal(source, archive, file, cancel)
        for entry in _check_members(source, archive, inventory):
            _take(policy, source, archive, entry, folder, cancel)


def _check_members(source: _Bundle, archive: tarfile.TarFile, inventory: dict[str, Any]) -> list[tarfile.TarInfo]:
    """The packages of the bundle. It must hold those that its inventory names, as plain files, and nothing else."""
    carried = [entry for _unit, entry in _entries(inventory) if entry["carried"]]
    sizes = {f"packages/{entry['sha256']}.zip": entry["bytes"] for entry in carried}
    members = archive.getmembers()
    for entry in members:
        if entry.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or entry.issparse():
            raise _damaged(source, f"{entry.name[:80]!r} in it is no plain file")
    if [entry.name for entry in members] != [_INVENTORY, *sorted(sizes), _SEAL]:
        raise _damaged(source, "it does not hold what its inventory names")
    for entry in members[1:-1]:
        if entry.size != sizes[entry.name]:
            raise _damaged(source, f"{entry.name} does not have the size that its inventory names")
    return members[1:-1]


def _check_seal(source: _Bundle, archive: tarfile.TarFile, file: IO[bytes], cancel: Cancel) -> None:
    """Refuses a bundle unless its last member seals everything before it and nothing but zeros follows."""
    members = archive.getmembers()
    seal = members[-1] if members else None
    if seal is None or seal.name != _SEAL or seal.size > _MAX_INVENTORY_BYTES:
        raise _damaged(source, "its seal is missing")
    content = _content(archive, seal).read()
    file.seek(seal.offset)
    if file.read(tarfile.BLOCKSIZE) != _head(_SEAL, seal.size).tobuf(tarfile.USTAR_FORMAT):
        raise _damaged(source, "the head of its seal was changed")
    if content != json_bytes({"sha256": _digest_of_beginning(file, seal.offset, cancel)}):
        raise _damaged(source, "its seal does not fit its content")
    behind = seal.offset_data + seal.size
    records = -(-(behind + 2 * tarfile.BLOCKSIZE) // tarfile.RECORDSIZE)
    if file.seek(0, os.SEEK_END) != records * tarfile.RECORDSIZE:
        raise _damaged(source, "its end is missing or something was added to it")
    file.seek(behind)
    for data in iter(lambda: file.read(CHUNK), b""):
        if data.strip(b"\0"):
            raise _damaged(source, "its end was changed")


def _take(
    policy: PackagePolicy,
    source: _Bundle,
    archive: tarfile.TarFile,
    entry: tarfile.TarInfo,
    folder: Path,
    cancel: Cancel,
) -> None:
    digest = entry.name[len("packages/") : -len(".zip")]
    where = f"the package {digest[:8]} of the bundle"
    check_size(entry.size, policy, where)
    target, actual = folder / f"{digest}.zip", hashlib.sha256()
    content = _content(archive, entry)
    with advising("writing", target), target.open("xb") as out:
        for data in iter(lambda: content.read(CHUNK), b""):
            cancel.check()
            actual.update(data)
            out.write(data)
    if actual.hexdigest() != digest:
        raise _damaged(source, f"{where} does not have the SHA-256 that names it")
    prove(target, policy, where, cancel)


def _digest_of_beginning(file: IO[bytes], length: int, cancel: Cancel) -> str:
    digest = hashlib.sha256()
    file.seek(0)
    while length > 0:
        cancel.check()
        data = file.read(min(CHUNK, length))
        if not data:
            break
        digest.update(data)
        length -= len(data)
    return digest.hexdigest()


def _result(state: State, steps: list[_Step]) -> dict[str, Any]:
    units = []
    for step in steps:
        channel = state.channel(step.unit)
        units.append(
            {
                **step.unit.as_dict(),
                "outcome": step.outcome,
                "changed": step.outcome in ("updated", "repaired"),
                "release": channel.current if step.outcome == "held" else step.release.name,
                "held": channel.hold,
                "carries": step.release.versions.as_dict(),
            }
        )
    return {"changed": any(unit["changed"] for unit in units), "units": units}
