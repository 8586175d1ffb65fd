"""What commands that rank queries say of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from specvae.errors import InputError

if TYPE_CHECKING:
    from specvae.annotation.ranking.tally import Tally
    from specvae.cli.console import Console
    from specvae.report import ReadReport


def tell_reading(console: Console, queries: ReadReport, candidates: ReadReport) -> None:
    """Say how many records of both files were read, and why others were not."""
    console.log(f"queries: {queries.summary()}")
    if candidates.skips or candidates.notes:
        console.log(f"candidates: {candidates.summary('candidates')}")


def ranking_summary(tally: Tally) -> list[str]:
    """Return how many queries were ranked, why the others were not, and what would help."""
    from specvae.annotation.ranking.result import Cause

    lines = [str(tally)]
    lines += [f"{remark}: {n:,} of the ranked" for remark, n in tally.remarks.most_common()]
    if tally.causes[Cause.NO_ION]:
        lines.append(
            f"{tally.causes[Cause.NO_ION]:,} queries state no ion: --assume-ion-mode positive or "
            "--assume-adduct '[M+H]+' says what they are"
        )
    return lines


def require_ranked(queries: Path, tally: Tally) -> None:
    """Fail if not one query was ranked, after all that there is to say has been written.

    Raises
    ------
    InputError
        With the reasons.
    """
    if tally.n_queries and not tally.n_ranked:
        raise InputError(f"{queries}: warning: {tally}")
