from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from annotation_examples import tiny_annotator
from rdkit import Chem

from specvae.annotation.evaluation.hits import TruthRank
from specvae.annotation.evidence.fingerprint import log_likelihoods
from specvae.annotation.library.library import Library
from specvae.annotation.training import validation as module
from specvae.annotation.training.validation import N_DECOYS, RetrievalValidation, few_per_group
from specvae.molecules.molecule import Molecule
from specvae.spectra.binning import BinLayout
from specvae.spectra.sparse import SparseMatrix

BINS = BinLayout()


def library(n_compounds: int, n_each: int) -> tuple[Library, np.ndarray]:
    """Return compounds of random mass and their random fingerprints (n_compounds, 512)."""
    rng = np.random.default_rng(0)
    masses = rng.uniform(100, 500, n_compounds)
    methane = Chem.MolFromSmiles("C")
    molecules = tuple(
        Molecule(methane, inchikey=f"{i:014d}-UHFFFAOYSA-N", exact_mass=float(mass))
        for i, mass in enumerate(masses)
    )
    n = n_compounds * n_each
    spectra = SparseMatrix(
        np.arange(n + 1), np.arange(n, dtype=np.int32), np.ones(n, np.float32), BINS.n_columns
    )
    packed = rng.integers(0, 256, (n_compounds, 512), dtype=np.uint8)
    return Library(spectra, np.repeat(np.arange(n_compounds), n_each), molecules), packed


def test_truth_competes_with_the_nearest_masses_of_all_folds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    everything, packed = library(80, 2)
    rows = np.array([10, 11, 60])
    checked = RetrievalValidation(everything, rows, packed, BINS, seed=0)
    assert checked.compounds.tolist() == [5, 5, 30]
    masses = np.array([molecule.exact_mass for molecule in everything.molecules])
    bits = np.unpackbits(packed, axis=1, bitorder="little").astype(np.float64)
    asked: list[np.ndarray] = []

    def recorded(table: np.ndarray, logits: np.ndarray) -> np.ndarray:
        asked.append(table)
        return log_likelihoods(table, logits)

    monkeypatch.setattr(module, "log_likelihoods", recorded)
    # A perfect prediction of each compound's bits, but of another's for the last query.
    logits = 20.0 * bits[[5, 5, 31]] - 10.0
    monkeypatch.setattr(module, "bit_logits", lambda *_: logits)
    ranks = checked.ranks(tiny_annotator().model, torch.device("cpu"))
    assert [rank.n_better for rank in ranks[:2]] == [0, 0]
    assert ranks[2].n_better > 0
    assert [rank.molecule for rank in ranks] == [f"{i:014d}" for i in (5, 5, 30)]
    for compound, table in zip((5, 30), asked, strict=True):
        nearest = np.argsort(np.abs(masses - masses[compound]))[: N_DECOYS + 1]
        assert {row.tobytes() for row in table} == {packed[i].tobytes() for i in nearest}
        assert table[0].tobytes() == packed[compound].tobytes()


def test_small_library_says_how_many_it_ranked_among(monkeypatch: pytest.MonkeyPatch) -> None:
    annotator = tiny_annotator()
    everything, packed = library(7, 2)
    everything = Library(
        SparseMatrix(
            everything.spectra.offsets, everything.spectra.columns, everything.spectra.values,
            annotator.bins.n_columns,
        ),
        everything.compound,
        everything.molecules,
    )  # fmt: skip
    checked = RetrievalValidation(everything, np.arange(4), packed, annotator.bins, seed=0)
    figures = checked.figures(annotator.model, torch.device("cpu"))
    assert figures.n_candidates == 7
    assert figures.n_queries == 4
    assert figures.n_compounds == 2
    assert figures.random_hit_at_1 == pytest.approx(1 / 7)
    mrr = checked.mean_reciprocal_rank(annotator.model, torch.device("cpu"))
    assert mrr == figures.mrr
    places = [TruthRank(str(n), n, 1, 7) for n in (0, 1, 4, 5)]
    monkeypatch.setattr(checked, "ranks", lambda *_: places)
    by_hand = checked.figures(annotator.model, torch.device("cpu"))
    assert (by_hand.hit_at_1, by_hand.hit_at_5, by_hand.n_candidates) == (0.25, 0.75, 7)
    assert by_hand.mrr == pytest.approx((1 + 1 / 2 + 1 / 5 + 1 / 6) / 4)


def test_few_of_each_group_by_seed() -> None:
    groups = np.repeat(np.arange(20), 9)
    rows = np.arange(1000, 1180)
    chosen = few_per_group(rows, groups, 3, seed=1)
    assert set(Counter(groups[chosen - 1000].tolist()).values()) == {3}
    np.testing.assert_array_equal(chosen, few_per_group(rows, groups, 3, seed=1))
    assert set(chosen) != set(few_per_group(rows, groups, 3, seed=2))
