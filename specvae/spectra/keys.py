"""The meanings of the keys of a record, in all spellings of files."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from functools import lru_cache

from specvae.spectra.spectrum import Spectrum
from specvae.spectra.values import given

_SPELLINGS: Mapping[str, str] = {
    "name": "name",
    "compoundname": "compound_name",
    "title": "title",
    "recordtitle": "record_title",
    "deprecated": "deprecated",
    "isotope": "isotope",
    "isotopes": "isotope",
    "db": "db",
    "accession": "accession",
    "featureid": "feature_id",
    "feature": "feature_id",
    "spectrumid": "spectrum_id",
    "peakid": "peak_id",
    "id": "peak_id",
    "queryid": "peak_id",
    "identifier": "peak_id",
    "usi": "peak_id",
    "rowid": "feature_id",
    "scannumber": "scans",
    "scan": "scans",
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
    "adducts": "mode_or_species",
    "adductname": "mode_or_species",
    "adduction": "mode_or_species",
    "precursoradduct": "mode_or_species",
    "msadduct": "mode_or_species",
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
    "filter": "filter_line",
    "filterline": "filter_line",
    "filterstring": "filter_line",
    "scanfilter": "filter_line",
    "collisionenergy": "collision_energy",
    "ce": "collision_energy",
    "energy": "collision_energy",
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
    "libraryquality": "origin",
    "librarytype": "origin",
    "organism": "origin",
    "datatype": "origin",
    "spectrumorigin": "origin",
    "spectrumsource": "origin",
    "activation": "fragmentation",
    "activationmethod": "fragmentation",
    "fragmentation": "fragmentation",
    "fragmentationmethod": "fragmentation",
    "fragmentationmode": "fragmentation",
    "dissociationmethod": "fragmentation",
    "method": "fragmentation",
    "qualitychimeric": "chimeric",
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
    "numberofpeaks": "n_peaks",
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
_NUMBER_BEHIND = re.compile(r"\[\d{1,4}\]\s*$")
_NOT_LETTERS = re.compile(r"[^a-z0-9]+")

FIELDS = frozenset(_SPELLINGS.values())
"""All that a key can mean."""


# MassBank's tags whose value begins with a field's name: "AC$MASS_SPECTROMETRY: ION_MODE POSITIVE".
_GROUPS = frozenset(
    {
        "AC$ANALYTICAL_CONDITION",
        "AC$CHROMATOGRAPHY",
        "AC$MASS_SPECTROMETRY",
        "CH$LINK",
        "MS$DATA_PROCESSING",
        "MS$FOCUSED_ION",
    }
)
# Tags and fields of MassBank that have other names elsewhere.
_UNTAGGED = {"CH$IUPAC": "InChI", "MODE": "ion mode"}


def untagged(key: str, value: str) -> tuple[str, str]:
    """Return key and value of a line of MassBank without its tag.

    ``MS$FOCUSED_ION: PRECURSOR_M/Z 195.0877`` says ``PRECURSOR_M/Z``, and ``CH$SMILES`` is
    ``SMILES``.
    """
    if key in _GROUPS:
        key, _, value = value.partition(" ")
    bare = key.removeprefix("CH$").removeprefix("AC$").removeprefix("PK$")
    return _UNTAGGED.get(key, bare), value


@lru_cache(maxsize=4096)
def field_of(key: str) -> str | None:
    """Return the field that a key means whatever its case and punctuation, None if it is none.

    A unit in brackets may stand behind it, ``RT (min)``, and so may the number of a file, which
    Mascot allows: ``RTINSECONDS[0]``.
    """
    key = _NUMBER_BEHIND.sub("", key.lower())
    unit = _UNIT_BEHIND.search(key) if key.rstrip()[-1:] in ")]" else None
    name = _SPELLINGS.get(_NOT_LETTERS.sub("", key if unit is None else key[: unit.start()]))
    return name if name is None or unit is None else _OF_UNITS.get((name, unit[1][0]), name)


def stated(spectrum: Spectrum, name: str) -> str | None:
    """Return the value of a record's field, None if it states none.

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
    # Fields that readers store as attributes, as PEPMASS is the precursor m/z.
    meant = _MEANT.get(_SPELLINGS.get(wanted, ""))
    value = None if meant is None else getattr(spectrum, meant)
    return None if value is None else str(value)


FEATURE_FIELDS = ("FEATURE_ID", "FEATURE", "ROW_ID", "PEAKID")
"""Fields in which programs name the feature of a spectrum, best first."""
_PEAK_OF_MSDIAL = re.compile(r"(?:^|\|)PEAKID=(\w+)")


def feature_of(spectrum: Spectrum) -> str | None:
    """Return the name of a record's feature, None if it states none; in MS-DIAL's comments, too."""
    found = filter(None, (stated(spectrum, name) for name in FEATURE_FIELDS))
    if (feature := next(found, None)) is not None:
        return feature
    peak = _PEAK_OF_MSDIAL.search(stated(spectrum, "COMMENT") or "")
    return None if peak is None else peak[1]


# Spelling without punctuation -> attribute of a spectrum.
_ATTRIBUTES = {
    _NOT_LETTERS.sub("", attribute.name): attribute.name
    for attribute in dataclasses.fields(Spectrum)
    if attribute.name not in ("mz", "intensity", "notes", "metadata")
}
# Fields of a file -> attribute of a spectrum.
_MEANT = {
    **{name: name for name in _ATTRIBUTES.values()},
    "compound_name": "name",
    "rt_seconds": "retention_time",
    "rt_minutes": "retention_time",
    "structure": "smiles",
    "nce": "normalized_collision_energy",
}
