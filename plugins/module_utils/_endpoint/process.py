"""Runs a command that may hang, within a time limit, on Python 2.7 as well. Private to the mde.offline collection."""
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
# Enough for what pipes hold of a command that was over by the limit, whoever else still writes to them.
LATE_READS = 16
now = getattr(time, "monotonic", time.time)


def to_bytes(argument):
    """An argument or a path as the system takes it, whatever the locale of this Python is."""
    if isinstance(argument, bytes):
        return argument
    return argument.encode("utf-8", "surrogateescape" if sys.version_info[0] > 2 else "strict")


def run(arguments, timeout, max_output=MAX_OUTPUT):
    """The exit status and both outputs of a command; it never takes much longer than the time limit.

    `rc` is None if the command did not start or was stopped at the limit. When the command is over, what it left
    running in the background is neither waited for nor touched; at the limit its whole process group is killed.
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
            time.sleep(0.01)  # It closed its outputs but still runs.
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
    """Collects the outputs until both are closed, the command is over and silent, or the time is up."""
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
    """Ends the process group; does not wait for what the kernel will not let die."""
    for number, grace in ((signal.SIGTERM, 0.5), (signal.SIGKILL, 2)):
        try:
            os.killpg(child.pid, number)
        except OSError:
            pass
        deadline = now() + grace
        while child.poll() is None and now() < deadline:
            time.sleep(0.02)
