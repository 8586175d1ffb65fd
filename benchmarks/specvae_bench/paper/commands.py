"""The image and text experiments of `specvae bench`: one run or a sweep each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from specvae.cli.console import Console, verbosity
from specvae.cli.defaults import settings_options
from specvae.cli.help import Choice, Command
from specvae.cli.options import INPUT, NumberRange, WholeRange, add_options, device_option
from specvae.cli.outputs import require_writable
from specvae.interruption import STOPPING
from specvae.vae.kinds import MODEL_KINDS

if TYPE_CHECKING:
    import torch

    from specvae.vae.state import EpochRecord
    from specvae_bench.paper.images import ImageSet
    from specvae_bench.paper.oracles import Oracle
    from specvae_bench.paper.runs import RunSettings


_Option = Callable[[Callable[..., None]], Callable[..., None]]


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
        type=Choice(tuple(MODEL_KINDS)),
        multiple=True,
        help="Posteriors and objective (repeatable); see 'specvae docs models'.  [default: svae]",
    ),
    click.option(
        "--all-models", is_flag=True, help="Every kind in turn, in place of --model-kind."
    ),
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
        "--epochs",
        type=WholeRange(min=1),
        default=None,
        help="Epochs of training; more than before continue a run.  [default: the paper's]",
    ),
    click.option(
        "--batch-size",
        type=WholeRange(min=1),
        default=None,
        help="Examples of each stream in a step.  [default: the paper's]",
    ),
    click.option(
        "--learning-rate",
        type=NumberRange(min=0.0, min_open=True),
        default=None,
        help="Adam's learning rate.  [default: the paper's]",
    ),
    click.option(
        "--unpaired",
        type=Choice(["all", "rest", "none"]),
        default=None,
        help="Unpaired examples: all of them, those not paired, or none.  [default: all, as in the "
        "paper's code; none for kinds that learn from pairs only]",
    ),
    click.option(
        "--n-samples",
        type=WholeRange(min=1),
        default=None,
        help="Latent codes for each expectation; K of MMVAE.  [default: 10 for mmvae and "
        "mmvae-iwae, else 1]",
    ),
    click.option(
        "--prior-expert/--no-prior-expert",
        default=True,
        show_default=True,
        help="Multiply the prior into products, as in the paper's code but not in its text.",
    ),
    click.option(
        "--variance",
        type=Choice(["logvar", "softplus_var", "softplus_sd"]),
        default=None,
        help="How encoders express the variance.  [default: as in the paper's code]",
    ),
    click.option(
        "--subset-targets",
        type=Choice(["given", "all"]),
        default="given",
        show_default=True,
        help="What two of three parts reconstruct: themselves, as in the paper's eq 30, or all "
        "parts, as in its code.",
    ),
    click.option("--amp", is_flag=True, help="Matrix products in bfloat16."),
    click.option(
        "--trainer",
        type=Choice(["specvae", "multivae"]),
        default="specvae",
        show_default=True,
        help="multivae: the same networks, trained by the peer (jmvae, mvae, mmvae, mmvae-iwae; on "
        "the CPU; extra 'peers').",
    ),
    click.option(
        "--limit",
        type=WholeRange(min=1),
        default=None,
        help="Use only this many examples of each fold, for a trial; oracles learn from all.",
    ),
    click.option(
        "--cache",
        type=INPUT,
        default=None,
        help="Folder of trained oracles.  [default: 'oracles' beside the result]",
    ),
    click.option(
        "--oracle-epochs",
        type=WholeRange(min=1),
        default=None,
        help="Epochs of the oracles' training.  [default: until they are good]",
    ),
    device_option,
)

_NETWORKS = click.option(
    "--networks",
    type=Choice(["paper", "dense"]),
    default="paper",
    show_default=True,
    help="dense: a layer of 400 units in place of the convolutions, 50 epochs and the learning "
    "rate 0.001, for a processor; figures are not the paper's.",
)

# Of MNIST's test images; below it, the oracle's own errors show in the figures.
_GOOD_ORACLE = 0.993


class _Request:
    """Where data and judges come from, as options say."""

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

    def log(self, text: str) -> None:
        """Tell of something that takes time."""
        self.console.log(text)

    def oracle(self, kind: str, name: str, train: ImageSet, test: ImageSet) -> Oracle:
        """Return the oracle of these images, trained now if there is none yet."""
        from specvae_bench.paper.oracles import OracleSettings, oracle_for

        settings = OracleSettings(kind, epochs=self._oracle_epochs)
        self.console.log(
            f"oracle {kind} of {name}: kept in {self.cache}, trained if it is not there"
        )
        oracle = oracle_for(
            settings,
            train,
            test,
            self.cache,
            device=self.device,
            on_epoch=lambda epoch, loss: self.console.log(f"  epoch {epoch}: loss {loss:.4f}"),
            on_step=lambda epoch, step, n_steps: self.console.progress(
                f"oracle, epoch {epoch}, step", step, n_steps
            ),
        )
        accuracy = oracle.card.test_accuracy
        self.console.log(f"  test accuracy {accuracy:.4f}")
        if kind == "resnet18" and accuracy < _GOOD_ORACLE:
            self.console.log(
                f"  warning: a good oracle reaches {_GOOD_ORACLE:.1%}; this one's mistakes count "
                "against the model"
            )
        return oracle


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


def _execute(experiment: str, options: Mapping[str, Any]) -> None:
    from specvae.vae.device import pick_device
    from specvae_bench.paper.loaders import LOADERS
    from specvae_bench.paper.report import require_benchmark, require_own_report, write_report
    from specvae_bench.paper.runs import RESULT, finished, require_own, run

    console = Console()
    output: Path = options["output"]
    if options.get("networks", "paper") != "paper":
        experiment = f"{experiment}-{options['networks']}"
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
    # What does not fit is said at once, not after oracles are trained, nor after the first run.
    for each in runs:
        each.require_possible()
    folders = [output / run.folder if len(runs) > 1 else output for run in runs]
    device = pick_device(options["device"])
    require_own_report(output)
    cache = options["cache"] or output / "oracles"
    for path in (output / RESULT, cache / "oracle"):
        require_writable(path)  # else no oracle is trained first
    task = LOADERS[experiment](
        _Request(
            options["data"], cache, options["limit"], options["oracle_epochs"], device, console
        )
    )
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
                on_interrupt=lambda: console.log(STOPPING),
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


def _command(name: str, text: str, *further: _Option) -> click.Command:
    def body(**options: Any) -> None:  # noqa: ANN401
        _execute(name, options)

    body.__doc__ = text
    decorated = add_options(*_OPTIONS, *further, verbosity, settings_options)(body)
    return click.command(name, cls=Command)(decorated)


mnist_split = _command(
    "mnist-split",
    """Halves of digits: the paper's table 1 and figures 3, 4 and 6.

    One code is drawn for each test image from both halves, the upper, or the lower one. Both halves
    are decoded from it, and an oracle, a ResNet-18, must recognise the digit in them. The first
    half of MNIST's test images picks the best epoch; figures are reported for the other half.

    \b
    Example:
      specvae bench mnist-split --data data/cache/mnist --model-kind vaevae --output split
      specvae bench mnist-split --data data/cache/mnist --all-models --supervision 1,0.1 -o sweep
    """,
    _NETWORKS,
)
mnist_split_3 = _command(
    "mnist-split-3",
    """Digits cut into three bands: the paper's figure 7.

    \b
    Example:
      specvae bench mnist-split-3 --data data/cache/mnist --model-kind svae --output split3
    """,
    _NETWORKS,
)
mnist_svhn = _command(
    "mnist-svhn",
    """Written digits and house numbers: the paper's figure 8.

    --data holds two folders, mnist and svhn. Digits of the same class are paired 30 times over. Two
    oracles measure how often images that are drawn or decoded together show the same digit.

    \b
    Example:
      specvae bench mnist-svhn --data data/cache --model-kind svae --output svhn
    """,
)
cub_captions = _command(
    "cub-captions",
    """Birds and their captions: the paper's figure 9.

    --data holds captions and features of the images; 'specvae docs benchmarks' describes the
    format. What is drawn or decoded together is judged by canonical correlation.

    \b
    Example:
      specvae bench cub-captions --data data/cache/cub --model-kind vaevae --output cub
    """,
)
mnist_colour = _command(
    "mnist-colour",
    """A stand-in for mnist-svhn that is made from MNIST's files alone.

    Beside each written digit stands another of its class in colour, 3 x 32 x 32, on a ground of
    pieces of other digits. Networks and figures are those of mnist-svhn; the numbers are not
    those of SVHN.

    \b
    Example:
      specvae bench mnist-colour --data data/cache/mnist --model-kind svae --output colour
    """,
)
mnist_captions = _command(
    "mnist-captions",
    """A stand-in for cub-captions that is made from MNIST's files alone.

    A sentence tells of each written digit which it is, how thick, slanted and large, and where it
    stands; what is drawn or decoded together is compared by reading the sentence and measuring the
    picture. The sentences have the networks of CUB's captions; the numbers are not those of CUB.

    \b
    Example:
      specvae bench mnist-captions --data data/cache/mnist --model-kind vaevae --output captions
    """,
)
