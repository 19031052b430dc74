"""Writes the name and the result of each task, as JSON in one line, to the file that RECORD_RESULTS_IN names."""

from __future__ import annotations

import json
import os
from pathlib import Path

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: record_results
type: notification
short_description: Results of tasks as lines of JSON
description: For tests only.
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "record_results"
    CALLBACK_NEEDS_ENABLED = True

    def _record(self, outcome, **more):
        # ansible-core 2.19 renamed `_result`.
        result = outcome.result if hasattr(outcome, "result") else outcome._result
        line = {"task": outcome.task_name, "result": {**result, **more}}
        with Path(os.environ["RECORD_RESULTS_IN"]).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line, default=str) + "\n")

    def v2_runner_on_ok(self, result):
        self._record(result, failed=False)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._record(result, failed=True)

    def v2_runner_on_unreachable(self, result):
        self._record(result, failed=True, unreachable=True)
