"""The correlation of captions and images against closed forms and made-up birds."""

import json
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from caption_files import write_captions
from numpy.typing import NDArray
from specvae_bench.paper.captions import (
    EOS,
    EXC,
    N_TOKENS,
    PAD,
    Captions,
    Vocabulary,
    read_captions,
)
from specvae_bench.paper.cca import (
    RIDGE,
    CaptionMetric,
    fit_cca,
    sif_means,
    sif_weights,
    train_word_vectors,
)

from specvae.errors import CheckpointError, ConfigError, InputError

Array = NDArray[np.float64]


def views(rho: Array, n: int, d_x: int, d_y: int, seed: int = 0) -> tuple[Array, Array]:
    """Return centred views (n, d_x), (n, d_y) whose sample canonical correlations are `rho`."""
    rng = np.random.default_rng(seed)
    base = rng.normal(size=(n, d_x + d_y))
    q = np.linalg.qr(base - base.mean(axis=0))[0]
    x, y = q[:, :d_x], q[:, d_x:].copy()
    k = len(rho)
    y[:, :k] = x[:, :k] * rho + y[:, :k] * np.sqrt(1 - rho**2)
    return x, y


def mean_cosine(x: Array, y: Array, fit: tuple[Array, ...]) -> float:
    u, v = (x - fit[0]) @ fit[2], (y - fit[1]) @ fit[3]
    lengths = np.linalg.norm(u, axis=1) * np.linalg.norm(v, axis=1)
    return float(((u * v).sum(axis=1) / lengths).mean())


RHO = np.array([0.9, 0.6, 0.3])


def test_known_correlations_are_found() -> None:
    x, y = views(RHO, 500, 6, 4)
    fit = fit_cca(x, y, np.arange(500), 4)
    np.testing.assert_allclose(fit[4], [*RHO, 0.0], atol=1e-9)
    np.testing.assert_allclose((fit[2] ** 2).sum(0) + (fit[3] ** 2).sum(0), np.ones(4))
    u, v = x @ fit[2], y @ fit[3]
    variances = np.diag(u.var(axis=0, ddof=1))
    np.testing.assert_allclose(u.T @ u / 499, variances, atol=1e-6)
    np.testing.assert_allclose(v.T @ v / 499, variances, atol=1e-6)
    np.testing.assert_allclose(u.T @ v / 499, variances * [*RHO, 0.0], atol=1e-6)


def test_rotations_and_shifts_of_a_view_change_nothing_and_other_maps_no_correlation() -> None:
    rng = np.random.default_rng(1)
    x, y = views(RHO, 400, 6, 4)
    mapped_x = x @ rng.normal(size=(6, 6)) * 50 + 3.0
    mapped_y = y @ rng.normal(size=(4, 4)) - 7.0
    pairs = np.arange(400)
    plain, mapped = fit_cca(x, y, pairs, 3), fit_cca(mapped_x, mapped_y, pairs, 3)
    np.testing.assert_allclose(mapped[4], plain[4], atol=1e-8)
    turned_x, turned_y = x @ np.linalg.qr(rng.normal(size=(6, 6)))[0] + 3.0, y - 7.0
    turned = fit_cca(turned_x, turned_y, pairs, 3)
    assert mean_cosine(turned_x, turned_y, turned) == pytest.approx(
        mean_cosine(x, y, plain), abs=1e-6
    )


def test_it_solves_the_generalised_eigenproblem() -> None:
    """The published evaluation, worked out from A v = l B v: directions, lengths and cosines."""
    linalg = pytest.importorskip("scipy.linalg")
    rng = np.random.default_rng(2)
    x = rng.normal(size=(300, 8))
    y = x[:, :5] @ rng.normal(size=(5, 6)) + rng.normal(size=(300, 6))
    x_mean, y_mean, w_x, w_y, correlations = fit_cca(x, y, np.arange(300), 4)
    cov = np.cov(np.hstack([x, y]).T)
    a, b = cov.copy(), cov.copy()
    a[:8, :8], a[8:, 8:] = 0.0, 0.0
    b[:8, 8:], b[8:, :8] = 0.0, 0.0
    # The general solver gives eigenvectors of length 1; that for symmetric matrices would not.
    values, vectors = linalg.eig(a + RIDGE * np.eye(14), b + RIDGE * np.eye(14))
    best = values.real.argsort()[::-1][:4]
    np.testing.assert_allclose(correlations, values.real[best], rtol=1e-9)
    theirs, ours = vectors.real[:, best], np.vstack([w_x, w_y])
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs), rtol=1e-6)
    wanted = mean_cosine(x, y, (x_mean, y_mean, theirs[:8], theirs[8:]))
    found = mean_cosine(x, y, (x_mean, y_mean, w_x, w_y))
    assert found == pytest.approx(wanted, abs=1e-9)
    # Directions of unit variance, as other programs give them, have other cosines.
    scale = (x @ w_x).std(axis=0)
    assert abs(mean_cosine(x, y, (x_mean, y_mean, w_x / scale, w_y / scale)) - wanted) > 0.005
    np.testing.assert_allclose([x_mean[3], y_mean[2]], [x[:, 3].mean(), y[:, 2].mean()])


def test_unit_variance_directions_are_those_of_scikit_learn() -> None:
    decomposition = pytest.importorskip("sklearn.cross_decomposition")
    x, y = views(RHO, 300, 5, 4)
    _, _, w_x, w_y, _ = fit_cca(x, y, np.arange(300), 3)
    peer = decomposition.CCA(n_components=3, scale=False, max_iter=5000, tol=1e-12).fit(x, y)
    for ours, theirs in zip((x @ w_x, y @ w_y), peer.transform(x, y), strict=True):
        found = ours / np.linalg.norm(ours, axis=0)
        wanted = theirs / np.linalg.norm(theirs, axis=0)
        np.testing.assert_allclose(np.abs((found * wanted).sum(axis=0)), np.ones(3), atol=1e-5)


def test_pairs_that_share_an_image_count_each() -> None:
    rng = np.random.default_rng(3)
    images = rng.normal(size=(60, 5))
    image_of = rng.integers(60, size=400)
    y = images[image_of, :4] + rng.normal(size=(400, 4))
    shared = fit_cca(images, y, image_of, 3)
    copied = fit_cca(images[image_of], y, np.arange(400), 3)
    for found, wanted in zip(shared, copied, strict=True):
        np.testing.assert_allclose(np.abs(found), np.abs(wanted), atol=1e-10)


def test_independent_views_correlate_on_no_other_pairs() -> None:
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(2000, 20)), rng.normal(size=(2000, 15))
    fit = fit_cca(x[:1000], y[:1000], np.arange(1000), 10)
    assert mean_cosine(x[:1000], y[:1000], fit) > 0.05  # What a fit makes of noise.
    assert abs(mean_cosine(x[1000:], y[1000:], fit)) < 0.03  # 3 standard errors


def test_columns_that_depend_on_others_are_no_direction() -> None:
    x, y = views(RHO, 200, 6, 4)
    x_more = np.hstack([x, x @ np.random.default_rng(5).normal(size=(6, 30)), np.ones((200, 2))])
    plain, wider = fit_cca(x, y, np.arange(200), 3), fit_cca(x_more, y, np.arange(200), 3)
    np.testing.assert_allclose(wider[4], plain[4], atol=1e-8)
    # The directions are other vectors then, of other lengths, but see the same in the images.
    seen = [(x @ plain[2]).T, ((x_more - wider[0]) @ wider[2]).T]
    found, wanted = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in seen)
    np.testing.assert_allclose(np.abs((found * wanted).sum(axis=1)), np.ones(3), atol=1e-6)


@pytest.mark.parametrize(("n_x", "view"), [(30, "image features"), (300, "caption vectors")])
def test_too_few_pairs_are_refused(n_x: int, view: str) -> None:
    rng = np.random.default_rng(6)
    x, y = rng.normal(size=(n_x, 80)), rng.normal(size=(300, 60 if n_x == 30 else 35))
    with pytest.raises(InputError, match=f"too few training pairs for 40 .*: the {view} of {n_x} "):
        fit_cca(x, y, np.arange(300) % n_x, 40)


def tokens_of(*rows: list[int]) -> NDArray[np.int64]:
    tokens = np.full((len(rows), N_TOKENS), PAD, dtype=np.int64)
    for row, words in zip(tokens, rows, strict=True):
        row[: len(words)] = words
    return tokens


def test_sif_by_hand() -> None:
    tokens = tokens_of([3, 3, 4, EOS], [3, EXC, PAD, 4, EOS, 3])
    weights = sif_weights(tokens, 6)
    # Of 7 words 4 are word 3, 2 are word 4 and one is rare; word 5 does not occur.
    frequencies = np.array([1, 4, 2, 0]) / 7
    np.testing.assert_allclose(weights[[0, 3, 4, 5]], 1e-3 / (1e-3 + frequencies), rtol=1e-12)
    np.testing.assert_array_equal(weights[[PAD, EOS]], 0.0)
    vectors = np.array([[-1, -1], [0, 0], [1, 1], [1, 0], [0, 2], [5, 5]], dtype=float)
    means = sif_means(tokens, vectors, weights)
    # <eos> counts as a token, and so does padding before it; the word behind it does not.
    first = [2 * weights[3] / 4, 2 * weights[4] / 4]
    second = [(weights[3] - weights[EXC]) / 5, (2 * weights[4] - weights[EXC]) / 5]
    np.testing.assert_allclose(means, [first, second], rtol=1e-12)
    others = sif_means(tokens_of([EOS, 3], [EXC, EXC]), vectors, weights)
    np.testing.assert_allclose(others, [[0, 0], 2 * [-2 * weights[EXC] / 32]], rtol=1e-12)


@pytest.fixture(scope="module")
def captions(tmp_path_factory: pytest.TempPathFactory) -> Captions:
    return read_captions(write_captions(tmp_path_factory.mktemp("cub"), n_train=80, n_test=40))


@pytest.fixture(scope="module")
def metric(captions: Captions) -> CaptionMetric:
    vectors = np.random.default_rng(7).normal(size=(len(captions.vocabulary), 60))
    return CaptionMetric.fit(captions.train, captions.vocabulary, word_vectors=vectors)


def test_the_common_component_is_removed(captions: Captions, metric: CaptionMetric) -> None:
    train = captions.train
    means = sif_means(train.tokens, metric.word_vectors, metric.word_weights)
    top = np.linalg.svd(means - means.mean(axis=0), full_matrices=False)[2][0]
    assert abs(top @ metric.common) == pytest.approx(1.0, abs=1e-9)
    embedded = metric.embed(captions.test.tokens)
    other = sif_means(captions.test.tokens, metric.word_vectors, metric.word_weights)
    np.testing.assert_allclose(embedded, other - np.outer(other @ top, top), atol=1e-12)


def test_pairs_correlate_and_shuffled_pairs_do_not(
    captions: Captions, metric: CaptionMetric
) -> None:
    test = captions.test
    features = test.features[test.image_of]
    shuffled = np.random.default_rng(8).permutation(len(test))
    matched = metric.correlation(features, test.tokens)
    cosines = metric.cosines(features, test.tokens)
    assert matched == pytest.approx(cosines.mean(), abs=1e-15)
    assert np.abs(cosines).max() <= 1 + 1e-12
    assert matched > 0.5
    assert abs(metric.correlation(features, test.tokens[shuffled])) < 0.2
    assert metric.correlations.shape == (40,)
    assert (np.diff(metric.correlations) <= 0).all()


def test_the_formula(captions: Captions, metric: CaptionMetric) -> None:
    x, tokens = captions.test.features[:3], captions.test.tokens[[0, 10, 20]]
    u = (x.astype(float) - metric.image_mean) @ metric.image_projection
    v = (metric.embed(tokens) - metric.text_mean) @ metric.text_projection
    wanted = [float(a @ b / np.sqrt((a @ a) * (b @ b))) for a, b in zip(u, v, strict=True)]
    np.testing.assert_allclose(metric.cosines(x, tokens), wanted, rtol=1e-9)


def test_a_projection_that_is_nothing_has_cosine_0(
    captions: Captions, metric: CaptionMetric
) -> None:
    features = np.stack([metric.image_mean, captions.test.features[0].astype(float)])
    cosines = metric.cosines(features, captions.test.tokens[:2])
    assert cosines[0] == 0.0
    assert cosines[1] != 0.0


def test_a_stored_metric_gives_equal_numbers(
    captions: Captions, metric: CaptionMetric, tmp_path: Path
) -> None:
    metric.save(tmp_path / "metric.safetensors")
    again = CaptionMetric.load(tmp_path / "metric.safetensors")
    assert again.origin == metric.origin
    test = captions.test
    features = test.features[test.image_of]
    assert again.correlation(features, test.tokens) == metric.correlation(features, test.tokens)
    np.testing.assert_array_equal(again.correlations, metric.correlations)


def test_a_metric_knows_what_it_was_fitted_on(captions: Captions, metric: CaptionMetric) -> None:
    metric.require_fitted_on(captions.train, captions.vocabulary)
    with pytest.raises(CheckpointError, match="fitted on other captions or images"):
        metric.require_fitted_on(captions.test, captions.vocabulary)
    words = Vocabulary(
        tuple(f"{word}s" if i > EOS else word for i, word in enumerate(captions.vocabulary.words))
    )
    with pytest.raises(CheckpointError, match="fitted on other captions or images"):
        metric.require_fitted_on(captions.train, words)


def rewrite(path: Path, old: str, new: str) -> None:
    """Replace a text in the table of a safetensors file."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    table = content[8 : 8 + length].decode().replace(old, new)
    assert table.rstrip() != content[8 : 8 + length].decode().rstrip()
    json.loads(table)
    path.write_bytes(struct.pack("<Q", len(table)) + table.encode() + content[8 + length :])


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("specvae_bench", "another", "no caption metric"),
        ("caption-metric 2", "caption-metric 9", "format 'caption-metric 9', this program reads"),
        ("train_sha256", "trained_on", "no caption metric"),
        ('"common"', '"mean"', "array common is missing or of another kind"),
        ('"shape":[60]', '"shape":[60,1]', "is missing or of another kind"),
        ('"shape":[60,40]', '"shape":[40,60]', "array text_projection has shape"),
        ('"shape":[2048]', '"shape":[2047]', "arrays cannot be read: "),
    ],
)
def test_a_file_that_is_no_metric_is_refused(
    metric: CaptionMetric, tmp_path: Path, old: str, new: str, complaint: str
) -> None:
    path = tmp_path / "metric.safetensors"
    metric.save(path)
    rewrite(path, old, new)
    with pytest.raises(CheckpointError, match=complaint) as caught:
        CaptionMetric.load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_missing_or_truncated_file_is_refused(metric: CaptionMetric, tmp_path: Path) -> None:
    path = tmp_path / "metric.safetensors"
    with pytest.raises(CheckpointError, match="no such file"):
        CaptionMetric.load(path)
    metric.save(path)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(CheckpointError, match="truncated"):
        CaptionMetric.load(path)


def test_word_vectors_of_the_wrong_number_are_a_programming_error(captions: Captions) -> None:
    with pytest.raises(ValueError, match="word vectors of shape"):
        CaptionMetric.fit(captions.train, captions.vocabulary, word_vectors=np.ones((3, 60)))


def test_training_word_vectors_without_the_library_says_so(
    captions: Captions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gensim", None)
    monkeypatch.setitem(sys.modules, "gensim.models", None)
    with pytest.raises(ConfigError, match="gensim"):
        CaptionMetric.fit(captions.train, captions.vocabulary)


ANIMALS = ["otter", "finch", "badger"]
METALS = ["zinc", "copper", "lead"]


def stories(n: int = 3000) -> list[str]:
    rng = np.random.default_rng(9)
    lines = []
    for i in range(n):
        animal, metal = rng.choice(ANIMALS), rng.choice(METALS)
        lines.append(f"hungry {animal} sleeps under mossy" if i % 2 else f"melt {metal} into shiny")
    return lines


def test_word_vectors_are_equal_by_seed_and_near_by_context() -> None:
    pytest.importorskip("gensim")
    lines = stories()
    vocabulary = Vocabulary.from_captions(lines)
    tokens = vocabulary.encode(lines)
    vectors = train_word_vectors(tokens, vocabulary, seed=1)
    np.testing.assert_array_equal(train_word_vectors(tokens, vocabulary, seed=1), vectors)
    assert not np.array_equal(train_word_vectors(tokens, vocabulary, seed=2), vectors)
    assert vectors.shape == (len(vocabulary), 300)
    assert np.isfinite(vectors).all()
    np.testing.assert_array_equal(vectors[: EOS + 1], 0.0)

    unit = {
        word: vectors[vocabulary.words.index(word)]
        / np.linalg.norm(vectors[vocabulary.words.index(word)])
        for word in ANIMALS + METALS
    }
    within = [unit[a] @ unit[b] for group in (ANIMALS, METALS) for a in group for b in group]
    across = [unit[a] @ unit[b] for a in ANIMALS for b in METALS]
    assert min(within) > max(across)


def test_a_metric_of_trained_word_vectors(captions: Captions) -> None:
    pytest.importorskip("gensim")
    metric = CaptionMetric.fit(captions.train, captions.vocabulary, seed=3)
    test = captions.test
    assert metric.correlation(test.features[test.image_of], test.tokens) > 0.5
    assert "gensim" in metric.origin.word_vectors
    assert metric.text_projection.shape == (300, 40)
