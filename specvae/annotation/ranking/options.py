"""Options of a ranking run; importing this loads no heavy library."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from specvae.errors import ConfigError

if TYPE_CHECKING:
    from specvae.annotation.evidence.own_spectra import StatedShares

DEFAULT_COUNTS_WEIGHT = 0.5
"""The default exponent of counts of references."""

LARGEST_COUNTS_WEIGHT = 3.0
"""The largest exponent. With a larger one, compounds of ten million references could rank above
those of the query's mass."""


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The options of a run.

    Attributes
    ----------
    candidates
        A table of structures, or a pool (``.h5``).
    ppm
        Largest distance of a candidate's exact mass from the query's neutral mass.
    ion_mode, adducts
        Only queries of these are ranked; None and an empty tuple let all pass.
    assume_adduct, assume_ion_mode
        Adduct and ion mode of queries that state none.
    try_adducts
        Ion species that are tried for queries that state none: ``[M+H]+,[M+Na]+``, or ``common``.
        Candidates of each species are ranked. None: one species.
    in_list
        Share of lists that hold their truth; None estimates it.
    known
        Share of queries whose compound the library knows; None estimates it.
    library
        Files of spectra, or of encoded ones (``.h5``), that are remembered for this run.
    use_library
        Whether the model's own library counts.
    use_retention_times
        Whether queries' retention times count.
    use_mass_errors
        Whether errors of queries' precursor m/z count; None: unless both `in_list` and `known` are
        stated, so that the other queries of a run do not count.
    use_nearness
        Whether nearness of candidates to the library's compounds counts.
    merge_by
        Field by which spectra are of one feature and get one answer; None: each gets its own.
    shard
        The number of this part of a run, from 1, and how many parts there are; None: the run is
        whole. Each part has every n-th feature; identifiers are given over the whole file.
    formula, elements
        Only candidates of this formula (``C9H8O4``), and of these elements (``CHNOPS``); None: any.
    exclude
        Files that name compounds to be left out of the candidates.
    counts
        A table of how often compounds are referred to; None: it does not count.
    counts_columns
        Its columns of counts, which are added up; if empty, the only column named like one.
    counts_weight
        A compound of n references is (1 + n) to this power as likely as one of none.
    rescore
        Only so many candidates of a query, the best by all other evidence, and those with own
        spectra are broken into fragments; None: all.
    strict
        Make the first malformed record an error.
    n_jobs
        Processes that parse long tables, compute fingerprints and break many molecules; None for
        one per core.

    Raises
    ------
    ConfigError
        If a number is out of range, or is none, or an ion mode is another word.
    """

    candidates: Path
    ppm: float = 10.0
    ion_mode: str | None = None
    adducts: tuple[str, ...] = ()
    assume_adduct: str | None = None
    assume_ion_mode: str | None = None
    try_adducts: str | None = None
    in_list: float | None = None
    known: StatedShares | None = None
    library: tuple[Path, ...] = ()
    use_library: bool = True
    use_retention_times: bool = True
    use_mass_errors: bool | None = None
    use_nearness: bool = True
    merge_by: str | None = None
    shard: tuple[int, int] | None = None
    formula: str | None = None
    elements: str | None = None
    exclude: tuple[Path, ...] = ()
    counts: Path | None = None
    counts_columns: tuple[str, ...] = ()
    counts_weight: float = DEFAULT_COUNTS_WEIGHT
    rescore: int | None = None
    strict: bool = False
    n_jobs: int | None = None

    def __post_init__(self) -> None:
        for name, mode in (("ion_mode", self.ion_mode), ("assume_ion_mode", self.assume_ion_mode)):
            if mode not in (None, "positive", "negative"):
                raise ConfigError(f"{name}: found {mode!r}, wanted positive or negative")
        if self.in_list is not None and not _is_share(self.in_list):
            raise ConfigError(f"in_list: found {self.in_list!r}, wanted a share from 0 to 1")
        if self.known is not None and not _are_shares(self.known):
            raise ConfigError(
                f"known: found {self.known!r}, wanted a share from 0 to 1, or two whose sum is at "
                "most 1"
            )
        if self.shard is not None and not 1 <= self.shard[0] <= self.shard[1]:
            raise ConfigError(f"shard: found {self.shard}, wanted a number from 1 to that of parts")
        for name, number in (("rescore", self.rescore), ("n_jobs", self.n_jobs)):
            if number is not None and not (isinstance(number, Integral) and number >= 1):
                raise ConfigError(f"{name}: found {number!r}, wanted 1 or more")
        self._require_counts()
        if not (isinstance(self.ppm, Real) and 0.0 < self.ppm < math.inf):
            raise ConfigError(f"ppm: found {self.ppm!r}, wanted a finite number above 0")

    def _require_counts(self) -> None:
        weight = self.counts_weight
        if not (isinstance(weight, Real) and 0.0 < float(weight) <= LARGEST_COUNTS_WEIGHT):
            raise ConfigError(
                f"counts_weight: found {weight!r}, wanted a number above 0 and at most "
                f"{LARGEST_COUNTS_WEIGHT:g}"
            )
        if self.counts is not None:
            return
        for name, found, default in (
            ("counts_columns", ", ".join(self.counts_columns), ""),
            ("counts_weight", weight, DEFAULT_COUNTS_WEIGHT),
        ):
            if found != default:
                raise ConfigError(f"{name}: found {found}, wanted a file of counts too (--counts)")

    @property
    def has_mass_errors(self) -> bool:
        """Whether errors of queries' precursor m/z count."""
        if self.use_mass_errors is not None:
            return self.use_mass_errors
        return self.in_list is None or self.known is None

    @property
    def inputs(self) -> dict[str, tuple[Path, ...]]:
        """The files that are read, other than model and queries, by option of the command line."""
        return {
            "--candidates": (self.candidates,),
            "--library": self.library,
            "--exclude": self.exclude,
            "--counts": () if self.counts is None else (self.counts,),
        }

    def within(self, folder: Path) -> Self:
        """Return the same with the files' relative paths as paths from a folder."""
        return replace(
            self,
            candidates=folder / self.candidates,
            library=tuple(folder / path for path in self.library),
            exclude=tuple(folder / path for path in self.exclude),
            counts=None if self.counts is None else folder / self.counts,
        )

    def asked(self) -> dict[str, Any]:
        """Return the options that the results depend on, by name, without files and shard.

        The values are as JSON gives them back.
        """
        apart = {"candidates", "library", "exclude", "counts", "shard", "strict", "n_jobs"}
        asked = {
            option.name: getattr(self, option.name)
            for option in fields(self)
            if option.name not in apart
        }
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asked.items()
        }


def _is_share(value: object) -> bool:
    return isinstance(value, Real) and 0.0 <= float(value) <= 1.0


def _are_shares(known: object) -> bool:
    if not isinstance(known, tuple):
        return _is_share(known)
    return len(known) == 2 and all(map(_is_share, known)) and sum(known) <= 1.0
