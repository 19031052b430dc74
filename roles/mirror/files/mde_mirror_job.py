"""Runs the command mde-mirror with what systemd does not provide: delays, time limits, metrics and alarms.

    python3 mde-mirror-job job.json sync         cron and launchd: a sync, the metrics, an alarm if the sync failed
    python3 mde-mirror-job job.json watch        cron and launchd: metrics, signature, an alarm if the mirror is stale
    python3 mde-mirror-job job.json alarm KIND   systemd (OnFailure=): an alarm because KIND (sync or watch) failed

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
# Time limits of the alarm command, of other commands, and between SIGTERM and SIGKILL.
ALARM_SECONDS, STATUS_SECONDS, GRACE_SECONDS = 120, 600, 60
UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
LONGEST_REASON = 500
# Shorter arguments of the alarm command are options and words.
SHORTEST_SECRET = 4


@dataclass(frozen=True)
class Job:
    """The content of job.json."""

    command: list[str]
    settings: str
    state: Path
    metrics: str
    max_age: int
    sign: bool
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
            sign=fields["sign"],
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
        # Another sync is running. It reports its own result.
        if done.status in (0, LOCKED):
            return 0
        self.raise_alarm("sync", done)
        return done.status

    def watch(self) -> int:
        self.write_metrics()
        if not self.checks:
            return 0
        done = self.run("status", *self.checks, quiet=True)
        if done.status:
            self.raise_alarm("watch", done)
        return done.status

    @property
    def checks(self) -> list[str]:
        """The options of `status` for the watch: to sign before the signature expires, and to find a stale mirror."""
        return [*(["--sign"] if self.sign else []), *(["--max-age", str(self.max_age)] if self.max_age else [])]

    def write_metrics(self) -> None:
        if self.metrics:
            self.run("metrics", "--output", self.metrics)

    # --- alarms ---------------------------------------------------------------------------------------------------

    def raise_alarm(self, kind: str, failed: Done | None = None) -> int:
        """Logs the failure, and runs the alarm command unless it ran for the same problem recently."""
        status = self.status(kind)
        reason = f"mde-mirror on {socket.gethostname()}: {shortened(self.reason(kind, status, failed))}"
        log(reason, syslog.LOG_ERR)
        if not self.alarm:
            return 0
        stamp = self.state / f"alarm-{kind}"
        problem = Problem.of(kind, status)
        if not self.due(stamp, problem):
            log(f"{self.alarm[0]} was already run for this problem; it is repeated after {self.repeat / 3600:g} hours")
            return 0
        done = run([*self.alarm, reason], ALARM_SECONDS)
        if done.status:
            # The alarm may not have been delivered, so the next failure tries again.
            log(f"{self.alarm[0]} failed: {self.masked(done).message or done.status}", syslog.LOG_ERR)
            return 1
        with contextlib.suppress(OSError):
            handle, name = tempfile.mkstemp(dir=str(self.state), prefix=".alarm-")
            os.write(handle, problem.as_text().encode())
            os.close(handle)
            Path(name).replace(stamp)
        return 0

    def masked(self, done: Done) -> Done:
        """The output of the alarm command, without the arguments of the command, such as a password or a webhook."""
        # The command is a zip archive that contains the engine.
        sys.path.insert(0, self.command[-1])
        try:
            from _mirror import masking
        except ImportError:
            return Done(done.status, "", "")
        values = {value for word in self.alarm[1:] for value in (word, word.partition("=")[2])}
        secrets = sorted((value for value in values if len(value) >= SHORTEST_SECRET), key=len, reverse=True)

        def clean(text: str) -> str:
            for secret in secrets:
                text = text.replace(secret, "***")
            return str(masking.masked(text, known=self.alarm[1:]))

        return Done(done.status, clean(done.output), clean(done.errors))

    def due(self, stamp: Path, problem: Problem) -> bool:
        """True for another problem than that of the last alarm, or if `repeat` has passed."""
        try:
            last_alarm, last = stamp.stat().st_mtime, Problem.from_text(stamp.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return True
        return problem.differs_from(last) or not 0 <= time.time() - last_alarm < self.repeat

    def status(self, kind: str) -> dict[str, Any]:
        options = ["--max-age", str(self.max_age)] if kind == "watch" and self.max_age else []
        done = run([*self.command, "status", "--json", *options, "--settings", self.settings], STATUS_SECONDS)
        with contextlib.suppress(ValueError):
            found = json.loads(done.output)
            if isinstance(found, dict):
                return found
        return {}

    def reason(self, kind: str, status: dict[str, Any], failed: Done | None) -> str:
        if kind == "watch":
            failed = failed or self.run("status", *self.checks, quiet=True)
            return failed.message or "the watch failed; see its log"
        last = status.get("last_sync") or {}
        errors = [{**error, "unit": ""} for error in last.get("errors", [])]
        for unit in last.get("units", []):
            if unit.get("error"):
                errors.append({**unit["error"], "unit": "{platform}/{channel}/{arch}: ".format(**unit)})
        recorded = "; ".join("{unit}{code}: {message}".format(**error) for error in errors)
        # If a run could not begin or was stopped, its output has the error, and the status is that of an earlier run.
        reason = failed.message if failed and (failed.errors or not recorded) else recorded
        return "the sync failed: " + (reason or "it ended without a result; see its log")

    # --- running the command --------------------------------------------------------------------------------------

    def run(self, verb: str, *options: str, limit: float | None = STATUS_SECONDS, quiet: bool = False) -> Done:
        done = run([*self.command, verb, *options, "--settings", self.settings], limit)
        for line in [] if quiet and not done.status else done.output.splitlines() + done.errors.splitlines():
            log(line, syslog.LOG_ERR if done.status else syslog.LOG_INFO)
        return done


@dataclass(frozen=True)
class Problem:
    """What an alarm is about.

    `filled` is when the mirror was last filled, in ISO 8601 (UTC, so that it sorts as text); "" if never. `alarms` are
    those of the watch, such as `definitions_old linux/production/arch_x86_64`; a failed sync has none.
    """

    filled: str
    alarms: frozenset[str]

    @classmethod
    def of(cls, kind: str, status: dict[str, Any]) -> Problem:
        filled = status.get("current_as_of") or ""
        found = status.get("alarms", []) if kind == "watch" else []
        return cls(filled, frozenset("{code} {path}".format(**alarm) for alarm in found))

    @classmethod
    def from_text(cls, text: str) -> Problem:
        filled, *alarms = text.split("\n")
        return cls(filled, frozenset(alarms))

    def as_text(self) -> str:
        return "\n".join([self.filled, *sorted(self.alarms)])

    def differs_from(self, last: Problem) -> bool:
        """True for an alarm that `last` had not, and for a failure or a standstill after the mirror was filled again.

        Syncs go on filling a mirror whose definitions are old, so that the time alone does not make that a new problem.
        """
        if self.alarms - last.alarms:
            return True
        began_again = not self.alarms or any(alarm.startswith("standstill ") for alarm in self.alarms)
        return began_again and self.filled > last.filled


@dataclass(frozen=True)
class Done:
    """The result of a command."""

    status: int
    output: str
    errors: str

    @property
    def message(self) -> str:
        """The error message of the command, in one line."""
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
        return Done(process.returncode or 1, output, f"{errors}\nstopped after {limit:.0f} seconds, its time limit")
    except BaseException:
        end(process)
        raise
    return Done(process.returncode, output, errors)


def end(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Ends the command and its child processes: first with SIGTERM, then with SIGKILL."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        return process.communicate(timeout=GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        return process.communicate()


def log(line: str, priority: int = syslog.LOG_INFO) -> None:
    """Prints the line, which systemd writes to the journal; without systemd, also writes it to syslog."""
    with contextlib.suppress(OSError):
        print(line, flush=True)
    if "JOURNAL_STREAM" not in os.environ:
        syslog.syslog(priority | syslog.LOG_DAEMON, line)


def seconds(span: str) -> float:
    """Converts a time span in the syntax of systemd to seconds: `6h`, `1h 30min`, `90`."""
    parts = re.findall(r"(\d+) *([a-z]?)[a-z]*", span)
    return float(sum(int(number) * UNITS[unit] for number, unit in parts))


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
