"""What is made of MNIST's digits: digits in colour, and sentences that can be read back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from image_files import shapes
from shared_data import shared
from specvae_bench.paper import loaders, text_tasks
from specvae_bench.paper.captions import EOS, PAD
from specvae_bench.paper.colour import coloured, resampled
from specvae_bench.paper.experiments import mnist_captions
from specvae_bench.paper.images import ImageSet, read_mnist
from specvae_bench.paper.oracles import DigitNet, Oracle, OracleCard, OracleSettings
from specvae_bench.paper.sentences import (
    ATTRIBUTES,
    TEMPLATES,
    VOCABULARY,
    DescribedDigits,
    described,
    measured,
    moved,
    read_back,
    to_sentences,
)
from specvae_bench.paper.text_tasks import SentenceTask

from specvae.vae.model import MultimodalVAE
from specvae.vae.networks import NetworkConfig


@pytest.fixture(scope="module")
def blocks() -> ImageSet:
    """700 pictures of ten kinds: more than are drawn or measured at once."""
    labels = (np.arange(700) % 10).astype(np.uint8)
    pixels = torch.from_numpy(shapes(labels, 28, 0))[:, None]
    return ImageSet(pixels, torch.from_numpy(labels.astype(np.int64)))


def bar(thickness: int, slant: int = 0) -> torch.Tensor:
    """Return a bright bar from row 4 to 23; `slant` pixels to the right for each one upwards."""
    picture = torch.zeros(1, 1, 28, 28, dtype=torch.uint8)
    for row in range(4, 24):
        left = 14 - thickness // 2 + slant * (13 - row) // 2
        picture[0, 0, row, max(0, left) : left + thickness] = 255
    return picture


def test_digits_in_colour_follow_from_the_seed_alone(blocks: ImageSet) -> None:
    first, again, other = coloured(blocks, 3), coloured(blocks, 3), coloured(blocks, 4)
    assert first.pixels.shape == (700, 3, 32, 32)
    assert first.pixels.dtype == torch.uint8
    assert torch.equal(first.labels, blocks.labels)
    assert first.sha256 == again.sha256 != other.sha256
    # The same on every machine, or oracles and results of two could not be compared.
    assert first.sha256.startswith("496c605a")


def test_a_digit_stands_out_from_its_ground() -> None:
    black = torch.zeros(200, 1, 28, 28, dtype=torch.uint8)
    labels = torch.zeros(200, dtype=torch.int64)
    full = torch.full((200, 1, 28, 28), 255, dtype=torch.uint8)
    ground = coloured(ImageSet(black, labels), 0).floats()
    digit = coloured(ImageSet(full, labels), 0).floats()
    # The same draws: what differs in the middle is the digit's colour.
    contrast = (ground - digit)[:, :, 16, 16].abs().amax(1)
    assert contrast.median() > 0.3
    assert contrast.min() > 0.1
    # Colours, not shades of grey.
    assert ground.std(dim=1).mean() > 0.1


def test_resampling_is_bilinear() -> None:
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (1, 28, 28), dtype=np.uint8)
    step, shift = np.array([80]), np.array([3])
    found = resampled(grey, step, np.array([64]), shift, np.array([0]))[0]
    framed = np.pad(grey[0] / 255.0, 1)
    for row, column in ((2, 5), (10, 10), (20, 30), (31, 31), (0, 0)):
        y = (row - 15.5) + 13.5 + 1.0
        x = np.floor(64 * ((column - 15.5 - 3) * 80 / 64 + 13.5)) / 64 + 1.0
        value = 0.0
        for j in range(30):
            for i in range(30):
                value += framed[j, i] * max(0.0, 1.0 - abs(y - j)) * max(0.0, 1.0 - abs(x - i))
        assert found[row, column] == pytest.approx(value, abs=1e-6)


def test_no_digit_is_paired_with_itself() -> None:
    labels = torch.arange(40) % 4
    first, second = loaders.others_of_class(labels, labels)
    assert torch.equal(labels[first], labels[second])
    assert not (first == second).any()
    assert len(first) > 40
    many = torch.arange(700) % 10
    first, second = loaders.others_of_class(many, many)
    assert len(first) == 5 * 256  # whole batches of some 1,400 pairs
    assert torch.equal(many[first], many[second])
    assert not (first == second).any()


def test_measures_are_what_their_names_say() -> None:
    thin, thick = (measured(bar(n))["thickness"].item() for n in (1, 5))
    # Width times length over half the outline, of a bar 20 pixels long.
    assert thin == pytest.approx(2 * 20 / (2 * (20 + 1)))
    assert thick == pytest.approx(2 * 100 / (2 * (20 + 5)))
    leaning = measured(torch.cat([bar(3, -1), bar(3), bar(3, 1)]))["slant"]
    assert leaning[1] == 0.0
    assert leaning[2] == pytest.approx(0.5, abs=0.05)
    assert leaning[0] == pytest.approx(-0.5, abs=0.05)
    picture = torch.zeros(2, 1, 28, 28)
    picture[0, 0, 10, 20] = picture[0, 0, 10, 24] = 1.0
    found = measured(picture)
    assert found["column"][0] == 22 - 13.5
    assert found["row"][0] == 10 - 13.5
    assert found["size"][0] == 4.0
    assert all(value[1] == 0.0 for value in found.values())  # black


def test_measures_do_not_depend_on_the_type_of_the_pixels(blocks: ImageSet) -> None:
    whole, parts = measured(blocks.pixels), measured(blocks.floats())
    for name, value in whole.items():
        assert torch.equal(value, parts[name])


def test_digits_move_to_nine_places(blocks: ImageSet) -> None:
    place = moved(blocks, 0)
    assert place.sha256 == moved(blocks, 0).sha256 != moved(blocks, 1).sha256
    dot = ImageSet(torch.zeros(900, 1, 28, 28, dtype=torch.uint8), torch.zeros(900).long())
    dot.pixels[:, 0, 13, 13] = 200
    values = described(moved(dot, 0).pixels, dot.labels)
    for name in ("column", "row"):
        column = values[:, list(ATTRIBUTES).index(name)]
        assert torch.bincount(column, minlength=3).min() > 250
    assert (moved(dot, 0).pixels.flatten(1).sum(1) == 200).all()


def test_a_sentence_says_what_is_read_from_it() -> None:
    sizes = [len(each.words) for each in ATTRIBUTES.values()]
    grid = torch.cartesian_prod(*(torch.arange(size) for size in sizes))  # all there is to say
    tokens = to_sentences(grid, 0)
    assert torch.equal(read_back(torch.from_numpy(tokens)), grid)
    assert (tokens != to_sentences(grid, 1)).any()
    assert np.array_equal(tokens, to_sentences(grid, 0))
    # All words are in use, and those of the attributes have one meaning each.
    words = [word for each in ATTRIBUTES.values() for synonyms in each.words for word in synonyms]
    assert len(words) == len(set(words))
    assert set(np.unique(tokens)) == set(range(1, len(VOCABULARY)))
    assert 50 <= len(VOCABULARY) <= 80
    assert ((tokens == EOS).sum(1) == 1).all()
    texts = VOCABULARY.decode(tokens[:50])
    assert any(text.startswith("someone wrote a ") for text in texts)
    assert all("{" not in text for text in texts)
    assert len(TEMPLATES) > 3


def test_broken_sentences_say_nothing_or_in_part() -> None:
    def values(text: str) -> list[int]:
        tokens = torch.full((1, 32), PAD)
        for place, word in enumerate(text.split()):
            tokens[0, place] = VOCABULARY.words.index(word)
        return read_back(tokens)[0].tolist()

    assert values("") == [-1] * 6
    assert values("a bold heavy seven") == [7, 2, -1, -1, -1, -1]
    assert values("a thin bold seven") == [7, -1, -1, -1, -1, -1]  # thin, or bold?
    assert values("top left <eos> seven") == [-1, -1, -1, -1, 0, 0]
    assert values("seven one upright") == [-1, -1, 1, -1, -1, -1]


def test_real_digits_are_described_in_thirds() -> None:
    train, _ = read_mnist(shared("mnist"))
    digits = DescribedDigits.about(train.take(slice(6000)), 0)
    for column, name in enumerate(ATTRIBUTES):
        shares = torch.bincount(digits.values[:, column]) / len(digits)
        assert shares.min() > 0.6 / len(shares), name


def test_what_a_model_draws_is_read_and_measured(
    blocks: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, text = mnist_captions(len(VOCABULARY)).modalities
    layers = NetworkConfig((6,))
    small = (
        replace(image, encoder=layers, decoder=layers),
        replace(text, encoder=NetworkConfig((6,), embedding=3), decoder=NetworkConfig((32,))),
    )
    experiment = replace(mnist_captions(len(VOCABULARY)), modalities=small, n_latent=2)
    folds = DescribedDigits.about(blocks.take(slice(40)), 0), DescribedDigits.about(blocks, 1)
    card = OracleCard(OracleSettings("digit-net"), (1, 28, 28), "", "", 1.0, 0.0)
    task = SentenceTask(experiment, *folds, Oracle(DigitNet(1, 28), card), n_prior=50)
    model = MultimodalVAE(experiment.model_config("svae")).eval()
    generator = torch.Generator().manual_seed(0)
    right = folds[1].images.labels.clone()
    monkeypatch.setattr(Oracle, "predict", lambda _, pixels: right[: len(pixels)])
    figures = task.measure(model, "test", generator)
    # An oracle that knows the digit: every sentence about the pairs themselves is true.
    assert figures["ground-truth"] == figures["ground-truth-digit"] == 1.0
    # Then all decoded digits are right, and a share of the other attributes.
    assert figures["text->image-digit"] == 1.0
    assert 1 / 6 <= figures["text->image"] < 1.0
    right[:] = (right + 1) % 10
    figures = task.measure(model, "test", generator)
    assert figures["ground-truth"] == pytest.approx(5 / 6)
    assert set(task.measure(model, "validation", generator)) == {"joint", "joint-digit"}
    # A pair that is known to be the same is found to be.
    same = {"image": folds[1].images.floats().flatten(1), "text": folds[1].tokens}
    monkeypatch.setattr(text_tasks, "drawn", lambda *_: same)
    right[:] = folds[1].images.labels
    assert task.measure(model, "validation", generator) == {"joint": 1.0, "joint-digit": 1.0}
    assert task.describe()["data"] == {
        "train": {"n": 40, "sha256": folds[0].sha256},
        "test": {"n": 700, "sha256": folds[1].sha256},
    }
