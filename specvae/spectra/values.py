"""The values of single fields: numbers, units and words, as files write them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from typing import NamedTuple

from specvae.errors import cut
from specvae.report import Reason
from specvae.spectra.adducts import parse_adduct, plain_signs
from specvae.spectra.notes import Note
from specvae.spectra.spectrum import MAX_MZ

_EMPTY_TEXTS = frozenset(
    {"", "-", "na", "n/a", "n.a.", "n.a", "nan", "none", "null", "unknown", "n.d.", "n/d", "nd"}
)
NUMBER = r"\d+(?:\.\d*)?|\.\d+"
"""A number without a sign, for regular expressions."""


def given(text: str | None) -> str | None:
    """Return a value without surrounding blanks and quotes, None if it means 'unknown'."""
    if text is None:
        return None
    text = text.strip()
    if text[:1] == '"' and text[-1] == '"' and len(text) > 1:
        text = text[1:-1].strip()
    return None if len(text) < 8 and text.lower() in _EMPTY_TEXTS else text


def shown(text: str) -> str:
    """Return text for a message: quoted, and cut if it is long."""
    return repr(cut(text))


def found_number(text: str) -> str:
    """Return the message on a text that is no number; for a decimal comma, what is wanted."""
    is_comma = "." not in text and re.search(r"\d,\d", text) is not None
    return f"found {shown(text)}" + (", wanted a decimal point, no comma" if is_comma else "")


class RejectedRecordError(Exception):
    """A record cannot become a spectrum; the reader counts it and goes on."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


class Precursor(NamedTuple):
    """The contents of the field of the precursor m/z.

    Parameters
    ----------
    mz
        In Th, None if the record says that there is none.
    charge
        The charge that stands behind m/z and intensity (MGF's PEPMASS), as found.
    notes
        Decisions of the reader.
    species
        The ion species that stands beside the m/z, as found.
    is_charge_sure
        False where the charge may be a placeholder for the intensity: ``195.0877 -1``.
    """

    mz: float | None
    charge: str | None = None
    notes: tuple[str, ...] = ()
    species: str | None = None
    is_charge_sure: bool = True


_ONE_MZ = re.compile(r"[0-9]{1,6}(?:\.[0-9]{0,20})?")  # what most records have
_MOST_PRECURSORS = 4  # more numbers are a list of peaks
_BETWEEN_VALUES = re.compile(r"\s*(?:[,;/|]|->?>|>|\N{RIGHTWARDS ARROW}|\bor\b|\band\b)\s*")
_UNIT_OF_MZ = re.compile(r"(?<![A-Za-z])(?:m/z|Th|Da|amu)\b[\s=:]*", re.IGNORECASE)
_UNCERTAINTY = re.compile(r"\s*(?:\N{PLUS-MINUS SIGN}|\+/-).*", re.DOTALL)
_PLUS_IN_FRONT = re.compile(r"\+(?=\d)")
# Several values as Python and R write them: "(195.0877, 1000.0)", "[195.0877, None]".
_TUPLE = re.compile(r"c?(?P<open>[(\[])(?P<values>[^()\[\]]*)[)\]]")
_ONE_CHARGE = r"\(?(?:[+-]?\d{1,2}[+-]|[+-]\d{1,2})\)?"
_CHARGES_BEHIND = re.compile(
    rf"(?<=\w)(?:\s+|\s*[,;/|]\s*)({_ONE_CHARGE}(?:\s*(?:,|and)\s*{_ONE_CHARGE})*)$"
)
# "195.0877 z=2", "195.0877 (charge 2+)", and a charge between m/z and intensity.
_NAMED_CHARGE = re.compile(
    r"[\s,;/|]*[(\[]?(?:\bz\s*=|\bcharge\b\s*[=:]?)\s*([+-]?\d{1,2}[+-]?)(?![\w.])[)\]]?",
    re.IGNORECASE,
)
_CHARGE_INSIDE = re.compile(r"(?<=\d)\s+(\d{1,2}[+-])(?=\s+[\d.])")
# Words that may be an ion species: they hold an M, and signs or brackets.
_SPECIES_BESIDE = re.compile(r"\(?\[\d?M[^\[\]]*\][\d+-]*\)?|[^\s;,|]*M[^\s;,|]*")
_BRACKETED_M = re.compile(r"\[\d?M[^\[\]]*\][\d+-]*")
_SURE_COMMA = re.compile(r"(\d{2,4}),(0\d{2,8})(?=\s|$)")  # no intensity begins with a zero
_COUNT_BEHIND = re.compile(r"^(\S+\s+\S+)\s+(\d{1,2})$")
_WITH_THOUSANDS = re.compile(
    "^([1-9])[\\s,'\N{RIGHT SINGLE QUOTATION MARK}](\\d{3}(?:\\.\\d+)?)(?=\\s|$)"
)
# "1.181,07": no ion has an m/z of 1.181.
_WITH_THOUSANDS_AND_COMMA = re.compile(
    "^([1-9])[\\s.'\N{RIGHT SINGLE QUOTATION MARK}](\\d{3}),(\\d+)(?=\\s|$)"
)


@lru_cache(maxsize=4096)
def parse_precursor(text: str | None, *, is_pepmass: bool = True) -> Precursor:
    """Read the field of the precursor m/z, which may hold more than one number.

    ``70.04 31836872 1+`` is m/z, intensity and charge (MGF), and an ion species may stand beside
    them: ``195.0877 [M+H]+``. In ``866.59/792.13`` the first is the ion of the intact molecule, the
    rest are the stages of an MSn experiment; of that and of other short lists the first is taken,
    with a note. ``1 181.07`` has a thousands separator. Empty, ``N/A`` and 0 mean that there is
    none.

    Parameters
    ----------
    text
        The field's value.
    is_pepmass
        Whether this is MGF's ``PEPMASS``, where an intensity may stand behind the m/z. In other
        fields a second number may be another m/z.

    Raises
    ------
    RejectedRecordError
        If the text is neither empty nor a positive number, or is a whole list of peaks.
    """
    whole = given(text)
    if whole is None:
        return Precursor(None)
    if _ONE_MZ.fullmatch(whole) is not None:
        return Precursor(float(whole) or None)
    if len(whole) > LONGEST_VALUE:
        raise RejectedRecordError(Reason.BAD_PRECURSOR, f"found {shown(whole)}, wanted one number")
    body, species = _split_species(_plain_mz(plain_signs(whole)))
    notes: tuple[str, ...] = ()
    if (match := _WITH_THOUSANDS.match(body)) is not None:
        body = "".join(match.groups()) + body[match.end() :]
        notes = (Note.THOUSANDS.about(whole),)
    if (match := _WITH_THOUSANDS_AND_COMMA.match(body)) is not None:
        body = f"{match[1]}{match[2]}.{match[3]}{body[match.end() :]}"
        notes = (Note.THOUSANDS.about(whole),)
    if (match := _SURE_COMMA.match(body)) is not None:
        body = f"{match[1]}.{match[2]}{body[match.end() :]}"
        notes = (Note.DECIMAL_COMMAS.about(whole),)
    body, charge = _split_charge(body)
    first, *others = _BETWEEN_VALUES.split(body.rstrip(";,/|"))
    numbers = first.split()
    while numbers and not _is_number(numbers[-1]):
        numbers.pop()  # a unit, or another word
    _require_few(whole, body, numbers, others)
    value = float(numbers[0]) if numbers and _is_number(numbers[0]) else float("nan")
    if not 0 <= value <= MAX_MZ:
        raise RejectedRecordError(Reason.BAD_PRECURSOR, found_number(whole))
    if value and (
        others
        or len(numbers) > 2
        or (len(numbers) == 2 and _look_alike(*numbers, is_pepmass=is_pepmass))
    ):
        notes = (*notes, Note.FIRST_PRECURSOR.about(whole))
    is_charge_sure = charge != "-1" or len(numbers) > 1
    return Precursor(value or None, charge, notes, species, is_charge_sure)


def _split_charge(text: str) -> tuple[str, str | None]:
    """Return the field of a precursor without the charge behind its numbers, and that charge."""
    for pattern in (_NAMED_CHARGE, _CHARGE_INSIDE):
        if (match := pattern.search(text)) is not None and match.start() > 0:
            return text[: match.start()] + text[match.end() :], match[1]
    for pattern in (_CHARGES_BEHIND, _COUNT_BEHIND):
        if (match := pattern.search(text)) is not None:
            return text[: match.start(match.lastindex or 0)].rstrip(), match.groups()[-1]
    return text, None


def _require_few(whole: str, body: str, numbers: Sequence[str], others: Sequence[str]) -> None:
    """Reject a field whose numbers do not give the precursor m/z.

    `numbers` are separated by blanks, `others` by another mark.
    """
    n_found = len(numbers) + len(others)
    # "285,02" may be a decimal comma, or two numbers.
    is_unclear = "," in body and "." not in body and re.search(r"\d,\d", body) is not None
    # More than three numbers separated by blanks are m/z and intensities of peaks.
    is_list = len(numbers) > 3 or n_found > _MOST_PRECURSORS or any(" " in one for one in others)
    if is_list:
        detail = f"found {n_found} numbers, wanted one, so the precursor m/z cannot be told"
        raise RejectedRecordError(Reason.BAD_PRECURSOR, detail)
    if is_unclear or not body[:1].isdecimal():
        raise RejectedRecordError(Reason.BAD_PRECURSOR, found_number(whole))


def _split_species(text: str) -> tuple[str, str | None]:
    """Return the field of a precursor without the ion species in it, and that species."""
    for match in _SPECIES_BESIDE.finditer(text):
        word = match.group()
        for bare in (word, word.strip("()")):
            is_marked = "+" in bare or "-" in bare
            if _BRACKETED_M.fullmatch(bare) or (is_marked and parse_adduct(bare) is not None):
                rest = f"{text[: match.start()]} {text[match.end() :]}"
                return rest.strip(" \t;,|()"), bare
    return text, None


def _plain_mz(text: str) -> str:
    """Return the numbers of a precursor's field without units, uncertainties and brackets."""
    text = _UNCERTAINTY.sub("", _UNIT_OF_MZ.sub("", text)).strip()
    text = text[1:] if _PLUS_IN_FRONT.match(text) is not None else text
    if (match := _TUPLE.fullmatch(text)) is None:
        return text
    values = [value.strip() for value in match["values"].split(",")]
    # A tuple holds m/z and intensity, as the line of an MGF does; a list holds several m/z.
    if match["open"] == "(":
        return " ".join(value if given(value) is not None else "0" for value in values)
    return ", ".join(value for value in values if given(value) is not None)


LONGEST_VALUE = 200  # characters of a field that is a number or a few words


def _is_number(text: str) -> bool:
    try:
        return "_" not in text and float(text) == float(text)
    except ValueError:
        return False


def _look_alike(mz: str, second: str, *, is_pepmass: bool) -> bool:
    """Return whether a second number is written like an m/z, and not like an intensity."""
    decimals, others = (len(text.partition(".")[2]) for text in (mz, second))
    is_alike = decimals > 1 and decimals == others if is_pepmass else others > 0
    return is_alike and 0 < float(second) < _HIGHEST_USUAL_MZ


_HIGHEST_USUAL_MZ = 3000  # Th, of a second number in the field


_NO_MODE = _EMPTY_TEXTS - {"-"}
_MODE = re.compile(
    r"(?:(?:lc|gc|hplc|uplc|uhplc|di|nano|api|n|h)?[-_/ ]*"
    r"(?:h?esi|(?:es|ap)(?=[-_ (]*[+-])|apci|appi|nsi|maldi|desi|dart|fab|ei|ci|electrospray"
    r"|photoioni[sz]ation|ms)"
    r"(?:[-_/ ]?ms)?[-_,;/ ]*)?"
    r"\(?(?:(?:ion(?:i[sz]ation)?[-_ ]*mode|polarity)[-_ :=]*)?"
    r"(?P<sign>p|pos|posi|posit|positi[vf]?[aeo]?|plus|\+ ?(?:ve)?|1\+|\+?1(?:\.0)?"
    r"|n|neg|nega|negat|negati[vf]?[aeo]?|minus|- ?(?:ve)?|1-|0(?:\.0)?)\)?\.?"
    r"(?:[-_ ]*(?:h?esi|apci|appi|nsi|maldi|electrospray))?"
    r"(?:[-_ ]*(?:ions?|ioni[sz]ation|polarity))?(?:[-_ ]*(?:mode|scans?|polarity))?\.?"
    r"(?:[,;/ ]+\(?(?:h?esi|apci|appi|nsi|maldi|electrospray)\)?)?"
)
_NEGATIVE_SIGNS = frozenset("n0-m")  # first letters


@lru_cache(maxsize=256)
def parse_ion_mode(text: str) -> str | None:
    """Return ``positive`` or ``negative`` for a closed list of words, None for all others.

    P, pos, Positive, +, 1+, +ve, ESI-, (+)-ESI, positive ion mode, ...; 1 and 0 as R writes them.
    R's -1 means that the mode is unknown.
    """
    word = plain_signs(text[:LONGEST_VALUE]).strip().strip('"').lower()
    match = None if word in _NO_MODE else _MODE.fullmatch(word)
    if match is None:
        return None
    sign = match["sign"]
    is_negative = sign[0] in _NEGATIVE_SIGNS or "-" in sign
    return "negative" if is_negative else "positive"


_MS_LEVEL = re.compile(
    r"(?:full\s+)?(?:ms[\s_-]*(?:level)?[\s_^(:=-]*)?([1-9])(?:\.0+)?\)?(?:\s+(?:spectrum|scan))?",
    re.IGNORECASE,
)


@lru_cache(maxsize=256)
def parse_ms_level(text: str) -> int | None:
    """Return 2 for ``2``, ``MS2`` and ``MS/MS``; None for ``MSn`` and anything else.

    Words that name a survey scan, such as ``FEATURE_MS1``, are 1.
    """
    text = text.strip().strip('"')
    if text.lower() in {"ms/ms", "msms", "ms-ms"}:
        return 2
    if text.lower() in {"ms", "correlated ms"}:  # the latter is MZmine's
        return 1
    match = _MS_LEVEL.fullmatch(text)
    if match is None and _SURVEY.search(text) is not None and _FRAGMENTS.search(text) is None:
        return 1
    return int(match.group(1)) if match else None


# Words for survey scans, "FEATURE_MS1" or "FTMS + p ESI Full ms [100-900]", and for others.
_SURVEY = re.compile(
    r"(?<![a-z0-9])ms[\s_-]?1(?!\d)|\bfull[\s_-]*(?:ms|scan)(?![\s_-]*[a-z0-9])", re.IGNORECASE
)
_FRAGMENTS = re.compile(r"ms[\s_-]?[2-9n]|ms/ms|msms", re.IGNORECASE)


_CHARGE = re.compile(r"([+-]?)(\d{1,3})(?:\.0+)?([+-]?)")
_SIGNS = re.compile(r"\++|-{2,}")
_MOST_CHARGES = 100


def parse_charge(text: str | None) -> tuple[int, bool]:
    """Read a charge such as ``1+``, ``+1``, ``-1-``, ``--`` or ``2``.

    Returns
    -------
    tuple of (int, bool)
        The charge, 0 if it is not known, and whether it came with a sign.

    Raises
    ------
    RejectedRecordError
        If the text is no charge.
    """
    whole = given(text.strip(_AROUND_CHARGE)) if text is not None else None
    if whole is None or is_open_charge(whole):
        return 0, False
    word = plain_signs(whole).replace(" ", "").lower().removeprefix("z=").strip("()[]{};")
    if given(word.strip("+-")) is None and word.strip("+-"):
        return 0, False  # "NA+", where a writer puts the sign behind whatever it has
    if word == "?" or (word.strip("+-0123456789.") and parse_ion_mode(word) is not None):
        return 0, False  # "positive" gives the ion mode only, see `_mode_of_charge`
    if _SIGNS.fullmatch(word) is not None:
        word = f"{len(word)}{word[0]}"
    match = _CHARGE.fullmatch(word)
    signs = set(match[1] + match[3]) if match is not None else set("+-")
    if match is not None and is_charge_of_two_signs(word):
        signs = {"-"}
    if match is None or len(signs) > 1 or int(match[2]) > _MOST_CHARGES:
        raise RejectedRecordError(Reason.BAD_CHARGE, f"found {shown(whole)}")
    size = int(match[2])
    return (-size if signs == {"-"} else size), bool(signs and size)


def is_charge_of_two_signs(text: str | None) -> bool:
    """Whether a charge is ``-1+``: OpenMS put a plus behind every number, with its own minus."""
    return text is not None and _TWO_SIGNS.fullmatch(plain_signs(text).strip("()[] ")) is not None


_TWO_SIGNS = re.compile(r"-\d{1,3}\+")


def known_charge(text: str) -> tuple[int, bool] | None:
    """Return a charge and whether it has a sign, None if it is unknown."""
    with suppress(RejectedRecordError):  # `make_spectrum` reports it
        charge, is_signed = parse_charge(text)
        return (charge, is_signed) if charge else None
    return None


_AROUND_CHARGE = " \t,;.'\""  # of a list with one charge, or of a sentence
_SEVERAL_CHARGES = re.compile(
    r"\(?[+-]?\d{1,3}[+-]?\)?(?:(?:\s*(?:,|;|/|&|\band\b|\bor\b)\s*|\s+)\(?[+-]?\d{1,3}[+-]?\)?)+"
)


def is_open_charge(text: str) -> bool:
    """Whether a text leaves the charge open, as Mascot's ``2+ and 3+`` does."""
    text = text.strip(_AROUND_CHARGE)
    if " and " in text or " or " in text or "," in text:
        return True
    return _SEVERAL_CHARGES.fullmatch(plain_signs(text).strip()) is not None


def lowest_charge(text: str) -> tuple[int, bool] | None:
    """Return the lowest of several charges and whether they have a sign.

    None where one cannot be read, or their signs differ.
    """
    found = [
        known_charge(word)
        for word in _BETWEEN_CHARGES.split(plain_signs(text).strip(_AROUND_CHARGE))
    ]
    charges = {charge for charge in found if charge is not None}
    if None in found or len({(charge > 0, is_signed) for charge, is_signed in charges}) != 1:
        return None
    return min(charges, key=lambda charge: abs(charge[0]))


_BETWEEN_CHARGES = re.compile(r"\s*(?:,(?:\s*and\b)?|;|/|&|\band\b|\bor\b)\s*|\s+(?=\(?[+-]?\d)")


_LONGEST_TIME = 1e9  # s
_ISO_TIME = re.compile(
    rf"P(?:0+[YMWD])*T(?:({NUMBER})H)?(?:({NUMBER})M)?(?:({NUMBER})S)?", re.IGNORECASE
)
_SECONDS = re.compile(rf"[\s(\[]*((?:{NUMBER})(?:e[+-]?\d{{1,2}})?)(.*)", re.DOTALL | re.IGNORECASE)
_CLOCK = re.compile(r"(?:(\d{1,3}):)?(\d{1,3}):(\d{1,2}(?:\.\d*)?)")
_IN_WORDS = re.compile(  # 4 min 10 s, 4'10"
    rf"(?:(\d{{1,3}})\s*h(?:ours?|rs?)?\s*)?(\d{{1,4}})\s*(?:min(?:ute[sn]?)?|m|')\.?"
    rf"(?:\s*[,;]|\s+and\b|\s+und\b)?\s*({NUMBER})\s*(?:s(?:ec(?:onds?)?|ek(?:unden?)?)?\.?|''|\")",
    re.IGNORECASE,
)
_IN_HOURS = re.compile(  # 1 h 2 min
    r"(\d{1,3})\s*h(?:ours?|rs?)?\s*(\d{1,2})\s*(?:min(?:utes?)?|m|')\.?()", re.IGNORECASE
)
_UNCLEAR_COMMA = re.compile(r"(?:\d{1,2}\.\d{3}|\d+),\d+\D*")  # a decimal comma, or two times
_TIME_IN_THOUSANDS = re.compile(r"\s*[1-9]\d?[,\s]\d{3}\.\d+(?!\d)")  # 1,234.5
_UNIT = re.compile(
    r"(?<![A-Za-z])(min|ms\b|m\b|msec|milli|sec|s\b|h\b|hours?\b|hrs?\b)", re.IGNORECASE
)
_SECONDS_OF_UNIT = (("ms", 1e-3), ("milli", 1e-3), ("m", 60.0), ("h", 3600.0), ("s", 1.0))


_OF_PARTS = (_ISO_TIME, _CLOCK, _IN_WORDS, _IN_HOURS)
_OTHER_UNIT = re.compile(r"\s*['\"A-Za-z_]")
# Word processors put these for minutes and seconds: 4\N{PRIME}10\N{DOUBLE PRIME}.
_PRIMES = str.maketrans(
    {"\u2019": "'", "\u2032": "'", "\u00b4": "'", "\u201d": '"', "\u2033": '"', "\u201c": '"'}
)
_COMMA_IN_ISO = re.compile(r"(?<=\d),(?=\d+[HMS]$)", re.IGNORECASE)  # ISO 8601 prefers it


@lru_cache(maxsize=4096)
def parse_retention_time(text: str, seconds_per_unit: float) -> float | None:
    """Return a retention time in seconds.

    A unit in the text (``7.4 min``, ``35 sec``) decides; else `seconds_per_unit` does.
    ``PT2M1.25S`` is a duration of ISO 8601, ``2:01.25`` one of a clock, ``2 min 1.25 s`` one in
    words. Of several times (``8.1, 8.9 min``, ``120.5-122``) the first is taken. Negative and
    unreadable values give None, and so do other units and ``121,25``, which may be a decimal comma
    or two times.
    """
    text = text[:LONGEST_VALUE].translate(_PRIMES)
    if _UNCLEAR_COMMA.fullmatch(text.strip()) is not None:
        return None
    if text.lstrip()[:1] in ("P", "p"):
        text = _COMMA_IN_ISO.sub(".", text.strip())
    iso = next(filter(None, (form.fullmatch(text.strip()) for form in _OF_PARTS)), None)
    if (found := _TIME_IN_THOUSANDS.match(text)) is not None:
        text = re.sub(r"[,\s]", "", found[0]) + text[found.end() :]
    match = _SECONDS.match(text)
    if iso is not None and any(iso.groups()):
        hours, minutes, seconds = (float(part or 0) for part in iso.groups())
        time = 3600 * hours + 60 * minutes + seconds
    elif match is not None:
        unit = _UNIT.search(match.group(2))
        if unit is not None:
            word = unit.group().lower()
            sizes = (size for name, size in _SECONDS_OF_UNIT if word.startswith(name))
            seconds_per_unit = next(sizes)
        elif _OTHER_UNIT.match(match.group(2)) is not None:
            return None
        time = float(match.group(1)) * seconds_per_unit
    else:
        return None
    return time if time < _LONGEST_TIME else None


_COUNT = re.compile(r"([0-9]{1,9}|[0-9]{1,3}(?:,[0-9]{3})+)(?:\.0+)?")


@lru_cache(maxsize=1024)
def parse_count(text: str) -> int | None:
    """Return the number of peaks that a record declares, None if the text is no such number."""
    match = _COUNT.fullmatch(text.strip())
    return int(match[1].replace(",", "")) if match is not None else None
