"""Cases for the findings of addresses.py: id -> (cases with it, near misses without it).

A case is a configuration, a text, or a pair of either and an agent's version.
"""

from __future__ import annotations

from tests.unit.managed.builders import GOOD_URL, HTTP_URL, NEW, av, cloud, merged, mirror, proxy

CASES = {
    "proxy_empty": ([proxy(""), proxy(" ")], [proxy("http://h:1/"), cloud(enabled=True)]),
    "proxy_credentials": (
        [proxy("http://u:p@h:1/"), proxy("u:p@h:1"), proxy("http://u@h"), proxy("http://u:p/w@h:1")],
        [proxy("http://h:1/")],
    ),
    "proxy_pac": (
        [
            proxy("http://h/proxy.pac"),
            proxy("http://wpad/wpad.dat"),
            proxy("http://wpad.example.com/x"),
            proxy("pac+http://h/x"),
        ],
        [proxy("http://pacific:1/"), proxy("http://h:1")],
    ),
    "proxy_scheme": (
        [proxy("proxy:3128"), proxy("socks5://h:1080"), proxy("ftp://h"), proxy("DIRECT")],
        [proxy("http://h:1"), proxy("https://h:1/"), proxy("HTTP://h:1/")],
    ),
    "proxy_port": (
        [proxy("http://h:abc/"), proxy("http://h:0/"), proxy("http://h:70000"), proxy("http://h:/")],
        [proxy("http://h"), proxy("http://[::1]:3128/"), proxy("http://h:65535")],
    ),
    "proxy_path": (
        [proxy("http://h:1/path"), proxy("http://h:1/?a=b"), proxy("http://h:1#a")],
        [proxy("http://h:1/"), proxy("http://h:1")],
    ),
    "proxy_malformed": (
        [proxy("http://:1/"), proxy("http:///"), proxy("http://a b:1/"), proxy(" http://h:1/"), proxy("http://h:1/\n")],
        [proxy("http://h:1/"), proxy("http://10.0.0.1:1/")],
    ),
    "proxy_example": (
        [proxy("http://proxy.example.com:3128/"), proxy("http://PROXY.example.com")],
        [proxy("http://myproxy.example.com:3128/"), proxy("http://h:1/")],
    ),
    "offline_url_missing": (
        [av(offlineDefinitionUpdate="enabled"), mirror(""), mirror(" ")],
        [mirror(GOOD_URL), av(offlineDefinitionUpdate="disabled"), av(offlineDefinitionUpdateUrl="")],
    ),
    "url_no_scheme": (
        [
            mirror(u)
            for u in (
                "www.example.com:8000/linux/production/",
                "srv/linux/production",
                "nas:/export",
                "\\\\nas\\x",
                "mirror",
            )
        ],
        [mirror(u) for u in (GOOD_URL, "/srv/linux/production", "ftp://h/x", " http://h/linux/production/")],
    ),
    "url_scheme_unsupported": (
        [mirror(u) for u in ("file:///srv/linux/production", "ftp://h/linux/production/", "nfs://h/x")],
        [mirror(GOOD_URL), mirror("HTTPS://h/linux/production/"), mirror("h/x")],
    ),
    "url_malformed": (
        [
            mirror(u)
            for u in (
                "http:///linux/production/",
                "http://h:x/linux/production/",
                "http:/h/linux/production/",
                "http://h/linux /production/",
                " http://h/linux/production/ ",
                "/srv/linux/production\n",
            )
        ],
        [mirror(GOOD_URL), mirror("http://[2001:db8::1]:8000/linux/production/")],
    ),
    "url_contains_arch": (
        [
            mirror(u)
            for u in (
                "http://h/linux/production/arch_x86_64/",
                "http://h/linux/production/arch_arm64",
                "/srv/linux/production/arch_x86_64",
                "http://h/linux/production/arch_x86_64/updates.zip",
                "http://h/linux/production/ARCH_X86_64/",
            )
        ],
        [
            mirror(u)
            for u in (
                GOOD_URL,
                "http://arch-mirror/linux/production/",
                "http://h/linux/research_lab/",
                "http://arch_host/linux/production/",
            )
        ],
    ),
    "url_is_a_file": (
        [mirror("http://h/linux/production/updates.zip"), mirror("/srv/linux/production/manifest.json")],
        [mirror(GOOD_URL), mirror("http://zip/linux/zip/"), mirror("http://h.zip/linux/production/")],
    ),
    "url_credentials": ([mirror("http://u:p@h/linux/production/")], [mirror(GOOD_URL)]),
    "url_query": (
        [mirror("http://h/linux/production/?a=1"), mirror("http://h/linux/production/#a")],
        [mirror(GOOD_URL)],
    ),
    "url_mac_tree": (
        [mirror("http://h/mac/production/"), mirror("/srv/mac/preview")],
        [mirror(GOOD_URL), mirror("http://mac/linux/production/"), mirror("http://h/mac/mirror/linux/production/")],
    ),
    "url_above_ring_folder": (
        [mirror("http://h:8000/"), mirror("http://h/linux/"), mirror("/srv/mde/linux")],
        [mirror(GOOD_URL), mirror("http://h/production/"), mirror("http://h/linux/canary/")],
    ),
    "url_unusual_folder": (
        [mirror("http://h/production/"), mirror("http://h/a/b/c/"), mirror("http://h/Linux/production/")],
        [mirror(GOOD_URL), mirror("http://h/x/linux/canary/"), mirror("http://h/mac/production/")],
    ),
    "url_back_folder": (
        [mirror("http://h/linux/production_back/"), mirror("/srv/linux/preview_back")],
        [mirror(GOOD_URL), mirror("http://h/linux_back/linux/production/")],
    ),
    "url_trailing_slash": (
        [mirror("http://h/linux/production"), mirror("/srv/linux/production/")],
        [mirror(GOOD_URL), mirror("/srv/linux/production")],
    ),
    "mirror_world_writable": (
        [mirror("/tmp/wdav-update/linux/production"), mirror("/var/tmp/linux/production")],
        [mirror("/srv/tmp/linux/production"), mirror("http://h/tmp/linux/production/")],
    ),
    "http_mirror_unverified": (
        [
            (mirror(HTTP_URL), "101.26052.0012"),
            (
                merged(mirror(HTTP_URL), {"features": {"offlineDefinitionUpdateVerifySig": "disabled"}}),
                "101.24022.0001",
            ),
        ],
        [
            (mirror(HTTP_URL), "101.26062.0005"),
            (mirror(GOOD_URL), "101.26052.0012"),
            mirror(HTTP_URL),
            (merged(mirror(HTTP_URL), {"features": {"offlineDefinitionUpdateVerifySig": "enabled"}}), "101.24022.0001"),
        ],
    ),
    "documentation_address": (
        [
            proxy("http://proxy.example.com:3128/"),
            proxy("http://proxy.contoso.com:3128/"),
            proxy("http://proxy.example:3128/"),
            mirror("https://mirror.fabrikam.com/linux/production/"),
            mirror("http://172.22.199.67:8000/linux/production/"),
            mirror("http://proxy.example.mil/linux/production/"),
        ],
        [
            proxy("http://example:3128/"),
            proxy("http://contoso-proxy.corp.net:3128/"),
            proxy("http://myexample.com:3128/"),
            mirror("http://172.22.199.68:8000/linux/production/"),
            mirror("/srv/example.com/linux/production"),
        ],
    ),
    "url_is_microsofts": (
        [
            mirror("https://go.microsoft.com/fwlink/?linkid=2144709"),
            mirror("https://definitionupdates.microsoft.com/x/"),
        ],
        [mirror("https://microsoft.mirror.net/linux/production/"), mirror("http://notmicrosoft.com/linux/production/")],
    ),
    "http_mirror_signature_unsure": (
        [mirror(HTTP_URL)],
        [(mirror(HTTP_URL), NEW), mirror(GOOD_URL), mirror("/srv/linux/production")],
    ),
}
