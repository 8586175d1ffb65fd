"""What commands that rank queries share: their options, the run that these ask for, its summary."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specvae.annotation.ranking.options import RunOptions
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
class Ranking:
    """What a command that ranks queries was asked for.

    Attributes
    ----------
    options
        Of the run.
    model
        A folder of `train`, or a checkpoint.
    rank_by
        ``everything`` or ``fingerprint``.
    device
        Where the networks compute.
    """

    options: RunOptions
    model: Path
    rank_by: str
    device: str

    @functools.cached_property
    def model_file(self) -> Path:
        """The checkpoint."""
        return model_file(self.model)

    @property
    def inputs(self) -> dict[str, Path | tuple[Path, ...]]:
        """The files that are read, by option."""
        return {
            "--candidates": self.options.candidates,
            "--model": self.model_file,
            "--library": self.options.library,
            "--exclude": self.options.exclude,
        }

    def open(self, console: Console, **needed: object) -> RankingRun:
        """Load the model and return the run.

        Parameters
        ----------
        console
            Where progress is shown.
        needed
            Options that need probabilities, by name; None where one is not given.

        Raises
        ------
        CheckpointError
            If the model has no probabilities and an option needs them.
        """
        from specvae.annotation.ranking.annotator import Annotator
        from specvae.annotation.ranking.run import RankingRun

        path, fingerprint_only = self.model_file, self.rank_by == "fingerprint"
        annotator = Annotator.load(path, self.device, fingerprint_only=fingerprint_only)
        for option, value in {**needed, "in_list": self.options.in_list}.items():
            if value is not None:
                name = "--" + option.replace("_", "-")
                require_calibrated(path, annotator.probability, name)
        return RankingRun(annotator, self.options, console)


def ranking_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options of a run; the command gets them as its argument ``ranking``.

    Options of the command's own that are named like a field of `RunOptions` are also part of it.
    """

    @functools.wraps(function)
    def gathered(**values: Any) -> None:  # noqa: ANN401
        values |= {"n_jobs": values.pop("jobs"), "use_library": not values.pop("no_library")}
        asked = {
            field.name: values.pop(field.name)
            for field in fields(RunOptions)
            if field.name in values
        }
        model = {name: values.pop(name) for name in ("model", "rank_by", "device")}
        function(ranking=Ranking(RunOptions(**asked), **model), **values)

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
