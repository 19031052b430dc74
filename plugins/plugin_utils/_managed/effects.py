"""Rules about settings that have no effect, or another effect than their names suggest.

Private to the mde.offline collection; it may change without notice.
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
    "Offline updates that no timer starts",
    "Updates on a timer need three settings: enforcementLevel real_time, automaticDefinitionUpdateEnabled true, and "
    "offlineDefinitionUpdate enabled. Without them, only a scan or `mdatp definitions update` changes the definitions.",
    'Write "enforcementLevel": "real_time", or run `mdatp definitions update` from a timer of the system.',
)
TIMER_UPDATES_UNSURE = rule(
    "timer_updates_unsure",
    INFO,
    "Timer updates in audit mode are not documented",
    "Updates on a timer are documented for real_time only. Whether audit starts them too is not documented.",
    "Watch definitions_updated in `mdatp health` on one host, or run `mdatp definitions update` from a timer.",
)
OFFLINE_URL_UNUSED = rule(
    "offline_url_unused",
    WARNING,
    "A mirror that is not used",
    "offlineDefinitionUpdateUrl is set, but offlineDefinitionUpdate is not enabled: definitions come from "
    "Microsoft's cloud.",
    'Write "offlineDefinitionUpdate": "enabled" next to the address, or remove the address.',
)
OFFLINE_SETTING_UNUSED = rule(
    "offline_setting_unused",
    INFO,
    "A setting of offline updates without offline updates",
    "The setting configures offline updates, which are not enabled.",
    'Write "offlineDefinitionUpdate": "enabled" in antivirusEngine, or remove the setting.',
)
FALLBACK_TO_CLOUD_ON = rule(
    "fallback_to_cloud_on",
    INFO,
    "Updates fall back to Microsoft's cloud",
    "If the mirror fails, hosts update from the cloud. Without internet, this ends in time-outs. With internet, nobody "
    "notices the broken mirror.",
    "Write false on hosts without internet. On other hosts watch definitions_update_source_uri in `mdatp health`.",
)
FALLBACK_TO_CLOUD_OFF = rule(
    "fallback_to_cloud_off",
    INFO,
    "Updates never fall back to Microsoft's cloud",
    "If the mirror fails, definitions become old until the mirror is repaired.",
    "Watch the age of the definitions on the hosts and on the mirror.",
)
FALLBACK_TO_CLOUD_UNSET = rule(
    "fallback_to_cloud_unset",
    INFO,
    "The fallback to the cloud is not configured",
    "The default of offlineDefinitionUpdateFallbackToCloud on Linux is not documented.",
    'Write "offlineDefinitionUpdateFallbackToCloud": false on hosts without internet, true or false elsewhere.',
)
NEEDS_REAL_TIME = rule(
    "needs_real_time",
    WARNING,
    "A protection that needs real_time",
    "The setting is enabled, but it works with enforcementLevel real_time only.",
    'Write "enforcementLevel": "real_time" in antivirusEngine, or remove this setting.',
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
    "The sensor is enabled, but it works only with behaviour monitoring.",
    'Write "behaviorMonitoring": "enabled" and "enforcementLevel": "real_time" in antivirusEngine, or disable the '
    "sensor.",
)
SCAN_SWITCH_WITHOUT_SENSOR = rule(
    "scan_switch_without_sensor",
    WARNING,
    "A scan on events that no sensor reports",
    "scanFileModifyPermissions, scanFileModifyOwnership and scanNetworkSocketEvent wait for events of a sensor that "
    "is off by default.",
    "Enable the matching sensor in features.supplementarySensorConfigurations, or disable the scan.",
)
SCHEDULED_SCAN_NOT_ENABLED = rule(
    "scheduled_scan_not_enabled",
    WARNING,
    "A schedule of scans that is not enabled",
    "The top-level scheduledScan takes effect only if antivirusEngine.scheduledScan is enabled.",
    'Write "antivirusEngine": {"scheduledScan": "enabled"}, or remove the schedule.',
)
SCHEDULED_SCAN_WITHOUT_PLAN = rule(
    "scheduled_scan_without_plan",
    WARNING,
    "Scheduled scans without a schedule",
    "antivirusEngine.scheduledScan is enabled, but there is neither a dailyConfiguration nor a weeklyConfiguration "
    "with a day, so no scan runs.",
    'Write, for instance, "scheduledScan": {"weeklyConfiguration": {"dayOfWeek": 1, "timeOfDay": 120, "scanType": '
    '"quick"}}.',
)
DAILY_SCANS_TWICE = rule(
    "daily_scans_twice",
    INFO,
    "Daily scans at a time and at an interval",
    "timeOfDay and interval are independent. If both are set, both kinds of scans run.",
    "Remove one of them.",
)
TIME_OF_DAY_NOT_PORTABLE = rule(
    "time_of_day_not_portable",
    INFO,
    "A time of day that the portal does not accept",
    "The maximum is 1380 minutes (23:00) in the portal, and 1440 in this file.",
    "Write at most 1380 if you use both.",
)
INTERVAL_ZERO = rule(
    "interval_zero",
    WARNING,
    "An update interval of zero",
    "The portal accepts 0, but the meaning of 0 is not documented.",
    'Write "definitionUpdatesInterval": 28800 (eight hours, the default).',
)
INTERVAL_SHORT = rule(
    "interval_short",
    WARNING,
    "An update interval below an hour",
    "The mirror itself does not download more often, and the requests of many hosts put load on it.",
    'Write "definitionUpdatesInterval": 28800, or at least 3600.',
)
INTERVAL_LONG = rule(
    "interval_long",
    WARNING,
    "An update interval above a day",
    "Definitions change several times a day. The maximum on macOS and in the portal is one day.",
    'Write "definitionUpdatesInterval": 28800, or at most 86400.',
)
MERGE_POLICY_OVERRIDDEN = rule(
    "merge_policy_overridden",
    INFO,
    "A merge policy that another one overrides",
    "exclusionSettings.mergePolicy admin_only applies to antivirusEngine.exclusions too.",
    "Remove antivirusEngine.exclusionsMergePolicy.",
)
DEPRECATED_KEY = rule(
    "deprecated_key",
    WARNING,
    "A key that enforcementLevel replaces",
    "enableRealTimeProtection and passiveMode are no longer documented for Linux.",
    'Write "enforcementLevel": "real_time" or "passive" instead.',
)
DEPRECATED_KEY_DISAGREES = rule(
    "deprecated_key_disagrees",
    ERROR,
    "An old key that contradicts enforcementLevel",
    "Two keys contradict each other about real-time protection. Which one counts is not documented.",
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
        return  # another rule reports the wrong type or value
    if managed.text(ENGINE, "offlineDefinitionUpdateUrl"):
        yield OFFLINE_URL_UNUSED.at(
            (ENGINE, "offlineDefinitionUpdateUrl"), "The mirror is configured, but offline updates are not enabled."
        )
    for where in ((ENGINE, "offlineDefinitionUpdateFallbackToCloud"), ("features", "offlineDefinitionUpdateVerifySig")):
        if managed.has(*where):
            yield OFFLINE_SETTING_UNUSED.at(where, "Offline updates are not enabled, so this setting has no effect.")


def _fallback(managed: ManagedConfig) -> Iterator[Finding]:
    if not managed.offline():
        return
    where = (ENGINE, "offlineDefinitionUpdateFallbackToCloud")
    if managed.value(*where) is True:
        yield FALLBACK_TO_CLOUD_ON.at(where, "If the mirror fails, the host updates from Microsoft's cloud.")
    elif managed.value(*where) is False:
        yield FALLBACK_TO_CLOUD_OFF.at(where, "If the mirror fails, definitions become old.")
    elif not managed.has(*where):
        yield FALLBACK_TO_CLOUD_UNSET.at(
            where, "The configuration does not set whether hosts update from the cloud if the mirror fails."
        )


def _interval(managed: ManagedConfig) -> Iterator[Finding]:
    where = ("cloudService", "definitionUpdatesInterval")
    seconds = managed.integer(*where)
    if seconds == 0:
        yield INTERVAL_ZERO.at(where, "The meaning of an interval of 0 is not documented.")
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
                f"This scan waits for events of {where}, which is disabled.",
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
            yield NEEDS_BEHAVIOR_MONITORING.at(place, f"This setting has no effect, because {why}.")


def _schedule(managed: ManagedConfig) -> Iterator[Finding]:
    plan, enabled = managed.value("scheduledScan"), managed.value(ENGINE, "scheduledScan") == "enabled"
    if isinstance(plan, dict) and plan and not enabled and managed.value(ENGINE, "scheduledScan") in (None, "disabled"):
        yield SCHEDULED_SCAN_NOT_ENABLED.at(
            ("scheduledScan",), "antivirusEngine.scheduledScan is not enabled, so none of these scans runs."
        )
    if enabled and not scans_run(managed):
        yield SCHEDULED_SCAN_WITHOUT_PLAN.at(
            (ENGINE, "scheduledScan"), "There is no daily configuration, and no weekly configuration with a day."
        )
    daily = ("scheduledScan", "dailyConfiguration")
    if managed.integer(*daily, "interval") and managed.integer(*daily, "timeOfDay") is not None:
        yield DAILY_SCANS_TWICE.at(daily, "Scans run at timeOfDay, and also every `interval` hours.")
    for kind in ("dailyConfiguration", "weeklyConfiguration"):
        minutes = managed.integer("scheduledScan", kind, "timeOfDay")
        if minutes is not None and 1380 < minutes <= 1440:
            yield TIME_OF_DAY_NOT_PORTABLE.at(
                ("scheduledScan", kind, "timeOfDay"), f"The portal accepts at most 1380, not {minutes}."
            )


def scans_run(managed: ManagedConfig) -> bool:
    """Whether the schedule has any scan. A value of a wrong type counts as set, because another rule reports it."""
    daily, weekly = (managed.value("scheduledScan", name) for name in ("dailyConfiguration", "weeklyConfiguration"))
    by_day = isinstance(daily, dict) and ("timeOfDay" in daily or daily.get("interval", 0) != 0)
    return by_day or (isinstance(weekly, dict) and weekly.get("dayOfWeek", 0) != 0)


def _merge_policy(managed: ManagedConfig) -> Iterator[Finding]:
    where = (ENGINE, "exclusionsMergePolicy")
    if managed.has(*where) and managed.value("exclusionSettings", "mergePolicy") == "admin_only":
        yield MERGE_POLICY_OVERRIDDEN.at(
            where, "exclusionSettings.mergePolicy is admin_only and applies to these exclusions too."
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
