"""Text that is no UTF-8: UTF-16, and bytes as programs on Windows write them."""

from __future__ import annotations

import codecs
import re

_TELLING_UTF_16 = 16  # bytes
_PLAIN_TEXT = re.compile(rb"[\t\r\n -~]+")


def utf_16_of(head: bytes) -> str:
    """Return which UTF-16 a file is by its first bytes, with its mark or without; "" if it is none.

    Without a mark each second byte of its first line is 0, and the others are printable.
    """
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    head = head[:_TELLING_UTF_16]
    for encoding, first, second in (("utf-16-le", 0, 1), ("utf-16-be", 1, 0)):
        letters, zeros = head[first::2], head[second::2]
        if len(letters) > 3 and not any(zeros) and _PLAIN_TEXT.fullmatch(letters) is not None:
            return encoding
    return ""


AS_WINDOWS_TEXT = "specvae.windows-1252"
"""How bytes that are no UTF-8 are decoded, for ``decode`` and ``open``: as Excel and others on
Windows write them, so that names and identifiers of two such files are the same text."""


def _windows_characters(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return error.object[error.start : error.end].decode("cp1252", "replace"), error.end


codecs.register_error(AS_WINDOWS_TEXT, _windows_characters)
