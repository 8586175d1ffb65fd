"""Captions and features are read as they stand in the files, or refused in one line."""

import io
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from caption_files import ATTRIBUTES, write_captions
from numpy.typing import ArrayLike
from specvae_bench.paper import text_tasks
from specvae_bench.paper.captions import (
    EOS,
    EXC,
    N_TOKENS,
    PAD,
    TEST_CAPTIONS,
    TEST_FEATURES,
    TRAIN_CAPTIONS,
    TRAIN_FEATURES,
    TRAIN_PICTURES,
    Vocabulary,
    read_captions,
    split_words,
)
from specvae_bench.paper.cca import CaptionMetric
from specvae_bench.paper.experiments import cub_captions

from specvae.errors import InputError
from specvae.vae.model import MultimodalVAE


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_captions(tmp_path / "cub", n_train=12, n_test=7)


def test_a_folder_comes_back_as_it_was_written(folder: Path) -> None:
    captions = read_captions(folder)
    train, val, test = captions.train, captions.val, captions.test

    written = np.load(folder / TEST_FEATURES)
    np.testing.assert_array_equal(train.features, np.load(folder / TRAIN_FEATURES))
    np.testing.assert_array_equal(np.concatenate([val.features, test.features]), written)
    assert train.features.dtype == np.float32
    assert (len(train), len(val), len(test)) == (120, 30, 40)  # 12, 3 and 4 images

    for fold in (train, val, test):
        assert fold.tokens.shape == (len(fold), N_TOKENS)
        assert fold.tokens.dtype == fold.image_of.dtype == np.int64
        assert fold.image_of.tolist() == [i // 10 for i in range(len(fold))]

    lines = (folder / TEST_CAPTIONS).read_text(encoding="utf-8").splitlines()
    known = set(captions.vocabulary.words)
    wanted = [
        " ".join(word if word in known else "<exc>" for word in split_words(line)) for line in lines
    ]
    both = np.concatenate([val.tokens, test.tokens])
    assert captions.vocabulary.decode(both) == wanted


def test_the_vocabulary_knows_training_captions_only(folder: Path) -> None:
    path = folder / TEST_CAPTIONS
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(["ostrich"] * len(lines)), encoding="utf-8")
    captions = read_captions(folder)
    assert "ostrich" not in captions.vocabulary.words
    assert captions.test.tokens[:, 0].tolist() == [EXC] * len(captions.test)
    assert set(captions.vocabulary.words) & set(ATTRIBUTES["place"])


def test_words_are_lower_case_with_punctuation_apart() -> None:
    text = "The bird's red-brown crown, 3 Bars (white) é."
    words = ["the", "bird's", "red-brown", "crown", ",", "3", "bars", "(", "white", ")", "é", "."]
    assert split_words(text) == words
    assert split_words(" \t") == []
    assert split_words("<eos>") == ["<", "eos", ">"]  # A caption cannot end itself.


def test_rare_words_have_no_index_of_their_own() -> None:
    lines = ["b a a c", "b c a", "b d d"]
    assert Vocabulary.from_captions(lines, 3).words == ("<exc>", "<pad>", "<eos>", "b", "a")
    assert Vocabulary.from_captions(lines, 2).words[3:] == ("b", "a", "c", "d")
    # As in the study, more than three times by default.
    assert Vocabulary.from_captions(["c b b b b", "a a a"]).words[3:] == ("b",)


def test_captions_are_cut_and_filled_to_32_tokens() -> None:
    vocabulary = Vocabulary(("<exc>", "<pad>", "<eos>", "a", "b"))
    rows = vocabulary.encode(["b x a", "", "a " * 31, "b " * 40])
    assert rows[0].tolist() == [4, EXC, 3, EOS] + [PAD] * 28
    assert rows[1].tolist() == [EOS] + [PAD] * 31
    assert rows[2].tolist() == [3] * 31 + [EOS]
    assert rows[3].tolist() == [4] * 31 + [EOS]
    assert vocabulary.decode(rows[:2]) == ["b <exc> a", ""]


def test_generated_tokens_are_decoded_up_to_the_first_end() -> None:
    vocabulary = Vocabulary(("<exc>", "<pad>", "<eos>", "a", "b"))
    row = np.full((2, N_TOKENS), 3)
    row[0, 2:6] = PAD, 4, EOS, 4
    assert vocabulary.decode(row) == ["a a b", " ".join("a" * 32)]


def test_vocabularies_of_other_words_have_other_digests() -> None:
    vocabulary = Vocabulary.from_captions(["é é é é b b b b ' ' ' '"])
    assert Vocabulary.from_captions(["é é é é b b b b"]).digest != vocabulary.digest


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("<pad>", "<exc>", "<eos>"), "the first words are"),
        (("<exc>", "<pad>", "<eos>", "a", "a"), "a word stands twice"),
    ],
)
def test_what_is_no_vocabulary_is_refused(words: tuple[str, ...], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Vocabulary(words)


def test_the_digest_depends_on_every_array(folder: Path) -> None:
    train = read_captions(folder).train
    assert train.digest == read_captions(folder).train.digest
    digests = {train.digest}
    for name in ("tokens", "features", "image_of"):
        again = read_captions(folder).train
        getattr(again, name)[-1] += 1
        digests.add(again.digest)
    assert len(digests) == 4


def _remove(path: Path) -> None:
    path.unlink()


def _save(array: ArrayLike) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        np.save(path, array)

    return damage


def _write(content: bytes) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        path.write_bytes(content)

    return damage


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def _archive(path: Path) -> None:
    stream = io.BytesIO()
    np.savez(stream, np.zeros((12, 2048), np.float32))
    path.write_bytes(stream.getvalue())


def _not_a_number(path: Path) -> None:
    features = np.load(path)
    features[4, 7] = np.nan
    np.save(path, features)


def _one_caption_less(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(lines[1:]), encoding="utf-8")


def _latin1_in_line_3(path: Path) -> None:
    lines = path.read_bytes().split(b"\n")
    lines[2] = "gefärbt".encode("latin-1")
    path.write_bytes(b"\n".join(lines))


@pytest.mark.parametrize(
    ("name", "damage", "complaint"),
    [
        (TRAIN_CAPTIONS, _remove, ": cannot be read: No such file or directory"),
        (TEST_FEATURES, _remove, ": cannot be read: No such file or directory"),
        (TRAIN_CAPTIONS, _one_caption_less, ": 119 captions, wanted 120: 10 for each of the 12"),
        (TRAIN_CAPTIONS, _write(b""), ": 1 captions, wanted 120: 10 for each of the 12 images"),
        (TEST_CAPTIONS, _latin1_in_line_3, ":3: not UTF-8 text: "),
        (TRAIN_FEATURES, _write(b""), ": truncated, or no .npy array of numbers"),
        (TRAIN_FEATURES, _write(b"red,green\n1,2\n"), ": truncated, or no .npy array of numbers"),
        (TRAIN_FEATURES, _cut, ": truncated, or no .npy array of numbers"),
        (
            TRAIN_FEATURES,
            _save(np.array([{}], dtype=object)),
            ": truncated, or no .npy array of numbers",
        ),
        (TRAIN_FEATURES, _archive, ": an archive of arrays, wanted a single .npy array"),
        (TRAIN_FEATURES, _save(np.zeros((12, 3))), r": float64 array of shape \(12, 3\), wanted"),
        (TRAIN_FEATURES, _save(np.zeros((0, 2048))), r": float64 array of shape \(0, 2048\)"),
        (TRAIN_FEATURES, _save(np.zeros((12, 2048), int)), ": int64 array of shape .*, wanted fl"),
        (TRAIN_FEATURES, _not_a_number, ": image 5 has a feature that is no number"),
        (TEST_FEATURES, _save(np.zeros((7, 2048)) + 1e39), ": image 1 has a feature that is no n"),
        (TRAIN_CAPTIONS, _write(b"\n".join([b"%d" % i for i in range(120)])), ": no word occurs 4"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
def test_a_bad_folder_is_refused_in_one_line(
    folder: Path, name: str, damage: Callable[[Path], None], complaint: str
) -> None:
    damage(folder / name)
    with pytest.raises(InputError, match=complaint) as caught:
        read_captions(folder)
    assert str(caught.value).startswith(str(folder / name))
    assert "\n" not in str(caught.value)


def test_one_image_cannot_be_both_validation_and_test(tmp_path: Path) -> None:
    folder = write_captions(tmp_path, n_train=12, n_test=1)
    with pytest.raises(InputError, match=r"1 image, wanted at least 2"):
        read_captions(folder)
    write_captions(tmp_path, n_train=12, n_test=2)
    captions = read_captions(tmp_path)
    assert (len(captions.val), len(captions.test)) == (10, 10)
    assert not np.array_equal(captions.val.features, captions.test.features)


def test_decoded_features_are_shown_by_the_nearest_training_image(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    written = rng.integers(0, 256, size=(12, 4, 5, 3), dtype=np.uint8)
    assert read_captions(folder).pictures is None
    np.save(folder / TRAIN_PICTURES, written)
    captions = read_captions(folder)
    vectors = rng.normal(size=(len(captions.vocabulary), 8))
    metric = CaptionMetric.fit(
        captions.train, captions.vocabulary, n_components=2, word_vectors=vectors
    )
    experiment = cub_captions(len(captions.vocabulary))
    task = text_tasks.CaptionTask(experiment, captions, metric)
    features = captions.train.features
    moved = torch.from_numpy(features[[7, 2]]) + 0.01
    assert task.nearest(moved).tolist() == [7, 2]
    few = text_tasks.CaptionTask(experiment, captions.first(30), metric)  # of three images
    assert set(few.nearest(torch.from_numpy(features)).tolist()) == {0, 1, 2}
    texts: dict[str, Mapping[str, list[str]]] = {}
    images: dict[str, Mapping[str, torch.Tensor]] = {}
    monkeypatch.setattr(
        text_tasks, "draw_captions", lambda path, lines: texts.update({path.stem: lines})
    )
    monkeypatch.setattr(
        text_tasks, "draw_reconstructions", lambda path, rows: images.update({path.stem: rows})
    )
    model = MultimodalVAE(experiment.model_config("svae")).eval()
    task.draw(model, folder, torch.Generator().manual_seed(0))
    assert images.keys() == {"images", "sampled-images"}
    assert list(images["images"]) == ["original", "from both", "from image", "from text"]
    n_shown = 8
    test = captions.test
    rows = torch.linspace(0, len(test) - 1, n_shown).long().numpy()
    distances = np.linalg.norm(
        test.features[test.image_of[rows]][:, None].astype(float) - features[None], axis=2
    )
    wanted = written[distances.argmin(1)].transpose(0, 3, 1, 2) / 255
    np.testing.assert_allclose(images["images"]["original"].numpy(), wanted, atol=1e-6)
    known = set(captions.vocabulary.decode(captions.train.tokens[::10]))
    assert set(texts["samples"]["nearest image"]) <= known
    assert set(texts["reconstructions"]["nearest image, from text"]) <= known
    np.save(folder / TRAIN_PICTURES, written[1:])
    with pytest.raises(
        InputError, match=r"uint8 array of shape \(11, 4, 5, 3\), wanted uint8 \(12"
    ):
        read_captions(folder)


def test_windows_line_ends_and_a_byte_order_mark_change_nothing(folder: Path) -> None:
    plain = read_captions(folder)
    path = folder / TRAIN_CAPTIONS
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    again = read_captions(folder)
    assert again.vocabulary == plain.vocabulary
    assert again.train.digest == plain.train.digest
