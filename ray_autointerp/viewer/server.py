"""The viewer's server: one process on one port, ended by Ctrl-C."""

import socket
from collections.abc import Callable, Sequence

import uvicorn

from ray_autointerp.errors import UserError
from ray_autointerp.viewer.app import Activations, viewer_app
from ray_autointerp.viewer.viewed_run import viewed_runs

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def view(
    uris: Sequence[str],
    host: str,
    port: int,
    say: Callable[[str], None],
    activations: Activations | None = None,
) -> None:
    """Serve the runs until interrupted; `say` is told the URL once it can be opened."""
    runs = viewed_runs(list(uris))
    is_local = host in LOOPBACK
    app = viewer_app(runs, [*LOOPBACK, "[::1]"] if is_local else None, activations)
    listening = listen(host, port)
    if not is_local:
        say(f"Whoever reaches {host} can read these runs: there is no password.")
    shown = f"[{host}]" if ":" in host else host
    say(f"http://{shown}:{listening.getsockname()[1]}")
    config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off")
    try:
        uvicorn.Server(config).run(sockets=[listening])
    except KeyboardInterrupt:  # uvicorn ends its work, then raises it again
        pass
    finally:
        listening.close()


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises UserError where it cannot."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
        made.listen(128)  # who opens the URL at once waits, and is not refused
    except (OSError, OverflowError) as error:
        made.close()
        raise UserError(
            f"Cannot listen on {host}:{port} ({error}); give another --port, or 0 for a free one."
        ) from error
    return made
