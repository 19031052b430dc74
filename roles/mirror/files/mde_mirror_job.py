"""What runs around the command mde-mirror where systemd does not do it: delays, time limits, and telling somebody.

    python3 mde-mirror-job job.json sync         cron and launchd: one sync, the metrics, an alarm if the sync failed
    python3 mde-mirror-job job.json watch        cron and launchd: the metrics, an alarm if the mirror is stale
    python3 mde-mirror-job job.json alarm KIND   systemd's OnFailure=, where KIND (sync, watch) failed

Needs Python 3.8 or newer. The role mde.offline.mirror installs it and writes job.json.
"""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import syslog
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LOCKED = 75
KINDS = ("sync", "watch")
ALARM_SECONDS, LOOK_SECONDS, GRACE_SECONDS = 120, 600, 60
UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
LONGEST_REASON = 500


@dataclass(frozen=True)
class Job:
    """What job.json says of one mirror."""

    command: list[str]
    settings: str
    state: Path
    metrics: str
    max_age: int
    alarm: list[str]
    repeat: float
    spread: float
    time_limit: float | None

    @classmethod
    def load(cls, path: str) -> Job:
        fields: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
        limit = fields["time_limit"]
        return cls(
            command=fields["command"],
            settings=fields["settings"],
            state=Path(fields["state"]),
            metrics=fields["metrics"],
            max_age=fields["max_age"],
            alarm=fields["alarm"],
            repeat=fields["repeat"] * 3600,
            spread=seconds(fields["spread"]),
            time_limit=None if limit == "infinity" else seconds(limit),
        )

    def sync(self) -> int:
        os.nice(10)
        time.sleep(random.uniform(0, self.spread))
        done = self.run("sync", limit=self.time_limit)
        self.write_metrics()
        # Another sync is at work, and will say itself how it went.
        if done.status in (0, LOCKED):
            return 0
        self.raise_alarm("sync", done)
        return done.status

    def watch(self) -> int:
        self.write_metrics()
        if not self.max_age:
            return 0
        done = self.run("status", "--max-age", str(self.max_age), quiet=True)
        if done.status:
            self.raise_alarm("watch", done)
        return done.status

    def write_metrics(self) -> None:
        if self.metrics:
            self.run("metrics", "--output", self.metrics)

    # --- telling somebody -----------------------------------------------------------------------------------------

    def raise_alarm(self, kind: str, failed: Done | None = None) -> int:
        """Tells the log, and the operator's command unless it was told of the same trouble a short while ago."""
        status = self.status()
        reason = f"mde-mirror on {socket.gethostname()}: {shortened(self.why(kind, status, failed))}"
        tell(reason, syslog.LOG_ERR)
        if not self.alarm:
            return 0
        stamp = self.state / f"alarm-{kind}"
        if not self.due(stamp, status):
            tell(f"{self.alarm[0]} was told already and is told again in {self.repeat / 3600:g} hours at the earliest")
            return 0
        done = run([*self.alarm, reason], ALARM_SECONDS)
        if done.status:
            # Nobody may have been reached, so the next failure tries again.
            tell(f"{self.alarm[0]} failed: {done.said or done.status}", syslog.LOG_ERR)
            return 1
        with contextlib.suppress(OSError):
            handle, name = tempfile.mkstemp(dir=str(self.state), prefix=".alarm-")
            os.write(handle, filled(status).encode())
            os.close(handle)
            Path(name).replace(stamp)
        return 0

    def due(self, stamp: Path, status: dict[str, Any]) -> bool:
        """True for new trouble, that is when the mirror was filled since the last alarm; for old trouble at times."""
        try:
            told, filled_then = stamp.stat().st_mtime, stamp.read_text(encoding="utf-8")
        except (OSError, ValueError):
            return True
        return filled(status) > filled_then or not 0 <= time.time() - told < self.repeat

    def status(self) -> dict[str, Any]:
        done = run([*self.command, "status", "--json", "--settings", self.settings], LOOK_SECONDS)
        with contextlib.suppress(ValueError):
            found = json.loads(done.output)
            if isinstance(found, dict):
                return found
        return {}

    def why(self, kind: str, status: dict[str, Any], failed: Done | None) -> str:
        if kind == "watch":
            failed = failed or self.run("status", "--max-age", str(self.max_age), quiet=True)
            return failed.said or "the watch failed; see its log"
        last = status.get("last_sync") or {}
        errors = [{**error, "unit": ""} for error in last.get("errors", [])]
        for unit in last.get("units", []):
            if unit.get("error"):
                errors.append({**unit["error"], "unit": "{platform}/{channel}/{arch}: ".format(**unit)})
        told = "; ".join("{unit}{code}: {message}".format(**error) for error in errors)
        # A run that could not even begin, or was ended, says so itself and leaves the result of the one before.
        said = failed.said if failed and (failed.errors or not told) else told
        return "the sync failed: " + (said or "it ended without a result; see its log")

    # --- running the command --------------------------------------------------------------------------------------

    def run(self, verb: str, *options: str, limit: float | None = LOOK_SECONDS, quiet: bool = False) -> Done:
        done = run([*self.command, verb, *options, "--settings", self.settings], limit)
        for line in [] if quiet and not done.status else done.output.splitlines() + done.errors.splitlines():
            tell(line, syslog.LOG_ERR if done.status else syslog.LOG_INFO)
        return done


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it said."""

    status: int
    output: str
    errors: str

    @property
    def said(self) -> str:
        """What it said of its failure, in one line."""
        return " ".join((self.errors.strip() or self.output.strip()[-LONGEST_REASON:]).split())


def run(command: list[str], limit: float | None) -> Done:
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        return Done(127, "", f"{command[0]} cannot be run: {error.strerror}")
    try:
        output, errors = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        output, errors = end(process)
        return Done(process.returncode or 1, output, f"{errors}\nended after {limit:.0f} seconds, its time limit")
    except BaseException:
        end(process)
        raise
    return Done(process.returncode, output, errors)


def end(process: subprocess.Popen[str]) -> tuple[str, str]:
    """First asks the command and all that it began, then makes them."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        return process.communicate(timeout=GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        return process.communicate()


def tell(line: str, priority: int = syslog.LOG_INFO) -> None:
    """To the journal through what we print, where we run under systemd; else to syslog."""
    with contextlib.suppress(OSError):
        print(line, flush=True)
    if "JOURNAL_STREAM" not in os.environ:
        syslog.syslog(priority | syslog.LOG_DAEMON, line)


def seconds(span: str) -> float:
    """A span as systemd spells it: `6h`, `1h 30min`, `90`."""
    parts = re.findall(r"(\d+) *([a-z]?)[a-z]*", span)
    return float(sum(int(number) * UNITS[unit] for number, unit in parts))


def filled(status: dict[str, Any]) -> str:
    """When the mirror was last filled, as ISO 8601 in UTC, "" if never. Such times sort as their text does."""
    return max(status.get(when) or "" for when in ("last_success", "last_import"))


def shortened(text: str) -> str:
    return text if len(text) <= LONGEST_REASON else text[: LONGEST_REASON - 3] + "..."


def stopped(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)


def main() -> int:
    usage = "usage: mde-mirror-job job.json sync|watch|alarm sync|alarm watch"
    signal.signal(signal.SIGTERM, stopped)
    os.umask(0o022)
    syslog.openlog("mde-mirror")
    words = sys.argv[2:]
    if words not in (["sync"], ["watch"], *(["alarm", kind] for kind in KINDS)):
        print(usage, file=sys.stderr)
        return 2
    try:
        job = Job.load(sys.argv[1])
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"{sys.argv[1]} cannot be used: {error!r}. Apply the role mde.offline.mirror again.", file=sys.stderr)
        return 2
    if words[0] == "alarm":
        return job.raise_alarm(words[1])
    return job.sync() if words == ["sync"] else job.watch()


if __name__ == "__main__":
    sys.exit(main())
