"""The local web page and JSON API of ``specvae serve``.

One model ranks the jobs of all clients, one after the other. The uploads of a job are in a folder
of their own, which is removed with the job: by the client, after a while, or at the end.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import queue
import re
import secrets
import shutil
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import resources
from pathlib import Path
from types import FrameType
from typing import IO, Any

import h11
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from specvae.annotation.output.html import write_report
from specvae.annotation.output.provenance import described
from specvae.annotation.output.provenance import provenance as made_by
from specvae.annotation.output.tables import write_annotations, write_summary
from specvae.annotation.ranking.annotator import Annotator
from specvae.annotation.ranking.options import RunOptions
from specvae.annotation.ranking.result import QueryResult
from specvae.annotation.ranking.run import RankingRun
from specvae.cli.forms import FormRequest, parsed_form
from specvae.errors import SpecvaeError
from specvae.files import atomic_text
from specvae.molecules.quiet import take_interrupts
from specvae.report import ReadReport

TABLES = ("ranked.csv", "ranked.tsv", "ranked.jsonl", "ranked.mztab", "summary.csv")
RESULTS = (*TABLES, "report.html", "skipped.csv", "provenance.json")
"""Files that a finished job offers."""

_log = logging.getLogger(__name__)

LOOPBACK = ("127.0.0.1", "localhost", "::1")
_UNSAFE_CHARACTER = re.compile(r"[^\w.+-]")
_MOST_FILES = 20
MOST_JOBS = 64  # kept at once, those waiting included
_CHUNK = 1 << 20
INTERRUPTS_EVERY = 0.5  # s
_LONGEST_ERROR = 500  # characters: of a value that is quoted, the beginning says enough


@dataclass(frozen=True)
class RequestLimits:
    """Limits for clients.

    Attributes
    ----------
    upload
        Bytes of one request.
    kept
        Seconds for which a finished job is kept.
    """

    upload: int = 200 * 2**20
    kept: float = 3600.0


class _JobDroppedError(Exception):
    """Nobody wants a job's result any more."""


@dataclass(eq=False)
class Job:
    """A job: queries of a client that are to be ranked.

    Attributes
    ----------
    folder
        The folder of its files.
    spectra, candidates
        The files; candidates may be the server's.
    options
        Options of the run, without its candidates.
    state
        ``queued``, ``running``, ``done`` or ``failed``.
    """

    folder: Path
    spectra: list[Path]
    candidates: Path
    options: dict[str, Any]
    state: str = "queued"
    done: int = 0
    total: int = 0
    lines: list[str] = field(default_factory=list)
    error: str = ""
    ended: float = 0.0
    is_dropped: bool = False

    def status(self) -> dict[str, Any]:
        """Return the job's state as it is sent to a client."""
        return {
            "state": self.state,
            "done": self.done,
            "total": self.total,
            "lines": self.lines,
            "error": self.error,
            "files": list(RESULTS) if self.state == "done" else [],
        }

    def log(self, message: str) -> None:
        """Ignore log lines: the result has all messages."""

    def progress(self, stage: str, done: int, total: int | None = None) -> None:
        """Store the progress of the ranking; end it if the job was removed."""
        if self.is_dropped:
            raise _JobDroppedError
        if stage == "ranking queries":
            self.done, self.total = done, total or 0


class JobRunner:
    """Takes jobs and ranks them, one after the other, in a thread of its own.

    Parameters
    ----------
    annotator
        The model.
    model
        Its file.
    folder
        The folder of uploads and results.
    candidates
        Candidates for jobs without their own; None: each job must have some.
    limits
        Limits for clients.
    """

    def __init__(
        self,
        annotator: Annotator,
        model: Path,
        folder: Path,
        candidates: Path | None = None,
        limits: RequestLimits | None = None,
    ) -> None:
        self.annotator, self.model, self.candidates = annotator, model, candidates
        self.limits = limits or RequestLimits()
        self.jobs: dict[str, Job] = {}
        self._folder = folder
        self._waiting: queue.Queue[Job | None] = queue.Queue()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def start(self) -> None:
        """Start the thread that ranks."""
        self._thread.start()

    def stop(self) -> None:
        """Give up the job at hand, end, and remove all files."""
        for name in list(self.jobs):
            self.drop(name)
        self._waiting.put(None)
        self._thread.join()

    def room(self) -> Path:
        """Return a new folder for a job."""
        self._sweep()
        folder = self._folder / secrets.token_urlsafe(16)
        folder.mkdir()
        return folder

    def add(self, job: Job) -> str:
        """Queue a job and return its name, which nobody can guess."""
        name = job.folder.name
        with self._lock:
            if len(self.jobs) >= MOST_JOBS:
                raise HTTPException(503, "too many jobs are kept; try again later")
            self.jobs[name] = job
        self._waiting.put(job)
        return name

    def drop(self, name: str) -> bool:
        """Remove a job and its files; False if there is no job of that name."""
        with self._lock:
            job = self.jobs.pop(name, None)
            if job is None:
                return False
            job.is_dropped = True
            if job.state != "running":  # else the thread removes them when it has finished
                shutil.rmtree(job.folder, ignore_errors=True)
        return True

    def _sweep(self) -> None:
        now = time.monotonic()
        for name, job in list(self.jobs.items()):
            if job.ended and now - job.ended > self.limits.kept:
                self.drop(name)

    def _work(self) -> None:
        while (job := self._waiting.get()) is not None:
            with self._lock:
                if job.is_dropped:
                    continue
                job.state = "running"
            try:
                self._rank(job)
                state = "done"
            except _JobDroppedError:
                state = "failed"
            except SpecvaeError as error:
                job.error, state = self._without_paths(str(error), job), "failed"
            except Exception as error:
                _log.exception("a job failed for a defect of the program")
                job.error, state = f"internal error: {type(error).__name__}", "failed"
            with self._lock:
                job.state, job.ended = state, time.monotonic()
                if job.is_dropped:
                    shutil.rmtree(job.folder, ignore_errors=True)

    def _without_paths(self, text: str, job: Job) -> str:
        text = text.replace(f"{job.folder}/", "")
        return text.replace(str(job.candidates), job.candidates.name)

    def _rank(self, job: Job) -> None:
        least = job.options.pop("min_probability", None)
        top = job.options.pop("top", 10)
        options = RunOptions(candidates=job.candidates, n_jobs=1, **job.options)
        run = RankingRun(self.annotator, options, job)
        found = run.results(job.spectra, top=top, least=least, explained=True)
        job.done = job.total
        names = [path.name for path in job.spectra]
        of_file = [names[n] for n in found.file_numbers] if len(names) > 1 else None
        results = [_named(result) for result in found.results]
        made = self._made(job, options, top, least)
        told = run.told(found).each(partial(self._without_paths, job=job))
        job.lines = list(told.shown())
        digest = made["inputs"]["model"]["weights_sha256"]
        shown = {"candidates": job.candidates.name, "model digest": digest}
        for table in TABLES:
            with atomic_text(job.folder / table) as stream:
                suffix = table.rpartition(".")[2]
                if table.startswith("summary"):
                    write_summary(results, stream, suffix, of_file)
                else:
                    write_annotations(results, stream, suffix, provenance=shown, files=of_file)
        write_report(
            results,
            job.folder / "report.html",
            title=f"Annotations of {names[0] if len(names) == 1 else f'{len(names)} files'}",
            provenance=described(made),
            told=told,
            files=of_file,
        )
        with atomic_text(job.folder / "provenance.json") as stream:
            json.dump(made, stream, indent=2)
        skips = [*run.queries.skips, *run.candidates.skips]
        named = [replace(skip, path=Path(skip.path).name) for skip in skips]
        ReadReport(skips=named).write_csv(job.folder / "skipped.csv")
        for path in (*job.spectra, job.candidates):
            if path.parent == job.folder:
                path.unlink()

    def _made(
        self, job: Job, options: RunOptions, top: int | None, least: float | None
    ) -> dict[str, Any]:
        """Return the provenance of the result, with names of files instead of their paths."""
        made = made_by(
            options, self.annotator.header, queries=job.spectra, model=self.model,
            top=top, min_probability=least,
        )  # fmt: skip
        inputs = made["inputs"]
        for file in (*inputs["queries"], inputs["candidates"], inputs["model"]):
            file["path"] = Path(file["path"]).name
        return json.loads(json.dumps(made, default=str))  # type: ignore[no-any-return]


def _named(result: QueryResult) -> QueryResult:
    """Return a result whose query has the name of its file, not the path on this machine."""
    query = result.query
    if query is None:
        return result
    spectrum = replace(query.spectrum, path=Path(query.spectrum.path or "").name)
    return replace(result, query=replace(query, spectrum=spectrum))


# --- Requests -------------------------------------------------------------------------------------


class Guard:
    """Admits requests with the token or from a page of this server, with bodies of limited size.

    Parameters
    ----------
    app
        The application behind it.
    token
        None: no token is required, but the request must address this machine by a local name.
    most
        Largest size of a request's body in bytes.
    """

    def __init__(self, app: ASGIApp, token: str | None, most: int) -> None:
        self._app, self._token, self._most = app, token, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer refused requests; pass on the others."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        refused = self._refused(request)
        if refused is not None:
            await refused(scope, receive, send)
            return
        n_bytes = 0

        async def counted() -> Message:
            nonlocal n_bytes
            message = await receive()
            n_bytes += len(message.get("body", b""))
            if n_bytes > self._most:
                raise HTTPException(413, f"more than {self._most:,} bytes")
            return message

        await self._app(scope, counted, send)

    def _refused(self, request: Request) -> Response | None:
        own = request.headers.get("host", "").lower()
        host = re.sub(r":\d+$", "", own).strip("[]")
        if self._token is None and host not in LOOPBACK:
            # A foreign page may let its own name resolve to this machine's address.
            return _error(403, "this server answers to names of this machine only")
        origin = request.headers.get("origin")
        if origin is not None and origin.partition("://")[2].lower() != own:
            return _error(403, "requests from pages of other servers are refused")
        if self._token is not None:
            given = request.headers.get("authorization", "").removeprefix("Bearer ")
            given = given or request.query_params.get("token", "")
            if not hmac.compare_digest(given.encode(), self._token.encode()):
                return _error(401, "a token is wanted: ?token=... or Authorization: Bearer ...")
        length = request.headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self._most:
            return _error(413, f"more than {self._most:,} bytes")
        return None


def create_app(runner: JobRunner, *, token: str | None = None) -> Starlette:
    """Return the application: page, API, and the runner that starts and stops with it.

    Parameters
    ----------
    runner
        Ranks the jobs.
    token
        The token that each request must have; None: only this machine is served.
    """

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        runner.start()
        interrupts = asyncio.create_task(_keep_interrupts())
        yield
        interrupts.cancel()
        await run_in_threadpool(runner.stop)

    app = Starlette(
        routes=_Routes(runner).listed(),
        exception_handlers={HTTPException: _refused},
        lifespan=lifespan,
    )
    app.add_middleware(Guard, token=token, most=runner.limits.upload)
    return app


async def _keep_interrupts() -> None:
    """Restore the handler of Ctrl-C regularly, as RDKit replaces it in the thread of the jobs."""
    while True:
        take_interrupts()
        await asyncio.sleep(INTERRUPTS_EVERY)


def _told_in_a_line(record: logging.LogRecord) -> bool:
    """Shorten what uvicorn logs of a client that breaks HTTP, whose request has no answer.

    A body in chunks may end in something else. uvicorn then refuses it, and fails again where the
    request is answered, too.
    """
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, h11.LocalProtocolError):
        record.levelno, record.levelname = logging.WARNING, "WARNING"
        record.msg, record.args = f"a request could not be answered: {error}", None
        record.exc_info = record.exc_text = None
    return True


class Server(uvicorn.Server):
    """A server whose end is not cut short by a second Ctrl-C.

    The jobs are stopped then. A thread that went on with one while Python ends may hold what Python
    waits for, for ever.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        logging.getLogger("uvicorn.error").addFilter(_told_in_a_line)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End the server."""
        super().handle_exit(sig, frame)
        self.force_exit = False


class _Routes:
    """A runner's answers to requests."""

    def __init__(self, runner: JobRunner) -> None:
        self._runner = runner

    def listed(self) -> list[Route]:
        return [
            Route("/", self.page),
            Route("/api/jobs", self.submit, methods=["POST"]),
            Route("/api/jobs/{job}", self.status),
            Route("/api/jobs/{job}", self.remove, methods=["DELETE"]),
            Route("/api/jobs/{job}/{file}", self.result),
        ]

    async def page(self, request: Request) -> Response:
        return HTMLResponse(_page(self._runner), headers=_HEADERS)

    async def submit(self, request: Request) -> Response:
        try:
            name = await _submitted(FormRequest(request.scope, request.receive), self._runner)
        except ClientDisconnect:  # nobody reads the answer
            return _error(400, "the connection ended before the request")
        except asyncio.CancelledError:  # it took too long when the server was stopped
            return _error(503, "the server is being stopped")
        return JSONResponse({"job": name}, status_code=202)

    async def status(self, request: Request) -> Response:
        return JSONResponse(_job(request, self._runner).status())

    async def result(self, request: Request) -> Response:
        job, name = _job(request, self._runner), request.path_params["file"]
        if job.state != "done" or name not in RESULTS:
            raise HTTPException(404, "no such file")
        if name.endswith(".html"):
            return FileResponse(job.folder / name, headers=_HEADERS)
        return FileResponse(job.folder / name, filename=name)

    async def remove(self, request: Request) -> Response:
        if not await run_in_threadpool(self._runner.drop, request.path_params["job"]):
            raise HTTPException(404, "no such job")
        return Response(status_code=204)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _error(error.status_code, error.detail)


_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; connect-src 'self'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}


async def _submitted(request: FormRequest, runner: JobRunner) -> str:
    """Store the files of a form and queue a job; return its name."""
    request.require_form()
    async with request.form(max_files=_MOST_FILES, max_fields=_MOST_FILES) as form:
        request.require_end()
        spectra, candidates, options = parsed_form(form)
        folder = runner.room()
        try:
            paths = [await _stored(file, folder) for file in spectra]
            structures = runner.candidates
            if candidates is not None:
                structures = await _stored(candidates, folder)
            if structures is None:
                raise HTTPException(400, "candidates: found none, wanted a table of structures")
            return runner.add(Job(folder, paths, structures, options))
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise


async def _stored(file: UploadFile, folder: Path) -> Path:
    """Store an upload under its own name, without unsafe characters, and never over another."""
    name = _UNSAFE_CHARACTER.sub("_", Path((file.filename or "").replace("\\", "/")).name).lstrip(
        "."
    )[-100:]
    name = name or "upload"
    path = folder / name
    number = 1
    while path.exists() or path.name in RESULTS:
        number += 1
        path = folder / f"{number}-{name}"  # stands in the column `file`: the same each time
    with path.open("wb") as stream:
        while chunk := await file.read(_CHUNK):
            await run_in_threadpool(_write, stream, chunk)
    return path


def _write(stream: IO[bytes], chunk: bytes) -> None:
    stream.write(chunk)


def _job(request: Request, runner: JobRunner) -> Job:
    job = runner.jobs.get(request.path_params["job"])
    if job is None:
        raise HTTPException(404, "no such job")
    return job


def _error(status: int, text: str) -> Response:
    text = text if len(text) <= _LONGEST_ERROR else f"{text[:_LONGEST_ERROR]}..."
    return JSONResponse({"error": text}, status_code=status)


def _page(runner: JobRunner) -> str:
    source = resources.files("specvae.cli") / "serve.html"
    text = source.read_text(encoding="utf-8")
    wanted, or_own = ("", "; else the server's own") if runner.candidates else ("required", "")
    return text.replace("{{wants_candidates}}", wanted).replace("{{or_own}}", or_own)
