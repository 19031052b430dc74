"""Finds what is wrong with the protection of a host, from its health record. Private to the mde.offline collection."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# A row that the agent does not print never causes a finding.

from __future__ import absolute_import, division, print_function, unicode_literals

__metaclass__ = type

import calendar
import re
import time

from ansible_collections.mde.offline.plugins.module_utils._endpoint import agent_versions, versions
from ansible_collections.mde.offline.plugins.module_utils._endpoint.agent import health_parser, lowering
from ansible_collections.mde.offline.plugins.module_utils._endpoint.findings.finding import (
    finding,
    issue_advice,
    ordered,
)
from ansible_collections.mde.offline.plugins.module_utils._endpoint.mirror import address
from ansible_collections.mde.offline.plugins.module_utils._endpoint.text import TEXT, decode

MAX_AGE_HOURS = 7 * 24
EXPIRY_WARNING_DAYS = 30
_TIME = re.compile(r"^([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})Z$")
_NO_LICENSE = re.compile(r"no licen[sc]e|missing licen[sc]e", re.IGNORECASE)
_NO_COMMAND = re.compile(r"command not found|no such file", re.IGNORECASE)
# Rows that exist on macOS only.
_MACOS_ROWS = ("full_disk_access_enabled", "network_events_subsystem", "data_loss_prevention_status")


def health_findings(
    record, mirror_url=None, mirror_versions=None, max_age_hours=MAX_AGE_HOURS, arch="x86_64", now=None
):
    """The findings of a health record.

    `mirror_url` is the address that the host should have, `mirror_versions` what `manifest.read` returned, `now` the
    time in seconds since 1970.
    """
    fields = record["fields"]
    if not fields:
        return [_no_fields(record)]
    now = time.time() if now is None else now
    mirror_url = decode(mirror_url).strip()
    found = []
    found += _agent(record, arch, now)
    found += _configuration(record, mirror_url)
    kept = _keeps_former(fields, mirror_versions or {}, mirror_url)
    found += _source(fields, mirror_url, kept)
    stale = _definitions(fields, mirror_versions or {}, max_age_hours, now, kept)
    age = _age_hours(fields, now)
    fresh = age is not None and not any(entry["severity"] != "info" for entry in stale)
    found += stale + _protection(record, fresh)
    return ordered(found)


def _no_fields(record):
    said = " / ".join(record["notices"][:3])[:500]
    if health_parser.NO_DAEMON.search(said):
        return finding("daemon_unreachable", "mdatp health printed: {0}".format(said))
    if _NO_COMMAND.search(said):
        return finding("not_installed", "mdatp health printed: {0}".format(said))
    if _NO_LICENSE.search(said):
        return finding("not_licensed", "mdatp health printed: {0}".format(said))
    return finding("health_unreadable", "mdatp health printed no health table: {0}".format(said or "nothing"))


def _agent(record, arch, now):
    fields, found = record["fields"], []
    issues = _listed(fields.get("health_issues"))
    expires = _seconds(fields.get("product_expiration"))
    # Agents before 2021 print their version in this row.
    agent = fields.get("app_version") or fields.get("version_engine")
    minimum, system = agent_versions.OFFLINE_UPDATES.get(arch, agent_versions.OFFLINE_UPDATES_X86_64), arch
    if any(name in fields for name in _MACOS_ROWS):
        minimum, system = agent_versions.OFFLINE_UPDATES_MACOS, "macOS"
    unlicensed = [line for line in issues + record["notices"] if _NO_LICENSE.search(line)]
    if fields.get("licensed") is False:
        unlicensed.insert(0, "licensed: false")
    if expires is not None and expires <= now:
        message = "Agent {0} expired on {1}.".format(agent or "(version unknown)", fields["product_expiration"])
        if unlicensed:
            message += " That is why it reports a missing license ({0}).".format("; ".join(unlicensed))
        found.append(finding("agent_expired", message))
    else:
        if unlicensed:
            organisation = fields.get("org_id")
            known = " It belongs to organisation {0}.".format(organisation) if organisation else ""
            found.append(
                finding("not_licensed", "The agent has no license ({0}).{1}".format("; ".join(unlicensed), known))
            )
        if expires is not None and expires - now < EXPIRY_WARNING_DAYS * 86400:
            days = int((expires - now) // 86400)
            message = "Agent {0} expires on {1}, in {2} days.".format(
                agent or "(version unknown)", fields["product_expiration"], days
            )
            found.append(finding("agent_expires_soon", message))
    if versions.older(agent, minimum):
        message = "Agent {0} is older than {1}, the first one with offline updates on {2}.".format(
            agent, minimum, system
        )
        found.append(finding("agent_too_old", message))
    if fields.get("healthy") is False:
        message = "The agent reports itself as unhealthy: {0}.".format("; ".join(issues) or "it names no issue")
        settling = fields.get("definitions_status") == "updating"
        found.append(_unhealthy(message, "warning" if settling else None, issues))
    elif issues:
        found.append(_unhealthy("The agent names issues: {0}.".format("; ".join(issues)), "warning", issues))
    return found


def _unhealthy(message, severity, issues):
    """The finding with the advice for the named issues that are known."""
    entry = finding("unhealthy", message.replace("..", "."), severity)
    return dict(entry, hint=" ".join(issue_advice(issues) + [entry["hint"]]))


def _configuration(record, mirror_url):
    fields, found = record["fields"], []
    expected = [name for name in ("offline_definition_update", "offline_definition_url_configured") if name in fields]
    loose = [name for name in expected if name not in record["managed"]]
    if loose:
        found.append(
            finding(
                "managed_config_not_applied",
                "The agent does not report these rows as managed: {0}.".format(", ".join(loose)),
            )
        )
    state = fields.get("offline_definition_update")
    if state is not None and state not in ("enabled", True):
        found.append(finding("offline_updates_disabled", "offline_definition_update is {0}.".format(state)))
    configured = _stripped(fields.get("offline_definition_url_configured"))
    if configured and address.points_below_channel(configured):
        found.append(
            finding(
                "url_contains_arch",
                "The configured address {0} points inside the folder of a channel.".format(configured),
            )
        )
    if configured and mirror_url and not address.same(configured, mirror_url):
        found.append(
            finding(
                "mirror_url_differs",
                "The host is configured for {0}, but {1} is expected.".format(configured, mirror_url),
            )
        )
    if not configured and state in ("enabled", True) and "offline_definition_url_configured" in fields:
        found.append(finding("mirror_url_missing", "Offline updates are enabled, but no address is configured."))
    if fields.get("automatic_definition_update_enabled") is False:
        found.append(finding("automatic_updates_disabled", "automatic_definition_update_enabled is false."))
    row_counts = versions.compare(fields.get("app_version"), agent_versions.SIGNATURE_ROW_DEPRECATED) in (None, -1)
    if row_counts and fields.get("offline_definition_update_verify_sig") in ("disabled", False):
        found.append(finding("signature_check_off", "offline_definition_update_verify_sig is disabled."))
    checks = row_counts and fields.get("offline_definition_update_verify_sig") in ("enabled", True)
    if checks and versions.older(fields.get("engine_version"), agent_versions.SIGNATURE_CHECK_ENGINE):
        message = "Engine {0} is older than {1}, which the check of signatures needs."
        found.append(
            finding("engine_too_old", message.format(fields["engine_version"], agent_versions.SIGNATURE_CHECK_ENGINE))
        )
    if fields.get("engine_signature_verification") in ("disabled", False):
        found.append(finding("engine_not_verified", "engine_signature_verification is disabled."))
    return found


def _expected(fields, mirror_url):
    """The addresses from which the definitions should come."""
    return [url for url in (_stripped(fields.get("offline_definition_url_configured")), mirror_url) if url]


def _keeps_former(fields, published, mirror_url):
    """Whether the host may keep newer definitions from the same channel of a former mirror.

    This requires that the present mirror was seen to serve the package for the host. Definitions from Microsoft do not
    count, because they may hide that the agent does not reach the mirror; nor do definitions from another channel.
    """
    if versions.compare_releases(fields, published) != 1 or not published.get("package_seen"):
        return False
    source, expected = _stripped(fields.get("definitions_update_source_uri")), _expected(fields, mirror_url)
    if not source or not expected or address.is_microsoft(source) or lowering.is_withdrawn(fields, published):
        return False
    names = (address.channel_name(source), address.channel_name(expected[-1]))
    return not any(address.comes_from(source, url) for url in expected) and (None in names or names[0] == names[1])


def _source(fields, mirror_url, kept):
    found = []
    fallback = fields.get("offline_definition_update_fallback_to_cloud") in (True, "enabled", "true")
    expected = _expected(fields, mirror_url)
    source = _stripped(fields.get("definitions_update_source_uri"))
    elsewhere = bool(source and expected and not any(address.comes_from(source, url) for url in expected)) and not kept
    if elsewhere:
        whose = "Microsoft's cloud" if address.is_microsoft(source) else "another source"
        message = "The definitions came from {0}, {1}, not from the mirror {2}.".format(source, whose, expected[0])
        if fallback:
            message += " Fallback to the cloud is enabled, which hides the failure of the mirror."
        found.append(finding("source_not_mirror", message))
    elif "definitions_update_source_uri" in fields and not source and expected:
        found.append(finding("source_unknown", "The agent reports no source of its definitions yet."))
    if fallback:
        message = "Fallback to the cloud is enabled: when the mirror fails, the host downloads from Microsoft silently."
        found.append(finding("fallback_to_cloud_enabled", message, "warning" if elsewhere else None))
    return found


def _definitions(fields, published, max_age_hours, now, kept):
    found = []
    version, status = fields.get("definitions_version"), fields.get("definitions_status")
    reason = fail_reason(fields)
    if reason:
        # The update may have failed with the former mirror. Only another update clears the reason.
        message = "The last update failed: {0}".format(reason)
        found.append(finding("update_failed", message, "warning" if kept else None))
    if status == "unavailable" or ("definitions_status" in fields and status is None):
        found.append(
            finding(
                "definitions_unavailable",
                "definitions_status is unavailable (version {0}).".format(version or "unknown"),
            )
        )
    elif isinstance(status, TEXT) and status not in ("up_to_date", "updating", "out_of_date"):
        found.append(
            finding("definitions_status_unusual", "definitions_status is {0}, which is not documented.".format(status))
        )
    age = _age_hours(fields, now)
    # Without definitions their age has no meaning.
    there = status not in ("unavailable", None) or fields.get("definitions_updated", "") is not None
    stale = age is not None and age > max_age_hours and there
    if stale or status == "out_of_date":
        parts = ["Definitions {0}".format(version or "of unknown version")]
        if age is not None:
            parts.append("were updated {0} hours ago (the limit is {1})".format(int(age), max_age_hours))
        if status == "out_of_date":
            parts.append("are reported as out of date by the agent")
        severity = "warning" if status == "updating" else None  # An update is running.
        found.append(finding("definitions_stale", parts[0] + " " + " and ".join(parts[1:]) + ".", severity))
    return found + _compared(fields, published, max_age_hours)


def _compared(fields, published, max_age_hours):
    """The findings of the comparison with the mirror."""
    found = []
    order = versions.compare_releases(fields, published)
    names = ("definitions_version", "engine_version")
    engines = order and versions.compare(fields.get(names[0]), published.get(names[0])) == 0
    host, mirror = [
        "{0} with engine {1}".format(*[side.get(name) for name in names]) if engines else side.get(names[0])
        for side in (fields, published)
    ]
    withdrawn = lowering.is_withdrawn(fields, published)
    if withdrawn:
        message = "The host has definitions {0}, which a rollback withdrew from its channel. The mirror publishes {1}."
        found.append(finding("on_withdrawn_release", message.format(host, mirror)))
    if order == -1 and not engines:
        message = "The host has definitions {0}, but the mirror publishes {1}.".format(host, mirror)
        found.append(finding("behind_mirror", message))
    elif order == 1 and not withdrawn:
        message = "The host has definitions {0}, but the mirror publishes older ones, {1}.".format(host, mirror)
        age = published.get("age_hours")
        if age is not None and age > max_age_hours:
            message += " Those are {0} hours old (the limit is {1}).".format(age, max_age_hours)
        if published.get("package_seen"):
            message += " This host was seen to get its package from the mirror."
        found.append(finding("ahead_of_mirror", message))
    return found


def _protection(record, fresh):
    fields, found = record["fields"], []
    level_row = "antivirus_enforcement_level" if "antivirus_enforcement_level" in fields else "enforcement_level"
    level = fields.get(level_row)
    real_time = fields.get("real_time_protection_enabled")
    chosen = any(name in record["managed"] for name in (level_row, "passive_mode_enabled"))
    if level is None and fields.get("passive_mode_enabled") is True:
        level, seen = "passive", "passive_mode_enabled is true"
    elif level is None and real_time is False:
        level, seen = "on_demand", "real_time_protection_enabled is false"
    else:
        seen = "{0} is {1}".format(level_row, level)
    if level in ("passive", "on_demand"):
        message = "{0}: the agent updates only before scans, not by its own timer.".format(seen)
        # This is not a problem if the level is managed and the definitions are fresh: something else updates them.
        found.append(finding("passive_mode", message, "info" if chosen and fresh else None))
    found += _real_time(fields)
    loaded = fields.get("engine_load_status")
    if isinstance(loaded, TEXT) and "not loaded" in loaded.lower().replace("_", " ") and real_time is True:
        message = "Real-time protection is enabled, but the engine is not loaded: {0}.".format(loaded)
        # The engine comes with the first definitions.
        coming = fields.get("definitions_status") == "updating"
        found.append(finding("engine_not_loaded", message, "warning" if coming else None))
    others = _listed(fields.get("conflicting_applications"))
    if others:
        found.append(
            finding("conflicting_applications", "Other security products are running: {0}.".format(", ".join(others)))
        )
    return found


def _real_time(fields):
    """The finding that real-time protection is enabled but cannot work. `unavailable` in both rows means the same."""
    names = ("real_time_protection_enabled", "real_time_protection_available")
    if not all(name in fields for name in names):
        return []
    enabled, available = [fields[name] for name in names]
    if (enabled is True and not available) or (enabled is None and available is None):
        shown = ["unavailable" if value is None else TEXT(value).lower() for value in (enabled, available)]
        return [finding("real_time_protection_unavailable", "{0} is {2}, {1} is {3}.".format(*(list(names) + shown)))]
    return []


# --- Values -----------------------------------------------------------------------------------------------------------


def _listed(value):
    """The entries of a list in the table, as strings."""
    if not isinstance(value, list):
        value = [value] if isinstance(value, TEXT) and value.strip() else []
    return [entry if isinstance(entry, TEXT) else "{0}".format(entry) for entry in value]


def _stripped(value):
    return value.strip() if isinstance(value, TEXT) else ""


def _seconds(moment):
    """Seconds since 1970 of a time of the health record."""
    # time.strptime is not used, because its import takes longer than all rules.
    match = _TIME.match(moment) if isinstance(moment, TEXT) else None
    try:
        return calendar.timegm(tuple(int(part) for part in match.groups())) if match else None
    except ValueError:
        return None


def fail_reason(fields):
    """The reason of the last failed update, empty if it did not fail."""
    reason = fields.get("definitions_update_fail_reason")
    reason = reason.strip() if isinstance(reason, TEXT) else ""
    return "" if reason.lower() == "none" else reason


def _age_hours(fields, now):
    minutes = fields.get("definitions_updated_minutes_ago")
    if isinstance(minutes, int) and not isinstance(minutes, bool):
        return minutes / 60.0
    moment = _seconds(fields.get("definitions_updated"))
    return None if moment is None else (now - moment) / 3600.0
