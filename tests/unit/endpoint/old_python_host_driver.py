"""Runs preflight and diagnosis with the Python that executes this file; see test_preflight_old_pythons.py.

usage: old_python_host_driver.py PLUGINS-FOLDER < cases.json     prints one result per case as JSON
"""
# ruff: noqa (this file runs on Pythons that ruff does not support)

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import io
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from old_python_driver import stub_packages
from statvfs import GIB, Space


def run(case):
    """The result of one case."""
    from ansible_collections.mde.offline.plugins.module_utils._endpoint.agent import mdatp
    from ansible_collections.mde.offline.plugins.module_utils._endpoint.diagnosis import diagnosis, mirror_probe
    from ansible_collections.mde.offline.plugins.module_utils._endpoint.host import host
    from ansible_collections.mde.offline.plugins.module_utils._endpoint.preflight import preflight

    where = host.Host(case["root"], machine="x86_64", c_library="glibc 2.17", environ={"HTTPS_PROXY": case["proxy"]})
    where._space = lambda place: Space(free=5 * GIB)
    agent = mdatp.Mdatp(path=case["mdatp"], timeout=60)
    if case["kind"] == "preflight":
        return preflight.look(where, agent)
    if case["kind"] == "probe":
        found = mirror_probe.MirrorProbe(case["url"], "the case names it", where, 168, now=case["now"])
        return {"notes": found.notes, "findings": found.findings, "published": found.published}
    return diagnosis.Diagnosis(agent, where, mirror_url=case["url"], now=case["now"]).run()


def main():
    """Reads the cases and writes the results."""
    stub_packages(sys.argv[1])
    with io.open(0, encoding="utf-8") as stream:
        cases = json.load(stream)
    print(json.dumps([run(case) for case in cases], sort_keys=True))


if __name__ == "__main__":
    main()
