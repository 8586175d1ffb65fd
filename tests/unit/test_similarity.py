from __future__ import annotations

import numpy as np
import pytest
from shard_examples import write_run

import specvae
from specvae.errors import InputError


@pytest.fixture(autouse=True, scope="module")
def _matchms() -> None:
    # Here, not above, as it takes seconds, and each worker reads all modules of tests.
    pytest.importorskip("matchms", reason="matchms is not installed")


def spectra() -> list[object]:
    import matchms

    rng = np.random.default_rng(0)
    return [
        matchms.Spectrum(
            mz=np.sort(rng.uniform(50.0, 190.0, 5)),
            intensities=rng.uniform(0.1, 1.0, 5),
            metadata={"precursor_mz": 195.0877, "ionmode": "positive", "adduct": "[M+H]+"},
        )
        for _ in range(4)
    ]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> specvae.Model:
    folder = write_run(tmp_path_factory.mktemp("similarity"))
    return specvae.load(folder / "m.safetensors")


@pytest.mark.parametrize("name", ["latent", "cosine"])
def test_measures_are_usable_in_matchms(model: specvae.Model, name: str) -> None:
    import matchms

    from specvae.similarity import AnalogueSimilarity, LatentSimilarity

    measure = LatentSimilarity(model) if name == "latent" else AnalogueSimilarity()
    given = spectra()
    matrix = measure.matrix(given, given[:3])
    assert matrix.shape == (4, 3)
    assert np.diag(matrix) == pytest.approx([1.0] * 3, abs=1e-6)
    assert float(measure.pair(given[0], given[1])) == pytest.approx(matrix[0, 1], abs=1e-6)
    assert measure.pair(given[1], given[0]) == pytest.approx(matrix[0, 1], abs=1e-6)
    scores = matchms.calculate_scores(given, given[:3], measure)
    assert np.asarray(scores.to_array()) == pytest.approx(matrix)


def test_the_latent_measure_is_the_cosine_of_what_embed_gives(model: specvae.Model) -> None:
    from specvae.similarity import LatentSimilarity

    given = spectra()
    points = np.asarray(model.embed(given), np.float64)
    expected = points[0] @ points[1] / np.linalg.norm(points[0]) / np.linalg.norm(points[1])
    assert float(LatentSimilarity(model).pair(given[0], given[1])) == pytest.approx(expected)


def test_unlike_spectra_are_at_zero() -> None:
    import matchms

    from specvae.similarity import AnalogueSimilarity

    one, other = (
        matchms.Spectrum(mz=np.array(mz), intensities=np.ones(2), metadata={"precursor_mz": 300.0})
        for mz in ([60.0, 70.0], [101.3, 150.9])
    )
    assert float(AnalogueSimilarity().pair(one, other)) == 0.0


def test_a_measure_wants_a_model() -> None:
    from specvae.similarity import LatentSimilarity

    with pytest.raises(
        InputError, match=r"model: found .model., wanted what specvae\.load returns"
    ):
        LatentSimilarity("model")  # type: ignore[arg-type]
