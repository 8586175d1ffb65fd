"""The experiments with sentences: what they train on and what they measure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from specvae.vae.data import GreyLevels, Table, TensorSource
from specvae.vae.model import MultimodalVAE
from specvae_bench.paper.captions import Captions, CaptionSet
from specvae_bench.paper.cca import CaptionMetric
from specvae_bench.paper.experiments import IMAGE, TEXT, Experiment
from specvae_bench.paper.oracles import Oracle
from specvae_bench.paper.pictures import (
    draw_captions,
    draw_reconstructions,
    draw_with_texts,
)
from specvae_bench.paper.sentences import VOCABULARY, DescribedDigits, described, read_back
from specvae_bench.paper.tasks import Fold, Task, decoded, drawn, first_of_each


class SentenceTask(Task):
    """Digits and sentences about them: whether one says what the other shows.

    Joint coherence is the share of attributes in which the sentence and the picture of a draw from
    the prior agree, ``image->text`` the share in which a sentence decoded from one code of a test
    image is right, ``text->image`` the share that a picture decoded from a test sentence has;
    ``ground-truth`` that of the test pairs themselves. What ends in ``-digit`` is of the digit
    alone, which an oracle names; the other attributes are measured. What a sentence does not say,
    or says in two ways, counts as wrong.

    Parameters
    ----------
    experiment
        With modalities ``image`` and ``text``.
    train, test
        Digits with their sentences.
    oracle
        Classifier of these digits.
    n_prior
        Draws from the prior.
    """

    criterion = "joint"

    def __init__(
        self,
        experiment: Experiment,
        train: DescribedDigits,
        test: DescribedDigits,
        oracle: Oracle,
        n_prior: int = 2000,
    ) -> None:
        self.experiment = experiment
        self.oracle = oracle
        self._train, self._test, self._n_prior = train, test, n_prior
        self.tables = self._tables_of(train)

    @staticmethod
    def _tables_of(digits: DescribedDigits) -> dict[str, Table]:
        return {IMAGE: GreyLevels(digits.images.pixels.flatten(1)), TEXT: digits.tokens}

    def describe(self) -> dict[str, object]:
        """Return sizes and digests of the data and the oracle's card, as JSON values."""
        folds = {"train": self._train, "test": self._test}
        return {
            "data": {name: {"n": len(fold), "sha256": fold.sha256} for name, fold in folds.items()},
            "vocabulary": {"n_words": len(VOCABULARY), "sha256": VOCABULARY.digest},
            "oracles": {IMAGE: self.oracle.card.to_json()},
        }

    def measure(
        self, model: MultimodalVAE, fold: Fold, generator: torch.Generator
    ) -> dict[str, float]:
        """Return joint coherence; on the test fold also cross-coherence and the ground truth."""
        # The joint figures come last: on other draws than those that picked the best epoch.
        figures: dict[str, float] = {}
        if fold == "test":
            truth, tables = self._test.values, self._tables_of(self._test)
            text = decoded(model, {IMAGE: tables[IMAGE]}, (TEXT,), generator)[TEXT]
            figures |= _agreement("image->text", read_back(text), truth)
            image = decoded(model, {TEXT: tables[TEXT]}, (IMAGE,), generator)[IMAGE]
            figures |= _agreement("text->image", self._seen(image), truth)
            shown = self._seen(self._test.images.floats())
            figures |= _agreement("ground-truth", shown, read_back(self._test.tokens))
        samples = drawn(model, self._n_prior, (IMAGE, TEXT), generator)
        joint = _agreement("joint", read_back(samples[TEXT]), self._seen(samples[IMAGE]))
        return {**joint, **figures}

    def _seen(self, images: Tensor) -> Tensor:
        pixels = _squares(images)
        return described(pixels, self.oracle.predict(pixels))

    def draw(self, model: MultimodalVAE, folder: Path, generator: torch.Generator) -> None:
        """Write the pictures with their sentences: one of each digit, and draws from the prior."""
        chosen = self._test.take(first_of_each(self._test.images.labels))
        tables = self._tables_of(chosen)
        blocks = {"original": (chosen.images.floats(), VOCABULARY.decode(chosen.tokens.numpy()))}
        for label, given in (("both", (IMAGE, TEXT)), ("image", (IMAGE,)), ("text", (TEXT,))):
            made = decoded(model, {n: tables[n] for n in given}, (IMAGE, TEXT), generator)
            blocks[f"from {label}"] = self._shown(made)
        draw_with_texts(folder / "reconstructions.png", blocks)
        samples = drawn(model, 24, (IMAGE, TEXT), generator)
        draw_with_texts(folder / "samples.png", {"drawn": self._shown(samples)})

    @staticmethod
    def _shown(made: Mapping[str, Tensor]) -> tuple[Tensor, list[str]]:
        return _squares(made[IMAGE]), VOCABULARY.decode(made[TEXT].cpu().numpy())


def _squares(images: Tensor) -> Tensor:
    """Return flat or square images of MNIST's size as (n, 1, 28, 28)."""
    return images.reshape(len(images), 1, 28, 28)


def _agreement(name: str, found: Tensor, wanted: Tensor) -> dict[str, float]:
    """Return the share of all attributes that agree, and of the digit, which is the first."""
    same = (found == wanted).double()
    return {name: float(same.mean()), f"{name}-digit": float(same[:, 0].mean())}


class CaptionTask(Task):
    """Birds: image features and captions, judged by canonical correlation.

    Joint coherence is the mean correlation of 1,000 draws from the prior; ``image->text`` that of
    the test images' features with captions decoded from one code each, ``text->image`` that of
    features decoded from the test captions with these captions; ``ground-truth`` that of the
    test pairs themselves, above which nothing is to be expected.

    Parameters
    ----------
    experiment
        With modalities ``image`` and ``text``.
    captions
        All folds and the vocabulary.
    metric
        Fitted on the training fold.
    n_prior
        Draws from the prior.
    """

    criterion = "joint"

    def __init__(
        self, experiment: Experiment, captions: Captions, metric: CaptionMetric, n_prior: int = 1000
    ) -> None:
        self.experiment = experiment
        self._captions, self._metric, self._n_prior = captions, metric, n_prior
        self.tables, self.index = self._fold(captions.train)

    @staticmethod
    def _fold(captions: CaptionSet) -> tuple[dict[str, Table], dict[str, Tensor]]:
        tables: dict[str, Table] = {
            IMAGE: torch.from_numpy(captions.features),
            TEXT: torch.from_numpy(captions.tokens),
        }
        return tables, {
            IMAGE: torch.from_numpy(captions.image_of),
            TEXT: torch.arange(len(captions)),
        }

    def describe(self) -> dict[str, object]:
        """Return sizes and digests of the data and the metric's origin, as JSON values."""
        captions = self._captions
        folds = {"train": captions.train, "validation": captions.val, "test": captions.test}
        return {
            "data": {name: {"n": len(fold), "sha256": fold.digest} for name, fold in folds.items()},
            "vocabulary": {
                "n_words": len(captions.vocabulary),
                "sha256": captions.vocabulary.digest,
            },
            "metric": asdict(self._metric.origin),
        }

    def measure(
        self, model: MultimodalVAE, fold: Fold, generator: torch.Generator
    ) -> dict[str, float]:
        """Return joint coherence; on the test fold also cross-coherence and the ground truth."""
        # The joint figure comes last: on other draws than those that picked the best epoch.
        crossed = {} if fold == "validation" else self._crossed(model, generator)
        samples = drawn(model, self._n_prior, (IMAGE, TEXT), generator)
        return {"joint": self._correlation(samples[IMAGE], samples[TEXT]), **crossed}

    def _crossed(self, model: MultimodalVAE, generator: torch.Generator) -> dict[str, float]:
        figures = {}
        tables, index = self._fold(self._captions.test)
        pairs = TensorSource(tables, index).batch(torch.arange(len(self._captions.test)))
        features, tokens = cast(Tensor, pairs[IMAGE]), cast(Tensor, pairs[TEXT])
        for given, target in ((IMAGE, TEXT), (TEXT, IMAGE)):
            made = decoded(
                model, {given: tables[given]}, (target,), generator, {given: index[given]}
            )
            figures[f"{given}->{target}"] = (
                self._correlation(features, made[TEXT])
                if target == TEXT
                else self._correlation(made[IMAGE], tokens)
            )
        figures["ground-truth"] = self._correlation(features, tokens)
        return figures

    def _correlation(self, features: Tensor, tokens: Tensor) -> float:
        return self._metric.correlation(features.cpu().numpy(), tokens.cpu().numpy())

    def draw(self, model: MultimodalVAE, folder: Path, generator: torch.Generator) -> None:
        """Write captions, and for image features the training image that is nearest.

        Of that image, its first caption; and itself, in ``images.png``, where the images are there.
        """
        test = self._captions.test
        tables, index = self._fold(test)
        n_shown = min(8, len(test))
        rows = torch.linspace(0, len(test) - 1, n_shown).long()
        lines: dict[str, list[str]] = {"original": self._words(cast(Tensor, tables[TEXT])[rows])}
        features = cast(Tensor, tables[IMAGE])[index[IMAGE][rows]]
        nearest = {"original": self.nearest(features)}
        for label, given in (("both", (IMAGE, TEXT)), ("image", (IMAGE,)), ("text", (TEXT,))):
            where = {name: index[name][rows] for name in given}
            x = {name: tables[name] for name in given}
            made = decoded(model, x, (IMAGE, TEXT), generator, where)
            lines[f"from {label}"] = self._words(made[TEXT])
            nearest[f"from {label}"] = self.nearest(made[IMAGE])
            lines[f"nearest image, from {label}"] = self._first_captions(nearest[f"from {label}"])
        draw_captions(folder / "reconstructions.png", lines)
        samples = drawn(model, 12, (IMAGE, TEXT), generator)
        drawn_near = self.nearest(samples[IMAGE])
        if (pictures := self._captions.pictures) is not None:
            for name, shown in (("images", nearest), ("sampled-images", {"drawn": drawn_near})):
                draw_reconstructions(
                    folder / f"{name}.png",
                    {
                        label: torch.from_numpy(pictures[found.numpy()]).permute(0, 3, 1, 2) / 255
                        for label, found in shown.items()
                    },
                )
        likeness = self._metric.cosines(samples[IMAGE].cpu().numpy(), samples[TEXT].cpu().numpy())
        draw_captions(
            folder / "samples.png",
            {
                "drawn": self._words(samples[TEXT]),
                "nearest image": self._first_captions(drawn_near),
                "correlation with the drawn image": [f"{value:.3f}" for value in likeness],
            },
        )

    def nearest(self, features: Tensor) -> Tensor:
        """Return the training images whose features are nearest to (n, 2048), (n,), int64.

        By the Euclidean distance, among the images that have captions.
        """
        train = self._captions.train
        images = torch.unique(torch.from_numpy(train.image_of))
        table = torch.from_numpy(train.features)[images]
        rows: Tensor = torch.cdist(features.cpu().float(), table).argmin(1)
        return cast(Tensor, images[rows])

    def _first_captions(self, images: Tensor) -> list[str]:
        train = self._captions.train
        first = [int((train.image_of == image).argmax()) for image in images.tolist()]
        return self._words(torch.from_numpy(train.tokens[first]))

    def _words(self, tokens: Tensor) -> list[str]:
        return self._captions.vocabulary.decode(tokens.cpu().numpy())
