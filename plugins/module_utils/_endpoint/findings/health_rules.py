"""Says what is wrong with the protection of a host, from its health record. Private to the mde.offline collection."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The ids are a public contract; docs/findings-health.md explains each of them and a test compares the two.
# A row that is not there never makes a finding.

from __future__ import absolute_import, division, print_function, unicode_literals

__metaclass__ = type

import calendar
import re
import time

from ansible_collections.mde.offline.plugins.module_utils._endpoint import versions
from ansible_collections.mde.offline.plugins.module_utils._endpoint.errors import NO_DAEMON, masked
from ansible_collections.mde.offline.plugins.module_utils._endpoint.text import decode

TEXT = type("")
MINIMUM_AGENT = {"x86_64": "101.24022.0001", "arm64": "101.25022.0002"}
MINIMUM_AGENT_MACOS = "101.25012.0003"
# The engine that the check of signatures needs.
MINIMUM_ENGINE = "1.1.23080.007"
SIGNATURE_ROW_DEAD = "101.26062.0005"
MAX_AGE_HOURS = 7 * 24
EXPIRY_WARNING_DAYS = 30
_NO_LICENSE = re.compile(r"no licen[sc]e|missing licen[sc]e", re.IGNORECASE)
_NO_COMMAND = re.compile(r"command not found|no such file", re.IGNORECASE)
# Rows that only macOS has.
_MACOS_ROWS = ("full_disk_access_enabled", "network_events_subsystem", "data_loss_prevention_status")
# What to do about issues that the agent names; beyond these it names others, and they are shown as they are.
_ISSUES = (
    (_NO_LICENSE, "See agent_expired and not_licensed."),
    (
        re.compile(r"selinux denials", re.IGNORECASE),
        "SELinux: read ausearch -m AVC -ts recent for mdatp and wdavdaemon, load a policy module for it (audit2allow), "
        "or wait a day after a fresh installation.",
    ),
    (
        re.compile(r"log folder permission", re.IGNORECASE),
        "Log folder: chmod 0775 /var/log/microsoft/mdatp and give the group mdatp rwx on it.",
    ),
    (
        re.compile(r"engine .*not available|engine .*not loaded", re.IGNORECASE),
        "Engine: check that /var is not mounted noexec (agents before 101.24092.0002), then update the definitions.",
    ),
    (
        re.compile(r"supplementary event provider", re.IGNORECASE),
        "Events: look for conflicting audit rules (agents that use auditd), or a kernel without eBPF.",
    ),
    (
        re.compile(r"no active event provider", re.IGNORECASE),
        "Events: check fanotify in the kernel and other security products; on macOS approve the system extensions.",
    ),
    (
        re.compile(r"full disk access|network event provider", re.IGNORECASE),
        "macOS: approve the system extensions and full disk access, by hand or with a profile.",
    ),
)
_CLOUD = re.compile(r"^https?://([^/]*\.)?microsoft\.com(:[0-9]+)?(/|$)", re.IGNORECASE)

# In the order in which they are worth reading: id -> (severity, what to do).
CATALOGUE = (
    (
        "not_installed",
        "error",
        "Install the agent (package mdatp), or name the command with the option mdatp if it lives elsewhere. If "
        "only the link is "
        "gone: ln -s /opt/microsoft/mdatp/sbin/wdavdaemonclient /usr/bin/mdatp.",
    ),
    (
        "mdatp_cannot_run",
        "error",
        "Install the agent's package again, the one for this distribution and architecture; check the mode of the "
        "command (chmod 0755), that /opt is not mounted noexec, and with ldd that its libraries are there.",
    ),
    (
        "daemon_unreachable",
        "error",
        "Look at systemctl status mdatp and journalctl -u mdatp; start and enable the service (systemctl enable "
        "--now mdatp). "
        "Right after a start the daemon needs some seconds.",
    ),
    (
        "mdatp_hangs",
        "error",
        "Try again, or with a longer timeout. If it hangs again, restart the service mdatp and look at its log "
        "in /var/log/microsoft/mdatp.",
    ),
    (
        "health_unreadable",
        "error",
        "Run mdatp health on the host and compare; report the output if the agent is a supported one.",
    ),
    (
        "agent_expired",
        "error",
        "Upgrade the agent package: each release works for nine months. Onboarding again does not help.",
    ),
    (
        "not_licensed",
        "error",
        "Onboard the host with the onboarding package of your tenant (mdatp_onboard.json), then wait a minute. "
        "If it was onboarded, "
        "check that the tenant's licence is valid.",
    ),
    ("agent_too_old", "error", "Upgrade the agent package; older agents ignore the settings of offline updates."),
    (
        "engine_too_old",
        "warning",
        "Update the definitions once from the cloud or with a newer agent package: the engine comes with them. Until "
        "then the check of signatures cannot work.",
    ),
    (
        "agent_expires_soon",
        "warning",
        "Upgrade the agent package before that day; an expired agent reports a missing license.",
    ),
    (
        "managed_config_not_applied",
        "error",
        "Check that /etc/opt/microsoft/mdatp/managed/mdatp_managed.json exists, is valid JSON and has "
        "antivirusEngine.offlineDefinitionUpdate "
        "and offlineDefinitionUpdateUrl at the right place (module managed_config does), and that no portal "
        "policy writes it too.",
    ),
    (
        "offline_updates_disabled",
        "error",
        'Set antivirusEngine.offlineDefinitionUpdate to "enabled" in the managed configuration.',
    ),
    (
        "mirror_url_missing",
        "error",
        "Set antivirusEngine.offlineDefinitionUpdateUrl in the managed configuration to the address or folder "
        "that holds the arch_* folders.",
    ),
    (
        "url_contains_arch",
        "error",
        "End the address at the folder that holds the arch_* folders, for example "
        "http://mirror/linux/production/; the agent adds the rest.",
    ),
    (
        "mirror_url_differs",
        "error",
        "Apply the managed configuration to this host again, or correct the expected address. If it comes back, "
        "a portal policy writes it too.",
    ),
    (
        "mirror_unreachable",
        "error",
        "Check name resolution, routes, firewall and TLS from this host to the mirror, or that the share is "
        "mounted; then that the mirror serves.",
    ),
    (
        "mirror_answer_unusable",
        "error",
        "Check the address (it ends at the folder that holds the arch_* folders) and what the mirror publishes "
        "there; run a sync on the mirror.",
    ),
    (
        "source_not_mirror",
        "error",
        "Find out why the mirror did not serve this host (run mdatp definitions update and read "
        "definitions_update_fail_reason). To make "
        "such a failure visible, set antivirusEngine.offlineDefinitionUpdateFallbackToCloud to false.",
    ),
    (
        "update_failed",
        "error",
        "Make the mirror reachable for this host, check its updates.zip, then run mdatp definitions update.",
    ),
    (
        "definitions_unavailable",
        "error",
        "Run mdatp definitions update; if nothing changes, restart the service mdatp and check free space in /var.",
    ),
    (
        "definitions_stale",
        "error",
        "Check that the mirror itself is fresh, then run mdatp definitions update on the host (module "
        "definitions_update).",
    ),
    (
        "definitions_status_unusual",
        "warning",
        "Run mdatp definitions update and look at mdatp health --details definitions.",
    ),
    (
        "behind_mirror",
        "warning",
        "Wait for the next interval, or run the module definitions_update with version=mirror.",
    ),
    (
        "ahead_of_mirror",
        "info",
        "Nothing, if the mirror was rolled back on purpose. Otherwise run a sync on the mirror: the host has its "
        "definitions from elsewhere, and nothing newer comes from there.",
    ),
    (
        "real_time_protection_unavailable",
        "error",
        "Linux: check fanotify in the kernel (preflight_info) and other products that use it, then restart the service "
        "mdatp. macOS: approve the system extensions.",
    ),
    (
        "engine_not_loaded",
        "error",
        "Update the definitions from a package that is not damaged; check that /var is not mounted noexec "
        "(agents before 101.24092.0002).",
    ),
    (
        "passive_mode",
        "warning",
        "Either set antivirusEngine.enforcementLevel to real_time, or schedule definitions_update; without "
        "real_time the agent does not "
        "update by its own timer.",
    ),
    (
        "automatic_updates_disabled",
        "warning",
        "Set cloudService.automaticDefinitionUpdateEnabled to true, or schedule definitions_update.",
    ),
    (
        "fallback_to_cloud_enabled",
        "info",
        "Keep it if these hosts may load from Microsoft; otherwise set "
        "antivirusEngine.offlineDefinitionUpdateFallbackToCloud to false.",
    ),
    (
        "signature_check_off",
        "warning",
        'Set features.offlineDefinitionUpdateVerifySig to "enabled", so that a tampered package is refused.',
    ),
    (
        "engine_not_verified",
        "warning",
        "Turn the engine's signature verification on again; without it a tampered engine would be loaded.",
    ),
    (
        "conflicting_applications",
        "warning",
        "Remove the other product, or exclude the two from each other; two products that block through fanotify "
        "can stop the host.",
    ),
    (
        "source_unknown",
        "info",
        "Nothing to do before the first update; afterwards run mdatp definitions update and look again.",
    ),
    ("unhealthy", "error", "Work through the named issues; mdatp health --details shows more on each part."),
)
_ORDER = {entry[0]: position for position, entry in enumerate(CATALOGUE)}
_SEVERITIES = ("error", "warning", "info")


def finding(finding_id, message, severity=None):
    """A finding of the catalogue."""
    usual, hint = CATALOGUE[_ORDER[finding_id]][1:]
    return {"id": finding_id, "severity": severity or usual, "message": masked(message), "hint": hint}


def ordered(found):
    """Errors first, causes before effects."""
    return sorted(found, key=lambda entry: (_SEVERITIES.index(entry["severity"]), _ORDER[entry["id"]]))


def has_errors(found):
    """Whether one of the findings is an error."""
    return any(entry["severity"] == "error" for entry in found)


def health_findings(
    record, mirror_url=None, mirror_versions=None, max_age_hours=MAX_AGE_HOURS, arch="x86_64", now=None
):
    """What is wrong according to a health record.

    `mirror_url` is the address that the host should have, `mirror_versions` what the mirror publishes (`mirror.read`),
    `now` the time in seconds since 1970.
    """
    fields = record["fields"]
    if not fields:
        return [_no_fields(record)]
    now = time.time() if now is None else now
    mirror_url = decode(mirror_url).strip()
    found = []
    found += _agent(record, arch, now)
    found += _configuration(record, mirror_url)
    found += _source(fields, mirror_url)
    stale = _definitions(fields, mirror_versions, max_age_hours, now)
    age = _age_hours(fields, now)
    fresh = age is not None and not any(entry["severity"] != "info" for entry in stale)
    found += stale + _protection(record, fresh)
    return ordered(found)


def _no_fields(record):
    said = " / ".join(record["notices"][:3])[:500]
    if NO_DAEMON.search(said):
        return finding("daemon_unreachable", "mdatp health said: {0}".format(said))
    if _NO_COMMAND.search(said):
        return finding("not_installed", "mdatp health said: {0}".format(said))
    if _NO_LICENSE.search(said):
        return finding("not_licensed", "mdatp said: {0}".format(said))
    return finding("health_unreadable", "There is no health table in what mdatp printed: {0}".format(said or "nothing"))


def _agent(record, arch, now):
    fields, found = record["fields"], []
    issues = _listed(fields.get("health_issues"))
    expires = _seconds(fields.get("product_expiration"))
    # The command line of before 2021 called it so.
    agent = fields.get("app_version") or fields.get("version_engine")
    minimum, system = MINIMUM_AGENT.get(arch, MINIMUM_AGENT["x86_64"]), arch
    if any(name in fields for name in _MACOS_ROWS):
        minimum, system = MINIMUM_AGENT_MACOS, "macOS"
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
        message = "The agent calls itself unhealthy: {0}.".format("; ".join(issues) or "no issue named")
        settling = fields.get("definitions_status") == "updating"
        found.append(_unhealthy(message, "warning" if settling else None, issues))
    elif issues:
        found.append(_unhealthy("The agent names issues: {0}.".format("; ".join(issues)), "warning", issues))
    return found


def _unhealthy(message, severity, issues):
    """The finding with the advice that belongs to the named issues, where they are known."""
    entry = finding("unhealthy", message.replace("..", "."), severity)
    advice = [hint for pattern, hint in _ISSUES if any(pattern.search(issue) for issue in issues)]
    return dict(entry, hint=" ".join(advice + [entry["hint"]]))


def _configuration(record, mirror_url):
    fields, found = record["fields"], []
    expected = [name for name in ("offline_definition_update", "offline_definition_url_configured") if name in fields]
    loose = [name for name in expected if name not in record["managed"]]
    if loose:
        found.append(
            finding(
                "managed_config_not_applied",
                "The agent does not report these as managed: {0}.".format(", ".join(loose)),
            )
        )
    state = fields.get("offline_definition_update")
    if state is not None and state not in ("enabled", True):
        found.append(finding("offline_updates_disabled", "offline_definition_update is {0}.".format(state)))
    configured = _address(fields.get("offline_definition_url_configured"))
    if configured and _has_arch(configured):
        found.append(
            finding("url_contains_arch", "The configured address {0} points inside a ring folder.".format(configured))
        )
    if configured and mirror_url and ring_folder(configured) != ring_folder(mirror_url):
        found.append(
            finding(
                "mirror_url_differs", "The host is configured for {0}, expected is {1}.".format(configured, mirror_url)
            )
        )
    if not configured and state in ("enabled", True) and "offline_definition_url_configured" in fields:
        found.append(finding("mirror_url_missing", "Offline updates are enabled, but no address is configured."))
    if fields.get("automatic_definition_update_enabled") is False:
        found.append(finding("automatic_updates_disabled", "automatic_definition_update_enabled is false."))
    row_counts = versions.compare(fields.get("app_version"), SIGNATURE_ROW_DEAD) in (None, -1)
    if row_counts and fields.get("offline_definition_update_verify_sig") in ("disabled", False):
        found.append(finding("signature_check_off", "offline_definition_update_verify_sig is disabled."))
    checks = row_counts and fields.get("offline_definition_update_verify_sig") in ("enabled", True)
    if checks and versions.older(fields.get("engine_version"), MINIMUM_ENGINE):
        message = "Engine {0} is older than {1}, which the check of signatures needs."
        found.append(finding("engine_too_old", message.format(fields["engine_version"], MINIMUM_ENGINE)))
    if fields.get("engine_signature_verification") in ("disabled", False):
        found.append(finding("engine_not_verified", "engine_signature_verification is disabled."))
    return found


def _source(fields, mirror_url):
    found = []
    fallback = fields.get("offline_definition_update_fallback_to_cloud") in (True, "enabled", "true")
    expected = [url for url in (_address(fields.get("offline_definition_url_configured")), mirror_url) if url]
    source = _address(fields.get("definitions_update_source_uri"))
    astray = bool(source and expected and not any(comes_from(source, url) for url in expected))
    if astray:
        whose = "Microsoft's cloud" if _CLOUD.match(source) else "another source"
        message = "The definitions came from {0}, {1}, not from the mirror {2}.".format(source, whose, expected[0])
        if fallback:
            message += " Fallback to the cloud is on, which hides that the mirror failed."
        found.append(finding("source_not_mirror", message))
    elif "definitions_update_source_uri" in fields and not source and expected:
        found.append(finding("source_unknown", "The agent names no source of its definitions yet."))
    if fallback:
        message = "Fallback to the cloud is on: when the mirror fails, the host loads from Microsoft without a word."
        found.append(finding("fallback_to_cloud_enabled", message, "warning" if astray else None))
    return found


def _definitions(fields, mirror_versions, max_age_hours, now):
    found = []
    version, status = fields.get("definitions_version"), fields.get("definitions_status")
    reason = fail_reason(fields)
    if reason:
        found.append(finding("update_failed", "The last update failed: {0}".format(reason)))
    if status == "unavailable" or ("definitions_status" in fields and status is None):
        found.append(
            finding(
                "definitions_unavailable",
                "definitions_status is unavailable (version {0}).".format(version or "unknown"),
            )
        )
    elif isinstance(status, TEXT) and status not in ("up_to_date", "updating", "out_of_date"):
        found.append(
            finding("definitions_status_unusual", "definitions_status is {0}, which no document names.".format(status))
        )
    age = _age_hours(fields, now)
    # The age of what is not there says nothing.
    there = status not in ("unavailable", None) or fields.get("definitions_updated", "") is not None
    stale = age is not None and age > max_age_hours and there
    if stale or status == "out_of_date":
        parts = ["Definitions {0}".format(version or "of unknown version")]
        if age is not None:
            parts.append("were updated {0} hours ago (allowed are {1})".format(int(age), max_age_hours))
        if status == "out_of_date":
            parts.append("are out of date, as the agent says itself")
        severity = "warning" if status == "updating" else None  # It is being mended.
        found.append(finding("definitions_stale", parts[0] + " " + " and ".join(parts[1:]) + ".", severity))
    published = (mirror_versions or {}).get("definitions_version")
    if versions.older(version, published):
        message = "The host has definitions {0}, the mirror publishes {1}.".format(version, published)
        found.append(finding("behind_mirror", message))
    elif versions.older(published, version):
        message = "The host has definitions {0}, the mirror publishes older ones, {1}.".format(version, published)
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
        message = "{0}: the agent updates before scans only, not by its timer.".format(seen)
        # Where somebody wants it so and updates come another way, there is nothing to mend.
        found.append(finding("passive_mode", message, "info" if chosen and fresh else None))
    found += _real_time(fields)
    loaded = fields.get("engine_load_status")
    if isinstance(loaded, TEXT) and "not loaded" in loaded.lower().replace("_", " ") and real_time is True:
        message = "Real-time protection is on, but the engine is not: {0}.".format(loaded)
        # The first definitions bring the engine along.
        coming = fields.get("definitions_status") == "updating"
        found.append(finding("engine_not_loaded", message, "warning" if coming else None))
    others = _listed(fields.get("conflicting_applications"))
    if others:
        found.append(
            finding("conflicting_applications", "Other security products were seen: {0}.".format(", ".join(others)))
        )
    return found


def _real_time(fields):
    """Whether real-time protection is wanted and cannot work; `unavailable` for both rows says so as well."""
    names = ("real_time_protection_enabled", "real_time_protection_available")
    if not all(name in fields for name in names):
        return []
    enabled, available = [fields[name] for name in names]
    if (enabled is True and not available) or (enabled is None and available is None):
        shown = ["unavailable" if value is None else TEXT(value).lower() for value in (enabled, available)]
        return [finding("real_time_protection_unavailable", "{0} is {2}, {1} is {3}.".format(*(list(names) + shown)))]
    return []


# --- Addresses --------------------------------------------------------------------------------------------------------


def ring_folder(location):
    """(scheme, host, path) of an address or a directory, comparable, without what lies inside the ring folder."""
    location = re.sub(r"^file://", "", location.strip(), flags=re.IGNORECASE)
    scheme, host, path = "", "", location
    match = re.match(r"^(?:([A-Za-z][A-Za-z0-9+.-]*)://)?([^/?#]*)([^?#]*)", location)
    if match and (match.group(1) or not location.startswith("/")):
        scheme, host, path = (match.group(1) or "http").lower(), match.group(2).lower(), match.group(3)
        host = host.rpartition("@")[2]
        port = re.search(r":([0-9]*)$", host)
        if port and port.group(1) in ("", {"http": "80", "https": "443"}.get(scheme)):
            host = host[: port.start()]
        host = host.rstrip(".")
    parts = []
    for part in path.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    while parts and (re.match(r"^arch_[^/]*$", parts[-1]) or parts[-1].lower() in ("updates.zip", "manifest.json")):
        parts.pop()
    return scheme, host, tuple(parts)


def comes_from(source, location):
    """Whether a source is the mirror at an address or a file inside it."""
    source, location = ring_folder(source), ring_folder(location)
    return source[:2] == location[:2] and source[2][: len(location[2])] == location[2]


def _has_arch(location):
    path = re.split(r"[?#]", location)[0]
    return bool(re.search(r"/arch_[^/]*(/|$)", path)) or path.lower().rstrip("/").endswith(".zip")


def _address(value):
    return value.strip() if isinstance(value, TEXT) else ""


# --- Values -----------------------------------------------------------------------------------------------------------


def _listed(value):
    """A list of strings, whatever a list of the table holds."""
    if not isinstance(value, list):
        value = [value] if isinstance(value, TEXT) and value.strip() else []
    return [entry if isinstance(entry, TEXT) else "{0}".format(entry) for entry in value]


def _seconds(moment):
    """Seconds since 1970 of one of our own times."""
    try:
        return calendar.timegm(time.strptime(moment, "%Y-%m-%dT%H:%M:%SZ"))
    except (TypeError, ValueError):
        return None


def fail_reason(fields):
    """Why the last update failed, empty if it did not."""
    reason = fields.get("definitions_update_fail_reason")
    reason = reason.strip() if isinstance(reason, TEXT) else ""
    return "" if reason.lower() == "none" else reason


def _age_hours(fields, now):
    minutes = fields.get("definitions_updated_minutes_ago")
    if isinstance(minutes, int) and not isinstance(minutes, bool):
        return minutes / 60.0
    moment = _seconds(fields.get("definitions_updated"))
    return None if moment is None else (now - moment) / 3600.0
