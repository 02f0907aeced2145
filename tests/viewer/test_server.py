"""`ray-autointerp view` as a person starts and ends it."""

import signal
import subprocess
import sys
import urllib.request

import pytest

from ray_autointerp.errors import UserError
from ray_autointerp.runs.run import Run
from ray_autointerp.viewer.server import listen


def test_view_says_its_url_serves_and_ends_on_ctrl_c(quick_run: Run) -> None:
    command = [sys.executable, "-m", "ray_autointerp.cli", "view", quick_run.uri, "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None and server.stderr is not None
        try:
            url = server.stdout.readline().strip()
            with urllib.request.urlopen(url, timeout=30) as answer:
                assert b"planted" in answer.read()
            server.send_signal(signal.SIGINT)
            assert server.wait(20) == 0
            assert server.stderr.read() == ""
        finally:
            server.kill()


def test_taken_port_is_refused_in_one_sentence() -> None:
    with listen("127.0.0.1", 0) as taken, pytest.raises(UserError, match="give another --port"):
        listen("127.0.0.1", taken.getsockname()[1])
