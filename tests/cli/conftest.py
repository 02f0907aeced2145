"""The command line in this process, configs with one thing wrong, and a store that forgets."""

import json
import sys
import threading
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ray_autointerp.cli import main
from ray_autointerp.models.planted import PlantedTruth

ConfigFile = Callable[..., Path]


@dataclass(frozen=True)
class Said:
    """What a command said, and the exit code it ended with."""

    code: int
    out: str
    err: str

    def refuses(self, *said: str) -> bool:
        """Exit code 2 and one sentence, which holds the words given and nothing of Python's."""
        assert self.code == 2, (self.code, self.out, self.err)
        assert self.out == ""
        (sentence,) = self.err.splitlines()
        assert sentence.endswith((".", "?")), sentence
        assert "Traceback" not in sentence
        assert len(sentence) < 500, sentence
        for words in said:
            assert words in sentence, f"{words!r} is not in {sentence!r}"
        return True


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """cli("plan", path) runs the command as the console script does."""

    def run(*arguments: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["ray-autointerp", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
            raise SystemExit(0)
        said = capsys.readouterr()
        code = ended.value.code
        assert code is None or isinstance(code, int)
        return Said(code or 0, said.out, said.err)

    return run


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where runs would lie; nothing is there."""
    return tmp_path / "runs"


@pytest.fixture
def config_file(planted: PlantedTruth, tmp_path: Path, root: Path) -> ConfigFile:
    """The planted config with changes: config_file({"sae": {"latents": "0:4"}}) is its path."""

    def make(changes: Mapping[str, Mapping[str, Any]] | None = None) -> Path:
        raw = tomllib.loads(planted.config.read_text())
        raw["run"]["root"] = str(root)
        raw["subject"]["model"] = str(planted.folder / "subject")
        raw["sae"][0]["path"] = str(planted.folder / "sae")
        raw["corpus"]["path"] = str(planted.folder / "corpus.parquet")
        for name, values in (changes or {}).items():
            section = raw.setdefault(name, {})
            (section[0] if name == "sae" else section).update(values)
        path = tmp_path / "config.toml"
        path.write_text("".join(_section(name, section) for name, section in raw.items()))
        return path

    return make


def _section(name: str, section: Any) -> str:
    """One table as TOML: a JSON string, number, boolean or list is TOML too."""
    is_list = isinstance(section, list)
    values = section[0] if is_list else section
    lines = [f"{key} = {json.dumps(value)}" for key, value in values.items() if value is not None]
    return "\n".join([f"[[{name}]]" if is_list else f"[{name}]", *lines, "", ""])


@pytest.fixture
def forgetful_store(aws_chain: pytest.MonkeyPatch) -> Iterator[str]:
    """An S3 server that stores whatever it is given, conditions or not."""
    objects: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PUT(self) -> None:
            objects[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
            self.answer(200, b"")

        def do_GET(self) -> None:
            known = self.path in objects
            self.answer(200 if known else 404, objects.get(self.path, b""))

        def do_DELETE(self) -> None:
            objects.pop(self.path, None)
            self.answer(204, b"")

        def answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    aws_chain.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{server.server_port}")
    yield "s3://bucket/runs"
    assert objects == {}, "the probe is tidied away"
    server.shutdown()
    server.server_close()
    thread.join()
