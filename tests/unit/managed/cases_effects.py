"""Cases for the findings of effects.py: id -> (cases with it, near misses without it).

A case is a configuration, a text, or a pair of either and an agent's version.
"""

from __future__ import annotations

from tests.unit.managed.builders import DAILY, GOOD_URL, NEW, OLD, RT, av, cloud, merged, mirror, sensors

CASES = {
    "no_timer_updates": (
        [
            av(offlineDefinitionUpdate="enabled", offlineDefinitionUpdateUrl=GOOD_URL),
            mirror(GOOD_URL, enforcementLevel="passive"),
            mirror(GOOD_URL, enforcementLevel="on_demand"),
            merged(mirror(GOOD_URL), cloud(automaticDefinitionUpdateEnabled=False)),
            (av(offlineDefinitionUpdate="enabled"), NEW),
        ],
        [
            mirror(GOOD_URL),
            mirror(GOOD_URL, enforcementLevel="audit"),
            av(enforcementLevel="passive"),
            (av(offlineDefinitionUpdate="enabled"), OLD),
            merged(mirror(GOOD_URL), cloud(automaticDefinitionUpdateEnabled=True)),
        ],
    ),
    "timer_updates_unsure": (
        [mirror(GOOD_URL, enforcementLevel="audit")],
        [mirror(GOOD_URL), av(enforcementLevel="audit")],
    ),
    "offline_url_unused": (
        [
            av(offlineDefinitionUpdateUrl=GOOD_URL),
            av(offlineDefinitionUpdateUrl=GOOD_URL, offlineDefinitionUpdate="disabled"),
        ],
        [
            mirror(GOOD_URL),
            av(offlineDefinitionUpdateUrl=""),
            mirror(GOOD_URL, offlineDefinitionUpdate="Enabled"),
            mirror(GOOD_URL, offlineDefinitionUpdate=True),
        ],
    ),
    "offline_setting_unused": (
        [
            av(offlineDefinitionUpdateFallbackToCloud=False),
            {"features": {"offlineDefinitionUpdateVerifySig": "enabled"}},
        ],
        [mirror(GOOD_URL, offlineDefinitionUpdateFallbackToCloud=False)],
    ),
    "fallback_to_cloud_on": (
        [mirror(GOOD_URL, offlineDefinitionUpdateFallbackToCloud=True)],
        [
            mirror(GOOD_URL, offlineDefinitionUpdateFallbackToCloud=False),
            av(offlineDefinitionUpdateFallbackToCloud=True),
        ],
    ),
    "fallback_to_cloud_off": (
        [mirror(GOOD_URL, offlineDefinitionUpdateFallbackToCloud=False)],
        [mirror(GOOD_URL, offlineDefinitionUpdateFallbackToCloud=True), mirror(GOOD_URL)],
    ),
    "fallback_to_cloud_unset": (
        [mirror(GOOD_URL)],
        [mirror(GOOD_URL, offlineDefinitionUpdateFallbackToCloud=False), {}],
    ),
    "needs_real_time": (
        [
            av(behaviorMonitoring="enabled"),
            av(behaviorMonitoring="enabled", enforcementLevel="audit"),
            merged({"features": {"remediateInfectedFile": "enabled"}}, av(enforcementLevel="passive")),
        ],
        [
            av(behaviorMonitoring="enabled", **RT),
            av(behaviorMonitoring="disabled"),
            (av(behaviorMonitoring="enabled"), OLD),
            av(behaviorMonitoring="enabled", enforcementLevel="reel_time"),
        ],
    ),
    "scan_after_update_unused": (
        [av(scanAfterDefinitionUpdate=True, enforcementLevel="passive")],
        [av(scanAfterDefinitionUpdate=True, **RT), av(scanAfterDefinitionUpdate=False)],
    ),
    "needs_behavior_monitoring": (
        [
            {"features": {"moduleLoad": "enabled"}},
            sensors(enableRawSocketEvent="enabled"),
            av(scanNetworkSocketEvent=True, **RT),
            {"networkProtection": {"disableIcmpInspection": False}},
            merged(sensors(enableProcessCalls="enabled"), av(behaviorMonitoring="enabled", enforcementLevel="passive")),
        ],
        [
            merged({"features": {"moduleLoad": "enabled"}}, av(behaviorMonitoring="enabled", **RT)),
            sensors(enableFilePermissionEvents="enabled"),
            {"networkProtection": {"disableIcmpInspection": True}},
            {"features": {"moduleLoad": "disabled"}},
        ],
    ),
    "scan_switch_without_sensor": (
        [
            av(scanFileModifyPermissions=True),
            merged(av(scanFileModifyOwnership=True), sensors(enableFileOwnershipEvents="disabled")),
            av(scanNetworkSocketEvent=True),
        ],
        [
            merged(av(scanFileModifyPermissions=True), sensors(enableFilePermissionEvents="enabled")),
            av(scanFileModifyPermissions=False),
        ],
    ),
    "scheduled_scan_not_enabled": (
        [{"scheduledScan": DAILY}, merged(av(scheduledScan="disabled"), {"scheduledScan": DAILY})],
        [merged(av(scheduledScan="enabled"), {"scheduledScan": DAILY}), {"scheduledScan": {}}],
    ),
    "scheduled_scan_without_plan": (
        [
            av(scheduledScan="enabled"),
            merged(
                av(scheduledScan="enabled"),
                {"scheduledScan": {"weeklyConfiguration": {"dayOfWeek": 0}, "runScanWhenIdle": True}},
            ),
            merged(av(scheduledScan="enabled"), {"scheduledScan": {"dailyConfiguration": {"interval": 0}}}),
        ],
        [
            merged(av(scheduledScan="enabled"), {"scheduledScan": DAILY}),
            merged(av(scheduledScan="enabled"), {"scheduledScan": {"weeklyConfiguration": {"dayOfWeek": 8}}}),
            av(scheduledScan="disabled"),
        ],
    ),
    "daily_scans_twice": (
        [{"scheduledScan": {"dailyConfiguration": {"timeOfDay": 0, "interval": 6}}}],
        [
            {"scheduledScan": {"dailyConfiguration": {"timeOfDay": 60, "interval": 0}}},
            {"scheduledScan": {"dailyConfiguration": {"interval": 6}}},
        ],
    ),
    "time_of_day_not_portable": (
        [{"scheduledScan": {"dailyConfiguration": {"timeOfDay": 1381}}}],
        [
            {"scheduledScan": {"dailyConfiguration": {"timeOfDay": 1380}}},
            {"scheduledScan": {"dailyConfiguration": {"timeOfDay": 1500}}},
        ],
    ),
    "interval_zero": (
        [cloud(definitionUpdatesInterval=0)],
        [cloud(definitionUpdatesInterval=False), cloud(definitionUpdatesInterval=60)],
    ),
    "interval_short": (
        [cloud(definitionUpdatesInterval=1202), cloud(definitionUpdatesInterval=3599)],
        [
            cloud(definitionUpdatesInterval=3600),
            cloud(definitionUpdatesInterval=0),
            cloud(definitionUpdatesInterval=-5),
        ],
    ),
    "interval_long": (
        [cloud(definitionUpdatesInterval=86401)],
        [cloud(definitionUpdatesInterval=86400), cloud(definitionUpdatesInterval=28800)],
    ),
    "merge_policy_overridden": (
        [merged(av(exclusionsMergePolicy="merge"), {"exclusionSettings": {"mergePolicy": "admin_only"}})],
        [
            merged(av(exclusionsMergePolicy="admin_only"), {"exclusionSettings": {"mergePolicy": "merge"}}),
            {"exclusionSettings": {"mergePolicy": "admin_only"}},
        ],
    ),
    "deprecated_key": (
        [av(passiveMode=True), av(enableRealTimeProtection=True, **RT)],
        [av(**RT), {"features": {"offlineDefinitionUpdateVerifySig": "enabled"}}],
    ),
    "deprecated_key_disagrees": (
        [
            av(passiveMode=True, **RT),
            av(enableRealTimeProtection=False, **RT),
            av(enableRealTimeProtection=True, enforcementLevel="passive"),
            av(passiveMode=False, enforcementLevel="passive"),
            av(passiveMode=True, enableRealTimeProtection=True),
        ],
        [
            av(passiveMode=False, **RT),
            av(enableRealTimeProtection=True, **RT),
            av(passiveMode=True),
            av(passiveMode=True, enforcementLevel="passive"),
            av(passiveMode="true", **RT),
            av(passiveMode=True, enableRealTimeProtection=False),
            av(passiveMode=False, enableRealTimeProtection=True),
        ],
    ),
}
