"""From a file's own spellings to the names and units of `Spectrum`.

A reader hands over a record as (key, value) pairs of text and the peaks; everything that MSP, MGF
and mzML writers call differently is settled here, once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from specvae.report import Reason
from specvae.spectra.adducts import Adduct, parse_adduct
from specvae.spectra.notes import Note
from specvae.spectra.spectrum import Spectrum

_SPELLINGS: Mapping[str, str] = {
    "name": "name",
    "compoundname": "compound_name",
    "title": "title",
    "db": "db",
    "featureid": "feature_id",
    "spectrumid": "spectrum_id",
    "precursormz": "precursor_mz",
    "pepmass": "precursor_mz",
    "precursortype": "adduct",
    "adduct": "adduct",
    "adducttype": "adduct",
    "iontype": "adduct",
    "charge": "charge",
    "ionmode": "ion_mode",
    "ionizationmode": "ion_mode",
    "ionisationmode": "ion_mode",
    "polarity": "ion_mode",
    "mslevel": "ms_level",
    "spectrumtype": "ms_level",
    "collisionenergy": "collision_energy",
    "ce": "collision_energy",
    "retentiontime": "retention_time",
    "rt": "retention_time",
    "rtinseconds": "rt_seconds",
    "rtinminutes": "rt_minutes",
    "instrument": "instrument",
    "instrumenttype": "instrument_type",
    "sourceinstrument": "instrument_type",
    "smiles": "smiles",
    "computedsmiles": "computed_smiles",
    "inchi": "inchi",
    "computedinchi": "computed_inchi",
    "metbinchi": "inchi",
    "inchikey": "inchikey",
    "computedinchikey": "computed_inchikey",
    "metbinchikey": "inchikey",
    "formula": "formula",
    "molecularformula": "formula",
    "chemicalformula": "formula",
    "numpeaks": "n_peaks",
    "comment": "comments",
    "comments": "comments",
}
_NOT_LETTERS = re.compile(r"[^a-z0-9]+")
_ABSENT = frozenset({"", "-", "na", "n/a", "nan", "none", "null", "unknown", "n.d."})
_NUMBER = r"\d+(?:\.\d*)?|\.\d+"


@lru_cache(maxsize=4096)
def field_of(key: str) -> str | None:
    """Return the field that a key means whatever its case and punctuation, None if it is none."""
    return _SPELLINGS.get(_NOT_LETTERS.sub("", key.lower()))


def given(text: str | None) -> str | None:
    """Return a value without surrounding blanks and quotes, None if it means 'not known'."""
    if text is None:
        return None
    text = text.strip()
    if text[:1] == '"' and text[-1] == '"' and len(text) > 1:
        text = text[1:-1].strip()
    return None if len(text) < 8 and text.lower() in _ABSENT else text


class RejectedRecordError(Exception):
    """A record cannot become a spectrum; the reader counts it and goes on."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


# --------------------------------------------------------------------------- single values


@lru_cache(maxsize=4096)
def parse_precursor_mz(text: str | None) -> tuple[float | None, str | None]:
    """Read a precursor m/z (Th) and say what had to be decided.

    ``70.04 31836872`` is m/z and intensity (MGF). In ``866.59/792.13`` the first is the ion of the
    intact molecule, the rest are the stages of an MSn experiment: the first is taken. Empty,
    ``N/A`` and 0 mean that there is none.

    Returns
    -------
    tuple of (float or None, str or None)
        The value and a note.

    Raises
    ------
    RejectedRecordError
        If the text is neither empty nor a positive number.
    """
    text = given(text)
    if text is None:
        return None, None
    first, *stages = text.split("/")
    try:
        value = float(first.split()[0])
    except (ValueError, IndexError):
        value = float("nan")
    if not 0 <= value < float("inf") or "_" in first:
        raise RejectedRecordError(Reason.BAD_PRECURSOR, f"found {text!r}")
    note = Note.FIRST_PRECURSOR.about(text) if stages else None
    return value or None, note


@lru_cache(maxsize=256)
def parse_ion_mode(text: str) -> str | None:
    """Return ``positive`` or ``negative`` for P, pos, Positive, +, 1+, ESI-, ...; else None."""
    word = text.strip().strip('"').lower()
    if word in _ABSENT - {"-"}:
        return None
    if word.startswith("p") or word.endswith(("+", "positive", "pos")):
        return "positive"
    if word.startswith("n") or word.endswith(("-", "negative", "neg")):
        return "negative"
    return None


_MS_LEVEL = re.compile(r"(?:ms)?\s*([1-9])", re.IGNORECASE)


@lru_cache(maxsize=256)
def parse_ms_level(text: str) -> int | None:
    """Return 2 for ``2``, ``MS2`` and ``MS/MS``; None for ``MSn`` and anything else."""
    text = text.strip().strip('"')
    if text.lower() in {"ms/ms", "msms", "ms-ms"}:
        return 2
    if text.lower() == "ms":
        return 1
    match = _MS_LEVEL.fullmatch(text)
    return int(match.group(1)) if match else None


_CHARGE = re.compile(r"([+-]?)(\d+)([+-]?)")


def parse_charge(text: str | None) -> tuple[int, bool]:
    """Read a charge such as ``1+``, ``+1``, ``1-``, ``-1`` or ``2``.

    Returns
    -------
    tuple of (int, bool)
        The charge, 0 if it is not known, and whether it came with a sign.

    Raises
    ------
    RejectedRecordError
        If the text is no charge.
    """
    text = given(text)
    if text is None:
        return 0, False
    if " and " in text or "," in text:  # Mascot: "2+ and 3+" leaves it open
        return 0, False
    match = _CHARGE.fullmatch(text.replace(" ", ""))
    if match is None or (match.group(1) and match.group(3)):
        raise RejectedRecordError(Reason.BAD_CHARGE, f"found {text!r}")
    sign = match.group(1) or match.group(3)
    size = int(match.group(2))
    return (-size if sign == "-" else size), bool(sign)


_SECONDS = re.compile(rf"\s*(?:PT)?({_NUMBER})(.*)", re.DOTALL)
_UNIT = re.compile(r"\b(min|m\b|sec|s\b)|^(?:\s*)(M|S)$", re.IGNORECASE)


@lru_cache(maxsize=4096)
def parse_retention_time(text: str, seconds_per_unit: float) -> float | None:
    """Return a retention time in seconds.

    A unit in the text (``7.4 min``, ``35 sec``) decides; else `seconds_per_unit` does. Of several
    times (``8.1, 8.9 min``) the first is taken. Negative and unreadable values give None.
    """
    match = _SECONDS.match(text)
    if match is None:
        return None
    value, rest = float(match.group(1)), match.group(2)
    unit = _UNIT.search(rest)
    if unit is not None:
        seconds_per_unit = 60.0 if unit.group().strip().lower().startswith("m") else 1.0
    return value * seconds_per_unit


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
    r"|nce|ce|hcd|cid|(?:ft|it)-ms(?: ii)?|argon|kev|kv|ev|v",
    re.IGNORECASE,
)
_KILO = re.compile(r"\d\s*ke?V\b", re.IGNORECASE)


def _mean(numbers: Iterable[str]) -> float | None:
    values = [float(number) for number in numbers]
    return sum(values) / len(values) if values else None


@lru_cache(maxsize=4096)
def parse_collision_energy(text: str) -> CollisionEnergy:
    """Read a collision energy, telling eV from normalised energies.

    Volts are taken as eV, kV and keV as thousands of them; ``%``, ``NCE``, ``(nominal)`` and
    ``normalized`` mark normalised energies; a bare number is eV. Ramps and lists give the mean of
    their numbers. What cannot be told for sure gives neither value and stays as text: alternatives
    (``15 or 30``), formulas in m/z, activation amplitudes below 1 (``0.70``), slash lists of MSn
    stages, and bare numbers with ``HCD``, whose scale differs between instruments.
    """
    words = text.strip().strip('"')
    # "42% (nominal) with stepped collision energies 30% and 55%": the first is their mean.
    body = _DECIMAL_COMMA.sub(".", words.partition(" with ")[0].partition(" by Ar")[0])
    numbers = _NUMBERS.findall(body)
    unknown = CollisionEnergy(None, None, text)
    if not numbers:
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

_COMMENT_PAIR = re.compile(r'([^\s=";][^=";]*?)=(?:"([^"]*)"|([^\s;"]*))')
_COMMENT_LIST = re.compile(r";\s+(?=[A-Za-z _]+=)")


def parse_comments(text: str) -> list[tuple[str, str]]:
    """Split an MSP comment into its (key, value) pairs.

    Three ways of writing are told apart: ``"key=value" "key=value"`` (MoNA, MassBank), where a
    value may hold ``=`` and ``"``; ``key=value; key=value`` (RIKEN); ``key=value key="two words"``
    (NIST).
    """
    text = text.strip()
    if text.startswith('"'):
        parts = text[1:].removesuffix('"').split('" "')
    elif _COMMENT_LIST.search(text):
        parts = _COMMENT_LIST.split(text.removesuffix(";"))
    else:
        return [(key, quoted or bare) for key, quoted, bare in _COMMENT_PAIR.findall(text)]
    pairs = [part.partition("=") for part in parts]
    return [(key.strip(), value.strip()) for key, equals, value in pairs if equals]


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

    The ion species decides, then the field for the ion mode, then the sign of the charge: many
    writers put ``CHARGE=1+`` on every spectrum. An overruled charge leaves a note. A charge without
    sign takes the sign of the ion mode, else it is taken as positive, with a note.

    Raises
    ------
    RejectedRecordError
        If the charge is unreadable, or species and ion mode contradict each other.
    """
    notes: list[str] = []
    text = given(adduct_text)
    mode = parse_ion_mode(ion_mode_text) if ion_mode_text else None
    charge, signed = parse_charge(charge_text)
    ion: Adduct | None = None
    if text is not None:
        # MSn records list the species of each stage, as their precursor m/z does.
        stages = text.split("/")
        ion = parse_adduct(stages[0], mode or (_sign_name(charge) if signed else None))
        if ion is not None and len(stages) > 1:
            notes.append(Note.FIRST_SPECIES.about(text))
    if ion is not None and mode is not None and ion.ion_mode != mode:
        raise RejectedRecordError(
            Reason.BAD_CHARGE, f"ion species {text} contradicts ion mode {mode}"
        )
    if ion is not None:
        if charge and (abs(charge) != abs(ion.charge) or (signed and charge != ion.charge)):
            notes.append(Note.CHARGE_OVERRULED_BY_SPECIES.about(f"{charge_text}, {text}"))
        return Polarity(ion.name, ion.charge, ion.ion_mode, tuple(notes))
    if mode is not None:
        sign = 1 if mode == "positive" else -1
        if signed and charge * sign < 0:
            notes.append(f"charge overruled by ion mode ({charge_text}, {mode})")
        return Polarity(text, sign * abs(charge) or None, mode, tuple(notes))
    if charge and not signed:
        notes.append(Note.CHARGE_TAKEN_AS_POSITIVE.about(f"{charge_text}"))
    return Polarity(text, charge or None, _sign_name(charge), tuple(notes))


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
    """

    fields: dict[str, str]
    metadata: dict[str, str]


def collect(pairs: Iterable[tuple[str, str]]) -> Record:
    """Sort (key, value) pairs into known fields and other metadata."""
    fields: dict[str, str] = {}
    metadata: dict[str, str] = {}
    for key, value in pairs:
        name = field_of(key)
        if name is None or name == "comments":
            metadata[key] = f"{metadata[key]}\n{value}" if key in metadata else value
            if name is not None:
                for inner_key, inner_value in parse_comments(value):
                    inner = field_of(inner_key)
                    if inner in _COMMENT_FIELDS:
                        _keep_first(fields, inner, inner_value)
        elif name == "ms_level" and parse_ms_level(value) is None:
            metadata[key] = value  # "Spectrum_type: Centroid" is no level
        else:
            _keep_first(fields, name, value)
    return Record(fields, metadata)


def _keep_first(fields: dict[str, str], name: str, value: str) -> None:
    """Store a field's value unless it says nothing, or one that says something is there."""
    if name in fields and not (name == "precursor_mz" and _means_none(fields[name])):
        return
    # "-" is an ion mode, and nowhere else a value.
    text = value.strip() if name == "ion_mode" else given(value)
    if text is not None:
        fields[name] = text


# What a comment may tell; its "Num peaks" or "Comment" are another database's, not the record's.
_COMMENT_FIELDS = frozenset(_SPELLINGS.values()) - {
    "n_peaks",
    "comments",
    "name",
    "compound_name",
    "title",
    "db",
    "feature_id",
    "spectrum_id",
    "precursor_mz",
    "charge",
}


def _means_none(precursor: str) -> bool:
    try:
        return parse_precursor_mz(precursor)[0] is None
    except RejectedRecordError:
        return False


def _first(fields: Mapping[str, str], names: Iterable[str]) -> str | None:
    for name in names:
        if name in fields:
            return fields[name]
    return None


def identify(record: Record, style: Style, file_name: str, ordinal: int) -> str:
    """Return what a record is called: its best identifier, else ``FILE#N``."""
    return _first(record.fields, style.id_fields) or f"{file_name}#{ordinal}"


def require_peaks(
    mz: NDArray[np.float64], intensity: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return peaks (n_peaks,) sorted by m/z.

    Raises
    ------
    RejectedRecordError
        If there is no peak above 0, or a peak is not two finite numbers, m/z above 0 and
        intensity not below 0.
    """
    good = (mz > 0) & (mz < np.inf) & (intensity >= 0) & (intensity < np.inf)
    if not good.all():
        i = int(np.argmin(good))
        raise RejectedRecordError(Reason.BAD_PEAK, f"m/z {mz[i]:g}, intensity {intensity[i]:g}")
    if not intensity.any():
        raise RejectedRecordError(Reason.NO_PEAKS, "every intensity is 0" if mz.size else "")
    order = np.argsort(mz, kind="stable")
    return mz[order], intensity[order]


def make_spectrum(
    record: Record,
    mz: NDArray[np.float64],
    intensity: NDArray[np.float64],
    style: Style,
    query_id: str,
    path: str,
    line: int,
) -> Spectrum:
    """Turn a record and its peaks into a spectrum.

    Raises
    ------
    RejectedRecordError
        If peaks, precursor m/z or charge are malformed.
    """
    fields = record.fields
    precursor_mz, precursor_note = parse_precursor_mz(fields.get("precursor_mz"))
    polarity = settle_polarity(fields.get("adduct"), fields.get("charge"), fields.get("ion_mode"))
    notes = (*polarity.notes, *([precursor_note] if precursor_note else []))
    energy_text = fields.get("collision_energy")
    energy = parse_collision_energy(energy_text) if energy_text else None

    def build(mz: NDArray[np.float64], intensity: NDArray[np.float64]) -> Spectrum:
        return Spectrum(
            mz=mz,
            intensity=intensity,
            query_id=query_id,
            name=_first(fields, style.name_fields),
            precursor_mz=precursor_mz,
            adduct=polarity.adduct,
            charge=polarity.charge,
            ion_mode=polarity.ion_mode,
            ms_level=parse_ms_level(fields["ms_level"]) if "ms_level" in fields else None,
            collision_energy=energy.ev if energy else None,
            normalized_collision_energy=energy.nce if energy else None,
            collision_energy_text=energy_text,
            retention_time=_retention_time(fields, style),
            instrument=fields.get("instrument"),
            instrument_type=fields.get("instrument_type"),
            smiles=_first(fields, ("smiles", "computed_smiles")),
            inchi=_first(fields, ("inchi", "computed_inchi")),
            inchikey=_first(fields, ("inchikey", "computed_inchikey")),
            formula=fields.get("formula"),
            path=path,
            line=line,
            notes=notes,
            metadata=record.metadata,
        )

    try:
        return build(mz, intensity)
    except ValueError:
        # The peaks are unsorted or malformed, which is rare: sort them, or say what is wrong.
        return build(*require_peaks(mz, intensity))


def _retention_time(fields: Mapping[str, str], style: Style) -> float | None:
    if (text := fields.get("rt_seconds")) is not None:
        return parse_retention_time(text, 1.0)
    if (text := fields.get("rt_minutes")) is not None:
        return parse_retention_time(text, 60.0)
    text = fields.get("retention_time")
    return None if text is None else parse_retention_time(text, style.seconds_per_rt_unit)
