"""`specvae bench retrieval`: methods of ranking, all on the same queries and candidates."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from numpy.typing import NDArray

from specvae.cli.options import (
    INPUT,
    Console,
    NumberRange,
    device_option,
    jobs_option,
    library_filter_options,
    model_file,
    require_writable,
    settings_options,
    verbosity,
)
from specvae.errors import InputError

if TYPE_CHECKING:
    from specvae.annotation.annotator import Annotator, CandidateSource, QueryFilter
    from specvae.annotation.library import Library, SpectrumFilter
    from specvae.annotation.metrics import TruthRank
    from specvae.molecules.candidates import CandidateSet
    from specvae.report import ReadReport
    from specvae.spectra.spectrum import Spectrum

K_MAX = 100
K_PLOT = 20
LAYOUTS = ("mixed2149", "morgan4096")
# What models are combined with: of the look-ups the one that ranks best.
PARTNER = "sum of 30, morgan4096"
# Track -> heading of its table.
TRACKS = {
    "mass": "All candidates",
    "formula": "Candidates of the truth's formula only",
}
# Structures of one formula have one mass; more than this apart, no formula need be compared.
_SAME_MASS_DA = 0.002

Scores = list[NDArray[np.float64]]


@dataclasses.dataclass(frozen=True, eq=False)
class Problem:
    """A query with its candidates and its truth.

    Attributes
    ----------
    spectrum
        The query.
    truth
        InChIKey first block.
    candidates
        One per first block; None if there are none.
    place
        Index of the truth among them; None if it is absent.
    of_formula
        int64 (n,): indices of the candidates of the truth's formula; none if the truth is absent.
    """

    spectrum: Spectrum
    truth: str
    candidates: CandidateSet | None
    place: int | None
    of_formula: NDArray[np.int64]

    @property
    def n_candidates(self) -> int:
        """Number of candidates."""
        return 0 if self.candidates is None else len(self.candidates)

    def rows(self, track: str) -> NDArray[np.int64]:
        """Return the indices (n,) of the candidates that compete in a track."""
        return self.of_formula if track == "formula" else np.arange(self.n_candidates)

    def rank(self, scores: NDArray[np.float64], track: str) -> TruthRank:
        """Return where the truth stands among the scores (n,) of the track's candidates."""
        from specvae.annotation.metrics import rank_of_truth

        if self.place is None:
            return rank_of_truth(self.truth, scores, None)
        place = int(np.searchsorted(self.rows(track), self.place))
        return rank_of_truth(self.truth, scores, place)


@click.command()
@click.option(
    "--data", type=INPUT, required=True, help="Folder with queries, truth and candidates."
)
@click.option(
    "--spectra",
    type=INPUT,
    multiple=True,
    required=True,
    help="Library to look analogues up in (repeatable).",
)
@click.option("--model", "models", type=INPUT, multiple=True, help="Trained model (repeatable).")
@library_filter_options
@click.option(
    "--exclude",
    type=INPUT,
    multiple=True,
    help="More compounds to keep out of the library (repeatable); the fold's own always are.",
)
@click.option(
    "--ppm",
    type=NumberRange(min=0.0, min_open=True),
    default=10.0,
    show_default=True,
    help="Mass window, where candidates have no query_id.",
)
@click.option("--title", default=None, help="Of the plot.  [default: the folder's name]")
@jobs_option
@click.option("--seed", type=int, default=0, show_default=True, help="Of the intervals.")
@click.option("-o", "--output", type=INPUT, default=Path("retrieval"), show_default=True)
@device_option
@settings_options
@verbosity
def retrieval(
    data: Path,
    spectra: tuple[Path, ...],
    models: tuple[Path, ...],
    ion_mode: str | None,
    adducts: tuple[str, ...],
    instrument_types: tuple[str, ...],
    exclude: tuple[Path, ...],
    ppm: float,
    title: str | None,
    jobs: int | None,
    seed: int,
    output: Path,
    device: str,
) -> None:
    """Compare methods of ranking on the same queries and candidates.

    DATA is a folder as 'bench holdout --structures' writes it, or of a contest as 'bench casmi2017'
    takes it. Methods: random order; the library's bit frequencies without a spectrum (blind);
    compounds of the library whose spectra are like the query's (one nearest, sum of 30), in two
    fingerprints; and each model, blind, alone and together with the sum of 30. All of it twice:
    among all candidates, and among those of the truth's formula. --ion-mode and --adduct select
    queries too. Compounds of the fold are never in the library.

    Writes retrieval.json, table.md, topk.png and topk-formula.png.

    \b
    Example:
      specvae bench holdout --spectra mona.msp --structures structures.tsv -o fold
      specvae train --spectra mona.msp --exclude fold/truth.csv -o svae
      specvae bench retrieval --data fold --spectra mona.msp --model svae
    """
    paths = {path.name or str(path): model_file(path) for path in models}
    if len(paths) < len(models):
        raise click.UsageError("two models have the same folder name; rename one")
    require_writable(output / "retrieval.json")

    from specvae.annotation.annotator import CandidateSource, QueryFilter
    from specvae.annotation.compounds import read_excluded, read_truth
    from specvae.annotation.library import SpectrumFilter, canonical_adducts
    from specvae.files import atomic_text, sha256_of
    from specvae.molecules.fingerprint import get_layout
    from specvae.report import ReadReport
    from specvae_bench.casmi import prepare
    from specvae_bench.files import write_result

    console = Console()
    challenges = prepare(data, output)
    truth = read_truth(challenges.truth)
    candidate_report = ReadReport()
    source = CandidateSource(challenges.candidates, get_layout(LAYOUTS[0]), ppm, candidate_report)
    problems, missing = read_problems(
        challenges.queries, truth, source, QueryFilter.of(ion_mode, adducts), console
    )
    if not problems:
        raise InputError(
            f"{challenges.queries}: no query is left that has a truth in {challenges.truth}"
        )
    wanted = SpectrumFilter(
        ion_mode=ion_mode,
        adducts=canonical_adducts(adducts),
        instrument_types=instrument_types,
        excluded=read_excluded(exclude) | set(truth.values()),
    )
    comparison = Comparison(problems, jobs, console)
    library_report = ReadReport()
    with comparison.timed("reading the library"):
        library = _read_library(spectra, wanted, library_report, console)
    comparison.add_random()
    comparison.add_library(library)
    described = {name: comparison.add_model(name, path, device) for name, path in paths.items()}
    tracks = {track: comparison.figures(track, seed) for track in TRACKS}
    result: dict[str, Any] = {
        "command": "specvae bench retrieval",
        "date": time.strftime("%Y-%m-%d"),
        "fold": {
            "sha256": fold_digest((challenges.truth, challenges.candidates)),
            "files": {path.name: sha256_of(path) for path in dataclasses.astuple(challenges)},
            "n_queries": len(problems),
            "n_truth_without_query": len(missing),
        },
        "library": {
            "files": [{"name": path.name, "sha256": sha256_of(path)} for path in spectra],
            "excluded": [{"name": path.name, "sha256": sha256_of(path)} for path in exclude],
            "ion_mode": ion_mode,
            "adducts": sorted(wanted.adducts),
            "instrument_types": list(instrument_types),
            "n_spectra": len(library),
            "n_compounds": len(library.molecules),
            "skipped": {str(reason): n for reason, n in library_report.counts.items()},
        },
        "models": described,
        "ppm": ppm,
        "seed": seed,
        "seconds": comparison.steps,
        "tracks": tracks,
    }
    for track, name in (("mass", "topk.png"), ("formula", "topk-formula.png")):
        _plot(tracks[track], output / name, title or data.name, track)
    write_result(output / "retrieval.json", result)
    table = markdown_tables(tracks)
    with atomic_text(output / "table.md") as stream:
        stream.write(table)
    click.echo(table, nl=False)


def read_problems(
    queries: Path,
    truth: Mapping[str, str],
    source: CandidateSource,
    wanted: QueryFilter,
    console: Console,
) -> tuple[list[Problem], list[str]]:
    """Return the queries that have a truth and pass the filter, and what has a truth but no query.

    A query that could not be read is of the second kind.
    """
    from specvae.annotation.library import spectrum_adduct
    from specvae.report import ReadReport
    from specvae.spectra.read import read_spectra

    report = ReadReport()
    problems: list[Problem] = []
    seen: set[str] = set()
    for spectrum in read_spectra(queries, report):
        seen.add(spectrum.query_id)
        console.progress("finding candidates", len(seen))
        adduct = spectrum_adduct(spectrum, wanted.ion_mode)
        ion_mode = adduct.ion_mode if adduct else spectrum.ion_mode
        name = adduct.name if adduct else spectrum.adduct
        if wanted.ion_mode and ion_mode != wanted.ion_mode:
            continue
        if (wanted.adducts and name not in wanted.adducts) or spectrum.query_id not in truth:
            continue
        found = source.find(spectrum, adduct)
        block = truth[spectrum.query_id]
        if isinstance(found, str):
            problems.append(Problem(spectrum, block, None, None, np.empty(0, np.int64)))
            continue
        places = np.flatnonzero(np.asarray(found.first_block) == block)
        place = int(places[0]) if len(places) else None
        problems.append(Problem(spectrum, block, found, place, same_formula(found, place)))
    console.log(f"queries: {report.summary()}")
    missing = [query_id for query_id in truth if query_id not in seen]
    if missing:
        console.log(f"note: {len(missing):,} truths have no query and are not evaluated")
    return problems, missing


def same_formula(candidates: CandidateSet, place: int | None) -> NDArray[np.int64]:
    """Return the indices (n,), ascending, of the candidates with the formula of the one at `place`.

    None have it if `place` is None.
    """
    from specvae.molecules.molecule import parse_molecule

    if place is None:
        return np.empty(0, np.int64)

    def formula(row: int) -> str:
        return parse_molecule(
            candidates.smiles[row], inchikey=candidates.first_block[row] or None
        ).formula

    mass = candidates.exact_mass
    near = np.flatnonzero(np.abs(mass - mass[place]) <= _SAME_MASS_DA)
    wanted = formula(place)
    return np.array([row for row in near.tolist() if formula(row) == wanted], dtype=np.int64)


class Comparison:
    """Scores of one method after the other for the same problems.

    Parameters
    ----------
    problems
        Queries with their candidates.
    jobs
        Processes that compute fingerprints; None for one per core.
    console
        Where progress is shown.

    Attributes
    ----------
    steps
        Seconds of what several methods share.
    """

    def __init__(self, problems: Sequence[Problem], jobs: int | None, console: Console) -> None:
        self.problems = problems
        self.steps: dict[str, float] = {}
        self._jobs = jobs
        self._console = console
        self._packed: dict[str, list[NDArray[np.uint8]]] = {}
        # Method -> the methods whose scores are standardised and added; itself if it is single.
        self._parts: dict[str, tuple[str, ...]] = {}
        self._scores: dict[str, Scores] = {}
        self._seconds: dict[str, float] = {}

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Add the seconds of the block to a step's."""
        start = time.perf_counter()
        yield
        self.steps[step] = round(self.steps.get(step, 0.0) + time.perf_counter() - start, 2)

    def add(self, name: str, scores: Iterable[NDArray[np.float64]], seconds: float = 0.0) -> None:
        """Take a method's scores, one array (n_candidates,) a problem, and time their coming.

        `seconds` is what was spent on the method before.

        Raises
        ------
        InputError
            If there is a method of this name.
        """
        if name in self._parts:
            raise InputError(f"two methods are called {name!r}; rename the model's folder")
        start = time.perf_counter()
        self._scores[name] = []
        for n_done, of_problem in enumerate(scores, start=1):
            self._scores[name].append(of_problem)
            self._console.progress(name, n_done, len(self.problems))
        self._parts[name] = (name,)
        self._seconds[name] = time.perf_counter() - start + seconds

    def add_sum(self, name: str, parts: tuple[str, ...]) -> None:
        """Add the sum of several methods' scores, standardised over the candidates that compete."""
        self._parts[name] = parts

    def add_random(self) -> None:
        """Add the order of chance: all candidates tie, and ties count as expected."""
        self.add("random", (np.zeros(problem.n_candidates) for problem in self.problems))

    def add_library(self, library: Library) -> None:
        """Add what needs a library and no model: its bit frequencies, and analogues."""
        from specvae.annotation.analogues import AnalogueIndex, AnalogueRule, analogue_scores
        from specvae.annotation.scoring import log_likelihoods

        rules = {
            "one nearest": AnalogueRule(10, 1.0, 1.0, "max"),
            "sum of 30": AnalogueRule(),
        }
        known = {
            layout: self._fingerprints([m.smiles for m in library.molecules], layout)
            for layout in LAYOUTS
        }
        for layout in LAYOUTS:
            logits = frequency_logits(known[layout], layout)
            self.add(
                f"blind, {layout}",
                (log_likelihoods(packed, logits) for packed in self.packed(layout)),
            )
        start = time.perf_counter()
        index = AnalogueIndex.from_library(library)
        n = len(self.problems)
        near = index.nearest(
            [problem.spectrum for problem in self.problems],
            max(rule.n_nearest for rule in rules.values()),
            lambda done: self._console.progress("looking for analogues", done, n),
        )
        looking = time.perf_counter() - start
        self.steps["looking for analogues"] = round(looking, 2)
        for layout in LAYOUTS:
            for name, rule in rules.items():
                self.add(
                    f"{name}, {layout}",
                    (
                        analogue_scores(cosines, known[layout][compounds], packed, rule)
                        for compounds, cosines, packed in zip(
                            *near, self.packed(layout), strict=True
                        )
                    ),
                    looking,
                )

    def add_model(self, name: str, path: Path, device: str) -> dict[str, Any]:
        """Add a model blind, alone and with analogues; return what it is."""
        from specvae.annotation.annotator import Annotator
        from specvae.annotation.scoring import log_likelihoods

        annotator = Annotator.load(path, device)
        layout = annotator.layout.name
        table = self.packed(layout)
        start = time.perf_counter()
        logits = annotator.predict([problem.spectrum for problem in self.problems])
        predicting = time.perf_counter() - start
        blind = annotator.blind_logits
        self.add(f"{name}, blind", (log_likelihoods(packed, blind) for packed in table))
        scored = zip(table, logits, strict=True)
        self.add(
            name, (log_likelihoods(packed, of_query) for packed, of_query in scored), predicting
        )
        self.add_sum(f"{name} + analogues", (name, PARTNER))
        return self._described(name, annotator)

    def figures(self, track: str, seed: int) -> dict[str, dict[str, Any]]:
        """Return each method's figures in a track; `seed` is of the intervals."""
        from specvae.annotation.metrics import summarise, top_k_curve
        from specvae.annotation.scoring import standardised

        rows = [problem.rows(track) for problem in self.problems]
        figures = {}
        for name, parts in self._parts.items():
            scores = [
                [of_problem[row] for of_problem, row in zip(self._scores[part], rows, strict=True)]
                for part in parts
            ]
            if len(parts) > 1:
                scores = [[standardised(s) for s in part] for part in scores]
            ranks = [
                problem.rank(sum(of_parts[1:], start=of_parts[0]), track)
                for problem, *of_parts in zip(self.problems, *scores, strict=True)
            ]
            # The controls have rows of their own here.
            summary = {
                key: value
                for key, value in summarise(ranks, ranks, seed=seed).items()
                if not key.startswith(("random_", "blind_"))
            }
            figures[name] = {
                **summary,
                "seconds": round(sum(self._seconds[part] for part in parts), 2),
                "top_k": top_k_curve(ranks, K_MAX),
            }
        return figures

    def packed(self, layout: str) -> list[NDArray[np.uint8]]:
        """Return the candidates' fingerprints, uint8 (n_candidates, n_bytes) for each problem."""
        if layout not in self._packed:
            smiles = [
                [] if p.candidates is None else list(p.candidates.smiles) for p in self.problems
            ]
            table = self._fingerprints([text for of_one in smiles for text in of_one], layout)
            ends = np.cumsum([len(of_one) for of_one in smiles])
            self._packed[layout] = np.split(table, ends[:-1])
        return self._packed[layout]

    def _fingerprints(self, smiles: Sequence[str], layout: str) -> NDArray[np.uint8]:
        from specvae.molecules.fingerprint import FingerprintCache, fingerprints, get_layout

        with self.timed(f"fingerprints, {layout}"):
            return fingerprints(
                smiles,
                get_layout(layout),
                FingerprintCache(),
                self._jobs,
                lambda done, total: self._console.progress(f"computing {layout}", done, total),
            )

    def _described(self, name: str, annotator: Annotator) -> dict[str, Any]:
        header = annotator.header
        known = [p for p in self.problems if p.truth in annotator.training_compounds]
        if known:
            self._console.log(
                f"warning: {name} has learned from the truth of {len(known)} queries; its figures "
                "flatter it"
            )
        return {
            "kind": header["config"]["model"]["kind"],
            "preset": header["config"]["preset"],
            "fingerprint": annotator.layout.name,
            "weights_sha256": header["weights_sha256"],
            "n_training_spectra": header["provenance"]["n_spectra_by_fold"]["train"],
            "training_seconds": header["seconds"],
            "n_truth_in_training": len(known),
        }


def frequency_logits(packed: NDArray[np.uint8], layout: str) -> NDArray[np.float64]:
    """Return the logit of each bit's frequency in fingerprints (n, n_bytes), float64 (n_bits,).

    Half a molecule is added to either side, so that a bit that was never seen stays possible.
    """
    from specvae.molecules.fingerprint import get_layout, unpack

    n_on = unpack(packed, get_layout(layout).n_bits).sum(axis=0, dtype=np.float64)
    return np.asarray(np.log(n_on + 0.5) - np.log(len(packed) - n_on + 0.5))


def fold_digest(paths: Iterable[Path]) -> str:
    """Return the SHA-256 of files' contents one after the other, compressed or not."""
    digest = hashlib.sha256()
    for path in paths:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            for block in iter(partial(stream.read, 1 << 20), b""):
                digest.update(block)
    return digest.hexdigest()


def markdown_tables(tracks: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Return a Markdown table for each track, shares in percent with 95 % intervals."""
    lines: list[str] = []
    for track, methods in tracks.items():
        some = next(iter(methods.values()))
        heading = (
            f"**{TRACKS[track]}**: {some['n_queries']:,} queries of {some['n_molecules']:,} "
            f"compounds, median {some['candidates_median']:.0f} candidates, truth absent from "
            f"{some['n_truth_absent']:,}."
        )
        columns = (
            "method",
            "hit@1 [95 %]",
            "hit@5 [95 %]",
            "hit@20 [95 %]",
            "MRR [95 %]",
            "hit@1, ties lost to won",
            "seconds",
        )
        lines += [heading, "", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
        for name, figures in methods.items():
            cells = [_percent(figures, f"hit_at_{k}") for k in (1, 5, 20)]
            low, high = figures["mrr_ci95"]
            worst, best = figures["hit_at_1_worst"], figures["hit_at_1_best"]
            cells += [
                f"{figures['mrr']:.3f} [{low:.3f}, {high:.3f}]",
                f"{100 * worst:.1f} to {100 * best:.1f}",
                f"{figures['seconds']:.1f}",
            ]
            lines.append(f"| {' | '.join((name, *cells))} |")
        lines.append("")
    return "\n".join(lines[:-1]) + "\n"


def _percent(figures: Mapping[str, Any], name: str) -> str:
    low, high = figures[f"{name}_ci95"]
    return f"{100 * figures[name]:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def _read_library(
    paths: Sequence[Path], wanted: SpectrumFilter, report: ReadReport, console: Console
) -> Library:
    from specvae.annotation.analogues import ANALOGUE_BINS
    from specvae.annotation.library import Library, read_many

    library = Library.from_spectra(
        read_many(paths, report),
        ANALOGUE_BINS,
        report,
        wanted,
        lambda n: console.progress("reading the library", n),
    )
    console.log(f"library: {report.summary()}")
    if not len(library):
        raise InputError(f"{paths[0]}: no library spectrum is left ({report.summary()})")
    return library


def _plot(methods: Mapping[str, Mapping[str, Any]], path: Path, title: str, track: str) -> None:
    """Draw the methods but for controls that look alike: one curve of each kind."""
    from specvae.annotation.plots import plot_top_k

    left_out = {name for name in methods if name.endswith((f", {LAYOUTS[0]}", ", blind"))}
    plot_top_k(
        {name: figures["top_k"] for name, figures in methods.items() if name not in left_out},
        path,
        k_max=K_PLOT,
        title=f"{title}: {TRACKS[track].lower()}",
        n_queries=next(iter(methods.values()))["n_queries"],
    )
