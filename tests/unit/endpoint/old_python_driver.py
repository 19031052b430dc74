"""Runs cases against the endpoint code with the Python that executes this file; see test_old_pythons.py.

usage: old_python_driver.py PLUGINS-FOLDER < cases.json     prints one result per case as JSON

Python 2.7 and >= 3.6, no dependencies: the package path of the collection is stubbed, so no Ansible is needed.
"""
# ruff: noqa (this file runs on Pythons that ruff does not support)

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import io
import json
import os
import sys
import types

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "support"))
from clock import StandingClock

PREFIX = "ansible_collections.mde.offline.plugins"


def stub_packages(plugins):
    """Makes the folder importable under the name of the collection."""
    names = PREFIX.split(".") + ["module_utils", "_endpoint"]
    for number in range(1, len(names) + 1):
        name = ".".join(names[:number])
        package = types.ModuleType(str(name))
        package.__path__ = [os.path.join(plugins, *names[4:number])] if number >= 4 else []
        sys.modules[name] = package
        if number > 1:
            setattr(sys.modules[name.rpartition(".")[0]], names[number - 1], package)


def run(case):
    """The result of one case."""
    from ansible_collections.mde.offline.plugins.module_utils._endpoint import process, versions
    from ansible_collections.mde.offline.plugins.module_utils._endpoint.agent import (
        health_parser,
        health_report,
        mdatp,
        update,
    )
    from ansible_collections.mde.offline.plugins.module_utils._endpoint.agent import health_rules
    from ansible_collections.mde.offline.plugins.module_utils._endpoint.mirror import manifest
    from ansible_collections.mde.offline.plugins.module_utils._endpoint.errors import FindingError

    kind, options = case["kind"], case["options"]
    if kind == "parse":
        record = health_parser.parse(options["output"])
        return {"record": record, "findings": health_rules.health_findings(record, now=options["now"])}
    if kind == "compare":
        return versions.compare(options["left"], options["right"])
    if kind == "run":
        if "begins_with" in options:
            process.now = StandingClock(lambda: os.path.exists(options["begins_with"]))
        return process.run(options["arguments"], options["timeout"])
    if kind == "mirror":
        try:
            return manifest.read(options["location"], "x86_64", options["timeout"])
        except FindingError as error:
            return error.id
    agent = mdatp.Mdatp(path=options["mdatp"], timeout=60)
    if kind == "update":
        return update.Update(agent, timeout=60, wait=2, version=options["version"]).run()
    record, found = health_report.read_health(agent)
    return {"record": record, "findings": health_report.judge(record, found, None), "calls": agent.last_calls()}


def main():
    """Reads the cases and writes the results."""
    stub_packages(sys.argv[1])
    with io.open(0, encoding="utf-8") as stream:
        cases = json.load(stream)
    print(json.dumps([run(case) for case in cases]))


if __name__ == "__main__":
    main()
