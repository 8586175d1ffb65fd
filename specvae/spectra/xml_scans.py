"""The elements of mzML and mzXML, one scan at a time, from files that break XML's rules, too."""

from __future__ import annotations

import re
from codecs import getincrementaldecoder
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, cast
from xml.etree.ElementTree import Element, XMLPullParser

from specvae.errors import InputError
from specvae.limits import limits
from specvae.spectra.lines import read_piece
from specvae.text_encoding import AS_WINDOWS_TEXT


def scan_elements(
    path: Path, stream: BinaryIO, tag: str, groups: dict[str, Element]
) -> Iterator[tuple[int, Element]]:
    """Yield number and element of each scan as it ends, and forget all that has been yielded.

    Scans may stand inside one another (mzXML); they are counted as they begin. Groups of terms that
    scans refer to go to `groups`.
    """
    above: list[Element] = []
    numbers: list[int] = []  # of the scans that are open
    in_group = False
    n_scans = n_bytes = 0
    for n_new, events in _events(stream):
        n_bytes += n_new
        if n_bytes > (most := limits().record_bytes):
            raise InputError(
                f"{path}: scan {n_scans} is longer than {most:,} bytes (record_bytes); wanted "
                "shorter ones"
            )
        for event, element in events:
            name = tag_of(element)
            if event == "start":
                above.append(element)
                if name == tag:
                    n_scans += 1
                    numbers.append(n_scans)
                in_group = in_group or name == _GROUP
                continue
            above.pop()
            if name == tag:
                yield numbers.pop(), element
                n_bytes = 0
            elif name == _GROUP:
                groups[element.get("id", "")] = element
                in_group = False
            elif numbers or in_group:
                continue  # a part of what is still open
            if above:
                above[-1].remove(element)


_GROUP = "referenceableParamGroup"


def _events(stream: BinaryIO) -> Iterator[tuple[int, Iterator[tuple[str, Element]]]]:
    """Yield, piece by piece, the number of bytes read and the beginnings and ends of elements."""
    parser: XMLPullParser[Element] = XMLPullParser(("start", "end"))
    for piece in _well_formed(stream):
        parser.feed(piece)
        yield len(piece), cast("Iterator[tuple[str, Element]]", parser.read_events())
    parser.close()


_ENCODING = re.compile(rb"""<\?xml[^>]*\bencoding\s*=\s*["']([^"']*)""")
# What no XML may hold, and the parser gives up the rest of the file for. Zero bytes stay: they are
# the mark of a damaged file.
_CONTROLS = bytes({*range(1, 0x20)} - set(b"\t\n\r"))
_REFERENCE = re.compile(rb"&(?:(?:(#(?:\d{1,7}|x[0-9A-Fa-f]{1,6}))|amp|lt|gt|quot|apos);)?")
_LONGEST_REFERENCE = 10
_CHARACTERS = (
    *((9, 10, 13), range(0x20, 0xD800), range(0xE000, 0xFFFE)),
    range(0x10000, 0x110000),
)
_NO_CHARACTER = b"?"


def _well_formed(stream: BinaryIO) -> Iterator[bytes]:
    """Yield a file in pieces, without what writers put into names and titles against XML's rules.

    Control characters and references to them, an ampersand that begins none, and bytes that are no
    UTF-8, which are taken as Windows writes them.
    """
    declared = _ENCODING.search(cast("BufferedReader", stream).peek(200)[:200])
    is_utf8 = declared is None or declared[1].lower() in (b"utf-8", b"utf8")
    decoder = getincrementaldecoder("utf-8")(AS_WINDOWS_TEXT)
    held = b""
    while piece := read_piece(stream):
        if is_utf8 and not (piece.isascii() and not decoder.getstate()[0]):
            piece = decoder.decode(piece).encode()
        piece = (held + piece).translate(None, _CONTROLS)
        # A reference may go on in the next piece.
        end = piece.rfind(b"&", max(0, len(piece) - _LONGEST_REFERENCE))
        piece, held = (piece[:end], piece[end:]) if end >= 0 else (piece, b"")
        yield _REFERENCE.sub(_sound_reference, piece) if b"&" in piece else piece
    if held:
        yield _REFERENCE.sub(_sound_reference, held)


def _sound_reference(found: re.Match[bytes]) -> bytes:
    """Return a reference as it is, or what stands for one that XML does not know."""
    if found[0] == b"&":
        return b"&amp;"
    if found[1] is None:
        return found[0]
    number = int(found[1][2:], 16) if found[1][1:2] == b"x" else int(found[1][1:])
    return found[0] if any(number in those for those in _CHARACTERS) else _NO_CHARACTER


def tag_of(element: Element) -> str:
    """Return the name of an element without its namespace."""
    return element.tag.rpartition("}")[2]


def children(element: Element | None, tag: str) -> list[Element]:
    """Return the elements of a name right below another; none below none."""
    return [] if element is None else [child for child in element if tag_of(child) == tag]


def find(element: Element | None, *tags: str) -> Element | None:
    """Return the first element down a path of tags."""
    for tag in tags:
        found = children(element, tag)
        element = found[0] if found else None
    return element
