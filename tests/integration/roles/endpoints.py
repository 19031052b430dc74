"""Helpers of the tests of endpoints: the files of a mirror, and wrappers of the hosts' Python interpreter."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

from simulators.download_service import build_package

ENGINE = "1.1.26020.1002"


def publish(root: Path, version: str, arch: str = "x86_64") -> None:
    """Creates the files that a mirror serves, without a sync."""
    folder = root / f"linux/production/arch_{arch}"
    build_package(folder / "updates.zip", version, ENGINE, arch=arch, size=20_000)
    manifest = {"EngineVersion": ENGINE, "DefinitionVersion": version}
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


def interpreter(path: Path, script: str) -> str:
    """A shell script as the interpreter of a host; `PYTHON` in the script is replaced by the real interpreter."""
    line = script.replace("PYTHON", f'{shlex.quote(sys.executable)} "$@"')
    path.write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
    path.chmod(0o755)
    return str(path)


class ModuleRuns:
    """Counts how often Ansible starts Python on a host, which is the main cost on the host."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "runs"
        self.interpreter = interpreter(
            folder / "counting-python", f"echo run >> {shlex.quote(str(self._log))}; exec PYTHON"
        )

    def taken(self) -> int:
        """The number of starts since the last call."""
        count = len(self._log.read_text(encoding="utf-8").splitlines()) if self._log.exists() else 0
        self._log.unlink(missing_ok=True)
        return count
