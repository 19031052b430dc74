"""Preflight: the requirements of a host, measured on hosts that are simulated in folders."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mde.offline.plugins.module_utils._endpoint.errors import FindingError
from ansible_collections.mde.offline.plugins.module_utils._endpoint.findings import catalogue
from ansible_collections.mde.offline.plugins.module_utils._endpoint.host import distributions
from ansible_collections.mde.offline.plugins.module_utils._endpoint.host.host import Host
from ansible_collections.mde.offline.plugins.module_utils._endpoint.preflight import preflight
from hypothesis import given
from hypothesis import strategies as st

from tests.support.statvfs import GIB, Space

ROCKY = (
    'NAME="Rocky Linux"\nID="rocky"\nID_LIKE="rhel centos fedora"\nVERSION_ID="9.4"\nPRETTY_NAME="Rocky Linux 9.4"\n'
)
DEBIAN = 'PRETTY_NAME=\'Debian GNU/Linux 12 (bookworm)\'\nNAME="Debian GNU/Linux"\nVERSION_ID="12"\nID=debian\n'
CONFIG = "boot/config-5.14.0-427.13.1.el9_4.x86_64"
MOUNTS = "/dev/sda1 / xfs rw,relatime 0 0\n/dev/sdb1 /var xfs rw 0 0\nproc /proc proc rw 0 0\ntmpfs /run tmpfs rw 0 0\n"
EL_FILES = [
    "usr/lib64/libmnl.so.0",
    "usr/lib64/libnfnetlink.so.0",
    "usr/lib64/libnetfilter_queue.so.1",
    "usr/lib64/libglib-2.0.so.0",
    "usr/sbin/auditctl",
    "usr/sbin/restorecon",
    "usr/sbin/semanage",
    "etc/selinux/targeted/contexts/files/file_contexts",
]


class Agent:
    """An agent that reports these rows, or does not respond."""

    def __init__(self, trouble: str = "", **fields: Any) -> None:
        self.trouble, self.fields = trouble, fields

    def health(self) -> dict[str, Any]:
        if self.trouble:
            raise FindingError(self.trouble, "it does not answer")
        return {"fields": self.fields, "managed": [], "notices": [], "format": "json"}


NOBODY = Agent("not_installed")


class Machine:
    """A machine in a folder, which meets all requirements in its initial state."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.options: dict[str, Any] = {"machine": "x86_64", "c_library": "glibc 2.34", "environ": {}}
        self.room: dict[str, Space] = {}
        self.write("etc/os-release", ROCKY)
        self.write("proc/sys/kernel/osrelease", "5.14.0-427.13.1.el9_4.x86_64\n")
        self.write("proc/meminfo", "MemTotal:        3910000 kB\nMemFree: 1 kB\n")
        self.write("proc/cpuinfo", "".join(f"processor\t: {core}\nmodel name\t: processor x\n\n" for core in range(4)))
        self.write("proc/self/mounts", MOUNTS)
        self.write(CONFIG, "CONFIG_FANOTIFY=y\nCONFIG_FANOTIFY_ACCESS_PERMISSIONS=y\n")
        self.write("etc/passwd", "root:x:0:0:root:/root:/bin/bash\n")
        self.write("etc/group", "root:x:0:\n")
        (root / "run/systemd/system").mkdir(parents=True)
        (root / "var/log").mkdir(parents=True)
        self.process(1, "systemd")
        for name in EL_FILES:
            self.write(name)

    def write(self, path: str, text: str = "") -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return file

    def remove(self, path: str) -> None:
        (self.root / path).unlink()

    def process(self, number: int, name: str, fanotify: str = "") -> None:
        self.write(f"proc/{number}/comm", name + "\n")
        handles = self.root / f"proc/{number}/fd"
        handles.mkdir()
        (handles / "0").symlink_to("/dev/null")
        if fanotify:
            (handles / "7").symlink_to("anon_inode:[fanotify]")
            self.write(
                f"proc/{number}/fdinfo/7",
                f"pos:\t0\nflags:\t02\nmnt_id:\t15\nfanotify flags:{fanotify} event-flags:0\n",
            )

    def install(self, mode: int = 0o755) -> None:
        self.write("opt/microsoft/mdatp/sbin/wdavdaemon").chmod(mode)

    def _space(self, place: bytes) -> Space:
        inside = "/" + os.fsdecode(os.path.relpath(place, os.fsencode(self.root)))
        for folder, space in self.room.items():
            if inside.startswith(folder):
                return space
        return Space()

    def look(self, agent: Any = NOBODY) -> dict[str, Any]:
        return preflight.look(Host(str(self.root), space=self._space, **self.options), agent)

    def requirement(self, name: str, agent: Any = NOBODY) -> dict[str, Any]:
        return next(entry for entry in self.look(agent)["requirements"] if entry["id"] == name)

    def ids(self, agent: Any = NOBODY) -> list[tuple[str, str]]:
        return [(entry["id"], entry["severity"]) for entry in self.look(agent)["findings"]]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_good_host_meets_everything_that_can_be_measured(machine: Machine) -> None:
    found = machine.look()
    assert found["findings"] == []
    unmeasured = {entry["id"] for entry in found["requirements"] if entry["ok"] is None}
    assert unmeasured == {"agent_version", "agent_release", "wdavdaemon", "install_path", "auditd"}
    for entry in found["requirements"]:
        assert set(entry) == {"id", "title", "required", "actual", "ok", "severity", "hint"}
        assert all(entry[name] for name in ("title", "required", "actual", "hint")), entry


def test_with_a_good_agent_all_of_it_is_measured(machine: Machine) -> None:
    machine.install()
    machine.write("etc/passwd", "mdatp:x:990:990::/home/mdatp:/usr/sbin/nologin\n")
    machine.write("etc/group", "mdatp:x:990:\n")
    machine.process(900, "wdavdaemon", "4")
    machine.process(901, "fapolicyd-cli")
    found = machine.look(Agent(app_version="101.99122.0005", passive_mode_enabled=False))
    assert found["findings"] == []
    assert {entry["ok"] for entry in found["requirements"]} == {True}


def release(ident: str, version: str, **more: str) -> str:
    more = {"NAME": ident, **more}
    return f'ID="{ident}"\nVERSION_ID="{version}"\n' + "".join(f'{name}="{value}"\n' for name, value in more.items())


@pytest.mark.parametrize(
    ("ident", "version", "supported"),
    [
        *[("rhel", version, True) for version in ("7.2", "7.9", "8.0", "8.10", "9.4")],
        *[("rhel", version, False) for version in ("5.11", "6.10", "7.0", "7.1", "10.0")],
        *[("ol", version, True) for version in ("7.2", "8.9", "9.3")],
        *[("ol", version, False) for version in ("6.10", "7.1", "10.0")],
        *[("centos", version, True) for version in ("7.2", "7.9.2009", "8.5")],
        *[("centos", version, False) for version in ("6.10", "7.1")],
        *[("ubuntu", version, True) for version in ("16.04", "18.04", "20.04", "22.04", "24.04", "26.04")],
        *[("ubuntu", version, False) for version in ("14.04", "16.10", "19.04", "21.04", "23.10", "25.04")],
        *[("debian", version, True) for version in ("9", "10", "11", "12", "13", "12.5")],
        *[("debian", version, False) for version in ("8", "14")],
        *[("sles", version, True) for version in ("12.5", "15", "15.6")],
        *[("sles", version, False) for version in ("11.4", "16.0")],
        *[("amzn", version, True) for version in ("2", "2023")],
        *[("amzn", version, False) for version in ("2018.03", "1")],
        *[("fedora", version, True) for version in ("33", "42", "44")],
        ("fedora", "32", False),
        *[("rocky", version, True) for version in ("8.7", "8.10", "9.0", "10.1")],
        ("rocky", "8.6", False),
        *[("almalinux", version, True) for version in ("8.4", "9.2")],
        ("almalinux", "8.3", False),
        ("mariner", "2.0", True),
        *[("mariner", version, False) for version in ("1.0", "3.0")],
        *[(ident, "1.0", False) for ident in ("arch", "opensuse-leap", "alpine", "linuxmint", "azurelinux")],
        ("debian", "", None),
        ("rhel", "7", None),
        ("rhel", "8", True),
    ],
)
def test_distribution_by_distribution(machine: Machine, ident: str, version: str, supported: bool | None) -> None:
    machine.write("etc/os-release", release(ident, version))
    found = machine.look()
    record = found["distribution"]
    assert record["supported"] is supported
    assert bool(record["reason"]) is (supported is not True)
    refusal = "offline_updates_impossible" if record["el6"] else "distribution_unsupported"
    wanted = [refusal] if supported is False else []
    ids = [entry["id"] for entry in found["findings"]]
    assert [name for name in ids if name in ("distribution_unsupported", "offline_updates_impossible")] == wanted


@pytest.mark.parametrize(
    ("files", "ident", "version", "supported"),
    [
        ({"etc/centos-release": "CentOS Linux release 7.9.2009 (Core)\n", "etc/os-release": release("centos", "7")},
         "centos", "7.9.2009", True),
        ({"etc/centos-release": "CentOS Linux release 7.1.1503 (Core)\n", "etc/os-release": release("centos", "7")},
         "centos", "7.1.1503", False),
        ({"etc/redhat-release": "Red Hat Enterprise Linux Server release 6.10 (Santiago)\n"}, "rhel", "6.10", False),
        ({"etc/redhat-release": "CentOS release 6.10 (Final)\n", "etc/centos-release": "CentOS release 6.10 (Final)\n"},
         "centos", "6.10", False),
        ({"etc/oracle-release": "Oracle Linux Server release 6.10\n",
          "etc/redhat-release": "Red Hat Enterprise Linux Server release 6.10 (Santiago)\n"}, "ol", "6.10", False),
        ({"etc/redhat-release": "Scientific Linux release 7.9 (Nitrogen)\n"}, "scientific", "7.9", False),
        ({"usr/lib/os-release": release("debian", "12")}, "debian", "12", True),
        ({"etc/os-release": release("centos", "9", NAME="CentOS Stream")}, "centos", "9", False),
        ({}, "", "", None),
    ],
)  # fmt: skip
def test_the_release_is_read_where_the_system_tells_it(
    machine: Machine, files: dict[str, str], ident: str, version: str, supported: bool | None
) -> None:
    machine.remove("etc/os-release")
    for path, text in files.items():
        machine.write(path, text)
    record = machine.look()["distribution"]
    assert (record["id"], record["version"], record["supported"]) == (ident, version, supported)


def test_el6_gets_the_reason_and_no_other_finding_hides_it(machine: Machine) -> None:
    machine.remove("etc/os-release")
    machine.write("etc/redhat-release", "Red Hat Enterprise Linux Server release 6.10 (Santiago)\n")
    machine.write("proc/sys/kernel/osrelease", "2.6.32-754.35.1.el6.x86_64\n")
    (machine.root / "run/systemd/system").rmdir()
    machine.write("proc/1/comm", "init\n")
    machine.options["c_library"] = "glibc 2.12"
    errors = [entry for entry in machine.look()["findings"] if entry["severity"] == "error"]
    assert [entry["id"] for entry in errors] == ["offline_updates_impossible"]
    for said in ("101.23082.0011", "101.24022.0001", "never"):
        assert said in errors[0]["message"]


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ('NAME="a \\"b\\" \\$c"', "NAME", 'a "b" $c'),
        ("NAME='a \"b\"'", "NAME", 'a "b"'),
        ("ID=ubuntu", "ID", "ubuntu"),
        ('# NAME="x"\nVERSION_ID="22.04"\r\n', "VERSION_ID", "22.04"),
        ('NAME=""', "NAME", ""),
    ],
)
def test_os_release_is_read_as_its_manual_says(text: str, name: str, value: str) -> None:
    assert distributions.parse_os_release(text) == {name: value}


@given(st.text(), st.text())
def test_no_text_makes_the_reading_of_releases_raise(text: str, version: str) -> None:
    distributions.parse_os_release(text)
    assert distributions.judge(text, version)["supported"] in (True, False, None)
    for ident in distributions.DISTRIBUTIONS:
        assert distributions.judge(ident, version)["supported"] in (True, False, None)


@pytest.mark.parametrize(
    ("release_", "ok"),
    [
        ("3.10.0-327.el7.x86_64", True),
        ("3.10.0-1160.118.1.el7.x86_64", True),
        ("3.10.0-229.el7.x86_64", False),
        ("3.10.0", False),
        ("3.10.108", True),
        ("3.9.11-999.fc20", False),
        ("2.6.32-754.el6", False),
        ("4.15.0-1-amd64", True),
        ("6.8", True),
        ("10.0.1-arch", True),
        ("", None),
        ("unknown", None),
    ],
)
def test_kernels_are_compared_by_their_numbers(machine: Machine, release_: str, ok: bool | None) -> None:
    machine.write("proc/sys/kernel/osrelease", release_)
    assert machine.requirement("kernel")["ok"] is ok


@pytest.mark.parametrize(
    ("release_", "ok"),
    [
        ("3.10.0-957.el7.x86_64", True),
        ("3.10.0-862.el7.x86_64", False),
        ("4.4.0-210-generic", False),
        ("4.12.14-122.37-default", False),
        ("4.15.0-1-amd64", True),
        ("4.18.0-553.el8_10.x86_64", True),
        ("", None),
    ],
)
def test_kernels_without_ebpf_are_reported_as_information(machine: Machine, release_: str, ok: bool | None) -> None:
    machine.write("proc/sys/kernel/osrelease", release_)
    assert machine.requirement("ebpf")["ok"] is ok
    assert (("ebpf_unavailable", "info") in machine.ids()) is (ok is False)
    assert not any(severity == "error" for _name, severity in machine.ids())


@pytest.mark.parametrize("version", [101.26, None, "", "not a version", ["101.26062.0005"]])
def test_an_agent_whose_version_cannot_be_read_is_not_accused(machine: Machine, version: Any) -> None:
    machine.install()
    found = {entry["id"]: entry["ok"] for entry in machine.look(Agent(app_version=version))["requirements"]}
    assert (found["agent_version"], found["agent_release"]) == (None, None)


def test_fanotify_in_the_kernel(machine: Machine) -> None:
    machine.write(CONFIG, "CONFIG_FANOTIFY=y\n# CONFIG_FANOTIFY_ACCESS_PERMISSIONS is not set\n")
    assert ("fanotify_missing", "error") in machine.ids()
    machine.remove(CONFIG)
    assert machine.requirement("fanotify")["ok"] is None
    filler = "0000000000000000 t something\n" * 40_000
    machine.write("proc/kallsyms", filler + "0000000000000000 T __x64_sys_fanotify_init\n")
    assert machine.requirement("fanotify")["ok"] is True
    machine.write("proc/kallsyms", filler)
    assert machine.requirement("fanotify")["ok"] is False
    (machine.root / "proc/sys/fs/fanotify").mkdir(parents=True)
    assert machine.requirement("fanotify")["ok"] is True


def test_another_product_that_blocks_through_fanotify(machine: Machine) -> None:
    machine.process(50, "listener", "0")
    assert machine.ids() == []
    assert "listener" in machine.requirement("fanotify_products")["actual"]
    machine.process(51, "othersav", "30c")
    assert machine.ids() == [("fanotify_conflict", "error")]
    assert "othersav" in machine.look()["findings"][0]["message"]
    passive = Agent(app_version="101.99122.0005", passive_mode_enabled=True)
    assert ("fanotify_conflict", "warning") in machine.ids(passive)


def test_products_that_are_known_by_their_process(machine: Machine) -> None:
    machine.process(50, "ds_agent")
    assert machine.ids() == [("fanotify_conflict", "warning")]
    assert "Trend Micro" in machine.look()["findings"][0]["message"]


def test_processes_that_cannot_be_looked_at_prove_nothing(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    listdir = os.listdir

    def refuse(path: Any = ".") -> list[Any]:
        if os.fsencode(path).endswith(b"/1/fd"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return listdir(path)

    monkeypatch.setattr(os, "listdir", refuse)
    assert machine.requirement("fanotify_products")["ok"] is None


@pytest.mark.parametrize(
    ("os_release", "agent", "ok"),
    [
        (ROCKY, NOBODY, False),
        (ROCKY, Agent(app_version="101.26062.0005"), False),
        (ROCKY, Agent(app_version="101.26062.0005", passive_mode_enabled=True), True),
        (release("rhel", "9.4"), Agent(app_version="101.25062.0003"), True),
        (release("rhel", "9.4"), Agent(app_version="101.25052.0003"), False),
        (release("fedora", "42"), Agent(app_version="101.26062.0005"), True),
    ],
)
def test_fapolicyd(machine: Machine, os_release: str, agent: Agent, ok: bool) -> None:
    machine.write("etc/os-release", os_release)
    machine.process(60, "fapolicyd", "c")
    assert machine.requirement("fapolicyd", agent)["ok"] is ok
    assert (("fapolicyd_conflict", "error") in machine.ids(agent)) is not ok


def test_space_memory_and_cores(machine: Machine) -> None:
    machine.room["/var"] = Space(free=1 * GIB)
    assert machine.ids() == [("disk_space_low", "error")]
    machine.room["/var"] = Space(free=3 * GIB)
    assert machine.ids() == []
    machine.write(
        "etc/opt/microsoft/mdatp/managed/mdatp_managed.json", '{"cloudService": {"diagnosticLevel": "optional"}}'
    )
    assert machine.ids() == [("disk_space_low", "warning")]
    machine.room.clear()
    machine.write("proc/cpuinfo", "processor\t: 0\n")
    machine.write("proc/meminfo", "MemTotal:  500000 kB\n")
    assert sorted(machine.ids()) == [("cores_too_few", "warning"), ("memory_too_small", "warning")]
    machine.write("proc/meminfo", "MemTotal:  995000 kB\n")
    assert machine.requirement("memory")["ok"] is True


def test_mount_options(machine: Machine) -> None:
    machine.write("proc/self/mounts", MOUNTS.replace("/var xfs rw", "/var xfs rw,noexec"))
    assert machine.ids() == [("filesystem_noexec", "warning")]
    assert machine.requirement("noexec", Agent(app_version="101.24082.0004"))["ok"] is False
    assert machine.requirement("noexec", Agent(app_version="101.24092.0002"))["ok"] is True
    machine.write("proc/self/mounts", MOUNTS.replace("/ xfs rw", "/ xfs rw,noexec"))
    assert ("filesystem_noexec", "error") in machine.ids()


def test_file_systems_that_are_not_scanned(machine: Machine) -> None:
    more = "srv:/a /mnt/three nfs rw,vers=3 0 0\nsrv:/b /mnt/four nfs4 rw,vers=4.2 0 0\npool /srv/a\\040b zfs rw 0 0\n"
    machine.write("proc/self/mounts", MOUNTS + more + "/dev/fuse /mnt/s fuse.sshfs rw 0 0\n")
    found = machine.requirement("filesystems")
    assert found["ok"] is False
    assert found["actual"] == "/mnt/four (nfs 4), /srv/a b (zfs)"
    assert machine.ids() == [("filesystems_not_scanned", "info")]


@pytest.mark.parametrize(
    ("os_release", "library", "ok"),
    [
        (ROCKY, "glibc 2.17", True),
        (ROCKY, "glibc 2.12", False),
        (DEBIAN, "glibc 2.23", True),
        (DEBIAN, "glibc 2.19", False),
        (DEBIAN, "", None),
    ],
)
def test_the_c_library(machine: Machine, os_release: str, library: str, ok: bool | None) -> None:
    machine.write("etc/os-release", os_release)
    machine.options["c_library"] = library
    assert machine.requirement("glibc")["ok"] is ok


@pytest.mark.parametrize(
    ("passwd", "group", "ok"),
    [
        ("mdatp:x:990:991::/home/mdatp:/usr/sbin/nologin", "mdatp:x:991:", True),
        ("mdatp:x:990:991::/home/mdatp:/sbin/nologin", "mdatp:x:991:", True),
        ("mdatp:x:990:991::/home/mdatp:/bin/bash", "mdatp:x:991:", False),
        ("mdatp:x:990:100::/home/mdatp:/usr/sbin/nologin", "mdatp:x:991:", False),
        ("mdatp:x:990:991::/home/mdatp:/usr/sbin/nologin", "", False),
        ("", "mdatp:x:991:", False),
        ("mdatp", "mdatp:x:991:", False),
        ("mdatpx:x:990:991::/:/bin/sh", "", True),
    ],
)
def test_user_and_group(machine: Machine, passwd: str, group: str, ok: bool) -> None:
    machine.write("etc/passwd", passwd + "\n")
    machine.write("etc/group", group + "\n")
    assert machine.requirement("user")["ok"] is ok
    assert (("mdatp_user_unusual", "warning") in machine.ids()) is not ok


def test_the_agent_itself(machine: Machine) -> None:
    machine.install(0o644)
    old = Agent(app_version="101.23082.0011")
    found = dict(machine.ids(old))
    assert found["agent_too_old"] == "error"
    assert found["agent_release_old"] == "warning"
    assert found["wdavdaemon_not_executable"] == "error"
    assert found["auditd_missing"] == "warning"
    machine.process(70, "auditd")
    machine.install(0o755)
    assert not {"auditd_missing", "wdavdaemon_not_executable"} & set(dict(machine.ids(old)))
    arm = Agent(app_version="101.25012.0003")
    assert machine.requirement("agent_version", arm)["ok"] is True
    machine.options["machine"] = "aarch64"
    assert machine.requirement("agent_version", arm)["ok"] is False


def test_a_custom_install_path(machine: Machine, tmp_path: Path) -> None:
    target = tmp_path / "data/microsoft_mdatp"
    target.mkdir(parents=True)
    (tmp_path / "opt/microsoft").mkdir(parents=True)
    (tmp_path / "opt/microsoft/mdatp").symlink_to(target)
    for version, ok in (("101.25062.0003", True), ("101.25052.0001", False)):
        assert machine.requirement("install_path", Agent(app_version=version))["ok"] is ok


def test_packages(machine: Machine) -> None:
    machine.remove("usr/lib64/libnetfilter_queue.so.1")
    machine.remove("usr/sbin/auditctl")
    assert machine.ids() == [("packages_missing", "info")]
    assert machine.requirement("packages")["actual"] == "without libnetfilter_queue, audit"
    installed = machine.requirement("packages", Agent(app_version="101.26062.0005"))
    assert (installed["actual"], installed["severity"]) == ("without libnetfilter_queue", "warning")
    machine.write("etc/os-release", DEBIAN)
    assert machine.requirement("packages")["actual"] == "without libnetfilter-queue1, uuid-runtime, auditd"
    machine.write("usr/lib/x86_64-linux-gnu/libnetfilter_queue.so.1")
    assert "libnetfilter-queue1" not in machine.requirement("packages")["actual"]
    machine.write("etc/os-release", release("arch", "1"))
    assert machine.requirement("packages")["ok"] is None


@pytest.mark.parametrize(
    ("value", "ok"),
    [
        ("http://proxy.corp:3128", True),
        ("http://[2001:db8::1]:3128/", True),
        ("proxy.corp:3128", False),
        ("http://user:geheim@proxy.corp:3128", False),
        ("http://proxy.corp/proxy.pac", False),
        ("http://wpad/wpad.dat", False),
        ("socks5://proxy.corp:1080", False),
        ("http://proxy.server:port/", False),
        ("http://proxy.corp:99999", False),
    ],
)
@pytest.mark.parametrize("place", ["environ", "environment", "unit", "file", "managed"])
def test_proxies(machine: Machine, value: str, ok: bool, place: str) -> None:
    if place == "environ":
        machine.options["environ"] = {"https_proxy": value, "no_proxy": "localhost"}
    elif place == "environment":
        machine.write("etc/environment", f'PATH="/bin"\n#http_proxy=http://a:b@c\nHTTPS_PROXY="{value}"\n')
    elif place == "unit":
        machine.write("etc/systemd/system/mdatp.service.d/p.conf", f'[Service]\nEnvironment="HTTPS_PROXY={value}"\n')
    elif place == "file":
        machine.write("lib/systemd/system/mdatp.service", "[Service]\nEnvironmentFile=-/etc/default/mdatp\n")
        machine.write("etc/default/mdatp", f"https_proxy={value}\n")
    else:
        text = f'{{"cloudService": {{"proxy": "{value}"}}}}'
        machine.write("etc/opt/microsoft/mdatp/managed/mdatp_managed.json", text)
    found = machine.look()
    entry = next(entry for entry in found["requirements"] if entry["id"] == "proxy")
    assert entry["ok"] is ok
    assert entry["actual"] != "none is configured"
    assert "geheim" not in str(found)


def test_arm64_where_it_is_supported(machine: Machine) -> None:
    machine.options["machine"] = "aarch64"
    assert machine.ids() == [("architecture_unsupported", "error")]
    machine.write("etc/os-release", release("rhel", "9.4"))
    assert machine.ids() == []
    machine.options["machine"] = "ppc64le"
    assert machine.ids() == [("architecture_unsupported", "error")]


def test_a_host_without_systemd(machine: Machine) -> None:
    (machine.root / "run/systemd/system").rmdir()
    machine.write("proc/1/comm", "init\n")
    assert machine.ids() == [("systemd_missing", "error")]


def test_a_managed_file_that_others_can_write(machine: Machine) -> None:
    path = "etc/opt/microsoft/mdatp/managed/mdatp_managed.json"
    machine.write(path, "{}")
    assert machine.ids() == []
    (Path(machine.root) / path).chmod(0o666)
    assert machine.ids() == [("managed_file_writable", "error")]


def test_a_host_that_tells_nothing_is_not_accused(tmp_path: Path) -> None:
    host = Host(str(tmp_path), machine="x86_64", environ={}, space=os.statvfs)
    found = preflight.look(host, NOBODY)
    accused = {entry["id"] for entry in found["findings"]} - {"disk_space_low"}
    assert accused <= {"systemd_missing"}


def test_every_requirement_leads_to_a_finding_of_the_catalogue() -> None:
    names = [check[0] for check in preflight.CHECKS]
    assert len(names) == len(set(names))
    known = {record.id for record in catalogue.SECTIONS[-1][2]} | {"agent_too_old", "managed_file_writable"}
    assert {check[3] for check in preflight.CHECKS} | {"offline_updates_impossible"} == known
