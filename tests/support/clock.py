"""A clock that does not advance until a command has begun, so that short time limits work on slow machines.

It supports the Pythons that old_python_driver.py supports, including 2.7.
"""

import time

_now = getattr(time, "monotonic", time.time)


class StandingClock:
    """Replaces `process.now`: the time limit of a command begins when the command has reached the point to test."""

    def __init__(self, begun):
        self._begun = begun
        self._started = None

    def __call__(self):
        if self._started is None:
            if not self._begun():
                return 0.0
            self._started = _now()
        return _now() - self._started
