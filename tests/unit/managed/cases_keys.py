"""Cases for the findings of keys.py: id -> (cases with it, near misses without it).

A case is a configuration, a text, or a pair of either and an agent's version.
"""

from __future__ import annotations

from tests.unit.managed.builders import HTTP_URL, av, cloud, legacy, mirror, path, proxy, sensors

CASES = {
    "unknown_key": (
        [
            {"foo": 1},
            av(somethingElse=1),
            {"info": "x"},
            {"_comment": "x"},
            {"edr": {"tags": [{"key": "GROUP", "value": "v", "name": "x"}]}},
            {"scheduledScan": {"enabled": True}},
            {1: 2},
        ],
        [
            av(behaviourMonitoring="enabled"),
            {"behaviorMonitoring": "enabled"},
            {"userInterface": {}},
            {"$schema": "x"},
            {"MemoryScan": True},
        ],
    ),
    "misspelt_key": (
        [
            av(offlineDefintionUpdateFallbackToCloud=False),
            {"AntivirusEngine": {}},
            {"antivirus_engine": {}},
            av(behaviourMonitoring="enabled"),
            av(enablePassiveMode=True),
            cloud(automaticSampleSubmission=True),
            av(offlineDefinitionUpdateURL="x"),
            cloud(definitionUpdateInterval=1),
            path("/a", is_directory=True),
        ],
        [
            av(offlineDefinitionUpdateFallbackToCloud=False),
            av(foo=1),
            cloud(automaticSampleSubmissionConsent="safe"),
            {"enforcementLevel": "passive"},
        ],
    ),
    "misplaced_key": (
        [
            {"behaviorMonitoring": "enabled"},
            {"scanResultsRetentionDays": 90},
            av(cloudService={}),
            {"features": {"offlineDefinitionUpdate": "enabled"}},
            sensors(enableAntivirusEngineCache="enabled"),
            {"features": {"behaviorMonitoring": "enabled"}},
            {"antivirusEngine.enforcementLevel": "passive"},
            legacy({"$type": "excludedPath", "path": "/a", "scopes": ["epp"]}),
            {"exclusions": []},
            {"features": {"sendLowfiEvents": "enabled"}},
            {"behaviourMonitoring": "enabled"},
        ],
        [
            av(behaviorMonitoring="enabled"),
            {"features": {"enableAntivirusEngineCache": "enabled"}},
            {"name": 1},
            {"enabled": True},
            sensors(sendLowfiEvents="enabled"),
        ],
    ),
    "not_linux_key": (
        [
            {"userInterface": {}},
            {"tamperProtection": {}},
            {"deviceControl": {}},
            {"dlp": {}},
            {"features": {"dataLossPrevention": "enabled"}},
            {"networkProtection": {"disableDnsParsing": True}},
            cloud(definitionUpdateDue=7),
            {"edr": {"earlyPreview": "enabled"}},
        ],
        [
            {"networkProtection": {"disableIcmpInspection": True}},
            cloud(definitionUpdatesInterval=28800),
            {"edr": {"groupIds": "a"}},
        ],
    ),
    "memory_scan_unresolved": (
        [
            av(MemoryScan="Enabled"),
            {"memoryScan": True},
            {"features": {"MemoryScan": "Disabled"}},
            cloud(MemoryScan=True),
        ],
        [av(scanArchives=True)],
    ),
    "editor_key": ([{"$schema": "https://example.com/schema.json"}], [{"edr": {}}, av(**{"$schema": "x"})]),
    "placeholder_value": (
        [
            proxy("http://proxy.server:port/"),
            {"edr": {"groupIds": "GroupIdExample"}},
            {"edr": {"tags": [{"key": "GROUP", "value": "Tag"}]}},
            av(allowedThreats=["<EXAMPLE DO NOT USE>EICAR"]),
            path("/run<EXAMPLE DO NOT USE>"),
            mirror("{{ url }}"),
            mirror("http://www.example.server.com:8000/linux/production/"),
            mirror("http://<mirror>/linux/production/"),
            {"foo": ["CHANGEME"]},
            proxy("proxy.server:port"),
        ],
        [
            proxy("http://proxy.example.com:3128/"),
            {"edr": {"tags": [{"key": "GROUP", "value": "Tags"}]}},
            mirror(HTTP_URL),
            {"edr": {"groupIds": "Tag"}},
            path("/srv/{a}"),
        ],
    ),
}
