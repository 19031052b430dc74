"""Cases for the findings of exclusions.py: id -> (cases with it, near misses without it).

A case is a configuration, a text, or a pair of either and an agent's version.
"""

from __future__ import annotations

from tests.unit.managed.builders import EPP, excl, ext, legacy, merged, name, path

CASES = {
    "exclusion_path_relative": (
        [
            path("var/x"),
            path("~/x"),
            path("*/x"),
            name("bin/x"),
            legacy({"$type": "folder", "path": "a/b"}),
            path("C:\\Program Files\\App"),
            path("\\\\server\\share"),
        ],
        [path("/var/x"), name("x"), ext(".x")],
    ),
    "global_with_wildcard": (
        [
            path("/opt/*/x", scopes=["global"]),
            path("/opt/a?", scopes=["epp", "global"]),
            name("/opt/*/x", scopes=["global"]),
            excl({"$type": "excludedPath", "path": "/a/*", "isDirectory": True}),
        ],
        [path("/opt/*/x"), path("/opt/a", scopes=["global"]), legacy({"$type": "excludedPath", "path": "/a/*/b"})],
    ),
    "global_with_extension": (
        [ext(".abc", scopes=["global"]), excl({"$type": "excludedFileExtension", "extension": ".abc"})],
        [ext(".abc"), legacy({"$type": "excludedFileExtension", "extension": ".abc"})],
    ),
    "global_bare_process_name": (
        [name("cat", scopes=["global"]), excl({"$type": "excludedFileName", "name": "cat"})],
        [name("/usr/bin/cat", scopes=["global"]), name("cat")],
    ),
    "scopes_missing": (
        [excl({"$type": "excludedPath", "path": "/a/b", "isDirectory": True})],
        [path("/a/b"), path("/a/b", scopes=[]), legacy({"$type": "excludedPath", "path": "/a/b"})],
    ),
    "global_exclusion": (
        [path("/a/b", scopes=["global"]), path("/a/b", scopes=["epp", "global"])],
        [path("/a/b"), excl({"$type": "excludedPath", "path": "/a/b"})],
    ),
    "global_file_must_exist": (
        [path("/a/b", isDirectory=False, scopes=["global"])],
        [path("/a/b", isDirectory=False), path("/a/b", scopes=["global"])],
    ),
    "dangerous_path": (
        [
            path(p)
            for p in (
                "/",
                "//",
                "/*",
                "/bin",
                "/sbin/",
                "/usr/lib",
                "/usr",
                "/etc",
                "/lib64",
                "/opt/",
                "/var/*",
                "/home/*",
                "/home/*/*",
                "/root",
                "/tmp",
                "/var/tmp",
                "/dev",
                "/dev/shm",
                "/run",
                "/u?r",
                "/*/bin",
                "/usr/local",
                "/opt/../etc",
                "/ho*",
            )
        ],
        [
            path(p)
            for p in (
                "/opt/app",
                "/var/lib/docker",
                "/home/*/git",
                "/etc/zabbix",
                "/srv",
                "/usr/share/x",
                "/var/log/*.log",
                "/proc",
                "/data",
                "var",
            )
        ],
    ),
    "world_writable_exclusion": (
        [path("/tmp/app"), path("/var/tmp/app/"), path("/dev/shm/x")],
        [path("/tmp"), path("/tmpfs/app"), path("/var/app"), ext(".abc")],
    ),
    "pseudo_filesystem_exclusion": (
        [path("/proc"), path("/sys/"), path("/sys/fs/cgroup")],
        [path("/process"), path("/srv/sys")],
    ),
    "symlinked_path": (
        [path("/bin/x"), name("/bin/cat"), path("/var/run/x"), name("/sbin/x")],
        [path("/usr/bin/x"), name("/usr/bin/cat"), path("/binary"), path("/run/x")],
    ),
    "bare_process_name": (
        [name("cat"), legacy({"$type": "excludedFileName", "name": "cat"})],
        [name("/usr/bin/cat"), name("cat", scopes=["global"]), path("cat")],
    ),
    "dangerous_process": (
        [
            name(n)
            for n in (
                "bash",
                "/usr/bin/bash",
                "/usr/bin/python3",
                "python*",
                "python3.11",
                "/opt/app/bin/java",
                "z?h",
                "/usr/bin/*",
                "*",
            )
        ],
        [
            name(n)
            for n in ("/usr/bin/cat", "/opt/app/*", "/opt/app/bash-helper", "/usr/bin/pythonic", "/usr/bin/javac")
        ],
    ),
    "extension_exclusion": (
        [ext(".abc"), legacy({"$type": "excludedFileExtension", "extension": "pdf"})],
        [path("/a.abc"), name("/a.abc")],
    ),
    "dangerous_extension": (
        [ext(e) for e in (".exe", "zip", ".PY", ".tar.gz", ".ko.gz", ".ko.xz", "*.js")],
        [ext(e) for e in (".log", ".pdf", ".exempt", ".z")],
    ),
    "extension_malformed": (
        [ext("*.log"), ext("./log"), ext(".l?g"), ext(".log,.txt")],
        [ext(".log"), ext("log"), ext(".tar.zst")],
    ),
    "foreign_system_path": (
        [path("/Users/*/Library"), path("/Library/Logs"), path("/opt/homebrew/bin"), path("/private/var/db")],
        [path("/users/x"), path("/home/Users/x"), path("/srv/Library"), path("/private/data"), name("/Users/x")],
    ),
    "stray_blank": (
        [path("/opt/app "), path("/opt/app\u200b"), name("\u00a0/usr/bin/app"), ext(".log\n")],
        [path("/opt/my app"), name("/usr/bin/app"), ext(".log")],
    ),
    "several_in_one": (
        [
            path("/opt/a,/opt/b"),
            path("/opt/a; /opt/b"),
            path("/opt/a:/opt/b"),
            ext(".log,.txt"),
            ext("log txt"),
            name("/usr/bin/a, /usr/bin/b"),
        ],
        [path("/opt/a,b"), path("/opt/a:b"), ext(".log"), name("/usr/bin/a"), path("/opt/{a,b}")],
    ),
    "extension_without_dot": ([ext("log")], [ext(".log"), ext("*.log")]),
    "is_directory_missing": (
        [excl({"$type": "excludedPath", "path": "/a/b", **EPP})],
        [path("/a/b"), path("/a/b", isDirectory=False), name("/a/b")],
    ),
    "directory_not_flagged": (
        [path("/a/b/", isDirectory=False), excl({"$type": "excludedPath", "path": "/a/b/", **EPP})],
        [path("/a/b/"), path("/a/b", isDirectory=False)],
    ),
    "duplicate_exclusion": (
        [
            excl(*[{"$type": "excludedPath", "path": p, "isDirectory": True, **EPP} for p in ("/a/b", "/a/b/")]),
            merged(legacy({"$type": "excludedPath", "path": "/a/b", "isDirectory": True}), path("/a/b")),
        ],
        [
            excl(*[{"$type": "excludedPath", "path": p, "isDirectory": True, **EPP} for p in ("/a/b", "/a/B")]),
            merged(
                legacy({"$type": "excludedPath", "path": "/a/b", "isDirectory": True}), path("/a/b", scopes=["global"])
            ),
            excl(
                {"$type": "excludedFileName", "name": "/a/b", **EPP}, {"$type": "excludedPath", "path": "/a/b", **EPP}
            ),
        ],
    ),
    "too_many_exclusions": (
        [excl(*[{"$type": "excludedPath", "path": f"/a/{n}", **EPP} for n in range(601)])],
        [excl(*[{"$type": "excludedPath", "path": f"/a/{n}", **EPP} for n in range(600)])],
    ),
    "legacy_exclusions": (
        [legacy({"$type": "excludedPath", "path": "/a/b", "isDirectory": True})],
        [legacy(), path("/a/b")],
    ),
}
