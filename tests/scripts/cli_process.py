"""The command line as a process of its own, which a signal may end."""

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

PATIENCE_S = 240


class Command:
    """`ray-autointerp` with these arguments, and what it has printed so far."""

    def __init__(self, log: Path, *arguments: object) -> None:
        self._log = log
        self.arguments = [str(argument) for argument in arguments]
        entry = "from ray_autointerp.cli import main; main()"
        with log.open("w") as printed:
            self.process = subprocess.Popen(
                [sys.executable, "-c", entry, *self.arguments],
                stdout=printed,
                stderr=subprocess.STDOUT,
                env=os.environ | {"COLUMNS": "400"},
            )

    @property
    def said(self) -> str:
        return self._log.read_text()

    def wait_for(self, *words: str) -> None:
        """Until it has said all of them."""
        until = time.monotonic() + PATIENCE_S
        while not all(word in self.said for word in words):
            assert self.process.poll() is None, f"it ended before {words}: {self.said}"
            assert time.monotonic() < until, self.said
            time.sleep(0.02)

    def stop(self, number: signal.Signals) -> list[str]:
        """Its last lines, once a signal has ended it and every process that it had started."""
        others = psutil.Process(self.process.pid).children(recursive=True)
        self.process.send_signal(number)
        assert self.process.wait(60) == 128 + number, self.said
        _, alive = psutil.wait_procs(others, timeout=30)
        assert not alive, "whatever it started has ended with it"
        assert "Traceback" not in self.said and "Error" not in self.said, self.said
        return self.said.splitlines()

    @property
    def continued_by(self) -> str:
        command = shlex.join(["ray-autointerp", *self.arguments])
        return f"Stopped. What is finished is kept; continue with: {command}"
