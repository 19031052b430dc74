"""Rules about valid settings that weaken protection, and advice.

Private to the mde.offline collection; it may change without notice.
"""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from collections.abc import Iterator

from .document import Findings, ManagedConfig
from .effects import ENGINE, scans_run
from .exclusions import dangerous, exclusions
from .findings import ERROR, INFO, WARNING, Finding, rule, show

ENFORCEMENT_LEVEL_MISSING = rule(
    "enforcement_level_missing",
    WARNING,
    "No enforcement level",
    "Without this key, agents from 101.23062.0001 on are passive: they do not check files on access. The default of "
    "older agents is real_time.",
    'Write "antivirusEngine": {"enforcementLevel": "real_time"}, or "passive" if you want that.',
)
ENFORCEMENT_LEVEL_NOT_REAL_TIME = rule(
    "enforcement_level_not_real_time",
    WARNING,
    "No real-time protection",
    "With any other level than real_time, threats are not stopped when they appear. Next to another antivirus product, "
    "passive is right.",
    'Write "enforcementLevel": "real_time" after a full scan, or accept this finding with the reason.',
)
CLOUD_PROTECTION_OFF = rule(
    "cloud_protection_off",
    WARNING,
    "Cloud protection is off",
    "The cloud recognises new threats first.",
    'Write "cloudService": {"enabled": true} if the hosts can reach the cloud.',
)
AUTOMATIC_UPDATES_OFF = rule(
    "automatic_updates_off",
    WARNING,
    "Automatic updates of definitions are off",
    "Definitions become old unless something else runs `mdatp definitions update`.",
    'Write "automaticDefinitionUpdateEnabled": true.',
)
SAMPLE_SUBMISSION_NONE = rule(
    "sample_submission_none",
    WARNING,
    "No samples are submitted",
    "The cloud cannot analyse unknown files.",
    'Write "automaticSampleSubmissionConsent": "safe", which leaves files with personal data out.',
)
PUA_OFF = rule(
    "pua_off",
    WARNING,
    "Potentially unwanted applications are not reported",
    "With the value off, they are neither stopped nor logged.",
    'Write "block", or at least "audit".',
)
ALLOWED_THREATS = rule(
    "allowed_threats",
    WARNING,
    "Threats that are allowed",
    "Files that are detected under one of these names can run.",
    "Remove the name, or exclude only the file that is wrongly detected.",
)
EICAR_ALLOWED = rule(
    "eicar_allowed",
    WARNING,
    "The EICAR test file is allowed",
    "The entry is from Microsoft's sample. With this entry, the usual test of an installation finds nothing.",
    "Remove the entry.",
)
MERGE_POLICY_OPEN = rule(
    "merge_policy_open",
    INFO,
    "Exclusions of the host apply too",
    "With the merge policy merge (the default), root on a host can add exclusions.",
    'Write "exclusionSettings": {"mergePolicy": "admin_only"}.',
)
THREAT_ACTIONS_OPEN = rule(
    "threat_actions_open",
    INFO,
    "Users of the host can allow or restore threats",
    "disallowedThreatActions does not name both allow and restore.",
    'Write "disallowedThreatActions": ["allow", "restore"] in antivirusEngine.',
)
NOEXEC_MOUNTS_MUTED = rule(
    "noexec_mounts_muted",
    WARNING,
    "Mounts with noexec are not monitored",
    "Scripts on them can still be run by an interpreter.",
    'Write "nonExecMountPolicy": "unmute".',
)
FILESYSTEM_UNMONITORED = rule(
    "filesystem_unmonitored",
    WARNING,
    "A file system that is monitored by default is not monitored",
    "By default, all supported file systems except cifs, fuse, nfs, nfs4 and smb are monitored.",
    "Remove the name from unmonitoredFilesystems, or exclude only the mount that is the reason.",
)
FILESYSTEM_NAME_CASE = rule(
    "filesystem_name_case",
    WARNING,
    "The name of a file system with upper-case letters",
    "The names are in lower case. Another case may match nothing, and the list still replaces the agent's default.",
    'Write it in lower case, such as "fuse".',
)
NFS_MONITORED = rule(
    "nfs_monitored",
    INFO,
    "NFS is monitored",
    "The list replaces the agent's default and has no NFS in it. To scan NFS version 3, the export needs "
    "no_root_squash.",
    'Add "nfs" and "nfs4" to unmonitoredFilesystems if NFS must not be monitored.',
)
BROAD_EXCLUSIONS_NEVER_SCANNED = rule(
    "broad_exclusions_never_scanned",
    WARNING,
    "Broad exclusions that scheduled scans respect",
    "Folders that should never be excluded are excluded, and scheduled scans skip them too: nothing scans them.",
    'Write "scheduledScan": {"ignoreExclusions": true}, or exclude less.',
)
NETWORK_PROTECTION_PREVIEW = rule(
    "network_protection_preview",
    WARNING,
    "Network protection outside Insiders channels",
    "Network protection is a preview for the Insiders channels on x86_64. On production the agent reports it as "
    "unsupported.",
    'Write "enforcementLevel": "disabled" in networkProtection for hosts on the production channel.',
)
DIAGNOSTIC_LEVEL_OPTIONAL = rule(
    "diagnostic_level_optional",
    INFO,
    "Optional diagnostic data is sent",
    "The agent sends more data than the product needs to work. A change takes effect after a restart of the service.",
    'Write "diagnosticLevel": "required" to send as little as possible.',
)
THREAT_TYPE_REPEATED = rule(
    "threat_type_repeated",
    WARNING,
    "Two settings for one kind of threat",
    "threatTypeSettings has one entry per kind. Which of two entries counts is not documented.",
    "Keep one of them.",
)
EDR_TAG_REPEATED = rule(
    "edr_tag_repeated",
    ERROR,
    "Two tags with the same key",
    "A device has one value per key. A second value is not added.",
    "Keep one entry with the key GROUP.",
)

_NOT_WATCHED = {"cifs", "fuse", "nfs", "nfs4", "smb"}
_CHECKED_VALUES = (
    (("cloudService", "enabled"), False, CLOUD_PROTECTION_OFF, "Cloud protection is off."),
    (
        ("cloudService", "automaticDefinitionUpdateEnabled"),
        False,
        AUTOMATIC_UPDATES_OFF,
        "Automatic updates are off.",
    ),
    (("cloudService", "automaticSampleSubmissionConsent"), "none", SAMPLE_SUBMISSION_NONE, "No samples are submitted."),
    (("cloudService", "diagnosticLevel"), "optional", DIAGNOSTIC_LEVEL_OPTIONAL, "Optional diagnostic data is sent."),
    ((ENGINE, "nonExecMountPolicy"), "mute", NOEXEC_MOUNTS_MUTED, "Mounts with noexec are not monitored."),
)


def check(managed: ManagedConfig) -> Findings:
    for where, value, broken, message in _CHECKED_VALUES:
        given = managed.value(*where)
        if given == value and isinstance(given, type(value)):
            yield broken.at(where, message)
    if managed.value("networkProtection", "enforcementLevel") in ("audit", "block"):
        where = ("networkProtection", "enforcementLevel")
        yield NETWORK_PROTECTION_PREVIEW.at(
            where, "Network protection is enabled, which the production channel does not support."
        )
    for topic in (_level, _threats, _policies, _filesystems, _broad, _tags):
        yield from topic(managed)


def _level(managed: ManagedConfig) -> Iterator[Finding]:
    where = (ENGINE, "enforcementLevel")
    if not managed.has(*where):
        default = "real_time" if managed.older_than("101.23062.0001") else "passive"
        message = f"enforcementLevel is not set, so the agent uses its default: {default}."
        if managed.has(ENGINE, "enableRealTimeProtection") or managed.has(ENGINE, "passiveMode"):
            message = "Only keys that enforcementLevel replaces are set."
        yield ENFORCEMENT_LEVEL_MISSING.at(where, message)
    elif managed.level() not in (None, "real_time"):
        yield ENFORCEMENT_LEVEL_NOT_REAL_TIME.at(where, f"enforcementLevel is {managed.level()}.")


def _threats(managed: ManagedConfig) -> Iterator[Finding]:
    for path, name in managed.strings(ENGINE, "allowedThreats"):
        if not name.strip():
            continue
        if "eicar" in name.lower():
            yield EICAR_ALLOWED.at(path, "The EICAR test file is not found.")
        else:
            yield ALLOWED_THREATS.at(path, f"{show(name)} can run.")
    seen: set[str] = set()
    for path, entry in managed.objects(ENGINE, "threatTypeSettings"):
        kind = entry.get("key")
        if kind == "potentially_unwanted_application" and entry.get("value") == "off":
            yield PUA_OFF.at((*path, "value"), "Potentially unwanted applications are neither stopped nor logged.")
        if isinstance(kind, str) and kind in seen:
            yield THREAT_TYPE_REPEATED.at(path, f"There is an entry for {show(kind)} already.")
        seen.add(kind if isinstance(kind, str) else "")


def _policies(managed: ManagedConfig) -> Iterator[Finding]:
    policy = ("exclusionSettings", "mergePolicy")
    if managed.value(*policy) in (None, "merge"):
        yield MERGE_POLICY_OPEN.at(policy, "Root on a host can add exclusions.")
    given = {action for _path, action in managed.strings(ENGINE, "disallowedThreatActions")}
    open_actions = sorted({"allow", "restore"} - given)
    if open_actions:
        message = f"Users of the host can {' and '.join(open_actions)} threats."
        yield THREAT_ACTIONS_OPEN.at((ENGINE, "disallowedThreatActions"), message)


def _filesystems(managed: ManagedConfig) -> Iterator[Finding]:
    where = (ENGINE, "unmonitoredFilesystems")
    names: set[str] = set()
    for path, name in managed.strings(*where):
        names.update(part for part in re.split(r"[\s,]+", name.lower()) if part)
        if re.search(r"[,\s]", name) or not name:
            continue
        if name != name.lower():
            yield FILESYSTEM_NAME_CASE.at(path, f"{show(name)} is not in lower case.", f"Write {show(name.lower())}.")
        if name.lower() not in _NOT_WATCHED:
            yield FILESYSTEM_UNMONITORED.at(path, f"{show(name)} is monitored by default.")
    if isinstance(managed.value(*where), list) and not names & {"nfs", "nfs4"}:
        yield NFS_MONITORED.at(where, "The list replaces the agent's default and has no NFS in it.")


def _broad(managed: ManagedConfig) -> Iterator[Finding]:
    runs = managed.value(ENGINE, "scheduledScan") == "enabled" and scans_run(managed)
    where = ("scheduledScan", "ignoreExclusions")
    if runs and managed.value(*where) in (None, False) and any(map(dangerous, exclusions(managed))):
        yield BROAD_EXCLUSIONS_NEVER_SCANNED.at(where, "Scheduled scans skip folders that should never be excluded.")


def _tags(managed: ManagedConfig) -> Iterator[Finding]:
    seen: set[str] = set()
    for path, tag in managed.objects("edr", "tags"):
        key = tag.get("key")
        if isinstance(key, str) and key in seen:
            yield EDR_TAG_REPEATED.at(path, f"There is a tag with the key {show(key)} already.")
        seen.add(key if isinstance(key, str) else "")
