"""The role mirror in a folder: its variables, and checks of the schedules that it writes.

systemd's own tools check the units, and lines of cron run as cron runs them.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import warnings
from pathlib import Path
from typing import Any

SYNC = ("mde-mirror-sync.service", "mde-mirror-sync.timer")
WATCH = ("mde-mirror-watch.service", "mde-mirror-watch.timer")
ALARM = "mde-mirror-alarm@.service"
# The exposure of a service as systemd-analyze rates it, from 0 to 10 (not restricted).
LOCKED_DOWN = 2.0
# An alarm command that appends its arguments as one line to the file that is its first argument.
LISTENER = "import json, sys; open(sys.argv[1], 'a').write(json.dumps(sys.argv[2:]) + '\\n')"


def mirror_variables(folder: Path, service: str) -> dict[str, Any]:
    """A mirror in a folder, which is owned by the user that runs the test."""
    return {
        "mirror_unprivileged": True,
        "mirror_scheduler": "none",
        "mirror_root": str(folder / "two words" / "srv"),
        "mirror_command": str(folder / "bin" / "mde-mirror"),
        "mirror_settings_file": str(folder / "etc" / "settings.json"),
        "mirror_log_file": str(folder / "log" / "sync.log"),
        "mirror_unit_directory": str(folder / "systemd"),
        "mirror_source_url": service,
        "mirror_architectures": ["x86_64"],
    }


def calls_in(notes: Path) -> list[list[str]]:
    """The lines that `LISTENER` wrote."""
    return [json.loads(line) for line in notes.read_text().splitlines()] if notes.exists() else []


def analyze(*arguments: str) -> str:
    command = ["systemd-analyze", "--no-pager", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def check_units(folder: Path, *names: str) -> None:
    """Checks that exactly these units exist, that timers are enabled, and that units are valid and restricted."""
    assert sorted(path.name for path in folder.iterdir() if path.is_file()) == sorted(names)
    timers = [name for name in names if name.endswith(".timer")]
    assert sorted(path.name for path in (folder / "timers.target.wants").iterdir()) == sorted(timers)
    assert all((folder / "timers.target.wants" / name).resolve() == folder / name for name in timers)
    if not shutil.which("systemd-analyze"):
        warnings.warn("systemd-analyze is not installed: the units were not judged by systemd", stacklevel=1)
        return
    assert "mde-mirror" not in analyze("verify", *(str(folder / name) for name in names))
    for name in names:
        # The alarm command belongs to the operator and needs more permissions.
        if name.endswith(".service") and name != ALARM:
            judged = analyze("security", "--offline=true", str(folder / name))
            exposure = re.search(r"Overall exposure level for \S+: ([0-9.]+)", judged)
            if exposure is None:
                warnings.warn(f"this systemd-analyze cannot measure a file: {judged}", stacklevel=1)
                return
            assert float(exposure.group(1)) < LOCKED_DOWN, judged


class Cron:
    """A file of /etc/cron.d, parsed as cron does."""

    def __init__(self, path: Path) -> None:
        text = path.read_text(encoding="utf-8")
        assert text.endswith("\n"), "cron passes over a last line without its line break"
        self.settings: dict[str, str] = {}
        self.lines: dict[str, tuple[str, str, str]] = {}
        for line in text.splitlines():
            setting = re.fullmatch(r'([A-Z]+)="?([^"]*)"?', line)
            if setting:
                self.settings[setting.group(1)] = setting.group(2)
            elif not line.startswith("#"):
                fields = line.split(None, 6)
                verb = re.search(r" (sync|watch) >", fields[6])
                assert verb, line
                self.lines[verb.group(1)] = (" ".join(fields[:5]), fields[5], fields[6])

    def run(self, verb: str, programs: Path) -> subprocess.CompletedProcess[str]:
        """Runs the command of a line with the environment of the file only, and with `programs` first in PATH."""
        command = self.lines[verb][2]
        # In crontab(5), an unescaped % ends the command and begins its standard input.
        assert not re.search(r"(?<!\\)%", command)
        path = f"{programs}{os.pathsep}{self.settings['PATH']}"
        return subprocess.run(
            [self.settings["SHELL"], "-c", command.replace("\\%", "%")],
            env={"PATH": path, "HOME": "/nonexistent", "LOGNAME": "mde-mirror"},
            cwd="/",
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
