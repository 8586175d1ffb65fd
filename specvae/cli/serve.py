"""`specvae serve`."""

from __future__ import annotations

import logging
import secrets
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click

from specvae.cli.console import Console, echo, verbosity
from specvae.cli.defaults import settings_options
from specvae.cli.help import Command
from specvae.cli.options import INPUT_FILE, WholeRange, device_option, model_file, model_option
from specvae.errors import InputError, SpecvaeError

if TYPE_CHECKING:
    import uvicorn


PATIENCE = 5
"""Seconds for which requests may go on when the server is stopped: a container has ten."""


@click.command(cls=Command)
@model_option
@click.option(
    "--candidates",
    type=INPUT_FILE,
    default=None,
    help="A table of structures or a pool (.h5) for whoever brings none.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option("--port", type=WholeRange(0, 65535), default=8000, show_default=True)
@click.option(
    "--token",
    default=None,
    envvar="SPECVAE_TOKEN",
    help="What each request must bring.  [default: none on this machine, else one is made]",
)
@click.option(
    "--max-upload",
    type=WholeRange(min=1),
    default=200,
    show_default=True,
    metavar="MB",
    help="Most megabytes of one request.",
)
@click.option(
    "--keep",
    type=WholeRange(min=1),
    default=60,
    show_default=True,
    metavar="MINUTES",
    help="Results are removed that long after they are done.",
)
@device_option
@settings_options
@verbosity
def serve(
    model: Path,
    candidates: Path | None,
    host: str,
    port: int,
    token: str | None,
    max_upload: int,
    keep: int,
    device: str,
) -> None:
    """Serve a small web page: drop spectra and candidates, read the report, take the tables.

    The page and its JSON API (POST /api/jobs, GET /api/jobs/JOB, GET /api/jobs/JOB/FILE) are for
    this machine alone, unless --host says otherwise: then every request must bring a token. One
    model ranks the jobs of all, one after the other. Uploads and results are removed after a while
    and at the end. Needs Starlette and uvicorn: pip install "specvae[serve]".

    \b
    Example:
      specvae serve --model my-model --candidates pool.h5
    """
    try:
        import uvicorn

        from specvae.cli.serving import LOOPBACK, JobRunner, RequestLimits, Server, create_app
    except ImportError as error:
        raise SpecvaeError(
            f"serve needs Starlette, uvicorn and python-multipart ({error}); "
            'install them: pip install "specvae[serve]"'
        ) from None
    from specvae.annotation.ranking.annotator import Annotator

    path = model_file(model)
    console = Console()
    if token is None and host not in LOOPBACK:
        token = secrets.token_urlsafe(24)
    with ExitStack() as stack:
        # Done before loading, which takes seconds: if another server has the port, fail at once.
        sockets = [stack.enter_context(each) for each in _listening(host, port)]
        annotator = Annotator.load(path, device)
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="specvae-serve-"))
        limits = RequestLimits(max_upload * 2**20, 60.0 * keep)
        runner = JobRunner(annotator, path, Path(folder), candidates, limits)
        port = sockets[0].getsockname()[1]
        address = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
        echo(address if token is None else f"{address}?token={token}")
        console.log("Ctrl-C ends the server and removes what was uploaded")
        app = create_app(runner, token=token)
        # What it says of odd forms is answered to the client.
        logging.getLogger("python_multipart").addHandler(logging.NullHandler())
        server = Server(
            uvicorn.Config(
                app,
                log_level="warning",
                access_log=False,
                timeout_graceful_shutdown=PATIENCE,
            )
        )
        with suppress(KeyboardInterrupt), _ended_by_signals(server) as received:
            server.run(sockets)
    if received:
        sys.exit(128 + received[0])  # the exit code of a process that a signal ended


@contextmanager
def _ended_by_signals(server: uvicorn.Server) -> Iterator[list[int]]:
    """Shut the server down on a signal, so that uploads are removed; yield received signals.

    The signals are those of a container or service that is stopped, and of a terminal that is
    closed. The server itself handles the first kind, and raises it again when it has ended.
    """
    received: list[int] = []

    def end(number: int, _: FrameType | None) -> None:
        received.append(number)
        server.should_exit = True

    names = ("SIGTERM", "SIGHUP")
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    # A signal that is ignored stays ignored, as under nohup.
    held = {number: signal.getsignal(number) for number in numbers}
    held = {number: before for number, before in held.items() if before is not signal.SIG_IGN}
    for number in held:
        signal.signal(number, end)
    try:
        yield received
    finally:
        for number, before in held.items():
            signal.signal(number, before)


def _listening(host: str, port: int) -> list[socket.socket]:
    """Return sockets at all addresses of a host.

    Raises
    ------
    InputError
        If it has none, or the port is taken.
    """
    with ExitStack() as stack:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            places = dict.fromkeys((family, place) for family, _, _, _, place in found)
            sockets = [
                stack.enter_context(socket.create_server(place, family=family))
                for family, place in places
            ]
        except OSError as error:
            reason = str(error.strerror).partition(" (while")[0]
            raise InputError(
                f"--host {host} --port {port}: cannot be listened at ({reason}); name "
                "another host or port"
            ) from None
        stack.pop_all()
    return sockets
