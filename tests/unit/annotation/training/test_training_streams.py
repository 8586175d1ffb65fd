from __future__ import annotations

import numpy as np
import pytest
import torch
from rdkit import Chem

from specvae.annotation.library.library import Library
from specvae.annotation.library.tensors import FINGERPRINT, SPECTRUM
from specvae.annotation.training.streams import (
    choose_pairs,
    frequent_columns,
    training_data,
    training_means,
)
from specvae.molecules.fingerprint import get_layout
from specvae.molecules.molecule import Molecule
from specvae.spectra.binning import BinLayout
from specvae.spectra.sparse import SparseMatrix
from specvae.vae.data import UnpairedPool

BINS = BinLayout(precursor=True)


def small_library() -> tuple[Library, np.ndarray]:
    """Return six spectra of three compounds and the compounds' packed fingerprints."""
    first = BINS.n_bins
    columns = np.array([0, first, 1, first, 1, first + 1, 2, first, 2, first + 1, 3, first + 2])
    spectra = SparseMatrix(
        np.arange(0, 13, 2), columns.astype(np.int32), np.arange(12, dtype=np.float32),
        BINS.n_columns,
    )  # fmt: skip
    methane = Chem.MolFromSmiles("C")
    molecules = tuple(
        Molecule(methane, inchikey=f"{i:014d}", exact_mass=16.0 + i) for i in range(3)
    )
    packed = np.zeros((3, 512), np.uint8)
    packed[:, 0] = [0b001, 0b011, 0b100]
    return Library(spectra, np.array([0, 0, 0, 1, 1, 2]), molecules), packed


def test_columns_and_means_are_those_of_the_training_rows() -> None:
    library, packed = small_library()
    rows = np.array([0, 1, 2, 3])
    bins = frequent_columns(BINS, library, rows, 2)
    # Row 4 would have made the second column frequent; bins stay however rare they are.
    assert bins.context == (BINS.n_bins,)
    assert bins.n_columns == BINS.n_bins + 1
    means = training_means(library, rows, packed, BINS, get_layout("morgan4096"))
    assert means[SPECTRUM].shape == (BINS.n_bins,)
    assert means[SPECTRUM][:4].tolist() == [0.0, (2.0 + 4.0) / 4, 6.0 / 4, 0.0]
    # Over compounds 0 and 1, not over their four spectra; compound 2 is not among them.
    assert means[FINGERPRINT][:4].tolist() == [1.0, 0.5, 0.0, 0.0]


@pytest.mark.parametrize(
    ("supervision", "pool", "n_paired", "n_pool"),
    [
        (1.0, "rest", 5, 0),
        (0.4, "rest", 2, 3),
        (0.4, "all", 2, 5),
        (0.4, "none", 2, 0),
        (0.01, "rest", 1, 4),
    ],
)
@pytest.mark.parametrize("n_more", [0, 2])
def test_supervision_splits_the_training_pairs(
    supervision: float, pool: UnpairedPool, n_paired: int, n_pool: int, n_more: int
) -> None:
    library, packed = small_library()
    more_spectra = SparseMatrix(
        np.arange(n_more + 1), np.full(n_more, 9, np.int32), np.ones(n_more, np.float32),
        BINS.n_columns,
    )  # fmt: skip
    more_packed = np.full((n_more, 512), 255, np.uint8)
    rows = np.array([0, 1, 2, 3, 4])
    chosen = choose_pairs(rows, supervision, pool, 0)
    data = training_data(
        library,
        chosen.paired,
        packed,
        get_layout("morgan4096"),
        spectra=chosen.pool,
        structures=chosen.pool,
        unpaired_spectra=more_spectra,
        unpaired_packed=more_packed,
    )
    assert data.paired is not None
    assert len(data.paired) == n_paired
    sizes = {name: len(source) for name, source in data.unpaired.items()}
    wanted = n_pool + n_more
    assert sizes == ({SPECTRUM: wanted, FINGERPRINT: wanted} if wanted else {})
    # Pairs belong together, and none is of row 5, which is in no training row.
    batch = data.paired.batch(torch.arange(n_paired))
    bits = batch[FINGERPRINT]
    assert isinstance(bits, torch.Tensor)
    of_pair = {(tuple(row[:3].tolist())) for row in bits}
    assert of_pair <= {(1.0, 0.0, 0.0), (1.0, 1.0, 0.0)}
    assert bits.shape == (n_paired, 4096)
    if n_more:
        last = data.unpaired[FINGERPRINT].batch(torch.tensor([wanted - 1]))[FINGERPRINT]
        assert isinstance(last, torch.Tensor)
        assert last.sum() == 4096


def test_much_measured_compounds_are_held_back() -> None:
    library, packed = small_library()
    weights = {}
    for balance in (0.0, 0.5, 1.0):
        data = training_data(
            library,
            np.arange(6),
            packed,
            get_layout("morgan4096"),
            compound_balance=balance,
        )
        assert data.paired is not None
        weights[balance] = data.paired.weights
    assert weights[0.0] is None
    for balance in (0.5, 1.0):
        found = weights[balance]
        assert found is not None
        np.testing.assert_allclose(found, np.array([3, 3, 3, 2, 2, 1.0]) ** -balance)


def test_a_higher_share_has_all_pairs_of_a_lower_one_and_none_sees_more() -> None:
    rows = np.arange(10, 110)
    few, many = (choose_pairs(rows, share, "rest", 3) for share in (0.1, 0.3))
    assert set(few.paired) < set(many.paired)
    assert len(few.paired) == 10
    np.testing.assert_array_equal(few.seen, rows)
    assert not set(few.paired) & set(few.pool)
    np.testing.assert_array_equal(choose_pairs(rows, 0.1, "none", 3).seen, few.paired)
    assert set(choose_pairs(rows, 0.1, "none", 4).paired) != set(few.paired)
