"""What becomes of all queries of a run."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from annotation_examples import ASPIRIN, CAFFEINE, spectrum_of, tiny_annotator
from ranking_examples import mgf

from specvae.annotation.evidence.analogues import ANALOGUE_BINS
from specvae.annotation.evidence.pool import EvidencePool
from specvae.annotation.evidence.remembered import ANALOGUE_FINGERPRINT
from specvae.annotation.library.library import Library
from specvae.annotation.output.cells import Cell, rows
from specvae.annotation.ranking import rank as rank_module
from specvae.annotation.ranking.annotator import Annotator
from specvae.annotation.ranking.options import RunOptions
from specvae.annotation.ranking.present import draft
from specvae.annotation.ranking.probability import default_probability
from specvae.annotation.ranking.result import Ranked
from specvae.annotation.ranking.run import RankingRun
from specvae.annotation.ranking.run_scoring import RunState
from specvae.errors import ConfigError, InputError
from specvae.molecules import structures
from specvae.molecules.candidates import NOT_PARSED
from specvae.molecules.fingerprint import fingerprints, get_layout
from specvae.molecules.molecule import parse_molecule
from specvae.report import ReadReport
from specvae.spectra.spectrum import Spectrum

THEOPHYLLINE = "Cn1c2nc[nH]c2c(=O)n(C)c1=O"
THEOBROMINE = "Cn1cnc2c1c(=O)[nH]c(=O)n2C"
REMEMBERED = (
    spectrum_of(CAFFEINE, 110.0713, 138.0662, 195.0877),
    spectrum_of(THEOPHYLLINE, 69.0447, 96.0556, 124.0505),
    spectrum_of(ASPIRIN, 121.0284, 163.039),
)


@pytest.fixture(scope="module")
def annotator() -> Annotator:
    """Return an untrained model that remembers three compounds, with the shipped probabilities."""
    annotator = tiny_annotator(("positive", "negative"))
    library = Library.from_spectra(REMEMBERED, ANALOGUE_BINS, ReadReport(), peaks=ANALOGUE_BINS)
    packed = fingerprints(library.molecules, get_layout(ANALOGUE_FINGERPRINT), n_jobs=1)
    annotator.evidence_pool = EvidencePool.from_library(library, np.arange(len(library)), packed)
    annotator.probability = default_probability()
    return annotator


@pytest.fixture
def candidates(tmp_path: Path) -> Path:
    path = tmp_path / "c.csv"
    structures = (CAFFEINE, THEOPHYLLINE, THEOBROMINE, ASPIRIN, "Cn1cnc2c1c(=O)n(C)c(=O)[nH]2")
    path.write_text("\n".join(("smiles", *structures)) + "\n", encoding="utf-8")
    return path


QUERIES = (
    spectrum_of(THEOBROMINE, 110.0713, 138.0662, 181.072),
    spectrum_of(THEOPHYLLINE, 69.0447, 96.0556, 124.0505, 181.072),
    spectrum_of(CAFFEINE, 110.0713, 138.0662),
    spectrum_of("CCO", 29.0386),
    spectrum_of(THEOPHYLLINE, 55.0, 57.0, 83.0604),
)


def table(
    annotator: Annotator, candidates: Path, queries: tuple[Spectrum, ...]
) -> list[dict[str, Cell]]:
    run = RankingRun(annotator, RunOptions(candidates=candidates, n_jobs=1))
    return [row for result in run.results(queries).results for row in rows(result)]


def test_a_part_of_a_run_parses_what_its_own_queries_need(
    annotator: Annotator, candidates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(structures, "WORTH_SCREENING", 2)
    n_parsed, found = [], []
    for shard in (None, (1, 3), (2, 3), (3, 3)):
        run = RankingRun(annotator, RunOptions(candidates=candidates, n_jobs=1, shard=shard))
        found.append([placed for placed, _ in run.drafts(QUERIES)])
        n_parsed.append(run.candidates.n_read - run.candidates.notes[NOT_PARSED])
    assert n_parsed == [4, 3, 3, 1]  # no aspirin; two of theophylline's mass, or caffeine
    assert sorted(found[1] + found[2] + found[3]) == found[0]


def test_pieces_of_a_run_change_nothing(
    annotator: Annotator, candidates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The share of known compounds was estimated from the queries so far, 256 at a time."""
    whole = table(annotator, candidates, QUERIES)
    monkeypatch.setattr(rank_module, "MOST_QUERIES", 1)
    for one, other in zip(whole, table(annotator, candidates, QUERIES), strict=True):
        assert list(one) == list(other)
        for a, b in zip(one.values(), other.values(), strict=True):
            assert a == (pytest.approx(b, rel=1e-6) if isinstance(b, float) else b)


def test_the_order_of_queries_changes_nothing(
    annotator: Annotator, candidates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rank_module, "MOST_QUERIES", 1)
    forth = table(annotator, candidates, QUERIES)
    back = table(annotator, candidates, QUERIES[::-1])
    probability = {(row["query_id"], row["inchikey"], row["score"]) for row in forth}
    assert probability == {(row["query_id"], row["inchikey"], row["score"]) for row in back}


def test_numbers_out_of_range_are_refused() -> None:
    for number in (math.inf, math.nan):
        with pytest.raises(ConfigError, match=rf"ppm: found {number}, wanted a finite number"):
            RunOptions(candidates=Path("c.csv"), ppm=number)
    with pytest.raises(ConfigError, match="ppm: found 0"):
        RunOptions(candidates=Path("c.csv"), ppm=0.0)
    with pytest.raises(ConfigError, match="in_list: found 2"):
        RunOptions(candidates=Path("c.csv"), in_list=2.0)


def test_queries_that_are_their_own_library_are_told(
    annotator: Annotator, candidates: Path, tmp_path: Path
) -> None:
    record = f"TITLE=a\nPEPMASS=195.0877\nADDUCT=[M+H]+\nSMILES={CAFFEINE}\n138.066 10\n110.07 1"
    queries, other = mgf(tmp_path / "q.mgf", record), mgf(tmp_path / "o.mgf", record)
    for library, is_told in ((queries, True), (other, False)):
        options = RunOptions(candidates=candidates, library=(library,), n_jobs=1)
        run = RankingRun(annotator, options)
        list(run.outcomes(queries))
        told = f"warning: {queries} is both queries and --library"
        assert any(line.startswith(told) for line in run.query_notes) == is_told


def test_exclusions_that_cannot_be_read_are_told(
    annotator: Annotator, candidates: Path, tmp_path: Path
) -> None:
    """Their compounds stay among the candidates."""
    path = tmp_path / "x.mgf"
    sound, broken = ((ASPIRIN, "121.03 5"), (CAFFEINE, "138 ten"))
    path.write_text(
        "".join(
            f"BEGIN IONS\nPEPMASS=100\nSMILES={smiles}\n{peak}\nEND IONS\n"
            for smiles, peak in (sound, broken)
        )
    )
    options = RunOptions(candidates=candidates, n_jobs=1, exclude=(path,))
    run = RankingRun(annotator, options)
    (note,) = run.notes
    assert note.startswith("warning: 1 unreadable record of exclusion files")
    assert [skip.line for report in run.reports for skip in report.skips] == [6]
    assert "x.mgf:6" in note
    with pytest.raises(InputError, match=r"x\.mgf:6"):
        RankingRun(annotator, replace(options, strict=True))


@pytest.mark.parametrize("column", ["query_id", "name"])
def test_names_of_queries_in_several_files_are_told(
    annotator: Annotator, tmp_path: Path, column: str
) -> None:
    """Each of them has the candidates that are listed for the name."""
    for file, names in (("a.mgf", "qr"), ("b.mgf", "qs")):
        mgf(tmp_path / file, *(f"TITLE={n}\nPEPMASS=195.0877\n110.07 5" for n in names))
    path = tmp_path / "listed.csv"
    path.write_text(f"smiles,{column}\n{CAFFEINE},q\n", encoding="utf-8")
    run = RankingRun(annotator, RunOptions(candidates=path, n_jobs=1))
    list(run.drafts([tmp_path / "a.mgf", tmp_path / "b.mgf"]))
    told = [note for note in run.query_notes if "1 name is of queries in several files" in note]
    assert len(told) == (column == "query_id")
    list(run.drafts(tmp_path / "a.mgf"))
    assert not any("several files" in note for note in run.query_notes)


@pytest.mark.parametrize(
    ("query", "listed", "shown", "peaks"),
    [
        (QUERIES[1], (THEOBROMINE, THEOPHYLLINE), THEOPHYLLINE, (69.0447, 96.0556, 124.0505)),
        (QUERIES[0], (THEOBROMINE,), CAFFEINE, (110.0713, 138.0662)),
    ],
)
def test_the_first_candidate_is_shown_against_its_own_library_spectrum_or_the_nearest(
    annotator: Annotator,
    tmp_path: Path,
    query: Spectrum,
    listed: tuple[str, ...],
    shown: str,
    peaks: tuple[float, ...],
) -> None:
    path = tmp_path / "c.csv"
    path.write_text("\n".join(("smiles", *listed)) + "\n", encoding="utf-8")
    run = RankingRun(annotator, RunOptions(candidates=path, n_jobs=1))
    (ranked,) = run.outcomes([query])
    assert isinstance(ranked, Ranked)
    answer = draft(annotator, ranked, 2).answer(annotator.run_scoring, RunState(), annotator)
    assert answer.explanation is not None
    library = answer.explanation.library
    assert library is not None
    assert library.is_own == (shown in listed)
    assert library.first_block == parse_molecule(shown).first_block
    assert library.query_id == shown  # as the library's spectra are called here
    assert library.peaks.mz[: len(peaks)] == pytest.approx(peaks, abs=0.01)
    first = answer.annotations[0]
    if library.is_own:
        assert first.match is not None
        assert (library.cosine, library.n_shared) == (first.match.cosine, first.match.n_shared)
    else:
        assert library.cosine == answer.analogues[0].cosine
        assert library.n_shared == 2


def test_what_the_library_has_measured_as_an_ion_may_become_it(tmp_path: Path) -> None:
    """An amine has hardly an ion with ammonium, unless there is a spectrum of it."""
    measured, amine, amide = "NCCCC(C)=O", "CNCCC(C)=O", "CCCCC(N)=O"
    as_ammonium = replace(spectrum_of(measured, 43.018, 84.081), adduct="[M+NH4]+")
    as_ammonium = replace(as_ammonium, precursor_mz=119.1179)
    library = Library.from_spectra([as_ammonium], ANALOGUE_BINS, ReadReport(), peaks=ANALOGUE_BINS)
    packed = fingerprints(library.molecules, get_layout(ANALOGUE_FINGERPRINT), n_jobs=1)
    pool = EvidencePool.from_library(library, np.arange(1), packed)
    path = tmp_path / "c.csv"
    path.write_text(f"smiles\n{measured}\n{amine}\n{amide}\n", encoding="utf-8")
    priors = []
    for each in (pool, pool.forgetting()):
        known = tiny_annotator()
        known.evidence_pool = each
        (ranked,) = RankingRun(known, RunOptions(candidates=path, n_jobs=1)).outcomes([as_ammonium])
        assert isinstance(ranked, Ranked)
        assert ranked.evidence is not None
        assert ranked.evidence.prior is not None
        priors.append(ranked.evidence.prior.tolist())
    assert priors == [[0.0, -1.5, 0.0], [-1.5, -1.5, 0.0]]


@pytest.mark.parametrize(
    ("stated", "has_them"),
    [
        ({}, True),
        ({"in_list": 0.5}, True),
        ({"known": 0.5}, True),
        ({"in_list": 0.5, "known": 0.5}, False),
        ({"in_list": 0.5, "known": 0.5, "use_mass_errors": True}, True),
        ({"use_mass_errors": False}, False),
    ],
)
def test_mass_errors_count_unless_queries_are_to_be_independent(
    stated: dict[str, Any], has_them: bool
) -> None:
    assert RunOptions(candidates=Path("candidates.csv"), **stated).has_mass_errors is has_them
