"""What tests of the viewer share: a server in a thread, hostile texts, changed Parquet files."""

import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import uvicorn
from starlette.testclient import TestClient

from ray_autointerp.viewer.app import viewer_app
from ray_autointerp.viewer.server import listen
from ray_autointerp.viewer.viewed_run import viewed_runs

SAE = "planted"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
NO_CHROMIUM = "No chromium is here to test pages in: `apt-get install chromium` installs it."

HOSTILE = '<script>window.hacked = 1</script> [red]no[/red] \x1b[31m "><img src=x onerror=alert(1)>'
"""Text that a page or a terminal might take for more than text."""
FORMULA = "=cmd|' /C calc'!A0"
RIGHT_TO_LEFT = "שלום \u202egnihton"


def rewritten(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """A Parquet file with changed rows, its metadata kept."""
    table = pq.read_table(path)
    rows = table.to_pylist()
    for row in rows:
        change(row)
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)


def client(*uris: Any) -> TestClient:
    """Asks without a browser."""
    app = viewer_app(viewed_runs([str(uri) for uri in uris]))
    return TestClient(app, raise_server_exceptions=True)


class served:
    """A server in a thread, as a context."""

    def __init__(self, *uris: Any) -> None:
        self._socket = listen("127.0.0.1", 0)
        app = viewer_app(viewed_runs([str(uri) for uri in uris]))
        config = uvicorn.Config(app, log_level="error", access_log=False, lifespan="off")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],))

    def __enter__(self) -> str:
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()
