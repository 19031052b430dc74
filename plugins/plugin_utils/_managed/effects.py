"""Settings that have no effect, or another one than they seem to have.

Private to the mde.offline collection: no promise is made to others.
"""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Iterator

from .document import Findings, ManagedConfig
from .findings import ERROR, INFO, WARNING, Finding, rule, show

NO_TIMER_UPDATES = rule(
    "no_timer_updates",
    WARNING,
    "Offline updates that no timer will ever start",
    "Updates on a timer need three things: enforcementLevel real_time, automaticDefinitionUpdateEnabled true, and "
    "offlineDefinitionUpdate "
    "enabled. Without them definitions change only with a scan or with `mdatp definitions update`.",
    'Write "enforcementLevel": "real_time", or let a timer of the system run `mdatp definitions update`.',
)
TIMER_UPDATES_UNSURE = rule(
    "timer_updates_unsure",
    INFO,
    "Timer updates in audit mode are not documented",
    "Documents promise updates on a timer for real_time only. Whether audit starts them too is not said.",
    "Watch definitions_updated in `mdatp health` on one host, or let a timer run `mdatp definitions update`.",
)
OFFLINE_URL_UNUSED = rule(
    "offline_url_unused",
    WARNING,
    "A mirror that is not used",
    "offlineDefinitionUpdateUrl is set, but offlineDefinitionUpdate is not enabled: definitions come from "
    "Microsoft's cloud.",
    'Write "offlineDefinitionUpdate": "enabled" beside the address, or remove the address.',
)
OFFLINE_SETTING_UNUSED = rule(
    "offline_setting_unused",
    INFO,
    "A setting of offline updates without offline updates",
    "It says how offline updates behave, and they are not enabled.",
    'Write "offlineDefinitionUpdate": "enabled" in antivirusEngine, or remove the setting.',
)
FALLBACK_TO_CLOUD_ON = rule(
    "fallback_to_cloud_on",
    INFO,
    "Updates fall back to Microsoft's cloud",
    "Where the mirror fails, hosts ask the cloud. Without internet that costs time-outs; with it, a broken mirror "
    "goes unnoticed.",
    "On hosts without internet write false. Elsewhere watch definitions_update_source_uri in `mdatp health`.",
)
FALLBACK_TO_CLOUD_OFF = rule(
    "fallback_to_cloud_off",
    INFO,
    "Updates never fall back to Microsoft's cloud",
    "Where the mirror fails, definitions grow old until it is mended.",
    "Watch the age of the definitions, and of what the mirror publishes.",
)
FALLBACK_TO_CLOUD_UNSET = rule(
    "fallback_to_cloud_unset",
    INFO,
    "It is not said whether updates fall back to the cloud",
    "The default of offlineDefinitionUpdateFallbackToCloud on Linux is not documented.",
    'Write "offlineDefinitionUpdateFallbackToCloud": false on hosts without internet, true or false elsewhere.',
)
NEEDS_REAL_TIME = rule(
    "needs_real_time",
    WARNING,
    "A protection that needs real_time",
    "It is switched on, but works with enforcementLevel real_time only.",
    'Write "enforcementLevel": "real_time" in antivirusEngine, or do not count on this setting.',
)
SCAN_AFTER_UPDATE_UNUSED = rule(
    "scan_after_update_unused",
    INFO,
    "A scan after updates that never runs",
    "scanAfterDefinitionUpdate works with enforcementLevel real_time only.",
    'Write "enforcementLevel": "real_time", or remove the setting.',
)
NEEDS_BEHAVIOR_MONITORING = rule(
    "needs_behavior_monitoring",
    WARNING,
    "A sensor that needs behaviour monitoring",
    "It is switched on, but works only where behaviour monitoring does.",
    'Write "behaviorMonitoring": "enabled" and "enforcementLevel": "real_time" in antivirusEngine, or switch it off.',
)
SCAN_SWITCH_WITHOUT_SENSOR = rule(
    "scan_switch_without_sensor",
    WARNING,
    "A scan on events that no sensor reports",
    "scanFileModifyPermissions, scanFileModifyOwnership and scanNetworkSocketEvent wait for events of a sensor that "
    "is off by default.",
    "Enable the matching sensor in features.supplementarySensorConfigurations, or switch the scan off.",
)
SCHEDULED_SCAN_NOT_ENABLED = rule(
    "scheduled_scan_not_enabled",
    WARNING,
    "A schedule of scans that is not switched on",
    "The top-level scheduledScan takes effect only if antivirusEngine.scheduledScan is enabled.",
    'Write "antivirusEngine": {"scheduledScan": "enabled"}, or remove the schedule.',
)
SCHEDULED_SCAN_WITHOUT_PLAN = rule(
    "scheduled_scan_without_plan",
    WARNING,
    "Scheduled scans without a schedule",
    "antivirusEngine.scheduledScan is enabled, but there is neither a dailyConfiguration nor a weeklyConfiguration "
    "with a day: nothing runs.",
    'Write for instance "scheduledScan": {"weeklyConfiguration": {"dayOfWeek": 1, "timeOfDay": 120, "scanType": '
    '"quick"}}.',
)
DAILY_SCANS_TWICE = rule(
    "daily_scans_twice",
    INFO,
    "Daily scans at a time and at an interval",
    "timeOfDay and interval are independent: with both set, both run.",
    "Keep the one that was meant.",
)
TIME_OF_DAY_NOT_PORTABLE = rule(
    "time_of_day_not_portable",
    INFO,
    "A time of day that the portal does not take",
    "The portal ends at 1380 minutes (23:00), this file at 1440.",
    "Keep to 1380 where both are used.",
)
INTERVAL_ZERO = rule(
    "interval_zero",
    WARNING,
    "An update interval of zero",
    "The portal accepts 0, but nothing says what it means to the agent.",
    'Write "definitionUpdatesInterval": 28800 (eight hours, the default).',
)
INTERVAL_SHORT = rule(
    "interval_short",
    WARNING,
    "An update interval below an hour",
    "There is no gain in asking more often than the mirror itself downloads; with many hosts it is a load.",
    'Write "definitionUpdatesInterval": 28800, or 3600 at least.',
)
INTERVAL_LONG = rule(
    "interval_long",
    WARNING,
    "An update interval above a day",
    "Definitions change several times a day. macOS and the portal allow a day at most.",
    'Write "definitionUpdatesInterval": 28800, or 86400 at most.',
)
MERGE_POLICY_OVERRIDDEN = rule(
    "merge_policy_overridden",
    INFO,
    "A merge policy that another one overrides",
    "exclusionSettings.mergePolicy admin_only governs antivirusEngine.exclusions as well.",
    "Remove antivirusEngine.exclusionsMergePolicy.",
)
DEPRECATED_KEY = rule(
    "deprecated_key",
    WARNING,
    "A key that enforcementLevel has replaced",
    "enableRealTimeProtection and passiveMode are no longer documented for Linux.",
    'Write "enforcementLevel": "real_time" or "passive" instead.',
)
DEPRECATED_KEY_DISAGREES = rule(
    "deprecated_key_disagrees",
    ERROR,
    "An old key that contradicts enforcementLevel",
    "Two keys say different things about real-time protection; which one counts is not documented.",
    "Remove the old key and keep enforcementLevel.",
)

ENGINE, SENSORS = "antivirusEngine", ("features", "supplementarySensorConfigurations")
_NEED_BEHAVIOR: tuple[tuple[tuple[str, ...], object], ...] = (
    (("features", "moduleLoad"), "enabled"),
    *(
        ((*SENSORS, name), "enabled")
        for name in (
            "enableRawSocketEvent",
            "enableBootLoaderCalls",
            "enableProcessCalls",
            "enablePseudofsCalls",
            "enableEbpfModuleLoadEvents",
            "enableOtherFsOpenEvents",
        )
    ),
    ((ENGINE, "scanNetworkSocketEvent"), True),
    (("networkProtection", "disableIcmpInspection"), False),
)
_SENSOR_OF = {
    "scanFileModifyPermissions": "enableFilePermissionEvents",
    "scanFileModifyOwnership": "enableFileOwnershipEvents",
    "scanNetworkSocketEvent": "enableRawSocketEvent",
}


def check(managed: ManagedConfig) -> Findings:
    for topic in (_offline, _fallback, _interval, _real_time, _behavior, _schedule, _merge_policy, _old_keys):
        yield from topic(managed)


def _offline(managed: ManagedConfig) -> Iterator[Finding]:
    if managed.offline():
        level, switch = managed.level(), managed.value("cloudService", "automaticDefinitionUpdateEnabled")
        where = (ENGINE, "enforcementLevel")
        if level == "audit" and switch is not False:
            yield TIMER_UPDATES_UNSURE.at(where, "Whether audit mode starts updates on a timer is not documented.")
        elif level in ("passive", "on_demand", "audit"):
            said = "" if managed.has(*where) else " (the default, as nothing is set)"
            yield NO_TIMER_UPDATES.at(
                where, f"Offline updates are enabled, but enforcementLevel is {level}{said}: no timer starts them."
            )
        if switch is False:
            where = ("cloudService", "automaticDefinitionUpdateEnabled")
            message = "Offline updates are enabled, but automatic updates are off: no timer starts them."
            yield NO_TIMER_UPDATES.at(where, message, 'Write "automaticDefinitionUpdateEnabled": true.')
        return
    if managed.value(ENGINE, "offlineDefinitionUpdate") not in (None, "disabled"):
        return  # told as a wrong type or value; what was meant is plain
    if managed.text(ENGINE, "offlineDefinitionUpdateUrl"):
        yield OFFLINE_URL_UNUSED.at(
            (ENGINE, "offlineDefinitionUpdateUrl"), "The mirror is named, but offline updates are not enabled."
        )
    for where in ((ENGINE, "offlineDefinitionUpdateFallbackToCloud"), ("features", "offlineDefinitionUpdateVerifySig")):
        if managed.has(*where):
            yield OFFLINE_SETTING_UNUSED.at(where, "Offline updates are not enabled, so this does nothing.")


def _fallback(managed: ManagedConfig) -> Iterator[Finding]:
    if not managed.offline():
        return
    where = (ENGINE, "offlineDefinitionUpdateFallbackToCloud")
    if managed.value(*where) is True:
        yield FALLBACK_TO_CLOUD_ON.at(where, "Where the mirror fails, Microsoft's cloud is asked.")
    elif managed.value(*where) is False:
        yield FALLBACK_TO_CLOUD_OFF.at(where, "Where the mirror fails, definitions grow old.")
    elif not managed.has(*where):
        yield FALLBACK_TO_CLOUD_UNSET.at(
            where, "It is not said whether Microsoft's cloud is asked where the mirror fails."
        )


def _interval(managed: ManagedConfig) -> Iterator[Finding]:
    where = ("cloudService", "definitionUpdatesInterval")
    seconds = managed.integer(*where)
    if seconds == 0:
        yield INTERVAL_ZERO.at(where, "Nothing says what an interval of 0 means.")
    elif seconds is not None and 0 < seconds < 3600:
        yield INTERVAL_SHORT.at(where, f"{seconds} seconds is less than an hour.")
    elif seconds is not None and seconds > 86400:
        yield INTERVAL_LONG.at(where, f"{show(seconds)} seconds is more than a day.")


def _real_time(managed: ManagedConfig) -> Iterator[Finding]:
    level = managed.level()
    if level in (None, "real_time"):
        return
    for where in ((ENGINE, "behaviorMonitoring"), ("features", "remediateInfectedFile")):
        if managed.value(*where) == "enabled":
            yield NEEDS_REAL_TIME.at(where, f"{where[-1]} is enabled, but enforcementLevel is {level}.")
    if managed.value(ENGINE, "scanAfterDefinitionUpdate") is True:
        yield SCAN_AFTER_UPDATE_UNUSED.at(
            (ENGINE, "scanAfterDefinitionUpdate"), f"enforcementLevel is {level}, so this scan never runs."
        )


def _behavior(managed: ManagedConfig) -> Iterator[Finding]:
    for name, sensor in _SENSOR_OF.items():
        if managed.value(ENGINE, name) is True and managed.value(*SENSORS, sensor) in (None, "disabled"):
            where = ".".join((*SENSORS, sensor))
            yield SCAN_SWITCH_WITHOUT_SENSOR.at(
                (ENGINE, name),
                f"It waits for events of {where}, which is off.",
                f'Write "{sensor}": "enabled" in {where.rpartition(".")[0]}.',
            )
    if managed.value(ENGINE, "behaviorMonitoring") == "enabled" and managed.level() in (None, "real_time"):
        return
    why = "behaviour monitoring is not enabled"
    if managed.value(ENGINE, "behaviorMonitoring") == "enabled":
        why = "behaviour monitoring works with enforcementLevel real_time only"
    for place, value in _NEED_BEHAVIOR:
        given = managed.value(*place)
        if given == value and isinstance(given, type(value)):
            yield NEEDS_BEHAVIOR_MONITORING.at(place, f"This does nothing, because {why}.")


def _schedule(managed: ManagedConfig) -> Iterator[Finding]:
    plan, enabled = managed.value("scheduledScan"), managed.value(ENGINE, "scheduledScan") == "enabled"
    if isinstance(plan, dict) and plan and not enabled and managed.value(ENGINE, "scheduledScan") in (None, "disabled"):
        yield SCHEDULED_SCAN_NOT_ENABLED.at(
            ("scheduledScan",), "antivirusEngine.scheduledScan is not enabled, so nothing of this runs."
        )
    if enabled and not scans_run(managed):
        yield SCHEDULED_SCAN_WITHOUT_PLAN.at(
            (ENGINE, "scheduledScan"), "There is no daily configuration and no weekly one with a day."
        )
    daily = ("scheduledScan", "dailyConfiguration")
    if managed.integer(*daily, "interval") and managed.integer(*daily, "timeOfDay") is not None:
        yield DAILY_SCANS_TWICE.at(daily, "Scans run at timeOfDay and every interval hours as well.")
    for kind in ("dailyConfiguration", "weeklyConfiguration"):
        minutes = managed.integer("scheduledScan", kind, "timeOfDay")
        if minutes is not None and 1380 < minutes <= 1440:
            yield TIME_OF_DAY_NOT_PORTABLE.at(
                ("scheduledScan", kind, "timeOfDay"), f"The portal takes 1380 at most, not {minutes}."
            )


def scans_run(managed: ManagedConfig) -> bool:
    """Whether the schedule names any scan; what is not a number counts, as its type is told elsewhere."""
    daily, weekly = (managed.value("scheduledScan", name) for name in ("dailyConfiguration", "weeklyConfiguration"))
    by_day = isinstance(daily, dict) and ("timeOfDay" in daily or daily.get("interval", 0) != 0)
    return by_day or (isinstance(weekly, dict) and weekly.get("dayOfWeek", 0) != 0)


def _merge_policy(managed: ManagedConfig) -> Iterator[Finding]:
    where = (ENGINE, "exclusionsMergePolicy")
    if managed.has(*where) and managed.value("exclusionSettings", "mergePolicy") == "admin_only":
        yield MERGE_POLICY_OVERRIDDEN.at(
            where, "exclusionSettings.mergePolicy is admin_only and governs these exclusions too."
        )


def _old_keys(managed: ManagedConfig) -> Iterator[Finding]:
    level = managed.level() if managed.has(ENGINE, "enforcementLevel") else None
    agrees: dict[str, dict[bool, tuple[str, ...]]] = {
        "enableRealTimeProtection": {True: ("real_time", "audit"), False: ("on_demand", "passive")},
        "passiveMode": {True: ("passive",), False: ("real_time", "audit", "on_demand")},
    }
    for key, levels in agrees.items():
        value = managed.value(ENGINE, key)
        if not managed.has(ENGINE, key):
            continue
        meant = ""
        if isinstance(value, bool):
            passive = managed.value(ENGINE, "passiveMode") is True
            meant = level or ("passive" if passive else levels[value][0])
            meant = f'Remove it and write "enforcementLevel": "{meant}".'
        yield DEPRECATED_KEY.at((ENGINE, key), f"{key} was replaced by enforcementLevel.", meant)
        if isinstance(value, bool) and level is not None and level not in levels[value]:
            message = f"{key} is {show(value)}, but enforcementLevel is {level}."
            yield DEPRECATED_KEY_DISAGREES.at((ENGINE, key), message)
    if level is None and all(managed.value(ENGINE, key) is True for key in agrees):
        message = "enableRealTimeProtection and passiveMode are both true."
        advice = 'Remove both and write "enforcementLevel": "real_time" or "passive".'
        yield DEPRECATED_KEY_DISAGREES.at((ENGINE, "passiveMode"), message, advice)
