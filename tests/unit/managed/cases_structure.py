"""Cases for the findings of structure.py: id -> (cases with it, near misses without it).

A case is a configuration, a text, or a pair of either and an agent's version.
"""

from __future__ import annotations

from tests.unit.managed.builders import EPP, av, cloud, excl, ext, legacy, name, path, sensors

CASES = {
    "wrong_type": (
        [
            av(offlineDefinitionUpdate=True),
            av(scanArchives="true"),
            av(maximumOnDemandScanThreads="2"),
            av(scanArchives=1),
            {"antivirusEngine": []},
            av(exclusions={}),
            av(enforcementLevel=None),
            path("/a", isDirectory="true"),
            cloud(proxy=8080),
            cloud(definitionUpdatesInterval=1.5),
            cloud(definitionUpdatesInterval=True),
            {"edr": {"groupIds": ["a"]}},
            av(scheduledScan={"weeklyScan": {}}),
            {"scheduledScan": "enabled"},
            av(scanResultsRetentionDays="ninety"),
            {"cloudService": "prod"},
            {"antivirusEngine": '{"enforcementLevel": "real_time"}'},
            {"edr": {"tags": ["a"]}},
            {"edr": {"tags": {"GROUP": "a"}}},
            excl("/opt/a"),
            cloud(proxy={"host": "h", "port": 1}),
        ],
        [
            av(offlineDefinitionUpdate="enabled"),
            av(scanArchives=True),
            av(scanResultsRetentionDays="90"),
            path("/a", isDirectory=False),
        ],
    ),
    "number_as_string": (
        [av(scanResultsRetentionDays="90"), av(scanHistoryMaximumItems="10000")],
        [
            av(scanResultsRetentionDays=90),
            av(scanHistoryMaximumItems="many"),
            av(maximumOnDemandScanThreads="2"),
            av(scanResultsRetentionDays="365"),
        ],
    ),
    "invalid_value": (
        [
            av(enforcementLevel="Real_Time"),
            av(enforcementLevel="realtime"),
            sensors(enablePseudofsCalls="diabled"),
            {"edr": {"tags": [{"key": "SecurityWorkspaceId", "value": "a"}]}},
            path("/a", scopes=["all"]),
            cloud(diagnosticLevel="full"),
        ],
        [
            av(enforcementLevel="audit"),
            path("/a", scopes=["epp", "global"]),
            cloud(cloudBlockLevel="high_plus"),
            legacy({"$type": "folder"}),
        ],
    ),
    "invalid_exclusion_type": (
        [
            legacy({"$type": "folder", "path": "/a"}),
            excl({"$type": "process", **EPP}),
            legacy({"$type": "ExcludedPath", "path": "/a"}),
        ],
        [path("/a"), ext(".a"), name("/a"), legacy({"path": "/a"})],
    ),
    "out_of_range": (
        [
            av(maximumOnDemandScanThreads=0),
            av(maximumOnDemandScanThreads=65),
            av(scanResultsRetentionDays=181),
            av(scanHistoryMaximumItems=4999),
            av(scanResultsRetentionDays="365"),
            cloud(definitionUpdatesInterval=-1),
            {"scheduledScan": {"randomizeScanStartTime": 24}},
            {"scheduledScan": {"weeklyConfiguration": {"dayOfWeek": 9}}},
            {"scheduledScan": {"dailyConfiguration": {"timeOfDay": 1441}}},
        ],
        [
            av(maximumOnDemandScanThreads=1),
            av(maximumOnDemandScanThreads=64),
            cloud(definitionUpdatesInterval=0),
            {"scheduledScan": {"weeklyConfiguration": {"dayOfWeek": 8}}},
            cloud(definitionUpdatesInterval=90000),
        ],
    ),
    "missing_property": (
        [
            legacy({"$type": "excludedPath"}),
            legacy({"path": "/a"}),
            ext(""),
            {"edr": {"tags": [{"key": "GROUP"}]}},
            av(threatTypeSettings=[{"key": "archive_bomb"}]),
            legacy({}),
            av(allowedThreats=[""]),
        ],
        [
            path("/a"),
            {"edr": {"tags": [{"key": "GROUP", "value": "a"}]}},
            legacy({"$type": "excludedFileName", "name": "/a"}),
        ],
    ),
    "foreign_property": (
        [
            name("/a", path="/a"),
            ext(".a", isDirectory=False),
            path("/a", name="/a"),
            legacy({"$type": "excludedFileName", "path": "/a"}),
        ],
        [path("/a", isDirectory=False), name("/a"), legacy({"$type": "excludedPath", "path": "/a"})],
    ),
    "scopes_empty": ([path("/a", scopes=[])], [path("/a"), path("/a", scopes=["global"])]),
    "filesystem_name_list": (
        [av(unmonitoredFilesystems=["nfs,fuse"]), av(unmonitoredFilesystems=["nfs fuse"])],
        [av(unmonitoredFilesystems=["nfs", "fuse"]), av(unmonitoredFilesystems=[])],
    ),
}
