"""Health findings: each is reported if its cause is in the record, and missing rows cause no finding."""

from __future__ import annotations

import pytest
from ansible_collections.mde.offline.plugins.module_utils._endpoint.agent import health_parser, health_rules
from ansible_collections.mde.offline.plugins.module_utils._endpoint.diagnosis import steps
from ansible_collections.mde.offline.plugins.module_utils._endpoint.findings import catalogue
from hypothesis import given, settings
from hypothesis import strategies as st

NOW = 1770120000  # 2026-02-03T12:00:00Z
MIRROR = "http://mirror.example.com/linux/production/"

GOOD = {
    "healthy": True,
    "health_issues": [],
    "licensed": True,
    "app_version": "101.26062.0005",
    "org_id": "00000000-1111-2222-3333-444444444444",
    "product_expiration": "2026-10-10T13:34:28Z",
    "passive_mode_enabled": False,
    "antivirus_enforcement_level": "real_time",
    "real_time_protection_enabled": True,
    "engine_load_status": "Engine load succeeded",
    "automatic_definition_update_enabled": True,
    "definitions_updated": "2026-02-03T08:15:42Z",
    "definitions_updated_minutes_ago": 225,
    "definitions_version": "1.443.508.0",
    "definitions_status": "up_to_date",
    "definitions_update_source_uri": MIRROR,
    "definitions_update_fail_reason": "",
    "offline_definition_url_configured": MIRROR,
    "offline_definition_update": "enabled",
    "offline_definition_update_verify_sig": "DEPRECATED",
    "engine_signature_verification": "enabled",
    "offline_definition_update_fallback_to_cloud": False,
    "conflicting_applications": [],
}
MANAGED = ["offline_definition_update", "offline_definition_url_configured"]


def found(changes=(), without=(), managed=MANAGED, notices=(), **options):
    fields = {name: value for name, value in dict(GOOD, **dict(changes)).items() if name not in without}
    record = {"fields": fields, "managed": list(managed), "notices": list(notices), "format": "json"}
    return health_rules.health_findings(record, **dict({"now": NOW}, **options))


def ids(*arguments, **options):
    return {(entry["id"], entry["severity"]) for entry in found(*arguments, **options)}


def test_a_good_host_has_no_findings():
    assert found(mirror_url=MIRROR, mirror_versions={"definitions_version": "1.443.508.0"}) == []


CLOUD = "https://go.microsoft.com/fwlink/?linkid=2144709"
GEO = "https://mdav.eu.endpoint.security.microsoft.com/packages/?ostype=linux"


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"licensed": False}, {("not_licensed", "error")}),
        ({"app_version": "101.23122.0002"}, {("agent_too_old", "error")}),
        ({"app_version": "101.98.89"}, {("agent_too_old", "error")}),
        ({"product_expiration": "2026-02-03T11:59:59Z"}, {("agent_expired", "error")}),
        ({"product_expiration": "2026-02-20T00:00:00Z"}, {("agent_expires_soon", "warning")}),
        ({"definitions_updated_minutes_ago": 8 * 1440}, {("definitions_stale", "error")}),
        ({"definitions_status": "out_of_date"}, {("definitions_stale", "error")}),
        ({"definitions_status": "unavailable"}, {("definitions_unavailable", "error")}),
        ({"definitions_status": None}, {("definitions_unavailable", "error")}),
        ({"definitions_status": "could_be_older"}, {("definitions_status_unusual", "warning")}),
        ({"definitions_status": "updating"}, set()),
        ({"definitions_update_fail_reason": "Connection refused"}, {("update_failed", "error")}),
        ({"definitions_update_fail_reason": None}, set()),
        ({"offline_definition_update": "disabled"}, {("offline_updates_disabled", "error")}),
        ({"offline_definition_url_configured": ""}, {("mirror_url_missing", "error")}),
        ({"definitions_update_source_uri": CLOUD}, {("source_not_mirror", "error")}),
        ({"definitions_update_source_uri": GEO}, {("source_not_mirror", "error")}),
        (
            {"definitions_update_source_uri": CLOUD, "offline_definition_update_fallback_to_cloud": True},
            {("source_not_mirror", "error"), ("fallback_to_cloud_enabled", "warning")},
        ),
        ({"offline_definition_update_fallback_to_cloud": True}, {("fallback_to_cloud_enabled", "info")}),
        ({"definitions_update_source_uri": ""}, {("source_unknown", "info")}),
        ({"definitions_update_source_uri": None}, {("source_unknown", "info")}),
        ({"offline_definition_url_configured": MIRROR + "arch_x86_64/"}, {("url_contains_arch", "error")}),
        ({"offline_definition_url_configured": MIRROR + "arch_x86_64/updates.zip"}, {("url_contains_arch", "error")}),
        ({"antivirus_enforcement_level": "passive"}, {("passive_mode", "warning")}),
        ({"antivirus_enforcement_level": "on_demand"}, {("passive_mode", "warning")}),
        ({"antivirus_enforcement_level": "audit"}, set()),
        ({"automatic_definition_update_enabled": False}, {("automatic_updates_disabled", "warning")}),
        ({"offline_definition_update_verify_sig": "disabled"}, set()),  # without effect since 101.26062.0005
        (
            {"offline_definition_update_verify_sig": "disabled", "app_version": "101.26052.0012"},
            {("signature_check_off", "warning")},
        ),
        ({"engine_signature_verification": "disabled"}, {("engine_not_verified", "warning")}),
        ({"engine_load_status": "Engine not loaded"}, {("engine_not_loaded", "error")}),
        ({"engine_load_status": "engine_not_loaded"}, {("engine_not_loaded", "error")}),
        (
            {"engine_load_status": "Engine not loaded", "definitions_status": "updating"},
            {("engine_not_loaded", "warning")},
        ),
        ({"conflicting_applications": ["other av", {"name": "x"}]}, {("conflicting_applications", "warning")}),
        ({"healthy": False, "health_issues": ["a, b"]}, {("unhealthy", "error")}),
        ({"healthy": False, "definitions_status": "updating"}, {("unhealthy", "warning")}),
        ({"health_issues": ["log folder permission issues"]}, {("unhealthy", "warning")}),
    ],
)
def test_one_thing_wrong(changes, wanted):
    assert ids(changes) == wanted


def test_passive_mode_that_somebody_wants_is_no_trouble_while_updates_come():
    passive = {"antivirus_enforcement_level": "passive"}
    wanted = [*MANAGED, "antivirus_enforcement_level"]
    assert ids(passive, managed=wanted) == {("passive_mode", "info")}
    old = dict(passive, definitions_updated_minutes_ago=8 * 1440)
    assert ids(old, managed=wanted) == {("passive_mode", "warning"), ("definitions_stale", "error")}
    published = {"definitions_version": "1.443.600.0"}
    assert ids(passive, managed=wanted, mirror_versions=published) == {
        ("passive_mode", "warning"),
        ("behind_mirror", "warning"),
    }


def test_the_level_of_the_antivirus_details_counts_where_health_has_none():
    changes = {"enforcement_level": "on_demand"}
    assert ids(changes, ["antivirus_enforcement_level"]) == {("passive_mode", "warning")}
    assert ids(changes) == set()


@pytest.mark.parametrize(
    ("enabled", "available", "wanted"),
    [
        (True, True, set()),
        (True, False, {("real_time_protection_unavailable", "error")}),
        (True, None, {("real_time_protection_unavailable", "error")}),
        (None, None, {("real_time_protection_unavailable", "error")}),
        (False, False, set()),
        (False, None, set()),
    ],
)
def test_real_time_protection_that_cannot_work(enabled, available, wanted):
    changes = {"real_time_protection_enabled": enabled, "real_time_protection_available": available}
    assert ids(changes) == wanted


def test_a_mac_is_judged_by_its_own_first_agent():
    mac = {"full_disk_access_enabled": True, "app_version": "101.24122.0005"}
    entries = found(mac)
    assert [entry["id"] for entry in entries] == ["agent_too_old"]
    assert "101.25012.0003" in entries[0]["message"]
    assert ids(dict(mac, app_version="101.25012.0003"), arch="arm64") == set()


def test_an_engine_that_cannot_check_signatures():
    old = {
        "app_version": "101.24022.0001",
        "engine_version": "1.1.23070.1002",
        "offline_definition_update_verify_sig": "enabled",
    }
    assert ids(old) == {("engine_too_old", "warning")}
    assert ids(dict(old, engine_version="1.1.23080.007")) == set()
    assert ids(dict(old, offline_definition_update_verify_sig="disabled")) == {("signature_check_off", "warning")}


def test_definitions_that_are_not_there_have_no_age():
    none = {
        "definitions_status": "unavailable",
        "definitions_updated": None,
        "definitions_updated_minutes_ago": 29000000,
    }
    assert ids(none) == {("definitions_unavailable", "error")}


def test_old_definitions_that_are_being_updated_are_a_warning():
    assert ids({"definitions_status": "updating", "definitions_updated_minutes_ago": 30 * 1440}) == {
        ("definitions_stale", "warning")
    }


@pytest.mark.parametrize(
    ("issue", "advice"),
    [
        ("found SELinux denials within last one day. Use command: x", "ausearch"),
        ("log folder permission issues", "/var/log/microsoft/mdatp"),
        ("engine v1 not available", "noexec"),
        ("no active supplementary event provider", "audit rules"),
        ("no active event provider", "fanotify"),
        ("full disk access has not been granted", "macOS"),
    ],
)
def test_known_issues_bring_their_remedy(issue, advice):
    entry = found({"healthy": False, "health_issues": [issue]})[0]
    assert (entry["id"], entry["severity"]) == ("unhealthy", "error")
    assert advice in entry["hint"]


def test_every_message_names_what_was_seen_and_every_hint_says_what_to_do():
    changes = {
        "offline_definition_url_configured": "http://other.example.com/linux/production/",
        "definitions_update_source_uri": CLOUD,
        "definitions_update_fail_reason": "Connection refused",
        "app_version": "101.23122.0002",
    }
    by_id = {entry["id"]: entry for entry in found(changes, mirror_url=MIRROR)}
    assert "101.23122.0002" in by_id["agent_too_old"]["message"]
    assert "101.24022.0001" in by_id["agent_too_old"]["message"]
    assert CLOUD in by_id["source_not_mirror"]["message"]
    assert "http://other.example.com/linux/production/" in by_id["mirror_url_differs"]["message"]
    assert MIRROR in by_id["mirror_url_differs"]["message"]
    assert "Connection refused" in by_id["update_failed"]["message"]
    for entry in by_id.values():
        assert set(entry) == {"id", "severity", "message", "hint"}
        assert entry["hint"]


def test_arm64_needs_a_newer_agent():
    assert ids({"app_version": "101.25012.0000"}, arch="arm64") == {("agent_too_old", "error")}
    assert ids({"app_version": "101.25022.0002"}, arch="arm64") == set()
    assert ids({"app_version": "101.25012.0000"}, arch="x86_64") == set()


def test_expired_and_unlicensed_are_distinguished():
    notice = "ATTENTION: No license found. Contact your administrator for help."
    missing = {"healthy": False, "health_issues": ["missing license"]}
    expired = ids(dict(missing, product_expiration="2026-01-01T00:00:00Z"), notices=[notice])
    assert expired == {("agent_expired", "error"), ("unhealthy", "error")}
    unlicensed = ids(dict(missing, licensed=False, product_expiration=None, org_id=None), notices=[notice])
    assert unlicensed == {("not_licensed", "error"), ("unhealthy", "error")}


def test_old_agents_show_the_enforcement_level_in_two_rows():
    without = ["antivirus_enforcement_level"]
    assert ids({"passive_mode_enabled": True}, without) == {("passive_mode", "warning")}
    assert ids({"real_time_protection_enabled": False}, without) == {("passive_mode", "warning")}
    assert ids({"real_time_protection_enabled": None}, without) == set()
    passive = {"passive_mode_enabled": True, "real_time_protection_enabled": False}
    assert ids(dict(passive, engine_load_status="Engine not loaded"), without) == {("passive_mode", "warning")}


def test_age_comes_from_the_minutes_or_else_from_the_time():
    old = {"definitions_updated": "2026-01-20T00:00:00Z"}
    assert ids(old) == set()
    assert ids(old, ["definitions_updated_minutes_ago"]) == {("definitions_stale", "error")}
    assert ids(old, ["definitions_updated_minutes_ago"], max_age_hours=24 * 30) == set()
    assert ids({}, ["definitions_updated_minutes_ago", "definitions_updated"]) == set()
    assert ids({"definitions_updated_minutes_ago": 7 * 1440}) == set()


def test_behind_the_mirror():
    assert ids(mirror_versions={"definitions_version": "1.443.600.0"}) == {("behind_mirror", "warning")}
    assert ids(mirror_versions={"definitions_version": "1.443.508.0"}) == set()
    assert ids(mirror_versions={"definitions_version": "1.443.99.0"}) == {("ahead_of_mirror", "info")}
    assert ids({"definitions_version": None}, mirror_versions={"definitions_version": "1.443.600.0"}) == set()
    assert ids(mirror_versions=None) == set()


def mirror(version, *withdrawn, **more):
    """The result of read_mirror for a mirror with engine 1.1.2.0, which withdrew releases with the same engine."""
    listed = [{"definitions_version": release, "engine_version": "1.1.2.0"} for release in withdrawn]
    return {"definitions_version": version, "engine_version": "1.1.2.0", "withdrawn": listed, **more}


HAS = "1.443.508.0"
OTHER = "http://other.example.com/linux/production/"


@pytest.mark.parametrize(
    ("changes", "published", "wanted"),
    [
        ({}, mirror("1.443.99.0", HAS), {("on_withdrawn_release", "error")}),
        ({}, mirror("1.443.99.0", "1.443.507.0"), {("ahead_of_mirror", "info")}),
        ({}, mirror("1.443.600.0", HAS), {("on_withdrawn_release", "error"), ("behind_mirror", "warning")}),
        # A release that is served again is no longer withdrawn, whatever the list says.
        ({}, mirror(HAS, HAS), set()),
        ({"engine_version": "1.1.2.0"}, mirror(HAS, HAS), set()),
        # Releases that differ in their engines only.
        ({"engine_version": "1.1.3.0"}, mirror(HAS), {("ahead_of_mirror", "info")}),
        ({"engine_version": "1.1.1.0"}, mirror(HAS), set()),
        ({"engine_version": "1.1.3.0"}, mirror("1.443.99.0", HAS), {("ahead_of_mirror", "info")}),
        ({"definitions_version": None}, mirror("1.443.99.0", HAS), set()),
        # Newer definitions of another mirror stay if this mirror was seen to serve its package.
        (
            {"definitions_update_source_uri": OTHER},
            mirror("1.443.99.0", package_seen=True),
            {("ahead_of_mirror", "info")},
        ),
        (
            {"definitions_update_source_uri": OTHER},
            mirror("1.443.99.0", package_seen=False),
            {("ahead_of_mirror", "info"), ("source_not_mirror", "error")},
        ),
        (
            {"definitions_update_source_uri": OTHER},
            mirror("1.443.99.0", HAS, package_seen=True),
            {("on_withdrawn_release", "error"), ("source_not_mirror", "error")},
        ),
        ({"definitions_update_source_uri": OTHER}, mirror(HAS, package_seen=True), {("source_not_mirror", "error")}),
        (
            {"definitions_update_source_uri": OTHER, "definitions_update_fail_reason": "cannot connect"},
            mirror("1.443.99.0", package_seen=True),
            {("ahead_of_mirror", "info"), ("update_failed", "warning")},
        ),
        (
            {"definitions_update_fail_reason": "cannot connect"},
            mirror("1.443.99.0", package_seen=True),
            {("ahead_of_mirror", "info"), ("update_failed", "error")},
        ),
        # Another channel is not another mirror. Definitions from Microsoft may hide that the mirror does not work.
        (
            {"definitions_update_source_uri": "http://mirror.example.com/linux/preview/"},
            mirror("1.443.99.0", package_seen=True),
            {("ahead_of_mirror", "info"), ("source_not_mirror", "error")},
        ),
        (
            {"definitions_update_source_uri": CLOUD},
            mirror("1.443.99.0", package_seen=True),
            {("ahead_of_mirror", "info"), ("source_not_mirror", "error")},
        ),
    ],
)
def test_hosts_that_do_not_have_what_the_mirror_serves(changes, published, wanted):
    assert ids(changes, mirror_versions=published) == wanted


def test_the_age_of_older_definitions_is_named_where_it_matters():
    old = found(mirror_versions=mirror("1.443.99.0", age_hours=200, package_seen=True))[0]["message"]
    assert "200 hours old (the limit is 168)" in old
    assert "was seen to get its package" in old
    assert "hours old" not in found(mirror_versions=mirror("1.443.99.0", age_hours=2))[0]["message"]


@pytest.mark.parametrize(("managed", "wanted"), [([], 2), (["offline_definition_update"], 1), (MANAGED, 0)])
def test_managed_configuration_that_is_not_applied(managed, wanted):
    entries = found(managed=managed)
    assert [entry["id"] for entry in entries] == ["managed_config_not_applied"] * bool(wanted)
    for name in set(MANAGED) - set(managed):
        assert name in entries[0]["message"]


@pytest.mark.parametrize(
    "source",
    [
        MIRROR,
        MIRROR.rstrip("/"),
        "http://MIRROR.example.com:80/linux/production",
        "HTTP://mirror.example.com./linux//production/",
        MIRROR + "arch_x86_64/updates.zip",
        MIRROR + "arch_arm64",
        MIRROR + "arch_x86_64/updates.zip?x=1",
        "http://user:secret@mirror.example.com/linux/production/",
        "mirror.example.com/linux/production/",
        " " + MIRROR + " ",
    ],
)
def test_sources_that_are_the_mirror(source):
    assert ids({"definitions_update_source_uri": source}) == set()
    assert ids({"offline_definition_url_configured": source, "definitions_update_source_uri": MIRROR}) <= {
        ("url_contains_arch", "error")
    }


@pytest.mark.parametrize(
    "source",
    [
        "http://mirror.example.com/linux/production_back/",
        "http://mirror.example.com/linux/preview/",
        "http://mirror.example.com/Linux/production/",
        "http://mirror.example.com:8080/linux/production/",
        "https://mirror.example.com/linux/production/",
        "http://mirror.example.com.evil.example/linux/production/",
        "http://mirror.example.com/linux/",
        "/linux/production/",
        CLOUD,
    ],
)
def test_sources_that_are_not_the_mirror(source):
    assert ids({"definitions_update_source_uri": source}) == {("source_not_mirror", "error")}


@pytest.mark.parametrize(
    ("configured", "source", "same"),
    [
        ("/mnt/mde/linux/production", "/mnt/mde/linux/production/", True),
        ("/mnt/mde/linux/production", "file:///mnt/mde/linux/production/arch_x86_64/updates.zip", True),
        ("/mnt/./mde/linux/production/", "/mnt/mde/linux/production", True),
        ("/mnt/mde/linux/production", "/mnt/mde/linux/production2", False),
        ("/mnt/mde/linux/production", "/mnt/MDE/linux/production", False),
        ("http://[2001:db8::1]:8000/linux/production/", "http://[2001:DB8::1]:8000/linux/production/", True),
        ("https://mirror:443/linux/production/", "https://mirror/linux/production/arch_x86_64/", True),
        ("www.example.com:8000/linux/production/", "http://www.example.com:8000/linux/production/", True),
    ],
)
def test_directories_ports_and_addresses_without_scheme(configured, source, same):
    wanted = set() if same else {("source_not_mirror", "error")}
    changes = {"offline_definition_url_configured": configured, "definitions_update_source_uri": source}
    assert ids(changes) == wanted


def test_the_expected_address_counts_beside_the_configured_one():
    other = "http://other.example.com/linux/production/"
    # The configuration changed after the last update, so the address is right and the source is explained.
    assert ids({"definitions_update_source_uri": other}, mirror_url=other) == {("mirror_url_differs", "error")}
    without = ["offline_definition_url_configured"]
    assert ids({"definitions_update_source_uri": CLOUD}, without, mirror_url=MIRROR) == {("source_not_mirror", "error")}
    assert ids({"definitions_update_source_uri": CLOUD}, without) == set()


def test_credentials_are_never_shown():
    url = "http://user:secret@other.example.com/linux/production/"
    entries = found({"offline_definition_url_configured": url, "definitions_update_fail_reason": "GET " + url})
    assert len(entries) >= 2
    assert "secret" not in repr(entries)


@pytest.mark.parametrize(
    ("output", "wanted"),
    [
        ("Could not connect to the daemon", "daemon_unreachable"),
        ("Failed to connect", "daemon_unreachable"),
        ("bash: mdatp: command not found", "not_installed"),
        ("", "health_unreadable"),
        ("what is this", "health_unreadable"),
        ('ATTENTION: No license found. Contact your administrator for help. ["missing license"]', "not_licensed"),
    ],
)
def test_output_without_a_table(output, wanted):
    assert [entry["id"] for entry in health_rules.health_findings(health_parser.parse(output))] == [wanted]


def test_errors_come_first_and_causes_before_effects():
    entries = found(
        {"healthy": False, "licensed": False, "passive_mode_enabled": True, "definitions_update_source_uri": ""},
        ["antivirus_enforcement_level"],
        managed=[],
    )
    assert [entry["id"] for entry in entries] == [
        "not_licensed",
        "managed_config_not_applied",
        "unhealthy",
        "passive_mode",
        "source_unknown",
    ]


@given(st.sets(st.sampled_from(sorted(GOOD))), st.data())
@settings(max_examples=150)
def test_missing_rows_make_no_findings(without, data):
    assert found({}, without, mirror_url=MIRROR) == [] or without >= set(GOOD)


ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=5,
)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(GOOD, ANYTHING)), st.text(max_size=20))
@settings(max_examples=300)
def test_no_value_makes_them_raise(fields, url):
    record = {"fields": fields, "managed": [], "notices": [], "format": "text"}
    for entry in health_rules.health_findings(record, mirror_url=url, mirror_versions={"definitions_version": url}):
        assert entry["severity"] in ("error", "warning", "info")


def test_every_record_of_the_catalogue_is_whole():
    assert len(catalogue.BY_ID) == len(catalogue.RECORDS)
    steps_of_diagnosis = {name for name, _title, _number in steps.STEPS}
    for record in catalogue.RECORDS:
        assert record.severity in ("error", "warning", "info"), record.id
        assert all(text.endswith((".", "sudo")) for text in (record.means, record.seen, record.remedy)), record.id
        assert record.step is None or record.step in steps_of_diagnosis, record.id
        assert (record.role is None) == (record.rank is None), record.id
        assert record.step or not (record.rows or record.role), record.id
        assert record.severity != "error" or not record.explains or record.role == catalogue.CAUSE, record.id


def test_causes_come_before_symptoms_and_no_two_share_a_rank():
    ranked = sorted((record for record in catalogue.RECORDS if record.role), key=lambda record: record.rank)
    assert len({record.rank for record in ranked}) == len(ranked)
    roles = [record.role for record in ranked]
    assert roles == sorted(roles), "cause < symptom"


def test_every_error_that_the_diagnosis_reports_has_a_role():
    reported = [record for record in catalogue.RECORDS if record.step and record.severity == "error"]
    assert [record.id for record in reported if record.role is None] == []
