"""Digit classifiers that judge generated images: trained here, asked in evaluation mode.

Training minimises the cross entropy of logits. Batch normalisation and dropout never act on what
is judged, so an image's class does not depend on the other images of its batch.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from specvae.errors import CheckpointError, ConfigError, TrainingError, nearest
from specvae.vae.adam import AdamW
from specvae.vae.checkpoint import weights_sha256, write_tensors
from specvae.vae.device import has_fast_bfloat16
from specvae_bench.paper.images import ImageSet, unit_floats

_METADATA_KEY = "specvae_oracle"
_EPOCHS = {"resnet18": 5, "digit-net": 10}
_WARM_UP = 0.3


class _BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, (b, n_in, h, w) -> (b, n_out, h/stride, w/stride)."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False),
            nn.BatchNorm2d(n_out),
            nn.ReLU(),
            nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False),
            nn.BatchNorm2d(n_out),
        )
        # The identity where it fits, else a projection (option B of the paper).
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or n_in != n_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = functional.relu(self.residual(x) + self.shortcut(x))
        return out


def resnet18(n_classes: int, channels: int, width: int = 64) -> nn.Module:
    """Return a ResNet-18: (batch, channels, height, width) -> logits (batch, n_classes).

    A 7x7 convolution of stride 2, a 3x3 maximum of stride 2, four stages of two basic blocks with
    64, 128, 256 and 512 channels, the mean over all places, a linear layer. He et al., "Deep
    Residual Learning for Image Recognition", table 1, doi:10.1109/CVPR.2016.90; the first
    convolution takes `channels` instead of three, and `width` is the 64.
    """
    layers: list[nn.Module] = [
        nn.Conv2d(channels, width, 7, 2, 3, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
    ]
    n_in = width
    for n_out, stride in ((width, 1), (2 * width, 2), (4 * width, 2), (8 * width, 2)):
        layers += [_BasicBlock(n_in, n_out, stride), _BasicBlock(n_out, n_out, 1)]
        n_in = n_out
    network = nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(n_in, n_classes)
    )
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network


class DigitNet(nn.Sequential):
    """The small digit classifier of the MMVAE study: (b, channels, size, size) -> logits (b, 10).

    Two 5x5 convolutions with 10 and 20 channels, each followed by a 2x2 maximum, dropout of whole
    channels after the second, then a layer of 50 units. Of 28 pixels 20 x 4 x 4 = 320 values reach
    it, of 32 pixels 20 x 5 x 5 = 500.
    """

    def __init__(self, channels: int, size: int) -> None:
        left = ((size - 4) // 2 - 4) // 2
        super().__init__(
            nn.Conv2d(channels, 10, 5),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Conv2d(10, 20, 5),
            nn.Dropout2d(),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(20 * left * left, 50),
            nn.ReLU(),
            nn.Linear(50, 10),
        )


@dataclass(frozen=True, slots=True)
class OracleSettings:
    """All that decides an oracle's weights beside its data.

    Parameters
    ----------
    kind
        ``resnet18`` or ``digit-net``.
    epochs
        Passes over the training images; 5 for ``resnet18`` and 10 for ``digit-net`` if None.
    learning_rate
        The highest of the one-cycle schedule of AdamW.
    max_shift
        Each training image is moved by up to so many pixels both ways, its border repeated.
    """

    kind: str
    seed: int = 0
    epochs: int | None = None
    batch_size: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    max_shift: int = 2

    def __post_init__(self) -> None:
        if self.kind not in _EPOCHS:
            raise ConfigError(
                f"oracle kind {self.kind!r} is unknown; nearest: {nearest(self.kind, _EPOCHS)!r}"
            )
        if self.epochs is None:
            object.__setattr__(self, "epochs", _EPOCHS[self.kind])
        if self.n_epochs < 1:
            raise ConfigError(f"oracle epochs must be at least 1, found {self.epochs}")

    @property
    def n_epochs(self) -> int:
        """The number of epochs, the kind's own where none was given."""
        return self.epochs if self.epochs is not None else _EPOCHS[self.kind]


@dataclass(frozen=True, slots=True)
class OracleCard:
    """What an oracle is, what it learned from, and how well it does.

    Parameters
    ----------
    image_shape
        (channels, height, width) of the images that it takes.
    train_sha256, test_sha256
        Digests of the image sets, see `ImageSet.sha256`.
    test_accuracy
        Share of the test images classified rightly, in [0, 1].
    seconds
        Time that training took, interruptions left out.
    """

    settings: OracleSettings
    image_shape: tuple[int, int, int]
    train_sha256: str
    test_sha256: str
    test_accuracy: float
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, as results store them."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> OracleCard:
        """Return the card of `to_json`.

        Raises
        ------
        KeyError, TypeError, ValueError, ConfigError
            If the values are another version's or another program's.
        """
        channels, height, width = values["image_shape"]
        return cls(
            **{
                **values,
                "settings": OracleSettings(**values["settings"]),
                "image_shape": (int(channels), int(height), int(width)),
            }
        )


class Oracle:
    """A trained classifier in evaluation mode, with its card."""

    def __init__(self, network: nn.Module, card: OracleCard) -> None:
        self.network = network.eval().requires_grad_(False)
        self.card = card

    def predict(self, images: Tensor, batch_size: int | None = None) -> Tensor:
        """Return the most likely class of each image.

        Parameters
        ----------
        images
            (n, channels, height, width), uint8 in 0..255 or float in [0, 1].
        batch_size
            Images that are classified at once; the result does not depend on it. None: 1,000 on a
            CPU, 10,000 on a GPU, which is bound by the number of batches.

        Returns
        -------
        Tensor
            (n,) int64, on the CPU.

        Raises
        ------
        ConfigError
            If the images have another shape than those the oracle has learned from.
        """
        if tuple(images.shape[1:]) != self.card.image_shape:
            raise ConfigError(
                f"oracle {self.card.settings.kind} takes images of shape "
                f"{self.card.image_shape}, found {tuple(images.shape[1:])}"
            )
        if batch_size is None:
            batch_size = 10_000 if next(self.network.parameters()).is_cuda else 1000
        return _classify(self.network, images, batch_size)

    def accuracy(self, images: Tensor, labels: Tensor) -> float:
        """Return the share of images, as `predict` takes them, whose class is the label."""
        return _share_right(self.predict(images), labels)

    def accuracy_in_training(self, images: Tensor, labels: Tensor, batch_size: int = 100) -> float:
        """Return the same of an oracle that was left in training mode, as in the published code.

        Its batch normalisation takes mean and variance from the batch that it judges, and so adapts
        to how decoded images differ from real ones. The oracle itself is not changed.
        """
        if len(images) < 2:  # a batch of one image has no variance
            return self.accuracy(images, labels)
        network = copy.deepcopy(self.network).train()
        n_batches = max(1, len(images) // batch_size)
        return _share_right(_classes(network, images.tensor_split(n_batches)), labels)


def _share_right(classes: Tensor, labels: Tensor) -> float:
    return float((classes == labels.cpu()).double().mean())


def _classify(network: nn.Module, images: Tensor, batch_size: int) -> Tensor:
    if not len(images):
        return torch.empty(0, dtype=torch.int64)
    return _classes(network.eval(), torch.split(images, batch_size))


@torch.no_grad()
def _classes(network: nn.Module, batches: Sequence[Tensor]) -> Tensor:
    device = next(network.parameters()).device
    classes = [network(unit_floats(batch.to(device))).argmax(1) for batch in batches]
    return torch.cat(classes).cpu()


def shift_randomly(pixels: Tensor, max_shift: int) -> Tensor:
    """Move each image by up to `max_shift` pixels along both axes, repeating its border.

    Parameters
    ----------
    pixels
        (n, channels, height, width), any dtype.
    """
    n, _, height, width = pixels.shape
    device = pixels.device
    by = torch.randint(-max_shift, max_shift + 1, (2, n, 1)).to(device)
    rows = (by[0] + torch.arange(height, device=device)).clamp(0, height - 1)  # (n, height)
    columns = (by[1] + torch.arange(width, device=device)).clamp(0, width - 1)  # (n, width)
    image = torch.arange(n, device=device)[:, None, None]
    moved = pixels.permute(0, 2, 3, 1)[image, rows[:, :, None], columns[:, None, :]]
    return moved.permute(0, 3, 1, 2)


def one_cycle(progress: float) -> float:
    """Return the learning rate relative to the highest at `progress` in [0, 1] of the training.

    Linear from 0 to 1 over the first 30 %, then half a cosine down to 0.
    """
    if progress < _WARM_UP:
        return progress / _WARM_UP
    return 0.5 * (1.0 + math.cos(math.pi * (progress - _WARM_UP) / (1.0 - _WARM_UP)))


def train_oracle(
    settings: OracleSettings,
    train: ImageSet,
    test: ImageSet,
    *,
    state: Path | None = None,
    device: torch.device | str = "cpu",
    on_epoch: Callable[[int, float], None] | None = None,
    on_step: Callable[[int, int, int], None] | None = None,
) -> Oracle:
    """Train a classifier for a fixed number of epochs; nothing is chosen on the test images.

    Parameters
    ----------
    state
        A file that keeps the state of the last finished epoch. If it is there, training goes on
        from it, to the same weights as without interruption; it is removed at the end.
    on_epoch
        Called after each epoch with its number from 1 and its mean training loss (nats).
    on_step
        Called after each step with the number of its epoch from 1, its own, and that of all steps
        of an epoch.

    Raises
    ------
    TrainingError
        If the loss is no longer a number.
    CheckpointError
        If `state` is unreadable or belongs to another training.
    """
    image_shape = _image_shape(train)
    identity = _identity(settings, train)
    # The caller's random numbers stay untouched; each epoch has a seed of its own, so that
    # resuming needs no stored generator.
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        network = _build(settings.kind, image_shape).to(device)
        optimizer = AdamW(
            network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
        )
        first, seconds = 0, 0.0
        if state is not None and state.exists():
            first, seconds = _read_state(state, identity, network, optimizer)
        pixels, labels = train.pixels.to(device), train.labels.to(device)
        for epoch in range(first, settings.n_epochs):
            start = time.perf_counter()
            torch.manual_seed((settings.seed << 16) + epoch + 1)
            loss = _train_epoch(network, optimizer, pixels, labels, settings, epoch, on_step)
            seconds += time.perf_counter() - start
            if not math.isfinite(loss):
                raise TrainingError(f"oracle {settings.kind}: loss is {loss} in epoch {epoch + 1}")
            if state is not None:
                _write_state(state, identity, network, optimizer, epoch + 1, seconds)
            if on_epoch is not None:
                on_epoch(epoch + 1, loss)
    right = _classify(network, test.pixels, 1000) == test.labels
    card = OracleCard(
        settings,
        image_shape,
        train.sha256,
        test.sha256,
        test_accuracy=float(right.double().mean()),
        seconds=seconds,
    )
    if state is not None:
        state.unlink(missing_ok=True)
    return Oracle(network, card)


def _image_shape(images: ImageSet) -> tuple[int, int, int]:
    _, channels, height, width = images.pixels.shape
    return channels, height, width


def _build(kind: str, image_shape: tuple[int, int, int]) -> nn.Module:
    channels, height, _ = image_shape
    return resnet18(10, channels) if kind == "resnet18" else DigitNet(channels, height)


def _train_epoch(
    network: nn.Module,
    optimizer: AdamW,
    pixels: Tensor,
    labels: Tensor,
    settings: OracleSettings,
    epoch: int,
    on_step: Callable[[int, int, int], None] | None,
) -> float:
    """Return the mean loss (nats) of one pass over the images in a fresh order.

    A last batch that is not full is left out: batch normalisation would weigh it like a full one.
    """
    network.train()
    n = len(pixels)
    batch_size = min(settings.batch_size, n)
    n_steps = n // batch_size
    order = torch.randperm(n).to(pixels.device)
    total = torch.zeros((), device=pixels.device)
    for step in range(n_steps):
        progress = (epoch * n_steps + step + 0.5) / (settings.n_epochs * n_steps)
        optimizer.set_rate(settings.learning_rate * one_cycle(progress))
        batch = order[step * batch_size : (step + 1) * batch_size]
        x = unit_floats(shift_randomly(pixels[batch], settings.max_shift))
        with torch.autocast(x.device.type, torch.bfloat16, enabled=has_fast_bfloat16(x.device)):
            logits = network(x)
        loss = functional.cross_entropy(logits.float(), labels[batch])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        total += loss.detach()
        if on_step is not None:
            on_step(epoch + 1, step + 1, n_steps)
    return float(total) / n_steps


def save_oracle(path: Path, oracle: Oracle) -> None:
    """Write an oracle as safetensors with its card as JSON."""
    header = {**oracle.card.to_json(), "weights_sha256": weights_sha256(oracle.network)}
    write_tensors(path, oracle.network.state_dict(), {_METADATA_KEY: json.dumps(header)})


def load_oracle(path: Path, device: torch.device | str = "cpu") -> Oracle:
    """Return the oracle of a file of `save_oracle`.

    Raises
    ------
    CheckpointError
        If the file is missing, truncated, foreign or damaged.
    """
    header, tensors = _read_tensors(path)
    try:
        digest = header.pop("weights_sha256")
        card = OracleCard.from_json(header)
        network = _build(card.settings.kind, card.image_shape)
        network.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError, ConfigError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(f"{path}: not an oracle of this version: {reason}") from None
    if weights_sha256(network) != digest:
        raise CheckpointError(f"{path}: damaged: the weights differ from their recorded SHA-256")
    return Oracle(network.to(device), card)


def oracle_for(
    settings: OracleSettings,
    train: ImageSet,
    test: ImageSet,
    cache_dir: Path,
    *,
    device: torch.device | str = "cpu",
    on_epoch: Callable[[int, float], None] | None = None,
    on_step: Callable[[int, int, int], None] | None = None,
) -> Oracle:
    """Return the cached oracle of these settings and data, or train and store it.

    The file's name holds a digest of the settings and of both image sets. An interrupted training
    goes on where it stopped.

    Raises
    ------
    CheckpointError
        If the cached file is damaged.
    TrainingError
        If the loss is no longer a number.
    """
    key = hashlib.sha256((_identity(settings, train) + test.sha256).encode()).hexdigest()[:16]
    path = cache_dir / f"oracle-{settings.kind}-{key}.safetensors"
    if path.exists():
        return load_oracle(path, device)
    state = path.with_suffix(".state.safetensors")
    oracle = train_oracle(
        settings, train, test, state=state, device=device, on_epoch=on_epoch, on_step=on_step
    )
    save_oracle(path, oracle)
    return oracle


def _identity(settings: OracleSettings, train: ImageSet) -> str:
    """Return what decides the weights, as one string."""
    return json.dumps([asdict(settings), train.sha256], sort_keys=True)


def _write_state(
    path: Path,
    identity: str,
    network: nn.Module,
    optimizer: AdamW,
    epoch: int,
    seconds: float,
) -> None:
    tensors = {f"network/{name}": tensor for name, tensor in network.state_dict().items()}
    for index, values in optimizer.state.items():
        tensors |= {f"optimizer/{index}/{name}": tensor for name, tensor in values.items()}
    header = {"identity": identity, "epoch": epoch, "seconds": seconds}
    write_tensors(path, tensors, {_METADATA_KEY: json.dumps(header)})


def _read_state(
    path: Path, identity: str, network: nn.Module, optimizer: AdamW
) -> tuple[int, float]:
    """Load network and optimiser as of the last finished epoch; return its number and seconds."""
    header, tensors = _read_tensors(path)
    if header.get("identity") != identity:
        raise CheckpointError(f"{path}: the state of another training, remove it to start anew")
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        part, _, rest = name.partition("/")
        if part == "optimizer":
            index, _, key = rest.partition("/")
            state.setdefault(int(index), {})[key] = tensor
    network.load_state_dict(
        {
            name.removeprefix("network/"): tensor
            for name, tensor in tensors.items()
            if name.startswith("network/")
        }
    )
    optimizer.load(state)
    return int(header["epoch"]), float(header["seconds"])


def _read_tensors(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the JSON header and the tensors of a file that this module wrote."""
    try:
        with safe_open(path, "pt") as stream:
            metadata = stream.metadata() or {}
        header = json.loads(metadata[_METADATA_KEY])
        # Copies: the file may be replaced while its pages are in use.
        tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
    except KeyError:
        raise CheckpointError(f"{path}: a safetensors file, but not of an oracle") from None
    except (SafetensorError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(f"{path}: cannot be read as an oracle: {reason}") from None
    return header, tensors
