"""Reads a host's health and its mirror's versions, and adds findings. Private to the mde.offline collection."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function, unicode_literals

__metaclass__ = type

import time

from ansible_collections.mde.offline.plugins.module_utils._endpoint import versions
from ansible_collections.mde.offline.plugins.module_utils._endpoint.agent import health_parser, health_rules
from ansible_collections.mde.offline.plugins.module_utils._endpoint.errors import FindingError
from ansible_collections.mde.offline.plugins.module_utils._endpoint.findings.finding import finding, has_errors, ordered
from ansible_collections.mde.offline.plugins.module_utils._endpoint.managed import writers
from ansible_collections.mde.offline.plugins.module_utils._endpoint.mirror import manifest
from ansible_collections.mde.offline.plugins.module_utils._endpoint.mirror.address import architecture

MIRROR_TIMEOUT = 10


def look(
    agent,
    mirror_url=None,
    max_age_hours=health_rules.MAX_AGE_HOURS,
    check_mirror=True,
    managed_file=writers.DEFAULT_PATH,
):
    """What the module health_info returns."""
    record, found = read_health(agent)
    found = found + read_writers(managed_file)
    published = None
    if check_mirror:
        published, unread = read_mirror(record, mirror_url)
        found = found + unread
    found = judge(record, found, published, mirror_url, max_age_hours)
    return {
        "health": record,
        "findings": found,
        "healthy": not has_errors(found),
        "mirror": published,
        "raw": agent.last_calls(),
    }


def read_health(agent):
    """The health record of the host, and a finding if the agent does not return it."""
    record, found = health_parser.empty_record(), []
    try:
        record = agent.health()
        details = agent.health_details_definitions()
        record = health_parser.merge(record, details) if details else record
    except FindingError as error:
        found.append(finding(error.id, error.message))
    return record, found


def read_writers(managed_file):
    """A list with the finding that other users can write the managed file; empty if this user cannot see that."""
    try:
        message = writers.problem(managed_file)
    except EnvironmentError:
        return []
    return [finding("managed_file_writable", message)] if message else []


def read_mirror(record, mirror_url=None, timeout=MIRROR_TIMEOUT):
    """The versions on the expected or the configured mirror, and a finding if they cannot be read.

    If the host has other versions, the mirror is also asked why; see `_explain`.
    """
    location = mirror_url or record["fields"].get("offline_definition_url_configured")
    if not location:
        return None, []
    try:
        published = manifest.read(location, architecture(), timeout)
    except FindingError as error:
        return None, [finding(error.id, error.message)]
    order = versions.compare_releases(record["fields"], published)
    return published, _explain(published, location, order > 0, timeout) if order else []


def _explain(published, location, ahead, timeout):
    """Adds to `published` what the mirror says about the channel; returns a finding if the package is missing.

    On a host that has newer versions than the mirror, no update shows whether the host can get packages from the
    mirror. Therefore the package is requested.
    """
    # Imported late: most hosts have the versions of the mirror.
    from ansible_collections.mde.offline.plugins.module_utils._endpoint.mirror import channel
    from ansible_collections.mde.offline.plugins.module_utils._endpoint.mirror.address import lenient

    address, now = lenient(location), time.time()
    published.update(channel.look(address, published["arch"], timeout, now), package_seen=False)
    if not ahead:
        return []
    try:
        modified = channel.fetch_package(address, published["arch"], timeout)
    except FindingError as error:
        return [finding(error.id, error.message)]
    published["package_seen"] = True
    if published["age_hours"] is None:
        published["age_hours"] = channel.hours_since(modified, now)
    return []


def judge(record, trouble, published, mirror_url=None, max_age_hours=health_rules.MAX_AGE_HOURS, arch=None):
    """All findings in order: those in `trouble`, and those of the record. `arch` is by default that of this machine."""
    found = list(trouble)
    if record["fields"]:
        arch = arch or architecture()
        found += health_rules.health_findings(record, mirror_url, published, max_age_hours, arch)
    return ordered(found)
