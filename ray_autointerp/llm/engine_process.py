"""The processes of one engine, from start to end, watched from outside.

vLLM fails the requests in flight when an engine dies in most cases, not in all: a request that is
being added at that moment waits for ever. So every request here races the engine's end, which is
seen by the exit of its process, or by no token for too long. Knows no prompts.
"""

import asyncio
import contextlib
import getpass
import multiprocessing
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Mapping
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from ray_autointerp.errors import EngineDied, LLMError
from ray_autointerp.llm import reaper
from ray_autointerp.llm.failures import end_of

T = TypeVar("T")

_MARKER = "RAY_AUTOINTERP_ENGINE"
_SPAWNED = {
    # A forked child shows its parent's environment, in which the marker never was.
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    # vLLM gives its processes names of its own, and setproctitle writes them over the environment.
    "SPT_NOENV": "1",
}
_LINES_KEPT = 400
_CHECK_S = 1.0
_EXIT_S = 1.0
"""How long to wait for the exit code and the last lines of output of a process that ended."""
_ONE_START = threading.Lock()
"""A start borrows this process's environment and standard output."""


class EngineProcesses:
    """The processes of one engine, from start to end. Use it from one event loop."""

    def __init__(self, timeout_s: float) -> None:
        self.engine: Any = None
        self.output: deque[str] = deque(maxlen=_LINES_KEPT)
        """The last lines that the engine's processes printed."""
        self._timeout_s = timeout_s
        self._marker = uuid4().hex
        self._folder: str | None = None
        """What the processes put into the temporary folder, sockets above all."""
        self._reaper: subprocess.Popen[bytes] | None = None
        self._cores: list[BaseProcess] = []
        self._died: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._in_flight: set[asyncio.Task[Any]] = set()
        self._last_output_at = 0.0
        self._tasks: list[asyncio.Task[None]] = []
        self._ending: asyncio.Task[None] | None = None

    @property
    def is_over(self) -> bool:
        """Whether the engine died, hung or was closed."""
        return self._died.done()

    async def open(self, make: Callable[[], Any]) -> None:
        """Start the engine by `make`, in a thread. Raises what `make` raises."""
        try:
            self.engine = await asyncio.to_thread(self._made, make)
        except BaseException:
            await self.close()
            raise
        loop = asyncio.get_running_loop()
        for core in self._cores:
            loop.add_reader(core.sentinel, self._core_ended, core)
        self._tasks.append(asyncio.create_task(self._watch()))

    async def outcome(self, work: Coroutine[Any, Any, T]) -> T:
        """What comes of a request to the engine. Raises EngineDied once the engine is dead."""
        if self.is_over:
            work.close()
            raise self._death()
        if not self._in_flight:
            self.saw_output()
        task = asyncio.create_task(work)
        self._in_flight.add(task)
        try:
            racing: set[asyncio.Future[Any]] = {task, self._died}
            await asyncio.wait(racing, return_when=asyncio.FIRST_COMPLETED)
            if task.done() and not (task.exception() and self._is_failing()):
                self.saw_output()
                return task.result()
            with contextlib.suppress(TimeoutError):  # the exit code tells more than vLLM's error
                await asyncio.wait_for(asyncio.shield(self._died), 2 * _EXIT_S)
            self._die(end_of(None, self.output))
            raise self._death()
        finally:
            self._in_flight.discard(task)
            task.add_done_callback(_drop)
            task.cancel()

    def saw_output(self) -> None:
        """Count the silence anew: output came, or none could come before.

        Any token counts: a slow engine reads the prompts of all requests in flight before it ends
        the first answer.
        """
        self._last_output_at = time.monotonic()

    async def close(self) -> None:
        """End the engine and all its processes. Requests in flight raise EngineDied."""
        self._die("it was closed", is_graceful=True)
        assert self._ending is not None
        await asyncio.shield(self._ending)

    def _made(self, make: Callable[[], Any]) -> Any:
        with _ONE_START:
            resource_tracker.ensure_running()  # serves all engines, so it carries no marker
            marker = f"{_MARKER}={self._marker}"
            self._folder = tempfile.mkdtemp(prefix="engine-")
            self._reaper = _reaper(marker, self._folder)
            before = multiprocessing.active_children()
            spawned = {_MARKER: self._marker, **_SPAWNED, **_temporary(self._folder)}
            try:
                with _environment(spawned), _captured(self.output):
                    engine = make()
                self._cores = [c for c in multiprocessing.active_children() if c not in before]
                return engine
            finally:
                if self.is_over:  # closed meanwhile: nobody else will look for what came late
                    reaper.end_all(marker, self._folder)

    def _core_ended(self, core: BaseProcess) -> None:
        asyncio.get_running_loop().remove_reader(core.sentinel)
        self._tasks.append(asyncio.create_task(self._await_exit(core)))

    async def _await_exit(self, core: BaseProcess) -> None:
        until = time.monotonic() + _EXIT_S
        while core.exitcode is None and time.monotonic() < until:
            await asyncio.sleep(0.02)
        if core.exitcode is None or core.exitcode >= 0:
            await asyncio.sleep(0.1)  # for the last lines to pass through the pipe
        self._die(end_of(core.exitcode, self.output))

    async def _watch(self) -> None:
        pause = min(_CHECK_S, self._timeout_s / 4)
        silent_s = 0.0
        last_output_at = self._last_output_at
        while not self.is_over:
            await asyncio.sleep(pause)
            if not self._in_flight or last_output_at != self._last_output_at:
                last_output_at, silent_s = self._last_output_at, 0.0
                continue
            silent_s += pause  # counted, not timed: this process may have been suspended itself
            if silent_s >= self._timeout_s:
                self._die(
                    f"it hung: no token for {self._timeout_s:g} s with {len(self._in_flight)} "
                    "requests in flight"
                )

    def _is_failing(self) -> bool:
        return self.is_over or bool(self.engine.errored)

    def _death(self) -> EngineDied:
        return EngineDied(f"The vLLM engine died: {self._died.result()}. A new one is started.")

    def _die(self, why: str, *, is_graceful: bool = False) -> None:
        if not self._died.done():
            self._died.set_result(why)
            self._ending = asyncio.create_task(self._end(is_graceful))

    async def _end(self, is_graceful: bool) -> None:
        if is_graceful:  # it frees what it shares with others; a dead or hung one is killed first
            self._shut_down()
        await asyncio.to_thread(self._end_processes)
        self._shut_down()
        for task in self._tasks:
            task.cancel()

    def _shut_down(self) -> None:
        loop = asyncio.get_running_loop()
        for core in self._cores:
            loop.remove_reader(core.sentinel)
        if self.engine is not None:
            self.engine.shutdown()
            self.engine = None

    def _end_processes(self) -> None:
        if self._reaper is None:
            return
        assert self._reaper.stdin is not None
        assert self._reaper.stdout is not None
        self._reaper.stdin.close()
        if self._reaper.wait() != 0:  # somebody killed it first
            reaper.end_all(f"{_MARKER}={self._marker}", self._folder)
        self._reaper.stdout.close()


def _temporary(folder: str) -> dict[str, str]:
    """The variables with which an engine's processes put temporary files into the folder.

    Compiled kernels stay where they are, for the next engine. Headers, which would be compiled into
    the folder first by each engine that tells log-probabilities (10 s of a CPU), are not.
    """
    kernels = Path(tempfile.gettempdir(), f"torchinductor_{getpass.getuser()}")
    return {
        "VLLM_RPC_BASE_PATH": folder,  # read in this process too, which knows its own TMPDIR
        "TMPDIR": folder,
        "TORCHINDUCTOR_CACHE_DIR": os.environ.get("TORCHINDUCTOR_CACHE_DIR", str(kernels)),
        "TORCHINDUCTOR_CPP_CACHE_PRECOMPILE_HEADERS": "0",
    }


def _reaper(marker: str, folder: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", reaper.__file__, marker, folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert process.stdout is not None
    if process.stdout.readline() != b"ready\n":
        raise LLMError("The process that ends an engine with its actor cannot be started.")
    return process


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """The variables are set for whoever is started meanwhile."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _captured(lines: deque[str]) -> Iterator[None]:
    """Processes started meanwhile print to this process's stderr and into `lines`."""
    ours = os.dup(1), os.dup(2)
    read, write = os.pipe()
    threading.Thread(target=_pass_on, args=(read, os.dup(2), lines), daemon=True).start()
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(write, 1)
    os.dup2(write, 2)
    os.close(write)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, kept in enumerate(ours, start=1):
            os.dup2(kept, number)
            os.close(kept)


def _pass_on(read: int, onward: int, lines: deque[str]) -> None:
    with os.fdopen(read, "rb") as printed, os.fdopen(onward, "wb", buffering=0) as stderr:
        for line in printed:  # until the last of the processes ended
            lines.append(line.decode(errors="replace").rstrip())
            with contextlib.suppress(OSError):
                stderr.write(line)


def _drop(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()  # was read, or belongs to an engine that has ended
