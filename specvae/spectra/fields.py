"""From the fields of a record, in its file's own spelling, to a `Spectrum`.

A reader hands over a record as (key, value) pairs of text and the peaks; everything that MSP, MGF
and mzML writers call differently is settled here, once, by `specvae.spectra.keys` and
`specvae.spectra.values`.
"""

from __future__ import annotations

import operator
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from specvae.errors import printable
from specvae.limits import Limits
from specvae.report import Reason
from specvae.spectra.adducts import parse_adduct, plain_signs
from specvae.spectra.keys import FIELDS, field_of
from specvae.spectra.notes import Note, note_kind
from specvae.spectra.polarity import Polarity, charge_of, settle_polarity
from specvae.spectra.profile import centroid, is_profile
from specvae.spectra.spectrum import LOWEST_SCALE, MAX_MZ, Spectrum
from specvae.spectra.values import (
    CollisionEnergy,
    RejectedRecordError,
    given,
    parse_charge,
    parse_collision_energy,
    parse_ion_mode,
    parse_ms_level,
    parse_normalized_energy,
    parse_precursor,
    parse_retention_time,
)

_COMMENT_SPELLINGS: Mapping[str, str] = {"parent": "precursor_mz"}  # NIST, SpectraST
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
    """Sort (key, value) pairs into known fields and other metadata, as `collect_lines` does."""
    pairs = [*pairs]
    return collect_lines(tuple(key for key, _ in pairs), [value for _, value in pairs])


def collect_lines(keys: tuple[str, ...], values: Sequence[str]) -> Record:
    """Sort the lines of a record, each a key and a value, into known fields and other metadata.

    A comment counts where no line of the record gives the field.
    """
    plan = _plan(keys)
    if any(_states_another(name, values[place]) for place, name in plan.unsure):
        plan = _plan(keys, in_turn=True)
    fields = {
        name: text for place, name in plan.plain if (text := given(values[place])) is not None
    }
    notes: list[str] = []
    for place, name in plan.others:
        _keep_line(fields, name, keys[place], values[place], notes)
    comments = [values[place] for place in plan.comments]
    _sort_by_shape(fields, [(name, values[place]) for place, name in plan.by_shape], notes)
    _add_species_of_precursor(fields, notes)
    _add_comments(fields, comments, notes)
    if "adduct" not in fields:
        _add_species_in_words(fields, comments)
    metadata: dict[str, list[str]] = {}
    for place, is_level in plan.metadata:
        if not is_level or parse_ms_level(values[place]) is None:
            metadata.setdefault(keys[place], []).append(values[place])
    return Record(fields, {key: "\n".join(texts) for key, texts in metadata.items()}, tuple(notes))


class _Plan(NamedTuple):
    """What the lines of a record are, by their keys: the place of each, and its field.

    Parameters
    ----------
    plain
        Those that alone state their field, and are stored as they are.
    others
        Those that are read in turn.
    by_shape
        Those of keys of several meanings.
    unsure
        Those whose value may state another field than the key.
    comments
        Places of comments.
    metadata
        Places of what is no field or is kept besides, and whether it is one if it is an MS level:
        "Spectrum_type: Centroid" is none.
    """

    plain: tuple[tuple[int, str], ...]
    others: tuple[tuple[int, str], ...]
    by_shape: tuple[tuple[int, str], ...]
    unsure: tuple[tuple[int, str], ...]
    comments: tuple[int, ...]
    metadata: tuple[tuple[int, bool], ...]


@lru_cache(maxsize=64)
def _plan(keys: tuple[str, ...], *, in_turn: bool = False) -> _Plan:
    """Return the plan of records with these keys; `in_turn` no line is plain."""
    lines = [(place, field_of(key)) for place, key in enumerate(keys)]
    counts = Counter(name for _, name in lines)
    plain: list[tuple[int, str]] = []
    others: list[tuple[int, str]] = []
    for place, name in lines:
        if name is not None and name != "comments" and name not in _BY_SHAPE:
            is_plain = not in_turn and counts[name] == 1 and name not in _READ
            (plain if is_plain else others).append((place, name))
    return _Plan(
        plain=tuple(plain),
        others=tuple(others),
        by_shape=tuple((place, name) for place, name in lines if name and name in _BY_SHAPE),
        unsure=tuple(
            (place, name) for place, name in lines if name in ("synonym", "ion_mode", "adduct")
        ),
        comments=tuple(place for place, name in lines if name == "comments"),
        metadata=tuple(
            (place, name == "ms_level")
            for place, name in lines
            if name is None or name in _ALSO_METADATA
        ),
    )


def _states_another(name: str, value: str) -> bool:
    """Whether a line states another field than its key says."""
    return _tag(value) is not None if name == "synonym" else _meant(name, value) != name


def _keep_line(fields: dict[str, str], name: str, key: str, value: str, notes: list[str]) -> None:
    """Store what a line says that is not plain."""
    if name == "synonym":
        if (tag := _tag(value)) is not None:
            _keep_value(fields, tag[0], "synon", tag[1], notes)
    elif name != "ms_level" or parse_ms_level(value) is not None:
        _keep_value(fields, _meant(name, value), key, value, notes)


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


def _meant(name: str, value: str) -> str:
    """Return the field that a value is of, where ion species and ion mode are in each other's."""
    if name == "ion_mode" and "[" in value and _reads_as_species(value):
        return "adduct"  # "IonMode: [M+H]+1" (Compound Discoverer)
    # "ION=positive"; "-" alone stands for no species.
    is_mode = name == "adduct" and len(value.strip()) > 1 and "M" not in value
    return "ion_mode" if is_mode and _reads_as_mode(value) else name


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
    {
        "accession",
        "comments",
        "feature_id",
        "ms_level",
        "peak_id",
        "record_title",
        "scans",
        "spectrum_id",
        "synonym",
        *_BY_SHAPE,
    }
)


def _sort_by_shape(
    fields: dict[str, str], found: Iterable[tuple[str, str]], notes: list[str]
) -> None:
    """Put what stands under keys of several meanings where it belongs, if that is free."""
    for name, text in found:
        field = next((field for field, reads in _BY_SHAPE[name] if reads(text)), None)
        if field == "ion_mode":
            _keep_reading(fields, field, text, notes)
        elif field is not None:
            _keep_first(fields, field, text)


# Fields whose values are read before they are stored.
_READ = frozenset({"synonym", "precursor_mz", "ion_mode", "charge", "ms_level"})

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


def _tag(value: str) -> tuple[str, str] | None:
    """Return the field that a synonym states which is one of NIST's tags, and what it says."""
    text = value.strip()
    name = _NIST_TAGS.get(text[2:4]) if text.startswith("$:") else None
    if name is None or (name == "ms_level" and parse_ms_level(text[4:]) is None):
        return None
    return name, text[4:]


def _add_comments(fields: dict[str, str], comments: Iterable[str], notes: list[str]) -> None:
    """Add what comments say and the record's own lines do not."""
    before = fields.get("precursor_mz")
    for comment in comments:
        if (feature := _PROGENESIS_FEATURE.fullmatch(comment.strip())) is not None:
            _keep_first(fields, "rt_minutes", feature["minutes"])
            _keep_first(fields, "precursor_mz", feature["mz"])
        for key, value in parse_comments(comment):
            name = _field_of_comment(key)
            if name is None or (name == "ms_level" and parse_ms_level(value) is None):
                continue
            if name == "ion_mode":
                _keep_reading(fields, name, value, notes)
            else:
                _keep_first(fields, name, value)
    precursor = fields.get("precursor_mz")
    if precursor is not None and precursor != before and not _means_none(precursor):
        notes.append(Note.COMMENT_PRECURSOR.about(precursor))


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
            if texts is names and (behind := _SPECIES_BEHIND.search(plain)) is not None:
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
    elif name in _READINGS:
        _keep_reading(fields, name, value, notes)
    else:
        _keep_first(fields, name, value)


def _charge(text: str) -> tuple[int, bool] | None:
    """Return a charge and whether it has a sign, None if it is not known."""
    with suppress(RejectedRecordError):  # `make_spectrum` says what is wrong
        charge, is_signed = parse_charge(text)
        return (charge, is_signed) if charge else None
    return None


def _are_one_charge(one: tuple[int, bool], other: tuple[int, bool]) -> bool:
    (charge, is_signed), (other_charge, other_is_signed) = one, other
    is_compared = is_signed and other_is_signed
    return charge == other_charge if is_compared else abs(charge) == abs(other_charge)


def _keep_reading(fields: dict[str, str], name: str, value: str, notes: list[str]) -> None:
    """Store the first value that can be read, or note a second one that means something else."""
    read, are_same, note = _READINGS[name]
    before = read(fields[name]) if name in fields else None
    found = read(value)
    if before is None and found is not None:
        fields[name] = value.strip()
    elif found is None or before is None:
        _keep_first(fields, name, value)
    elif not are_same(before, found):
        notes.append(note.about(f"{fields[name]}, {value}"))
    elif name == "charge" and not before[1]:
        fields[name] = value.strip()  # the same, and perhaps with its sign


# How values of a field are read, when two of them mean the same, and what is said where they do
# not. Precursors and ion species have rules of their own.
_READINGS: Mapping[str, tuple[Callable[[str], Any], Callable[[Any, Any], bool], Note]] = {
    "ion_mode": (parse_ion_mode, operator.eq, Note.FIRST_MODE),
    "charge": (_charge, _are_one_charge, Note.FIRST_CHARGE),
    "ms_level": (parse_ms_level, operator.eq, Note.FIRST_LEVEL),
}


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
_COMMENT_FIELDS = FIELDS - {
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


@lru_cache(maxsize=4096)
def _field_of_comment(key: str) -> str | None:
    """Return the field that a key in a comment means, None if it is none or not a comment's."""
    name = field_of(key) or _COMMENT_SPELLINGS.get(key.lower())
    return name if name in _COMMENT_FIELDS else None


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


def identify(record: Record, style: Style, file_name: str, ordinal: int) -> str:
    """Return what a record is called: its best identifier, else ``FILE#N``."""
    name = printable(_first(record.fields, style.id_fields) or "")[:_LONGEST_NAME]
    return name or f"{file_name}#{ordinal}"


_LONGEST_NAME = 1000  # characters; a longer one is a peak list that lost its line ends


def require_peaks(
    mz: NDArray[np.float64], intensity: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return peaks (n_peaks,) sorted by m/z; pairs of two zeros, which some writers add, are none.

    Raises
    ------
    RejectedRecordError
        If there is no peak above 0, or a peak is not two finite numbers, m/z above 0 and at most
        `MAX_MZ`, intensity not below 0.
    """
    if (is_none := (mz == 0) & (intensity == 0)).any():
        mz, intensity = mz[~is_none], intensity[~is_none]
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
    place: tuple[str, int, int],
    most: Limits,
) -> Spectrum:
    """Turn a record and its peaks (n_peaks,), in any order, into a spectrum.

    Parameters
    ----------
    record, mz, intensity
        What the file has.
    style
        Its format's.
    query_id
        What the record is called.
    place
        Path, line and ordinal, as in `Spectrum`.
    most
        The limits.

    Raises
    ------
    RejectedRecordError
        If peaks, precursor m/z or charge are malformed.
    """
    if mz.size > most.record_peaks:
        detail = f"more than {most.record_peaks:,} peaks (record_peaks)"
        raise RejectedRecordError(Reason.TOO_LARGE, detail)
    path, line, ordinal = place
    fields = record.fields
    precursor = parse_precursor(fields.get("precursor_mz"), is_pepmass="pepmass" in fields)
    if precursor.mz is None and "window_mz" in fields:
        window = parse_precursor(fields["window_mz"])
        note = Note.WINDOW_TARGET.about("no precursor m/z")
        precursor = window._replace(charge=precursor.charge, notes=(*window.notes, note))
    beside = precursor.charge
    if not precursor.is_charge_sure and _states_polarity(fields):
        beside = None
    charge, charge_notes = charge_of(beside, fields.get("charge"))
    polarity = _settled(fields, charge)
    time, time_notes = _retention_time(fields, style)
    notes = (*record.notes, *precursor.notes, *charge_notes, *polarity.notes, *time_notes)
    notes += _prediction(fields)
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
            retention_time=time,
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


def _states_polarity(fields: Mapping[str, str]) -> bool:
    return (
        "ion_mode" in fields or "adduct" in fields or _charge(fields.get("charge", "")) is not None
    )


# How libraries say that no instrument measured a spectrum (LipidBlast, CFM-ID and their kin).
# GNPS has names with a "predicted molecular formula", of measured spectra.
_PREDICTED = re.compile(
    r"\bin[\s-]?silico\b|\bCFM-ID\b|\bpredicted\s*(?:$|[)\]]|MS|spectr|by\b)", re.IGNORECASE
)


def _prediction(fields: Mapping[str, str]) -> tuple[str, ...]:
    """Return a note where instrument or name say that the spectrum is predicted."""
    return _prediction_in(*map(fields.get, _NAMES_OF_PREDICTED))


@lru_cache(maxsize=16)  # the spectra of a compound stand together
def _prediction_in(*texts: str | None) -> tuple[str, ...]:
    for text in texts:
        if text is not None and _PREDICTED.search(text[:_LONGEST_NAME]) is not None:
            return (Note.PREDICTED.about(text),)
    return ()


_NAMES_OF_PREDICTED = ("instrument_type", "instrument", *_NAMES_WITH_SPECIES)


def _energy(fields: Mapping[str, str]) -> CollisionEnergy | None:
    """Return the collision energy of a record, which may have a key for the normalised one."""
    text, normalised = fields.get("collision_energy"), fields.get("nce")
    energy = parse_collision_energy(text) if text is not None else None
    if normalised is None:
        return energy
    nce = parse_normalized_energy(normalised)
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

    A mention counts for less than a field: it must agree with the ion mode and the charge, or with
    one of them where they contradict each other.
    """
    mode, mentioned = fields.get("ion_mode"), fields.get("species_in_words")
    if mentioned is not None:
        polarity = settle_polarity(mentioned, charge, mode)
        overruled = _OVERRULED_BY_SPECIES.intersection(map(note_kind, polarity.notes))
        signs = (parse_ion_mode(mode or ""), _mode_of(charge))
        if not overruled or (
            len(overruled) == 1 and signs.count(polarity.ion_mode) == 1 and all(signs)
        ):
            note = Note.SPECIES_IN_WORDS.about(mentioned)
            return polarity._replace(notes=(*polarity.notes, note))
        settled = settle_polarity(None, charge, mode)
        note = Note.SPECIES_IN_WORDS_NOT_TAKEN.about(mentioned)
        return settled._replace(notes=(*settled.notes, note))
    return settle_polarity(fields.get("adduct"), charge, mode)


def _mode_of(charge: str | None) -> str | None:
    """Return the ion mode of a charge with a sign, None of any other."""
    found = _charge(charge or "")
    return None if found is None or not found[1] else "positive" if found[0] > 0 else "negative"


_OVERRULED_BY_SPECIES = frozenset(
    (Note.MODE_OVERRULED_BY_SPECIES, Note.CHARGE_OVERRULED_BY_SPECIES)
)


_INCHI = re.compile(r"['\"]?(?:InChI\s*[=:]\s*)*(1S?/.+?)['\"]?", re.IGNORECASE | re.DOTALL)
# An InChI that lost its version: formula, then connections.
_HEADLESS_INCHI = re.compile(
    r"(?:InChI\s*[=:]\s*)?S?/?((?:[A-Z][a-z]?\d*)+(?:\.\w+)*/c\d+[-(,].*/h.*)", re.DOTALL
)
_INCHIKEY = re.compile(r"(?:InChIKey=)?\s*([A-Z]{14}-[A-Z]{10}-[A-Z])", re.IGNORECASE)
_SMILES = re.compile(r"[A-Za-z0-9@+\-\[\]()=#$:./\\%*~]+")
_STRUCTURES = ("smiles", "inchi", "structure", "computed_smiles", "computed_inchi")
_KEYS = ("inchikey", "computed_inchikey")
_STRUCTURES_AND_KEYS = (*_STRUCTURES, *_KEYS)


def sort_structures(fields: Mapping[str, str]) -> tuple[str | None, str | None, str | None]:
    """Return SMILES, InChI and InChIKey of a record, each recognised by its shape.

    Records have an InChI in the field for SMILES and the other way round, an InChI without or with
    a doubled ``InChI=``, and a key where a structure should be.
    """
    return _sorted(*map(fields.get, _STRUCTURES_AND_KEYS))


@lru_cache(maxsize=16)  # the spectra of a compound stand together
def _sorted(*texts: str | None) -> tuple[str | None, str | None, str | None]:
    found = zip(_STRUCTURES_AND_KEYS, texts, strict=True)
    fields = {name: text for name, text in found if text is not None}
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


def _retention_time(
    fields: Mapping[str, str], style: Style
) -> tuple[float | None, tuple[str, ...]]:
    """Return the retention time in seconds, and a note if one is stated that cannot be read.

    A negative one stands for none, and so does ``N/A min``.
    """
    for name, seconds_per_unit in (
        ("rt_seconds", 1.0),
        ("rt_minutes", 60.0),
        ("retention_time", style.seconds_per_rt_unit),
    ):
        if (text := fields.get(name)) is not None:
            time = parse_retention_time(text, seconds_per_unit)
            if time is not None or text.lstrip().startswith("-") or not any(map(str.isdigit, text)):
                return time, ()
            return None, (Note.TIME_NOT_UNDERSTOOD.about(text),)
    return None, ()
