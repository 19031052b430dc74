"""Passwords in addresses of the settings: the output and the files of programs and of the engine never contain them."""

from __future__ import annotations

import json
import os
import re
import shlex
import stat
from urllib.parse import quote

import pytest

from tests.support.ansible_runs import Ansible
from tests.support.engine import SIZE, needs, version
from tests.support.script_repository import HOME, SCRIPT
from tests.support.web import Proxy

# Each password contains a character, such as a slash or an @, that ends the user part unless it is percent-encoded.
PASSWORDS = [
    "S3cr3t/Pw@rd",
    "123/4geheim",
    "geheim?wort",
    "geheim#wort",
    "ge heim wort",
    "geheim[wort]",
    "geh\u00e4im/wort",
    "%41/geheim",
]

# pytest puts the name of the test into the environment, and the script prints the environment, so the name must not
# contain the password.
each_password = pytest.mark.parametrize("password", PASSWORDS, ids=range(len(PASSWORDS)))


def fragments(password):
    """The parts of a password that no output may contain."""
    return [part for part in re.split(r"[^\w]", password) if len(part) > 3]


def assert_hidden(text, password):
    assert [part for part in fragments(password) if part in text] == []


@each_password
@pytest.mark.parametrize("key", ["proxy", "script"])
def test_a_password_that_is_not_percent_encoded_is_refused_with_advice(unsynced, password, key):
    address = f"http://mirror:{password}@127.0.0.1:3128"
    changes = {"source": {"proxy": address}} if key == "proxy" else {"script": {"url": f"{address}/x.git"}}
    unsynced.configure(**changes)
    for verb in ("sync", "status"):
        run = unsynced.run(verb)
        assert run.status == 2
        assert "need percent-encoding" in run.text
        assert "%2F for /" in run.text
        assert_hidden(run.text, password)


@pytest.mark.parametrize(
    "where", ["url", "downloadFolder", "architectures", "channels", "retain", "proxies", "http://u"]
)
def test_an_address_at_the_wrong_place_is_not_shown(unsynced, where):
    password = "S3cr3t/Pw@rd"
    address = f"https://mirror:{password}@{'proxy.' * 8}example:3128/"
    if where == "url":
        unsynced.configure(source={"url": address})
    else:
        unsynced.configure(**{where: [address] if where in ("architectures", "channels") else address})
    run = unsynced.run("sync")
    assert run.status == 2
    assert_hidden(run.text, password)


# --- Microsoft's script -----------------------------------------------------------------------------------------------


@pytest.fixture
def clone(tmp_path):
    needs("bash", "curl", "jq")
    folder = tmp_path / "clone" / HOME
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def scripted(mirror, clone, service, monkeypatch):
    """A mirror with the script as its source."""
    monkeypatch.setenv("DEFINITION_SERVICE", service.url)
    mirror.configure(channels=[], source={"type": "script"}, script={"path": str(clone.parents[1])})
    return mirror


@pytest.mark.parametrize("ending", ["exit 3", "exit 0"])
@each_password
def test_what_the_script_prints_is_kept_without_passwords(scripted, clone, service, password, ending):
    encoded = quote(password, safe="")
    with Proxy("mirror", password) as proxy:
        # The output of set -x, env and curl -v, a progress line, and the line that ends the error message.
        lines = [
            "set -x",
            "env",
            'curl -v --max-time 5 -o x "https://127.0.0.1:9/?sig=geheim"',
            f"echo {shlex.quote(f'login as mirror with {password}')}",
            f"echo 'Basic {proxy.credentials}'",
            f"printf '%s\\r%s\\n' progress {shlex.quote(f'trying http://mirror:{password}@127.0.0.1:9')}",
            'echo "proxy $https_proxy refused"',
            ending,
        ]
        (clone / SCRIPT).write_text("\n".join(lines) + "\n", encoding="utf-8")
        scripted.configure(source={"proxy": f"http://mirror:{encoded}@127.0.0.1:{proxy.port}"})
        service.publish(version(2), size=SIZE)
        run = scripted.sync()
        credentials = proxy.credentials
        assert proxy.tunnels
    assert run.status == 1
    output = scripted.root / ".state" / "script" / "output.log"
    said = output.read_text(encoding="utf-8")
    assert f"http_proxy=http://***@127.0.0.1:{proxy.port}" in said
    assert "login as mirror with ***" in said
    assert stat.S_IMODE(output.stat().st_mode) == 0o640
    if ending == "exit 3":
        assert f"proxy http://***@127.0.0.1:{proxy.port} refused" in run.text
    # The script itself contains the password.
    (clone / SCRIPT).unlink()
    printed = run.text + scripted.run("status").text + scripted.run("status", "--json").text
    everything = printed.encode() + scripted.everything_written()
    for secret in {password, encoded, credentials, *fragments(password)}:
        assert secret.encode() not in everything


@pytest.mark.parametrize("scheme", ["http", "HTTP"])
@each_password
def test_what_git_prints_is_shown_without_passwords(scripted, service, tmp_path, monkeypatch, password, scheme):
    """A simulated git prints its arguments and the passwords in its environment."""
    encoded = quote(password, safe="")
    git = tmp_path / "bin" / "git"
    git.parent.mkdir()
    git.write_text('#!/bin/sh\necho "$0 $*" >&2\nprintenv MDE_MIRROR_PASSWORD http_proxy >&2\nexit 128\n')
    git.chmod(0o755)
    monkeypatch.setenv("PATH", f"{git.parent}:{os.environ['PATH']}")
    with Proxy("mirror", password) as proxy:
        scripted.configure(
            source={"proxy": f"http://mirror:{encoded}@127.0.0.1:{proxy.port}"},
            script={"path": None, "url": f"{scheme}://reader:{encoded}@127.0.0.1:9/x.git"},
        )
        service.publish(version(2), size=SIZE)
        run = scripted.sync()
    assert run.status == 1
    assert "http://127.0.0.1:9/x.git HEAD *** http://***@127.0.0.1:" in run.text
    printed = run.text + scripted.run("status").text + scripted.run("status", "--json").text
    everything = printed.encode() + scripted.everything_written()
    for secret in {password, encoded, proxy.credentials, *fragments(password)}:
        assert secret.encode() not in everything


# --- Arguments of modules ---------------------------------------------------------------------------------------------

ADDRESS = "http://mirror:S3cr3t/Pw@rd@127.0.0.1:9"
CONFIGURATIONS = {
    "proxy": {"source": {"proxy": ADDRESS}},
    "encoded": {"source": {"proxy": "http://mirror:S3cr3t%2FPw%40rd@127.0.0.1:9"}},
    "url": {"source": {"url": ADDRESS}},
    "typo": {"source": {"prxoy": ADDRESS}},
    "top": {"proxy": ADDRESS},
    "list": {"source": {"proxy": [ADDRESS, {"https": ADDRESS}]}},
    "without_scheme": {"source": {"proxy": "mirror:S3cr3t/Pw@rd@127.0.0.1:9"}},
    "uppercase": {"source": {"script": {"url": ADDRESS.upper().replace("S3CR3T/PW@RD", "S3cr3t/Pw@rd")}}},
    "origin": {"source": {"origin": ADDRESS}},
    "query": {"source": {"url": "https://127.0.0.1:9/x?sv=1&sig=S3cr3t%2FPw"}},
    "name": {"source": {"proxy": {"user": "mirror", "password": "S3cr3t/Pw@rd"}}},
}


def test_the_arguments_of_modules_are_shown_without_passwords(tmp_path):
    tasks = [
        # ansible-core 2.19 shows the lines of a failed task, so the values are in variables.
        {"name": name, module: {"config": f"{{{{ {name} }}}}"}, "ignore_errors": True}
        for name in CONFIGURATIONS
        for module in ("mde.offline.mirror_sync", "mde.offline.mirror_info")
    ]
    play = {"name": "Settings", "hosts": "all", "gather_facts": False, "tasks": tasks}
    variables = {
        name: {"downloadFolder": str(tmp_path / "mirror"), **config} for name, config in CONFIGURATIONS.items()
    }
    (tmp_path / "variables.json").write_text(json.dumps(variables), encoding="utf-8")
    run = Ansible(tmp_path).playbook([play], "-vvv", "--diff", "-e", "@variables.json")
    assert run.status == 0, run.output
    assert "need percent-encoding" in run.flat()
    assert run.output.count("module_args:") == len(tasks)
    for part in ("S3cr3t", "Pw@rd", "Pw%40rd"):
        assert part not in run.output
