"""What an experiment trains on and what it measures: data, oracles, figures of merit, pictures."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Literal, Protocol, cast, get_args

import torch
from torch import Tensor

from specvae.vae.data import GreyLevels, Table, TensorSource
from specvae.vae.distributions import Categorical, Likelihood
from specvae.vae.model import MultimodalVAE
from specvae_bench.paper.captions import Captions, CaptionSet
from specvae_bench.paper.cca import CaptionMetric
from specvae_bench.paper.experiments import IMAGE, TEXT, Experiment
from specvae_bench.paper.images import (
    ImageSet,
    halves,
    join_halves,
    join_thirds,
    thirds,
)
from specvae_bench.paper.oracles import Oracle
from specvae_bench.paper.pictures import (
    draw_captions,
    draw_digits,
    draw_reconstructions,
    draw_with_texts,
)
from specvae_bench.paper.sentences import VOCABULARY, DescribedDigits, described, read_back

Fold = Literal["validation", "test"]

# Rows that are decoded and classified at once: what fits a CPU's caches; a GPU takes little longer
# for ten times as many.
_ROWS_ON_CPU, _ROWS_ON_GPU = 1000, 10_000


class Task(Protocol):
    """One experiment on its data."""

    @property
    def experiment(self) -> Experiment:
        """Networks and training settings."""
        ...

    @property
    def tables(self) -> Mapping[str, Table]:
        """Training data by modality."""
        ...

    @property
    def index(self) -> Mapping[str, Tensor] | None:
        """Which rows of the tables make up the training pairs; None: those of equal number."""
        ...

    @property
    def criterion(self) -> str:
        """The figure, of the validation fold, by which the best epoch is picked."""
        ...

    def describe(self) -> dict[str, object]:
        """Return sizes and digests of the data and the oracles' cards, as JSON values."""
        ...

    def measure(
        self, model: MultimodalVAE, fold: Fold, generator: torch.Generator
    ) -> dict[str, float]:
        """Return the figures of a model in evaluation mode, by name."""
        ...

    def compare(self, model: MultimodalVAE, generator: torch.Generator) -> dict[str, object]:
        """Return figures for comparison with others' ways of judging, as JSON values, if any."""
        ...

    def draw(self, model: MultimodalVAE, folder: Path, generator: torch.Generator) -> None:
        """Write ``reconstructions.png`` and ``samples.png``."""
        ...


def _device(model: MultimodalVAE) -> torch.device:
    return next(model.parameters()).device


def _pieces(rows: Tensor) -> tuple[Tensor, ...]:
    return torch.split(rows, _ROWS_ON_GPU if rows.is_cuda else _ROWS_ON_CPU)


def _shown(likelihood: Likelihood) -> Tensor:
    """Return what a likelihood says of each example: its means, or the most probable words."""
    return likelihood.mode if isinstance(likelihood, Categorical) else likelihood.mean


@torch.no_grad()
def decoded(
    model: MultimodalVAE,
    x: Mapping[str, Table],
    targets: Collection[str],
    generator: torch.Generator,
    index: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Return what is decoded from one code drawn for each example, on the model's device.

    Parameters
    ----------
    x, index
        The given modalities, as :class:`~specvae.vae.data.TensorSource` takes them.
    targets
        What is decoded from the one code.
    generator
        On the model's device.
    """
    device = _device(model)
    source = TensorSource(x, index).to(device)
    parts: dict[str, list[Tensor]] = {name: [] for name in targets}
    for rows in _pieces(torch.arange(len(source), device=device)):
        z = model.posterior(source.batch(rows)).sample(1, generator)[0]
        for name in targets:
            parts[name].append(_shown(model.likelihood(z, name)))
    return {name: torch.cat(tensors) for name, tensors in parts.items()}


@torch.no_grad()
def drawn(
    model: MultimodalVAE, n_samples: int, names: Collection[str], generator: torch.Generator
) -> dict[str, Tensor]:
    """Return what is decoded from draws of the prior, by modality, on the model's device."""
    codes = _pieces(model.sample_prior(n_samples, generator))
    return {name: torch.cat([_shown(model.likelihood(z, name)) for z in codes]) for name in names}


class SplitTask:
    """Digits cut into bands; the oracle names the digit that the decoded bands show together.

    One code z is drawn for each test image, the means of all bands are decoded from it, put
    together, and the share of images whose label the oracle finds is the accuracy: synergy if all
    bands were given, cross-coherence otherwise.

    Parameters
    ----------
    experiment
        Its modalities are the bands from top to bottom.
    train, validation, test
        MNIST digits; validation only picks the best epoch.
    oracle
        Classifier of whole digits.
    """

    index = None
    criterion = "top"

    def __init__(
        self,
        experiment: Experiment,
        train: ImageSet,
        validation: ImageSet,
        test: ImageSet,
        oracle: Oracle,
    ) -> None:
        self.experiment = experiment
        self.oracle = oracle
        self._names = tuple(modality.name for modality in experiment.modalities)
        self._train = train
        self._folds: dict[str, ImageSet] = {"validation": validation, "test": test}
        self.tables = self._bands(train.pixels)

    def _bands(self, pixels: Tensor) -> dict[str, Table]:
        bands: tuple[Tensor, ...] = halves(pixels) if len(self._names) == 2 else thirds(pixels)
        return {
            name: GreyLevels(band.contiguous())
            for name, band in zip(self._names, bands, strict=True)
        }

    def _joined(self, bands: Mapping[str, Tensor]) -> Tensor:
        join = join_halves if len(self._names) == 2 else join_thirds
        return join(*(bands[name] for name in self._names))

    def describe(self) -> dict[str, object]:
        """Return sizes and digests of the data and the oracle's card, as JSON values."""
        folds = {"train": self._train, **self._folds}
        return {
            "data": {n: {"n": len(f), "sha256": f.sha256} for n, f in folds.items()},
            "oracles": {"mnist": self.oracle.card.to_json()},
        }

    def _subsets(self) -> dict[str, tuple[str, ...]]:
        n_bands = len(self._names)
        sizes = range(1, n_bands + 1)
        subsets = {"+".join(s): s for size in sizes for s in combinations(self._names, size)}
        everything = subsets.popitem()[1]
        return {"both" if n_bands == 2 else "all": everything, **subsets}

    def measure(
        self, model: MultimodalVAE, fold: Fold, generator: torch.Generator
    ) -> dict[str, float]:
        """Return the accuracy from each subset of bands: both, top, bottom; or all, top, ...

        With three bands, ``one`` and ``two`` are the means over the subsets of those sizes.
        """
        return self._accuracies(model, fold, generator, self.oracle.accuracy)

    def compare(self, model: MultimodalVAE, generator: torch.Generator) -> dict[str, object]:
        """Return the accuracies on both folds by the oracle in training mode."""
        start, figures = generator.get_state(), {}
        for fold in get_args(Fold):
            generator.set_state(start)  # the codes of the plain figures
            judge = self.oracle.accuracy_in_training
            figures[fold] = self._accuracies(model, fold, generator, judge)
        return {"oracle_in_training": figures}

    def _accuracies(
        self,
        model: MultimodalVAE,
        fold: Fold,
        generator: torch.Generator,
        judge: Callable[[Tensor, Tensor], float],
    ) -> dict[str, float]:
        images = self._folds[fold]
        bands = self._bands(images.pixels)
        subsets = self._subsets()
        figures = {}
        for label, given in subsets.items():
            x = {name: bands[name] for name in given}
            shown = self._joined(decoded(model, x, self._names, generator))
            figures[label] = judge(shown, images.labels)
        if len(self._names) == 3:
            for label, size in (("one", 1), ("two", 2)):
                alike = [figures[name] for name, given in subsets.items() if len(given) == size]
                figures[label] = sum(alike) / len(alike)
        return figures

    def draw(self, model: MultimodalVAE, folder: Path, generator: torch.Generator) -> None:
        """Write the pictures: one digit of each class, and draws from the prior."""
        test = self._folds["test"]
        first = [int((test.labels == digit).nonzero()[0]) for digit in torch.unique(test.labels)]
        chosen = test.take(torch.tensor(first))
        bands = self._bands(chosen.pixels)
        rows: dict[str, Tensor] = {"original": chosen.floats()}
        for label, given in self._subsets().items():
            x = {name: bands[name] for name in given}
            rows[f"from {label}"] = self._joined(decoded(model, x, self._names, generator))
        draw_reconstructions(folder / "reconstructions.png", rows)
        samples = self._joined(drawn(model, 30, self._names, generator))
        classes = [str(digit) for digit in self.oracle.predict(samples).tolist()]
        draw_digits(folder / "samples.png", [samples], [classes])


class DigitPairTask:
    """Grey digits and others of their class in colour: whether they agree in what they show.

    Joint coherence is the share of 10,000 draws from the prior whose two images the two oracles
    call the same; ``mnist->svhn`` the share of test pairs whose SVHN image, decoded from one code
    of the MNIST image, shows the right class; ``both->mnist`` the same given both.

    Parameters
    ----------
    experiment
        With modalities ``mnist`` and ``svhn``, or what stands in for it.
    train, test
        By modality.
    pairs
        By fold, ``train`` and ``test``: indices into the two image sets.
    oracles
        By modality.
    n_prior
        Draws from the prior.
    """

    criterion = "joint"

    def __init__(
        self,
        experiment: Experiment,
        train: Mapping[str, ImageSet],
        test: Mapping[str, ImageSet],
        pairs: Mapping[str, Sequence[Tensor]],
        oracles: Mapping[str, Oracle],
        n_prior: int = 10_000,
    ) -> None:
        self.experiment = experiment
        self.oracles = oracles
        self._names = tuple(modality.name for modality in experiment.modalities)
        self._train, self._test, self._n_prior = train, test, n_prior
        self._pairs = {
            fold: dict(zip(self._names, images, strict=True)) for fold, images in pairs.items()
        }
        self.index: dict[str, Tensor] = self._pairs["train"]
        self.tables: dict[str, Table] = {
            name: GreyLevels(images.pixels.flatten(1)) for name, images in train.items()
        }
        self._levels = {name: GreyLevels(images.pixels.flatten(1)) for name, images in test.items()}

    def describe(self) -> dict[str, object]:
        """Return sizes and digests of the data and the oracles' cards, as JSON values."""
        data: dict[str, object] = {
            f"{name}/{fold}": {"n": len(images[name]), "sha256": images[name].sha256}
            for fold, images in (("train", self._train), ("test", self._test))
            for name in self._names
        }
        data["pairs"] = {fold: len(paired[self._names[0]]) for fold, paired in self._pairs.items()}
        cards = {name: oracle.card.to_json() for name, oracle in self.oracles.items()}
        return {"data": data, "oracles": cards}

    def _images(self, flat: Tensor, name: str) -> Tensor:
        return flat.view(len(flat), *self._train[name].pixels.shape[1:])

    def _classes(self, flat: Tensor, name: str) -> Tensor:
        return self.oracles[name].predict(self._images(flat, name))

    def measure(
        self, model: MultimodalVAE, fold: Fold, generator: torch.Generator
    ) -> dict[str, float]:
        """Return joint coherence; on the test fold also cross-coherence and synergy."""
        # The joint figure comes last: on other draws than those that picked the best epoch.
        crossed = {} if fold == "validation" else self._crossed(model, generator)
        samples = drawn(model, self._n_prior, self._names, generator)
        seen = [self._classes(samples[name], name) for name in self._names]
        return {"joint": float((seen[0] == seen[1]).double().mean()), **crossed}

    def _crossed(self, model: MultimodalVAE, generator: torch.Generator) -> dict[str, float]:
        figures = {}
        index = self._pairs["test"]
        labels = self._test[self._names[0]].labels[index[self._names[0]]]
        first, second = self._names
        for label, given, targets in (
            (f"{first}->", (first,), (second,)),
            (f"{second}->", (second,), (first,)),
            ("both->", self._names, self._names),
        ):
            x: dict[str, Table] = {name: self._levels[name] for name in given}
            classes: dict[str, list[Tensor]] = {name: [] for name in targets}
            for rows in torch.split(
                torch.arange(len(labels)), _ROWS_ON_CPU
            ):  # all would fill gigabytes
                where = {name: index[name][rows] for name in given}
                for name, images in decoded(model, x, targets, generator, where).items():
                    classes[name].append(self._classes(images, name))
            for name, found in classes.items():
                figures[f"{label}{name}"] = float((torch.cat(found) == labels).double().mean())
        return figures

    def compare(self, model: MultimodalVAE, generator: torch.Generator) -> dict[str, object]:
        """Return nothing: there is one way of judging."""
        return {}

    def draw(self, model: MultimodalVAE, folder: Path, generator: torch.Generator) -> None:
        """Write the pictures: one pair of each class, and draws from the prior."""
        index = self._pairs["test"]
        labels = self._test[self._names[0]].labels[index[self._names[0]]]
        first = torch.tensor(
            [int((labels == digit).nonzero()[0]) for digit in torch.unique(labels)]
        )
        chosen = {name: index[name][first] for name in self._names}
        rows = {name: self._test[name].floats(chosen[name]) for name in self._names}
        for label, given in (
            ("both", self._names),
            *((name, (name,)) for name in self._names),
        ):
            x: dict[str, Table] = {name: self._levels[name] for name in given}
            where = {name: chosen[name] for name in given}
            shown = decoded(model, x, self._names, generator, where)
            for name in self._names:
                rows[f"{name} from {label}"] = self._images(shown[name], name)
        draw_reconstructions(folder / "reconstructions.png", rows)
        samples = drawn(model, 30, self._names, generator)
        images = [self._images(samples[name], name) for name in self._names]
        classes = [
            [str(digit) for digit in self.oracles[name].predict(digits).tolist()]
            for name, digits in zip(self._names, images, strict=True)
        ]
        draw_digits(folder / "samples.png", images, classes)


class SentenceTask:
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

    index = None
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

    def compare(self, model: MultimodalVAE, generator: torch.Generator) -> dict[str, object]:
        """Return nothing: there is one way of judging."""
        return {}

    def draw(self, model: MultimodalVAE, folder: Path, generator: torch.Generator) -> None:
        """Write the pictures with their sentences: one of each digit, and draws from the prior."""
        labels = self._test.images.labels
        first = [int((labels == digit).nonzero()[0]) for digit in torch.unique(labels)]
        chosen = self._test.take(torch.tensor(first))
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


class CaptionTask:
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

    def compare(self, model: MultimodalVAE, generator: torch.Generator) -> dict[str, object]:
        """Return nothing: there is one way of judging."""
        return {}

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
