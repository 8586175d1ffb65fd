"""What an experiment trains on and what it measures: data, oracles, figures of merit, pictures."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Literal, Protocol

import torch
from torch import Tensor

from specvae.vae.model import MultimodalVAE
from specvae.vae.training import GreyLevels, Table
from specvae_bench.experiments import Experiment
from specvae_bench.figures import draw_digits, draw_reconstructions
from specvae_bench.images import (
    ImageSet,
    halves,
    join_halves,
    join_thirds,
    thirds,
    unit_floats,
)
from specvae_bench.oracles import Oracle

Fold = Literal["validation", "test"]

# Rows that are decoded and classified at once.
_CHUNK = 1000


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

    def draw(self, model: MultimodalVAE, folder: Path, generator: torch.Generator) -> None:
        """Write ``reconstructions.png`` and ``samples.png``."""
        ...


def _device(model: MultimodalVAE) -> torch.device:
    return next(model.parameters()).device


@torch.no_grad()
def decoded_means(
    model: MultimodalVAE,
    x: Mapping[str, Tensor],
    targets: Collection[str],
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """Return decoder means of one code drawn for each example, on the CPU.

    Parameters
    ----------
    x
        The given modalities: (n, columns) of numbers, or uint8 where 255 stands for 1.
    targets
        What is decoded from the one code.
    generator
        On the model's device.
    """
    parts: dict[str, list[Tensor]] = {name: [] for name in targets}
    n_rows = len(next(iter(x.values())))
    for start in range(0, n_rows, _CHUNK):
        batch = {
            name: unit_floats(table[start : start + _CHUNK].to(_device(model)))
            for name, table in x.items()
        }
        z = model.posterior(batch).sample(1, generator)[0]
        for name in targets:
            parts[name].append(model.likelihood(z, name).mean.cpu())
    return {name: torch.cat(of) for name, of in parts.items()}


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
        self._folds: dict[Fold, ImageSet] = {"validation": validation, "test": test}
        self.tables: dict[str, Table] = {
            name: GreyLevels(band.contiguous()) for name, band in self._bands(train.pixels).items()
        }

    def _bands(self, pixels: Tensor) -> dict[str, Tensor]:
        bands: tuple[Tensor, ...] = halves(pixels) if len(self._names) == 2 else thirds(pixels)
        return dict(zip(self._names, bands, strict=True))

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
        images = self._folds[fold]
        bands = self._bands(images.pixels)
        subsets = self._subsets()
        figures = {}
        for label, given in subsets.items():
            x = {name: bands[name] for name in given}
            shown = self._joined(decoded_means(model, x, self._names, generator))
            figures[label] = self.oracle.accuracy(shown, images.labels)
        if len(self._names) == 3:
            for label, size in (("one", 1), ("two", 2)):
                of = [figures[name] for name, given in subsets.items() if len(given) == size]
                figures[label] = sum(of) / len(of)
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
            rows[f"from {label}"] = self._joined(decoded_means(model, x, self._names, generator))
        draw_reconstructions(folder / "reconstructions.png", rows)
        with torch.no_grad():
            z = model.sample_prior(30, generator)
            means = {name: model.likelihood(z, name).mean.cpu() for name in self._names}
        samples = self._joined(means)
        classes = [str(digit) for digit in self.oracle.predict(samples).tolist()]
        draw_digits(folder / "samples.png", [samples], [classes])


class DigitPairTask:
    """MNIST and SVHN digits of the same class, and whether what one shows agrees with the other.

    Joint coherence is the share of 10,000 draws from the prior whose two images the two oracles
    call the same; ``mnist->svhn`` the share of test pairs whose SVHN image, decoded from one code
    of the MNIST image, shows the right class; ``both->mnist`` the same given both.

    Parameters
    ----------
    experiment
        With modalities ``mnist`` and ``svhn``.
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
        self._pairs = {fold: dict(zip(self._names, of, strict=True)) for fold, of in pairs.items()}
        self.index: dict[str, Tensor] = self._pairs["train"]
        self.tables: dict[str, Table] = {
            name: GreyLevels(images.pixels.flatten(1)) for name, images in train.items()
        }

    def describe(self) -> dict[str, object]:
        """Return sizes and digests of the data and the oracles' cards, as JSON values."""
        data: dict[str, object] = {
            f"{name}/{fold}": {"n": len(of[name]), "sha256": of[name].sha256}
            for fold, of in (("train", self._train), ("test", self._test))
            for name in self._names
        }
        data["pairs"] = {fold: len(of[self._names[0]]) for fold, of in self._pairs.items()}
        cards = {name: oracle.card.to_json() for name, oracle in self.oracles.items()}
        return {"data": data, "oracles": cards}

    def _images(self, flat: Tensor, name: str) -> Tensor:
        return flat.view(len(flat), *self._train[name].pixels.shape[1:])

    @torch.no_grad()
    def _drawn(self, model: MultimodalVAE, n: int, generator: torch.Generator) -> dict[str, Tensor]:
        codes = model.sample_prior(n, generator)
        return {
            name: torch.cat(
                [
                    self._images(model.likelihood(z, name).mean.cpu(), name)
                    for z in torch.split(codes, _CHUNK)
                ]
            )
            for name in self._names
        }

    def measure(
        self, model: MultimodalVAE, fold: Fold, generator: torch.Generator
    ) -> dict[str, float]:
        """Return joint coherence; on the test fold also cross-coherence and synergy."""
        drawn = self._drawn(model, self._n_prior, generator)
        seen = [self.oracles[name].predict(drawn[name]) for name in self._names]
        figures = {"joint": float((seen[0] == seen[1]).double().mean())}
        if fold == "validation":
            return figures
        index = self._pairs["test"]
        labels = self._test[self._names[0]].labels[index[self._names[0]]]
        first, second = self._names
        for label, given, targets in (
            (f"{first}->", (first,), (second,)),
            (f"{second}->", (second,), (first,)),
            ("both->", self._names, self._names),
        ):
            right = dict.fromkeys(targets, 0)
            for start in range(0, len(labels), _CHUNK):
                chunk = slice(start, start + _CHUNK)
                x = {name: self._test[name].pixels[index[name][chunk]].flatten(1) for name in given}
                means = decoded_means(model, x, targets, generator)
                for name in targets:
                    shown = self.oracles[name].predict(self._images(means[name], name))
                    right[name] += int((shown == labels[chunk]).sum())
            figures |= {f"{label}{name}": n / len(labels) for name, n in right.items()}
        return figures

    def draw(self, model: MultimodalVAE, folder: Path, generator: torch.Generator) -> None:
        """Write the pictures: one pair of each class, and draws from the prior."""
        index = self._pairs["test"]
        labels = self._test[self._names[0]].labels[index[self._names[0]]]
        chosen = [int((labels == digit).nonzero()[0]) for digit in torch.unique(labels)]
        x = {name: self._test[name].pixels[index[name][chosen]] for name in self._names}
        rows: dict[str, Tensor] = {name: unit_floats(pixels) for name, pixels in x.items()}
        flat = {name: pixels.flatten(1) for name, pixels in x.items()}
        for label, given in (
            ("both", self._names),
            *((name, (name,)) for name in self._names),
        ):
            means = decoded_means(model, {n: flat[n] for n in given}, self._names, generator)
            for name in self._names:
                rows[f"{name} from {label}"] = self._images(means[name], name)
        draw_reconstructions(folder / "reconstructions.png", rows)
        drawn = self._drawn(model, 30, generator)
        classes = [
            [str(digit) for digit in self.oracles[name].predict(drawn[name]).tolist()]
            for name in self._names
        ]
        draw_digits(folder / "samples.png", [drawn[name] for name in self._names], classes)
