"""Runs a command within a time limit, also on Python 2.7. Private to the mde.offline collection."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function, unicode_literals

__metaclass__ = type

import errno
import os
import select
import signal
import subprocess
import sys
import time

from ansible_collections.mde.offline.plugins.module_utils._endpoint.text import decode

MAX_OUTPUT = 1024 * 1024
# The number of reads after the time limit, for output that a command left in its pipes although it ended in time.
LATE_READS = 16
now = getattr(time, "monotonic", time.time)


def to_bytes(argument):
    """An argument or a path as bytes, independent of the locale."""
    if isinstance(argument, bytes):
        return argument
    return argument.encode("utf-8", "surrogateescape" if sys.version_info[0] > 2 else "strict")


def run(arguments, timeout, max_output=MAX_OUTPUT):
    """Exit status and output of a command, returned shortly after the time limit at the latest.

    `rc` is None if the command did not start or was stopped at the limit. Processes that a command leaves in the
    background are not waited for when the command ends, and are killed with its process group at the limit.
    """
    started = now()
    result = {"rc": None, "out": "", "err": "", "timed_out": False}
    options = {
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "close_fds": True,
        "env": dict(os.environ, LC_ALL="C"),
    }
    if sys.version_info[0] > 2:
        options["start_new_session"] = True
    else:
        options["preexec_fn"] = os.setsid
    try:
        with open(os.devnull, "rb") as nothing:
            child = subprocess.Popen([to_bytes(argument) for argument in arguments], stdin=nothing, **options)
    except (EnvironmentError, ValueError) as failure:
        result["err"] = decode(str(failure))
        return result
    outputs = {child.stdout: bytearray(), child.stderr: bytearray()}
    try:
        _read(child, outputs, started + timeout, max_output)
        while child.poll() is None and now() < started + timeout:
            time.sleep(0.01)  # The command closed its outputs, but still runs.
        result["timed_out"] = child.poll() is None
        if result["timed_out"]:
            _kill(child)
        else:
            result["rc"] = child.returncode
    finally:
        result["out"], result["err"] = decode(outputs[child.stdout]), decode(outputs[child.stderr])
        child.stdout.close()
        child.stderr.close()
    return result


def _read(child, outputs, deadline, max_output):
    """Reads the outputs until both are closed, the command has ended and writes no more, or the limit is reached."""
    waiting, late_reads = list(outputs), LATE_READS
    while waiting and late_reads:
        left = deadline - now()
        over = child.poll() is not None
        if left <= 0:
            if not over:
                return
            late_reads -= 1
        try:
            ready = select.select(waiting, [], [], max(0, min(0.1 if over else 0.2, left)))[0]
        except (OSError, select.error) as failure:
            if failure.args[0] != errno.EINTR:
                raise
            continue
        if over and not ready:
            return
        for stream in ready:
            data = os.read(stream.fileno(), 65536)
            if not data:
                waiting.remove(stream)
            room = max_output - len(outputs[stream])
            outputs[stream] += data[: max(0, room)]


def _kill(child):
    """Kills the process group, but does not wait for processes that the kernel cannot end (as in a hung NFS call)."""
    for number, grace in ((signal.SIGTERM, 0.5), (signal.SIGKILL, 2)):
        try:
            os.killpg(child.pid, number)
        except OSError:
            pass
        deadline = now() + grace
        while child.poll() is None and now() < deadline:
            time.sleep(0.02)
