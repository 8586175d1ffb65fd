"""From a file's own spellings to the names and units of `Spectrum`.

A reader hands over a record as (key, value) pairs of text and the peaks; everything that MSP, MGF
and mzML writers call differently is settled here, once.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from specvae.errors import printable
from specvae.limits import limits
from specvae.report import Reason
from specvae.spectra.adducts import Adduct, parse_adduct, plain_signs
from specvae.spectra.notes import Note, note_kind
from specvae.spectra.profile import centroid, is_profile
from specvae.spectra.spectrum import LOWEST_SCALE, MAX_MZ, Spectrum

_SPELLINGS: Mapping[str, str] = {
    "name": "name",
    "compoundname": "compound_name",
    "title": "title",
    "recordtitle": "record_title",
    "deprecated": "deprecated",
    "db": "db",
    "accession": "accession",
    "featureid": "feature_id",
    "spectrumid": "spectrum_id",
    "peakid": "peak_id",
    "scannumber": "scans",
    "scans": "scans",
    "precursormz": "precursor_mz",
    "precursorionmz": "precursor_mz",
    "selectedionmz": "precursor_mz",
    "pepmass": "precursor_mz",
    "isolationwindowtargetmz": "window_mz",
    "precursor": "precursor_or_species",
    "precursorion": "precursor_or_species",
    "precursormass": "precursor_or_species",
    "parention": "precursor_or_species",
    "parentionmz": "precursor_or_species",
    "parentmz": "precursor_or_species",
    "precursortype": "adduct",
    "precursoriontype": "adduct",
    "adduct": "adduct",
    "adducttype": "adduct",
    "adductionname": "adduct",
    "ion": "adduct",
    "iontype": "adduct",
    "ionspecies": "adduct",
    "bestion": "mode_or_species",
    "ionization": "mode_or_species",
    "ionisation": "mode_or_species",
    "esimode": "mode_or_species",
    "mode": "mode_or_species",
    "charge": "charge",
    "chargestate": "charge",
    "precursorcharge": "charge",
    "ionmode": "ion_mode",
    "ionizationmode": "ion_mode",
    "ionisationmode": "ion_mode",
    "polarity": "ion_mode",
    "ionpolarity": "ion_mode",
    "ionpol": "ion_mode",
    "scanpolarity": "ion_mode",
    "mslevel": "ms_level",
    "mstype": "ms_level",
    "spectrumtype": "ms_level",
    "spectype": "ms_level",
    "collisionenergy": "collision_energy",
    "ce": "collision_energy",
    "colenergy": "collision_energy",
    "collisionenergyev": "collision_energy",
    "collisionenergyvoltage": "collision_energy",
    "nce": "nce",
    "normalizedcollisionenergy": "nce",
    "normalisedcollisionenergy": "nce",
    "retentiontime": "retention_time",
    "rettime": "retention_time",
    "rt": "retention_time",
    "rtime": "rt_seconds",
    "rtseconds": "rt_seconds",
    "rtinseconds": "rt_seconds",
    "rtsec": "rt_seconds",
    "retentiontimesec": "rt_seconds",
    "retentiontimeseconds": "rt_seconds",
    "retentiontimeinseconds": "rt_seconds",
    "rtminutes": "rt_minutes",
    "rtinminutes": "rt_minutes",
    "retentiontimeminutes": "rt_minutes",
    "retentiontimeinminutes": "rt_minutes",
    "instrument": "instrument",
    "instrumenttype": "instrument_type",
    "sourceinstrument": "instrument_type",
    "smilesinchi": "structure",
    "smiles": "smiles",
    "canonicalsmiles": "smiles",
    "isomericsmiles": "smiles",
    "structuresmiles": "smiles",
    "computedsmiles": "computed_smiles",
    "inchi": "inchi",
    "computedinchi": "computed_inchi",
    "metbinchi": "inchi",
    "standardinchi": "inchi",
    "inchikey": "inchikey",
    "inchiaux": "inchikey",
    "computedinchikey": "computed_inchikey",
    "metbinchikey": "inchikey",
    "standardinchikey": "inchikey",
    "inchikeysmiles": "inchikey",
    "inchikeyinchi": "inchikey",
    "inchikey14": "inchikey",
    "formula": "formula",
    "molecularformula": "formula",
    "chemicalformula": "formula",
    "numpeaks": "n_peaks",
    "numpeak": "n_peaks",
    "comment": "comments",
    "comments": "comments",
    "synon": "synonym",
}
# Field, and the unit that its key states behind it -> field whose values have that unit.
_OF_UNITS: Mapping[tuple[str, str], str] = {
    ("retention_time", "m"): "rt_minutes",
    ("retention_time", "s"): "rt_seconds",
    ("collision_energy", "%"): "nce",
    ("collision_energy", "n"): "nce",
}
_UNIT_BEHIND = re.compile(
    r"[(\[]\s*(min(?:utes?)?|s(?:ec(?:onds?)?)?|e?v|%|nce|m/z|th|da)\.?\s*[)\]]\s*$"
)
_COMMENT_SPELLINGS: Mapping[str, str] = {"parent": "precursor_mz"}  # NIST, SpectraST
_NOT_LETTERS = re.compile(r"[^a-z0-9]+")
_EMPTY_TEXTS = frozenset(
    {"", "-", "na", "n/a", "n.a.", "n.a", "nan", "none", "null", "unknown", "n.d.", "n/d", "nd"}
)
_NUMBER = r"\d+(?:\.\d*)?|\.\d+"


@lru_cache(maxsize=4096)
def field_of(key: str) -> str | None:
    """Return the field that a key means whatever its case and punctuation, None if it is none.

    A unit in brackets may stand behind it: ``RT (min)``.
    """
    key = key.lower()
    unit = _UNIT_BEHIND.search(key) if key.rstrip()[-1:] in ")]" else None
    name = _SPELLINGS.get(_NOT_LETTERS.sub("", key if unit is None else key[: unit.start()]))
    return name if name is None or unit is None else _OF_UNITS.get((name, unit[1][0]), name)


def stated(spectrum: Spectrum, name: str) -> str | None:
    """Return what a record says in a field, None if nothing.

    Parameters
    ----------
    spectrum
        The record.
    name
        An attribute of `Spectrum` or a field of the file; case and punctuation do not matter.
    """
    wanted = _NOT_LETTERS.sub("", name.lower())
    if wanted in _ATTRIBUTES:
        value = getattr(spectrum, _ATTRIBUTES[wanted])
        return None if value is None else str(value)
    for key, text in spectrum.metadata.items():
        if _NOT_LETTERS.sub("", key.lower()) == wanted:
            return given(text)
    return None


# Spelling without punctuation -> attribute of a spectrum.
_ATTRIBUTES = {
    _NOT_LETTERS.sub("", attribute.name): attribute.name
    for attribute in dataclasses.fields(Spectrum)
    if attribute.name not in ("mz", "intensity", "notes", "metadata")
}


def given(text: str | None) -> str | None:
    """Return a value without surrounding blanks and quotes, None if it means 'not known'."""
    if text is None:
        return None
    text = text.strip()
    if text[:1] == '"' and text[-1] == '"' and len(text) > 1:
        text = text[1:-1].strip()
    return None if len(text) < 8 and text.lower() in _EMPTY_TEXTS else text


def shown(text: str) -> str:
    """Return text for a message: quoted, and cut where it is long."""
    return repr(text if len(text) <= 60 else f"{text[:57]}...")


class RejectedRecordError(Exception):
    """A record cannot become a spectrum; the reader counts it and goes on."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


# --------------------------------------------------------------------------- single values


class Precursor(NamedTuple):
    """What the field of the precursor m/z says.

    Parameters
    ----------
    mz
        In Th, None where the record says that there is none.
    charge
        The charge that stands behind m/z and intensity (MGF's PEPMASS), as found.
    notes
        What had to be decided.
    species
        The ion species that stands beside the m/z, as found.
    """

    mz: float | None
    charge: str | None = None
    notes: tuple[str, ...] = ()
    species: str | None = None


_MOST_PRECURSORS = 4  # more numbers are a list of peaks
_BETWEEN_VALUES = re.compile(r"\s*(?:[,;/|]|->?>|>|\N{RIGHTWARDS ARROW}|\bor\b|\band\b)\s*")
_UNIT_OF_MZ = re.compile(r"\b(?:m/z|Th|Da|amu)\b[\s=:]*", re.IGNORECASE)
_UNCERTAINTY = re.compile(r"\s*(?:\N{PLUS-MINUS SIGN}|\+/-).*", re.DOTALL)
# What Python and R write of several values: "(195.0877, 1000.0)", "[195.0877, None]".
_TUPLE = re.compile(r"c?(?P<open>[(\[])(?P<values>[^()\[\]]*)[)\]]")
_ONE_CHARGE = r"\(?(?:[+-]?\d{1,2}[+-]|[+-]\d{1,2})\)?"
_CHARGES_BEHIND = re.compile(rf"(?<=\d)\s+({_ONE_CHARGE}(?:\s*(?:,|and)\s*{_ONE_CHARGE})*)$")
# Words that may be an ion species: they hold an M, and signs or brackets.
_SPECIES_BESIDE = re.compile(r"\(?\[\d?M[^\[\]]*\][\d+-]*\)?|[^\s;,|]*M[^\s;,|]*")
_BRACKETED_M = re.compile(r"\[\d?M[^\[\]]*\][\d+-]*")
_COUNT_BEHIND = re.compile(r"^(\S+\s+\S+)\s+(\d{1,2})$")
_WITH_THOUSANDS = re.compile(
    "^([1-9])[\\s,'\N{RIGHT SINGLE QUOTATION MARK}](\\d{3}(?:\\.\\d+)?)(?=\\s|$)"
)


@lru_cache(maxsize=4096)
def parse_precursor(text: str | None, *, is_pepmass: bool = True) -> Precursor:
    """Read the field of the precursor m/z, which may hold more than one number.

    ``70.04 31836872 1+`` is m/z, intensity and charge (MGF), and an ion species may stand beside
    them: ``195.0877 [M+H]+``. In ``866.59/792.13`` the first is the
    ion of the intact molecule, the rest are the stages of an MSn experiment; of that and of other
    short lists the first is taken, with a note. ``1 181.07`` has a thousands separator. Empty,
    ``N/A`` and 0 mean that there is none.

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
    body = _plain_mz(plain_signs(whole)) if len(whole) <= _LONGEST_VALUE else ""
    charge: str | None = None
    notes: tuple[str, ...] = ()
    body, species = _split_species(body)
    if len(whole) > _LONGEST_VALUE:
        raise RejectedRecordError(Reason.BAD_PRECURSOR, f"found {shown(whole)}, wanted one number")
    if (match := _WITH_THOUSANDS.match(body)) is not None:
        body = "".join(match.groups()) + body[match.end() :]
        notes = (Note.THOUSANDS.about(whole),)
    for pattern in (_CHARGES_BEHIND, _COUNT_BEHIND):
        if (match := pattern.search(body)) is not None:
            charge = match.groups()[-1]
            body = body[: match.start(match.lastindex or 0)].rstrip()
            break
    first, *others = _BETWEEN_VALUES.split(body.rstrip(";,"))
    numbers = first.split()
    while numbers and not _is_number(numbers[-1]):
        numbers.pop()  # a unit, or another word
    n_found = len(numbers) + len(others)
    # "285,02" may be a decimal comma, or two numbers.
    is_unclear = "," in body and "." not in body and re.search(r"\d,\d", body) is not None
    # Numbers behind one another are m/z and intensity, as peaks are, unless they are two or three.
    is_list = n_found > _MOST_PRECURSORS or any(" " in other for other in others)
    if is_unclear or is_list or len(numbers) > 3 or not first[:1].isdecimal():
        found = f"{n_found} numbers" if is_list or len(numbers) > 3 else shown(whole)
        wanted = "wanted one, so the precursor m/z cannot be told" if "numbers" in found else ""
        detail = f"found {found}{', ' if wanted else ''}{wanted}"
        raise RejectedRecordError(Reason.BAD_PRECURSOR, detail)
    value = float(first.split()[0]) if _is_number(first.split()[0]) else float("nan")
    if not 0 <= value <= MAX_MZ:
        raise RejectedRecordError(Reason.BAD_PRECURSOR, f"found {shown(whole)}")
    if value and (
        others
        or len(numbers) > 2
        or (len(numbers) == 2 and _look_alike(*numbers, is_pepmass=is_pepmass))
    ):
        notes = (*notes, Note.FIRST_PRECURSOR.about(whole))
    return Precursor(value or None, charge, notes, species)


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
    if (match := _TUPLE.fullmatch(text)) is None:
        return text
    values = [value.strip() for value in match["values"].split(",")]
    # A tuple holds m/z and intensity, as the line of an MGF does; a list holds several m/z.
    between = " " if match["open"] == "(" else ", "
    return between.join(value for value in values if given(value) is not None)


_LONGEST_VALUE = 200  # characters of a field that is a number or a few words


def _is_number(text: str) -> bool:
    try:
        return "_" not in text and float(text) == float(text)
    except ValueError:
        return False


def _look_alike(mz: str, second: str, *, is_pepmass: bool) -> bool:
    """Whether a second number is written like an m/z, and not like an intensity."""
    decimals, others = (len(text.partition(".")[2]) for text in (mz, second))
    is_alike = decimals > 1 and decimals == others if is_pepmass else others > 0
    return is_alike and 0 < float(second) < _HIGHEST_USUAL_MZ


_HIGHEST_USUAL_MZ = 3000  # Th, of a second number in the field


_NO_MODE = _EMPTY_TEXTS - {"-"}
_MODE = re.compile(
    r"(?:(?:lc|gc|hplc|uplc|uhplc|di|nano|n)?[-_/ ]*"
    r"(?:h?esi|apci|appi|nsi|maldi|desi|dart|fab|ei|ci|electrospray|photoioni[sz]ation|ms)"
    r"(?:[-_/ ]?ms)?[-_,; ]*)?"
    r"\(?(?:(?:ion(?:i[sz]ation)?[-_ ]*mode|polarity)[-_ :=]*)?"
    r"(?P<sign>p|pos|posi|posit|positiv|positive|positif|plus|\+|1\+|\+1|1(?:\.0)?"
    r"|n|neg|nega|negat|negativ|negative|negatif|minus|-|1-|0(?:\.0)?)\)?\.?"
    r"(?:[-_ ]*(?:h?esi|apci|appi|nsi|maldi|electrospray))?"
    r"(?:[-_ ]*(?:ions?|ioni[sz]ation|polarity))?(?:[-_ ]*(?:mode|scans?|polarity))?\.?"
)
_NEGATIVE_SIGNS = frozenset("n0-m")  # first letters


@lru_cache(maxsize=256)
def parse_ion_mode(text: str) -> str | None:
    """Return ``positive`` or ``negative`` for a closed list of words, None for all others.

    P, pos, Positive, +, 1+, ESI-, (+)-ESI, positive ion mode, ...; 1 and 0 as R writes them.
    """
    word = plain_signs(text[:_LONGEST_VALUE]).strip().strip('"').lower()
    match = None if word in _NO_MODE else _MODE.fullmatch(word)
    if match is None:
        return None
    sign = match["sign"]
    is_negative = sign[0] in _NEGATIVE_SIGNS or "-" in sign
    return "negative" if is_negative else "positive"


_MS_LEVEL = re.compile(
    r"(?:full\s+)?(?:ms[\s_-]*(?:level)?[\s_^(:=-]*)?([1-9])(?:\.0+)?\)?", re.IGNORECASE
)


@lru_cache(maxsize=256)
def parse_ms_level(text: str) -> int | None:
    """Return 2 for ``2``, ``MS2`` and ``MS/MS``; None for ``MSn`` and anything else."""
    text = text.strip().strip('"')
    if text.lower() in {"ms/ms", "msms", "ms-ms"}:
        return 2
    if text.lower() in {"ms", "correlated ms"}:  # the latter is MZmine's
        return 1
    match = _MS_LEVEL.fullmatch(text)
    return int(match.group(1)) if match else None


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
    whole = given(text)
    if whole is None or _is_open_charge(whole):
        return 0, False
    word = plain_signs(whole).replace(" ", "").lower().removeprefix("z=").strip("()[]{};")
    if word == "?" or (word.strip("+-0123456789.") and parse_ion_mode(word) is not None):
        return 0, False  # "positive" gives the ion mode only, see `_mode_of_charge`
    if _SIGNS.fullmatch(word) is not None:
        word = f"{len(word)}{word[0]}"
    match = _CHARGE.fullmatch(word)
    signs = set(match[1] + match[3]) if match is not None else set("+-")
    if match is None or len(signs) > 1 or int(match[2]) > _MOST_CHARGES:
        raise RejectedRecordError(Reason.BAD_CHARGE, f"found {shown(whole)}")
    size = int(match[2])
    return (-size if signs == {"-"} else size), bool(signs and size)


def _mode_of_charge(text: str) -> str | None:
    """Return the ion mode of a charge without a size: ``-0`` (MZmine) or ``negative``."""
    word = plain_signs(text).strip("()[]{}; ")
    if word.strip("+-") == "0":
        return {"+": "positive", "-": "negative"}.get(word.strip("0")[:1])
    return None if any(map(str.isdigit, word)) else parse_ion_mode(word)


def _is_open_charge(text: str) -> bool:
    """Whether a text leaves the charge open, as Mascot's ``2+ and 3+`` does."""
    return " and " in text or " or " in text or "," in text


_LONGEST_TIME = 1e9  # s
_ISO_TIME = re.compile(
    rf"P(?:\d+D)?T(?:({_NUMBER})H)?(?:({_NUMBER})M)?(?:({_NUMBER})S)?", re.IGNORECASE
)
_SECONDS = re.compile(
    rf"[\s(\[]*((?:{_NUMBER})(?:e[+-]?\d{{1,2}})?)(.*)", re.DOTALL | re.IGNORECASE
)
_CLOCK = re.compile(r"(?:(\d{1,3}):)?(\d{1,3}):(\d{1,2}(?:\.\d*)?)")
_UNCLEAR_COMMA = re.compile(r"\d+,\d+\D*")  # a decimal comma, or two times
_UNIT = re.compile(r"\b(min|m\b|sec|s\b)|^(?:\s*)(M|S)$", re.IGNORECASE)


@lru_cache(maxsize=4096)
def parse_retention_time(text: str, seconds_per_unit: float) -> float | None:
    """Return a retention time in seconds.

    A unit in the text (``7.4 min``, ``35 sec``) decides; else `seconds_per_unit` does.
    ``PT2M1.25S`` is a duration of ISO 8601, ``2:01.25`` one of a clock. Of several times (``8.1,
    8.9 min``, ``120.5-122``) the first is taken. Negative and unreadable values give None, and so
    does ``121,25``, which may be a decimal comma or two times.
    """
    text = text[:_LONGEST_VALUE]
    if _UNCLEAR_COMMA.fullmatch(text.strip()) is not None:
        return None
    iso = _ISO_TIME.fullmatch(text.strip()) or _CLOCK.fullmatch(text.strip())
    match = _SECONDS.match(text)
    if iso is not None and any(iso.groups()):
        hours, minutes, seconds = (float(part or 0) for part in iso.groups())
        time = 3600 * hours + 60 * minutes + seconds
    elif match is not None:
        unit = _UNIT.search(match.group(2))
        if unit is not None:
            seconds_per_unit = 60.0 if unit.group().strip().lower().startswith("m") else 1.0
        time = float(match.group(1)) * seconds_per_unit
    else:
        return None
    return time if time < _LONGEST_TIME else None


# --------------------------------------------------------------------------- collision energy


class CollisionEnergy(NamedTuple):
    """A collision energy as far as its text tells.

    Parameters
    ----------
    ev
        Energy in eV.
    nce
        Normalised energy in percent of the instrument's scale.
    text
        The record's own words.
    """

    ev: float | None
    nce: float | None
    text: str


_NUMBERS = re.compile(_NUMBER)
_EV = re.compile(rf"({_NUMBER})\s*(?:eV|V)\b", re.IGNORECASE)
_NCE = re.compile(rf"({_NUMBER})\s*\(?\s*(?:%|NCE)|NCE\W*({_NUMBER})", re.IGNORECASE)
_NCE_WORDS = re.compile(r"%|nce|nominal|normali[sz]ed", re.IGNORECASE)
_DECIMAL_COMMA = re.compile(r"(?<=\d),(?=\d\s*-\s*\d+\.)")
_ENERGY_WORDS = re.compile(
    r"ramp(?:ed)?|from|to|stepped|steps?|resonant|relative|nominal|normali[sz]ed|collision|energy"
    r"|nce|ce|hcd|cid|(?:ft|it)-ms(?: ii)?|argon|(?:electron[- ]?)?volts?|kev|kv|ev|v",
    re.IGNORECASE,
)
_ENERGY_KEY = re.compile(r"\b(n?ce|(?:collision )?energy)\s*=", re.IGNORECASE)
_SPREAD = re.compile(rf"\s*(?:\u00b1|\+/-)\s*(?:{_NUMBER})")
_COMMA_INSIDE = re.compile(r"^\D*\d+,\d+\D*$")
_KILO = re.compile(r"\d\s*ke?V\b", re.IGNORECASE)


_HIGHEST_ENERGY = 1e6  # eV, or percent


def _mean(numbers: Iterable[str]) -> float | None:
    values = [float(number) for number in numbers]
    mean = sum(values) / len(values) if values else float("inf")
    return mean if mean < _HIGHEST_ENERGY else None


@lru_cache(maxsize=4096)
def parse_collision_energy(text: str) -> CollisionEnergy:
    """Read a collision energy, in eV or normalised.

    Volts are taken as eV, kV and keV as thousands of them; ``%``, ``NCE``, ``(nominal)`` and
    ``normalized`` mark normalised energies; a bare number is eV. Ramps and lists give the mean of
    their numbers, and ``35 +/- 15`` gives its middle. What is ambiguous gives neither value and
    stays as text: alternatives (``15 or 30``), formulas in m/z, activation amplitudes below 1
    (``0.70``), slash lists of MSn stages, bare numbers with ``HCD``, whose scale differs between
    instruments, and ``35,5``, which may be a decimal comma.
    """
    words = text[:_LONGEST_VALUE].strip().strip('"')
    # "42% (nominal) with stepped collision energies 30% and 55%": the first is their mean.
    body = _DECIMAL_COMMA.sub(".", words.partition(" with ")[0].partition(" by Ar")[0])
    body = _ENERGY_KEY.sub(r"\1 ", _SPREAD.sub("", body))
    numbers = _NUMBERS.findall(body)
    unknown = CollisionEnergy(None, None, text)
    # Lists of energies rise: "20,40" is one.
    if not numbers or (_COMMA_INSIDE.search(body) and float(numbers[0]) > float(numbers[1])):
        return unknown
    has_ev = _EV.search(body) is not None
    has_nce = _NCE_WORDS.search(body) is not None
    if has_ev and has_nce:
        nce = [a or b for a, b in _NCE.findall(body)]
        return CollisionEnergy(_mean(_EV.findall(body)), _mean(nce), text)
    leftover = _NUMBERS.sub(" ", _ENERGY_WORDS.sub(" ", body))
    if any(c.isalpha() or c in "=<" for c in leftover):
        return unknown
    value = _mean(numbers)
    if has_nce:
        return CollisionEnergy(None, value, text)
    if _KILO.search(body):
        return CollisionEnergy(_mean(str(1000 * float(n)) for n in numbers), None, text)
    if not has_ev and ("/" in body or "hcd" in body.lower() or float(numbers[0]) < 1):
        return unknown
    if not has_ev and len(numbers) > 1 and not re.search(r"[-,;]|to|ramp", body, re.IGNORECASE):
        return unknown
    return CollisionEnergy(value, None, text)


# --------------------------------------------------------------------------- comments

_COMMENT_LIST = re.compile(r";\s++(?=[A-Za-z_][A-Za-z _]*+=)")
_VALUE_END = re.compile(r"[\s;\"]|$")


def parse_comments(text: str) -> list[tuple[str, str]]:
    """Split an MSP comment into its (key, value) pairs.

    There are three ways of writing: ``"key=value" "key=value"`` (MoNA, MassBank), where a
    value may hold ``=`` and ``"``; ``key=value; key=value`` (RIKEN); ``key=value key="two words"``
    (NIST).
    """
    text = text.strip()
    if text.startswith('"'):
        parts = text[1:].removesuffix('"').split('" "')
    elif _COMMENT_LIST.search(text):
        parts = _COMMENT_LIST.split(text.removesuffix(";"))
    else:
        return _nist_pairs(text)
    pairs = [part.partition("=") for part in parts]
    return [(key.strip(), value.strip()) for key, equals, value in pairs if equals]


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


# --------------------------------------------------------------------------- whole records


class Polarity(NamedTuple):
    """What a record says about charge, settled."""

    adduct: str | None
    charge: int | None
    ion_mode: str | None
    notes: tuple[str, ...]


@lru_cache(maxsize=4096)
def settle_polarity(
    adduct_text: str | None, charge_text: str | None, ion_mode_text: str | None
) -> Polarity:
    """Bring ion species, charge and ion mode of one record into agreement.

    The ion species decides, then the sign of the charge, then the field for the ion mode. What is
    overruled leaves a note. A charge without sign takes the sign of the ion mode, else it is taken
    as positive, with a note. A species that is stated as unknown (``[M+?]+``) tells its charge.

    Raises
    ------
    RejectedRecordError
        If the charge is unreadable.
    """
    notes: list[str] = []
    text = given(adduct_text)
    mode = parse_ion_mode(ion_mode_text) if ion_mode_text else None
    if mode is None and ion_mode_text and given(ion_mode_text) is not None:
        notes.append(Note.MODE_NOT_UNDERSTOOD.about(ion_mode_text))
    charge, signed = parse_charge(charge_text)
    if mode is None and charge_text and not charge:
        mode = _mode_of_charge(charge_text)
    if charge_text and _is_open_charge(charge_text):
        notes.append(Note.SEVERAL_CHARGES.about(charge_text))
    ion = _first_species(text, (_sign_name(charge) if signed else None) or mode, notes)
    if ion is not None:
        if mode is not None and ion.ion_mode != mode:
            notes.append(Note.MODE_OVERRULED_BY_SPECIES.about(f"{mode}, {text}"))
        if charge and (abs(charge) != abs(ion.charge) or (signed and charge != ion.charge)):
            notes.append(Note.CHARGE_OVERRULED_BY_SPECIES.about(f"{charge_text}, {text}"))
        return Polarity(ion.name, ion.charge, ion.ion_mode, tuple(notes))
    unknown = _UNKNOWN_SPECIES.search(plain_signs(text)) if text is not None else None
    if unknown is not None:
        notes.append(Note.SPECIES_UNKNOWN.about(f"{text}"))
        text = None
        if unknown["sign"] and not signed:
            size = abs(charge) or int(unknown["size"] or 1)
            charge, signed = (-size if unknown["sign"] == "-" else size), True
    charge, mode = _without_species(charge, signed, mode, notes)
    return Polarity(text, charge or None, mode, tuple(notes))


def _without_species(
    charge: int, signed: bool, mode: str | None, notes: list[str]
) -> tuple[int, str | None]:
    """Return charge and ion mode of a record that names no ion species that can be read."""
    if signed:
        if mode is not None and mode != _sign_name(charge):
            notes.append(Note.MODE_OVERRULED_BY_CHARGE.about(f"{mode}, {charge:+d}"))
    elif mode is not None:
        charge = -abs(charge) if mode == "negative" else abs(charge)
    elif charge:
        notes.append(Note.CHARGE_TAKEN_AS_POSITIVE.about(str(charge)))
    return charge, _sign_name(charge) or mode


def _first_species(text: str | None, ion_mode: str | None, notes: list[str]) -> Adduct | None:
    """Return the first ion species of a text, None if it is none."""
    if text is None:
        return None
    # MSn records list the species of each stage, as their precursor m/z does.
    stages = _BETWEEN_SPECIES.split(plain_signs(text[:_LONGEST_VALUE]))
    ion = parse_adduct(stages[0], ion_mode)
    is_quotient = ion is not None and stages[1:] == [str(abs(ion.charge))]  # "M+2H/2"
    if ion is not None and len(stages) > 1 and not is_quotient:
        notes.append(Note.FIRST_SPECIES.about(text))
    return ion


_BETWEEN_SPECIES = re.compile(r"\s*(?:[,;/|]|\bor\b|\band\b|(?<=[\]+-])\s(?=\[))\s*")
_UNKNOWN_SPECIES = re.compile(
    r"(?:\?|\bunk(?:nown)?\b)[^+-]*?(?:[\])]?\s*(?P<size>\d{0,2})(?P<sign>[+-]))?", re.IGNORECASE
)


def _sign_name(charge: int) -> str | None:
    return None if charge == 0 else "positive" if charge > 0 else "negative"


class Style(NamedTuple):
    """What differs between file formats in the meaning of fields.

    Parameters
    ----------
    id_fields
        Fields that name a record in results, best first.
    name_fields
        Fields that hold the compound's name, best first.
    seconds_per_rt_unit
        Unit of a retention time that does not state it.
    """

    id_fields: tuple[str, ...]
    name_fields: tuple[str, ...]
    seconds_per_rt_unit: float


class Record(NamedTuple):
    """One record as a reader found it: fields by their meaning, and the rest.

    Parameters
    ----------
    fields
        First value that says something, by field, without surrounding blanks and quotes.
    metadata
        Pairs that are no field, as found; values of a repeated key are joined by line ends.
        Those that may name the record stand here, too.
    notes
        What the reader decided while it put the record together.
    """

    fields: dict[str, str]
    metadata: dict[str, str]
    notes: tuple[str, ...] = ()

    @property
    def is_survey(self) -> bool:
        """Whether this is a spectrum of MS level 1."""
        return parse_ms_level(self.fields.get("ms_level", "")) == 1

    @property
    def deprecated(self) -> str | None:
        """Why its authors took it back (MassBank), None if they did not."""
        reason = self.fields.get("deprecated")
        return None if reason is None or reason.lower() in ("no", "false", "0") else reason


def collect(pairs: Iterable[tuple[str, str]]) -> Record:
    """Sort (key, value) pairs into known fields and other metadata.

    A comment counts where no line of the record gives the field.
    """
    fields: dict[str, str] = {}
    metadata: dict[str, list[str]] = {}
    comments: list[str] = []
    of_several_meanings: list[tuple[str, str]] = []
    notes: list[str] = []
    for key, value in pairs:
        name = field_of(key)
        if name is None or name == "comments" or name in _ALSO_METADATA:
            metadata.setdefault(key, []).append(value)
        if name is None:
            continue
        if name == "comments":
            comments.append(value)
        elif name == "synonym":
            _add_tag(fields, value, notes)
        elif name in _BY_SHAPE:
            of_several_meanings.append((name, value))
        elif name == "ms_level" and parse_ms_level(value) is None:
            metadata.setdefault(key, []).append(value)  # "Spectrum_type: Centroid" is no level
        else:
            _keep_value(fields, name, key, value, notes)
    _sort_by_shape(fields, of_several_meanings)
    _add_species_of_precursor(fields, notes)
    _add_comments(fields, comments, notes)
    if "adduct" not in fields:
        _add_species_in_words(fields, comments)
    texts = {key: "\n".join(values) for key, values in metadata.items()}
    return Record(fields, texts, tuple(notes))


def _add_species_of_precursor(fields: dict[str, str], notes: list[str]) -> None:
    """Add the ion species that stands beside the precursor m/z; a field of its own goes before."""
    text = fields.get("precursor_mz")
    if text is None or "M" not in text:
        return
    with suppress(RejectedRecordError):  # `make_spectrum` says what is wrong
        species = parse_precursor(text).species
        if species is not None:
            _keep_species(fields, species, notes)


def _reads_as_precursor(text: str) -> bool:
    try:
        return parse_precursor(text).mz is not None
    except RejectedRecordError:
        return False


def _reads_as_species(text: str) -> bool:
    return parse_adduct(text) is not None


def _reads_as_mode(text: str) -> bool:
    # Under such a key a bare number may count anything.
    return not text.strip().isdigit() and parse_ion_mode(text) is not None


# Keys that hold different things in different files: what they may hold, told by its shape.
_BY_SHAPE: Mapping[str, tuple[tuple[str, Callable[[str], bool]], ...]] = {
    "precursor_or_species": (("precursor_mz", _reads_as_precursor), ("adduct", _reads_as_species)),
    "mode_or_species": (("ion_mode", _reads_as_mode), ("adduct", _reads_as_species)),
}

# Fields that name a record or what it belongs to, and those that may say nothing that is
# understood; they also stay in the metadata.
_ALSO_METADATA = frozenset(
    {"accession", "feature_id", "spectrum_id", "peak_id", "scans", "record_title", "synonym"}
) | frozenset(_BY_SHAPE)


def _sort_by_shape(fields: dict[str, str], found: Iterable[tuple[str, str]]) -> None:
    """Put what stands under keys of several meanings where it belongs, if that is free."""
    for name, text in found:
        field = next((field for field, reads in _BY_SHAPE[name] if reads(text)), None)
        if field is not None:
            _keep_first(fields, field, text)


# Numbers of the tags that NIST's programs write as synonyms: "Synon: $:03[M+H]+".
_NIST_TAGS: Mapping[str, str] = {
    "00": "ms_level",
    "03": "adduct",
    "04": "precursor_mz",
    "05": "collision_energy",
    "06": "instrument_type",
    "07": "instrument",
    "11": "ion_mode",
    "28": "inchikey",
}


def _add_tag(fields: dict[str, str], value: str, notes: list[str]) -> None:
    """Store what a synonym says that is one of NIST's tags."""
    text = value.strip()
    name = _NIST_TAGS.get(text[2:4]) if text.startswith("$:") else None
    if name is not None and (name != "ms_level" or parse_ms_level(text[4:]) is not None):
        _keep_value(fields, name, "synon", text[4:], notes)


def _add_comments(fields: dict[str, str], comments: Iterable[str], notes: list[str]) -> None:
    """Add what comments say and the record's own lines do not."""
    has_precursor = "precursor_mz" in fields and not _means_none(fields["precursor_mz"])
    for comment in comments:
        if (feature := _PROGENESIS_FEATURE.fullmatch(comment.strip())) is not None:
            _keep_first(fields, "rt_minutes", feature["minutes"])
            _keep_first(fields, "precursor_mz", feature["mz"])
        for key, value in parse_comments(comment):
            name = field_of(key) or _COMMENT_SPELLINGS.get(key.lower())
            if name == "ms_level" and parse_ms_level(value) is None:
                continue
            if name in _COMMENT_FIELDS:
                _keep_first(fields, name, value)
    if not has_precursor and "precursor_mz" in fields and not _means_none(fields["precursor_mz"]):
        notes.append(Note.COMMENT_PRECURSOR.about(fields["precursor_mz"]))


# Progenesis QI names a feature by its time and m/z, and states neither otherwise.
_PROGENESIS_FEATURE = re.compile(r"(?P<minutes>\d+\.\d+)_(?P<mz>\d+\.\d+)m/z")

_BRACKETED_SPECIES = re.compile(
    r"\[\d?M(?:[+-][^\[\]\s;,]{1,40})?\]\s?(?:\d[+-]|[+-]{2,3}|[+-]\d?)(?![\w\[\]])"
)
_SPECIES_BEHIND = re.compile(r"(?<=\s)\d?M(?:[+-]\d?[A-Z][A-Za-z0-9]*)+$")


def _add_species_in_words(fields: dict[str, str], comments: Iterable[str]) -> None:
    """Add the ion species that names or else comments mention, if all mentions are of one.

    LipidBlast, MassBank's titles and others write ``...; [M+Na]+; ...``, GNPS has it at the end of
    names: ``Malyngamide C M+Na``.
    """
    names = [fields[name] for name in _NAMES_WITH_SPECIES if name in fields]
    for texts in (names, comments):
        found = set()
        for text in texts:
            plain = plain_signs(text[:_LONGEST_NAME])
            mentions = _BRACKETED_SPECIES.findall(plain)
            behind = _SPECIES_BEHIND.search(plain)
            if behind is not None and texts is names:
                mentions.append(behind.group())
            found |= {ion.name for ion in map(parse_adduct, mentions) if ion is not None}
        if found:
            if len(found) == 1:
                fields["species_in_words"] = found.pop()
            return


_NAMES_WITH_SPECIES = ("name", "compound_name", "title", "record_title")


def _keep_value(fields: dict[str, str], name: str, key: str, value: str, notes: list[str]) -> None:
    if name == "precursor_mz":
        _keep_precursor(fields, key, value, notes)
    elif name == "adduct":
        _keep_species(fields, value, notes)
    else:
        _keep_first(fields, name, value)


def _keep_precursor(fields: dict[str, str], key: str, value: str, notes: list[str]) -> None:
    """Store the precursor m/z and whether it is MGF's PEPMASS, or note a second one."""
    if _is_other_precursor(fields.get("precursor_mz"), value):
        notes.append(Note.FIRST_PRECURSOR.about(f"{fields['precursor_mz']}, {value}"))
        return
    before = fields.get("precursor_mz")
    _keep_first(fields, "precursor_mz", value)
    if fields.get("precursor_mz") != before:
        fields.pop("pepmass", None)
        if "pep" in key.lower():
            fields["pepmass"] = key


def _keep_species(fields: dict[str, str], value: str, notes: list[str]) -> None:
    """Store the ion species, or note a second one that is another."""
    first = fields.get("adduct")
    _keep_first(fields, "adduct", value)
    if first is not None and value.strip() != first:
        one, other = parse_adduct(first), parse_adduct(value)
        if one is not None and other is not None and one != other:
            notes.append(Note.FIRST_SPECIES.about(f"{first}, {value}"))


def _is_other_precursor(first: str | None, second: str) -> bool:
    """Whether a second field of the precursor m/z is of another ion than the first."""
    if first is None:
        return False
    try:
        one, other = parse_precursor(first).mz, parse_precursor(second).mz
    except RejectedRecordError:
        return False
    return one is not None and other is not None and abs(one - other) > SAME_MZ


SAME_MZ = 0.01
"""In Th; closer m/z values are one ion, written with other numbers of digits."""


def _keep_first(fields: dict[str, str], name: str, value: str) -> None:
    """Store a field's value unless it says nothing, or one that says something is there."""
    if name in fields and not (name == "precursor_mz" and _means_none(fields[name])):
        return
    # "-" is an ion mode, and nowhere else a value.
    text = value.strip() if name == "ion_mode" else given(value)
    if text is not None:
        fields[name] = text


# Fields that a comment may give; its "Num peaks" or "Comment" are another database's.
_COMMENT_FIELDS = frozenset(_SPELLINGS.values()) - {
    "n_peaks",
    "comments",
    "name",
    "compound_name",
    "title",
    "db",
    "feature_id",
    "spectrum_id",
    "peak_id",
    "scans",
    "accession",
    "synonym",
    *_BY_SHAPE,
}


def _means_none(precursor: str) -> bool:
    try:
        return parse_precursor(precursor).mz is None
    except RejectedRecordError:
        return False


def _first(fields: Mapping[str, str], names: Iterable[str]) -> str | None:
    for name in names:
        if name in fields:
            return fields[name]
    return None


_COUNT = re.compile(r"([0-9]{1,9}|[0-9]{1,3}(?:,[0-9]{3})+)(?:\.0+)?")


def parse_count(text: str) -> int | None:
    """Return the number of peaks that a record declares, None if the text is no such number."""
    match = _COUNT.fullmatch(text.strip())
    return int(match[1].replace(",", "")) if match is not None else None


def identify(record: Record, style: Style, file_name: str, ordinal: int) -> str:
    """Return what a record is called: its best identifier, else ``FILE#N``."""
    name = printable(_first(record.fields, style.id_fields) or "")[:_LONGEST_NAME]
    return name or f"{file_name}#{ordinal}"


_LONGEST_NAME = 1000  # characters; a longer one is a peak list that lost its line ends


def require_peaks(
    mz: NDArray[np.float64], intensity: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return peaks (n_peaks,) sorted by m/z.

    Raises
    ------
    RejectedRecordError
        If there is no peak above 0, or a peak is not two finite numbers, m/z above 0 and at most
        `MAX_MZ`, intensity not below 0.
    """
    good = (mz > 0) & (mz <= MAX_MZ) & (intensity >= 0) & (intensity < np.inf)
    if not good.all():
        i = int(np.argmin(good))
        raise RejectedRecordError(Reason.BAD_PEAK, f"m/z {mz[i]:g}, intensity {intensity[i]:g}")
    if not intensity.any():
        raise RejectedRecordError(Reason.NO_PEAKS, "every intensity is 0" if mz.size else "")
    order = np.argsort(mz, kind="stable")
    highest = float(intensity.max())
    if not LOWEST_SCALE <= highest <= 1 / LOWEST_SCALE:
        # Heights count by their ratios alone; sums and quotients of such numbers leave what a
        # double can hold. Two steps, as the quotient of a denormal overflows, too.
        intensity = intensity * 2.0**600 if highest < 1 else intensity * 2.0**-600
        intensity = intensity / intensity.max()
    return mz[order], intensity[order]


def make_spectrum(
    record: Record,
    mz: NDArray[np.float64],
    intensity: NDArray[np.float64],
    style: Style,
    query_id: str,
    path: str,
    line: int,
    ordinal: int = 0,
) -> Spectrum:
    """Turn a record and its peaks into a spectrum.

    Raises
    ------
    RejectedRecordError
        If peaks, precursor m/z or charge are malformed.
    """
    if mz.size > (most := limits().record_peaks):
        raise RejectedRecordError(Reason.TOO_LARGE, f"more than {most:,} peaks (record_peaks)")
    fields = record.fields
    precursor = parse_precursor(fields.get("precursor_mz"), is_pepmass="pepmass" in fields)
    if precursor.mz is None and "window_mz" in fields:
        window = parse_precursor(fields["window_mz"])
        note = Note.WINDOW_TARGET.about("no precursor m/z")
        precursor = window._replace(charge=precursor.charge, notes=(*window.notes, note))
    charge, charge_notes = _charge_of(precursor.charge, fields.get("charge"))
    polarity = _settled(fields, charge)
    notes = (*record.notes, *precursor.notes, *charge_notes, *polarity.notes)
    smiles, inchi, inchikey = sort_structures(fields)
    energy = _energy(fields)

    def build(
        mz: NDArray[np.float64], intensity: NDArray[np.float64], notes: tuple[str, ...]
    ) -> Spectrum:
        return Spectrum(
            mz=mz,
            intensity=intensity,
            query_id=query_id,
            name=_first(fields, style.name_fields),
            precursor_mz=precursor.mz,
            adduct=polarity.adduct,
            charge=polarity.charge,
            ion_mode=polarity.ion_mode,
            ms_level=parse_ms_level(fields["ms_level"]) if "ms_level" in fields else None,
            collision_energy=energy.ev if energy else None,
            normalized_collision_energy=energy.nce if energy else None,
            collision_energy_text=energy.text if energy else None,
            retention_time=_retention_time(fields, style),
            instrument=fields.get("instrument"),
            instrument_type=fields.get("instrument_type"),
            smiles=smiles,
            inchi=inchi,
            inchikey=inchikey,
            formula=fields.get("formula"),
            path=path,
            line=line,
            ordinal=ordinal,
            notes=notes,
            metadata=record.metadata,
        )

    try:
        spectrum = build(mz, intensity, notes)
    except ValueError:
        # The peaks are unsorted or malformed, which is rare: sort them, or say what is wrong.
        spectrum = build(*require_peaks(mz, intensity), notes)
    stated = "profile" in fields
    if not stated and not is_profile(spectrum.mz, spectrum.intensity):
        return _distinct(spectrum)
    picked_mz, picked = centroid(spectrum.mz, spectrum.intensity)
    if picked.size == np.count_nonzero(spectrum.intensity):
        return _distinct(replace(spectrum, notes=(*notes, Note.PROFILE_KEPT)))
    found = f"{spectrum.n_peaks:,} points, {picked.size:,} peaks"
    return build(picked_mz, picked, (*notes, Note.CENTROIDED.about(found)))


def _energy(fields: Mapping[str, str]) -> CollisionEnergy | None:
    """Return the collision energy of a record, which may have a key for the normalised one."""
    text, normalised = fields.get("collision_energy"), fields.get("nce")
    energy = parse_collision_energy(text) if text is not None else None
    if normalised is None:
        return energy
    marked = normalised if _NCE_WORDS.search(normalised) else f"{normalised} NCE"
    nce = parse_collision_energy(marked)
    if energy is None or text == normalised:
        return nce
    return energy._replace(nce=nce.nce if energy.nce is None else energy.nce)


def _distinct(spectrum: Spectrum) -> Spectrum:
    """Return a spectrum whose peaks are above 0 and each of another m/z.

    Some writers add peaks of intensity 0, and join scans without adding up what they share. The
    number of peaks is evidence, and each is compared with the fragments of a candidate.
    """
    mz, intensity = spectrum.mz, spectrum.intensity
    if np.count_nonzero(mz[1:] == mz[:-1]) == 0 and intensity.item(intensity.argmin()) > 0:
        return spectrum
    is_peak = intensity > 0
    distinct, places = np.unique(mz[is_peak], return_inverse=True)
    heights = np.bincount(places, weights=intensity[is_peak]).astype(np.float64)
    notes = spectrum.notes
    if (n_shared := places.size - distinct.size) > 0:
        notes = (*notes, Note.ADDED_UP.about(f"{n_shared:,} of {places.size:,} peaks"))
    if heights.max() > 1 / LOWEST_SCALE:
        heights = heights / heights.max()
    return replace(spectrum, mz=distinct, intensity=heights, notes=notes)


def _settled(fields: Mapping[str, str], charge: str | None) -> Polarity:
    """Return what a record says about charge, also by an ion species that it only mentions.

    A mention counts for less than a field: it must agree with the ion mode and the charge.
    """
    mode, mentioned = fields.get("ion_mode"), fields.get("species_in_words")
    if mentioned is not None:
        polarity = settle_polarity(mentioned, charge, mode)
        if _OVERRULED_BY_SPECIES.isdisjoint(map(note_kind, polarity.notes)):
            note = Note.SPECIES_IN_WORDS.about(mentioned)
            return polarity._replace(notes=(*polarity.notes, note))
    return settle_polarity(fields.get("adduct"), charge, mode)


_OVERRULED_BY_SPECIES = frozenset(
    (Note.MODE_OVERRULED_BY_SPECIES, Note.CHARGE_OVERRULED_BY_SPECIES)
)


def _charge_of(beside: str | None, stated: str | None) -> tuple[str | None, tuple[str, ...]]:
    """Return the charge that counts: the one beside the precursor m/z goes before its own line."""
    if beside is None:
        return stated, ()
    size, signed = parse_charge(beside)
    try:
        other, other_signed = parse_charge(stated)
    except RejectedRecordError:
        other, other_signed = 0, False
    if size == 0 or other in (0, size):
        return (stated if other else beside), ()
    if not (signed and other_signed) and abs(size) == abs(other):
        return (beside if signed else stated), ()
    return beside, (Note.CHARGE_OVERRULED_BY_PRECURSOR.about(f"{stated}, {beside}"),)


_INCHI = re.compile(r"['\"]?(?:InChI\s*[=:]\s*)*(1S?/.+?)['\"]?", re.IGNORECASE | re.DOTALL)
# An InChI that lost its version: formula, then connections.
_HEADLESS_INCHI = re.compile(
    r"(?:InChI\s*[=:]\s*)?S?/?((?:[A-Z][a-z]?\d*)+(?:\.\w+)*/c\d+[-(,].*/h.*)", re.DOTALL
)
_INCHIKEY = re.compile(r"(?:InChIKey=)?\s*([A-Z]{14}-[A-Z]{10}-[A-Z])", re.IGNORECASE)
_SMILES = re.compile(r"[A-Za-z0-9@+\-\[\]()=#$:./\\%*~]+")
_STRUCTURES = ("smiles", "inchi", "structure", "computed_smiles", "computed_inchi")
_KEYS = ("inchikey", "computed_inchikey")


def sort_structures(fields: Mapping[str, str]) -> tuple[str | None, str | None, str | None]:
    """Return SMILES, InChI and InChIKey of a record, each recognised by its shape.

    Records have an InChI in the field for SMILES and the other way round, an InChI without or with
    a doubled ``InChI=``, and a key where a structure should be.
    """
    smiles = inchi = key = None
    for name in _STRUCTURES:
        text = fields.get(name)
        if text is None:
            continue
        if (match := _INCHI.fullmatch(text)) is not None:
            inchi = inchi or f"InChI={match[1]}"
        elif (match := _HEADLESS_INCHI.fullmatch(text)) is not None:
            inchi = inchi or f"InChI=1S/{match[1]}"
        elif (match := _INCHIKEY.fullmatch(text)) is not None:
            key = key or match[1].upper()
        elif "inchi" not in name or _SMILES.fullmatch(text) is not None:
            smiles = smiles or text
    for name in _KEYS:
        text = fields.get(name)
        if text is not None and (match := _INCHIKEY.match(text)) is not None:
            return smiles, inchi, match[1].upper()
    return smiles, inchi, key or _first(fields, _KEYS)


def _retention_time(fields: Mapping[str, str], style: Style) -> float | None:
    if (text := fields.get("rt_seconds")) is not None:
        return parse_retention_time(text, 1.0)
    if (text := fields.get("rt_minutes")) is not None:
        return parse_retention_time(text, 60.0)
    text = fields.get("retention_time")
    return None if text is None else parse_retention_time(text, style.seconds_per_rt_unit)
