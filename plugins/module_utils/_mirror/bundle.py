"""Bundles: files that carry releases across an air gap.

A bundle is a tar archive, so every tar program can list it. It contains `inventory.json`, then `packages/<sha256>.zip`,
then `seal.json` with the SHA-256 of all bytes before it. Only the zeros that end a tar archive may follow.
"""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import stat
import tarfile
from pathlib import Path
from typing import IO, Any, Callable, ContextManager, Iterator, NamedTuple

from . import VERSION, refusals
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
    unique,
)
from .package import prove
from .privileges import acting_as_owner
from .records import ZIP, Release, read_chain
from .session import Mirror, MirrorSession
from .settings import PackagePolicy, Settings
from .signing import is_signed, own_keys, signed, verified
from .sources.replica import read_offers
from .state import State
from .times import days_between, hours_after, now_iso, readable
from .trust import BUNDLE, UNSIGNED, Proof, Trust, proven
from .units import Unit, unit_of_path
from .versions import Versions, is_sha256, is_version
from .workspace import Workspace

FORMAT = 1
# How long a signed bundle can be imported.
VALID_DAYS = 30
_KIND = "mde-mirror bundle"
_INVENTORY, _SEAL = "inventory.json", "seal.json"
_MAX_INVENTORY_BYTES = 4 * 1024 * 1024
_BRING_ANOTHER = (
    "Use a file that `mde-mirror export` of the same or an earlier version wrote. If this is such a file, copy it "
    "again and compare its SHA-256 on both sides."
)


def export_bundle(
    settings: Settings,
    target: Path,
    base: Path | None = None,
    check: bool = False,
    valid_days: int = VALID_DAYS,
) -> dict[str, Any]:
    """Writes everything that channels serve to `target`, which appears complete or not at all.

    `base` is the `status.json` of the mirror that will import the bundle: packages that this file lists are left out.
    A bundle that is signed can be imported for `valid_days`. If `target` is already a bundle with the same content, and
    more than half of its validity is left, it is not written again.
    """
    with advising("writing", target):
        is_other = target.exists() and not target.is_file()
    if is_other:
        raise MirrorError("file", f"{target} exists and is not a regular file", "Name a file; it need not exist yet.")
    mirror = Mirror(settings)
    state = mirror.state()
    there = _digests_in(base) if base else set()
    entries, packages, served = [], {}, {}
    for unit in state.units():
        release = state.current(unit)
        if release is None:
            raise _spoiled(f"the package that {unit} serves")
        served[unit] = release
        carried = release.sha256 not in there
        entries.append({"path": unit.path, **_inventory_fields(release), "carried": carried})
        if carried:
            packages[release.sha256] = mirror.store.folder(release) / ZIP
    if not entries:
        raise MirrorError("nothing_to_export", f"{mirror.root} serves nothing yet", "Run a sync first.")
    digest = _sha256_if_same(target, entries, settings.signing_key)
    changed = digest is None
    writes = changed and not check
    for unit, release in served.items():
        # Writing a package to the bundle also verifies it.
        if not (writes and release.sha256 in packages) and not state.is_whole(unit, release.name):
            raise _spoiled(f"the package that {unit} serves")
    if writes:
        digest = _write_whole(target, _inventory(mirror, entries, valid_days), packages)
    return {
        "changed": changed,
        "path": str(target),
        "carried": [entry["path"] for entry in entries if entry["carried"]],
        "left_out": [entry["path"] for entry in entries if not entry["carried"]],
        "bytes": None if digest is None else _size(target),
        "sha256": digest,
    }


def import_bundle(
    settings: Settings,
    source: Path,
    check: bool = False,
    accept: frozenset[str] = frozenset(),
    unsigned: bool = False,
    cancel: Cancel | None = None,
) -> dict[str, Any]:
    """Publishes what a bundle carries. `accept` holds codes of refusals (`refusals.ACCEPTABLE`) that do not count.

    The bundle must be signed by a trusted key. With `unsigned`, its origin is not checked.

    Every byte is verified before a channel is changed; a bundle that is damaged, cut short, older than what is
    published or not made by `mde-mirror export` is refused as a whole. A held channel stays unchanged; the other
    channels are still updated.
    """
    cancel = cancel or Cancel()
    mirror = Mirror(settings)
    workspace = Workspace(settings.root, settings.retain)
    units = {*settings.followed_units(), *settings.promoted_units()}
    # The bundle is opened before privileges are dropped: removable media is often readable by root only.
    with _opened(source) as bundle:
        if check:
            with acting_as_owner(settings.root):
                state = mirror.state()
                inventory, _sha256 = _verified(bundle, cancel)
                proof = _proof(bundle, inventory, settings, state.trust(), accept, unsigned)
                return _result(state, _plan(state, units, inventory, accept, proof), proof)
        with workspace.occupied(settings.followed_units()):
            inventory, _length = _inventory_of(bundle, _Pass(bundle, cancel))
            # A bundle that cannot be imported is refused before its packages are read and written.
            with _refusing_damage_first(bundle, cancel):
                state = mirror.state()
                proof = _proof(bundle, inventory, settings, state.trust(), accept, unsigned)
                _plan(state, units, inventory, accept, proof)
            folder, prepared = workspace.folder / unique("bundle"), {}
            try:
                make_directory(folder)
                with workspace.reserved(bundle.size):
                    _unpack(bundle, inventory, folder, settings.policy, cancel)
                prepared = _prepared(workspace, folder, units, inventory)
                return mirror.change(lambda session: _publish(session, units, inventory, accept, proof, prepared))
            finally:
                for leftover in (folder, *prepared.values()):
                    remove_tree(leftover)


def _prepared(workspace: Workspace, folder: Path, units: set[Unit], inventory: dict[str, Any]) -> dict[str, Path]:
    """The unpacked packages, ready to be stored, by the key of their release."""
    found: dict[str, Path] = {}
    for unit, entry in _entries(inventory):
        release = _release(unit, entry, inventory)
        if unit in units and entry["carried"] and release.key not in found:
            with advising("storing", folder):
                # Platforms may share a package; a hard link costs no copy.
                named = folder / unique(ZIP)
                os.link(str(folder / f"{release.sha256}.zip"), str(named))
            found[release.key] = workspace.prepared(named, release)
    return found


def _publish(
    session: MirrorSession,
    units: set[Unit],
    inventory: dict[str, Any],
    accept: frozenset[str],
    proof: Proof,
    prepared: dict[str, Path],
) -> dict[str, Any]:
    """Plans again from what the mirror serves now, and publishes."""
    state = session.state
    steps = _plan(state, units, inventory, accept, proof)
    for step in steps:
        if step.unit in session.broken:
            raise session.broken[step.unit]
    result = _result(state, steps, proof)
    newer = any(step.is_newer(state) for step in steps)
    changes = [step for step in steps if step.outcome in ("updated", "repaired")]
    whole = {step.unit: state.is_whole(step.unit, state.channel(step.unit).current) for step in changes}
    for step in changes:
        release = step.release
        if release.key in prepared:
            release = session.add(prepared.pop(release.key), release)
        channel = state.channel(step.unit)
        published = channel.publish(release.name, "import", current_is_whole=whole[step.unit], accepted=step.accepted)
        session.set_channel(step.unit, published)
    session.prune()
    imported, last = now_iso(), state.last_sync()
    renewed = imported if newer else last.get("last_renewal", "")
    session.trust(lambda trust: trust.after(proof))
    exporter = {"mirror_id": inventory.get("mirror_id"), "current_as_of": inventory.get("created")}
    chain = read_chain([exporter, *read_chain(inventory.get("chain"))])
    session.record(last_import=imported, last_renewal=renewed, origin=proof.origin, chain=chain)
    return result


def _proof(
    bundle: _Bundle,
    inventory: dict[str, Any],
    settings: Settings,
    trust: Trust,
    accept: frozenset[str],
    unsigned: bool,
) -> Proof:
    """How the origin of a bundle is proven. Raises `MirrorError` if a proof is required and missing."""
    if unsigned:
        return Proof(UNSIGNED, BUNDLE)
    if not settings.source.trusted_keys:
        raise MirrorError(
            "unsigned",
            f"the origin of {bundle} cannot be checked, because this mirror trusts no keys",
            "Name the keys that sign bundles in source.trustedKeys (role: mirror_source_trusted_keys). To take this "
            "bundle without a check of its origin, import it with --unsigned (module: unsigned).",
        )
    return proven(inventory, BUNDLE, str(bundle), trust, Path(settings.source.trusted_keys), accept)[1]


# --- writing ------------------------------------------------------------------------------------------------------


def _spoiled(what: str) -> MirrorError:
    return MirrorError(
        "damaged",
        f"{what} was damaged or deleted, so it cannot be exported",
        "Run a sync, which repairs the package if the source still has it, and export again.",
    )


def _inventory_fields(release: Release) -> dict[str, Any]:
    return {
        "definitions_version": release.definitions_version,
        "engine_version": release.engine_version,
        "definitions_date": release.definitions_date,
        "sha256": release.sha256,
        "bytes": release.size,
    }


def _sha256_if_same(target: Path, entries: list[dict[str, Any]], key: str | None) -> str | None:
    """The SHA-256 of `target` if it is a whole bundle of exactly these releases, and signed as it would be now."""
    cancel = Cancel()
    try:
        with _opened(target) as bundle:
            inventory, _size = _inventory_of(bundle, _Pass(bundle, cancel))
            same = inventory.get("channels") == entries and _is_signed_long_enough(inventory, key, str(target))
            return _verified(bundle, cancel)[1] if same else None
    except MirrorError:
        return None


def _is_signed_long_enough(inventory: dict[str, Any], key: str | None, what: str) -> bool:
    """True if more than half of the validity is left. Without a key, true for a bundle that is not signed."""
    if not key:
        return not is_signed(inventory)
    content, _fingerprint = verified(inventory, own_keys(Path(key)), what)
    whole = days_between(content.get("created"), content.get("expires") or "")
    left = days_between(now_iso(), content.get("expires") or "")
    return whole is not None and left is not None and left > whole / 2


def _size(path: Path) -> int:
    with advising("reading", path):
        return path.stat().st_size


def _inventory(mirror: Mirror, entries: list[dict[str, Any]], valid_days: int) -> dict[str, Any]:
    """The inventory of these releases, signed if the mirror has a key."""
    if mirror.signing_key and not mirror.state().identity().mirror_id:
        # A mirror that version 0.1.0 filled gets its identity with its next status.
        with acting_as_owner(mirror.root):
            mirror.change(lambda session: session.sign())
    created, state = now_iso(), mirror.state()
    inventory = {
        "kind": _KIND,
        "format": FORMAT,
        "generator": f"mde-mirror {VERSION}",
        "created": created,
        **state.identity()._asdict(),
        "chain": state.last_sync().get("chain", []),
        "channels": entries,
    }
    if not mirror.signing_key:
        return inventory
    return signed({**inventory, "expires": hours_after(created, 24 * valid_days)}, Path(mirror.signing_key))


def _write_whole(target: Path, inventory: dict[str, Any], packages: dict[str, Path]) -> str:
    """Writes the bundle and returns the SHA-256 of the file."""
    with advising("writing", target), replacing(target) as file:
        return _write(file, inventory, packages)


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
    """Wraps a file that is written or read once from beginning to end, and computes the digest of its bytes."""

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


def _write(file: IO[bytes], inventory: dict[str, Any], packages: dict[str, Path]) -> str:
    out: Any = _Hashing(file)
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        _add(archive, _INVENTORY, json_bytes(inventory))
        for digest, package in sorted(packages.items()):
            with _package(package) as content:
                read: Any = _Hashing(content)
                archive.addfile(_head(_name_of_member(digest), os.fstat(content.fileno()).st_size), read)
            if read.digest.hexdigest() != digest:
                raise _spoiled(f"the package {package}")
        sealed = out.digest.hexdigest()
        _add(archive, _SEAL, json_bytes({"sha256": sealed}))
    return str(out.digest.hexdigest())


def _package(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except FileNotFoundError:
        # No lock is held, so a sync may have published newer packages and pruned this one meanwhile.
        raise _spoiled(f"the package {path}") from None


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    archive.addfile(_head(name, len(data)), io.BytesIO(data))


def _head(name: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, FILE_MODE
    return entry


# --- reading ------------------------------------------------------------------------------------------------------


class _Bundle:
    """A bundle that is open for reading; `str` returns its path."""

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
            # O_NONBLOCK: opening a FIFO must not wait for a writer.
            descriptor = os.open(str(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            cleanup.callback(os.close, descriptor)
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise MirrorError(
                    "file", f"{path} is not a regular file", "Name a file that `mde-mirror export` wrote."
                )
            file = cleanup.enter_context(os.fdopen(descriptor, "rb", closefd=False))
        yield _Bundle(path, file)


def _foreign(source: _Bundle, what: str) -> MirrorError:
    return MirrorError(
        "foreign_bundle",
        f"{source} is not a bundle that this version can read: {what}",
        _BRING_ANOTHER,
    )


def _damaged(source: _Bundle, what: str) -> MirrorError:
    return MirrorError(
        "damaged_bundle",
        f"the bundle {source} was damaged or cut short: {what}",
        "Nothing was imported. Copy the file again, or export it again; compare its SHA-256 on both sides.",
    )


class _Pass:
    """One pass over a bundle from its first byte to its last, which hashes every byte."""

    def __init__(self, source: _Bundle, cancel: Cancel) -> None:
        self._source, self._cancel = source, cancel
        self._file = _Hashing(source.file)
        with advising("reading", source):
            source.file.seek(0)

    @property
    def sha256(self) -> str:
        """The digest of what was read so far."""
        return self._file.digest.hexdigest()

    def chunks(self, size: int) -> Iterator[bytes]:
        """The next `size` bytes, piece by piece."""
        while size > 0:
            self._cancel.check()
            with advising("reading", self._source):
                data = self._file.read(min(CHUNK, size))
            if not data:
                raise _damaged(self._source, "its end is missing")
            size -= len(data)
            yield data

    def read(self, size: int) -> bytes:
        return b"".join(self.chunks(size))

    def at_end(self) -> bool:
        with advising("reading", self._source):
            return not self._file.read(1)


def _verified(source: _Bundle, cancel: Cancel) -> tuple[dict[str, Any], str]:
    """The inventory of a bundle that is whole, and the SHA-256 of the file. The bundle is read once."""
    return _read_whole(source, cancel, lambda _digest: contextlib.nullcontext(_Nowhere()))


def _unpack(source: _Bundle, inventory: dict[str, Any], folder: Path, policy: PackagePolicy, cancel: Cancel) -> None:
    """Writes the packages of the bundle to `folder`, and verifies them.

    The bundle is read once, while its packages are written; they are then read once more, as zip archives. No package
    may be used before this function returns, because only the end of a bundle shows whether the bundle is whole.
    """
    digests = []

    @contextlib.contextmanager
    def package_file(digest: str) -> Iterator[IO[bytes]]:
        target = folder / f"{digest}.zip"
        with advising("writing", target), target.open("xb") as file:
            yield file
        digests.append(digest)

    found, _sha256 = _read_whole(source, cancel, package_file)
    if found != inventory:
        raise _damaged(source, f"its {_INVENTORY} changed while the bundle was read")
    for digest in digests:
        prove(folder / f"{digest}.zip", policy, _name_of_package(digest), cancel)


@contextlib.contextmanager
def _refusing_damage_first(source: _Bundle, cancel: Cancel) -> Iterator[None]:
    """If the enclosed block refuses a bundle that is damaged, raises the error about the damage instead."""
    try:
        yield
    except MirrorError:
        _verified(source, cancel)
        raise


class _Nowhere:
    """A file that discards what is written to it."""

    def write(self, data: bytes) -> int:
        return len(data)


def _read_whole(
    source: _Bundle, cancel: Cancel, target: Callable[[str], ContextManager[Any]]
) -> tuple[dict[str, Any], str]:
    """Reads a bundle once, and writes each package to the file that `target` opens for its digest.

    Everything after the inventory, except the packages, must be byte by byte what an export writes for this inventory.
    Each package must have the SHA-256 that is its name, the seal must be the SHA-256 of the bytes before it, and only
    the zeros that fill the last record may follow.
    """
    bundle = _Pass(source, cancel)
    inventory, size = _inventory_of(source, bundle)
    read = _member_size(size)
    for digest, length in sorted(_carried(inventory).items()):
        if bundle.read(tarfile.BLOCKSIZE) not in _headers(_name_of_member(digest), length):
            raise _damaged(source, "its content differs from its inventory")
        actual = hashlib.sha256()
        with target(digest) as file:
            for data in bundle.chunks(length):
                actual.update(data)
                file.write(data)
        if actual.hexdigest() != digest:
            raise _damaged(source, f"{_name_of_package(digest)} does not have the SHA-256 that names it")
        _skip_zeros(source, bundle, -length % tarfile.BLOCKSIZE)
        read += _member_size(length)
    seal = json_bytes({"sha256": bundle.sha256})
    if bundle.read(tarfile.BLOCKSIZE) not in _headers(_SEAL, len(seal)):
        raise _damaged(source, "its seal is missing")
    if bundle.read(len(seal)) != seal:
        raise _damaged(source, "its seal does not match its content")
    read += tarfile.BLOCKSIZE + len(seal)
    records = -(-(read + 2 * tarfile.BLOCKSIZE) // tarfile.RECORDSIZE)
    _skip_zeros(source, bundle, records * tarfile.RECORDSIZE - read)
    if not bundle.at_end():
        raise _damaged(source, "something was added to its end")
    return inventory, bundle.sha256


def _inventory_of(source: _Bundle, bundle: _Pass) -> tuple[dict[str, Any], int]:
    """The inventory at the beginning of a bundle, and its length in bytes. The seal is not checked here."""
    size = _inventory_size(source, bundle)
    data = bundle.read(size)
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError):
        raise _damaged(source, f"{_INVENTORY} is not readable") from None
    if not isinstance(fields, dict) or fields.get("kind") != _KIND:
        raise _foreign(source, f"{_INVENTORY} does not say that it belongs to a bundle")
    if fields.get("format") != FORMAT:
        raise _foreign(source, f"it has format {fields.get('format')!r}, and this version reads format {FORMAT}")
    _skip_zeros(source, bundle, -size % tarfile.BLOCKSIZE)
    return fields, size


def _inventory_size(source: _Bundle, bundle: _Pass) -> int:
    """Reads the first header of a bundle."""
    block = bundle.read(tarfile.BLOCKSIZE)
    try:
        header = tarfile.TarInfo.frombuf(block, "ascii", "surrogateescape")
    except (tarfile.HeaderError, ValueError, OverflowError):
        if block[257:262] == b"ustar" or block.startswith(_INVENTORY.encode()):
            raise _damaged(source, "its beginning is damaged") from None
        raise MirrorError(
            "foreign_bundle",
            f"{source} is not a bundle, or its beginning is damaged",
            _BRING_ANOTHER,
        ) from None
    if header.name != _INVENTORY or not 0 <= header.size <= _MAX_INVENTORY_BYTES:
        raise _foreign(source, f"it does not begin with {_INVENTORY}")
    if block not in _headers(_INVENTORY, header.size):
        raise _damaged(source, "its beginning is damaged")
    return header.size


def _headers(name: str, size: int) -> tuple[bytes, ...]:
    """The headers that an export may write for a member. They differ in the device numbers: Python 3.8 writes zeros as
    digits, later versions write no digits.
    """
    try:
        block = _head(name, size).tobuf(tarfile.USTAR_FORMAT)
    except ValueError:
        # The inventory names a size that does not fit into a header.
        return ()
    found = []
    for device in (bytes(16), b"0000000\0" * 2):
        unsigned = block[:148] + b" " * 8 + block[156:329] + device + block[345:]
        found.append(block[:148] + b"%06o\0 " % sum(unsigned) + unsigned[156:])
    return tuple(found)


def _skip_zeros(source: _Bundle, bundle: _Pass, size: int) -> None:
    for data in bundle.chunks(size):
        if data.strip(b"\0"):
            raise _damaged(source, "its padding was changed")


def _member_size(size: int) -> int:
    """The number of bytes that a member with `size` bytes of content takes in an archive."""
    return tarfile.BLOCKSIZE + size + -size % tarfile.BLOCKSIZE


def _carried(inventory: dict[str, Any]) -> dict[str, int]:
    """The sizes of the packages that a bundle carries, by their digests."""
    return {entry["sha256"]: entry["bytes"] for _unit, entry in _entries(inventory) if entry["carried"]}


def _name_of_member(digest: str) -> str:
    return f"packages/{digest}.zip"


def _name_of_package(digest: str) -> str:
    return f"the package {digest[:8]} of the bundle"


class _Step(NamedTuple):
    """What an import does with one unit. `outcome` is one of those of a sync: updated, repaired, unchanged or held.

    `accepted` has the codes of refusals that the operator overrode.
    """

    unit: Unit
    release: Release
    carried: bool
    outcome: str
    accepted: tuple[str, ...] = ()

    def is_newer(self, state: State) -> bool:
        served = state.served_versions(self.unit)
        return self.outcome == "updated" and (served is None or served.lower_than(self.release.versions))


def _plan(
    state: State, units: set[Unit], inventory: dict[str, Any], accept: frozenset[str], proof: Proof
) -> list[_Step]:
    """The steps that the inventory asks for. Raises `MirrorError` if a single entry cannot be imported."""
    steps, now = [], now_iso()
    for unit, entry in _entries(inventory):
        if unit not in units:
            continue
        release = _release(unit, entry, inventory)
        step = _Step(unit, release, bool(entry["carried"]), _outcome(state, unit, release))
        if step.outcome == "updated":
            step = step._replace(accepted=(*proof.accepted, *_accepted(step, state, accept, now)))
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
        unit.pool,
        entry["definitions_version"],
        entry["engine_version"],
        readable(entry["definitions_date"]),
        entry["sha256"],
        entry["bytes"],
        now_iso(),
        "bundle of {}".format(inventory.get("created")),
    )


def _accepted(step: _Step, state: State, accept: frozenset[str], now: str) -> tuple[str, ...]:
    """The codes of refusals that the operator overrides for a unit. Raises where one is not overridden."""
    unit, versions = step.unit, step.release.versions
    served = state.served_versions(unit)
    error, codes = refusals.judge(
        refusals.Offering("the bundle carries", str(unit), "import", versions, step.release.sha256, now),
        served,
        state.published(unit),
        lambda: _downgrade(step, served, refusals.notable_step(state.channel(unit), now)),
        accept,
    )
    if error:
        raise error
    return codes


def _downgrade(step: _Step, served: Versions | None, unusual: str) -> MirrorError:
    return MirrorError(
        "downgrade",
        f"the bundle carries {step.release.versions} for {step.unit}, lower than the published {served}{unusual}",
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
            _BRING_ANOTHER,
        ) from None
    return entries


def _check_entry(entry: Any) -> None:
    """Raises `ValueError` unless the entry has all fields of a release, with the right types."""
    right = (
        is_version(entry["definitions_version"])
        and is_version(entry["engine_version"])
        and (entry["definitions_date"] is None or isinstance(entry["definitions_date"], str))
        and is_sha256(entry["sha256"])
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
        "The bundle was made for another mirror or for an older state of this one. Export it again with the present "
        "status.json of this mirror, or without --base.",
    )


def _outcome(state: State, unit: Unit, release: Release) -> str:
    """The outcome for a unit for which a bundle has a release. A held channel can only be repaired."""
    channel = state.channel(unit)
    if channel.current != release.name:
        return "held" if channel.hold else "updated"
    return "unchanged" if state.is_whole(unit, release.name) else "repaired"


def _result(state: State, steps: list[_Step], proof: Proof) -> dict[str, Any]:
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
                "accepted": list(step.accepted),
            }
        )
    return {"changed": any(unit["changed"] for unit in units), "origin": proof.origin, "units": units}
