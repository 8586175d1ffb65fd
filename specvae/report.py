"""What was read and what was skipped: every record that is lost is counted by cause and place."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from specvae.counting import counted
from specvae.errors import InputError, cut, printable
from specvae.files import atomic_text
from specvae.limits import limits
from specvae.sources import name_of_source

_LONGEST_NAME = 100  # characters of a record's name in a message


class Reason(StrEnum):
    """Why a record was skipped.

    The first group is malformed input (an error under ``--strict``); the second is records that
    are sound but that a filter or the task at hand has no use for.
    """

    NO_PEAKS = "no peaks"
    PEAK_COUNT_MISMATCH = "number of peaks differs from the declared one"
    BAD_PEAK = "a peak is not two finite numbers"
    BAD_PRECURSOR = "precursor m/z is not a positive number"
    BAD_CHARGE = "charge is unreadable or contradicts the ion mode"
    BAD_FIELD = "a field has an unreadable value"
    TRUNCATED = "end of the record is missing"
    BAD_STRUCTURE = "structure cannot be parsed"
    BAD_ENCODING = "record is not text"
    TOO_LARGE = "record is larger than the limit"

    MS_LEVEL = "not MS level 2"
    OTHER_SPECTRUM = "no mass spectrum of fragments"
    DEPRECATED = "deprecated by its authors"
    ION_MODE = "other ion mode"
    ADDUCT = "other adduct"
    INSTRUMENT_TYPE = "other instrument type"
    NO_STRUCTURE = "no structure"
    SUGGESTED = "structure suggested, not matched by its spectrum"
    DECOY = "decoy, made up to be matched by chance"
    NO_PRECURSOR = "no precursor m/z"
    MASS_MISMATCH = "precursor m/z does not fit structure and adduct"
    TOO_FEW_PEAKS = "too few peaks"
    EXCLUDED = "compound is in an exclusion file"
    HELD_OUT = "compound is held out for validation or test"

    @property
    def is_malformed(self) -> bool:
        """Whether the record itself is broken, rather than merely not wanted."""
        return self in _MALFORMED

    @property
    def is_other_scan(self) -> bool:
        """Whether the record is one that nobody asks about, such as the survey scan of a run."""
        return self in (Reason.MS_LEVEL, Reason.OTHER_SPECTRUM)


_MALFORMED = frozenset(
    {
        Reason.NO_PEAKS,
        Reason.PEAK_COUNT_MISMATCH,
        Reason.BAD_PEAK,
        Reason.BAD_PRECURSOR,
        Reason.BAD_CHARGE,
        Reason.BAD_FIELD,
        Reason.TRUNCATED,
        Reason.BAD_STRUCTURE,
        Reason.BAD_ENCODING,
        Reason.TOO_LARGE,
    }
)


SKIP_COLUMNS = ("path", "line", "record", "reason", "detail")
"""Columns of a list of what was skipped, as a file."""


@dataclass(frozen=True, slots=True)
class Skip:
    """One skipped record: where it stands, what it calls itself, and why it was skipped."""

    path: str
    line: int
    record: str
    reason: Reason
    detail: str = ""

    def __str__(self) -> str:
        detail = f" ({self.detail})" if self.detail else ""
        record = cut(self.record, _LONGEST_NAME)
        return f"{self.path}:{self.line}: {record}: {self.reason}{detail}"


@dataclass
class ReadReport:
    """Counts records read and keeps a line for every one skipped.

    Parameters
    ----------
    strict
        Raise at the first malformed record instead of counting it.

    Attributes
    ----------
    n_read
        How many records were read.
    skips
        Those that were skipped, in their order.
    notes
        How many records each decision was made on, see `note`.
    columns
        Of a table of structures, or of the data of an SD file: names of columns -> what each is
        used for, "" for nothing; in their order.
    """

    strict: bool = False
    n_read: int = 0
    skips: list[Skip] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)
    columns: dict[str, str] = field(default_factory=dict)

    def note(self, decision: str) -> None:
        """Count one record that was read but needed a decision, such as on its charge."""
        self.notes[decision] += 1

    def skip(
        self,
        path: str,
        line: int,
        record: str,
        reason: Reason,
        detail: str = "",
        *,
        is_sound: bool = False,
    ) -> None:
        """Count one skipped record; one that `is_sound` is no error of a strict report.

        Raises
        ------
        InputError
            If the report is strict and the record is malformed, or too many are skipped.
        """
        skip = Skip(name_of_source(path), line, printable(record), reason, printable(detail))
        if self.strict and reason.is_malformed and not is_sound:
            raise InputError(str(skip))
        self.skips.append(skip)
        if len(self.skips) > (most := limits().skipped):
            raise InputError(
                f"{path}:{line}: more than {most:,} records cannot be used (skipped), the last: "
                f"{reason}"
            )

    def leave_out(self, path: str, line: int, record: str, reason: Reason, detail: str) -> None:
        """Count one record that was read as skipped after all; as `skip`.

        Spectra that were at hand, not in a file, were never counted as read.
        """
        self.n_read = max(self.n_read - 1, 0)
        self.skip(path, line, record, reason, detail)

    @property
    def counts(self) -> Counter[Reason]:
        """Number of skipped records by reason."""
        return Counter(skip.reason for skip in self.skips)

    def summary(self, noun: str = "spectra") -> str:
        """Return totals in one line: ``1,234 spectra read, 12 skipped: no peaks (7), ...``."""
        return f"{counted(self.n_read, noun)} read, {self._skipped()}"

    def nothing_read(self, noun: str = "spectra") -> str:
        """Return totals in one line as `summary` does, and of the first skipped record the cause.

        For a message on a file of which nothing can be used.
        """
        if not self.skips:
            return self.summary(noun)
        first = self.skips[0]
        return f"{self.summary(noun)}; line {first.line:,}: {first.detail or first.reason}"

    def kept(self, n: int, n_compounds: int | None = None) -> str:
        """Return what became of all records in one line, where `n` spectra are used in the end.

        Such as ``20 records: 8 spectra kept, 12 skipped: no peaks (7), ...``, or ``8 spectra of 3
        compounds``. Some of the others could not be read, and some were read and then left out;
        both are skipped.
        """
        records, spectra = counted(n + len(self.skips), "records"), counted(n, "spectra")
        whose = "" if n_compounds is None else f" of {counted(n_compounds, 'compounds')}"
        return f"{records}: {spectra}{whose} kept, {self._skipped()}"

    def _skipped(self) -> str:
        line = f"{len(self.skips):,} skipped"
        if self.skips:
            line += f": {_by_cause(self.counts)}"
        return f"{line}; read with a note: {_by_cause(self.notes)}" if self.notes else line

    def write_csv(self, path: Path) -> None:
        """Write one row per skipped record: path, line, record, reason, detail."""
        with atomic_text(path) as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(SKIP_COLUMNS)
            for skip in self.skips:
                writer.writerow([skip.path, skip.line, skip.record, skip.reason.name, skip.detail])


def _by_cause(counter: Counter[Reason] | Counter[str]) -> str:
    """Return how many there are of each: ``no peaks (7), metal taken off: Cu (7), Zn (2)``."""
    kinds: dict[str, list[str]] = {}
    for cause, n in counter.most_common():
        kind, _, which = str(cause).partition(": ")
        kinds.setdefault(kind, []).append(f": {which} ({n:,})" if which else f" ({n:,})")
    return ", ".join(
        kind + ", ".join([texts[0], *(each.removeprefix(": ") for each in texts[1:])])
        for kind, texts in kinds.items()
    )
