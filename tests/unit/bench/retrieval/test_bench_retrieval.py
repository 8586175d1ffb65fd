from __future__ import annotations

import gzip
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import ranking_examples
from annotation_examples import tiny_annotator
from numpy.typing import NDArray
from retrieval_examples import ACETIC_ACID, ISOPROPANOL, PROPANOL, candidates, known, problem
from specvae_bench.folds.contest import Challenges
from specvae_bench.folds.fold import fold_digest
from specvae_bench.retrieval.comparison import Comparison, read_problems, same_formula
from specvae_bench.retrieval.lookups import frequency_logits
from specvae_bench.retrieval.report import figures

from specvae.annotation.library.compounds import read_truth
from specvae.annotation.ranking.annotator import Annotator
from specvae.annotation.ranking.candidates import CandidateSource
from specvae.annotation.ranking.queries import QueryFilter
from specvae.annotation.ranking.result import ListScores, Ranked
from specvae.annotation.ranking.run_scoring import RunScoring
from specvae.cli.console import Console
from specvae.errors import InputError
from specvae.molecules.fingerprint import get_layout
from specvae.molecules.molecule import parse_molecule
from specvae.report import ReadReport


def test_same_formula_is_told_from_same_mass(tmp_path: Path) -> None:
    # Both have a nominal mass of 60 Da and differ by 0.036 Da.
    found = candidates(tmp_path, ACETIC_ACID, PROPANOL, ACETIC_ACID, ISOPROPANOL)
    assert same_formula(found, 3).tolist() == [1, 3]
    assert same_formula(found, 0).tolist() == [0, 2]
    assert same_formula(found, None).tolist() == []
    # Even where masses cannot tell them apart, formulas do.
    found.exact_mass[:] = 60.0
    assert same_formula(found, 3).tolist() == [1, 3]


def test_ranks_in_the_formula_track_count_its_candidates_only(tmp_path: Path) -> None:
    found = candidates(tmp_path, ACETIC_ACID, PROPANOL, ISOPROPANOL)
    ranked = problem(found, 2)
    scores = np.array([3.0, 1.0, 2.0])
    whole = ranked.rank(scores[ranked.rows("mass")], "mass")
    assert (whole.n_better, whole.n_tied, whole.n_candidates) == (1, 1, 3)
    part = ranked.rank(scores[ranked.rows("formula")], "formula")
    assert (part.n_better, part.n_tied, part.n_candidates) == (0, 1, 2)
    absent = problem(found, None)
    for track, n in (("mass", 3), ("formula", 0)):
        rank = absent.rank(scores[absent.rows(track)], track)
        assert not rank.is_found
        assert rank.n_candidates == n


def test_methods_are_standardised_over_the_candidates_that_compete(tmp_path: Path) -> None:
    found = candidates(tmp_path, ACETIC_ACID, PROPANOL, ISOPROPANOL, "COCC")
    comparison = Comparison([problem(found, 1)], known(), 1, Console())
    comparison.add("random", [np.zeros(4)])
    left, right = np.array([100.0, 0.0, 1.0, 0.0]), np.array([0.0, 3.0, 2.0, 2.0])
    comparison.add("left", [left], 2.0)
    comparison.add("right", [right], 3.0)
    comparison.add_sum("both", ("left", "right"))
    mass, formula = (
        figures(comparison, comparison.ranks(track), 0) for track in ("mass", "formula")
    )
    assert mass["random"]["hit_at_1"] == 1 / 4
    assert formula["random"]["hit_at_1"] == 1 / 3
    assert mass["both"]["seconds"] == pytest.approx(5.0, abs=0.1)
    # Among all four the outlier of the left method squeezes its other scores; among the three of
    # one formula its 1 outweighs the right method's 3 to 2.
    assert mass["both"]["median_rank"] == expected_rank([left, right], [0, 1, 2, 3], 1)
    assert formula["both"]["median_rank"] == expected_rank([left, right], [1, 2, 3], 1)
    assert not [key for key in mass["both"] if key.startswith(("blind", "random"))]


def expected_rank(parts: list[NDArray[np.float64]], rows: list[int], place: int) -> float:
    total = np.sum([(p[rows] - p[rows].mean()) / p[rows].std() for p in parts], axis=0)
    own = total[rows.index(place)]
    return float((total > own).sum() + ((total == own).sum() + 1) / 2)


def test_two_methods_of_one_name_are_refused(tmp_path: Path) -> None:
    comparison = Comparison([problem(candidates(tmp_path, PROPANOL), 0)], known(), 1, Console())
    comparison.add("mine", [np.zeros(1)])
    with pytest.raises(InputError, match="two methods are called 'mine'"):
        comparison.add("mine", [np.zeros(1)])


def test_bit_frequencies_as_logits() -> None:
    layout = get_layout("mixed2149")
    packed = np.zeros((3, layout.n_bytes), dtype=np.uint8)
    packed[:, 0] = [0b001, 0b101, 0b001]
    probabilities = 1 / (1 + np.exp(-frequency_logits(packed, layout.name)))
    assert probabilities.shape == (2149,)
    np.testing.assert_allclose(probabilities[:4], [3.5 / 4, 0.5 / 4, 1.5 / 4, 0.5 / 4])


def test_the_digest_is_of_contents_compressed_or_not(tmp_path: Path) -> None:
    truth, plain, small = tmp_path / "t.csv", tmp_path / "c.csv", tmp_path / "c.csv.gz"
    truth.write_bytes(b"truth\n")
    plain.write_bytes(b"candidates\n")
    small.write_bytes(gzip.compress(b"candidates\n"))
    expected = hashlib.sha256(b"truth\ncandidates\n").hexdigest()
    assert fold_digest((truth, plain)) == fold_digest((truth, small)) == expected


def files(queries: Path, candidates: Path) -> Challenges:
    """Return files of a contest whose truth is not read."""
    return Challenges(queries, candidates, Path(os.devnull))


def test_queries_are_left_out_by_the_rule_of_annotate(tmp_path: Path) -> None:
    """No ion mode, two charges, another stage of fragmentation: the library's mode decides."""
    plus, doubly = 61.06479, 31.03604  # [M+H]+ and [M+2H]2+ of propanol
    fields = {
        "silent": (plus, ""),
        "doubly": (doubly, "CHARGE=2+\n"),
        "negative": (59.05024, "IONMODE=negative\n"),
        "sodium": (83.04673, "ADDUCT=[M+Na]+\n"),
        "third": (plus, "MSLEVEL=3\nIONMODE=positive\n"),
    }
    queries = tmp_path / "queries.mgf"
    queries.write_text(
        "".join(
            f"BEGIN IONS\nTITLE={name}\nPEPMASS={mz}\n{lines}30.03 1\nEND IONS\n"
            for name, (mz, lines) in fields.items()
        )
    )
    listed = candidates(tmp_path, PROPANOL, ACETIC_ACID)
    wanted = QueryFilter.of("positive", ["[M+H]+", "[M+2H]2+"])
    truth = dict.fromkeys(fields, str(listed.first_block[0]))
    table = tmp_path / "candidates.csv"
    problems, _ = read_problems(files(queries, table), truth, wanted, 10.0, Console())
    annotator = tiny_annotator(("positive",))
    with CandidateSource(table, annotator.layout, 10.0, ReadReport()) as source:
        ranked = ranking_examples.ranked(annotator, queries, source, wanted)
    kept = [q for q in ranked if isinstance(q, Ranked) or not q.refusal.is_filter]
    assert [q.query_id for q in kept] == ["silent", "doubly", "third"]
    assert [p.spectrum.query_id for p in problems] == [q.query_id for q in kept]
    assert [p.spectrum.adduct for p in problems] == [q.query and q.query.adduct for q in kept]
    assert [p.n_candidates for p in problems] == [1, 1, 0]
    assert [isinstance(q, Ranked) for q in kept] == [True, True, False]


def test_problems_are_the_queries_with_a_truth_that_pass_the_filter(tmp_path: Path) -> None:
    queries = tmp_path / "queries.mgf"
    record = "BEGIN IONS\nTITLE={}\nPEPMASS={}\nCHARGE=1{}\n{}30.03 1\n43.05 9\nEND IONS\n\n"
    plus = 61.06479  # [M+H]+ of propanol
    queries.write_text(
        record.format("wanted", plus, "+", "")
        + record.format("nothing near", 400.0, "+", "")
        + record.format("no truth", plus, "+", "")
        + record.format("negative", 59.05024, "-", "IONMODE=negative\n")
        + record.format("sodium", plus, "+", "ADDUCT=[M+Na]+\n")
        + record.format("absent", plus, "+", "")
    )
    listed = candidates(tmp_path, ISOPROPANOL, PROPANOL, ACETIC_ACID)
    names = ("wanted", "nothing near", "negative", "sodium")
    truth = dict.fromkeys(names, str(listed.first_block[1])) | {"absent": "A" * 14}
    wanted = QueryFilter.of("positive", ["[M+H]+"])
    truth["not measured"] = "B" * 14
    given = files(queries, tmp_path / "candidates.csv")
    problems, missing = read_problems(given, truth, wanted, 10.0, Console())
    assert missing == ["not measured"]
    found = {problem.spectrum.query_id: problem for problem in problems}
    assert list(found) == ["wanted", "nothing near", "absent"]
    assert found["wanted"].place == 1
    assert found["wanted"].n_candidates == 2
    assert found["wanted"].of_formula.tolist() == [0, 1]
    assert found["nothing near"].candidates is None
    assert found["nothing near"].place is None
    assert found["absent"].place is None
    assert found["absent"].n_candidates == 2


def test_the_evidence_of_a_model_is_what_annotate_ranks_by(
    few: Path, demo_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: dict[int, ListScores] = {}

    def kept(_: RunScoring, lists: Mapping[int, ListScores]) -> dict[int, NDArray[np.float64]]:
        taken.update(lists)
        return {number: each.scores for number, each in lists.items()}

    monkeypatch.setattr(RunScoring, "scores_of_run", kept)
    annotator = Annotator.load(demo_model, "cpu")
    given = files(few / "queries.mgf", few / "candidates.csv")
    truth = read_truth(few / "truth.csv")
    problems, _ = read_problems(given, truth, QueryFilter(), 10.0, Console())
    with CandidateSource(
        given.candidates, annotator.layout, 10.0, ReadReport(), n_jobs=1
    ) as source:
        ranked = ranking_examples.ranked(annotator, given.queries, source)
    Comparison(problems, known(), 1, Console()).add_model("model", demo_model, "cpu")
    assert len(taken) == len(ranked) == 12
    for number, outcome in enumerate(ranked):
        assert isinstance(outcome, Ranked)
        ours, theirs = taken[number].evidence, outcome.list_scores.evidence
        assert ours is not None
        assert theirs is not None
        np.testing.assert_allclose(taken[number].scores, outcome.list_scores.scores, atol=1e-9)
        assert ours.mass_errors is not None
        assert theirs.mass_errors is not None
        np.testing.assert_array_equal(ours.mass_errors, theirs.mass_errors)
        assert (ours.elution is None) == (theirs.elution is None)


def test_a_truth_is_found_as_evaluate_finds_it(tmp_path: Path) -> None:
    acid, salt = parse_molecule("CCN"), "XWBDWHCCBGMXKG-UHFFFAOYSA-N"  # ethylamine hydrochloride
    (tmp_path / "q.mgf").write_text(
        "BEGIN IONS\nTITLE=a\u0308thyl\nPEPMASS=46.0651\nADDUCT=[M+H]+\n29.0386 1\nEND IONS\n",
        encoding="utf-8",
    )
    (tmp_path / "c.csv").write_text("smiles\nCCN.Cl\nCNC\n", encoding="utf-8")
    truth = {"\u00e4thyl": salt[:14], "other": acid.first_block}
    given = files(tmp_path / "q.mgf", tmp_path / "c.csv")
    (found,), missing = read_problems(given, truth, QueryFilter(), 10.0, Console())
    assert missing == ["other"]
    assert found.place == 0
    assert found.truth == acid.first_block
