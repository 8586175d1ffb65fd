"""Progress of long work, for its caller to show; the library itself prints nothing."""

from __future__ import annotations

import importlib.util
import sys
from typing import Any, Protocol

_LEAST_IN_THOUSANDS = 10_000  # fewer items are counted as they are, not as 9.99k


class Progress(Protocol):
    """What a caller may want to show."""

    def log(self, message: str) -> None:
        """Take a line that a user should read."""

    def progress(self, stage: str, done: int, total: int | None = None) -> None:
        """Take how far a stage is."""


class Silence:
    """A `Progress` that shows nothing."""

    def log(self, message: str) -> None:
        """Drop the line."""

    def progress(self, stage: str, done: int, total: int | None = None) -> None:
        """Drop the count."""


class Bars(Silence):
    """A `Progress` that shows a bar with rate and time left, by tqdm.

    Parameters
    ----------
    in_notebook
        Whether the bar is one of a notebook, if ipywidgets is installed; else it is a line of
        stderr.
    """

    def __init__(self, in_notebook: bool = False) -> None:
        self._in_notebook = in_notebook
        self._stage = ""
        self._bar: Any = None

    def progress(self, stage: str, done: int, total: int | None = None) -> None:
        """Show how far a stage is; its bar goes away with the next stage, or when it is done."""
        if self._bar is None or stage != self._stage or done < self._bar.n:
            self.close()
            self._open(stage, done, total)
        self._bar.total = total
        self._bar.update(done - self._bar.n)
        if done == total:
            self.close()

    def _open(self, stage: str, done: int, total: int | None) -> None:
        # Importing takes a while; only long work shows a bar.
        if self._in_notebook and importlib.util.find_spec("ipywidgets") is not None:
            from tqdm.auto import tqdm as bar
        else:
            from tqdm import tqdm as bar
        self._stage = stage
        # A stage that goes on from earlier work begins where that ended: its rate is today's.
        is_long = total is None or total >= _LEAST_IN_THOUSANDS
        self._bar = bar(
            desc=stage, total=total, initial=done, leave=False, unit_scale=is_long,
            dynamic_ncols=True,
        )  # fmt: skip

    def clear(self) -> None:
        """Take the bar away until there is something new, so that a line can be written."""
        if self._bar is not None:
            self._bar.clear()

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def pace(done: int, total: int | None, seconds: float, initial: int = 0) -> str:
    """Return how far work is, its rate and the time left.

    Such as ``42 of 100 (42%), 7 a second, 8 s left``.

    Parameters
    ----------
    done, total
        Items that are done, and all of them, None if unknown.
    seconds
        Since the work began.
    initial
        What was done already when it began; not part of the rate.
    """
    text = f"{done:,} of {total:,} ({done / total:.0%})" if total else f"{done:,}"
    if done <= initial or seconds <= 0.0:
        return text
    rate = (done - initial) / seconds  # a second
    per_second = f"{rate:,.0f}" if rate >= 100.0 else f"{rate:.3g}"
    text += f", {per_second} a second"
    if total and total > done:
        left = round((total - done) / rate)
        if left >= 3600:
            remaining = f"{left // 3600} h {left // 60 % 60} min"
        else:
            remaining = f"{left // 60} min" if left >= 120 else f"{left} s"
        text += f", {remaining} left"
    return text


def in_notebook() -> bool:
    """Return whether this runs in a notebook's kernel, without importing what others have not."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and "IPKernelApp" in shell.config
