"""The keys of the role mirror: a mirror that signs, a copy that trusts the key, and what is refused before that."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from simulators.download_service import DownloadService
from simulators.static_web_server import StaticWebServer
from tests.support.agent import NEW
from tests.support.ansible_runs import Ansible, Run
from tests.support.openpgp import Key
from tests.support.role_mirror import SYNC, WATCH, check_units, mirror_variables

SETTINGS, SIGNING, KEYRING = "settings.json", "signing-key.asc", "trusted-keys.asc"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Key, Key]:
    folder = tmp_path_factory.mktemp("keys")
    return Key(folder, "one"), Key(folder, "two")


@pytest.fixture
def first(ansible: Ansible, service: DownloadService, keys: tuple[Key, Key], tmp_path: Path) -> dict[str, Any]:
    """The variables of a mirror that signs. The path of its key is relative, as for `src` of the module copy."""
    (tmp_path / "files").mkdir()
    shutil.copy(keys[0].secret, tmp_path / "files" / "one.secret.asc")
    variables = {**mirror_variables(tmp_path / "mirror", service.url), "mirror_signing_key": "one.secret.asc"}
    # systemd-analyze requires that the account of the units exists.
    for name, option in (("mirror_user", "-un"), ("mirror_group", "-gn")):
        variables[name] = subprocess.run(["id", option], capture_output=True, text=True, check=True).stdout.strip()
    ansible.hosts["first"] = {"m": variables}
    return variables


@pytest.fixture
def copy(
    ansible: Ansible, first: dict[str, Any], served: StaticWebServer, keys: tuple[Key, Key], tmp_path: Path
) -> Any:
    """The variables of a copy of that mirror over http, which trusts an armoured and a binary key."""
    variables = {
        **mirror_variables(tmp_path / "copy", served.url),
        "mirror_source_type": "mirror",
        "mirror_source_trusted_keys": [str(keys[1].public), str(keys[0].binary)],
    }
    ansible.hosts["copies"] = {"c": variables}
    return variables


def beside_settings(variables: dict[str, Any]) -> dict[str, str]:
    """The files beside the settings, with their content."""
    folder = Path(variables["mirror_settings_file"]).parent
    return {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}


def mode(variables: dict[str, Any], name: str) -> str:
    return oct(stat.S_IMODE((Path(variables["mirror_settings_file"]).parent / name).stat().st_mode))


def status(variables: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(variables["mirror_root"]) / "status.json").read_text(encoding="utf-8"))
    return found


def shows(run: Run, key: Path) -> bool:
    """Whether the output has a line of an armoured key."""
    return any(line in run.output for line in key.read_text(encoding="utf-8").splitlines()[2:-1] if len(line) > 20)


def works(run: Run) -> Run:
    assert run.status == 0, run.output
    return run


def test_a_signing_mirror_and_its_copy(
    ansible: Ansible, first: dict[str, Any], copy: dict[str, Any], keys: tuple[Key, Key], service: DownloadService
) -> None:
    rehearsal = works(ansible.roles("mirror", "first", "--check", "--diff", "-vvv"))
    assert not Path(first["mirror_root"]).exists()
    done = works(ansible.roles("mirror", "first", "--diff", "-vvv"))
    for run in (rehearsal, done):
        assert run.recap["m"].changed > 0
        assert not shows(run, keys[0].secret)
    assert beside_settings(first)[SIGNING] == keys[0].secret.read_text(encoding="utf-8")
    assert mode(first, SIGNING) == "0o640"
    settings = json.loads(beside_settings(first)[SETTINGS])
    assert settings["signing"] == {"key": str(Path(first["mirror_settings_file"]).parent / SIGNING)}
    assert "signed" in status(first)
    assert "expires after 48 hours" in done.flat()
    assert f"{first['mirror_command']} status --sign --settings" in done.flat()
    assert works(ansible.roles("mirror", "first")).recap["m"].changed == 0

    works(ansible.roles("mirror", "copies", "--check", "--diff"))
    done = works(ansible.roles("mirror", "copies", "--diff"))
    assert status(copy)["origin"] == "signed"
    assert status(copy)["channels"][0]["sha256"] == status(first)["channels"][0]["sha256"]
    assert mode(copy, KEYRING) == "0o640"
    assert set(beside_settings(copy)) == {SETTINGS, KEYRING}
    assert "expires after 48 hours" not in done.flat()
    assert works(ansible.roles("mirror", "copies")).recap["c"].changed == 0

    # The copy no longer trusts the key of the mirror.
    service.publish(NEW, platform="linux", ring="production")
    works(ansible.roles("mirror", "first"))
    copy["mirror_source_trusted_keys"] = [str(keys[1].public)]
    refused = ansible.roles("mirror", "copies")
    assert refused.status == 2
    assert "which is not in the keyring" in refused.flat()

    copy.update(mirror_source_trusted_keys=[], mirror_source_unsigned=True)
    works(ansible.roles("mirror", "copies"))
    assert set(beside_settings(copy)) == {SETTINGS}
    assert status(copy)["origin"] == "unsigned"
    assert status(copy)["channels"][0]["definitions_version"] == NEW


def test_a_key_is_replaced_and_removed(
    ansible: Ansible, first: dict[str, Any], keys: tuple[Key, Key], tmp_path: Path
) -> None:
    # The second key is encrypted with Ansible Vault.
    (tmp_path / "password").write_text("open sesame\n", encoding="utf-8")
    vault = ("--vault-password-file", str(tmp_path / "password"))
    encrypted = tmp_path / "files" / "two.vault"
    command = [ansible.program[0], "-m", "ansible", "vault", "encrypt", "--output", str(encrypted), *vault]
    subprocess.run([*command, str(keys[1].secret)], check=True, capture_output=True)
    first["mirror_sync"] = False
    works(ansible.roles("mirror", "first"))
    first["mirror_signing_key"] = encrypted.name

    replaced = works(ansible.roles("mirror", "first", "--diff", "-vvv", *vault))
    assert beside_settings(first)[SIGNING] == keys[1].secret.read_text(encoding="utf-8")
    assert not shows(replaced, keys[0].secret)
    assert not shows(replaced, keys[1].secret)

    first["mirror_signing_key"] = ""
    rehearsal = works(ansible.roles("mirror", "first", "--check"))
    assert "changed: [m]" in rehearsal.task("Remove keys that are not wanted")
    removed = works(ansible.roles("mirror", "first", "--diff", "-vvv"))
    assert set(beside_settings(first)) == {SETTINGS}
    assert "signing" not in json.loads(beside_settings(first)[SETTINGS])
    assert not shows(removed, keys[1].secret)
    assert works(ansible.roles("mirror", "first")).recap["m"].changed == 0


def test_absent_removes_the_keys(
    ansible: Ansible, first: dict[str, Any], keys: tuple[Key, Key], tmp_path: Path
) -> None:
    first.update(mirror_sync=False, mirror_source_trusted_keys=[str(keys[1].binary)])
    works(ansible.roles("mirror", "first"))
    assert set(beside_settings(first)) == {SETTINGS, SIGNING, KEYRING}

    # The files on the controller are not needed any more.
    (tmp_path / "files" / "one.secret.asc").unlink()
    works(ansible.roles("mirror", "first", mirror_state="absent"))

    assert beside_settings(first) == {}
    assert works(ansible.roles("mirror", "first", mirror_state="absent")).recap["m"].changed == 0


def test_the_watch_is_set_up_for_the_signature_alone(
    ansible: Ansible, first: dict[str, Any], keys: tuple[Key, Key], tmp_path: Path
) -> None:
    first.update(mirror_sync=False, mirror_scheduler="systemd", mirror_alarm_max_age=0, mirror_metrics_file="")
    units = tmp_path / "mirror" / "systemd"
    done = works(ansible.roles("mirror", "first"))
    check_units(units, *SYNC, *WATCH)
    assert " status --sign --settings " in (units / WATCH[0]).read_text(encoding="utf-8")
    assert "expires after 48 hours" not in done.flat()

    first["mirror_alarm_max_age"] = 24
    works(ansible.roles("mirror", "first"))
    assert " status --sign --max-age 24 --settings " in (units / WATCH[0]).read_text(encoding="utf-8")

    # Raw settings can name a key on the host.
    first.update(mirror_signing_key="", mirror_settings={"signing": {"key": str(keys[0].secret)}})
    works(ansible.roles("mirror", "first"))
    assert " status --sign --max-age 24 --settings " in (units / WATCH[0]).read_text(encoding="utf-8")
    assert set(beside_settings(first)) == {SETTINGS}

    first.update(mirror_settings={}, mirror_alarm_max_age=0)
    works(ansible.roles("mirror", "first"))
    check_units(units, *SYNC)


def test_what_proves_nothing_is_refused_before_anything_is_changed(
    ansible: Ansible, keys: tuple[Key, Key], tmp_path: Path
) -> None:
    usual = {**mirror_variables(tmp_path / "mirror", "http://127.0.0.1:9"), "mirror_sync": False}
    replica = {"mirror_source_type": "mirror"}
    raw = {"source": {"type": "mirror", "url": "http://127.0.0.1:9"}}
    public, secret = str(keys[0].public), str(keys[0].secret)
    both_names = ("mirror_source_trusted_keys", "mirror_source_unsigned", "Nothing was changed")
    hosts: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
        "plain": (replica, both_names),
        "raw": ({"mirror_source_url": "", "mirror_settings": raw}, both_names),
        "both": (
            {**replica, "mirror_source_trusted_keys": [public], "mirror_source_unsigned": True},
            ("mutually exclusive",),
        ),
        "secret": (
            {**replica, "mirror_source_trusted_keys": [public, secret]},
            (f"mirror_source_trusted_keys: {secret} contains a secret key",),
        ),
        "public": ({"mirror_signing_key": public}, (f"mirror_signing_key: {public} contains a public key only",)),
        "missing": (
            {"mirror_signing_key": "nowhere.asc"},
            ("mirror_signing_key: nowhere.asc cannot be read on the controller: there is no such file.",),
        ),
        "folder": ({**replica, "mirror_source_trusted_keys": [str(tmp_path)]}, ("cannot be read on the controller",)),
    }
    ansible.hosts["mirrors"] = {name: {**usual, **variables} for name, (variables, _said) in hosts.items()}

    run = ansible.roles("mirror", "mirrors", "-v")

    found = run.failures()
    for name, (_variables, said) in hosts.items():
        assert all(words in found.get(name, "") for words in said), (name, found.get(name), run.output)
    assert {counts.changed for counts in run.recap.values()} == {0}
    assert not (tmp_path / "mirror").exists()
    assert not shows(run, keys[0].secret)


@pytest.fixture
def without_gnupg(tmp_path: Path) -> str:
    """A PATH with the programs of this machine, without those of GnuPG."""
    folder = tmp_path / "programs"
    folder.mkdir()
    for place in os.environ["PATH"].split(os.pathsep):
        for path in Path(place).glob("*") if Path(place).is_dir() else ():
            link = folder / path.name
            if not path.name.startswith("gpg") and not link.is_symlink():
                link.symlink_to(path)
    return str(folder)


@pytest.mark.parametrize(
    ("variables", "programs"),
    [
        ({"mirror_signing_key": "one.secret.asc"}, "gpg, gpg-agent, gpgv"),
        ({"mirror_signing_key": "", "mirror_source_trusted_keys": ["public.asc"]}, "gpgv"),
    ],
)
def test_a_host_without_gnupg_is_refused_where_nothing_may_be_installed(
    ansible: Ansible,
    first: dict[str, Any],
    keys: tuple[Key, Key],
    without_gnupg: str,
    tmp_path: Path,
    variables: dict[str, Any],
    programs: str,
) -> None:
    shutil.copy(keys[0].public, tmp_path / "files" / "public.asc")
    first.update(variables)

    run = ansible.tasks(
        {"ansible.builtin.include_role": {"name": "mde.offline.mirror"}}, environment={"PATH": without_gnupg}
    )

    assert run.status == 2
    assert f"The mirror needs {programs}, which m does not have. GnuPG signs and checks signatures." in run.flat()
    assert "mirror_manage_packages" in run.flat()


# A package manager that notes the names of the packages.
MANAGER = """#!/usr/bin/python
import json, pathlib
from ansible.module_utils.basic import AnsibleModule
module = AnsibleModule({"name": {"type": "list"}, "state": {}})
pathlib.Path(NOTED).write_text(json.dumps(module.params["name"]))
module.exit_json(changed=True)
"""


@pytest.mark.parametrize(
    ("family", "packages"),
    [
        ("Debian", ["gnupg", "gpgv", "jq"]),
        ("RedHat", ["gnupg2", "jq"]),
        ("Suse", ["gpg2", "jq"]),
    ],
)
def test_packages_have_the_names_of_the_distribution(
    ansible: Ansible, without_gnupg: str, tmp_path: Path, family: str, packages: list[str]
) -> None:
    (Path(without_gnupg) / "jq").unlink(missing_ok=True)
    noted, library = tmp_path / "noted", tmp_path / "library"
    library.mkdir()
    (library / "pacman.py").write_text(MANAGER.replace("NOTED", repr(str(noted))), encoding="utf-8")
    ansible.environment["ANSIBLE_LIBRARY"] = str(library)
    ansible.hosts["mirrors"] = {"m": {}}
    run = ansible.tasks(
        {"ansible.builtin.set_fact": {"pkg_mgr": "pacman", "os_family": family, "cacheable": True}},
        {
            "ansible.builtin.include_role": {"name": "mde.offline.mirror", "tasks_from": "programs"},
            "vars": {
                "__mirror": {"manage_packages": True, "unprivileged": False},
                "__mirror_programs": ["gpg", "gpg-agent", "gpgv", "jq"],
            },
        },
        environment={"PATH": without_gnupg},
    )
    assert run.status == 0, run.output
    assert json.loads(noted.read_text(encoding="utf-8")) == packages
