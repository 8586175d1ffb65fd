"""What an experiment trains on and what it measures: data, oracles, figures of merit, pictures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor

from specvae.vae.data import GreyLevels, Table, TensorSource
from specvae.vae.distributions import Categorical, Likelihood
from specvae.vae.model import MultimodalVAE
from specvae_bench.paper.experiments import Experiment
from specvae_bench.paper.images import (
    ImageSet,
    halves,
    join_halves,
    join_thirds,
    thirds,
)
from specvae_bench.paper.oracles import Oracle
from specvae_bench.paper.pictures import (
    draw_digits,
    draw_reconstructions,
)

Fold = Literal["validation", "test"]

# Rows that are decoded and classified at once: what fits a CPU's caches; a GPU takes little longer
# for ten times as many.
_ROWS_ON_CPU, _ROWS_ON_GPU = 1000, 10_000


class Task(ABC):
    """One experiment on its data.

    Attributes
    ----------
    experiment
        Networks and training settings.
    tables
        Training data by modality.
    index
        Which rows of the tables make up the training pairs; None: those of equal number.
    criterion
        The figure, of the validation fold, by which the best epoch is picked.
    """

    experiment: Experiment
    tables: Mapping[str, Table]
    index: Mapping[str, Tensor] | None = None
    criterion: str

    @abstractmethod
    def describe(self) -> dict[str, object]:
        """Return sizes and digests of the data and the oracles' cards, as JSON values."""

    @abstractmethod
    def measure(
        self, model: MultimodalVAE, fold: Fold, generator: torch.Generator
    ) -> dict[str, float]:
        """Return the figures of a model in evaluation mode, by name."""

    def compare(self, model: MultimodalVAE, generator: torch.Generator) -> dict[str, object]:
        """Return figures for comparison with others' ways of judging, as JSON values, if any."""
        return {}

    @abstractmethod
    def draw(self, model: MultimodalVAE, folder: Path, generator: torch.Generator) -> None:
        """Write ``reconstructions.png`` and ``samples.png``."""


def first_of_each(labels: Tensor) -> Tensor:
    """Return the place of the first example of each class, by rising label, int64 (n_classes,)."""
    return torch.tensor([int((labels == label).nonzero()[0]) for label in torch.unique(labels)])


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


class SplitTask(Task):
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
        chosen = test.take(first_of_each(test.labels))
        bands = self._bands(chosen.pixels)
        rows: dict[str, Tensor] = {"original": chosen.floats()}
        for label, given in self._subsets().items():
            x = {name: bands[name] for name in given}
            rows[f"from {label}"] = self._joined(decoded(model, x, self._names, generator))
        draw_reconstructions(folder / "reconstructions.png", rows)
        samples = self._joined(drawn(model, 30, self._names, generator))
        classes = [str(digit) for digit in self.oracle.predict(samples).tolist()]
        draw_digits(folder / "samples.png", [samples], [classes])


class DigitPairTask(Task):
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
        self.index = self._pairs["train"]
        self.tables = {name: GreyLevels(images.pixels.flatten(1)) for name, images in train.items()}
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

    def draw(self, model: MultimodalVAE, folder: Path, generator: torch.Generator) -> None:
        """Write the pictures: one pair of each class, and draws from the prior."""
        index = self._pairs["test"]
        labels = self._test[self._names[0]].labels[index[self._names[0]]]
        first = first_of_each(labels)
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
