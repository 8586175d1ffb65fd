"""The fields of a record, whatever names its file gives them.

A reader passes a record as (key, value) pairs of text. The names that writers of MSP, MGF and mzML
give to a field are resolved here, for all formats, by `specvae.spectra.keys` and
`specvae.spectra.values`. `specvae.spectra.build` makes a spectrum of the fields.
"""

from __future__ import annotations

import operator
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any, NamedTuple

from specvae.spectra.adducts import parse_adduct, plain_signs
from specvae.spectra.comments import parse_comments
from specvae.spectra.keys import FIELDS, field_of
from specvae.spectra.notes import Note
from specvae.spectra.titles import level_of_title, words_of_title
from specvae.spectra.values import (
    RejectedRecordError,
    given,
    known_charge,
    parse_ion_mode,
    parse_ms_level,
    parse_precursor,
)

_COMMENT_SPELLINGS: Mapping[str, str] = {"parent": "precursor_mz"}  # NIST, SpectraST


class Record(NamedTuple):
    """One record as a reader found it: fields by their meaning, and the rest.

    Parameters
    ----------
    fields
        The first value of each field that is not empty, without surrounding blanks and quotes.
    metadata
        Pairs that are no field, as found; values of a repeated key are joined by line ends.
        Pairs that may name the record are included.
    notes
        Decisions of the reader on the fields of the record.
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
        """Why its authors deprecated the record (MassBank), None if they did not."""
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
    if any("np." in value for value in values):
        values = [
            value if field_of(key) is None else _NUMPY_SCALAR.sub(r"\1", value)
            for key, value in zip(keys, values, strict=True)
        ]
    plan = _plan(keys)
    for place, name in plan.unsure:
        if _says_more(name, values[place]):
            plan = _plan(keys, in_turn=True)
            break
    fields = {
        name: text for place, name in plan.plain if (text := given(values[place])) is not None
    }
    notes: list[str] = []
    for place, name in plan.others:
        _keep_line(fields, name, keys[place], values[place], notes)
    if fields.get("charge") == _DASH and sum(value.strip() == _DASH for value in values) > 1:
        del fields["charge"]  # the record writes it for every value that it does not know
    comments = [values[place] for place in plan.comments]
    _sort_by_shape(fields, [(name, values[place]) for place, name in plan.by_shape], notes)
    _add_species_of_precursor(fields, notes)
    _add_comments(fields, comments, notes)
    if "adduct" not in fields:
        _add_species_in_words(fields, comments)
        _add_words_of_title(fields, notes)
    _add_level_of_title(fields, notes)
    metadata: dict[str, list[str]] = {}
    for place, is_level in plan.metadata:
        if not is_level or parse_ms_level(values[place]) is None:
            metadata.setdefault(keys[place], []).append(values[place])
    _add_prediction(
        fields, comments, [values[place] for place, is_level in plan.metadata if is_level]
    )
    return Record(fields, {key: "\n".join(texts) for key, texts in metadata.items()}, tuple(notes))


# How numpy 2 shows its numbers, where a program writes what Python shows: "np.float64(195.0877)".
_NUMPY_SCALAR = re.compile(r"\bnp\.[a-z]{3,7}\d{0,3}_?\(['\"]?([^()'\"]*)['\"]?\)")

# Comments also speak of formulas that are predicted, or peaks that are annotated in silico.
_PREDICTION = re.compile(
    r"\bin[\s-]?silico[\s-]+(?:generated|predicted|spectr|MS)|\bpredicted\s+(?:\S+\s+)?spectr"
    r"|\bspectr\w+\s+(?:(?:is|are|was|were|\w+ly)\s+)?predicted\b(?!\s+(?:formula|structure))"
    r"|(?:^|[;|])\s*(?:in[\s-]?silico|LipidBlast(?:[\s,(]+in[\s-]?silico\)?)?)\s*(?:$|[;|])",
    re.IGNORECASE,
)


def _add_prediction(fields: dict[str, str], comments: Iterable[str], levels: Iterable[str]) -> None:
    """Add that the spectrum is predicted, if comments or the field for the MS level say so.

    Examples are FIORA's comments, and ``Spectrum_type: Predicted LC-MS/MS``.
    """
    for text in levels:
        if text[:9].lower() == "predicted":
            fields["prediction"] = text
    for comment in comments:
        may = "silico" in comment or "redicted" in comment or "LipidBlast" in comment
        if may and _PREDICTION.search(comment[:LONGEST_NAME]) is not None:
            fields["prediction"] = comment


class _Plan(NamedTuple):
    """The kinds of the lines of a record, by their keys: the place of each line, and its field.

    Parameters
    ----------
    plain
        Lines that are the only ones of their field, and are stored as they are.
    others
        Lines that are read one after the other.
    by_shape
        Lines whose keys have several meanings.
    unsure
        Lines whose value may state another field than the key.
    comments
        Places of comments.
    metadata
        Places of lines that are kept as metadata, and whether each may state an MS level.
    """

    plain: tuple[tuple[int, str], ...]
    others: tuple[tuple[int, str], ...]
    by_shape: tuple[tuple[int, str], ...]
    unsure: tuple[tuple[int, str], ...]
    comments: tuple[int, ...]
    metadata: tuple[tuple[int, bool], ...]


@lru_cache(maxsize=64)
def _plan(keys: tuple[str, ...], *, in_turn: bool = False) -> _Plan:
    """Return the plan of records with these keys; with `in_turn`, no line is stored as it is."""
    lines = [(place, field_of(key)) for place, key in enumerate(keys)]
    counts = Counter(name for _, name in lines)
    plain: list[tuple[int, str]] = []
    others: list[tuple[int, str]] = []
    for place, name in lines:
        if name is None or name == "comments" or name in _BY_SHAPE:
            continue
        if in_turn:
            others.append((place, name))
        elif name != "synonym":
            is_read = name == "charge" or _is_pepmass(name, keys[place])
            (others if is_read or counts[name] > 1 else plain).append((place, name))
    return _Plan(
        plain=tuple(plain),
        others=tuple(others),
        by_shape=tuple((place, name) for place, name in lines if name and name in _BY_SHAPE),
        unsure=tuple((place, name) for place, name in lines if name and name in _UNSURE),
        comments=tuple(place for place, name in lines if name == "comments"),
        metadata=tuple(
            (place, name == "ms_level")
            for place, name in lines
            if name is None or name in _ALSO_METADATA or (in_turn and name == "ms_level")
        ),
    )


_UNSURE = frozenset({"synonym", "ion_mode", "adduct", "ms_level"})


def _says_more(name: str, value: str) -> bool:
    """Return whether a line states another field than its key, no field, or an unusual value."""
    if name == "synonym":
        return _tag(value) is not None
    if name == "ms_level":
        return parse_ms_level(value) is None  # "Spectrum_type: Centroid"
    is_odd = name == "ion_mode" and given(value) != value.strip()  # "-"
    return is_odd or _meant(name, value) != name


def _keep_line(fields: dict[str, str], name: str, key: str, value: str, notes: list[str]) -> None:
    """Store the value of a line that is not plain."""
    if name == "synonym":
        if (tag := _tag(value)) is not None:
            _keep_value(fields, tag[0], "synon", tag[1], notes)
    elif name != "ms_level" or parse_ms_level(value) is not None:
        _keep_value(fields, _meant(name, value), key, value, notes)


_DASH = "-"


def _add_species_of_precursor(fields: dict[str, str], notes: list[str]) -> None:
    """Add the ion species that is written beside the precursor m/z, unless a field states one."""
    text = fields.get("precursor_mz")
    if text is None or "M" not in text:
        return
    with suppress(RejectedRecordError):  # `make_spectrum` reports it
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
    """Return the field of a value, as ion species and ion mode may be in each other's fields."""
    if name in ("ion_mode", "charge") and "[" in value and _reads_as_species(value):
        return "adduct"  # "IonMode: [M+H]+1" (Compound Discoverer), "CHARGE=[M+H]+"
    # "ION=positive"; "-" alone stands for no species.
    is_mode = name == "adduct" and len(value.strip()) > 1 and "M" not in value
    return "ion_mode" if is_mode and _reads_as_mode(value) else name


def _reads_as_mode(text: str) -> bool:
    # Under such a key a bare number may mean anything.
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
        "chimeric",
        "comments",
        "feature_id",
        "filter_line",
        "fragmentation",
        "origin",
        "peak_id",
        "record_title",
        "scans",
        "spectrum_id",
        "synonym",
        "title",
        *_BY_SHAPE,
    }
)


def _sort_by_shape(
    fields: dict[str, str], found: Iterable[tuple[str, str]], notes: list[str]
) -> None:
    """Store values of keys with several meanings in the right fields, if these are empty."""
    for name, text in found:
        field = next((field for field, reads in _BY_SHAPE[name] if reads(text)), None)
        if field == "ion_mode":
            _keep_reading(fields, field, text, notes)
        elif field is not None:
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


def _tag(value: str) -> tuple[str, str] | None:
    """Return field and value of a synonym that is one of NIST's tags."""
    text = value.strip()
    name = _NIST_TAGS.get(text[2:4]) if text.startswith("$:") else None
    if name is None or (name == "ms_level" and parse_ms_level(text[4:]) is None):
        return None
    return name, text[4:]


def _add_comments(fields: dict[str, str], comments: Iterable[str], notes: list[str]) -> None:
    """Add fields from comments that no line of the record states."""
    before = fields.get("precursor_mz")
    for comment in comments:
        if (feature := _PROGENESIS_FEATURE.fullmatch(comment.strip())) is not None:
            _keep_first(fields, "rt_minutes", feature["minutes"])
            if feature["mz"] is not None:
                _keep_first(fields, "precursor_mz", feature["mz"])
        if _LEVEL_OF_CFM.fullmatch(comment.strip()) is not None:
            _keep_first(fields, "collision_energy", comment)
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


_LEVEL_OF_CFM = re.compile(r"energy[012]", re.IGNORECASE)
# Progenesis QI names a feature by its time and m/z, and states neither otherwise; or by time and
# mass of the molecule, "3.61_830.4933n".
_PROGENESIS_FEATURE = re.compile(r"(?P<minutes>\d+\.\d+)_(?:(?P<mz>\d+\.\d+)m/z|\d+\.\d+n)")

# Also MassHunter's "(M+Na)+". CAMERA's "[102][M]+" is the first peak of an isotope pattern.
_BRACKETED_SPECIES = re.compile(
    r"(?:(?<!\])\[\d?M(?:[+-][^\[\]\s;,]{1,40})?\]\s?|\(\d?M[+-]\w[\w+-]{0,39}\))"
    r"(?:\d[+-]|[+-]{2,3}|[+-]\d?)(?![\w\[\]])"
)
_SPECIES_BEHIND = re.compile(r"(?<=\s)\d?M(?:[+-]\d?[A-Z][A-Za-z0-9]*)+$")


def _add_species_in_words(fields: dict[str, str], comments: Iterable[str]) -> None:
    """Add the ion species that names, or else comments, mention, if all mention the same one.

    LipidBlast, MassBank's titles and others write ``...; [M+Na]+; ...``, GNPS has it at the end of
    names: ``Malyngamide C M+Na``.
    """
    names = [fields[name] for name in NAMES_WITH_SPECIES if name in fields]
    for texts in (names, comments):
        found = set()
        for text in texts:
            plain = plain_signs(text[:LONGEST_NAME])
            mentions = _BRACKETED_SPECIES.findall(plain)
            if texts is names and (behind := _SPECIES_BEHIND.search(plain)) is not None:
                mentions.append(behind.group())
            found |= {ion.name for ion in map(parse_adduct, mentions) if ion is not None}
        if found:
            if len(found) == 1:
                fields["species_in_words"] = found.pop()
            return


def _add_words_of_title(fields: dict[str, str], notes: list[str]) -> None:
    """Add ion mode, charge and time from a title of an instrument's program, if no field states."""
    titles = (fields.get(name, "") for name in _TITLES)
    words, title = next(((w, t) for t in titles if (w := words_of_title(t))), (None, ""))
    if words is None:
        return
    charge = known_charge(fields.get("charge", ""))
    if "ion_mode" not in fields and not (charge is not None and charge[1]):
        fields["ion_mode"] = words.ion_mode
        notes.append(Note.MODE_IN_TITLE.about(title))
    elif parse_ion_mode(fields.get("ion_mode", "")) != words.ion_mode:
        return
    if words.charge is not None:
        _keep_first(fields, "charge", words.charge)
    if words.minutes is not None and not fields.keys() & _TIMES:
        fields["rt_minutes"] = words.minutes


def _add_level_of_title(fields: dict[str, str], notes: list[str]) -> None:
    """Add the MS level that a title or filter line states, if no field states it."""
    if "ms_level" in fields:
        return
    for name in _TITLES:
        if (level := level_of_title(fields.get(name, ""))) is not None:
            fields["ms_level"] = str(level)
            if level != 2:
                notes.append(Note.LEVEL_IN_TITLE.about(fields[name]))
            return


_TIMES = {"retention_time", "rt_seconds", "rt_minutes"}

NAMES_WITH_SPECIES = ("name", "compound_name", "title", "record_title")
"""Fields of names that may mention an ion species."""

_TITLES = (*NAMES_WITH_SPECIES, "filter_line")

LONGEST_NAME = 1000
"""Characters; a longer name is a peak list that lost its line ends."""


def _keep_value(fields: dict[str, str], name: str, key: str, value: str, notes: list[str]) -> None:
    if name == "precursor_mz":
        _keep_precursor(fields, key, value, notes)
    elif name == "adduct":
        _keep_species(fields, value, notes)
    elif name in _READINGS:
        _keep_reading(fields, name, value, notes)
    elif name in _JOINED and name in fields and given(value) is not None:
        fields[name] += f"; {value.strip()}"
    else:
        _keep_first(fields, name, value)


_JOINED = ("origin", "fragmentation")
"""Fields of several keys, each of which may say that a spectrum is predicted."""


def _are_one_charge(one: tuple[int, bool], other: tuple[int, bool]) -> bool:
    (charge, is_signed), (other_charge, other_is_signed) = one, other
    is_compared = is_signed and other_is_signed
    return charge == other_charge if is_compared else abs(charge) == abs(other_charge)


def _keep_reading(fields: dict[str, str], name: str, value: str, notes: list[str]) -> None:
    """Store the first readable value of a field; note a second one with another meaning."""
    read, are_same, note = _READINGS[name]
    before = read(fields[name]) if name in fields else None
    found = read(value)
    if before is None and found is not None:
        fields[name] = value.strip()
    elif found is None or before is None:
        _keep_first(fields, name, value)
    elif not are_same(before, found):
        if name == "ms_level" and value.strip().isdecimal() and not fields[name].isdecimal():
            # A number goes before words, such as MZmine's "CORRELATED MS".
            fields[name], value = value.strip(), fields[name]
        notes.append(note.about(f"{fields[name]}, {value}"))
    elif name == "charge" and not before[1]:
        fields[name] = value.strip()  # the same, and perhaps with its sign


# By field: how values are read, when two of them mean the same, and the note if they do not.
# Precursors and ion species have rules of their own.
_READINGS: Mapping[str, tuple[Callable[[str], Any], Callable[[Any, Any], bool], Note]] = {
    "ion_mode": (parse_ion_mode, operator.eq, Note.FIRST_MODE),
    "charge": (known_charge, _are_one_charge, Note.FIRST_CHARGE),
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
        if _is_pepmass("precursor_mz", key):
            fields["pepmass"] = key


def _is_pepmass(name: str, key: str) -> bool:
    """Whether a line is MGF's, where an intensity may stand behind the m/z."""
    return name == "precursor_mz" and "pep" in key.lower()


def _keep_species(fields: dict[str, str], value: str, notes: list[str]) -> None:
    """Store the ion species, or note a second one that is another."""
    first = fields.get("adduct")
    is_other = first is not None and not ("M" in first or _reads_as_species(first))
    if is_other and _reads_as_species(value):
        del fields["adduct"]  # "Adduct: yes" hides no species
        first = None
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
"""Th; m/z values that are closer are one ion, written with different numbers of digits."""


def _keep_first(fields: dict[str, str], name: str, value: str) -> None:
    """Store a field's value, unless it is empty or the field has a value already."""
    if name in fields and not (name == "precursor_mz" and _gives_way(fields[name], value)):
        return
    # "-" is an ion mode, also as a charge, and nowhere else a value.
    is_sign = name == "ion_mode" or (name == "charge" and value.strip() == _DASH)
    text = value.strip() if is_sign else given(value)
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


def _gives_way(first: str, second: str) -> bool:
    """Return whether a precursor m/z is empty, or cannot be read while a second one can."""
    return _means_none(first) or (not _reads_as_precursor(first) and _reads_as_precursor(second))


def _means_none(precursor: str) -> bool:
    try:
        return parse_precursor(precursor).mz is None
    except RejectedRecordError:
        return False
