"""The elements of mzML and mzXML, one scan at a time, also from files that break XML's rules."""

from __future__ import annotations

import re
from codecs import getincrementaldecoder
from collections.abc import Iterator
from io import BufferedReader
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, cast
from xml.etree.ElementTree import Element, ParseError, XMLPullParser
from xml.sax.saxutils import quoteattr

from specvae.errors import InputError
from specvae.limits import limits
from specvae.spectra.lines import open_bytes, read_piece
from specvae.text_encoding import AS_WINDOWS_TEXT


class Scan(NamedTuple):
    """A scan of a file, or a place where one was lost.

    Attributes
    ----------
    number
        The scan's place in the file, from 1.
    element
        The scan's element, maybe incomplete; None if not even its first tag can be read.
    fault
        What is wrong with its XML; empty for a whole scan.
    """

    number: int
    element: Element | None
    fault: str = ""


def scan_elements(
    path: Path, stream: BinaryIO, tag: str, groups: dict[str, Element]
) -> Iterator[Scan]:
    """Yield each scan as it ends, and free the memory of scans that were yielded.

    Scans may stand inside one another (mzXML); they are counted as they begin. Groups of terms that
    scans refer to go to `groups`. Where the XML is broken, reading goes on with the next scan.
    Files that were joined are read one after the other.

    Raises
    ------
    ParseError
        If no scan can be read, or at the end of a file that is cut off.
    """
    n_yielded = 0
    try:
        for scan in _sound_scans(path, stream, tag, groups):
            yield scan
            n_yielded += 1
    except (ParseError, _TooLongError):
        # Going on behind broken places takes time for each scan: only a file that needs it is read
        # so, from its beginning.
        groups.clear()
        with open_bytes(path) as again:
            yield from islice(_possible_scans(path, again, tag, groups), n_yielded, None)


class _IsKept(dict[str, bool]):
    """Whether elements are scans or groups, by their tags with namespaces, each found out once."""

    def __init__(self, tag: str) -> None:
        super().__init__()
        self._names = (tag, _GROUP)

    def __missing__(self, tag: str) -> bool:
        self[tag] = found = tag.rpartition("}")[2] in self._names
        return found


class _TooLongError(Exception):
    """There is a scan that may be longer than the limits allow."""


def _sound_scans(
    path: Path, stream: BinaryIO, tag: str, groups: dict[str, Element]
) -> Iterator[Scan]:
    """Yield the scans of a file up to where its XML is broken, or a scan too long.

    Raises
    ------
    ParseError
        At a broken place, or another document.
    """
    parser: XMLPullParser[Element] = XMLPullParser(("start", "end"))
    is_kept = _IsKept(tag)
    above: list[Element] = []
    open_numbers: list[int] = []  # of scans that are open, and 0 for a group
    n_scans = n_bytes = 0
    for piece in _whole_tags(path, stream):
        n_bytes += len(piece)
        if n_bytes > limits().record_bytes:
            raise _TooLongError
        parser.feed(piece)
        for event, element in cast("Iterator[tuple[str, Element]]", parser.read_events()):
            if event == "start":
                above.append(element)
                if is_kept[element.tag]:
                    is_scan = tag_of(element) == tag
                    n_scans += is_scan
                    open_numbers.append(n_scans if is_scan else 0)
                continue
            above.pop()
            if is_kept[element.tag]:
                number = open_numbers.pop()
                if above:
                    above[-1].remove(element)
                if number:
                    yield Scan(number, element)
                    n_bytes = 0
                else:
                    groups[element.get("id", "")] = element
            elif above and not open_numbers:
                above[-1].remove(element)  # else it is a part of what is still open
    parser.close()


def _possible_scans(
    path: Path, stream: BinaryIO, tag: str, groups: dict[str, Element]
) -> Iterator[Scan]:
    """Yield the scans of a file, also those behind broken places and of other documents.

    Raises
    ------
    ParseError
        If no scan can be read, or at the end of a file that is cut off.
    """
    document = _Document(tag, groups)
    n_bytes = 0
    for beginning, piece in _pieces(path, stream, tag):
        if beginning == _DOCUMENT:
            declaration, end, piece = piece.partition(b"?>")
            if not document.takes(declaration + end):
                if document.n_scans:
                    yield from document.end(is_last=False)
                groups.clear()
                document = _Document(tag, groups, document.n_scans)
                document.takes(declaration + end)
                n_bytes = 0
        elif beginning == _SCAN:
            document.begin_scan()
        n_bytes = 0 if document.is_lost else n_bytes + len(piece)
        if n_bytes > (most := limits().record_bytes):
            raise InputError(
                f"{path}: scan {document.n_scans} is longer than {most:,} bytes (record_bytes); "
                "wanted shorter ones"
            )
        for scan in document.feed(piece):
            yield scan
            n_bytes = 0
    yield from document.end(is_last=True)


_GROUP = "referenceableParamGroup"


_EVENTS: Final = ("start-ns", "start", "end")


class _OpenElement(NamedTuple):
    """An element that has begun: the parser's, and its state before a broken place."""

    parsed: Element
    element: Element
    number: int  # of a scan; 0: no scan
    n_around: int  # scans and groups that are open, with this one


class _Document:
    """One XML document, parsed piece by piece; of a broken place only its scan is lost."""

    def __init__(self, tag: str, groups: dict[str, Element], n_scans: int = 0) -> None:
        self.n_scans = n_scans  # those of documents before it are counted, too
        self.is_lost = False  # what comes, up to the next scan
        self._tag = tag
        self._groups = groups
        self._parser: XMLPullParser[Element] = XMLPullParser(_EVENTS)
        self._namespaces: dict[str, str] = {}  # by prefix, "" for none
        self._open: list[_OpenElement] = []
        # What was open when the last scan began, and how many had begun before it.
        self._before: list[_OpenElement] | None = None
        self._n_before = n_scans
        self._reopened: list[_OpenElement] = []  # whose first tags the parser is to see again
        self._was_lost = False
        self._declaration = b""
        self._has_root = False

    def takes(self, declaration: bytes) -> bool:
        """Parse an XML declaration, or what looks like one in a comment or in CDATA.

        Returns False if it is the declaration of another document.
        """
        if self.is_lost or (self._has_root and not self._open):
            return False
        self._declaration = self._declaration or declaration
        self._parser.feed(declaration)
        if (flush := getattr(self._parser, "flush", None)) is not None:
            flush()  # later versions of Python may report an error with the next piece
        try:
            list(self._parser.read_events())
        except ParseError:
            return False
        return True

    def begin_scan(self) -> None:
        """Note that the first tag of a scan comes next."""
        if self.is_lost:
            self._parser = XMLPullParser(_EVENTS)
            self._parser.feed(self._declaration)
            self._reopened, self._open = self._open, []
            declared = "".join(
                f" xmlns{prefix and ':'}{prefix}={quoteattr(uri)}"
                for prefix, uri in self._namespaces.items()
            )
            for each in self._reopened:
                self._parser.feed(f"<{self._name_of(each.element)}{declared}>")
                declared = ""
            self.is_lost = False
        self._before = [*self._open, *self._reopened]
        self._n_before = self.n_scans

    def _name_of(self, element: Element) -> str:
        """Return the name of an element as the document has it, with its prefix."""
        uri = element.tag.rpartition("}")[0][1:]
        found = [prefix for prefix, own in self._namespaces.items() if own == uri and prefix]
        return f"{found[-1]}:{tag_of(element)}" if found else tag_of(element)

    def feed(self, piece: bytes) -> Iterator[Scan]:
        """Parse the next piece, and yield the scans that end in it."""
        if self.is_lost:
            return
        self._parser.feed(piece)
        try:
            events = cast("Iterator[tuple[str, Any]]", self._parser.read_events())
            for event, element in events:
                if event == "start-ns":
                    prefix, uri = element
                    self._namespaces[prefix or ""] = uri
                elif event == "start":
                    self._start(element)
                elif (ended := self._end(element)) is not None:
                    yield ended
        except ParseError as error:
            if self._before is None:
                raise
            yield from self._lose(error)

    def end(self, *, is_last: bool) -> Iterator[Scan]:
        """End a document; yield the scans without an end, but raise if the last is cut off."""
        try:
            if not self.is_lost:
                self._parser.close()
        except ParseError as error:
            if is_last:
                raise
            yield from self._lose(error)
        for each in self._open:
            if each.number:
                yield Scan(each.number, each.element, "has no end")

    def _start(self, element: Element) -> None:
        if self._reopened:
            self._open.append(self._reopened.pop(0)._replace(parsed=element))
            return
        self._has_root = True
        name = tag_of(element)
        number = 0
        n_around = self._open[-1].n_around if self._open else 0
        if name == self._tag:
            self.n_scans += 1
            number = self.n_scans
        if number or name == _GROUP:
            n_around += 1
        self._open.append(_OpenElement(element, element, number, n_around))

    def _end(self, parsed: Element) -> Scan | None:
        _, element, number, n_around = self._open.pop()
        n_left = self._open[-1].n_around if self._open else 0
        if n_left == n_around and n_left:
            return None  # a part of what is still open
        if n_left < n_around and not number:
            self._groups[element.get("id", "")] = element
        if self._open:
            self._open[-1].parsed.remove(parsed)
        return Scan(number, element) if number else None

    def _lose(self, error: ParseError) -> Iterator[Scan]:
        """Yield the scan that is lost, if there is one; skip all data up to the next scan."""
        # Lines are counted anew behind a broken place: the number of the scan is its place.
        fault = str(error).partition(": line ")[0]
        numbers = [each.number for each in self._open]
        if self._before is not None and self.n_scans == self._n_before:
            self.n_scans += 1  # not even its first tag can be read
            self._open = self._before
            yield Scan(self.n_scans, None, fault)
        elif any(numbers):
            place = numbers.index(max(numbers))  # the innermost
            lost, self._open = self._open[place], self._open[:place]
            yield Scan(lost.number, lost.element, fault)
        else:
            self._open = self._before or []
            if not self._was_lost:  # else it may be the end of what was opened again
                yield Scan(self.n_scans + 1, None, fault)
        self.is_lost = self._was_lost = True


_SCAN, _DOCUMENT = "scan", "document"
_LONGEST_TAG = 4096


def _pieces(path: Path, stream: BinaryIO, tag: str) -> Iterator[tuple[str, bytes]]:
    """Yield a file in pieces, each with what it begins with: a scan, a document, or nothing."""
    beginning = re.compile(rb"<(?:((?:[\w.-]+:)?%s)[\s>/]|\?xml\s)" % tag.encode())
    for piece in _whole_tags(path, stream):
        yield from _divided(piece, beginning)


def _whole_tags(path: Path, stream: BinaryIO) -> Iterator[bytes]:
    """Yield a file in pieces none of which ends inside a tag, if this is not long."""
    held = b""
    n_open = 0  # bytes of a tag that goes on
    for piece in _well_formed(stream):
        n_open = _bytes_of_open_tag(piece, n_open)
        if n_open > (most := limits().line_bytes):
            raise InputError(f"{path}: a tag is longer than {most:,} bytes (line_bytes)")
        piece = held + piece
        # A tag may continue in the next piece. The parser is given whole tags only, as it may
        # report a half one late.
        end = piece.rfind(b"<", max(0, len(piece) - _LONGEST_TAG))
        is_half = end >= 0 and piece.find(b">", end) < 0
        piece, held = (piece[:end], piece[end:]) if is_half else (piece, b"")
        yield piece
    if held:
        yield held


def _bytes_of_open_tag(piece: bytes, before: int) -> int:
    """Return how long a tag without its end is so far. The parser reads it from its start again."""
    start = piece.rfind(b"<")
    if piece.rfind(b">") > start:
        return 0
    if start >= 0:
        return len(piece) - start
    return before + len(piece) if before else 0


def _divided(piece: bytes, beginning: re.Pattern[bytes]) -> Iterator[tuple[str, bytes]]:
    kind, start = "", 0
    for match in beginning.finditer(piece):
        if match.start() > start or kind:
            yield kind, piece[start : match.start()]
        kind, start = _SCAN if match[1] else _DOCUMENT, match.start()
    if start < len(piece):
        yield kind, piece[start:]


_ENCODING = re.compile(rb"""<\?xml[^>]*\bencoding\s*=\s*["']([^"']*)""")
# Characters that XML forbids; the parser would stop at the first of them. Zero bytes are kept, as
# they are the sign of a damaged file.
_CONTROLS = bytes({*range(1, 0x20)} - set(b"\t\n\r"))
_REFERENCE = re.compile(rb"&(?:(?:(#(?:\d{1,7}|x[0-9A-Fa-f]{1,6}))|amp|lt|gt|quot|apos);)?")
_LONGEST_REFERENCE = 10
_CHARACTERS = (
    *((9, 10, 13), range(0x20, 0xD800), range(0xE000, 0xFFFE)),
    range(0x10000, 0x110000),
)
_NO_CHARACTER = b"?"


def _well_formed(stream: BinaryIO) -> Iterator[bytes]:
    """Yield a file in pieces, mended where names and titles break XML's rules.

    Mended are control characters and references to them, single ampersands, and bytes that are no
    UTF-8, which are read as Windows-1252.
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
    """Return a reference as it is, or the replacement of one that XML does not know."""
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
    """Return the direct children of an element with a name; none if the element is None."""
    return [] if element is None else [child for child in element if tag_of(child) == tag]


def find(element: Element | None, *tags: str) -> Element | None:
    """Return the first element down a path of tags."""
    for tag in tags:
        found = children(element, tag)
        element = found[0] if found else None
    return element
