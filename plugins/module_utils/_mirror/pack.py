"""Packs this engine as one executable file: the command `mde-mirror`.

The file is a zip archive that Python runs. It contains the sources and, if requested, their compiled code, so that
nothing is compiled at each start. The compiled code is for the Python version that packs the file; other versions
ignore it and compile the sources.
"""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import importlib.util
import io
import marshal
import zipfile
from pathlib import Path

_MAIN = b"""import gc
import os
import sys
if sys.version_info < (3, 8):
    sys.exit("mde-mirror: needs Python 3.8 or later, this is %d.%d" % sys.version_info[:2])
# Imports create no garbage, so the collector is off meanwhile.
gc.disable()
from _mirror.cli import main
gc.freeze()
gc.enable()
status = main()
if status == 0:
    # All output is flushed and all files are closed. The usual shutdown of Python would take longer than a short run.
    sys.stderr.flush()
    os._exit(0)
sys.exit(status)
"""
# The member with the digest of what the file was made from. It is not in the comment of the archive, because Python
# before 3.8 cannot run an archive with a comment.
_MADE_FROM = "made-from"
_EPOCH = (1980, 1, 1, 0, 0, 0)
# The flags of an unchecked hash-based `.pyc` file (PEP 552): the archive is always written as a whole, so the code
# never differs from its source.
_UNCHECKED_HASH = (1).to_bytes(4, "little")
ANY_PYTHON = "/usr/bin/env python3"


def command_bytes(interpreter: str = ANY_PYTHON, compiled: bool = False) -> bytes:
    """The command as the content of a file.

    Without compiled code, the same sources give the same bytes with every Python. With compiled code, two files made
    from the same sources may differ, so `is_current` compares what they were made from.
    """
    sources = _sources()
    packed = io.BytesIO()
    packed.write(f"#!{interpreter}\n".encode())
    with zipfile.ZipFile(packed, "a") as archive:
        for name, data in sources.items():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), data, zipfile.ZIP_DEFLATED)
            if compiled:
                # Not compressed: the file is read at every start.
                archive.writestr(zipfile.ZipInfo(name + "c", _EPOCH), _code(name, data), zipfile.ZIP_STORED)
        archive.writestr(zipfile.ZipInfo(_MADE_FROM, _EPOCH), _digest(interpreter, sources, compiled))
    return packed.getvalue()


def build_command(destination: str, interpreter: str = ANY_PYTHON, compiled: bool = True) -> str:
    """Writes the command to `destination`, executable by all. Returns the SHA-256 of the file."""
    data = command_bytes(interpreter, compiled)
    path = Path(destination)
    path.write_bytes(data)
    path.chmod(0o755)
    return hashlib.sha256(data).hexdigest()


def is_current(path: Path, interpreter: str = ANY_PYTHON) -> bool:
    """True if `path` is undamaged and was made from these sources, with compiled code for the running Python."""
    try:
        with zipfile.ZipFile(str(path)) as archive:
            same = archive.read(_MADE_FROM) == _digest(interpreter, _sources(), True)
            return same and archive.testzip() is None
    except (OSError, KeyError, zipfile.BadZipFile):
        return False


def _sources() -> dict[str, bytes]:
    engine = Path(__file__).parent
    found = {f"_mirror/{name}": data for name, data in sorted(_files(engine).items())}
    return {"__main__.py": _MAIN, **found}


def _files(engine: Path) -> dict[str, bytes]:
    """The sources of this package by their paths in it. In an Ansible module, the package is in a zip archive."""
    if engine.is_dir():
        return {path.relative_to(engine).as_posix(): path.read_bytes() for path in engine.rglob("*.py")}
    archive_path = next(folder for folder in engine.parents if folder.is_file())
    beginning = engine.relative_to(archive_path).as_posix() + "/"
    with zipfile.ZipFile(str(archive_path)) as archive:
        names = [name for name in archive.namelist() if name.startswith(beginning) and name.endswith(".py")]
        return {name[len(beginning) :]: archive.read(name) for name in names}


def _code(name: str, source: bytes) -> bytes:
    code = compile(source, f"mde-mirror/{name}", "exec", dont_inherit=True)
    return importlib.util.MAGIC_NUMBER + _UNCHECKED_HASH + importlib.util.source_hash(source) + marshal.dumps(code)


def _digest(interpreter: str, sources: dict[str, bytes], compiled: bool) -> bytes:
    """What a file was made from: the first line, the sources, and the Python version of its compiled code."""
    made_from = hashlib.sha256(f"{interpreter}\n".encode())
    if compiled:
        made_from.update(importlib.util.MAGIC_NUMBER)
    for name, data in sources.items():
        made_from.update(f"{name} {len(data)}\n".encode() + data)
    return made_from.hexdigest().encode()
