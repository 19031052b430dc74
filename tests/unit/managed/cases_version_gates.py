"""Cases for the findings of version_gates.py: id -> (cases with it, near misses without it).

A case is a configuration, a text, or a pair of either and an agent's version.
"""

from __future__ import annotations

from tests.unit.managed.builders import GOOD_URL, NEW, OLD, RT, av, mirror, path, sensors

CASES = {
    "key_too_new": (
        [
            (mirror(GOOD_URL), "101.23122.0001"),
            (path("/a/b"), OLD),
            ({"scheduledScan": {}}, "101.26031.9999"),
            (av(scanArchives=True), "101.44.99"),
            (sensors(sendLowfiEvents="enabled"), OLD),
        ],
        [
            (mirror(GOOD_URL), "101.24022.0001"),
            mirror(GOOD_URL),
            (path("/a/b"), "101.24092.0001"),
            ({"scheduledScan": {}}, "101.26032.0000"),
            (av(MemoryScan=True), OLD),
            (av(**RT), OLD),
        ],
    ),
    "value_too_new": (
        [(av(enforcementLevel="audit"), "101.26062.0005"), (path("/a/b", scopes=["epp", "global"]), "101.24082.0004")],
        [
            (av(enforcementLevel="audit"), "101.26062.0007"),
            (path("/a/b"), "101.24082.0004"),
            av(enforcementLevel="audit"),
            (av(enforcementLevel="passive"), OLD),
        ],
    ),
    "verify_sig_dead": (
        [
            {"features": {"offlineDefinitionUpdateVerifySig": "enabled"}},
            ({"features": {"offlineDefinitionUpdateVerifySig": "disabled"}}, NEW),
        ],
        [({"features": {"offlineDefinitionUpdateVerifySig": "enabled"}}, "101.26052.0012"), mirror(GOOD_URL)],
    ),
    "edr_tags_broken": (
        [({"edr": {"tags": [{"key": "GROUP", "value": "MDE-Management"}]}}, "101.24032.0007")],
        [
            ({"edr": {"tags": [{"key": "GROUP", "value": "MDE-Management"}]}}, v)
            for v in ("101.24042.0002", "101.24022.0001")
        ]
        + [{"edr": {"tags": [{"key": "GROUP", "value": "MDE-Management"}]}}],
    ),
}
