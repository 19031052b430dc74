"""Cases for the findings of hardening.py: id -> (cases with it, near misses without it).

A case is a configuration, a text, or a pair of either and an agent's version.
"""

from __future__ import annotations

from tests.unit.managed.builders import DAILY, RT, av, cloud, merged, path

CASES = {
    "enforcement_level_missing": (
        [{}, cloud(enabled=True), {"enforcementLevel": "real_time"}],
        [av(**RT), av(enforcementLevel="passive"), av(enforcementLevel="x")],
    ),
    "enforcement_level_not_real_time": (
        [av(enforcementLevel=level) for level in ("passive", "on_demand", "audit")],
        [av(**RT), {}, av(enforcementLevel="x")],
    ),
    "cloud_protection_off": ([cloud(enabled=False)], [cloud(enabled=True), cloud(enabled=0), {}]),
    "automatic_updates_off": (
        [cloud(automaticDefinitionUpdateEnabled=False)],
        [cloud(automaticDefinitionUpdateEnabled=True), {}],
    ),
    "sample_submission_none": (
        [cloud(automaticSampleSubmissionConsent="none")],
        [cloud(automaticSampleSubmissionConsent="safe")],
    ),
    "pua_off": (
        [av(threatTypeSettings=[{"key": "potentially_unwanted_application", "value": "off"}])],
        [
            av(
                threatTypeSettings=[
                    {"key": "potentially_unwanted_application", "value": "audit"},
                    {"key": "archive_bomb", "value": "off"},
                ]
            )
        ],
    ),
    "allowed_threats": (
        [av(allowedThreats=["Trojan:Linux/X"])],
        [av(allowedThreats=[]), av(allowedThreats=[""]), av(allowedThreats=["EICAR-Test-File (not a virus)"])],
    ),
    "eicar_allowed": ([av(allowedThreats=["EICAR-Test-File (not a virus)"])], [av(allowedThreats=["Trojan:Linux/X"])]),
    "merge_policy_open": (
        [{}, {"exclusionSettings": {"mergePolicy": "merge"}}],
        [{"exclusionSettings": {"mergePolicy": "admin_only"}}],
    ),
    "threat_actions_open": (
        [{}, av(disallowedThreatActions=["allow"])],
        [av(disallowedThreatActions=["restore", "allow"])],
    ),
    "noexec_mounts_muted": ([av(nonExecMountPolicy="mute")], [av(nonExecMountPolicy="unmute")]),
    "filesystem_unmonitored": (
        [av(unmonitoredFilesystems=["nfs", "ext4"])],
        [av(unmonitoredFilesystems=["cifs", "Fuse", "nfs", "nfs4", "smb"]), av(unmonitoredFilesystems=["nfs,ext4"])],
    ),
    "filesystem_name_case": ([av(unmonitoredFilesystems=["Fuse"])], [av(unmonitoredFilesystems=["fuse"])]),
    "nfs_monitored": (
        [av(unmonitoredFilesystems=["fuse"]), av(unmonitoredFilesystems=[])],
        [av(unmonitoredFilesystems=["nfs"]), {}, av(unmonitoredFilesystems=["nfs,fuse"])],
    ),
    "broad_exclusions_never_scanned": (
        [merged(path("/home"), av(scheduledScan="enabled"), {"scheduledScan": DAILY})],
        [
            merged(path("/home"), av(scheduledScan="enabled"), {"scheduledScan": {**DAILY, "ignoreExclusions": True}}),
            merged(path("/srv/x"), av(scheduledScan="enabled"), {"scheduledScan": DAILY}),
            path("/home"),
        ],
    ),
    "network_protection_preview": (
        [{"networkProtection": {"enforcementLevel": "block"}}],
        [{"networkProtection": {"enforcementLevel": "disabled"}}, {"networkProtection": {"enforcementLevel": "on"}}],
    ),
    "diagnostic_level_optional": ([cloud(diagnosticLevel="optional")], [cloud(diagnosticLevel="required")]),
    "threat_type_repeated": (
        [av(threatTypeSettings=[{"key": "archive_bomb", "value": "off"}, {"key": "archive_bomb", "value": "block"}])],
        [av(threatTypeSettings=[{"key": "archive_bomb", "value": "off"}])],
    ),
    "edr_tag_repeated": (
        [{"edr": {"tags": [{"key": "GROUP", "value": "a"}, {"key": "GROUP", "value": "b"}]}}],
        [{"edr": {"tags": [{"key": "GROUP", "value": "a"}]}}],
    ),
}
