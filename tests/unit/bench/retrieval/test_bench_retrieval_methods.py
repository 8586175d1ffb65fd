"""The methods that `bench retrieval` compares with, and the figures by likeness and in pairs."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from retrieval_examples import ACETIC_ACID, ISOPROPANOL, PROPANOL, candidates, known, problem
from retrieval_examples import spectrum as example
from specvae_bench.retrieval import learners
from specvae_bench.retrieval.comparison import Comparison, Problem, standardised
from specvae_bench.retrieval.falloff import (
    EDGES,
    falloff,
    falloff_table,
    nearest_likeness,
    plot_falloff,
)
from specvae_bench.retrieval.fragments import isobars
from specvae_bench.retrieval.learners import (
    Contrastive,
    DeepSets,
    FingerprintFFN,
    Learner,
    PlainNetwork,
    predict,
    relative_bins,
    train,
)
from specvae_bench.retrieval.lookups import best_of_compounds, matchms_neighbours
from specvae_bench.retrieval.methods import METHODS, Options, chosen_methods, listing
from specvae_bench.retrieval.report import best_peer, paired

from specvae.annotation.evaluation.hits import TruthRank
from specvae.annotation.library.library import Library
from specvae.cli.console import Console
from specvae.errors import InputError
from specvae.molecules.fingerprint import get_layout
from specvae.molecules.fragments import FragmentTable
from specvae.molecules.molecule import parse_molecule
from specvae.spectra.binning import BinLayout
from specvae.spectra.spectrum import Spectrum

LEARNERS = [PlainNetwork, FingerprintFFN, DeepSets, Contrastive]
# Distinct enough in peaks and in structure that a few steps tell them apart.
STRUCTURES = ("CCCCCCO", "c1ccccc1Cl", "NCC(=O)O", "C1CCCCC1S", "CC(=O)Nc1ccc(O)cc1", "CN(C)C=O")


def small_library() -> Library:
    """Return five spectra of each of six compounds, by three peaks of their own."""
    rng = np.random.default_rng(0)
    pairs = []
    for number, smiles in enumerate(STRUCTURES):
        mz = np.array([41.0, 55.0, 69.0]) + 3.0 * number
        for _ in range(5):
            intensity = rng.uniform(0.5, 1.0, 3)
            spectrum = Spectrum(
                mz=mz, intensity=intensity, query_id="s", precursor_mz=150.0 + number
            )
            pairs.append((spectrum, parse_molecule(smiles)))
    return Library.from_pairs(pairs, keep_records=True)


def cosine(left: np.ndarray, right: np.ndarray) -> float:
    return float(left @ right / np.linalg.norm(left) / np.linalg.norm(right))


def test_names_ask_for_methods_in_the_order_of_the_list() -> None:
    assert chosen_methods(["deepsets", "blind"]) == ["blind", "deepsets"]
    if all(method.is_installed for method in METHODS.values()):
        assert chosen_methods(["all"]) == list(METHODS)
    assert not {name for name in chosen_methods([]) if METHODS[name].trains}
    assert {"random", "blind", "analogues"} <= set(chosen_methods([]))
    assert all(name in listing() for name in METHODS)


def test_what_is_not_installed_is_left_out_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for needs in ("no_such_package.part", "json.no_such_part"):
        monkeypatch.setitem(METHODS, "blind", METHODS["blind"]._replace(needs=needs))
        assert "blind" not in chosen_methods([])
        with pytest.raises(InputError, match=f"--method blind needs {needs}, which is not there"):
            chosen_methods(["all"])


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_where_the_list_says(name: str) -> None:
    assert METHODS[name].add.__name__.startswith("add_")


def test_the_list_of_methods_is_light() -> None:
    code = (
        "import sys, specvae_bench.retrieval.methods;"
        "sys.exit(bool({'torch', 'rdkit', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_spectra_of_one_compound_stand_together() -> None:
    library = known()
    assert library.compound.tolist() == [0, 1, 0]
    assert [m.smiles for m in library.molecules] == [PROPANOL, ACETIC_ACID]
    best = best_of_compounds(library.compound, np.array([0.1, 0.3, 0.7]))
    assert best.tolist() == [0.7, 0.3]


def test_matchms_similarities_are_those_of_the_formulas() -> None:
    pytest.importorskip("matchms.similarity.FlashSimilarity")
    library = known()
    # All peaks of the query but one are those of the second compound.
    query = example("q", (43.018, 45.034, 47.0))
    found = matchms_neighbours(library, [query], "cosine", "hybrid")
    assert found.compound[0].tolist() == [1, 0]
    # The precursors are the same, so shifted peaks are no other than unshifted ones.
    expected = (1 * 1 + 2 * 2) / np.sqrt((1 + 4 + 16) * (1 + 4))
    assert found.cosine[0, 0] == pytest.approx(expected, abs=1e-5)
    assert found.cosine[0, 1] == 0.0
    found = matchms_neighbours(library, [query], "spectral_entropy", "fragment")
    assert found.compound[0].tolist() == [1, 0]
    assert found.cosine[0, 0] == pytest.approx(entropy_similarity([1, 2, 4], [1, 2, 0]), abs=1e-5)


def entropy_similarity(left: list[float], right: list[float]) -> float:
    """Return the spectral entropy similarity of matched intensities, Li et al. 2021, eq. 2-5."""

    def entropy(p: np.ndarray) -> float:
        return float(-(p[p > 0] * np.log(p[p > 0])).sum())

    def weighted(intensity: list[float]) -> np.ndarray:
        p = np.array(intensity, dtype=float) / sum(intensity)
        s = entropy(p)
        w = p ** (0.25 + 0.25 * s) if s < 3.0 else p
        return np.asarray(np.where(p > 0, w, 0.0) / np.where(p > 0, w, 0.0).sum())

    a, b = weighted(left), weighted(right)
    return 1.0 - (2.0 * entropy((a + b) / 2.0) - entropy(a) - entropy(b)) / math.log(4.0)


def test_relative_bins_are_shares_of_the_highest_peak() -> None:
    dense = relative_bins([example("q", (20.2, 20.4, 30.0))], BinLayout(bin_width=1.0)).to_dense()
    assert dense[0].nonzero().flatten().tolist() == [20, 30]
    np.testing.assert_allclose(dense[0, [20, 30]], [0.75, 1.0], atol=1e-6)


@pytest.mark.parametrize("kind", LEARNERS)
def test_every_network_learns_its_library(
    kind: type[Learner], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learners, "BATCH", 32)
    library = small_library()
    packed = get_layout(kind.layout).compute(library.molecules)
    torch.manual_seed(0)
    learner = kind(library, packed)
    train(learner, library, Options(steps=45))
    with torch.inference_mode():
        predicted = predict(learner, library.records[::5])
        ranked = [int(np.argmax(learner.scores(logits, packed))) for logits in predicted]
        twice = learner.scores(predicted[0], packed[[2, 1, 2]])
        none = learner.scores(predicted[0], packed[:0])
    assert ranked == list(range(len(STRUCTURES)))
    assert twice[0] == twice[2] != twice[1]
    assert none.shape == (0,)


def test_the_cosine_networks_rank_by_cosine() -> None:
    library = small_library()
    layout = get_layout(FingerprintFFN.layout)
    packed = layout.compute(library.molecules)
    learner = FingerprintFFN(library, packed)
    bits = np.unpackbits(packed, axis=1, bitorder="little").astype(float)
    predicted = torch.from_numpy(np.random.default_rng(0).normal(size=layout.n_bits)).float()
    expected = [cosine(bit, predicted.double().numpy()) for bit in bits]
    np.testing.assert_allclose(learner.scores(predicted, packed), expected, atol=1e-6)
    compound = torch.tensor([0, 3])
    loss = learner.loss(torch.stack([predicted, predicted]), compound)
    assert float(loss) == pytest.approx(1.0 - (expected[0] + expected[3]) / 2.0, abs=1e-6)


def test_the_order_of_peaks_is_nothing_to_deepsets_and_padding_too() -> None:
    library = small_library()
    learner = DeepSets(library, get_layout(DeepSets.layout).compute(library.molecules)).eval()
    peaks = learner.encode(library.records[:2])
    assert isinstance(peaks, torch.Tensor)
    with torch.inference_mode():
        there, back = learner(peaks[:, :10]), learner(peaks.flip(1))
        moved = learner(peaks + torch.tensor([0.01, 0.0]))
    torch.testing.assert_close(there, back)
    # Ten times a mTh is seen.
    assert (moved - there).abs().max() > 1e-4


def test_decoys_of_the_contrastive_network_are_near_in_mass() -> None:
    library = small_library()
    learner = Contrastive(library, get_layout(Contrastive.layout).compute(library.molecules))
    learner.n_near = 1
    mass = np.array([m.exact_mass for m in library.molecules])
    rank = np.argsort(np.argsort(mass))
    compound = torch.arange(len(mass)).repeat_interleave(50)
    decoys = learner._decoys(compound).reshape(len(compound), learner.n_decoys)
    distance = np.abs(rank[decoys.numpy()] - rank[compound.numpy()][:, np.newaxis])
    assert set(distance.ravel().tolist()) == {0, 1}


def test_training_leaves_other_random_numbers_alone(tmp_path: Path) -> None:
    found = candidates(tmp_path, PROPANOL, ISOPROPANOL)
    torch.manual_seed(7)
    expected = torch.rand(3)
    rows = []
    for _ in range(2):
        comparison = Comparison([problem(found, 0)], known(), 1, Console())
        torch.manual_seed(7)
        METHODS["fingerprint-ffn"].add(comparison, Options(steps=2, device="cpu"))
        torch.testing.assert_close(torch.rand(3), expected)
        rows.append(comparison._scores["fingerprint FFN"][0])
        assert "training fingerprint FFN" in comparison.steps
    np.testing.assert_array_equal(rows[0], rows[1])


def test_a_query_without_candidates_has_no_scores(tmp_path: Path) -> None:
    found = candidates(tmp_path, PROPANOL, ISOPROPANOL)
    nothing = Problem(example(), "A" * 14, None, None, np.empty(0, np.int64))
    comparison = Comparison([nothing, problem(found, 1)], known(), 1, Console())
    for name in ("random", "blind", "analogues", "fingerprint-ffn"):
        METHODS[name].add(comparison, Options(steps=1, device="cpu"))
    ranks = comparison.ranks("mass")
    assert len(ranks) == 8
    for of_method in ranks.values():
        assert [rank.n_candidates for rank in of_method] == [0, 2]


def test_likeness_is_of_the_truth_to_the_nearest_library_compound(tmp_path: Path) -> None:
    found = candidates(tmp_path, PROPANOL, ISOPROPANOL)
    likeness = nearest_likeness(
        [problem(found, 0), problem(found, 1), problem(found, None)], known()
    )
    assert likeness[0] == 1.0
    assert 0.0 < likeness[1] < 1.0
    assert np.isnan(likeness[2])


def test_bins_of_likeness_take_their_lower_border() -> None:
    first, second = TruthRank("a", 0, 1, 5), TruthRank("b", 2, 1, 5)
    likeness = np.array([EDGES[0], np.nan, EDGES[0] - 1e-9, 1.0, 1.0])
    ranks = {"mass": {"m": [first, first, second, first, second]}}
    result = falloff(likeness, ranks)
    assert result["n_queries"] == [1, 1, 0, 0, 0, 0, 2]
    assert result["n_molecules"] == [1, 1, 0, 0, 0, 0, 2]
    assert result["hit_at_1"]["mass"]["m"] == [0.0, 1.0, None, None, None, None, 0.5]


def test_differences_are_paired_by_query() -> None:
    hit, miss = (1, 0), (1, 3)
    # Both methods are right in half of the queries, and never in the same one of a molecule's.
    left = [TruthRank(str(i), *hit[::-1], 9) for i in range(20)]
    right = [TruthRank(str(i), *miss[::-1], 9) for i in range(20)]
    ranks = {"left": left, "right": right, "same": left}
    result = paired(ranks, "left", seed=0)
    assert result["reference"] == "left"
    assert list(result["differences"]) == ["right", "same"]
    worse, same = result["differences"].values()
    assert (worse["hit_at_1"], worse["hit_at_1_ci95"]) == (-1.0, [-1.0, -1.0])
    assert worse["mrr"] == pytest.approx(0.25 - 1.0)
    assert (same["hit_at_5"], same["hit_at_5_ci95"]) == (0.0, [0.0, 0.0])
    places = {
        name: [TruthRank(str(i), n, 1, 9) for i in range(20)]
        for name, n in (("5th", 4), ("6th", 5))
    }
    apart = paired({"left": left, **places}, "left", seed=0)["differences"]
    assert [apart[name]["hit_at_5"] for name in ("5th", "6th")] == [0.0, -1.0]


def test_the_best_peer_is_no_control_unless_there_is_no_other() -> None:
    methods = {name: {"hit_at_1": v} for name, v in [("random", 0.9), ("a", 0.2), ("b", 0.3)]}
    assert best_peer(methods, ["random", "a", "b"]) == "b"
    assert best_peer(methods, ["random"]) == "random"


def test_empty_bins_are_left_out_of_table_and_plot(tmp_path: Path) -> None:
    shares = [0.5, None, 0.25, None, None, None, 1.0]
    n_queries = [2, 0, 4, 0, 0, 0, 1]
    result = {
        "n_queries": n_queries,
        "n_molecules": n_queries,
        "hit_at_1": {"mass": {"mine": shares}},
    }
    table = falloff_table(result)
    assert "| queries | 2 | 0 | 4 | 0 | 0 | 0 | 1 |" in table
    assert "| mine | 50.0 |  | 25.0 |  |  |  | 100.0 |" in table
    plot_falloff({"mine": shares}, result, tmp_path / "f.png", "Title")
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")


def test_rivals_in_fragments_share_the_mass() -> None:
    # Two isomers, a third structure of their nominal mass, and one alone.
    smiles = ("CCC(=O)OC", "CCOC(C)=O", "CC(N)C(N)=O", "CCCCCCO")
    library = Library.from_pairs(
        [(example("q", (43.018,)), parse_molecule(s)) for s in smiles], keep_records=True
    )
    found = isobars(library, 10)
    one, other = (FragmentTable.of(text).masses.tolist() for text in smiles[:2])
    assert one != other
    masses = [
        [FragmentTable.of_graph(molecule).masses.tolist() for molecule in case.molecules]
        for case in found
    ]
    assert masses == [[one, other], [other, one]]
    assert all(len(case.spectra) == 1 for case in found)
    assert len(isobars(library, 1)) == 1


def test_the_candidate_whose_pieces_are_seen_ranks_first(tmp_path: Path) -> None:
    # Only the ester of acetic acid breaks into acetyl, m/z 43.0178; the other gives m/z 57.0335.
    found = candidates(tmp_path, "CCC(=O)OC", "CCOC(C)=O")
    query = Spectrum(
        mz=np.array([43.0178]), intensity=np.ones(1), query_id="q", precursor_mz=89.0597,
        adduct="[M+H]+",
    )  # fmt: skip
    comparison = Comparison([problem(found, 1, query)], known(), 1, Console())
    METHODS["fragments"].add(comparison, Options())
    (rank,) = comparison.ranks("mass")["fragments, MetFrag"]
    assert (rank.n_better, rank.n_tied) == (0, 1)


def test_standardised_scores_keep_order_and_ties() -> None:
    scores = np.array([3.0, -1.0, 3.0, 7.0])
    found = standardised(scores)
    np.testing.assert_allclose([found.mean(), found.std()], [0.0, 1.0], atol=1e-12)
    np.testing.assert_allclose(found, (scores - 3.0) / np.sqrt(8.0))
    assert found[0] == found[2]


@pytest.mark.parametrize("scores", [[], [2.5], [0.1] * 7, [0.0, 5e-324]])
def test_standardised_scores_without_spread_are_0(scores: list[float]) -> None:
    assert standardised(np.array(scores)).tolist() == [0.0] * len(scores)
