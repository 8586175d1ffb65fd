"""Identifiers of queries in tables, which may be spelt differently from those of the spectra."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Container, Iterable, Mapping


def listed_as(
    query_id: str,
    names: Container[str],
    forms: Mapping[object, str],
    queries: Container[str] = frozenset(),
) -> str | None:
    """Return the name of a query in a table, None if the table does not name it.

    Parameters
    ----------
    query_id
        As the reader called it: the second spectrum of one name is ``ID#2``. A scan of a run may
        be listed by its number, ``7`` or ``scan=7``, and one that msconvert wrote to MGF also by
        the beginning of its title, ``run.7.7.1``.
    names
        Those in the table.
    forms
        The same `by_form`.
    queries
        Identifiers of all queries: what is exactly one of another query is its name alone.
    """
    scan = _SCAN.search(query_id)
    short = () if scan is None else tuple(part for part in scan.groups() if part is not None)
    first = _REPEATED.sub("", query_id)
    for name in (query_id, first, *short):
        found = name if name in names else forms.get(_form(name))
        if found is not None and (found in (query_id, first) or found not in queries):
            return found
    return None


# How a table of results has names that a spreadsheet would take for a formula.
_ESCAPED = ("'=", "'+", "'-", "'@")
# An identifier of a run's scan, and msconvert's title of one. Waters numbers the scans of each
# function anew ("function=2 process=0 scan=7"), so that their numbers tell nothing.
_SCAN = re.compile(
    r'^(?:(\S+) File:".*NativeID:")?'
    r'(?:controllerType=0 controllerNumber=1 )?(scan(?:Id)?=(\d+))"?$'
)
_REPEATED = re.compile(r"#(?:[2-9]|[1-9]\d+)$")


_MONTHS = "Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec"
_CHANGED = (
    (re.compile(rf"\d{{1,2}}-(?:{_MONTHS})|(?:{_MONTHS})-\d{{2}}"), "MAR1 or 3-1"),
    (re.compile(r"\d(?:\.\d+)?E\+\d{2,}"), "1E5"),
)


def changed_by_spreadsheet(names: Iterable[str]) -> str:
    """Return what to do about names that a spreadsheet has changed, behind a message; "" if none.

    Such names are not matched: 1-Mar may have been MAR1, 3-1 or 1-3, and 1.23E+06 any of ten
    thousand, so that a row could become that of another query, silently.
    """
    for name in names:
        for pattern, before in _CHANGED:
            if pattern.fullmatch(name):
                return (
                    f"; {name} is what a spreadsheet makes of a name such as {before}: wanted that "
                    "column as text, from before it was opened there"
                )
    return ""


def by_form(names: Iterable[str]) -> dict[object, str]:
    """Return names by a form that is the same for other spellings of them.

    A spreadsheet writes the query 1 as 1.0. Names that look the same may differ in their blanks, in
    characters without width, and in how their accents are composed. Of several names of one form
    the first counts.
    """
    forms: dict[object, str] = {}
    for name in names:
        forms.setdefault(_form(name), name)
    return forms


def _form(query_id: str) -> object:
    if query_id[:2] in _ESCAPED:
        query_id = query_id[1:]
    if not query_id.isascii():
        query_id = _composed(query_id)
    number = number_of(query_id)
    if not math.isnan(number):
        return number
    return " ".join(query_id.split()) if "  " in query_id else query_id


def _composed(text: str) -> str:
    """Return a text without invisible characters, such as U+200B, which web pages hold."""
    plain = unicodedata.normalize("NFKC", text)
    return " ".join("".join(c for c in plain if unicodedata.category(c) != "Cf").split())


def number_of(query_id: str) -> float:
    """Return the number that an identifier is, not-a-number for any other."""
    return float(query_id) if re.fullmatch(r"\d{1,15}(\.0*)?", query_id) else math.nan
