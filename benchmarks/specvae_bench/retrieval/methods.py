"""The methods of `bench retrieval` by name; light, so that ``--help`` can list them."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING, NamedTuple, cast

from specvae.errors import InputError

if TYPE_CHECKING:
    from specvae_bench.retrieval.comparison import Comparison

# The fingerprints of the methods that have rows in two.
LAYOUTS = ("mixed2149", "morgan4096")
ALL = "all"
_FLASH = "matchms.similarity.FlashSimilarity"


class Options(NamedTuple):
    """Settings that methods share.

    Parameters
    ----------
    steps
        Steps of training.
    seed
        Of what a method draws.
    device
        Where torch computes: auto, cpu or cuda.
    """

    steps: int = 1500
    seed: int = 0
    device: str = "auto"


class Method(NamedTuple):
    """A method and where it is.

    Parameters
    ----------
    about
        What it does, for ``--help``.
    target
        Module of this package and function that adds the method's rows to a comparison.
    trains
        Whether it learns from the library first, for minutes.
    needs
        A module that not every installation has.
    """

    about: str
    target: str
    trains: bool = False
    needs: str = ""

    @property
    def add(self) -> Callable[[Comparison, Options], None]:
        """The function that adds the method's rows to a comparison."""
        module, _, name = self.target.partition(":")
        function = getattr(importlib.import_module(f"specvae_bench.retrieval.{module}"), name)
        return cast("Callable[[Comparison, Options], None]", function)

    @property
    def is_installed(self) -> bool:
        """Whether the module that the method needs is there."""
        if not self.needs:
            return True
        # A part is looked for beside its package: importing matchms takes seconds.
        name, *parts = self.needs.split(".")
        found = importlib.util.find_spec(name)
        for part in parts:
            if found is None or found.submodule_search_locations is None:
                return False
            name = f"{name}.{part}"
            found = PathFinder.find_spec(name, found.submodule_search_locations)
        return found is not None


METHODS = {
    "random": Method("order of chance", "lookups:add_random"),
    "blind": Method("bit frequencies of the library, no spectrum", "lookups:add_blind"),
    "analogues": Method(
        "votes of compounds with similar spectra (our cosine): one nearest, sum of 30",
        "lookups:add_analogues",
    ),
    "modified-cosine": Method(
        "the same votes, by matchms' modified cosine",
        "lookups:add_modified_cosine",
        needs=_FLASH,
    ),
    "spectral-entropy": Method(
        "the same votes, by spectral entropy (matchms)",
        "lookups:add_spectral_entropy",
        needs=_FLASH,
    ),
    "fragments": Method(
        "MetFrag's score of the peaks that cut bonds explain", "fragments:add_fragments"
    ),
    "learned-fragments": Method(
        "the same peaks, weighted by kind of cut as the library teaches",
        "fragments:add_learned_fragments",
        trains=True,
    ),
    "plain-network": Method(
        "two hidden layers, BCE on the bits", "learners:add_plain_network", trains=True
    ),
    "fingerprint-ffn": Method(
        "MassSpecGym's network on 1 Th bins, cosine loss",
        "learners:add_fingerprint_ffn",
        trains=True,
    ),
    "deepsets": Method(
        "MassSpecGym's DeepSets on Fourier features of peaks", "learners:add_deepsets", trains=True
    ),
    "contrastive": Method(
        "cosine in a learned space, contrastive loss (De Waele et al.)",
        "learners:add_contrastive",
        trains=True,
    ),
}


def chosen_methods(names: Sequence[str]) -> list[str]:
    """Return the methods that `names` ask for, in the order of `METHODS`.

    None asks for those that train nothing and are installed; ``all`` for every one.

    Raises
    ------
    InputError
        If one is asked for that needs a module that is not installed.
    """
    if not names:
        return [name for name, m in METHODS.items() if not m.trains and m.is_installed]
    chosen = [name for name in METHODS if name in names or ALL in names]
    for name in chosen:
        if not METHODS[name].is_installed:
            raise InputError(
                f"--method {name} needs {METHODS[name].needs}, which is not there: install specvae "
                "with its extra 'bench', or choose other methods"
            )
    return chosen


def listing() -> str:
    """Return a line for each method."""
    width = max(map(len, METHODS))
    return "\n".join(
        f"  {name:<{width}}  {method.about}{'; trains' if method.trains else ''}"
        for name, method in METHODS.items()
    )
