"""HTTPS by mirror_http: versions of TLS, certificates of clients, and a certificate that is renewed."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import ssl
import warnings
from pathlib import Path
from typing import Any

import pytest

from simulators.certificates import Authority, Certificate
from tests.support.nginx import NAME, Hosting


@pytest.fixture(scope="module")
def authority(shared: Hosting) -> Authority:
    return Authority(shared.server.folder / "certificates")


def https(certificate: Certificate, **more: Any) -> dict[str, Any]:
    return {
        "mirror_http_protocols": ["https"],
        "mirror_http_tls_certificate": str(certificate.cert),
        "mirror_http_tls_key": str(certificate.key),
        **more,
    }


def trusting(authority: Authority, client: Certificate | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.cert))
    if client:
        context.load_cert_chain(str(client.cert), str(client.key))
    return context


def speaks(shared: Hosting, authority: Authority, version: ssl.TLSVersion) -> bool:
    context = trusting(authority)
    # This client allows old versions, so that a refusal can only come from the server.
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version
    try:
        return shared.server.ask("/status.json", tls=context).status == 200
    except (ssl.SSLError, ConnectionError):
        return False


def test_tls_versions_and_both_ways_in(shared: Hosting, authority: Authority) -> None:
    certificate = authority.issue("both", [NAME])
    address = shared.tell("mirror_http_url", **https(certificate, mirror_http_protocols=["http", "https"]))
    assert address == f"https://{NAME}:{shared.server.tls_port}"
    spoken = {version: speaks(shared, authority, version) for version in ssl.TLSVersion if version > 0}
    assert {version.name for version, does in spoken.items() if does} == {"TLSv1_2", "TLSv1_3"}
    assert shared.server.ask("/status.json").status == 200
    assert shared.server.ask("/.state/channels.json", tls=trusting(authority)).status == 404
    assert shared.server.ask("/status.json", "DELETE", tls=trusting(authority)).status in (403, 405)

    shared.works(**https(certificate, mirror_http_tls_versions=["TLSv1.3"]))
    assert not speaks(shared, authority, ssl.TLSVersion.TLSv1_2)
    assert speaks(shared, authority, ssl.TLSVersion.TLSv1_3)
    # Without http in mirror_http_protocols, the default site answers this name again.
    assert shared.server.ask("/status.json").body == b"stock\n"


def test_protocols_as_a_survey_gives_them(shared: Hosting, authority: Authority) -> None:
    certificate = authority.issue("survey", [NAME])
    shared.works(**https(certificate, mirror_http_protocols="https"))
    assert f"listen 127.0.0.1:{shared.server.port}" not in shared.server.site.read_text(encoding="utf-8")
    assert shared.server.ask("/status.json").body == b"stock\n"
    assert shared.server.ask("/status.json", tls=trusting(authority)).status == 200
    shared.works(**https(certificate, mirror_http_protocols="http,https"))
    assert shared.server.ask("/status.json").status == 200


def test_only_ciphers_with_forward_secrecy_and_authentication(shared: Hosting, authority: Authority) -> None:
    shared.works(**https(authority.issue("ciphers", [NAME])))
    context = trusting(authority)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    spoken = set()
    context.set_ciphers("ALL:!aNULL:@SECLEVEL=0")
    for cipher in [offered["name"] for offered in context.get_ciphers() if offered["protocol"] != "TLSv1.3"]:
        context.set_ciphers(f"{cipher}:@SECLEVEL=0")
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            assert shared.server.ask("/status.json", tls=context).status == 200
            spoken.add(cipher)
    assert spoken
    assert [cipher for cipher in spoken if not re.match("ECDHE-.*-(GCM-SHA|CHACHA20)", cipher)] == []


def test_sites_that_refuse_handshakes_without_their_name_are_no_trouble(shared: Hosting, authority: Authority) -> None:
    strict = shared.server.conf / "sites-enabled" / "a-strict"
    strict.write_text(
        f"server {{ listen 127.0.0.1:{shared.server.tls_port} ssl default_server; ssl_reject_handshake on; }}\n",
        encoding="utf-8",
    )
    try:
        shared.works(**https(authority.issue("named", [NAME])))
        assert shared.server.ask("/status.json", tls=trusting(authority)).status == 200
        with pytest.raises(ssl.SSLError):
            shared.server.ask("/", name="unknown.test", tls=trusting(authority))
    finally:
        strict.unlink()


def test_certificates_of_clients(shared: Hosting, authority: Authority) -> None:
    other_authority = Authority(shared.server.folder / "other_authority")
    certificate = authority.issue("server", [NAME])
    shared.works(**https(certificate, mirror_http_tls_client_ca=str(authority.cert)))
    known = trusting(authority, authority.issue("replica"))
    assert shared.server.ask("/status.json", tls=known).status == 200
    for context in (trusting(authority), trusting(authority, other_authority.issue("stranger"))):
        try:
            answer = shared.server.ask("/status.json", tls=context)
        except (ssl.SSLError, ConnectionError):
            continue
        assert answer.status == 400
        assert b"format" not in answer.body

    both = {"mirror_http_protocols": ["http", "https"], "mirror_http_tls_client_ca": str(authority.cert)}
    around = shared.apply(**https(certificate, **both))
    assert around.status == 2
    assert "Over plain HTTP, clients without a certificate would be served" in around.flat()


def test_a_renewed_certificate_is_taken_over(shared: Hosting, authority: Authority) -> None:
    live = Certificate(shared.server.folder / "live.pem", shared.server.folder / "live.key")

    def install(certificate: Certificate) -> None:
        # Certificate tools replace the file and do not write to the old one.
        for source, target in zip(certificate, live):
            staged = Path(f"{target}.new")
            shutil.copy(source, staged)
            staged.replace(target)

    def shown() -> bytes | None:
        plain = socket.create_connection(("127.0.0.1", shared.server.tls_port))
        with trusting(authority).wrap_socket(plain, server_hostname=NAME) as wrapped:
            return wrapped.getpeercert(binary_form=True)

    install(authority.issue("first", [NAME]))
    shared.works(**https(live))
    before = shown()
    again = shared.works(**https(live))
    assert again.recap["m"].changed == 0

    install(authority.issue("second", [NAME]))
    assert shown() == before
    rehearsal = shared.apply("--check", **https(live))
    assert rehearsal.recap["m"].changed == 1, rehearsal.output
    assert shown() == before
    renewed = shared.works(**https(live))
    assert renewed.recap["m"].changed == 1, renewed.output
    assert shown() != before


def test_https_without_a_certificate_is_refused_in_words(shared: Hosting) -> None:
    refused = shared.apply(mirror_http_protocols=["https"])
    assert refused.status == 2
    assert "HTTPS needs mirror_http_tls_certificate and mirror_http_tls_key" in refused.flat()
