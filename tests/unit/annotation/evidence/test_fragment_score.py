from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from fragment_formulas import weights_of
from numpy.typing import NDArray
from rdkit import Chem
from specvae_bench.fragments.fitting import Example, FragmentFit, fit_scorer
from specvae_bench.fragments.network import FragmentNetwork
from specvae_bench.fragments.rows import Batch

from specvae.annotation.evidence import fragment_score
from specvae.annotation.evidence.fragment_peaks import (
    SHIFTS,
    Peaks,
    composition,
    has_subformula,
    match_peaks,
)
from specvae.annotation.evidence.fragment_score import (
    FragmentScorer,
    standard_scorers,
)
from specvae.annotation.evidence.ion_weights import Joined, Layers, add_weights
from specvae.annotation.evidence.likeliest_ions import FragmentIon, likeliest_ions
from specvae.annotation.evidence.surroundings import atom_features
from specvae.errors import CheckpointError
from specvae.masses import ELECTRON_MASS, formula_mass
from specvae.molecules.fragments import FragmentTable
from specvae.molecules.graph import ATOM_CLASSES, Graph
from specvae.spectra.spectrum import Spectrum

HYDROGEN = formula_mass("H")
DEMO_MOLECULES = Path(__file__).parents[4] / "data" / "demo_molecules.smi"


def ion(formula: str, sign: int = 1) -> float:
    """Return the m/z of an ion of this composition."""
    return formula_mass(formula) - sign * ELECTRON_MASS


def peaks(*mz: float, sign: int = 1, precursor_mz: float | None = None) -> Peaks:
    heights = np.linspace(1.0, 0.5, len(mz))
    return Peaks.highest(np.array(mz), heights, precursor_mz, sign=sign)


def likeliest(table: FragmentTable, query: Peaks) -> list[FragmentIon | None]:
    return likeliest_ions(table, query, standard_scorers()[query.ion_mode])


def simulated(table: FragmentTable) -> Peaks:
    """Return a spectrum of all that breaks off at one bond outside rings, the charge kept."""
    is_large = np.array([len(table.atom_indices(f)) > 2 for f in range(len(table))])
    broken = table.masses[(table.valences == 1) & is_large]
    mz = np.unique(np.round(broken - ELECTRON_MASS, 5))
    return peaks(*mz.tolist(), precursor_mz=float(table.masses[0]) + HYDROGEN)


ISOMERS = [
    ("CC(=O)OCc1ccccc1", "COC(=O)Cc1ccccc1"),
    ("CCC(=O)OCc1ccccc1", "CCOC(=O)Cc1ccccc1"),
    ("CCC(=O)NCc1ccccc1", "CCNC(=O)Cc1ccccc1"),
    ("CCOc1ccc(C=O)cc1", "COc1ccc(C(C)=O)cc1"),
    ("CCCCOC(C)=O", "COCCCC(C)=O"),
    ("CCN(CC)C(=O)CC", "CCCNC(=O)CCC"),
    ("NCCc1ccccc1O", "CNCc1ccccc1O"),
    ("CSCCC(N)C(=O)O", "CCSCC(N)C(=O)O"),
]


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    pairs = [[FragmentTable.of(smiles) for smiles in pair] for pair in ISOMERS]
    return [
        Example([simulated(a)], [a.ordered, b.ordered])
        for a, b in [*pairs, *(pair[::-1] for pair in pairs)]
    ]


@pytest.fixture(scope="module")
def scorer(examples: list[Example]) -> FragmentScorer:
    return fit_scorer(examples, FragmentFit(n_hidden=4, n_states=8, n_passes=8, batch_size=4))


def test_benzyl_cation_by_hand() -> None:
    table = FragmentTable.of("OCc1ccccc1")
    found = likeliest(table, peaks(ion("C6H7"), ion("C7H7"), ion("C7H7") + 0.01))
    assert found[2] is None
    tropylium = found[1]
    assert tropylium is not None
    assert tropylium.formula == "C7H7+"
    assert table.atom_indices(tropylium.fragment) == (1, 2, 3, 4, 5, 6, 7)
    assert tropylium.error == pytest.approx(0.0, abs=1e-6)
    assert tropylium.mz == pytest.approx(ion("C7H7"))
    assert tropylium.gain > 0.0


def test_negative_ions() -> None:
    table = FragmentTable.of("OC(=O)c1ccccc1")
    phenyl, whole = likeliest(table, peaks(ion("C6H5", -1), ion("C7H5O2", -1), sign=-1))
    assert phenyl is not None
    assert whole is not None
    assert (phenyl.formula, whole.formula) == ("C6H5-", "C7H5O2-")
    assert table.steps[whole.fragment] == 0


def test_hydrogens_have_their_limits() -> None:
    carbon_tetrachloride = FragmentTable.of("ClC(Cl)(Cl)Cl")
    # Trichloromethyl has no hydrogen to lose; one more than its open valence is the proton.
    mz = ion("CCl3") + HYDROGEN * np.arange(-1, 4)
    found = likeliest(carbon_tetrachloride, peaks(*mz.tolist()))
    assert [e is not None for e in found] == [False, True, True, True, False]


def test_tolerance_is_the_larger_of_both() -> None:
    heavy = ion("C3H4I3")  # of m/z 421: 10 ppm are 0.0042 Th
    for smiles, mz, width in (("CCO", ion("C2H7O"), 0.003), ("IC=C(I)CI", heavy, 10e-6 * heavy)):
        table = FragmentTable.of(smiles)
        for sign in (1, -1):
            assert len(match_peaks(table, peaks(mz + sign * 0.99 * width)).peak) == 1
            assert len(match_peaks(table, peaks(mz + sign * 1.01 * width)).peak) == 0


def test_part_of_the_formula_without_a_fragment() -> None:
    # The two ends of glycol ether cannot meet, though C, O and hydrogens are there.
    table = FragmentTable.of("FCCCCCCCCl")
    query = peaks(ion("FCl"), ion("C7H13F"), ion("C8H2F"))
    assert [e is not None for e in likeliest(table, query)] == [False, True, False]
    assert has_subformula(composition(table.graph), query).tolist() == [True, True, False]


def test_peaks_of_a_spectrum() -> None:
    spectrum = Spectrum(
        mz=np.array([50.0, 60.0, 70.0, 100.0, 101.0]),
        intensity=np.array([4.0, 0.0, 1.0, 2.0, 9.0]),
        query_id="q",
        precursor_mz=100.0,
        adduct="[M-H]-",
        ion_mode="negative",
    )
    found = Peaks.of(spectrum, max_peaks=2)
    assert found.mz.tolist() == [50.0, 100.0]
    assert found.intensity.tolist() == [1.0, 0.5]
    assert (found.precursor_mz, found.sign) == (100.0, -1)


def cuts_by_loops(
    arrays: dict[str, NDArray[np.float32]], graph: Graph
) -> list[NDArray[np.float32]]:
    """Return what each cut adds by its surroundings, bond by bond as the formulas stand."""
    learned = {name.removeprefix("surroundings."): array for name, array in arrays.items()}
    bonds = graph.bonds[:, :3].tolist()
    ends = [*((a, b, kind) for a, b, kind in bonds), *((b, a, kind) for a, b, kind in bonds)]
    states = [
        np.maximum(learned["atom.weight"] @ x + learned["atom.bias"], 0)
        for x in atom_features(graph)
    ]
    for n in "01":
        taken = [learned[f"own.{n}.weight"] @ h + learned[f"own.{n}.bias"] for h in states]
        for a, b, kind in ends:
            said = learned[f"message.{n}.weight"] @ states[b] + learned[f"bond.{n}.weight"][kind]
            taken[a] = taken[a] + np.maximum(said, 0)
        states = [h + np.maximum(t, 0) for h, t in zip(states, taken, strict=True)]
    rows = []
    for a, b, kind in bonds:
        for kept, lost in ((a, b), (b, a)):
            end = learned["kept.weight"] @ states[kept] + learned["kept.bias"]
            end = end + learned["lost.weight"] @ states[lost] + learned["cut.weight"][kind]
            rows.append(learned["output.weight"] @ np.maximum(end, 0))
    return rows


def by_loops(
    arrays: dict[str, NDArray[np.float32]], query: Peaks, table: FragmentTable
) -> tuple[float, list[float]]:
    """Return score and gains, ion by ion as the formulas stand."""
    weight = np.sqrt(query.intensity)
    weight /= weight.sum()
    relative = np.minimum(query.mz / query.precursor_mz, 1)
    place = 2 * (weight * relative).sum() - 1
    condition = [
        place,
        place**2,
        weight[query.mz > query.precursor_mz - 0.5].sum(),
        -(weight * np.log(weight)).sum() / 3,
        weight[query.mz < 120].sum(),
        query.mz[0] / 100 - 1,
        query.precursor_mz / 300 - 1,
        len(query.mz) / 60,
    ]
    total, explained = 0.0, np.zeros(len(query.mz))
    rows = cuts_by_loops(arrays, table.graph)
    n_hidden = len(arrays["hidden.bias"])
    for f, row in enumerate((table.descriptors() - arrays["centre"]) / arrays["spread"]):
        kept = [(int(table.masks[f, 0]) >> a) & 1 for a in range(len(table.graph.atoms))]
        added = np.zeros(n_hidden + len(SHIFTS))
        for bond, (a, b) in enumerate(table.graph.bonds[:, :2].tolist()):
            if kept[a] != kept[b]:
                added += rows[2 * bond + kept[b]]
        hidden = arrays["hidden.weight"] @ row + arrays["hidden.bias"] + added[:n_hidden]
        hidden = np.maximum(hidden + arrays["hidden_condition.weight"] @ condition, 0)
        u = arrays["direct.weight"] @ row + arrays["direct.bias"] + added[n_hidden:]
        u = u + arrays["output.weight"] @ hidden + arrays["shift_condition.weight"] @ condition
        for s, shift in enumerate(SHIFTS):
            gained = shift + query.sign
            if shift > table.valences[f] or table.n_hydrogens[f] + gained < 0:
                continue
            mz = table.masses[f] + gained * HYDROGEN - query.sign * ELECTRON_MASS
            exp_u = np.exp(12 * np.tanh(u[s] / 12))
            if mz > query.mz[0] - 0.5:
                total += exp_u
            for p, at in enumerate(query.mz):
                if abs(at - mz) <= max(0.003, 1e-5 * at):
                    explained[p] += exp_u
    known = has_subformula(composition(table.graph), query).astype(int)
    height = np.searchsorted([0.01, 0.05, 0.25], query.intensity)
    lift = arrays["background_condition.weight"] @ condition + arrays["background_condition.bias"]
    background = np.exp(arrays["background"][known, height] + lift[known])
    odds = np.log(explained + background) - arrays["share"] * np.log(total)
    weight = np.sqrt(query.intensity) * np.exp(
        arrays["peak_weight"][height, np.searchsorted([0.35, 0.7], query.mz / query.precursor_mz)]
    )
    weight /= weight.sum()
    number = np.exp(-(weight * np.log(weight)).sum())
    score = (weight * odds).sum() * np.sqrt(number) * np.exp(arrays["scale"])
    return float(score), np.log1p(explained / background).tolist()


# The third has more atoms than a word has bits; others have charges, labels, a single atom.
MOLECULES = (
    "COc1ccc(CC2NCCc3cc(O)c(OC)cc23)cc1",
    "O=[N+]([O-])c1ccc(S(=O)(=O)NC(C)P(C)(C)=O)cc1Br",
    "NCC(=O)" + "NCC(=O)" * 16 + "O",
    "C[N+](C)(C)CCO",
    "[2H]C([2H])([2H])CCOC1CC1",
    "O",
)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("smiles", MOLECULES)
def test_one_pass_gives_the_scores_of_the_network(smiles: str, sign: int) -> None:
    scorer = standard_scorers()["positive" if sign > 0 else "negative"]
    network = FragmentNetwork.of_scorer(scorer)
    table = FragmentTable.of(smiles)
    chosen = np.unique(table.masses[np.random.default_rng(0).permutation(len(table))[:30]])
    query = peaks(*(chosen + 1e-4).tolist(), sign=sign, precursor_mz=float(chosen[-1]) + 1.0)
    with torch.inference_mode():
        expected = network(Batch.of([([query], [table])]))[0].numpy()
    assert scorer.scores(query, [table]) == pytest.approx(expected, abs=1e-4)
    found = match_peaks(table, query)
    weights, _ = scorer.weigh(table, query, found)
    with torch.inference_mode():
        by_network = weights_of(network, table, query).numpy()
    assert weights == pytest.approx(by_network[found.fragment, found.shift], rel=1e-4)


@pytest.mark.parametrize("sign", [1, -1])
def test_structures_of_all_kinds_have_the_scores_of_the_network(sign: int) -> None:
    scorer = standard_scorers()["positive" if sign > 0 else "negative"]
    network = FragmentNetwork.of_scorer(scorer)
    lines = DEMO_MOLECULES.read_text(encoding="utf-8").splitlines()
    written = [line.split()[0] for line in lines if line.strip() and line[0] != "#"][::3]
    tables = [FragmentTable.of(smiles, max_fragments=400) for smiles in [*written, *MOLECULES]]
    rng = np.random.default_rng(0)
    masses = np.concatenate([rng.choice(table.masses, 2) for table in tables])
    query = peaks(*np.unique(rng.choice(masses, 50)).tolist(), sign=sign, precursor_mz=400.0)
    with torch.inference_mode():
        (expected,) = network(Batch.of([([query], tables)]))
    assert scorer.scores(query, tables) == pytest.approx(expected.numpy(), abs=1.5e-4)


@pytest.mark.parametrize("sign", [1, -1])
def test_scores_and_gains_are_those_of_the_formulas(scorer: FragmentScorer, sign: int) -> None:
    table = FragmentTable.of("CC(=O)OCc1ccccc1")
    query = peaks(43.0178, ion("C6H5", sign), ion("C7H7", sign), 100.0, 151.0754, sign=sign)
    score, gains = by_loops(scorer.to_arrays(), query, table)
    assert scorer.scores(query, [table])[0] == pytest.approx(score, abs=2e-4)
    found = likeliest_ions(table, query, scorer)
    assert [0.0 if e is None else e.gain for e in found] == pytest.approx(gains, rel=1e-4)
    assert found[2] is not None
    assert found[3] is None


def test_atoms_are_described_by_what_they_are_and_what_is_around_them() -> None:
    graph = FragmentTable.of("C[N+](C)(C)CC1CCC1Br").graph
    of_element = {6: 0, 7: 1, 35: 7}
    expected = []
    for a, (number, hydrogens, kind, charge) in enumerate(graph.atoms.tolist()):
        n_neighbours = int((graph.bonds[:, :2] == a).sum())
        columns = {kind, 18 + hydrogens, 22 + of_element[number], 35 + n_neighbours}
        expected.append(columns | ({40} if charge > 0 else set()))
    features = atom_features(graph)
    assert len(ATOM_CLASSES) == 18
    assert features.shape == (len(expected), 43)
    assert features[:, 42].sum() == 4
    for row, columns in zip(features[:, :42], expected, strict=True):
        assert set(np.flatnonzero(row).tolist()) == columns


def test_weights_without_surroundings_are_still_read(scorer: FragmentScorer) -> None:
    earlier = {
        name: array
        for name, array in scorer.to_arrays().items()
        if not name.startswith("surroundings.")
    }
    table = FragmentTable.of("CC(=O)OCc1ccccc1")
    without = FragmentScorer.from_arrays(earlier).scores(simulated(table), [table])
    nothing = {
        name: np.zeros_like(array) if name == "surroundings.output.weight" else array
        for name, array in scorer.to_arrays().items()
    }
    assert without == FragmentScorer.from_arrays(nothing).scores(simulated(table), [table])
    assert without != scorer.scores(simulated(table), [table])


def test_the_likeliest_fragment_explains(scorer: FragmentScorer) -> None:
    table = FragmentTable.of("CC(=O)OCc1ccccc1")
    query = simulated(table)
    found = match_peaks(table, query)
    weights, _ = scorer.weigh(table, query, found)
    for p, explanation in enumerate(likeliest_ions(table, query, scorer)):
        assert explanation is not None
        best = np.flatnonzero(found.peak == p)[np.argmax(weights[found.peak == p])]
        assert explanation.fragment == found.fragment[best]


def test_it_learns_what_breaks(scorer: FragmentScorer, examples: list[Example]) -> None:
    margins = []
    for example in examples:
        tables = [FragmentTable.of_graph(molecule) for molecule in example.molecules]
        truth, other = scorer.scores(example.spectra[0], tables)
        margins.append(truth - other)
    assert np.mean(np.array(margins) > 0) >= 0.8
    # A pair that it has not seen: an ester and its reverse.
    pair = [FragmentTable.of(s) for s in ("CCCC(=O)OCc1ccccc1", "CCCOC(=O)Cc1ccccc1")]
    for truth in (0, 1):
        assert np.argmax(scorer.scores(simulated(pair[truth]), pair)) == truth


def test_the_same_structure_has_the_same_score(scorer: FragmentScorer) -> None:
    mol = Chem.MolFromSmiles("COc1ccc(CC2NCCc3cc(O)c(OC)cc23)cc1")
    orders = [np.random.default_rng(seed).permutation(22).tolist() for seed in range(4)]
    tables = [FragmentTable.of(Chem.RenumberAtoms(mol, order)) for order in orders]
    tables += [FragmentTable.of(f"COc1ccc(C[{x}H]2NCCc3cc(O)c(OC)cc23)cc1") for x in ("C@", "C@@")]
    for query in (simulated(tables[0]), simulated(FragmentTable.of("CC(=O)OCc1ccccc1"))):
        assert len(set(scorer.scores(query, tables).tolist())) == 1


def test_scores_do_not_depend_on_the_company(scorer: FragmentScorer) -> None:
    tables = [FragmentTable.of("C" * n + "O") for n in range(1, 11)] * 8
    query = simulated(tables[9])
    together = scorer.scores(query, tables)
    alone = [scorer.scores(query, [table])[0] for table in tables[:10]]
    assert together == pytest.approx(alone * 8, abs=2e-4)
    assert scorer.scores(query, []).shape == (0,)


def test_tables_are_taken_as_they_are_scored(
    scorer: FragmentScorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = FragmentTable.of("CC(=O)OCc1ccccc1")
    scored: list[int] = []
    waiting: list[int] = []

    def made() -> Iterator[FragmentTable]:
        for n in range(200):
            waiting.append(n - len(scored))
            yield table

    def counted(
        table: FragmentTable, layers: Layers, queries: Joined
    ) -> tuple[NDArray[np.float64], list[NDArray[np.float64]]]:
        scored.append(1)
        return add_weights(table, layers, queries)

    monkeypatch.setattr(fragment_score, "add_weights", counted)
    assert len(scorer.scores(simulated(table), made())) == 200
    # However long the list, all that have been asked for have been scored.
    assert max(waiting) == 0


def test_no_peak_tells_nothing(scorer: FragmentScorer) -> None:
    tables = [FragmentTable.of(smiles) for smiles in ISOMERS[0]]
    nothing = peaks(500.0, precursor_mz=151.0)
    assert scorer.scores(nothing, tables).tolist() == [0.0, 0.0]
    assert likeliest_ions(tables[0], nothing, scorer) == []


def test_arrays_come_back(scorer: FragmentScorer, examples: list[Example]) -> None:
    again = FragmentScorer.from_arrays(scorer.to_arrays())
    tables = [FragmentTable.of_graph(molecule) for molecule in examples[0].molecules]
    before = scorer.scores(examples[0].spectra[0], tables)
    assert np.array_equal(before, again.scores(examples[0].spectra[0], tables))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"background": np.zeros((2, 3), np.float32)}, r"background has shape \(2, 3\)"),
        ({"else": np.zeros(1, np.float32)}, "else has shape .* no such array"),
        ({"hidden.bias": None}, "has shape none, wanted"),
    ],
)
def test_foreign_arrays_are_refused(
    scorer: FragmentScorer, change: dict[str, NDArray[np.float32] | None], complaint: str
) -> None:
    merged = {**scorer.to_arrays(), **change}
    with pytest.raises(CheckpointError, match=complaint):
        FragmentScorer.from_arrays({k: v for k, v in merged.items() if v is not None})


def test_fragments_of_a_doubly_charged_ion_may_lie_above_it() -> None:
    query = Spectrum(
        mz=np.array([72.08, 150.1]),
        intensity=np.array([1.0, 2.0]),
        query_id="q",
        precursor_mz=98.0475,
        adduct="[M+2H]2+",
    )
    peaks = Peaks.of(query)
    np.testing.assert_array_equal(peaks.mz, query.mz)
    assert peaks.precursor_mz == pytest.approx(195.0877, abs=1e-3)
