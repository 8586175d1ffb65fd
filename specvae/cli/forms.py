"""What a client of ``specvae serve`` sends: a form with files and options."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping
from pathlib import Path
from typing import Any, TypeGuard

from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from specvae.annotation.library.query import Assumptions
from specvae.annotation.ranking.options import RunOptions
from specvae.cli.options import number_as_written
from specvae.errors import SpecvaeError


def _shares(text: str) -> float | tuple[float, ...]:
    shares = tuple(map(number_as_written, text.split(",")))
    return shares[0] if len(shares) == 1 else shares


def _top(text: str) -> int | None:
    if text.strip().lower() == "all":
        return None
    if "_" in text:  # see `number_as_written`
        raise ValueError(text)
    return int(text)


_NUMBERS: Mapping[str, Callable[[str], Any]] = {
    "ppm": number_as_written,
    "in_list": number_as_written,
    "known": _shares,
    "min_probability": number_as_written,
    "top": _top,
}
_FILES = ("spectra", "candidates")
_TEXTS = ("ion_mode", "assume_adduct", "assume_ion_mode", "try_adducts", "merge_by")


class FormRequest(Request):
    """A request with a form of several parts; the last part is lost where its end is missing.

    Attributes
    ----------
    is_whole
        Whether the line that ends the form was read.
    """

    is_whole = False

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """Yield the body, and look for the line that ends the form."""
        _, found = parse_options_header(self.headers.get("content-type"))
        end = b"--%b--" % found.get(b"boundary", b"")
        seen = b""
        async for chunk in super().stream():
            seen = seen[-len(end) :] + chunk
            self.is_whole = self.is_whole or end in seen
            yield chunk

    def require_form(self) -> None:
        """Fail if the body is no form, or a compressed one."""
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "multipart/form-data":
            raise HTTPException(415, f"found {kind or 'no type'}, wanted multipart/form-data")
        coding = self.headers.get("content-encoding", "identity").lower()
        if coding != "identity":
            raise HTTPException(415, f"found a body in {coding}, wanted one that is not compressed")

    def require_end(self) -> None:
        """Fail if the form that was read has no end."""
        if not self.is_whole:
            raise HTTPException(400, "the form has no end: its last part is lost")


def parsed_form(form: FormData) -> tuple[list[UploadFile], UploadFile | None, dict[str, Any]]:
    """Return the files of spectra, that of candidates if there is one, and options of the run.

    Raises
    ------
    HTTPException
        If a field is unknown, of the wrong kind or there too often, or no spectra are there.
    """
    for name, value in form.multi_items():
        is_file = isinstance(value, UploadFile)
        known = _FILES if is_file else (*_FILES, *_NUMBERS, *_TEXTS)
        if name not in known:
            raise HTTPException(400, f"unknown field {name!r}")
        if isinstance(value, str) and name in _FILES and value.strip():
            raise HTTPException(400, f"{name}: found text, wanted a file")
    for name, n in Counter(name for name, _ in form.multi_items()).items():
        if n > 1 and name != "spectra":
            raise HTTPException(400, f"{name}: found {n}, wanted one")
    spectra = [file for file in form.getlist("spectra") if _is_file(file)]
    if not spectra:
        raise HTTPException(400, "spectra: found none, wanted files of spectra")
    candidates = form.get("candidates")
    texts = {
        name: value for name, value in form.items() if isinstance(value, str) and value.strip()
    }
    return spectra, candidates if _is_file(candidates) else None, _options(texts)


def _is_file(value: UploadFile | str | None) -> TypeGuard[UploadFile]:
    """Return whether a value is a file; a page sends an empty one without name where none is."""
    return isinstance(value, UploadFile) and bool(value.filename or value.size)


def _options(texts: Mapping[str, str]) -> dict[str, Any]:
    """Return the options that a form's fields name.

    Raises
    ------
    HTTPException
        If one is no number, or names no ion species.
    """
    options: dict[str, Any] = {}
    for name, text in texts.items():
        if name in _NUMBERS:
            try:
                options[name] = _NUMBERS[name](text)
            except ValueError:
                wanted = "a number or all" if name == "top" else "a number"
                raise HTTPException(400, f"{name}: found {text!r}, wanted {wanted}") from None
        else:
            options[name] = text
    top = options.get("top")
    if top is not None and top < 1:
        raise HTTPException(400, "top: wanted a number of 1 or more")
    if not 0.0 <= options.get("min_probability", 0.0) <= 1.0:
        raise HTTPException(400, "min_probability: wanted a number from 0 to 1")
    try:
        of_run = {k: v for k, v in options.items() if k not in ("top", "min_probability")}
        run = RunOptions(candidates=Path(), **of_run)
        Assumptions.parse(run.assume_adduct, run.assume_ion_mode, run.try_adducts)
    except SpecvaeError as error:
        raise HTTPException(400, str(error)) from None
    return options
