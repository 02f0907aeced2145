"""What an engine started ends with its actor, however that ends."""

import contextlib
import getpass
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from ray_autointerp.llm import reaper

MODEL = Path.home() / ".cache" / "ray_autointerp" / "SmolLM2-135M-Instruct"
Sleeper = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def marker() -> str:
    return f"RAY_AUTOINTERP_ENGINE={uuid4().hex}"


@pytest.fixture
def sleeper() -> Iterator[Sleeper]:
    """Starts processes that would live for long, marked or not."""
    started = []

    def start(marker: str = "") -> subprocess.Popen[bytes]:
        name, _, value = marker.partition("=")
        environment = {**os.environ, **({name: value} if name else {})}
        started.append(subprocess.Popen(["sleep", "1000"], env=environment))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def started(marker: str, *folder: Path) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", reaper.__file__, marker, *folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


def test_only_marked_processes_are_ended_even_stopped_ones(marker: str, sleeper: Sleeper) -> None:
    own, stopped, other = sleeper(marker), sleeper(marker), sleeper()
    stopped.send_signal(signal.SIGSTOP)
    assert until(lambda: set(reaper.marked(marker)) == {own.pid, stopped.pid})
    reaper.end_all(marker)
    assert own.wait(10) == stopped.wait(10) == -signal.SIGKILL
    assert other.poll() is None


def test_reaper_ends_what_is_marked_when_its_input_ends(marker: str, sleeper: Sleeper) -> None:
    process, own = started(marker), sleeper(marker)
    process.send_signal(signal.SIGTERM)  # meant for the actor's whole group
    assert own.poll() is None
    process.communicate()
    assert process.returncode == 0
    assert own.wait(10) == -signal.SIGKILL


def test_reaper_removes_the_folder_after_the_processes(
    marker: str, sleeper: Sleeper, tmp_path: Path
) -> None:
    folder = tmp_path / "engine-1"
    folder.mkdir()
    (folder / "socket").touch()
    process, own = started(marker, folder), sleeper(marker)
    assert folder.exists()
    process.communicate()
    assert own.wait(10) == -signal.SIGKILL
    assert list(tmp_path.iterdir()) == []


def test_reaper_sees_its_parents_death_though_another_holds_its_input(
    marker: str, sleeper: Sleeper
) -> None:
    own = sleeper(marker)
    program = (
        "import os, signal, subprocess, sys\n"
        "read, write = os.pipe()\n"
        "call = [sys.executable, '-I', '-S', sys.argv[1], sys.argv[2]]\n"
        "reaper = subprocess.Popen(call, stdin=read, stdout=subprocess.PIPE)\n"
        "reaper.stdout.readline()\n"
        "heir = subprocess.Popen(['sleep', '60'], pass_fds=[write], stdout=subprocess.DEVNULL)\n"
        "print(heir.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, reaper.__file__, marker],
        stdout=subprocess.PIPE,
        check=False,
    )
    try:
        assert own.wait(30) == -signal.SIGKILL
    finally:
        os.kill(int(done.stdout), signal.SIGKILL)


@pytest.mark.vllm
@pytest.mark.timeout(240)
def test_actor_killed_while_its_engine_starts_leaves_nothing(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import asyncio, sys\n"
        "from ray_autointerp.config import LLMSection\n"
        "from ray_autointerp.llm.open import open_llm\n"
        "if __name__ == '__main__':\n"
        "    asyncio.run(open_llm(LLMSection(model=sys.argv[1]), threads=1).start())\n"
    )
    with tempfile.TemporaryDirectory() as temporary:  # short: sockets have short names
        _killed_actor_leaves_nothing(program, Path(temporary))


def _killed_actor_leaves_nothing(program: Path, temporary: Path) -> None:
    actor = subprocess.Popen(
        [sys.executable, str(program), str(MODEL)],
        start_new_session=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    try:
        assert until(lambda: bool(engine_of(actor.pid)), 120)
        engine = engine_of(actor.pid)
    finally:
        actor.kill()
        actor.wait()
    assert until(lambda: not any(is_alive(process) for process in engine))
    assert until(lambda: not in_session(actor.pid)), "nor the resource tracker"
    assert until(lambda: not list(temporary.glob("engine-*"))), "nor the engine's files"
    assert {file.name for file in temporary.iterdir()} <= {f"torchinductor_{getpass.getuser()}"}


def engine_of(actor: int) -> list[int]:
    """The marked processes that the actor started."""
    return [p for p in in_session(actor) if b"RAY_AUTOINTERP_ENGINE=" in read(p, "environ")]


def in_session(leader: int) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        fields = read(int(folder.name), "stat").rpartition(b")")[2].split()
        if len(fields) > 3 and int(fields[3]) == leader and fields[0] != b"Z":
            found.append(int(folder.name))
    return found


def is_alive(process: int) -> bool:
    """A process that ended and was not waited for yet has no command line."""
    return bool(read(process, "cmdline"))


def read(process: int, what: str) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/{what}").read_bytes()
    return b""


def until(is_so: Callable[[], bool], patience_s: float = 30) -> bool:
    deadline = time.monotonic() + patience_s
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
