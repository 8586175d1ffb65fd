"""Common parts of commands that rank queries: options, the run, its summary."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from specvae.annotation.evidence import compile_ahead
from specvae.annotation.ranking.options import RunOptions
from specvae.cli.options import (
    add_options,
    assumption_options,
    candidate_options,
    counts_options,
    device_option,
    library_options,
    mass_error_option,
    merge_option,
    model_file,
    model_option,
    nearness_option,
    query_filter_options,
    require_calibrated,
    retention_option,
    share_options,
    strict_option,
    try_adducts_option,
)
from specvae.compression import COMPRESSED_SUFFIXES
from specvae.errors import InputError
from specvae.molecules.workers import collect_rarely, end_waiting, start_ahead
from specvae.sources import is_pool

if TYPE_CHECKING:
    from specvae.annotation.ranking.run import RankingRun
    from specvae.annotation.ranking.tally import Tally
    from specvae.annotation.ranking.told import Told
    from specvae.cli.console import Console


LOADED_AHEAD = (
    "specvae.molecules.structures",
    "specvae.molecules.fingerprint",
    "specvae.annotation.evidence.fragment_lists",
)
"""Modules for work in several processes, which each process takes seconds to load."""

LONG_BYTES = 1_000_000  # of some ten thousand rows


@dataclass(frozen=True)
class Ranking:
    """The options of a command that ranks queries.

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
    def inputs(self) -> dict[str, tuple[Path, ...]]:
        """The files that are read, by option."""
        return {**self.options.inputs, "--model": (self.model_file,)}

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of candidates and of other compounds."""
        return tuple(chain.from_iterable(self.options.inputs.values()))

    def open(
        self, console: Console, *, is_ranked_here: bool = True, **needed: object
    ) -> RankingRun:
        """Load the model and return the run.

        Parameters
        ----------
        console
            Where progress is shown.
        is_ranked_here
            Whether this computer will rank, not others.
        needed
            Options that need probabilities, by name; None where one is not given.

        Raises
        ------
        CheckpointError
            If the model has no probabilities and an option needs them.
        UsageError
            If an option is for evidence that is switched off.
        """
        collect_rarely()
        path, fingerprint_only = self.model_file, self.rank_by == "fingerprint"
        given = {
            "rescore": self.options.rescore is not None,
            "known": self.options.known is not None,
            "no-nearness": not self.options.use_nearness,
        }
        for name, is_given in given.items():
            if fingerprint_only and is_given:
                raise click.UsageError(
                    f"--{name} is of evidence that --rank-by {self.rank_by} leaves out"
                )
        if not fingerprint_only:
            compile_ahead.start(console.log)
            if is_ranked_here and _is_long(self.options.candidates):
                start_ahead(self.options.n_jobs, LOADED_AHEAD)
        # Only now, as they import much.
        from specvae.annotation.ranking.annotator import Annotator
        from specvae.annotation.ranking.run import RankingRun

        try:
            annotator = Annotator.load(path, self.device, fingerprint_only=fingerprint_only)
            for option, value in {**needed, "in_list": self.options.in_list}.items():
                if value is not None:
                    name = "--" + option.replace("_", "-")
                    require_calibrated(path, annotator.probability, name)
            return RankingRun(annotator, self.options, console)
        except BaseException:
            end_waiting()
            raise


def _is_long(path: Path) -> bool:
    """Return whether several processes will be wanted for a file of candidates, by its size."""
    try:
        n_bytes = path.stat().st_size
    except OSError:
        return False
    return (
        not is_pool(path)
        and n_bytes * (4 if path.suffix.lower() in COMPRESSED_SUFFIXES else 1) > LONG_BYTES
    )


def ranking_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options of a run; the command gets them as its argument ``ranking``.

    Options of the command's own that are named like a field of `RunOptions` are also part of it.
    """

    @functools.wraps(function)
    def gathered(**values: Any) -> None:  # noqa: ANN401
        values |= {
            "n_jobs": values.pop("jobs"),
            "use_library": not values.pop("no_library"),
            "use_retention_times": not values.pop("no_retention_times"),
            "use_nearness": not values.pop("no_nearness"),
        }
        asked = {
            field.name: values.pop(field.name)
            for field in fields(RunOptions)
            if field.name in values
        }
        model = {name: values.pop(name) for name in ("model", "rank_by", "device")}
        function(ranking=Ranking(RunOptions(**asked), **model), **values)

    return add_options(
        candidate_options,
        model_option,
        query_filter_options,
        assumption_options,
        try_adducts_option,
        merge_option,
        library_options,
        counts_options,
        retention_option,
        mass_error_option,
        nearness_option,
        share_options,
        strict_option,
        device_option,
    )(gathered)


def tell(console: Console, told: Told, kept_in: Path | None = None) -> None:
    """Log what a run says; its details with ``--verbose`` only, as `kept_in` has them too."""
    for line in told.shown(with_details=console.is_verbose):
        console.log(line)
    if told.details and not console.is_verbose:
        where = "--verbose" if kept_in is None else f"--verbose, or in {kept_in}"
        console.log(f"more on the probabilities: {where}")


def require_ranked(queries: Path | Sequence[Path], tally: Tally) -> None:
    """Fail if no query was ranked, once everything else has been written.

    Raises
    ------
    InputError
        With the reasons.
    """
    if not tally.n_ranked:
        named = queries if isinstance(queries, Path) else ", ".join(map(str, queries[:3]))
        raise InputError(f"{named}: {tally}")
