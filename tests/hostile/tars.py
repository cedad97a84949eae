"""Tars as the world has them: cut off, compressed, with members that are no files, or that lie about their size.

`TARS` lists the kinds: what of their samples is read, or which words the refusal has. `PACKED` has those that are read
but not packed.
"""

import bz2
import gzip
import io
import lzma
import tarfile
from dataclasses import dataclass

from tests.helpers import png

IMAGE = png(0)
GOOD = (("a.png", IMAGE), ("a.cls", b"0"))


@dataclass(frozen=True)
class Tar:
    """kind: the row of the table. keys: of the samples that are read; None where the tar is refused.

    read, packed: a part of why it is refused when read as a shard, and when packed; None where it is not.
    """

    kind: str
    data: bytes
    keys: tuple[str, ...] | None = ("a",)
    read: str | None = None
    packed: str | None = None


def refused(kind: str, data: bytes, why: str) -> Tar:
    return Tar(kind, data, None, why, why)


def tar(*members: tuple[str, bytes] | tarfile.TarInfo, kind: int = tarfile.PAX_FORMAT, end: bool = True) -> bytes:
    """A tar of `members`: (name, data), or a header without data."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=kind) as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                archive.addfile(info, io.BytesIO(member[1]))
    return out.getvalue() if end else out.getvalue().rstrip(b"\0")


def entry(name: str, kind: bytes, link: str = "", size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, size
    return info


def header(name: str, kind: bytes = b"0", size: bytes = b"00000000000\0") -> bytes:
    """One block of ustar, its checksum right whatever `size` says."""
    block = bytearray(512)
    block[: len(name)] = name.encode()
    block[100:108], block[124:136], block[156:157], block[257:265] = b"0000644\0", size, kind, b"ustar\x0000"
    block[148:156] = b" " * 8
    block[148:156] = f"{sum(block):06o}\0 ".encode()
    return bytes(block)


def octal(size: int) -> bytes:
    return f"{size:011o}\0".encode()


def base256(size: int) -> bytes:
    """A size as GNU tar writes large and negative ones."""
    return (b"\x80" if size >= 0 else b"\xff") + (size % (1 << 88)).to_bytes(11, "big")


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def pax(**records: str) -> bytes:
    """A pax header of the member that follows."""
    text = b""
    for name, value in records.items():
        body = f" {name.replace('__', '.')}={value}\n".encode()
        length = len(body) + len(str(len(body) + 3))
        text += f"{length}".encode() + body
    return header("pax", b"x", octal(len(text))) + padded(text)


END = bytes(1024)
LAST = padded(IMAGE)
PNG = header("a.png", size=octal(len(IMAGE))) + LAST
CLS = header("a.cls", size=octal(1)) + padded(b"0")
SPARSE = tar(*GOOD)[:-1024] + header("b.png", b"S", octal(512)) + bytes(512) + END


def sparse(size: int) -> bytes:
    """A GNU sparse member of 1 byte that stands for `size` bytes."""
    block = bytearray(header("a.png", b"S", octal(512)))
    block[386:410] = octal(0) + octal(1)
    block[483:495] = octal(size)
    block[148:156] = b" " * 8
    block[148:156] = f"{sum(block):06o}\0 ".encode()
    return bytes(block) + bytes(512)


UNREADABLE = "cannot be read as a WebDataset shard"
NO_LABEL = "expected a class index in 0..1048575 in a.cls, found"
WHOLE = tar(*GOOD)
BIG = 10 << 30

TARS = [
    Tar("nothing wrong", WHOLE),
    refused("zero bytes", b"", UNREADABLE),
    refused("text", b"no tar at all\n" * 100, UNREADABLE),
    refused("cut off in a header", WHOLE[:700], UNREADABLE),
    refused("cut off in the first header", WHOLE[:200], UNREADABLE),
    refused("cut off in a member", WHOLE[: 512 + len(IMAGE) // 2], UNREADABLE),
    refused("cut off before its end", WHOLE[: len(PNG + CLS)], UNREADABLE),
    Tar("compressed by gzip", gzip.compress(WHOLE), None, "found a compressed one"),
    refused("compressed by bzip2", bz2.compress(WHOLE), "found a compressed one"),
    refused("compressed by xz", lzma.compress(WHOLE), "found a compressed one"),
    Tar("garbage in gzip", gzip.compress(b"garbage" * 99), None, "found a compressed one", UNREADABLE),
    Tar("no members", bytes(10_240), (), None, "expected samples in"),
    Tar("names that climb", tar(("../../a.png", IMAGE), ("../../a.cls", b"0")), ("../../a",)),
    Tar("absolute names", tar(("/etc/a.png", IMAGE), ("/etc/a.cls", b"0")), ("/etc/a",)),
    Tar("symlink", tar(*GOOD, entry("b.png", tarfile.SYMTYPE, "/etc/passwd"))),
    Tar("hard link", tar(*GOOD, entry("b.png", tarfile.LNKTYPE, "a.png"))),
    Tar("devices and pipes", tar(*GOOD, entry("b.png", tarfile.CHRTYPE), entry("c.png", tarfile.FIFOTYPE))),
    Tar("folder named as an image", tar(entry("b.png", tarfile.DIRTYPE), *GOOD)),
    Tar("hidden names", tar((".b.png", IMAGE), *GOOD)),
    Tar("a name with a line end", tar(("a\nb.png", IMAGE), ("a\nb.cls", b"0")), ("a\nb",)),
    Tar("a long name", tar(("k" * 70_000 + ".png", IMAGE), ("k" * 70_000 + ".cls", b"0")), ("k" * 70_000,)),
    refused("a name that is no UTF-8", tar(("\udcff.png", IMAGE), ("\udcff.cls", b"0")), "expected names in UTF-8"),
    refused("a name with a null", pax(path="a\0b.png") + PNG + CLS + END, "expected names in UTF-8"),
    Tar("key twice", tar(*GOOD, ("b.png", IMAGE), ("b.cls", b"0"), *GOOD), ("a", "b", "a"), None, "unique keys"),
    Tar("member twice", tar(*GOOD, GOOD[0]), None, "duplicate file name", "unique keys"),
    Tar("two images for one key", tar(*GOOD, ("a.jpg", b"")), None, "expected one image for a, found png and jpg"),
    Tar("no image", tar(("a.cls", b"0"), ("a.txt", b"about")), packed="found none with an image"),
    Tar("no label", tar(GOOD[0]), packed=f"{NO_LABEL} no such member"),
    Tar("label of text", tar(GOOD[0], ("a.cls", b"cat")), packed=f"{NO_LABEL} cat"),
    Tar("label with a fraction", tar(GOOD[0], ("a.cls", b"0.5")), packed=f"{NO_LABEL} 0.5"),
    Tar("negative label", tar(GOOD[0], ("a.cls", b"-1")), packed=f"{NO_LABEL} -1"),
    Tar("label of a billion classes", tar(GOOD[0], ("a.cls", b"1000000000")), packed=f"{NO_LABEL} 1000000000"),
    Tar("label over 64 bits", tar(GOOD[0], ("a.cls", b"9" * 30)), packed=NO_LABEL),
    Tar("label of 100,000 digits", tar(GOOD[0], ("a.cls", b"9" * 100_000)), packed=NO_LABEL),
    refused("member claims 10 GB", header("a.png", size=base256(BIG)) + LAST + END, UNREADABLE),
    refused("member claims 2^80 bytes", header("a.png", size=base256(1 << 80)) + LAST + END, UNREADABLE),
    refused("member of negative size", header("a.png", size=base256(-512)) + LAST + CLS + END, UNREADABLE),
    refused("link of negative size", header("a.png", b"5", base256(-512)) * 3 + PNG + CLS + END, UNREADABLE),
    refused("long name of negative size", header("x", b"L", base256(-512)) * 2 + PNG + CLS + END, UNREADABLE),
    refused("sparse member of 10 GB", sparse(BIG % (8 << 30)) + CLS + END, "found a sparse one"),
    refused("pax size of 10 GB", pax(size=str(BIG)) + PNG + CLS + END, UNREADABLE),
    refused("pax size negative", pax(size="-1024") + PNG + CLS + END, UNREADABLE),
    refused(
        "pax sparse of 10 GB",
        pax(GNU__sparse__major="1", GNU__sparse__minor="0", GNU__sparse__realsize=str(BIG))
        + header("a.png", size=octal(512))
        + padded(b"1\n0\n1\n")
        + CLS
        + END,
        UNREADABLE,
    ),
    refused("pax header of 10 GB", header("pax", b"x", base256(BIG)) + padded(b"20 path=a") + PNG + END, UNREADABLE),
    refused("pax record of length 0", header("pax", b"x", octal(9)) + padded(b"0 path=a\n") + PNG + END, UNREADABLE),
    refused("a thousand long names", (header("x", b"L", octal(1)) + bytes(512)) * 1000 + PNG + END, UNREADABLE),
    refused("a wrong checksum", PNG + CLS[:148] + b"0000000\0" + CLS[156:] + END, UNREADABLE),
]
