"""Packages of the simulated service: units, releases, and the zip files that stand for Microsoft's packages."""

from __future__ import annotations

import hashlib
import json
import os
import random
import threading
import zipfile
from pathlib import Path
from typing import Any, BinaryIO, Iterator, NamedTuple

PLATFORMS = ("linux", "mac")
ARCHITECTURES = ("x86_64", "arm64")
RINGS = ("production", "preview")

ENGINE_MEMBERS = ("libmpengine.so", "libmpengine.so.sig")
MEMBER_SHARES = {
    "libmpengine.so": 0.2,
    "libmpengine.so.sig": 0.001,
    "mpasbase.vdm": 0.3,
    "mpasdlta.vdm": 0.02,
    "mpavbase.vdm": 0.45,
    "mpavdlta.vdm": 0.029,
}
VERSION_MEMBER = "version.json"
ZIP_TIME = (2025, 1, 1, 0, 0, 0)


def noise(seed: str, size: int) -> Iterator[bytes]:
    """Incompressible bytes; the same seed gives the same bytes."""
    source = random.Random(seed)
    while size > 0:
        length = min(size, 1 << 20)
        yield source.getrandbits(8 * length).to_bytes(length, "little")
        size -= length


def build_package(
    path: Path,
    definitions_version: str,
    engine_version: str,
    platform: str = "linux",
    arch: str = "x86_64",
    ring: str = "production",
    size: int = 200_000,
    stored: bool = False,
) -> Path:
    """Writes a package of about `size` bytes. Equal arguments give equal files; the package is never held in memory."""
    versions = {
        "definitions": definitions_version,
        "engine": engine_version,
        "platform": platform,
        "arch": arch,
        "ring": ring,
    }
    method = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    with zipfile.ZipFile(staged, "w") as package:

        def member(name: str, blocks: Iterator[bytes]) -> None:
            info = zipfile.ZipInfo(name, ZIP_TIME)
            info.compress_type = method
            info.external_attr = 0o100644 << 16
            with package.open(info, "w", force_zip64=size > 1 << 31) as stream:
                for block in blocks:
                    stream.write(block)

        member(VERSION_MEMBER, iter([json.dumps(versions, sort_keys=True).encode() + b"\n"]))
        for name, share in MEMBER_SHARES.items():
            version = engine_version if name in ENGINE_MEMBERS else definitions_version
            member(name, noise(f"{name} {version} {platform} {arch} {ring}", max(64, int(size * share))))
    staged.replace(path)
    return path


def package_versions(package: Path | BinaryIO) -> dict[str, str]:
    """The versions that `build_package` recorded in a package."""
    with zipfile.ZipFile(package) as opened:
        versions: dict[str, str] = json.loads(opened.read(VERSION_MEMBER))
        return versions


class Unit(NamedTuple):
    """A platform, an architecture and a ring: Microsoft publishes one package for each combination."""

    platform: str
    arch: str
    ring: str


class Release(NamedTuple):
    """A package that was published for a unit, with its versions and date."""

    unit: Unit
    definitions: str
    engine: str
    date: str
    path: Path

    @property
    def etag(self) -> str:
        tag = hashlib.sha256(f"{self.unit}{self.definitions}{self.engine}{self.path.stat().st_size}".encode())
        return f'"{tag.hexdigest()[:16]}"'

    def as_json(self) -> dict[str, Any]:
        return {
            **self.unit._asdict(),
            "definitions": self.definitions,
            "engine": self.engine,
            "date": self.date,
            "bytes": self.path.stat().st_size,
        }
