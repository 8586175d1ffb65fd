from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from fragment_formulas import scores_of
from specvae_bench.fragments.fitting import (
    Example,
    FragmentFit,
    Pass,
    fit_scorer,
    fit_together,
    judge,
    mean_scorer,
    total_loss,
)
from specvae_bench.fragments.network import FragmentNetwork
from specvae_bench.fragments.rows import Batch

from specvae.annotation.evidence.fragment_peaks import Peaks
from specvae.annotation.evidence.fragment_score import FragmentScorer, standard_scorers
from specvae.errors import TrainingError
from specvae.molecules.fragments import FragmentTable

# Rings, charges of both signs, a label; then one with more atoms than a word has bits.
ISOBARS = ("COc1ccc(CC2NCCc3cc(O)ccc23)cc1", "C[N+](C)(C)CC(O)CC(=O)[O-]", "[2H]C([2H])OCC1CC1Br")
LONG = ("NCC(=O)" + "NCC(=O)" * 16 + "O", "CC(=O)O")
SMALL = FragmentFit(n_hidden=4, n_states=8, n_passes=2, batch_size=4, n_others=1)


def peaks(table: FragmentTable, sign: int, seed: int) -> Peaks:
    rng = np.random.default_rng(seed)
    mz = np.unique(np.round(rng.choice(table.masses, 12) + sign * 1.00728, 4))
    heights = rng.random(len(mz)) + 0.001
    return Peaks.highest(mz, heights, float(table.masses.max()) + sign * 1.00728, sign=sign)


def examples(n: int = 6) -> list[Example]:
    found = []
    for k in range(n):
        tables = [FragmentTable.of(f"C{'C' * k}{end}") for end in ("C(=O)OC", "OC(C)=O", "CC(=O)O")]
        spectra = [peaks(tables[0], 1, seed) for seed in range(3)]
        found.append(Example(spectra, [table.ordered for table in tables]))
    return found


def arrays_equal(one: FragmentScorer, other: FragmentScorer) -> bool:
    first, second = one.to_arrays(), other.to_arrays()
    return all(np.array_equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("with_surroundings", [True, False])
@pytest.mark.parametrize("sign", [1, -1])
def test_scores_and_gradients_are_those_of_the_formulas(sign: int, with_surroundings: bool) -> None:
    arrays = standard_scorers()["positive" if sign > 0 else "negative"].to_arrays()
    if not with_surroundings:
        arrays = {name: a for name, a in arrays.items() if not name.startswith("surroundings.")}
    network = FragmentNetwork.of_scorer(FragmentScorer.from_arrays(arrays))
    lists = []
    for written, n_spectra in ((ISOBARS, 2), (LONG, 1)):
        tables = [FragmentTable.of(smiles, max_fragments=300) for smiles in written]
        lists.append(([peaks(tables[0], sign, seed) for seed in range(n_spectra)], tables))
    total_loss(network, Batch.of(lists)).backward()  # type: ignore[no-untyped-call]
    found = {name: p.grad for name, p in network.named_parameters()}
    scores = network(Batch.of(lists))
    network.zero_grad()
    expected = [
        scores_of(network, tables, of_list) for queries, tables in lists for of_list in queries
    ]
    for one, other in zip(scores, expected, strict=True):
        np.testing.assert_allclose(one.detach(), other.detach(), atol=2e-5)
    sum(-torch.log_softmax(s, 0)[0] for s in expected).backward()  # type: ignore[union-attr]
    for name, parameter in network.named_parameters():
        gradient, wanted = found[name], parameter.grad
        assert gradient is not None
        assert wanted is not None
        assert float((gradient - wanted).abs().max()) <= 1e-4 * float(wanted.abs().max()), name


def test_a_fit_can_be_repeated_by_any_number_of_processes() -> None:
    first = fit_scorer(examples(), SMALL, seed=3)
    assert arrays_equal(first, fit_scorer(examples(), SMALL, seed=3, n_jobs=2))
    assert not arrays_equal(first, fit_scorer(examples(), SMALL, seed=4))


@pytest.mark.usefixtures("as_on_windows")
def test_a_fit_that_was_stopped_goes_on(tmp_path: Path) -> None:
    class StoppedError(Exception):
        pass

    def stop(_: Pass) -> None:
        raise StoppedError

    state = tmp_path / "state"
    both = {"positive": examples(), "negative": examples(5)}
    with pytest.raises(StoppedError):
        fit_together(both, SMALL, state=state, on_pass=stop)
    done: list[int] = []
    again = fit_together(both, SMALL, state=state, on_pass=lambda one: done.append(one.number))
    assert done == [2]
    whole = fit_together(both, SMALL, n_jobs=2)
    assert all(arrays_equal(again[mode], whole[mode]) for mode in both)
    with pytest.raises(TrainingError, match="state of a fit with other examples"):
        fit_together({**both, "negative": examples(4)}, SMALL, state=state)
    with pytest.raises(TrainingError, match="state of a fit with another seed"):
        fit_together(both, SMALL, state=state, seed=1)
    with pytest.raises(TrainingError, match="state of a fit with another start"):
        fit_together(both, SMALL, state=state, start=again)
    state.write_bytes(b"nothing")
    with pytest.raises(TrainingError, match="not the state of a fit"):
        fit_together(both, SMALL, state=state)


DESCRIPTION = ("centre", "spread", "hidden.", "surroundings.")


def test_ion_modes_that_learn_together_describe_structures_alike() -> None:
    both = {"positive": examples(), "negative": examples(5)}
    found = {mode: s.to_arrays() for mode, s in fit_together(both, SMALL).items()}
    alone = fit_scorer(examples(), SMALL).to_arrays()
    for name, array in found["positive"].items():
        same = np.array_equal(array, found["negative"][name])
        assert same == name.startswith(DESCRIPTION), name
        assert not np.array_equal(array, alone[name]) or name in ("centre", "spread"), name
    # With nothing left to learn, it is where the fit began that counts.
    slow = FragmentFit(n_passes=1, learning_rate=1e-9)
    start = fit_together(both, SMALL)
    again = fit_together(both, slow, start=start)
    for mode, scorer in start.items():
        for name, array in scorer.to_arrays().items():
            np.testing.assert_allclose(again[mode].to_arrays()[name], array, atol=1e-6)
    # Scores that were learned apart have no common description: that of the first is taken.
    apart = {"positive": start["positive"], "negative": fit_scorer(examples(5), SMALL, seed=2)}
    again = fit_together(both, slow, start=apart)
    for scorer in again.values():
        for name, array in scorer.to_arrays().items():
            np.testing.assert_allclose(array, start["positive"].to_arrays()[name], atol=1e-6)


def test_a_fit_begins_from_a_score() -> None:
    start = fit_scorer(examples(), SMALL)
    slow = FragmentFit(n_passes=1, learning_rate=1e-9)
    again = fit_scorer(examples(), slow, start=start)
    for name, array in again.to_arrays().items():
        np.testing.assert_allclose(array, start.to_arrays()[name], atol=1e-6)


def test_nothing_to_learn_from() -> None:
    molecule = FragmentTable.of("CCO").ordered
    query = Peaks.highest(np.array([31.0]), np.ones(1))
    for example in (Example([query], [molecule]), Example([], [molecule, molecule])):
        with pytest.raises(TrainingError, match="no compound to learn fragmentation from"):
            fit_scorer([example])


def test_the_mean_of_scores() -> None:
    one, other = (fit_scorer(examples(), SMALL, seed=seed) for seed in (0, 1))
    found = mean_scorer([one, other]).to_arrays()
    for name, array in found.items():
        np.testing.assert_allclose(
            array, (one.to_arrays()[name] + other.to_arrays()[name]) / 2, rtol=1e-6, atol=1e-7
        )
    with pytest.raises(TrainingError, match=r"no mean: direct\.bias|no mean: hidden\.bias"):
        mean_scorer([one, standard_scorers()["positive"]])


def test_a_score_is_judged_by_its_first_candidates() -> None:
    scorer = standard_scorers()["positive"]
    tables = [FragmentTable.of(smiles) for smiles in ("CC(=O)OCc1ccccc1", "COC(=O)Cc1ccccc1")]
    query = peaks(tables[0], 1, 0)
    scores = scorer.scores(query, tables)
    hits, nats = judge(scorer, [Example([query], [table.ordered for table in tables])])
    assert hits == float(scores[0] > scores[1])
    assert nats == pytest.approx(float(np.logaddexp(*scores) - scores[0]))
    # Of equal scores each is first as often.
    equal = [tables[0].ordered, tables[0].ordered]
    assert judge(scorer, [Example([query], equal)]) == pytest.approx((0.5, np.log(2)))


def test_a_score_is_learned_beside_what_else_is_known() -> None:
    """Where the rest decides, nothing is left to learn; else the softmax is of the sum."""
    given = examples(2)
    network = FragmentNetwork(4, 8)
    lists = [(e.spectra, [FragmentTable.of_graph(m) for m in e.molecules]) for e in given]
    scores = [each.detach() for each in network(Batch.of(lists))]
    beside = [torch.tensor([0.5, -0.25, 0.125])] * len(scores)
    loss = total_loss(network, Batch.of(lists), 0.5, beside)
    wanted = sum(-torch.log_softmax(0.5 * s + beside[0], 0)[0] for s in scores)
    torch.testing.assert_close(loss.detach(), wanted)
    known = [e._replace(beside=np.array([[30.0, 0.0, 0.0]] * 3, np.float32)) for e in given]
    losses: list[float] = []
    fit_together(
        {"positive": known}, SMALL, on_pass=lambda done: losses.extend(done.losses.values())
    )
    assert max(losses) < 1e-6
    scorer = standard_scorers()["positive"]
    assert judge(scorer, known, 1e-9) == pytest.approx((1.0, 0.0), abs=1e-6)
    assert judge(scorer, given)[1] > 0.1


def test_what_is_known_beside_goes_with_its_spectra_and_molecules() -> None:
    (example,) = examples(1)
    beside = np.arange(9, dtype=np.float32).reshape(3, 3)
    taken = example._replace(beside=beside).taking([2, 0], [0, 2])
    assert taken.beside is not None
    assert taken.beside.tolist() == [[6.0, 8.0], [0.0, 2.0]]
    assert [p is example.spectra[i] for p, i in zip(taken.spectra, (2, 0), strict=True)] == [
        True
    ] * 2
    assert taken.molecules[1] is example.molecules[2]
    assert example.taking([0], [0]).beside is None
