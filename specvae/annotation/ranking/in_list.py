"""Probabilities in the rows of a result: what all queries together say, and who is left out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from specvae.annotation.ranking.probability import (
    Floats,
    ProbabilityModel,
    in_list_probability,
)
from specvae.annotation.ranking.result import (
    Annotation,
    Answer,
    Cause,
    QueryResult,
    Refusal,
    Unranked,
    quoted,
)
from specvae.annotation.ranking.told import Told
from specvae.counting import counted

FEW_QUERIES = 100
"""Fewer ranked queries hardly show the share of lists that hold their truth."""

_SHORT_LIST = 2  # candidates

_MANY_EMPTY = 0.1
"""If a larger share of the queries has no candidate of its mass, the candidates lack compounds.
Other lists then lack their truths too, and do not show it."""

_FEW_KNOWN = 0.2
"""If the library knows a smaller share of the compounds, the lists hardly show the share of lists
that hold their truth. For unknown compounds the estimate changes by .05 when the true share changes
by .5, and differs by .3 between laboratories (docs/research.md, section 15)."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The queries whose best candidate has at least a given probability.

    Attributes
    ----------
    threshold
        The least probability.
    n_queries
        How many reach it.
    n_right
        Expected number of right ones, the sum of p.
    estimated_fdr
        Expected share of wrong ones, the mean of 1 - p; None if there are no queries.
    true_fdr
        The share of wrong ones; None if there are no queries, or the truth is not known.
    """

    threshold: float
    n_queries: int
    n_right: float
    estimated_fdr: float | None
    true_fdr: float | None


def selection_at(p: Floats, threshold: float, y: Floats | None = None) -> Selection:
    """Return the queries that reach a threshold: how many, and how many of them are wrong.

    The mean of 1 - p over what is kept is the Bayesian false-discovery rate (Efron et al. 2001,
    doi:10.1198/016214501753382129); it is right on average as far as p is calibrated.
    """
    chosen = p >= threshold
    n = int(chosen.sum())
    right = float(p[chosen].sum())
    true = None if y is None or not n else float(1.0 - y[chosen].mean())
    return Selection(threshold, n, right, 1.0 - right / n if n else None, true)


def final_probabilities(
    model: ProbabilityModel, results: Sequence[QueryResult], share: float | None
) -> tuple[list[QueryResult], float]:
    """Return results with final probabilities, and the share of lists that hold their truth.

    Parameters
    ----------
    model
        The model that computed the probabilities and log odds of the results.
    results
        Results whose probabilities hold if the list holds the truth.
    share
        Share of lists that hold their truth; None estimates it from all results.
    """
    if share is None:
        share = model.estimate_share(_log_odds(results))
    return [_with_share(result, share) for result in results], share


def keep_probable(result: QueryResult, least: float) -> QueryResult:
    """Return the rows of probability `least` or more; if there are none, why there are none."""
    if isinstance(result, Unranked) or result.annotations[0].probability is None:
        return result
    kept = tuple(a for a in result.annotations if (a.probability or 0.0) >= least)
    if kept:
        return replace(result, annotations=kept)
    best = result.annotations[0].probability
    # Two digits, or as many as show that it is less.
    texts = (f"{best:.{n}g}" for n in range(2, 18))
    shown = next((text for text in texts if float(text) < least), str(best))
    text = f"no candidate reaches probability {least:g} (best {shown})"
    return Unranked(
        result.query_id,
        Refusal(Cause.IMPROBABLE, text),
        result.query,
        result.remarks,
        result.n_candidates,
        result.analogues,
    )


def best_probabilities(results: Sequence[QueryResult]) -> Floats:
    """Return the probability of the best candidate of each query that has one, (n,)."""
    best = (answer.annotations[0].probability for answer in _answers(results))
    return np.array([p for p in best if p is not None], dtype=np.float64)


def about(number: float) -> str:
    """Return an expected number of queries as text; ten or more have no decimals."""
    return f"{number:,.0f}" if number >= 9.95 else f"{number:.1f}"


def describe_selection(selection: Selection) -> str:
    """Return one phrase: how many queries, how many right ones, how many in a hundred wrong."""
    least = f" of probability {selection.threshold:g} or more" if selection.threshold else ""
    if selection.estimated_fdr is None:
        return f"best candidates{least}: none"
    return (
        f"best candidates{least}: {selection.n_queries:,}, of which about "
        f"{about(selection.n_right)} are right; estimated false-discovery rate "
        f"{selection.estimated_fdr:.1%}"
    )


def summary_lines(
    model: ProbabilityModel,
    results: Sequence[QueryResult],
    share: float,
    is_estimated: bool,
    least: float | None,
    known: float | None = None,
) -> Told:
    """Return a summary of the probabilities of all queries, as lines for the user.

    Parameters
    ----------
    model, results, share
        As in `final_probabilities`, with final probabilities.
    is_estimated
        Whether the share was estimated from the results.
    least
        The least probability of a candidate that is not left out.
    known
        Share of queries whose compound the library knows; None where the library is not asked.
    """
    p = best_probabilities(results)
    origin, doubt = "as given", _misfits(results)
    if is_estimated:
        low, high = model.share_interval(_log_odds(results))
        n = len(_log_odds(results))
        origin = f"estimated from {counted(n, 'queries')}; 95% interval {low:.0%} to {high:.0%}"
        doubt += _doubts(model, results, known)
    thresholds = [0.0] if least is None else [0.0, least]
    return Told(
        found=tuple(describe_selection(selection_at(p, threshold)) for threshold in thresholds),
        advice=tuple(doubt),
        details=(f"lists that hold the right structure: {share:.1%} ({origin})",),
    )


def _misfits(results: Sequence[QueryResult]) -> list[str]:
    """Return what to know of lists without any candidate of their query's mass; empty if none."""
    misfits = [answer.query_id for answer in _answers(results) if answer.window_share == 0.0]
    if not misfits:
        return []
    lists, which = (
        ("list has", "its query") if len(misfits) == 1 else ("lists have", "their queries")
    )
    line = (
        f"{len(misfits):,} {lists} no candidate of the mass of {which}, such as "
        f"{quoted(misfits[0])}, and probability 0: precursor m/z, ion species or list is wrong"
    )
    return [line]


def _doubts(
    model: ProbabilityModel, results: Sequence[QueryResult], known: float | None
) -> list[str]:
    """Return why an estimated share is uncertain, and what helps; empty if it is not."""
    sizes = [answer.n_candidates for answer in _answers(results)]
    n_short = sum(size <= _SHORT_LIST for size in sizes)
    n_empty = sum(isinstance(r, Unranked) and r.refusal.cause is Cause.NONE_WITHIN for r in results)
    n_asked = len(sizes) + n_empty
    reasons = []
    n_counted = len(_log_odds(results))
    if n_counted < FEW_QUERIES:
        accurate = " by an accurate precursor m/z" if n_counted < len(sizes) else ""
        reasons.append(f"fewer than {FEW_QUERIES} queries are ranked{accurate}")
    if model.short_lists is None and n_short > len(sizes) / 2:
        has = "has" if n_short == 1 else "have"
        reasons.append(f"{n_short:,} of {counted(len(sizes), 'lists')} {has} one or two candidates")
    if known is not None and known < _FEW_KNOWN:
        reasons.append(f"the library seems to know only {known:.0%} of the compounds")
    if n_empty > _MANY_EMPTY * n_asked:
        one = n_empty == 1
        none = f"{'has' if one else 'have'} no candidate of {'its' if one else 'their'} mass"
        reasons.append(f"{n_empty:,} of {counted(n_asked, 'queries')} {none}")
    if not reasons:
        return []
    line = (
        f"probabilities lean on the assumption that {model.default_share:.0%} of lists hold the "
        f"right structure, as {', and '.join(reasons)}: if you know the share, state it, such as "
        "--in-list 0.5"
    )
    return [line]


def dependence_lines(
    estimated: Mapping[str, Sequence[float]], *, timed: bool = False, weighed: bool = False
) -> list[str]:
    """Return a line on probabilities that depend on the other queries of a file, if any do.

    Parameters
    ----------
    estimated
        Option -> the shares that were estimated from all queries, as the option was not given.
    timed
        Whether the queries' retention times count.
    weighed
        Whether errors of their precursor m/z count.
    """
    if not estimated and not timed and not weighed:
        return []
    options = [
        f"{option} {','.join(f'{share:.3g}' for share in shares)}"
        for option, shares in estimated.items()
    ]
    if timed:
        options.append("--no-retention-times")
    if weighed:
        options.append("--no-mass-errors")
    shown = ["the shares that they show"] if estimated else []
    if timed:
        shown.append("their retention times")
    if weighed:
        shown.append("errors of their precursor m/z")
    *first, last = shown
    verb = "keeps" if len(options) == 1 else "keep"
    line = (
        "probabilities depend on the other queries of the file, by "
        f"{' and by '.join(filter(None, (', by '.join(first), last)))}: "
        f"{' '.join(options)} {verb} them fixed"
    )
    return [line]


def _log_odds(results: Iterable[QueryResult]) -> Floats:
    """Return log odds of the lists from which the share is estimated.

    Lists by a rounded mass are left out, as they mostly lack their truth.
    """
    found = (answer.log_odds_in_list for answer in _answers(results) if answer.window_share >= 1.0)
    return np.array([odds for odds in found if odds is not None], dtype=np.float64)


def _answers(results: Iterable[QueryResult]) -> Iterator[Answer]:
    return (result for result in results if isinstance(result, Answer))


def _with_share(result: QueryResult, share: float) -> QueryResult:
    if isinstance(result, Unranked) or result.log_odds_in_list is None:
        return result
    odds = np.array([result.log_odds_in_list])
    held = float(in_list_probability(odds, share * result.window_share)[0])
    explanation = result.explanation
    if explanation is not None and explanation.second is not None:
        # The second candidate may be shown in the explanation only.
        explanation = replace(explanation, second=_scaled(explanation.second, held))
    return replace(
        result,
        annotations=tuple(_scaled(annotation, held) for annotation in result.annotations),
        explanation=explanation,
    )


def _scaled(annotation: Annotation, held: float) -> Annotation:
    if annotation.probability is None:
        return annotation
    return replace(annotation, probability=held * annotation.probability)
