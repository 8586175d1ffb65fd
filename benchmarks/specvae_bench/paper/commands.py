"""`specvae bench mnist-split | mnist-split-3 | mnist-svhn | cub-captions`: one run or a sweep."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from specvae.cli.console import Console, verbosity
from specvae.cli.defaults import settings_options
from specvae.cli.options import INPUT, NumberRange, device_option
from specvae.errors import CheckpointError, InputError
from specvae.vae.kinds import MODEL_KINDS

if TYPE_CHECKING:
    import torch

    from specvae.vae.training import EpochRecord
    from specvae_bench.paper.oracles import Oracle
    from specvae_bench.paper.runs import RunSettings
    from specvae_bench.paper.tasks import Task


class _Numbers(click.ParamType):  # type: ignore[type-arg]
    """Numbers with commas between them."""

    def __init__(self, kind: type[int] | type[float], low: float, high: float) -> None:
        self.name = "numbers"
        self._kind, self._low, self._high = kind, low, high

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        """Return the distinct numbers in their order."""
        if isinstance(value, tuple):
            return value
        numbers: list[float] = []
        # A list in a file of options comes as its text.
        for text in str(value).removeprefix("[").removesuffix("]").split(","):
            try:
                number = self._kind(text)
            except ValueError:
                self.fail(f"{text.strip()!r} is no number.", param, ctx)
            if not self._low <= number <= self._high:
                self.fail(f"{text.strip()} is not in {self._low:g} to {self._high:g}.", param, ctx)
            if number not in numbers:
                numbers.append(number)
        return tuple(numbers)


_OPTIONS = (
    click.option(
        "--data",
        type=INPUT,
        required=True,
        help="Folder with the data; 'specvae download' fetches it.",
    ),
    click.option(
        "-o",
        "--output",
        type=INPUT,
        required=True,
        help="Folder for the result; of a sweep, a folder for each run within it.",
    ),
    click.option(
        "--model-kind",
        "kinds",
        type=click.Choice(tuple(MODEL_KINDS)),
        multiple=True,
        help="Posteriors and objective (repeatable); see docs/models.md.  [default: svae]",
    ),
    click.option("--all-models", is_flag=True, help="Every kind in turn."),
    click.option(
        "--supervision",
        "levels",
        type=_Numbers(float, 1e-9, 1.0),
        default="1",
        show_default=True,
        help="Share of the pairs that stay paired; several with commas between them.",
    ),
    click.option(
        "--seed",
        "seeds",
        type=_Numbers(int, 0, 2**31),
        default="0",
        show_default=True,
        help="Seed; several with commas between them.",
    ),
    click.option(
        "--epochs", type=click.IntRange(min=1), default=None, help="[default: the paper's]"
    ),
    click.option(
        "--batch-size", type=click.IntRange(min=1), default=None, help="[default: the paper's]"
    ),
    click.option(
        "--learning-rate",
        type=NumberRange(min=0.0, min_open=True),
        default=None,
        help="[default: the paper's]",
    ),
    click.option(
        "--unpaired",
        type=click.Choice(["all", "rest", "none"]),
        default=None,
        help="Unpaired examples: all of them, those not paired, or none.  [default: all, as the "
        "paper's code; none for kinds that learn from pairs only]",
    ),
    click.option(
        "--n-samples",
        type=click.IntRange(min=1),
        default=None,
        help="Latent codes for each expectation; K of MMVAE.  [default: 10 for mmvae and "
        "mmvae-iwae, else 1]",
    ),
    click.option(
        "--prior-expert/--no-prior-expert",
        default=True,
        show_default=True,
        help="Multiply the prior into products, as the paper's code and unlike its text.",
    ),
    click.option(
        "--variance",
        type=click.Choice(["logvar", "softplus_var", "softplus_sd"]),
        default=None,
        help="What encoders give for the variance.  [default: as the paper's code]",
    ),
    click.option(
        "--subset-targets",
        type=click.Choice(["given", "all"]),
        default="given",
        show_default=True,
        help="What two of three parts reconstruct: themselves, as the paper's eq 30, or all parts, "
        "as its code.",
    ),
    click.option("--amp", is_flag=True, help="Matrix products in bfloat16."),
    click.option(
        "--trainer",
        type=click.Choice(["specvae", "multivae"]),
        default="specvae",
        show_default=True,
        help="multivae: the same networks, trained by the peer (jmvae, mvae, mmvae; on the CPU; "
        "extra 'peers').",
    ),
    click.option(
        "--limit",
        type=click.IntRange(min=1),
        default=None,
        help="Only the first so many examples of each fold, for a trial.",
    ),
    click.option(
        "--cache",
        type=INPUT,
        default=None,
        help="Folder of trained oracles.  [default: 'oracles' beside the result]",
    ),
    click.option(
        "--oracle-epochs",
        type=click.IntRange(min=1),
        default=None,
        help="Epochs of the oracles' training.  [default: until they are good]",
    ),
    device_option,
)

# Of MNIST's test images; below it, the oracle's own errors show in the figures.
_GOOD_ORACLE = 0.993

Loader = Callable[["_Request"], "Task"]


class _Request:
    """What a loader of data may ask for."""

    def __init__(
        self,
        data: Path,
        cache: Path,
        limit: int | None,
        oracle_epochs: int | None,
        device: torch.device,
        console: Console,
    ) -> None:
        self.data, self.cache, self.limit = data, cache, limit
        self.device, self.console = device, console
        self._oracle_epochs = oracle_epochs

    def oracle(self, kind: str, name: str, train: Any, test: Any) -> Oracle:  # noqa: ANN401
        """Return the oracle of these images, trained now if there is none yet."""
        from specvae_bench.paper.oracles import OracleSettings, oracle_for

        settings = OracleSettings(kind, epochs=self._oracle_epochs)
        self.console.log(f"oracle {kind} of {name}: from {self.cache}, or trained now")
        oracle = oracle_for(
            settings,
            train,
            test,
            self.cache,
            device=self.device,
            on_epoch=lambda epoch, loss: self.console.log(f"  epoch {epoch}: loss {loss:.4f}"),
        )
        accuracy = oracle.card.test_accuracy
        self.console.log(f"  test accuracy {accuracy:.4f}")
        if kind == "resnet18" and accuracy < _GOOD_ORACLE:
            self.console.log(
                f"  warning: a good oracle reaches {_GOOD_ORACLE:.1%}; this one's mistakes count "
                "against the model"
            )
        return oracle


def _split_task(request: _Request, name: str) -> Task:
    from specvae_bench.paper import experiments
    from specvae_bench.paper.images import read_mnist
    from specvae_bench.paper.tasks import SplitTask

    train, test = read_mnist(request.data)
    oracle = request.oracle("resnet18", "MNIST", train, test)
    experiment = experiments.mnist_split() if name == "mnist-split" else experiments.mnist_split_3()
    # The published code picks the best epoch on the first half of the test images; what is
    # reported here is measured on the other half alone.
    half = len(test) // 2
    first, second = test.take(slice(half)), test.take(slice(half, None))
    if request.limit:
        train, first, second = (fold.take(slice(request.limit)) for fold in (train, first, second))
    return SplitTask(experiment, train, first, second, oracle)


def _pair_task(request: _Request) -> Task:
    from specvae_bench.paper import experiments
    from specvae_bench.paper.images import pair_by_class, read_mnist, read_svhn
    from specvae_bench.paper.tasks import DigitPairTask

    sets = {
        experiments.MNIST: read_mnist(request.data / "mnist"),
        experiments.SVHN: read_svhn(request.data / "svhn"),
    }
    oracles = {
        name: request.oracle("digit-net", name.upper(), *pair) for name, pair in sets.items()
    }
    if request.limit:
        part = slice(request.limit)
        sets = {name: (train.take(part), test.take(part)) for name, (train, test) in sets.items()}
    train = {name: pair[0] for name, pair in sets.items()}
    test = {name: pair[1] for name, pair in sets.items()}
    pairs = {
        fold: pair_by_class(pair[experiments.MNIST].labels, pair[experiments.SVHN].labels)
        for fold, pair in (("train", train), ("test", test))
    }
    for fold, (index, _) in pairs.items():
        if not len(index):
            raise InputError(f"{request.data}: no two {fold} digits of MNIST and SVHN are the same")
    return DigitPairTask(experiments.mnist_svhn(), train, test, pairs, oracles)


def _caption_task(request: _Request) -> Task:
    from specvae_bench.paper import experiments
    from specvae_bench.paper.captions import read_captions
    from specvae_bench.paper.cca import CaptionMetric
    from specvae_bench.paper.tasks import CaptionTask

    captions = read_captions(request.data)
    path = request.cache / "caption-metric.safetensors"
    if path.exists():
        try:
            metric = CaptionMetric.load(path)
        except CheckpointError as error:
            raise CheckpointError(f"{error}; choose another --cache") from None
        try:
            metric.require_fitted_on(captions.train, captions.vocabulary)
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}; choose another --cache") from None
        request.console.log(f"caption metric: {path}")
    else:
        request.console.log("caption metric: word vectors and projections are fitted now")
        metric = CaptionMetric.fit(captions.train, captions.vocabulary)
        path.parent.mkdir(parents=True, exist_ok=True)
        metric.save(path)
    if request.limit:
        captions = captions.first(request.limit)
    return CaptionTask(experiments.cub_captions(len(captions.vocabulary)), captions, metric)


def _runs(
    kinds: tuple[str, ...],
    levels: tuple[float, ...],
    seeds: tuple[int, ...],
    shared: dict[str, Any],
) -> list[RunSettings]:
    from specvae_bench.paper.runs import RunSettings

    return [
        RunSettings(kind=kind, supervision=level, seed=seed, **shared)
        for kind in kinds
        for level in levels
        for seed in seeds
    ]


def _execute(load: Loader, options: Mapping[str, Any]) -> None:
    from specvae.vae.device import pick_device
    from specvae_bench.paper.report import require_benchmark, write_report
    from specvae_bench.paper.runs import finished, require_own, run

    console = Console()
    output: Path = options["output"]
    kinds = tuple(MODEL_KINDS if options["all_models"] else dict.fromkeys(options["kinds"]))
    shared = {
        name: options[name]
        for name in (
            "epochs",
            "batch_size",
            "learning_rate",
            "unpaired",
            "n_samples",
            "prior_expert",
            "variance",
            "amp",
            "subset_targets",
            "trainer",
        )
    }
    runs = _runs(kinds or ("svae",), options["levels"], options["seeds"], shared)
    folders = [output / run.folder if len(runs) > 1 else output for run in runs]
    device = pick_device(options["device"])
    output.mkdir(parents=True, exist_ok=True)  # if it cannot be made, no oracle is trained first
    cache = options["cache"] or output / "oracles"
    task = load(
        _Request(
            options["data"], cache, options["limit"], options["oracle_epochs"], device, console
        )
    )
    # What does not fit is said before the first run, not after hours.
    require_benchmark(output, task.experiment.name)
    for settings, folder in zip(runs, folders, strict=True):
        require_own(task, settings, folder)
    for number, (settings, folder) in enumerate(zip(runs, folders, strict=True), 1):
        label = f"{settings.kind}, supervision {settings.supervision:g}, seed {settings.seed}"
        console.log(f"run {number} of {len(runs)}: {label}")
        result = finished(task, settings, folder)
        if result is None:
            result = run(
                task,
                settings,
                folder,
                device=device,
                on_epoch=lambda record, figures: console.log(_epoch_line(record, figures)),
                on_step=lambda epoch, step, n: console.progress(f"epoch {epoch}", step, n),
            )
        else:
            console.log("  done before")
        figures = ", ".join(f"{name} {value:.4f}" for name, value in result["test"].items())
        click.echo(f"{label}: test {figures} (epoch {result['best_epoch']})")
    for path in write_report(output):
        click.echo(f"{path}")


def _epoch_line(record: EpochRecord, figures: Mapping[str, float]) -> str:
    shown = ", ".join(f"{name} {value:.4f}" for name, value in figures.items())
    return f"  epoch {record.epoch}: loss {record.total:.2f}, {shown} ({record.seconds:.0f} s)"


def _command(name: str, text: str, load: Loader) -> click.Command:
    def body(**options: Any) -> None:  # noqa: ANN401
        _execute(load, options)

    body.__doc__ = text
    function: Callable[..., None] = verbosity(settings_options(body))
    for option in reversed(_OPTIONS):
        function = option(function)
    return click.command(name)(function)


mnist_split = _command(
    "mnist-split",
    """Halves of digits: the paper's table 1 and figures 3, 4 and 6.

    One code is drawn for each test image from both halves, the upper, or the lower one; both halves
    are decoded from it, and an oracle, a ResNet-18, must see the digit in them. The first half of
    MNIST's test images picks the best epoch, the other half is reported.

    \\b
    Example:
      specvae bench mnist-split --data data/cache/mnist --model-kind vaevae --output split
      specvae bench mnist-split --data data/cache/mnist --all-models --supervision 1,0.1 -o sweep
    """,
    lambda request: _split_task(request, "mnist-split"),
)
mnist_split_3 = _command(
    "mnist-split-3",
    """Digits cut into three bands: the paper's figure 7.

    \\b
    Example:
      specvae bench mnist-split-3 --data data/cache/mnist --model-kind svae --output split3
    """,
    lambda request: _split_task(request, "mnist-split-3"),
)
mnist_svhn = _command(
    "mnist-svhn",
    """Written digits and house numbers: the paper's figure 8.

    --data holds two folders, mnist and svhn. Digits of the same class are paired 30 times over; two
    oracles say how often what is drawn or decoded together shows the same digit.

    \\b
    Example:
      specvae bench mnist-svhn --data data/cache --model-kind svae --output svhn
    """,
    _pair_task,
)
cub_captions = _command(
    "cub-captions",
    """Birds and what is said of them: the paper's figure 9.

    --data holds captions and features of the images (docs/benchmarks.md tells the format); what is
    drawn or decoded together is judged by canonical correlation.

    \\b
    Example:
      specvae bench cub-captions --data data/cache/cub --model-kind vaevae --output cub
    """,
    _caption_task,
)
