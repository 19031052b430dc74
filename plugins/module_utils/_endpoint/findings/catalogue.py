"""All findings about an endpoint, one record for each id. Private to the mde.offline collection."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function, unicode_literals

__metaclass__ = type

# Ids are a public contract. Severities, hints, the order of findings, the tables of the diagnosis and
# docs/findings-health.md (`make docs`) are made from these records and are written nowhere else.

import re

from ansible_collections.mde.offline.plugins.module_utils._endpoint import agent_versions

# Why a host does not update, and what shows that it does not.
CAUSE, SYMPTOM = "cause", "symptom"


class Record:
    """What is known about one finding.

    `remedy` is the hint that users read; `means` and `seen` are for the documentation. Texts name the constants of
    agent_versions as {v.NAME}.

    `step` is the step of the diagnosis that shows the finding, `rows` are the rows of `mdatp health` that prove it.
    `role` is CAUSE or SYMPTOM if the finding concerns updates. `rank` orders the causes, from the installation to the
    update, since each cause hides the later ones; symptoms follow. A warning with `explains` comes directly after the
    causes if there is a symptom.
    """

    def __init__(self, id, severity, means, seen, remedy, step=None, rows=(), role=None, rank=None, explains=False):  # pylint: disable=redefined-builtin
        self.id = id
        self.severity = severity
        self.means = means.format(v=agent_versions)
        self.seen = seen.format(v=agent_versions)
        self.remedy = remedy.format(v=agent_versions)
        self.step = step
        self.rows = rows
        self.role = role
        self.rank = rank
        self.explains = explains


# Sections of the documentation: title, introduction, records. The order of the records is the order in which findings
# of the same severity are reported.
SECTIONS = (
    (
        "The agent cannot be queried",
        "",
        (
            Record(
                "not_installed",
                "error",
                means="The agent is not installed on this host, or only a link to its command is left.",
                seen="There is no command `mdatp` in `PATH`, at `/usr/bin/mdatp`, at "
                "`/opt/microsoft/mdatp/sbin/wdavdaemonclient` or at the custom installation path that "
                "`/etc/opt/microsoft/mdatp/mde_path.json` names; or the path in the option `mdatp` is not a command.",
                remedy="Install the agent (package mdatp), or set the option mdatp to the path of the command. If only "
                "the link is missing: ln -s /opt/microsoft/mdatp/sbin/wdavdaemonclient /usr/bin/mdatp.",
                step="agent",
                role=CAUSE,
                rank=10,
            ),
            Record(
                "mdatp_cannot_run",
                "error",
                means="The command exists, but cannot run on this host.",
                seen="The mode of the command does not allow execution, the system refused to start it (a binary for "
                "another architecture, a missing interpreter), the loader did not find a library, or a signal such as "
                "SIGSEGV ended it.",
                remedy="Reinstall the agent's package for this distribution and architecture. Check the mode of the "
                "command (chmod 0755), that /opt is not mounted noexec, and with ldd that all libraries are found.",
                step="agent",
                role=CAUSE,
                rank=20,
            ),
            Record(
                "daemon_unreachable",
                "error",
                means="The command exists, but the daemon does not answer it. The host is not protected.",
                seen="`mdatp health` ended with a status other than 0 and printed no table, or reported that it could "
                "not connect.",
                remedy="Read systemctl status mdatp and journalctl -u mdatp; start and enable the service (systemctl "
                "enable --now mdatp). After a start, the daemon needs some seconds before it answers.",
                step="agent",
                role=CAUSE,
                rank=70,
            ),
            Record(
                "mdatp_hangs",
                "error",
                means="The command did not finish in time and was stopped.",
                seen="The command ran longer than the option `timeout` allows.",
                remedy="Run it again, or with a longer timeout. If it hangs again, restart the service mdatp and read "
                "its log in /var/log/microsoft/mdatp.",
                step="agent",
                role=CAUSE,
                rank=60,
            ),
            Record(
                "health_unreadable",
                "error",
                means="The agent printed something that is not a health table.",
                seen="Neither the JSON nor the text form has a row such as `healthy` or `app_version`. The return "
                "value `raw` has the output.",
                remedy="Run mdatp health on the host and compare its output with the return value raw; if the agent is "
                "a supported release, report the output.",
                step="agent",
                role=CAUSE,
                rank=80,
            ),
        ),
    ),
    (
        "Version and licence of the agent",
        "",
        (
            Record(
                "agent_expired",
                "error",
                means="This release of the agent has expired. Each release works for nine months; an expired one still "
                "gets definitions, but reports a missing licence.",
                seen="`product_expiration` is in the past. A missing licence on such a host is a consequence and is "
                "not reported as `not_licensed`.",
                remedy="Upgrade the agent package: each release works for nine months. Onboarding again does not help.",
                step="agent",
                rows=("app_version", "product_expiration", "licensed"),
                role=CAUSE,
                rank=390,
            ),
            Record(
                "not_licensed",
                "error",
                means="The host was not onboarded, or its tenant has no valid licence.",
                seen="`licensed` is false, `health_issues` names a missing licence, or the agent printed its warning "
                "`No license found`; and `product_expiration` is not in the past.",
                remedy="Onboard the host with the onboarding package of your tenant (mdatp_onboard.json) and wait a "
                "minute. If the host was onboarded before, check that the licence of the tenant is valid.",
                step="agent",
                rows=("licensed", "org_id", "health_issues"),
                role=CAUSE,
                rank=400,
            ),
            Record(
                "agent_too_old",
                "error",
                means="The agent does not support offline updates and ignores their settings.",
                seen="`app_version` is lower than {v.OFFLINE_UPDATES_X86_64} (x86_64), {v.OFFLINE_UPDATES_ARM64} "
                "(arm64) or {v.OFFLINE_UPDATES_MACOS} (macOS, recognised by its rows). Agents of 2020 and before only "
                "have `mdatp --health` and print their version as `version_engine`; both are understood.",
                remedy="Upgrade the agent package; older agents ignore the settings of offline updates.",
                step="agent",
                rows=("app_version",),
                role=CAUSE,
                rank=90,
            ),
            Record(
                "engine_too_old",
                "warning",
                means="The engine on this host is too old for the check of signatures, which is enabled.",
                seen="`engine_version` is lower than {v.SIGNATURE_CHECK_ENGINE}, and "
                "`offline_definition_update_verify_sig` is `enabled`.",
                remedy="Update the definitions once from the cloud or with a newer agent package: both bring a newer "
                "engine. Until then the signatures of packages cannot be checked.",
                step="offline_settings",
                rows=("engine_version", "offline_definition_update_verify_sig"),
                role=CAUSE,
                rank=360,
                explains=True,
            ),
            Record(
                "agent_expires_soon",
                "warning",
                means="This release of the agent expires within 30 days.",
                seen="`product_expiration` is less than 30 days away.",
                remedy="Upgrade the agent package before that day; an expired agent reports a missing licence.",
                step="agent",
                rows=("app_version", "product_expiration"),
            ),
        ),
    ),
    (
        "The configuration",
        "",
        (
            Record(
                "managed_config_not_applied",
                "error",
                means="The agent does not take its settings for offline updates from the managed configuration.",
                seen="`offline_definition_update` or `offline_definition_url_configured` is not marked `[managed]`.",
                remedy="Check that /etc/opt/microsoft/mdatp/managed/mdatp_managed.json exists, is valid JSON and has "
                "offlineDefinitionUpdate and offlineDefinitionUpdateUrl in antivirusEngine (the module managed_config "
                "writes them there), and that no portal policy sets them too.",
                step="offline_settings",
                rows=("offline_definition_update", "offline_definition_url_configured"),
                role=CAUSE,
                rank=150,
            ),
            Record(
                "offline_updates_disabled",
                "error",
                means="The agent does not use a mirror.",
                seen="`offline_definition_update` is not `enabled`.",
                remedy='Set antivirusEngine.offlineDefinitionUpdate to "enabled" in the managed configuration.',
                step="offline_settings",
                rows=("offline_definition_update",),
                role=CAUSE,
                rank=160,
            ),
            Record(
                "mirror_url_missing",
                "error",
                means="Offline updates are enabled, but no mirror is configured.",
                seen="`offline_definition_update` is `enabled`, and `offline_definition_url_configured` is empty.",
                remedy="Set antivirusEngine.offlineDefinitionUpdateUrl in the managed configuration to the address or "
                "folder that contains the arch_* folders.",
                step="offline_settings",
                rows=("offline_definition_url_configured",),
                role=CAUSE,
                rank=170,
            ),
            Record(
                "url_contains_arch",
                "error",
                means="The configured address is too long: it points inside the folder of a channel. The agent appends "
                "`arch_x86_64` or `arch_arm64` itself, so it does not find the package.",
                seen="`offline_definition_url_configured` has a part `arch_*` or ends in `.zip`.",
                remedy="End the address at the folder that contains the arch_* folders, for example "
                "http://mirror/linux/production/; the agent appends the rest.",
                step="address",
                rows=("offline_definition_url_configured",),
                role=CAUSE,
                rank=190,
            ),
            Record(
                "mirror_url_differs",
                "error",
                means="The host is configured for another mirror than expected.",
                seen="`offline_definition_url_configured` is not the option `mirror_url`. The case of the host name, a "
                "default port, credentials and a final slash do not count; the scheme, the port and the case of the "
                "path do.",
                remedy="Apply the managed configuration to this host again, or correct the expected address. If the "
                "difference comes back, a portal policy sets the address too.",
                step="source",
                rows=("offline_definition_url_configured",),
                role=CAUSE,
                rank=200,
            ),
        ),
    ),
    (
        "The updates",
        "",
        (
            Record(
                "mirror_unreachable",
                "error",
                means="This host cannot reach the mirror.",
                seen="`manifest.json` for the architecture of the host could not be fetched from the address (without "
                "a proxy) or read from the folder within ten seconds.",
                remedy="Check name resolution, routes, firewalls and TLS between this host and the mirror, or that the "
                "share is mounted; then check that the web server of the mirror runs.",
                step="answer",
                role=CAUSE,
                rank=240,
            ),
            Record(
                "mirror_answer_unusable",
                "error",
                means="The server answered, but not as a mirror does.",
                seen="The answer to the request for `manifest.json` was an HTTP error, an HTML page, or something "
                "other than JSON with `DefinitionVersion` and `EngineVersion`; or the address is neither http(s) nor "
                "an absolute path.",
                remedy="Check the address (it ends at the folder that contains the arch_* folders) and the files on "
                "the mirror; run a sync on the mirror.",
                step="published",
                role=CAUSE,
                rank=250,
            ),
            Record(
                "source_not_mirror",
                "error",
                means="The definitions on this host did not come from the mirror. A silent fallback to the cloud looks "
                "like this.",
                seen="`definitions_update_source_uri` is neither below `offline_definition_url_configured` nor below "
                "the option `mirror_url`. After a change of the mirror, newer definitions of the former one are "
                "reported as `ahead_of_mirror` instead, if the new one was seen to serve the package.",
                remedy="Run mdatp definitions update and read definitions_update_fail_reason to see why the mirror was "
                "not used. To make such a failure visible, set antivirusEngine.offlineDefinitionUpdateFallbackToCloud "
                "to false.",
                step="source",
                rows=("definitions_update_source_uri", "offline_definition_url_configured"),
                role=SYMPTOM,
                rank=520,
            ),
            Record(
                "update_failed",
                "error",
                means="The last attempt to update failed. After a change of the mirror, the finding is a warning while "
                "the host keeps newer definitions of the former one and was seen to get its package from the new one.",
                seen="`definitions_update_fail_reason` is not empty. Its texts are not documented, so they are "
                "reported as they are.",
                remedy="Make the mirror reachable from this host, check its updates.zip, then run mdatp definitions "
                "update.",
                step="fail_reason",
                rows=("definitions_update_fail_reason",),
                role=SYMPTOM,
                rank=510,
            ),
            Record(
                "on_withdrawn_release",
                "error",
                means="This host has a release that a rollback withdrew from its channel. The operator of the mirror "
                "does not want hosts to have it.",
                seen="`definitions_version` and `engine_version` are those of a release in the list `withdrawn` of the "
                "channel in the `status.json` of the mirror, and not those that the mirror publishes.",
                remedy="Run the role or the playbook endpoints, which brings the host to what its channel serves; or "
                "the module definitions_update with version=mirror and exact=true. If the version does not change, the "
                "agent may refuse definitions that are older than its own.",
                step="published",
                rows=("definitions_version", "engine_version"),
                role=SYMPTOM,
                rank=505,
            ),
            Record(
                "definitions_unavailable",
                "error",
                means="The agent has no definitions that it can use, or does not know whether it has any.",
                seen="`definitions_status` is `unavailable`.",
                remedy="Run mdatp definitions update; if nothing changes, restart the service mdatp and check free "
                "space in /var.",
                step="fail_reason",
                rows=("definitions_status", "definitions_version"),
                role=SYMPTOM,
                rank=530,
            ),
            Record(
                "definitions_stale",
                "error",
                means="The definitions are too old. The finding is a warning while `definitions_status` is `updating`.",
                seen="`definitions_updated_minutes_ago` (or else `definitions_updated`) exceeds the option "
                "`max_age_hours`, by default seven days; or `definitions_status` is `out_of_date`.",
                remedy="Check that the definitions on the mirror are current, then run mdatp definitions update on the "
                "host (module definitions_update).",
                step="fail_reason",
                rows=("definitions_status", "definitions_updated", "definitions_updated_minutes_ago"),
                role=SYMPTOM,
                rank=540,
            ),
            Record(
                "definitions_status_unusual",
                "warning",
                means="The agent reports a status that is not documented.",
                seen="`definitions_status` is not one of `up_to_date`, `updating`, `out_of_date` and `unavailable`.",
                remedy="Run mdatp definitions update and read mdatp health --details definitions.",
                step="fail_reason",
                rows=("definitions_status",),
            ),
            Record(
                "behind_mirror",
                "warning",
                means="The mirror publishes newer definitions than this host has. This is normal for some hours after "
                "a release.",
                seen="`definitions_version` is lower than `DefinitionVersion` in the `manifest.json` of the mirror.",
                remedy="Wait for the next interval, or run the module definitions_update with version=mirror.",
                step="published",
                rows=("definitions_version",),
                role=SYMPTOM,
                rank=550,
            ),
            Record(
                "ahead_of_mirror",
                "info",
                means="This host has newer definitions than the mirror publishes, and keeps them: the host had another "
                "mirror before, or the mirror has not synced.",
                seen="`definitions_version` is higher than `DefinitionVersion` in the `manifest.json` of the mirror, "
                "or equal with a newer engine, and is not in the list `withdrawn` of the channel in "
                "`status.json`. `updates.zip` for this host was requested, to see whether the host can update from the "
                "mirror; if it cannot, `mirror_package_missing` says so.",
                remedy="Run a sync on the mirror if it should have newer definitions. The host updates again when the "
                "mirror publishes something newer; endpoint_lower: always brings it to what the mirror publishes now.",
                step="published",
                rows=("definitions_version", "definitions_update_source_uri"),
            ),
        ),
    ),
    (
        "The protection",
        "",
        (
            Record(
                "real_time_protection_unavailable",
                "error",
                means="Real-time protection is enabled, but its subsystem does not work.",
                seen="`real_time_protection_enabled` is true and `real_time_protection_available` is false or "
                "unavailable; or both are unavailable.",
                remedy="Linux: check fanotify in the kernel (preflight_info) and other products that use it, then "
                "restart the service mdatp. macOS: approve the system extensions.",
                step="agent",
                rows=(
                    "real_time_protection_enabled",
                    "real_time_protection_available",
                    "real_time_protection_subsystem",
                ),
                role=SYMPTOM,
                rank=570,
            ),
            Record(
                "engine_not_loaded",
                "error",
                means="Real-time protection is enabled, but the antivirus engine is not loaded. With real-time "
                "protection disabled this is normal and not reported. While `definitions_status` is `updating` the "
                "finding is a warning, since the first definitions bring the engine.",
                seen="`engine_load_status` says that the engine is not loaded, and `real_time_protection_enabled` is "
                "true.",
                remedy="Update the definitions from a package that is not damaged; check that /var is not mounted "
                "noexec (agents before {v.COPES_WITH_NOEXEC_VAR}).",
                step="agent",
                rows=("engine_load_status", "real_time_protection_enabled", "engine_version"),
                role=SYMPTOM,
                rank=560,
            ),
            Record(
                "passive_mode",
                "warning",
                means="The agent updates only before scans, not by its own timer. New installations are passive by "
                "default. The severity is only `info` if the level is marked `[managed]` (the level is intended) and "
                "the definitions are fresh (something else updates them).",
                seen="`antivirus_enforcement_level` is `passive` or `on_demand`. Without that row (agents before "
                "{v.ENFORCEMENT_LEVEL_ROW}), `passive_mode_enabled` is true or `real_time_protection_enabled` is "
                "false. For the level `audit` nothing is documented, so it is not reported.",
                remedy="Set antivirusEngine.enforcementLevel to real_time, or schedule the module definitions_update; "
                "at any other level the agent does not update by its own timer.",
                step="enforcement",
                rows=("antivirus_enforcement_level", "passive_mode_enabled", "real_time_protection_enabled"),
                role=CAUSE,
                rank=330,
                explains=True,
            ),
            Record(
                "automatic_updates_disabled",
                "warning",
                means="The agent does not update by itself. The finding is a warning, since this is intended if "
                "Ansible runs the updates.",
                seen="`automatic_definition_update_enabled` is false.",
                remedy="Set cloudService.automaticDefinitionUpdateEnabled to true, or schedule the module "
                "definitions_update.",
                step="enforcement",
                rows=("automatic_definition_update_enabled",),
                role=CAUSE,
                rank=340,
                explains=True,
            ),
            Record(
                "fallback_to_cloud_enabled",
                "info",
                means="When the mirror fails, the host downloads from Microsoft without any message. The finding is a "
                "warning if that has happened (`source_not_mirror`).",
                seen="`offline_definition_update_fallback_to_cloud` is true.",
                remedy="Keep the setting if these hosts may download from Microsoft; otherwise set "
                "antivirusEngine.offlineDefinitionUpdateFallbackToCloud to false.",
                step="source",
                rows=("offline_definition_update_fallback_to_cloud",),
            ),
            Record(
                "signature_check_off",
                "warning",
                means="The agent accepts packages without checking their signature.",
                seen="`offline_definition_update_verify_sig` is `disabled`, and the agent is older than "
                "{v.SIGNATURE_ROW_DEPRECATED}, which prints `DEPRECATED` there.",
                remedy='Set features.offlineDefinitionUpdateVerifySig to "enabled", so that the agent refuses a '
                "package that was tampered with.",
                step="offline_settings",
                rows=("offline_definition_update_verify_sig", "app_version"),
            ),
            Record(
                "engine_not_verified",
                "warning",
                means="The agent loads the engine without checking its signature.",
                seen="`engine_signature_verification` is `disabled`.",
                remedy="Enable the signature verification of the engine again; without it the agent loads an engine "
                "that was tampered with.",
                step="offline_settings",
                rows=("engine_signature_verification",),
            ),
            Record(
                "conflicting_applications",
                "warning",
                means="Another security product runs on the host. Two products that block through fanotify can stop "
                "the host.",
                seen="`conflicting_applications` is not empty.",
                remedy="Remove the other product, or exclude each product from the scans of the other; two products "
                "that block through fanotify can stop the host.",
                step="conflicts",
                rows=("conflicting_applications",),
                role=CAUSE,
                rank=420,
            ),
            Record(
                "source_unknown",
                "info",
                means="The agent does not report where its definitions came from, as before the first update.",
                seen="`definitions_update_source_uri` is empty or unavailable.",
                remedy="Do nothing before the first update; afterwards run mdatp definitions update and check again.",
                step="source",
                rows=("definitions_update_source_uri",),
            ),
            Record(
                "unhealthy",
                "error",
                means="The agent reports itself as unhealthy. The finding is a warning if the agent still updates "
                "its definitions, or names issues although it reports itself as healthy.",
                seen="`healthy` is false, or `health_issues` is not empty. For issues that are publicly known (a "
                "missing licence, SELinux denials, permissions of the log folder, a missing engine or event provider) "
                "the hint says what to do.",
                remedy="Work through the named issues; mdatp health --details help lists the parts that can be shown "
                "in detail.",
                step="agent",
                rows=("healthy", "health_issues"),
                role=SYMPTOM,
                rank=580,
            ),
        ),
    ),
    (
        "Found by the diagnosis",
        "`mde.offline.diagnosis_info` returns all findings above and these. It orders them by likelihood: errors that "
        "are causes, then warnings that explain a symptom, then symptoms (old definitions, a failed update), then "
        "other warnings.",
        (
            Record(
                "service_missing",
                "error",
                means="systemd has no unit for the agent, so the agent is never started.",
                seen="`systemctl show mdatp.service` reports `LoadState=not-found`, although the command `mdatp` "
                "exists.",
                remedy="Reinstall the agent's package; the package contains the unit mdatp.service.",
                step="service",
                role=CAUSE,
                rank=30,
            ),
            Record(
                "service_stopped",
                "error",
                means="The service of the agent does not run, or cannot be started because its unit is masked. The "
                "host is not protected.",
                seen="`ActiveState` of `mdatp.service` is `failed` or `inactive`, or its `LoadState` is `masked`.",
                remedy="Run systemctl enable --now mdatp; if the service stops again, read journalctl -u mdatp. A "
                "masked unit needs systemctl unmask mdatp first.",
                step="service",
                role=CAUSE,
                rank=50,
            ),
            Record(
                "service_disabled",
                "warning",
                means="The service is not started at boot: the host is not protected after its next reboot.",
                seen="`UnitFileState` of `mdatp.service` is `disabled` or similar.",
                remedy="Run systemctl enable mdatp; otherwise the agent does not start after a reboot. Package "
                "{v.SERVICE_LEFT_DISABLED[0]} leaves the service disabled.",
                step="service",
            ),
            Record(
                "managed_file_missing",
                "error",
                means="There is no managed configuration. The finding is a warning if the agent does not answer, "
                "since a policy may manage the agent. It is not reported if the settings for offline updates are "
                "managed without the file.",
                seen="There is no file at the path in the option `managed_file`. The evidence lists the content of its "
                "folder. It also names a file at `/etc/opt/microsoft/mdatp/mdatp_managed.json`, a common wrong place.",
                remedy="Write the managed configuration (module managed_config, role endpoint), or let a portal policy "
                "set it.",
                step="managed_file",
                role=CAUSE,
                rank=100,
            ),
            Record(
                "managed_file_unreadable",
                "error",
                means="The path of the managed configuration exists, but cannot be read as a file.",
                seen="It is a dangling link, a directory or a pipe, a permission is missing (the module did not run as "
                "root), or the disk reported an error. The evidence has the kind, the owner and the mode.",
                remedy="Make it a regular file that root can read, and run the module as root.",
                step="managed_file",
                role=CAUSE,
                rank=110,
            ),
            Record(
                "managed_file_invalid",
                "error",
                means="The file is not one strict JSON object. The agent ignores the whole file.",
                seen="A syntax error, a duplicate name, a byte order mark, UTF-16, or an empty file; the message has "
                "the line.",
                remedy="Correct the file by hand, or replace it with managed_config and state=replaced, which keeps a "
                "copy. The agent ignores an invalid file completely.",
                step="managed_file",
                role=CAUSE,
                rank=120,
            ),
            Record(
                "managed_file_writable",
                "error",
                means="Users other than root can change the managed configuration, and so switch protection off.",
                seen="The file, a folder above it or a symbolic link in its path belongs to a user other than root, is "
                "writable for its group or for everybody, or has an ACL that lets others write. Only the owner of a "
                "sticky folder counts. If the module runs as another user than root, that user and the group of the "
                "same name that has no other member count as root.",
                remedy="Run the role endpoint, or managed_config with protect: true. By hand: chown root, chmod go-w "
                "for each path in the message. Move the file if its folder has to belong to another user.",
                step="managed_file",
                role=CAUSE,
                rank=430,
            ),
            Record(
                "managed_file_incomplete",
                "error",
                means="Settings for offline updates are missing from the file, are in the wrong place, or have the "
                "wrong type. The finding is a warning if only an optional setting is misspelt.",
                seen="`offlineDefinitionUpdate` or `offlineDefinitionUpdateUrl` is missing from `antivirusEngine` (and "
                "no policy manages them). The evidence names keys that are spelt like the missing one, such as "
                "`offlineDefintionUpdateFallbackToCloud`, and the keys of the section.",
                remedy="Write offlineDefinitionUpdate and offlineDefinitionUpdateUrl into antivirusEngine, in exactly "
                "this spelling (the module managed_config checks it).",
                step="managed_file",
                role=CAUSE,
                rank=130,
                explains=True,
            ),
            Record(
                "managed_file_overruled",
                "error",
                means="The agent is managed with other values than the file has: a portal policy takes precedence over "
                "the file. The finding is a warning for the fallback to the cloud and for automatic updates.",
                seen="The value of a row marked `[managed]` differs from the value in the file.",
                remedy="Look for a portal policy that sets the same key, and keep one of the two. If the file was "
                "changed a moment ago, check again in a minute.",
                step="managed_file",
                role=CAUSE,
                rank=140,
            ),
            Record(
                "mirror_url_malformed",
                "error",
                means="The address of the mirror has a form that cannot work.",
                seen="The address is neither an http(s) URL nor an absolute path, has no usable host or port, has a "
                "user or a password, or has a query or a fragment. `file://` is not documented for the agent and "
                "counts as malformed.",
                remedy="Write http://host:port/linux/production/ or an absolute path. The address ends at the folder "
                "that contains the arch_* folders.",
                step="address",
                role=CAUSE,
                rank=180,
            ),
            Record(
                "mirror_name_unresolved",
                "error",
                means="This host cannot resolve the host name of the mirror.",
                seen="The resolver of the system returned no address, or did not answer within five seconds. The "
                "evidence has the name servers.",
                remedy="Correct the host name, or configure a name server (or a line in /etc/hosts) that resolves it.",
                step="name",
                role=CAUSE,
                rank=210,
            ),
            Record(
                "mirror_port_unreachable",
                "error",
                means="The name is resolved, but no connection is established.",
                seen="The connection was refused, rejected or not answered within five seconds, for every address of "
                "the name.",
                remedy="Check that the web server of the mirror runs and listens on that port, and that no firewall on "
                "the way blocks it.",
                step="port",
                role=CAUSE,
                rank=220,
            ),
            Record(
                "mirror_tls_failed",
                "error",
                means="A connection is established, but TLS fails, or this system does not trust the certificate.",
                seen="The authority is unknown, the certificate is for another name or has expired, or the server does "
                "not speak TLS. The check uses the authorities that Python trusts on this host; the evidence has "
                "subject and issuer of the certificate if `openssl` is installed.",
                remedy="Add the certificate authority of the mirror to the trusted ones of this host, and use a "
                "certificate that is valid now and has the host name of the address.",
                step="tls",
                role=CAUSE,
                rank=230,
            ),
            Record(
                "mirror_package_missing",
                "error",
                means="The mirror publishes versions, but not the package that belongs to them.",
                seen="`manifest.json` exists, and `updates.zip` is missing, refused, empty or not a zip file.",
                remedy="Run a sync on the mirror and read its errors; check that the web server may read the new files "
                "(mode, SELinux label).",
                step="answer",
                role=CAUSE,
                rank=260,
            ),
            Record(
                "mirror_redirects",
                "error",
                means="The mirror redirects its clients. It is not documented whether the agent follows redirects, so "
                "the modules do not follow them. The finding is a warning if only `updates.zip` is redirected.",
                seen="The request for `manifest.json` or `updates.zip` was answered with a status from 300 to 399.",
                remedy="Configure the address that the mirror redirects to; it is not documented whether the agent "
                "follows redirects.",
                step="answer",
                role=CAUSE,
                rank=280,
                explains=True,
            ),
            Record(
                "mirror_stale",
                "error",
                means="The definitions on the mirror are too old, so no endpoint can be up to date.",
                seen="The age of the definitions in `status.json` or `release.json` of the mirror, or else of the file "
                "`updates.zip`, exceeds the option `max_age_hours`. The evidence has the last sync, its errors, and "
                "whether the channel is held.",
                remedy="Run mde-mirror status on the mirror: check the last sync, its timer and log, and whether the "
                "channel is held.",
                step="age",
                role=CAUSE,
                rank=270,
            ),
            Record(
                "filesystem_read_only",
                "error",
                means="New definitions cannot be written.",
                seen="The folder of definitions is on a file system that is mounted `ro`.",
                remedy="Mount the file system read-write; check the disk first if the kernel made it read-only.",
                step="storage",
                role=CAUSE,
                rank=290,
            ),
            Record(
                "clock_differs",
                "warning",
                means="The clocks of this host and of the mirror differ. The validity of certificates and the age of "
                "definitions depend on the clock.",
                seen="The time in the answer of the mirror and the clock of this host are more than ten minutes apart.",
                remedy="Set the clock that is wrong (chronyc tracking, timedatectl); the validity of certificates and "
                "the age of definitions depend on it.",
                step="answer",
                role=CAUSE,
                rank=380,
                explains=True,
            ),
            Record(
                "selinux_denials",
                "warning",
                means="SELinux denied an access by the agent.",
                seen="The audit log of the last day has AVC lines with `denied` for mdatp, wdavdaemon or "
                "`/opt/microsoft`. These lines are the evidence.",
                remedy="Read the denials with ausearch -m AVC -ts recent. For wrong labels run restorecon -R "
                "/opt/microsoft /var/opt/microsoft; otherwise load a policy module (audit2allow).",
                step="log",
                role=CAUSE,
                rank=320,
                explains=True,
            ),
            Record(
                "agent_known_fault",
                "warning",
                means="Updates do not work, and this release of the agent has a published fault that may be the "
                "reason. The finding is not reported if updates work.",
                seen="`app_version` is from {v.UPDATE_FAULTS[0]} to before {v.UPDATE_FAULTS[1]} (updates of "
                "definitions), from {v.DROP_INS_DELETED[0]} to before {v.DROP_INS_DELETED[1]} (deletes the drop-ins of "
                "its unit), or {v.SERVICE_LEFT_DISABLED[0]} (leaves its service disabled).",
                remedy="Upgrade the agent package to the release that fixes the fault, or to a newer one.",
                step="agent",
                role=CAUSE,
                rank=370,
                explains=True,
            ),
            Record(
                "proxy_configured",
                "info",
                means="The agent has a proxy. It is not documented whether the agent uses it to reach a mirror.",
                seen="The managed configuration, the row `proxy`, `/etc/environment`, or the environment of the unit "
                "`mdatp` names a proxy.",
                remedy="Do nothing if the agent reaches the mirror. Otherwise bypass the proxy for the mirror "
                "(no_proxy): it is not documented whether the agent uses the proxy to reach a mirror.",
                step="proxy",
            ),
            Record(
                "tls_inspected",
                "warning",
                means="A device between this host and Microsoft inspects TLS, and the agent refuses the connection. "
                "Offline updates from the mirror are not affected.",
                seen="`mdatp connectivity test` fails with curl error 35 or 60 for cloud addresses.",
                remedy="Exempt the addresses of Microsoft from TLS inspection; the agent pins their certificates. "
                "Offline updates from the mirror are not affected.",
                step="connectivity",
            ),
        ),
    ),
    (
        "Requirements",
        "`mde.offline.preflight_info` measures these. The diagnosis reports some of them too.",
        (
            Record(
                "offline_updates_impossible",
                "error",
                means="This host runs EL 6 (Red Hat, CentOS or Oracle). The last agent for EL 6 is {v.LAST_EL6}; "
                "offline updates begin with {v.OFFLINE_UPDATES_X86_64}. No configuration can change that.",
                seen="`/etc/redhat-release`, `/etc/centos-release` or `/etc/oracle-release` names EL 6.",
                remedy="Move the workload of this host to a supported release; no configuration can help. Until then "
                "the host needs another protection.",
            ),
            Record(
                "distribution_unsupported",
                "error",
                means="Microsoft does not support the agent on this distribution or release.",
                seen="`/etc/os-release` or a release file, compared with [the list](support-matrix.md). The finding is "
                "not reported if the release cannot be determined.",
                remedy="Move to a supported release, or ask Microsoft. The agent may run, but Microsoft does not "
                "support it.",
            ),
            Record(
                "architecture_unsupported",
                "error",
                means="There is no agent for this processor, or none for this processor on this distribution.",
                seen="The architecture of the machine is neither x86_64 nor arm64, or it is arm64 on a release that is "
                "supported on x86_64 only.",
                remedy="Use a host with x86_64, or a distribution that is supported on arm64.",
            ),
            Record(
                "kernel_too_old",
                "error",
                means="The kernel is older than 3.10.0-327.",
                seen="The release of the kernel, compared number by number.",
                remedy="Update the kernel to 3.10.0-327 or later and reboot.",
            ),
            Record(
                "fanotify_missing",
                "error",
                means="The kernel cannot report accesses to files to the agent, or let the agent block them.",
                seen="`/boot/config-*` lacks `CONFIG_FANOTIFY` or `CONFIG_FANOTIFY_ACCESS_PERMISSIONS`; without that "
                "file, `/proc/sys/fs/fanotify` and `/proc/kallsyms` are examined.",
                remedy="Boot a kernel with CONFIG_FANOTIFY and CONFIG_FANOTIFY_ACCESS_PERMISSIONS; the kernels of the "
                "supported distributions have both.",
            ),
            Record(
                "fanotify_conflict",
                "error",
                means="Another product may block accesses to files through fanotify. Two such products can stop the "
                "host. The finding is a warning if the agent is passive, if a known product runs but was not seen to "
                "block, and always in the diagnosis.",
                seen="A process has a fanotify group of a blocking class in `/proc/*/fdinfo` (which only root can "
                "read), the row `conflicting_applications` names a product, or a process of a known product runs.",
                remedy="Remove the other product, or run the agent in passive mode; two products that block through "
                "fanotify can stop the host.",
                step="conflicts",
                role=CAUSE,
                rank=410,
            ),
            Record(
                "fapolicyd_conflict",
                "error",
                means="fapolicyd also blocks accesses to files through fanotify.",
                seen="A process `fapolicyd` runs, and the agent is neither passive nor {v.BESIDE_FAPOLICYD} or later "
                "on RHEL or Fedora.",
                remedy="Stop fapolicyd, or run the agent in passive mode; on RHEL and Fedora, agent "
                "{v.BESIDE_FAPOLICYD} or later can run together with fapolicyd.",
            ),
            Record(
                "ebpf_unavailable",
                "info",
                means="The kernel is older than those that Microsoft names for the eBPF sensor. Without eBPF the agent "
                "works, but sees fewer events of files and connections. Updates of definitions do not need it.",
                seen="The release of the kernel is lower than 3.10.0-957 (EL 7), or between 4.0 and 4.15.",
                remedy="Do nothing if this is acceptable: the agent then gets its events from Netlink (or from auditd, "
                "before {v.WITHOUT_AUDITD}) and sees fewer events of files and connections. Updates of definitions do "
                "not need eBPF.",
            ),
            Record(
                "systemd_missing",
                "error",
                means="The host was not booted with systemd, which the service of the agent needs. Most containers "
                "have no systemd.",
                seen="There is no folder `/run/systemd/system`.",
                remedy="Use a distribution with systemd; the service of the agent is a systemd unit.",
            ),
            Record(
                "glibc_too_old",
                "error",
                means="The C library is older than 2.17 (rpm) or 2.23 (deb).",
                seen="The version of the C library of the Python that runs the module.",
                remedy="Move to a release of the distribution with a newer C library.",
            ),
            Record(
                "disk_space_low",
                "error",
                means="There is not enough free space. The finding is a warning in the preflight of a host that "
                "already has the agent, and in the diagnosis if at least 500 MB are free.",
                seen="Less than 2 GB is free for `/opt/microsoft/mdatp` or for the folder of definitions (4 GB in the "
                "preflight if optional diagnostic data is enabled), or no inodes are left.",
                remedy="Free space, or enlarge the file system; engine and definitions are unpacked there.",
                step="storage",
                role=CAUSE,
                rank=300,
                explains=True,
            ),
            Record(
                "filesystem_noexec",
                "error",
                means="The engine cannot be loaded from this file system. The finding is a warning for `/var` if "
                "the agent is not installed yet, since new agents also work with such a `/var`.",
                seen="`/opt/microsoft/mdatp` or the folder of definitions is mounted `noexec`; for `/var`, only with "
                "agents before {v.COPES_WITH_NOEXEC_VAR}.",
                remedy="Mount the file system without noexec, or upgrade the agent to {v.COPES_WITH_NOEXEC_VAR} or "
                "later, which then keeps definitions below /opt/microsoft/mdatp.",
                step="storage",
                role=CAUSE,
                rank=310,
            ),
            Record(
                "memory_too_small",
                "warning",
                means="The host has less than 1 GB of memory.",
                seen="`MemTotal` is below 850 MB; the kernel reserves a part of 1 GB.",
                remedy="Give the host at least 1 GB of memory; 4 GB are preferred.",
            ),
            Record(
                "cores_too_few",
                "warning",
                means="The host has one processor core; the documentation requires two. Newer pages of Microsoft "
                "accept one.",
                seen="`/proc/cpuinfo` lists one processor.",
                remedy="Give the host at least 2 cores; 4 are preferred.",
            ),
            Record(
                "wdavdaemon_not_executable",
                "error",
                means="The daemon cannot be started.",
                seen="`/opt/microsoft/mdatp/sbin/wdavdaemon` exists, and its owner may not execute it.",
                remedy="Run chmod 0755 /opt/microsoft/mdatp/sbin/wdavdaemon and restart the service mdatp; or "
                "reinstall the package.",
                step="service",
                role=CAUSE,
                rank=40,
            ),
            Record(
                "install_path_unsupported",
                "warning",
                means="The agent is installed in a custom path, which agents before {v.CUSTOM_PATH} do not support.",
                seen="`/opt/microsoft/mdatp` is a link, and the agent is older than {v.CUSTOM_PATH}.",
                remedy="Install the agent in its default path, or upgrade it: a custom path needs {v.CUSTOM_PATH} or "
                "later.",
            ),
            Record(
                "agent_release_old",
                "warning",
                means="The release of the agent is older than nine months, its lifetime. The finding `agent_expired` "
                "of the health uses the exact day.",
                seen="Year and month in the version of the agent (101.26062 is from June 2026).",
                remedy="Upgrade the agent: each release works for nine months, and only the newest ones get full "
                "support.",
            ),
            Record(
                "auditd_missing",
                "warning",
                means="Agents before {v.WITHOUT_AUDITD} get their events from auditd, and auditd does not run.",
                seen="The agent is older than {v.WITHOUT_AUDITD}, and there is no process `auditd`.",
                remedy="Start auditd, or upgrade the agent: {v.WITHOUT_AUDITD} and later do not need it.",
            ),
            Record(
                "mdatp_user_unusual",
                "warning",
                means="User and group `mdatp` are not as the package expects them.",
                seen="One of the two is missing from `/etc/passwd` and `/etc/group`, the user has another primary "
                "group, or its shell is not `/usr/sbin/nologin`. The finding is not reported if both are missing: "
                "the package creates them.",
                remedy="Before the installation, create user and group with these values: "
                "mdatp:x:UID:GID::/home/mdatp:/usr/sbin/nologin. Or remove both, and the package creates its own.",
            ),
            Record(
                "packages_missing",
                "warning",
                means="Packages that the agent depends on are not installed. The severity is only `info` before the "
                "agent is installed, since its package installs them.",
                seen="None of the files of a package exists. `mde-netfilter` is not checked: it comes from the "
                "repository of the agent.",
                remedy="Install the missing packages from a repository that this host can reach; the agent's package "
                "depends on them.",
            ),
            Record(
                "proxy_unsupported",
                "error",
                means="A proxy is configured that the agent cannot use.",
                seen="A PAC or WPAD address, a user or a password, a missing scheme or one other than http(s), an "
                "invalid port, or an example from the documentation; in the environment, `/etc/environment`, the unit "
                "`mdatp`, its drop-ins and environment files, or the managed configuration.",
                remedy="Use a transparent proxy, or a static one without user and password: http://host:port.",
                step="proxy",
                role=CAUSE,
                rank=350,
            ),
            Record(
                "filesystems_not_scanned",
                "info",
                means="Real-time protection, quick scans and full scans skip these file systems.",
                seen="The table of mounts has types other than btrfs, ecryptfs, ext2-4, fuse, fuseblk, jfs, nfs 3, "
                "overlay, ramfs, reiserfs, tmpfs, udf, vfat, xfs.",
                remedy="Do nothing if this is acceptable: real-time protection and full scans skip these file systems; "
                "a custom scan covers some of them.",
            ),
        ),
    ),
)
RECORDS = tuple(record for _title, _introduction, records in SECTIONS for record in records)
BY_ID = {record.id: record for record in RECORDS}

# What to do about issues that the agent names in health_issues; other issues are reported without advice.
_ISSUES = (
    ("no licen[sc]e|missing licen[sc]e", "See agent_expired and not_licensed."),
    (
        "selinux denials",
        "SELinux: read ausearch -m AVC -ts recent for mdatp and wdavdaemon, load a policy module for it (audit2allow), "
        "or wait a day after a fresh installation.",
    ),
    (
        "log folder permission",
        "Log folder: chmod 0775 /var/log/microsoft/mdatp and give the group mdatp rwx on it.",
    ),
    (
        "engine .*not available|engine .*not loaded",
        "Engine: check that /var is not mounted noexec (agents before {v.COPES_WITH_NOEXEC_VAR}), then update the "
        "definitions.",
    ),
    (
        "supplementary event provider",
        "Events: look for conflicting audit rules (agents that use auditd), or a kernel without eBPF.",
    ),
    (
        "no active event provider",
        "Events: check fanotify in the kernel and other security products; on macOS approve the system extensions.",
    ),
    (
        "full disk access|network event provider",
        "macOS: approve the system extensions and full disk access, by hand or with a profile.",
    ),
)
ISSUES = tuple((re.compile(pattern, re.IGNORECASE), advice.format(v=agent_versions)) for pattern, advice in _ISSUES)
