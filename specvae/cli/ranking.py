"""What commands that rank queries share: their options, the run that these ask for, its summary."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specvae.cli.options import (
    assumption_options,
    candidate_options,
    device_option,
    library_options,
    model_file,
    model_option,
    query_filter_options,
    require_calibrated,
    share_options,
    strict_option,
)
from specvae.errors import InputError

if TYPE_CHECKING:
    from specvae.annotation.ranking.run import RankingRun
    from specvae.annotation.ranking.tally import Tally
    from specvae.cli.console import Console


@dataclass(frozen=True)
class RankingOptions:
    """The options of a command that ranks queries, as they were given."""

    candidates: Path
    ppm: float
    rank_by: str
    rescore: int | None
    jobs: int | None
    model: Path
    ion_mode: str | None
    adducts: tuple[str, ...]
    assume_adduct: str | None
    assume_ion_mode: str | None
    in_list: float | None
    known: float | None
    library: tuple[Path, ...]
    no_library: bool
    strict: bool
    device: str

    @functools.cached_property
    def model_file(self) -> Path:
        """The checkpoint."""
        return model_file(self.model)

    @property
    def inputs(self) -> dict[str, Path | tuple[Path, ...]]:
        """The files that are read, by option."""
        return {
            "--candidates": self.candidates,
            "--model": self.model_file,
            "--library": self.library,
        }

    def open(
        self,
        console: Console,
        *,
        merge_by: str | None = None,
        shard: tuple[int, int] | None = None,
        **needed: object,
    ) -> RankingRun:
        """Load the model and return the run.

        Parameters
        ----------
        console
            Where progress is shown.
        merge_by
            Field by which spectra are of one feature.
        shard
            Number of the part, from 1, and of all parts.
        needed
            Options that need probabilities, by name; None where one is not given.

        Raises
        ------
        CheckpointError
            If the model has no probabilities and an option needs them.
        """
        from specvae.annotation.ranking.annotator import Annotator
        from specvae.annotation.ranking.run import RankingRun, RunOptions

        path, fingerprint_only = self.model_file, self.rank_by == "fingerprint"
        annotator = Annotator.load(path, self.device, fingerprint_only=fingerprint_only)
        for option, value in {**needed, "in_list": self.in_list}.items():
            if value is not None:
                name = "--" + option.replace("_", "-")
                require_calibrated(path, annotator.probability, name)
        options = RunOptions(
            candidates=self.candidates,
            ppm=self.ppm,
            ion_mode=self.ion_mode,
            adducts=self.adducts,
            assume_adduct=self.assume_adduct,
            assume_ion_mode=self.assume_ion_mode,
            in_list=self.in_list,
            library=self.library,
            use_library=not self.no_library,
            merge_by=merge_by,
            shard=shard,
            known=self.known,
            strict=self.strict,
            rescore=self.rescore,
            n_jobs=self.jobs,
        )
        return RankingRun(annotator, options, console)


def ranking_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options of `RankingOptions`; the command gets them as its argument ``ranking``."""
    names = [field.name for field in fields(RankingOptions)]

    @functools.wraps(function)
    def gathered(**values: Any) -> None:  # noqa: ANN401
        given = {name: values.pop(name) for name in names}
        function(ranking=RankingOptions(**given), **values)

    for option in (
        device_option,
        strict_option,
        share_options,
        library_options,
        assumption_options,
        query_filter_options,
        model_option,
        candidate_options,
    ):
        option(gathered)
    return gathered


def tell_reading(console: Console, run: RankingRun) -> None:
    """Say how many records of each file were read, and why others were not."""
    if run.options.library and (run.library.n_read or run.library.skips):
        console.log(f"library: {run.library.summary()}")
    for note in run.notes:
        console.log(note)
    console.log(f"queries: {run.queries.summary()}")
    if run.merging:
        console.log(run.merging)
    if run.candidates.skips or run.candidates.notes:
        console.log(f"candidates: {run.candidates.summary('candidates')}")


def ranking_summary(tally: Tally) -> list[str]:
    """Return how many queries were ranked, why the others were not, and what would help."""
    lines = [str(tally)]
    lines += [f"{remark}: {n:,} of the ranked" for remark, n in tally.remarks.most_common()]
    return [*lines, *tally.advice()]


def require_ranked(queries: Path, tally: Tally) -> None:
    """Fail if not one query was ranked, after all that there is to say has been written.

    Raises
    ------
    InputError
        With the reasons.
    """
    if tally.n_queries and not tally.n_ranked:
        raise InputError(f"{queries}: warning: {tally}")
