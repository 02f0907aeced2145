"""jobs/demo.sh with commands that only note what they are asked, and a loopback hub."""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LABEL = """#!/usr/bin/env bash
echo "$HF_HUB_OFFLINE $*" >>calls
if [[ -z "${STOPPED:-}" ]]; then
  while [[ "$1" != --root ]]; do shift; done
  mkdir -p "$2/demo/sae/s"; touch "$2/demo/sae/s/labels.parquet"
fi
"""
HINT = "bash jobs/demo.sh --llm "

Demo = Callable[..., list[str]]


@dataclass
class Hub:
    """What it was asked, and how it answers."""

    url: str = ""
    asked: list[str] = field(default_factory=list)
    code: int = 200
    wait_s: float = 0.0


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            hub.asked.append(f"{self.command} {self.path}")
            time.sleep(hub.wait_s)
            self.send_response(hub.code)
            self.send_header("Location", "/elsewhere")
            self.end_headers()

        do_GET = do_HEAD

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield hub
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The real script and hint; everything that takes long only notes that it was called."""
    clone = tmp_path / "clone"
    for name in ("demo.sh", "demo/better_llm.py"):
        (clone / "jobs" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "jobs" / name, clone / "jobs" / name)
    written = {
        "jobs/env/setup.sh": "",
        "jobs/demo/subject.py": "",
        ".venv/bin/python": f'#!/bin/sh\nexec {sys.executable} "$@"\n',
        ".venv/bin/ray-autointerp": LABEL,
    }
    for name, text in written.items():
        path = clone / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    return clone


@pytest.fixture
def demo(clone: Path, hub: Hub, tmp_path: Path) -> Demo:
    """demo("--llm", "x", STOPPED="1") is what it printed; `calls` holds what it ran."""

    def run(*arguments: str, **environment: str) -> list[str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
        done = subprocess.run(
            ["bash", str(clone / "jobs" / "demo.sh"), *arguments],
            cwd=tmp_path,
            env=kept | {"HF_ENDPOINT": hub.url, "no_proxy": "*", **environment},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.splitlines()

    return run


def calls(clone: Path) -> list[str]:
    return (clone / "calls").read_text().splitlines()


def test_hub_that_answers_is_asked_once_and_a_better_llm_is_named_last(
    demo: Demo, hub: Hub, clone: Path
) -> None:
    took, hint = demo()
    assert took.startswith("The demo took")
    assert HINT in hint
    model = hint.rpartition(" ")[2]
    assert hub.asked == [f"HEAD /{model}"]
    assert calls(clone) == ["1 label jobs/demo/demo.toml --root runs/demo-1"]
    # The command that is named is one that works, and it may ask the hub.
    assert demo("--llm", model)[-1].startswith("The demo took")
    assert calls(clone)[-1].startswith("0 label") and calls(clone)[-1].endswith(f"--llm {model}")
    assert len(hub.asked) == 1, "who has named an LLM is told nothing"


@pytest.mark.parametrize("code", [302, 404, 503])
def test_hub_that_lacks_the_model_is_not_named(demo: Demo, hub: Hub, code: int) -> None:
    hub.code = code
    assert not any(HINT in line for line in demo())
    assert len(hub.asked) == 1


def test_offline_nothing_is_asked_or_said(demo: Demo, hub: Hub) -> None:
    assert not any(HINT in line for line in demo(HF_HUB_OFFLINE="1"))
    assert hub.asked == []
    assert not any(HINT in line for line in demo(HF_ENDPOINT="http://127.0.0.1:9"))


@pytest.mark.slow
def test_slow_hub_is_waited_for_five_seconds(demo: Demo, hub: Hub) -> None:
    hub.wait_s = 8
    started = time.monotonic()
    assert not any(HINT in line for line in demo())
    assert time.monotonic() - started < 7.5


def test_each_llm_has_runs_of_its_own_and_a_stopped_run_is_continued(
    demo: Demo, clone: Path
) -> None:
    for environment in ({"STOPPED": "1"}, {}, {}):
        demo(HF_HUB_OFFLINE="1", **environment)
    demo("--llm", "some/Model-8B", "--latents", "0:256", HF_HUB_OFFLINE="1")
    demo("--llm=http://host/v1", "--llm-model=big/model", HF_HUB_OFFLINE="1")
    label = "1 label jobs/demo/demo.toml --root runs/demo"
    assert calls(clone) == [
        f"{label}-1",
        f"{label}-1",
        f"{label}-2",
        f"{label}-Model-8B-1 --llm some/Model-8B --latents 0:256",
        f"{label}-model-1 --llm http://host/v1 --llm-model big/model",
    ]


def test_folder_is_the_one_where_the_command_was_given(
    demo: Demo, clone: Path, tmp_path: Path
) -> None:
    (tmp_path / "weights").mkdir()
    demo("--llm", "./weights")
    (call,) = calls(clone)
    assert call.startswith("1 ") and call.endswith(f"--llm {tmp_path / 'weights'}")
