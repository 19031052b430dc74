"""One table for all code that masks users and passwords: a text, and the text as it is shown.

In the texts, every password contains S3. A text that equals its right side contains no secret and stays as it is.
"""

from __future__ import annotations

# Texts that may contain addresses: output of git, mdatp, scripts and servers, and log lines.
TEXTS: dict[str, str] = {
    # The usual form, and each character that the password has to percent-encode.
    "http://user:S3cret@proxy:3128": "http://***@proxy:3128",
    "http://user:S3cret@proxy:3128/": "http://***@proxy:3128/",
    "http://user:S3cret@proxy": "http://***@proxy",
    "http://user:S3/cret@proxy:3128": "http://***@proxy:3128",
    "http://user:S3@cret@proxy:3128": "http://***@proxy:3128",
    "http://user:S3?cret@proxy:3128": "http://***@proxy:3128",
    "http://user:S3#cret@proxy:3128": "http://***@proxy:3128",
    "http://user:S3:cret@proxy:3128": "http://***@proxy:3128",
    "http://user:S3%cret@proxy:3128": "http://***@proxy:3128",
    "http://user:S3%2Fcret@proxy:3128": "http://***@proxy:3128",
    "http://user:S3%40cret@proxy:3128": "http://***@proxy:3128",
    "http://user:S3[cret]@proxy:3128": "http://***@proxy:3128",
    "http://user:S3\\cret@proxy:3128": "http://***@proxy:3128",
    "http://user:S3\"cret'@proxy:3128": "http://***@proxy:3128",
    "http://user:S3<cret>@proxy:3128": "http://***@proxy:3128",
    "http://user:S3,cret;@proxy:3128": "http://***@proxy:3128",
    "http://user:S3 cret@proxy:3128": "http://***@proxy:3128",
    "http://user:S3 cr et@proxy": "http://***@proxy",
    "http://user: S3cret@proxy:3128": "http://***@proxy:3128",
    "http://user:S3@c ret@proxy:3128": "http://***@proxy:3128",
    "http://user:S3cr3t/Pw@rd:x%41 z@proxy:3128": "http://***@proxy:3128",
    "http://user:S3\ncret@proxy:3128": "http://***@proxy:3128",
    "http://user:S3\r\ncret@proxy:3128": "http://***@proxy:3128",
    "http://user:S3cr\u00e4t@proxy:3128": "http://***@proxy:3128",
    "http://user:S3http://x@proxy:3128": "http://***@proxy:3128",
    # Digits and a slash look like a port and a path.
    "http://user:123/4S3cret@proxy": "http://***@proxy",
    "http://user:123/S3@cret@proxy:3128/": "http://***@proxy:3128/",
    "http://user:123 S3cret@proxy": "http://***@proxy",
    "http://user:/S3cret@proxy": "http://***@proxy",
    # The user.
    "http://S3token@proxy:3128": "http://***@proxy:3128",
    "https://S3_token@github.com/microsoft/mdatp-xplat.git": "https://***@github.com/microsoft/mdatp-xplat.git",
    "http://:S3cret@proxy:3128": "http://***@proxy:3128",
    "http://CORP\\user:S3cret@proxy:3128": "http://***@proxy:3128",
    "http://CORP/user:S3cret@proxy:3128": "http://***@proxy:3128",
    "http://user@corp.example:S3cret@proxy:3128": "http://***@proxy:3128",
    # Schemes, hosts and no scheme.
    "HTTP://user:S3cret@PROXY:3128": "HTTP://***@PROXY:3128",
    "HtTpS://user:S3cret@proxy": "HtTpS://***@proxy",
    "socks5h://user:S3cret@proxy:1080": "socks5h://***@proxy:1080",
    "ssh://git:S3cret@host:22/path": "ssh://***@host:22/path",
    "git+https://user:S3cret@host/path": "git+https://***@host/path",
    "htp://user:S3cret@proxy:3128": "htp://***@proxy:3128",
    "http:/user:S3cret@proxy:3128": "***@proxy:3128",
    "//user:S3cret@server/share": "//***@server/share",
    "user:S3cret@proxy:3128": "***@proxy:3128",
    "user:S3@cret@proxy:3128": "***@proxy:3128",
    "user:S3/cret@proxy:3128": "***@proxy:3128",
    "CORP\\user:S3cret@proxy": "***@proxy",
    "http://user:S3cret@[2001:db8::7]:3128/x": "http://***@[2001:db8::7]:3128/x",
    "http://user:S3:c/ret@[::1]": "http://***@[::1]",
    "user:S3cret@[::1]:3128": "***@[::1]:3128",
    # Percent-encoded as a whole, as in a query.
    "http%3A%2F%2Fuser%3AS3cret%40proxy%3A3128": "http%3A%2F%2F***%40proxy%3A3128",
    "http%3a%2f%2fuser%3aS3cret%40proxy": "http%3a%2f%2f***%40proxy",
    "http://user:S3cret%40proxy:3128": "http://***%40proxy:3128",
    "user%3AS3cret%40proxy": "***%40proxy",
    "https://host/login?next=http%3A%2F%2Fuser%3AS3cret%40proxy": "https://host/login?next=http%3A%2F%2F***%40proxy",
    # Inside other text.
    "fatal: unable to access 'https://user:S3cret@host/r.git/': Could not resolve host: host": (
        "fatal: unable to access 'https://***@host/r.git/': Could not resolve host: host"
    ),
    "fatal: unable to access 'https://user:S3 c'ret@host/r.git/': The requested URL returned error: 403": (
        "fatal: unable to access 'https://***@host/r.git/': The requested URL returned error: 403"
    ),
    "http://user:S3cret@h1:1 and http://user:S3/c@ret@h2:2, then http://h3": (
        "http://***@h1:1 and http://***@h2:2, then http://h3"
    ),
    "no copy from http://h1:9/x.git: git said: http://h1:9/x.git HEAD http://user:S3cret@h2:2": (
        "no copy from http://h1:9/x.git: git said: http://h1:9/x.git HEAD http://***@h2:2"
    ),
    "(http://user:S3cret@h1), <http://user:S3cret@h2>": "(http://***@h1), <http://***@h2>",
    "http://user:S3cret@proxy failed, mail ops@corp.example": "http://***@proxy failed, mail ops@corp.example",
    "http://user:S3cret@proxy:3128 ops@corp.example": "http://***@proxy:3128 ops@corp.example",
    '{"proxy":"http://user:S3 cret@proxy:3128","mail":"ops@corp.example"}': (
        '{"proxy":"http://***@proxy:3128","mail":"ops@corp.example"}'
    ),
    '{"proxy":"user:S3cret@proxy:3128","mail":"ops@corp.example"}': (
        '{"proxy":"***@proxy:3128","mail":"ops@corp.example"}'
    ),
    '  "proxy": "user:S3 cret@proxy:3128",\n  "healthy": true': '  "proxy": "***@proxy:3128",\n  "healthy": true',
    'proxy                                   : "http://user:S3/cret@proxy:3128"': (
        'proxy                                   : "http://***@proxy:3128"'
    ),
    "https_proxy=http://user:S3cret@proxy:3128": "https_proxy=http://***@proxy:3128",
    "https_proxy=user:S3 cret@proxy:3128": "https_proxy=***@proxy:3128",
    "+ curl -x http://user:S3cret@proxy:3128 -o x https://host/": "+ curl -x http://***@proxy:3128 -o x https://host/",
    "b'http://user:S3cret@proxy'": "b'http://***@proxy'",
    # Other secrets of a request.
    "> Proxy-Authorization: Basic dXNlcjpTM2NyZXQ=": "> Proxy-Authorization: ***",
    "authorization: Bearer S3cret": "authorization: ***",
    '{"Authorization": "Basic S3cret", "a": 1}': '{"Authorization": "***", "a": 1}',
    "https://host/updates.zip?sv=1&sig=S3cret%3D&se=2": "https://host/updates.zip?sv=1&sig=***&se=2",
    "https://host/x?access_token=S3cret": "https://host/x?access_token=***",
    # No secret.
    "": "",
    "git@host:path": "git@host:path",
    "git@github.com:microsoft/mdatp-xplat.git": "git@github.com:microsoft/mdatp-xplat.git",
    "http://host/a@b": "http://host/a@b",
    "http://host/a@b/c@d": "http://host/a@b/c@d",
    "http://[2001:db8::7]/a@b": "http://[2001:db8::7]/a@b",
    "https://host/path?mail=a%40b.example": "https://host/path?mail=a%40b.example",
    "http://host:8080/a%40b": "http://host:8080/a%40b",
    "file:///srv/a@b": "file:///srv/a@b",
    "/srv/a@b/updates.zip": "/srv/a@b/updates.zip",
    "http://proxy:3128": "http://proxy:3128",
    "http://[::1]:3128/": "http://[::1]:3128/",
    "at 12:30 by bob@corp.example": "at 12:30 by bob@corp.example",
    "12:30:15 root@host sshd[1]: done": "12:30:15 root@host sshd[1]: done",
    "error: mail ops@corp.example": "error: mail ops@corp.example",
    "mailto:ops@corp.example": "mailto:ops@corp.example",
    "http://proxy:3128 failed, ask ops@corp.example": "http://proxy:3128 failed, ask ops@corp.example",
    "http://host/path failed: ask ops@corp.example": "http://host/path failed: ask ops@corp.example",
    '{"a":"12:30","mail":"x@corp.example","url":"http://h:1/"}': '{"a":"12:30","mail":"x@corp.example","url":"http://h:1/"}',
    "mdatp_managed.json.4242.2026-10-01@12:00:00~": "mdatp_managed.json.4242.2026-10-01@12:00:00~",
    "mde-mirror-alarm@sync.service: failed": "mde-mirror-alarm@sync.service: failed",
    "100 % of 2 files: 4:5": "100 % of 2 files: 4:5",
    "definitions 1.443.508.0, engine 1.1.25110.3002": "definitions 1.443.508.0, engine 1.1.25110.3002",
    "https://host/x?version=1&page=2": "https://host/x?version=1&page=2",
}

# Values that are one address, or are used where an address is expected.
VALUES: dict[str, str] = {
    "http://user:S3cret@proxy:3128": "http://***@proxy:3128",
    "http://user:S3/c@r?e#t%[]@proxy:3128/": "http://***@proxy:3128/",
    "http://user:S3 c ret@proxy": "http://***@proxy",
    "http://user:S3\nc\nret@proxy:3128": "http://***@proxy:3128",
    "http://user:123/4S3cret@proxy": "http://***@proxy",
    "http://user:12 S3 cret@proxy": "http://***@proxy",
    "http://user:S3\"c'r<e>t@proxy": "http://***@proxy",
    "http://user:S3 http://x@proxy": "http://***@proxy",
    "http://S3token@proxy": "http://***@proxy",
    "HTTPS://S3token@proxy": "HTTPS://***@proxy",
    "user:S3cret@proxy:3128": "***@proxy:3128",
    "user:S3 cret@proxy:3128": "***@proxy:3128",
    "user:S3://cret@proxy:3128": "***@proxy:3128",
    "user@proxy:3128": "***@proxy:3128",
    "http://user:S3cret@[2001:db8::7]:3128": "http://***@[2001:db8::7]:3128",
    "http%3A%2F%2Fuser%3AS3cret%40proxy": "http%3A%2F%2F***%40proxy",
    "http://user:S3cret%40proxy:3128": "http://***%40proxy:3128",
    "user%3AS3cret%40proxy": "***%40proxy",
    "http://proxy:3128": "http://proxy:3128",
    "http://[2001:db8::7]:3128/": "http://[2001:db8::7]:3128/",
    "http://mirror/a@b": "http://mirror/a@b",
    "http://mirror:8080/a%40b": "http://mirror:8080/a%40b",
    "/srv/a@b": "/srv/a@b",
    "/srv/mirror": "/srv/mirror",
    "proxy:3128": "proxy:3128",
    "": "",
}

# Addresses of proxies and of repositories, and whether their user or password has to be percent-encoded.
UNENCODED: dict[str, bool] = {
    "http://user:secret@proxy:3128": False,
    "http://user:s%2Fcr%40t@proxy:3128": False,
    "http://user:a:b;c,d=e!$&'()*+~@proxy:3128": False,
    "http://CORP\\user:secret@proxy:3128": False,
    "http://proxy:3128": False,
    "http://user:s/cret@proxy:3128": True,
    "http://user:S3cr3t/Pw%40rd@proxy:3128": True,
    "http://user:12/3@proxy:3128": True,
    "http://user:s?cret@proxy:3128": True,
    "http://user:s#cret@proxy:3128": True,
    "http://user:s[cret@proxy:3128": True,
    "http://user:s cret@proxy:3128": True,
    "http://user:s\tcret@proxy:3128": True,
    "http://user:s\ncret@proxy:3128": True,
    "http://user:s\u00e4cret@proxy:3128": True,
    "HTTP://user:S3cr3t/Pw@rd:x%41 z@proxy:3128": True,
}
