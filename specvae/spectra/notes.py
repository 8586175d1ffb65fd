"""Decisions of readers about records, in the words that users see.

A decision that changes what is ranked is a *note* of the spectrum: the words of `Note`, followed in
brackets by the record's own text. The status of a query shows the whole note; summaries count notes
without the brackets. docs/formats.md lists them.
"""

from __future__ import annotations

from enum import StrEnum


class Note(StrEnum):
    """A decision about a record."""

    FIRST_PRECURSOR = "first of several precursors taken"
    FIRST_SPECIES = "first of several ion species taken"
    FIRST_MODE = "first of several ion modes taken"
    FIRST_CHARGE = "first of several charges taken"
    FIRST_LEVEL = "first of several MS levels taken"
    WINDOW_TARGET = "isolation window's target taken as precursor m/z"
    WIDE_WINDOW = "isolation window too wide to tell the precursor m/z"
    ISOTOPE_OF_TARGET = "selected ion lies one isotope below the isolation window's target"
    COMMENT_PRECURSOR = "precursor m/z taken from the comment"
    THOUSANDS = "precursor m/z read with a thousands separator"
    SPECIES_IN_WORDS = "ion species taken from name or comment"
    SPECIES_IN_WORDS_NOT_TAKEN = "ion species in name or comment contradicts charge or ion mode"
    SPECIES_UNKNOWN = "ion species stated as unknown"
    MODE_IN_TITLE = "ion mode taken from the title"
    LEVEL_IN_TITLE = "MS level taken from the title"
    MODE_NOT_UNDERSTOOD = "ion mode not understood"
    MODE_OVERRULED_BY_SPECIES = "ion mode overruled by ion species"
    MODE_OVERRULED_BY_CHARGE = "ion mode overruled by charge"
    CHARGE_OVERRULED_BY_SPECIES = "charge overruled by ion species"
    SPECIES_CHARGE_OVERRULED = "charge behind the ion species overruled by the record's own"
    ODD_CHARGE = "ion species whose groups carry another charge than it states"
    CHARGE_OVERRULED_BY_PRECURSOR = "charge overruled by the precursor's own"
    CHARGE_TAKEN_AS_POSITIVE = "charge without sign taken as positive"
    TWO_SIGNS = "charge with two signs, the one in front taken"
    SEVERAL_CHARGES = "several charges stated, none taken"
    LOWEST_CHARGE = "several charges stated, the lowest taken"
    FEW_REACTIONS = "of selected reactions, other fragments were not looked for"
    TIME_NOT_UNDERSTOOD = "retention time not understood"
    TIME_IN_MINUTES = "retention time without a unit taken as minutes"
    TIME_IN_SECONDS = "retention time without a unit taken as seconds"
    MEAN_ENERGY = "mean of several collision energies taken"
    ISOTOPE = "precursor stated to be an isotope peak"
    PREDICTED = "predicted, not measured"
    NO_COLLISIONS = "fragmented by electrons or light, not by collisions"
    CHIMERIC = "stated to be chimeric, of several precursors"
    CENTROIDED = "profile centroided"
    ADDED_UP = "peaks of one m/z added up"
    LISTED_TWICE = "peaks listed more than once counted once"
    BELOW_ZERO = "peaks of intensity below 0 left out"
    EXCHANGED = "m/z and intensities may stand in each other's place"
    DECIMAL_COMMAS = "decimal commas read as points"
    PROFILE_KEPT = "stated to be a profile, points taken as peaks"

    def about(self, found: str) -> str:
        """Return the note with the record's own text in brackets."""
        return f"{self} ({' '.join(found.split())[:80]})"


def note_kind(note: str) -> str:
    """Return a note without the text of its record, so that it can be counted."""
    return note.partition(" (")[0]
