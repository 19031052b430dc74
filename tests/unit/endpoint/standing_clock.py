"""A clock that stands still until something has begun, so that a short limit does not depend on how quick a machine is.

For every Python that old_python_driver.py runs on, 2.7 included.
"""

import time

_now = getattr(time, "monotonic", time.time)


class StandingClock:
    """In place of `process.now`: a command's limit counts from when it has done what the test is about."""

    def __init__(self, begun):
        self._begun = begun
        self._started = None

    def __call__(self):
        if self._started is None:
            if not self._begun():
                return 0.0
            self._started = _now()
        return _now() - self._started
