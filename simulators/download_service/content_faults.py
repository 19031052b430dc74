"""Faults of the content: damaged packages and unusable version files."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
from typing import TYPE_CHECKING, Any

from .faults import Options, content_fault
from .packages import ZIP_TIME, noise
from .versions import versions_xml
from .wire import Content, Exchange

if TYPE_CHECKING:
    from .service import DownloadService


@content_fault
def corrupt(service: DownloadService, exchange: Exchange, content: Content, options: Options) -> None:
    """Inverted bytes in the middle of a member (the last one, or `member`); the zip structure stays valid."""
    data = bytearray(content.data())
    with zipfile.ZipFile(io.BytesIO(data)) as package:
        name = options.get("member", package.namelist()[-1])
        info = package.getinfo(name)
    middle = info.header_offset + 30 + len(info.filename.encode()) + info.compress_size // 2
    for place in range(middle, middle + options.get("count", 4)):
        data[place] ^= 0xFF
    content.replace(bytes(data))


@content_fault
def garbage(service: DownloadService, exchange: Exchange, content: Content, options: Options) -> None:
    """Random bytes of the correct length in place of the package."""
    content.replace(b"".join(noise("garbage", content.body.size)))


@content_fault
def short_zip(service: DownloadService, exchange: Exchange, content: Content, options: Options) -> None:
    """A zip without its last bytes; the Content-Length matches what is sent."""
    content.replace(content.data()[: -options.get("count", 1000)])


@content_fault
def prefix(service: DownloadService, exchange: Exchange, content: Content, options: Options) -> None:
    """Extra bytes before the zip, which most zip readers accept."""
    content.replace(options.get("text", "<!-- prefix -->\n").encode() + content.data())


@content_fault
def trailing(service: DownloadService, exchange: Exchange, content: Content, options: Options) -> None:
    """Extra bytes after the zip."""
    content.replace(content.data() + options.get("text", "\n<!-- trailing -->\n").encode())


@content_fault
def encrypted(service: DownloadService, exchange: Exchange, content: Content, options: Options) -> None:
    """The last member has the flag of an encrypted member."""
    data = bytearray(content.data())
    with zipfile.ZipFile(io.BytesIO(data)) as package:
        last = package.infolist()[-1]
        entry = package.start_dir
        while struct.unpack_from("<L", data, entry + 42)[0] != last.header_offset:
            entry += 46 + sum(struct.unpack_from("<3H", data, entry + 28))
    data[last.header_offset + 6] |= 1
    data[entry + 8] |= 1
    content.replace(bytes(data))


@content_fault
def members(service: DownloadService, exchange: Exchange, content: Content, options: Options) -> None:
    """A zip with one more member (`add`, such as `../evil.so`), one member less (`drop`), or a symlink (`link`)."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content.data())) as old, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as new:
        for info in old.infolist():
            if info.filename != options.get("drop") and not options.get("drop_all"):
                new.writestr(info, old.read(info))
        if "add" in options:
            new.writestr(zipfile.ZipInfo(options["add"], ZIP_TIME), b"not from Microsoft\n")
        if "link" in options:
            link = zipfile.ZipInfo(options["link"], ZIP_TIME)
            link.external_attr = 0o120777 << 16
            new.writestr(link, b"/etc/passwd")
    content.replace(made.getvalue())


@content_fault
def streamed(service: DownloadService, exchange: Exchange, content: Content, options: Options) -> None:
    """A valid zip as streaming writers make it: with data descriptors, Zip64 records and a comment."""

    class Unseekable(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            made.extend(data)
            return len(data)

    made = bytearray()
    with zipfile.ZipFile(io.BytesIO(content.data())) as old, zipfile.ZipFile(Unseekable(), "w") as new:
        for info in old.infolist():
            with new.open(zipfile.ZipInfo(info.filename, ZIP_TIME), "w", force_zip64=True) as stream:
                stream.write(old.read(info))
        new.comment = b"made by a streaming writer"
    content.replace(bytes(made))


@content_fault
def gzipped(service: DownloadService, exchange: Exchange, content: Content, options: Options) -> None:
    """A Content-Encoding that the client did not accept."""
    content.encoding = "gzip"
    content.replace(gzip.compress(content.data(), mtime=0))


@content_fault
def bomb(service: DownloadService, exchange: Exchange, content: Content, options: Options) -> None:
    """A small zip with a member that decompresses to `size` bytes."""
    made = io.BytesIO(content.data())
    with zipfile.ZipFile(made, "a", zipfile.ZIP_DEFLATED) as package:
        info = zipfile.ZipInfo("mpavdlta.big", ZIP_TIME)
        info.compress_type = zipfile.ZIP_DEFLATED
        with package.open(info, "w") as stream:
            zeros = bytes(1 << 20)
            for _ in range(options.get("size", 1 << 30) >> 20):
                stream.write(zeros)
    content.replace(made.getvalue())


@content_fault
def change_etag(service: DownloadService, exchange: Exchange, content: Content, options: Options) -> None:
    """A new ETag for every request; with `bytes`, also new content."""
    content.etag = f'"changing-{exchange.number}"'
    if options.get("bytes"):
        content.replace(b"".join(noise(f"changed {exchange.number}", content.body.size)))


@content_fault
def ignore_range(service: DownloadService, exchange: Exchange, content: Content, options: Options) -> None:
    """Range requests get status 200 and the whole content, although Accept-Ranges is sent."""
    content.ranges = False
    exchange.headers.pop("range", None)


@content_fault
def text(service: DownloadService, exchange: Exchange, content: Content, options: Options) -> None:
    """The text `body` as the content, with the media type `type`."""
    content.media_type = options.get("type", content.media_type)
    content.replace(options["body"].encode("utf-8"))


@content_fault
def versions(service: DownloadService, exchange: Exchange, content: Content, options: Options) -> None:
    """A version file with other fields: null leaves a field out, `extra` adds raw XML."""
    assert exchange.release is not None
    content.replace(versions_xml(exchange.release, options))


@content_fault
def bad_xml(service: DownloadService, exchange: Exchange, content: Content, options: Options) -> None:
    """XML that ends in the middle of a tag."""
    content.replace(b"<?xml version='1.0'?><versions><engine>1.1.25110.3002</engine><signatures date=")


@content_fault
def entity_bomb(service: DownloadService, exchange: Exchange, content: Content, options: Options) -> None:
    """Nested XML entities that expand to about 10^10 characters."""
    entities = '<!ENTITY e0 "1">' + "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, 11))
    content.replace(
        f"<?xml version='1.0'?><!DOCTYPE versions [{entities}]><versions><engine>&e10;</engine>"
        "<signatures date='2026-02-03 08:15:42Z'>&e10;</signatures></versions>".encode()
    )


@content_fault
def external_entity(service: DownloadService, exchange: Exchange, content: Content, options: Options) -> None:
    """An external XML entity that reads a file of the client."""
    assert exchange.release is not None
    system = options.get("system", "file:///etc/hostname")
    content.replace(
        f"<?xml version='1.0'?><!DOCTYPE versions [<!ENTITY x SYSTEM '{system}'>]><versions>"
        f"<engine>{exchange.release.engine}</engine><signatures>&x;</signatures></versions>".encode()
    )


@content_fault
def huge_xml(service: DownloadService, exchange: Exchange, content: Content, options: Options) -> None:
    """Correct versions after a comment of `size` bytes."""
    assert exchange.release is not None
    comment = b"<!--" + b"x" * options.get("size", 64 << 20) + b"-->"
    content.replace(comment + versions_xml(exchange.release, {}))
