"""Stores to test against: a folder, and a bucket on a loopback server that may misbehave."""

import http.client
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ray_autointerp.storage.s3 import S3Store
from ray_autointerp.storage.store import Store, open_store


@dataclass(frozen=True)
class Reply:
    status: int
    headers: list[tuple[str, str]]
    body: bytes


class FaultyProxy:
    """A proxy before the S3 server: replies are lost, refused or cut, as the list of faults says.

    A fault is (method, kind): `lose_reply` lets the server act and then hangs up, `cut_reply`
    hangs up in the middle of the body, a number answers with that status and does nothing.
    The first `num_ignored_conditions` puts lose their `If-None-Match`.
    """

    def __init__(self, server: str) -> None:
        self.faults: list[tuple[str, str | int]] = []
        self.num_ignored_conditions = 0
        self.num_bytes = 0
        self.page_size = 1000
        self.num_calls = 0
        self._lock = threading.Lock()
        self._server = urlsplit(server).netloc
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def ignores_condition(self, method: str) -> bool:
        with self._lock:
            self.num_ignored_conditions -= method == "PUT"
            return self.num_ignored_conditions >= 0

    def next_fault(self, method: str) -> str | int | None:
        with self._lock:
            self.num_calls += 1
            if self.faults and self.faults[0][0] == method:
                return self.faults.pop(0)[1]
        return None

    def forward(self, asked: BaseHTTPRequestHandler, body: bytes) -> Reply:
        dropped = {"expect"} | (
            {"if-none-match"} if self.ignores_condition(asked.command) else set()
        )
        headers = {k: v for k, v in asked.headers.items() if k.lower() not in dropped}
        page_size = f"&max-keys={self.page_size}" if "list-type=2" in asked.path else ""
        with closing(http.client.HTTPConnection(self._server)) as server:
            server.request(asked.command, asked.path + page_size, body, headers)
            answer = server.getresponse()
            return Reply(answer.status, answer.getheaders(), answer.read())

    def _handler(proxy) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def act(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                fault = proxy.next_fault(self.command)
                if isinstance(fault, int):
                    said = b"<Error><Code>Injected</Code><Message>Not now.</Message></Error>"
                    self.answer(Reply(fault, [("Content-Length", str(len(said)))], said))
                    return
                reply = proxy.forward(self, body)
                self.close_connection = fault is not None
                if fault != "lose_reply":
                    self.answer(reply, len(reply.body) // 2 if fault else None)

            def answer(self, reply: Reply, num_bytes: int | None = None) -> None:
                self.send_response(reply.status)
                for name, value in reply.headers:
                    if name.lower() not in ("connection", "transfer-encoding", "server", "date"):
                        self.send_header(name, value)
                self.end_headers()
                proxy.num_bytes += len(reply.body)  # before whoever reads them can look
                self.wfile.write(reply.body[:num_bytes])

            def log_message(self, *args: object) -> None:
                pass

            do_GET = do_PUT = do_HEAD = do_DELETE = act

        return Handler


@pytest.fixture
def proxy(s3_server: str) -> Iterator[FaultyProxy]:
    proxy = FaultyProxy(s3_server)
    yield proxy
    proxy.close()


@pytest.fixture
def store_behind_proxy(bucket: str, proxy: FaultyProxy, aws_chain: pytest.MonkeyPatch) -> S3Store:
    """A bucket reached through the faulty proxy, which does not pause before it tries again."""
    aws_chain.setenv("AWS_ENDPOINT_URL_S3", proxy.url)
    return S3Store(bucket, "runs/one", pause_s=0)


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """The same promises are tested on both."""
    if request.param == "folder":
        return open_store(str(tmp_path / "root" / "runs"))
    return open_store(f"s3://{request.getfixturevalue('bucket')}/root/runs")
