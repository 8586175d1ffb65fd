"""Fragment scores of many queries' candidates are those of each query alone."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from annotation_examples import CAFFEINE, spectrum_of
from rdkit import Chem

from specvae.annotation.evidence import fragment_lists
from specvae.annotation.evidence.fragment_lists import FragmentList, scoring
from specvae.annotation.evidence.fragment_peaks import MAX_PEAKS, Peaks
from specvae.annotation.evidence.fragment_score import FragmentScorer, standard_scorers
from specvae.errors import StructureError
from specvae.molecules import entry_store, workers
from specvae.molecules.fragments import FragmentTable
from specvae.molecules.graph import OrderedGraph
from specvae.molecules.graph_cache import GraphCache
from specvae.molecules.kept_code import compiling
from specvae.molecules.molecule import Molecule

SMILES = (CAFFEINE, "CCOc1ccc(NC(C)=O)cc1", "CC(=O)Oc1ccccc1C(=O)O", "CCCCOC(=O)c1ccccc1")
PEAKS = ((110.0713, 138.0662, 195.0877), (121.0284, 163.039), (900.0,), (57.0699, 105.0335))
CHOSEN = ((0, 1, 2), (2, 1), (0, 3), (3, 0, 2))


def score_lists(
    scorers: Mapping[str, FragmentScorer],
    some: Sequence[FragmentList],
    n_jobs: int | None = 1,
    progress: Callable[[int, int], None] | None = None,
    cache: GraphCache | None = None,
) -> list[np.ndarray]:
    with scoring(scorers, some, n_jobs, progress, cache) as scores:
        return scores()


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """SMILES of the molecules of which RDKit is asked for a graph."""
    found: list[str] = []
    take = OrderedGraph.of

    def noted(mol: Chem.Mol, binary: bytes = b"") -> OrderedGraph:
        found.append(Chem.MolToSmiles(mol))
        return take(mol, binary)

    monkeypatch.setattr(OrderedGraph, "of", noted)
    with compiling(False):
        yield found


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Graphs of the molecules that are broken."""
    found: list[bytes] = []
    break_ = FragmentTable.of_graph

    def noted(graph: OrderedGraph, **options: int) -> FragmentTable:
        found.append(graph.to_bytes())
        return break_(graph, **options)

    monkeypatch.setattr(FragmentTable, "of_graph", noted)
    return found


def lists() -> list[FragmentList]:
    parsed = [[Molecule.parse(SMILES[n]) for n in chosen] for chosen in CHOSEN]
    queries = [Peaks.of(spectrum_of(CAFFEINE, *mz)) for mz in PEAKS]
    return [FragmentList(*pair) for pair in zip(queries, parsed, strict=True)]


def test_noise_changes_no_score() -> None:
    rng = np.random.default_rng(0)
    molecules = [Molecule.parse(one) for one in (CAFFEINE, "CCOc1ccc(NC(C)=O)cc1")]
    true = np.array([42.0338, 69.0447, 110.0713, 138.0662])
    sound = spectrum_of(CAFFEINE, *true)
    # Half a mass off: no part of an organic formula has such a mass.
    mz = np.concatenate([true, rng.integers(50, 190, 90) + 0.5 + rng.uniform(-0.1, 0.1, 90)])
    order = np.argsort(mz)
    heights = np.concatenate([sound.intensity, np.full(90, 200.0)])[order]
    noisy = replace(sound, mz=mz[order], intensity=heights)
    scores = score_lists(
        standard_scorers(), [FragmentList.of(one, molecules) for one in (sound, noisy)]
    )
    assert scores[0].tolist() == scores[1].tolist()
    assert scores[0][0] != scores[0][1]
    assert len(Peaks.of(noisy).mz) == MAX_PEAKS  # none of them true


def test_ions_of_any_candidate_count_for_all() -> None:
    query = spectrum_of(CAFFEINE, 61.0106, 110.0713)  # C2H5S+, C5H8N3+
    molecules = [Molecule.parse(one) for one in (CAFFEINE, "CCSCC")]
    assert FragmentList.of(query, molecules[:1]).peaks.mz.tolist() == [110.0713]
    assert FragmentList.of(query, molecules[1:]).peaks.mz.tolist() == [61.0106]
    assert FragmentList.of(query, molecules).peaks.mz.tolist() == [61.0106, 110.0713]
    assert FragmentList.of(query, []).peaks.mz.tolist() == []


def test_formulas_may_be_those_of_other_molecules() -> None:
    query = spectrum_of(CAFFEINE, 61.0106, 110.0713)
    caffeine, sulfide = (Molecule.parse(one) for one in (CAFFEINE, "CCSCC"))
    found = FragmentList.of(query, [caffeine], [caffeine, sulfide])
    assert found.molecules == [caffeine]
    assert found.peaks.mz.tolist() == [61.0106, 110.0713]


def test_the_formula_of_what_cannot_be_broken_does_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    of, lost = OrderedGraph.of, Molecule.parse("CC(C)CSCC(C)O")

    def never_one(mol: Chem.Mol, binary: bytes) -> OrderedGraph:
        if binary == lost.binary:
            raise StructureError("it cannot be broken into fragments")
        return of(mol, binary)

    monkeypatch.setattr(OrderedGraph, "of", never_one)
    query = spectrum_of(CAFFEINE, 61.0106)
    isomers = [lost, Molecule.parse("CC(C)COCC(C)S")]
    assert FragmentList.of(query, isomers[:1]).peaks.mz.tolist() == []
    for order in (isomers, isomers[::-1]):
        assert FragmentList.of(query, order).peaks.mz.tolist() == [61.0106]


def test_labelled_isomers_are_told_apart_by_mass() -> None:
    query = spectrum_of(CAFFEINE, 16.0262)  # 13CH3+, whose mass is that of no part of ethanol
    molecules = [Molecule.parse(one) for one in ("CCO", "[13CH3]CO")]
    assert len(FragmentList.of(query, molecules[:1]).peaks.mz) == 0
    assert len(FragmentList.of(query, molecules).peaks.mz) == 1


def alone() -> list[np.ndarray]:
    scorer = standard_scorers()["positive"]
    return [scorer.scores(one.peaks, map(FragmentTable.of, one.molecules)) for one in lists()]


def test_each_molecule_is_broken_once(taken: list[str], broken: list[bytes]) -> None:
    wanted = alone()
    taken.clear()
    broken.clear()
    steps: list[tuple[int, int]] = []
    found = score_lists(standard_scorers(), lists(), 1, lambda *step: steps.append(step))
    for scores, of_query in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(scores, of_query)
    assert sorted(taken) == sorted(Molecule.parse(smiles).smiles for smiles in SMILES)
    assert len(broken) == len(set(broken)) == len(SMILES)
    assert steps == [(4, 4)]


def test_processes_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    n_started: list[int] = []

    def start(n: int, **_: object) -> ThreadPoolExecutor:
        n_started.append(n)
        return ThreadPoolExecutor(n)

    monkeypatch.setattr(workers, "ProcessPoolExecutor", start)
    monkeypatch.setattr(fragment_lists, "BATCH", 1)
    monkeypatch.setattr(fragment_lists, "WORTH_PROCESSES", 4)
    found = score_lists(standard_scorers(), lists(), 2)
    assert n_started == [2]
    for scores, of_query in zip(found, alone(), strict=True):
        np.testing.assert_array_equal(scores, of_query)


def test_an_ion_mode_without_a_scorer_has_zeros(broken: list[bytes]) -> None:
    scorers = {"negative": standard_scorers()["negative"]}
    found = score_lists(scorers, lists())
    assert [scores.tolist() for scores in found] == [[0.0] * len(chosen) for chosen in CHOSEN]
    assert not broken
    assert score_lists(scorers, []) == []


def test_queries_of_both_modes_and_without_peaks_share_a_molecule() -> None:
    mz = np.array([65.0389, 93.0335, 121.0284])
    queries = [
        Peaks.highest(mz, np.ones(3), 137.024, sign=-1),
        Peaks.highest(mz, np.ones(3), 139.039),
        Peaks.highest(mz[:0], np.ones(0), 139.039),
        Peaks.highest(mz[:2], np.ones(2), 137.024, sign=-1),
    ]
    molecules = [Molecule.parse(smiles) for smiles in ("OC(=O)c1ccccc1O", "O=C(O)c1cccc(O)c1")]
    found = score_lists(standard_scorers(), [FragmentList(peaks, molecules) for peaks in queries])
    for peaks, scores in zip(queries, found, strict=True):
        scorer = standard_scorers()[peaks.ion_mode]
        alone = scorer.scores(peaks, map(FragmentTable.of, molecules))
        np.testing.assert_array_equal(scores, alone)
    assert found[2].tolist() == [0.0, 0.0]
    assert len(set(found[0].tolist() + found[3].tolist())) == 4


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_what_was_broken_needs_no_molecule_again(
    n_jobs: int, tmp_path: Path, taken: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "ProcessPoolExecutor", lambda n, **_: ThreadPoolExecutor(n))
    monkeypatch.setattr(fragment_lists, "BATCH", 2)
    monkeypatch.setattr(fragment_lists, "WORTH_PROCESSES", 4)
    monkeypatch.setattr(entry_store, "FEWEST_ENTRIES", 1)
    wanted = alone()
    some = [FragmentList(one.peaks, one.molecules[:2]) for one in lists()[:2]]  # not the last one
    score_lists(standard_scorers(), some, n_jobs, cache=GraphCache(tmp_path))
    for expected in (["CCCCOC(=O)c1ccccc1"], []):
        taken.clear()
        found = score_lists(standard_scorers(), lists(), n_jobs, cache=GraphCache(tmp_path))
        assert taken == expected
        for scores, of_query in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(scores, of_query)


def test_what_cannot_be_broken_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_mol: Chem.Mol, _binary: bytes) -> OrderedGraph:
        raise StructureError("it cannot be broken into fragments: because")

    monkeypatch.setattr(OrderedGraph, "of", refused)
    with compiling(False), pytest.raises(StructureError, match="because"):
        score_lists(standard_scorers(), lists())
