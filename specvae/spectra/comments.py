"""Comments of MSP records: (key, value) pairs in four notations."""

from __future__ import annotations

import re

_COMMENT_LIST = re.compile(r";\s++(?=[A-Za-z_][A-Za-z _]*+=)")
_BETWEEN_BARS = re.compile(r"\|?[A-Z0-9 _]++=[^|=]*+(?:\|[A-Z0-9 _]++=[^|=]*+)++\|?")
_BETWEEN_QUOTES = re.compile(r"\"(?:\s++[,;]?|[,;])\s*+\"")
_VALUE_END = re.compile(r"[\s;\"]|$")


def parse_comments(text: str) -> list[tuple[str, str]]:
    """Split an MSP comment into its (key, value) pairs.

    There are four notations: ``"key=value" "key=value"`` (MoNA, MassBank), where a
    value may hold ``=`` and ``"``, and commas, semicolons or several blanks may divide
    them; ``key=value; key=value`` (RIKEN); ``|key=value|key=value`` (MS-DIAL);
    ``key=value key="two words"`` (NIST).
    """
    text = text.strip()
    if text.startswith('"'):
        parts = text[1:].removesuffix('"').split('" "')
        if any('"' in part for part in parts):
            parts = _BETWEEN_QUOTES.split(_without_stray_end(text)[1:].removesuffix('"'))
    elif _BETWEEN_BARS.fullmatch(text):
        parts = text.strip("|").split("|")
    elif _COMMENT_LIST.search(text):
        parts = _COMMENT_LIST.split(text.removesuffix(";"))
    else:
        return _nist_pairs(text)
    pairs = [part.partition("=") for part in parts]
    return [(key.strip(), value.strip()) for key, equals, value in pairs if equals]


def _without_stray_end(text: str) -> str:
    """Return quoted pairs without a quotation mark that stands alone behind the last of them."""
    kept = text.rstrip(' \t"\\')
    return kept + '"' if len(text[len(kept) :].split()) > 1 else text


def _nist_pairs(text: str) -> list[tuple[str, str]]:
    """Split ``key=value key="two words"``; a key reaches back to the value before it."""
    pairs: list[tuple[str, str]] = []
    place = 0
    while (equals := text.find("=", place)) >= 0:
        key = text[place:equals]
        for mark in '";=':
            key = key.rpartition(mark)[2]
        begin = equals + 1
        if text[begin : begin + 1] == '"':
            begin += 1
            end = text.find('"', begin)
            end = len(text) if end < 0 else end
        else:
            found = _VALUE_END.search(text, begin)
            end = found.start() if found is not None else len(text)
        if key.strip():
            pairs.append((key.strip(), text[begin:end]))
        place = max(end, begin)
    return pairs
