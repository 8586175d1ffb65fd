"""From the fields of a record and its peaks to a `Spectrum`.

Charge, ion mode and ion species of the record are brought into agreement. Its peaks are sorted,
those of one m/z are added up, and the peaks of a profile are picked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from specvae.counting import counted
from specvae.errors import printable
from specvae.limits import Limits
from specvae.report import Reason
from specvae.spectra.energies import (
    CollisionEnergy,
    is_of_a_list,
    parse_collision_energy,
    parse_normalized_energy,
)
from specvae.spectra.fields import LONGEST_NAME, NAMES_WITH_SPECIES, Record
from specvae.spectra.notes import Note, note_kind
from specvae.spectra.peaks import may_be_exchanged
from specvae.spectra.polarity import Polarity, charge_of, reconcile_polarity
from specvae.spectra.profile import centroid, is_profile
from specvae.spectra.spectrum import LOWEST_SCALE, MAX_MZ, Spectrum
from specvae.spectra.values import (
    Precursor,
    RejectedRecordError,
    known_charge,
    parse_ion_mode,
    parse_ms_level,
    parse_precursor,
    parse_retention_time,
)


class Style(NamedTuple):
    """Differences between file formats in the meaning of fields.

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


def _first(fields: Mapping[str, str], names: Iterable[str]) -> str | None:
    for name in names:
        if name in fields:
            return fields[name]
    return None


def identify(record: Record, style: Style, file_name: str, ordinal: int) -> str:
    """Return the identifier of a record: its best one, else ``FILE#N``."""
    name = printable(_first(record.fields, style.id_fields) or "")[:LONGEST_NAME]
    return name or f"{file_name}#{ordinal}"


def require_peaks(
    mz: NDArray[np.float64], intensity: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return peaks (n_peaks,) sorted by m/z, with intensities below 0 at 0.

    Pairs of two zeros, which some writers add, are no peaks. Intensities below 0 are points of a
    profile from which a baseline was subtracted.

    Raises
    ------
    RejectedRecordError
        If there is no peak above 0, or a peak is not two finite numbers, m/z above 0 and at most
        `MAX_MZ`.
    """
    if (is_none := (mz == 0) & (intensity == 0)).any():
        mz, intensity = mz[~is_none], intensity[~is_none]
    good = (mz > 0) & (mz <= MAX_MZ) & (np.abs(intensity) < np.inf)
    if not good.all():
        i = int(np.argmin(good))
        raise RejectedRecordError(Reason.BAD_PEAK, f"m/z {mz[i]:g}, intensity {intensity[i]:g}")
    if not (intensity > 0).any():
        raise RejectedRecordError(Reason.NO_PEAKS, _without_heights(intensity))
    intensity = np.maximum(intensity, 0.0)
    order = np.argsort(mz, kind="stable")
    highest = float(intensity.max())
    if not LOWEST_SCALE <= highest <= 1 / LOWEST_SCALE:
        # Only ratios of heights count, and sums and quotients of such numbers exceed the range of a
        # double. Scaling takes two steps, as the quotient of a denormal number overflows, too.
        intensity = intensity * 2.0**600 if highest < 1 else intensity * 2.0**-600
        intensity = intensity / intensity.max()
    return mz[order], intensity[order]


def _without_heights(intensity: NDArray[np.float64]) -> str:
    """Return the message on a peak list without an intensity above 0."""
    if intensity.size == 0:
        return ""
    return "no intensity is above 0" if intensity.any() else "every intensity is 0"


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
        The record and its peaks, as read.
    style
        The style of the file's format.
    query_id
        The identifier of the record.
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
        detail = f"more than {counted(most.record_peaks, 'peaks')} (record_peaks)"
        raise RejectedRecordError(Reason.TOO_LARGE, detail)
    path, line, ordinal = place
    fields = record.fields
    precursor = _precursor(fields)
    charge, charge_notes = charge_of(precursor.charge, fields.get("charge"))
    polarity = _polarity(fields, charge)
    time, time_notes = _retention_time(record, style)
    notes = (*record.notes, *precursor.notes, *charge_notes, *polarity.notes, *time_notes)
    if _ISOTOPE.match(fields.get("isotope", "")) is not None:
        notes += (Note.ISOTOPE.about(fields["isotope"]),)
    notes += _prediction(fields) + _other_fragmentation(fields) + _chimeric(fields)
    smiles, inchi, inchikey = sort_structures(fields)
    energy = _energy(fields)
    notes += _several_energies(energy)

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
        # The peaks are unsorted or malformed, which is rare: sort them, or reject the record.
        sound = require_peaks(mz, intensity)
        charges = abs(polarity.charge or 1)
        notes += _unsorted(mz, intensity, precursor.mz and precursor.mz * charges)
        spectrum = build(*sound, notes)
    stated = "profile" in fields
    if not stated and not is_profile(spectrum.mz, spectrum.intensity):
        return _distinct(spectrum)
    picked_mz, picked = centroid(spectrum.mz, spectrum.intensity)
    if picked.size == np.count_nonzero(spectrum.intensity):
        return _distinct(replace(spectrum, notes=(*notes, Note.PROFILE_KEPT)))
    found = f"{counted(spectrum.n_peaks, 'points')}, {counted(picked.size, 'peaks')}"
    return build(picked_mz, picked, (*notes, Note.CENTROIDED.about(found)))


def _unsorted(
    mz: NDArray[np.float64], intensity: NDArray[np.float64], precursor_mass: float | None
) -> tuple[str, ...]:
    """Return the notes on peaks that are unsorted, or partly below 0; see `may_be_exchanged`."""
    notes: tuple[str, ...] = ()
    if n_below := np.count_nonzero(intensity < 0):
        notes += (Note.BELOW_ZERO.about(f"{n_below:,} of {counted(mz.size, 'peaks')}"),)
    if may_be_exchanged(mz, intensity, precursor_mass):
        notes += (Note.EXCHANGED.about(f"{mz[0]:g} {intensity[0]:.10g}"),)
    return notes


def _precursor(fields: Mapping[str, str]) -> Precursor:
    """Return the precursor's m/z, else the isolation window's, and the charge beside it.

    The charge may be a placeholder for the intensity. In that case it counts only if nothing else
    tells the ion mode.
    """
    found = parse_precursor(fields.get("precursor_mz"), is_pepmass="pepmass" in fields)
    if found.mz is None and "window_mz" in fields:
        window = parse_precursor(fields["window_mz"])
        note = Note.WINDOW_TARGET.about("no precursor m/z")
        found = window._replace(charge=found.charge, notes=(*window.notes, note))
    if not found.is_charge_sure and _states_polarity(fields):
        found = found._replace(charge=None)
    return found


def _states_polarity(fields: Mapping[str, str]) -> bool:
    """Return whether other fields than the precursor's, or a name, tell the ion mode."""
    species = fields.get("adduct", fields.get("species_in_words"))
    with suppress(RejectedRecordError):  # `make_spectrum` reports it
        found = reconcile_polarity(species, fields.get("charge"), fields.get("ion_mode"))
        return found.ion_mode is not None
    return False


# As MS-DIAL says of features, "M+1", and CAMERA, "[102][M+1]+"; "M+0" is none.
_ISOTOPE = re.compile(r"(?:\[\d+\])?\[?M\s*\+\s*[1-9]")

# How libraries such as LipidBlast and CFM-ID's mark spectra that no instrument measured.
# GNPS has names with a "predicted molecular formula", or a "structure predicted by MS/MS", of
# measured spectra.
_PREDICTED = re.compile(
    r"(?<!not )(?:\bin[\s_-]?silico\b"
    r"|(?<!formula )(?<!structure )(?<!class )\bpredicted\s*(?:$|[)\];]|MS|spectr|by\b))"
    r"|\bCFM-ID\b|\bLipidBlast|\bISDB\b|\bQCxMS2?\b|\bMassFormer\b|\b(?-i:FIORA)\b",
    re.IGNORECASE,
)

# Words that mark a predicted spectrum where they describe the spectrum, as in "DATA_TYPE:
# theoretical spectrum". They do not where they describe something else: "simulated gastric fluid",
# "measured, m/z calculated".
_CALCULATED = re.compile(
    r"(?:^|[;|\n])[\s(]*(?:theoretical|simulated|calculated|virtual)(?:ly)?"
    r"(?:[\s_-]+(?:ms(?:/ms|\d)?|tandem|mass|spectr(?:um|a|al)|fragment\w*|library|data))*"
    r"[\s).]*(?:$|[;|\n])",
    re.IGNORECASE,
)


def _prediction(fields: Mapping[str, str]) -> tuple[str, ...]:
    """Return a note where instrument, name or comment say that the spectrum is predicted."""
    if "prediction" in fields:
        return (Note.PREDICTED.about(fields["prediction"]),)
    if (origin := fields.get("origin")) is not None and _CALCULATED.search(origin) is not None:
        return (Note.PREDICTED.about(origin),)
    return _prediction_in(*map(fields.get, _NAMES_OF_PREDICTED))


@lru_cache(maxsize=16)  # spectra of one compound follow one another
def _prediction_in(*texts: str | None) -> tuple[str, ...]:
    for text in texts:
        if text is not None and _PREDICTED.search(text[:LONGEST_NAME]) is not None:
            return (Note.PREDICTED.about(text),)
    return ()


_NAMES_OF_PREDICTED = (
    *("instrument_type", "instrument", "origin", "fragmentation", "spectrum_id"),
    *NAMES_WITH_SPECIES,
)


# Names and abbreviations of fragmentation by electrons (EAD of ZenoTOF, ETD and EThcD of Orbitraps)
# or by light, including "etd50.00" of a filter line. Its fragments differ from those of collisions,
# which models and libraries have.
_NO_COLLISIONS = re.compile(
    r"(?<![a-z])(?:n?etd|et(?:hc|ci|ca)d|ead|ecd|edd|eid|exd|uvpd|euvpd)(?![a-z])"
    r"|electron[\s_-]?(?:activated|capture|transfer|detachment|induced)[\s_-]dissociation"
    r"|photo[\s_-]?dissociation",
    re.IGNORECASE,
)
# The first fields are about fragmentation; in the others only filter lines count, "@etd50.00".
_ON_FRAGMENTATION = ("fragmentation", "collision_energy", "ms_level", "instrument_type")
_WITH_FILTER_LINE = ("filter_line", "title")
_NO_COLLISIONS_IN_FILTER = re.compile(rf"(?<=@)(?:{_NO_COLLISIONS.pattern})\d[\d.]*", re.IGNORECASE)


def _other_fragmentation(fields: Mapping[str, str]) -> tuple[str, ...]:
    """Return a note where a record says that its ions were not fragmented by collisions."""
    found = next(
        (
            text if pattern is _NO_COLLISIONS else told[0]
            for pattern, names in (
                (_NO_COLLISIONS, _ON_FRAGMENTATION),
                (_NO_COLLISIONS_IN_FILTER, _WITH_FILTER_LINE),
            )
            for text in map(fields.get, names)
            if text is not None and (told := pattern.search(text[:LONGEST_NAME])) is not None
        ),
        None,
    )
    return () if found is None else (Note.NO_COLLISIONS.about(found),)


_CHIMERIC = re.compile(r"\s*(?:chimeric|true|yes|1)\s*", re.IGNORECASE)
_CHIMERIC_NAME = re.compile(r"\(chimeric\b", re.IGNORECASE)  # "X (Chimeric precursor selection)"


def _chimeric(fields: Mapping[str, str]) -> tuple[str, ...]:
    """Return a note where MZmine found other precursors in the isolation window."""
    if (stated := fields.get("chimeric")) is not None:
        return (Note.CHIMERIC.about(stated),) if _CHIMERIC.fullmatch(stated) is not None else ()
    named = [text for text in map(fields.get, NAMES_WITH_SPECIES) if text is not None]
    found = next((text for text in named if _CHIMERIC_NAME.search(text[:LONGEST_NAME])), None)
    return () if found is None else (Note.CHIMERIC.about(found),)


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


def _several_energies(energy: CollisionEnergy | None) -> tuple[str, ...]:
    """Return a note where the energy is the mean of several that the record lists."""
    if energy is None or not is_of_a_list(energy):
        return ()
    return (Note.MEAN_ENERGY.about(energy.text),)


_ONE_PEAK = 1e-5
"""Th; no instrument separates peaks that are nearer. msconvert shifts peaks of one m/z and several
ion mobilities by 1e-8 Th when it combines scans."""


def _distinct(spectrum: Spectrum) -> Spectrum:
    """Return a spectrum whose peaks are above 0 and each of another m/z.

    Some writers add peaks of intensity 0, or join scans without adding up their common peaks. Such
    peaks would count: the number of peaks is evidence, and each is compared with fragments.
    """
    mz, intensity = spectrum.mz, spectrum.intensity
    n_near = np.count_nonzero(mz[1:] - mz[:-1] <= _ONE_PEAK)
    if n_near == 0 and intensity.item(intensity.argmin()) > 0:
        return spectrum
    is_peak = intensity > 0
    mz, intensity = mz[is_peak], intensity[is_peak]
    is_first = np.concatenate(([True], np.diff(mz) > _ONE_PEAK))
    notes = spectrum.notes
    n_shared = mz.size - np.count_nonzero(is_first)
    if _are_copies(mz, intensity, is_first):
        heights = intensity[is_first]
        note = Note.LISTED_TWICE
    else:
        heights = np.bincount(np.cumsum(is_first) - 1, weights=intensity).astype(np.float64)
        note = Note.ADDED_UP
    if n_shared > 0:
        notes = (*notes, note.about(f"{n_shared:,} of {counted(mz.size, 'peaks')}"))
    if heights.max() > 1 / LOWEST_SCALE:
        heights = heights / heights.max()
    return replace(spectrum, mz=mz[is_first], intensity=heights, notes=notes)


def _are_copies(
    mz: NDArray[np.float64], intensity: NDArray[np.float64], is_first: NDArray[np.bool_]
) -> bool:
    """Return whether all further peaks of an m/z are exact copies of the first one.

    Converters write a peak once for each of its annotations. Peaks of joined scans differ in some
    heights.
    """
    again = np.flatnonzero(~is_first)
    return bool(
        (mz[again] == mz[again - 1]).all() and (intensity[again] == intensity[again - 1]).all()
    )


def _polarity(fields: Mapping[str, str], charge: str | None) -> Polarity:
    """Return charge, ion mode and ion species of a record, which may only mention the species.

    A mention is less reliable than a field: it must agree with the ion mode and the charge, or with
    one of them if they contradict each other.
    """
    mode, mentioned = fields.get("ion_mode"), fields.get("species_in_words")
    if mentioned is not None:
        polarity = reconcile_polarity(mentioned, charge, mode)
        overruled = _OVERRULED_BY_SPECIES.intersection(map(note_kind, polarity.notes))
        signs = (parse_ion_mode(mode or ""), _mode_of(charge))
        if not overruled or (
            len(overruled) == 1 and signs.count(polarity.ion_mode) == 1 and all(signs)
        ):
            note = Note.SPECIES_IN_WORDS.about(mentioned)
            return polarity._replace(notes=(*polarity.notes, note))
        without_species = reconcile_polarity(None, charge, mode)
        note = Note.SPECIES_IN_WORDS_NOT_TAKEN.about(mentioned)
        return without_species._replace(notes=(*without_species.notes, note))
    return reconcile_polarity(fields.get("adduct"), charge, mode)


def _mode_of(charge: str | None) -> str | None:
    """Return the ion mode of a charge with a sign, None for a charge without one."""
    found = known_charge(charge or "")
    return None if found is None or not found[1] else "positive" if found[0] > 0 else "negative"


_OVERRULED_BY_SPECIES = frozenset(
    (Note.MODE_OVERRULED_BY_SPECIES, Note.CHARGE_OVERRULED_BY_SPECIES)
)


_INCHI = re.compile(r"['\"]?(?:InChI\s*[=:]\s*)*(1[SB]?/.+?)['\"]?", re.IGNORECASE | re.DOTALL)
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
    """Return SMILES, InChI and InChIKey of a record, each recognised by its form.

    In some records, SMILES, InChI and InChIKey are in each other's fields, or ``InChI=`` is missing
    or doubled.
    """
    return _sorted(*map(fields.get, _STRUCTURES_AND_KEYS))


@lru_cache(maxsize=16)  # spectra of one compound follow one another
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
    others = []
    for text in (fields[name] for name in _KEYS if name in fields):
        if (match := _INCHIKEY.match(text)) is not None:
            return smiles, inchi, match[1].upper()
        if (match := _INCHI.fullmatch(text)) is not None:
            inchi = inchi or f"InChI={match[1]}"
        else:
            others.append(text)
    return smiles, inchi, key or next(iter(others), None)


_MINUTE = 60.0  # s
_LONG_RUN = 100 * _MINUTE  # few runs are longer; a longer time was probably stated in seconds
_DEAD_TIME = 30.0  # s; little is eluted earlier, so that a shorter time is probably in minutes
_BARE_NUMBER = re.compile(r"\s*[\d.]+\s*")


def _seconds_per_unit(record: Record, style: Style) -> float:
    """Return the unit of a retention time that states none."""
    # msPurity's MSP has seconds, and names the program in its comment.
    is_ms_purity = "retention_time" in record.fields and any(
        "msPurity" in text for text in record.metadata.values()
    )
    return 1.0 if is_ms_purity else style.seconds_per_rt_unit


def _retention_time(record: Record, style: Style) -> tuple[float | None, tuple[str, ...]]:
    """Return the retention time in seconds, and a note if its unit or value is in doubt.

    Negative times and ``N/A min`` mean that there is none.
    """
    for name, seconds_per_unit in (
        ("rt_seconds", 1.0),
        ("rt_minutes", 60.0),
        ("retention_time", _seconds_per_unit(record, style)),
    ):
        if (text := record.fields.get(name)) is not None:
            time = parse_retention_time(text, seconds_per_unit)
            if time and name == "retention_time" and _BARE_NUMBER.fullmatch(text) is not None:
                if seconds_per_unit == _MINUTE and time > _LONG_RUN:
                    return time, (Note.TIME_IN_MINUTES.about(text),)
                if style.seconds_per_rt_unit == 1 and time < _DEAD_TIME:
                    return time, (Note.TIME_IN_SECONDS.about(text),)
            if time is not None or text.lstrip().startswith("-") or not any(map(str.isdigit, text)):
                return time, ()
            return None, (Note.TIME_NOT_UNDERSTOOD.about(text),)
    return None, ()
