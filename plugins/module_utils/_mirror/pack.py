"""Packs this engine as one executable file: the command `mde-mirror`."""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

_MAIN = b"""import sys
if sys.version_info < (3, 8):
    sys.exit("mde-mirror: needs Python 3.8 or later, this is %d.%d" % sys.version_info[:2])
from _mirror.cli import main
sys.exit(main())
"""
_EPOCH = (1980, 1, 1, 0, 0, 0)


def command_bytes(interpreter: str = "/usr/bin/env python3") -> bytes:
    """The command as a file's content. The same sources always give the same bytes."""
    sources = {"__main__.py": _MAIN}
    engine = Path(__file__).parent
    for path in sorted(engine.rglob("*.py")):
        sources[f"_mirror/{path.relative_to(engine).as_posix()}"] = path.read_bytes()
    packed = io.BytesIO()
    packed.write(f"#!{interpreter}\n".encode())
    with zipfile.ZipFile(packed, "a", zipfile.ZIP_DEFLATED) as archive:
        for name, data in sources.items():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), data, zipfile.ZIP_DEFLATED)
    return packed.getvalue()


def build_command(destination: str, interpreter: str = "/usr/bin/env python3") -> str:
    """Writes the command to `destination`, executable by all. Returns its SHA-256."""
    data = command_bytes(interpreter)
    path = Path(destination)
    path.write_bytes(data)
    path.chmod(0o755)
    return hashlib.sha256(data).hexdigest()
