r"""How many requests get through: the pool against Ray Data, datatrove and delphi, 50 ms an answer.

    python jobs/benchmarks/llm_plumbing.py --run RUN --trove TROVE/bin/python \
        --delphi DELPHI/bin/python

The server of llm_server.py answers; the pool has one client actor, keeps every answer on disk under
its task (every 256 answers or 10 s) and is warm. Peers are run by llm_peers.py in their own
environments, in turn with the pool. `--run` is a finished run whose prompts show how this project
packs its judgements.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import llm_workload
import ray
from llm_peers import counts, prompt
from llm_sides import OurPool, interleaved
from race import machine, report

from ray_autointerp.llm.client import Request
from ray_autointerp.prompts.message import Message
from ray_autointerp.runs.manifest import load_run
from ray_autointerp.runs.run import Run

_HERE = Path(__file__).parent
_REQUESTS = 5000
_PROMPTS_A_LATENT = 41
"""Of delphi: one explanation, and twenty prompts each of detection and fuzzing."""


def main() -> None:
    """All races that have what they need."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--run", required=True)
    parser.add_argument("--trove", help="the python of an environment that holds datatrove")
    parser.add_argument("--delphi", help="the python of one that holds delphi")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--in-flight", type=int, default=400)
    parser.add_argument("--crash", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.crash:
        _crash(args.crash)
        return
    with _Server() as url, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = _asking(load_run(args.run), url, args.in_flight)
        ray.init(address="local", num_cpus=4, include_dashboard=False, logging_level="WARNING")
        _requests_race(run, url, folder, args)
        if args.delphi:
            _latents_race(run, url, folder, args)
        ray.shutdown()
        _resume_race(run, url, folder, args)


class _Server:
    """llm_server.py in a process of its own."""

    def __enter__(self) -> str:
        self._process = subprocess.Popen(
            [sys.executable, str(_HERE / "llm_server.py"), "--delay", "0.05", "--port", "0"],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        return f"http://127.0.0.1:{json.loads(self._process.stdout.readline())['port']}"

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


def _asking(run: Run, url: str, in_flight: int) -> Run:
    """The run with the server as its LLM."""
    told = {
        "backend": "endpoint",
        "model": "scripted",
        "endpoints": (f"{url}/v1",),
        "requests_in_flight": in_flight,
    }
    llm = run.config.llm.model_copy(update=told)
    return Run(run.config.model_copy(update={"llm": llm, "judge": None}), run.axes, run.uri)


def _made(number: int, folder: Path) -> Path:
    path = folder / f"made-{number}.jsonl"
    asked = [Request((Message("user", prompt(i)),), max_tokens=64) for i in range(number)]
    llm_workload.write(asked, path)
    return path


def _requests_race(run: Run, url: str, folder: Path, args: argparse.Namespace) -> None:
    ours = OurPool(run, _made(_REQUESTS, folder), share=100)
    sides = {"pool": ours.round}
    sides["ray-data"] = lambda: _peer(sys.executable, "ray-data", url)
    if args.trove:
        sides["datatrove"] = lambda: _peer(
            args.trove, "datatrove", url, "--folder", str(_fresh(folder / "trove"))
        )
    rows = interleaved(sides, args.rounds)
    ours.close()
    rate = {side: _median(rows[side], lambda r: r["requests"] / r["seconds"]) for side in rows}
    report(race="requests", per_second=rate, machine=machine())
    window = _median(rows["ray-data"], lambda r: r["requests"] / r["seconds_after_start"])
    report(
        race="endpoint",
        ratio=rate["pool"] / rate["ray-data"],
        over_its_window=rate["pool"] / window,
        ray_data_in_its_window=window,
    )
    if args.trove:
        report(race="durable", ratio=rate["pool"] / rate["datatrove"])


def _latents_race(run: Run, url: str, folder: Path, args: argparse.Namespace) -> None:
    latents = 24
    ours = OurPool(run, _made(latents * _PROMPTS_A_LATENT, folder), share=_PROMPTS_A_LATENT)
    sides = {"pool": ours.round}
    for name, concurrency in (("library", "60"), ("command line", "1")):
        sides[name] = lambda concurrency=concurrency: _peer(  # type: ignore[misc]
            args.delphi, "delphi", url, "--latents", str(latents), "--concurrency", concurrency
        )
    rows = interleaved(sides, args.rounds)
    ours.close()
    hourly = {side: _median(rows[side], lambda r: 3600 * latents / r["seconds"]) for side in rows}
    report(
        race="latents",
        per_hour=hourly,
        over_library=hourly["pool"] / hourly["library"],
        over_command_line=hourly["pool"] / hourly["command line"],
        machine=machine(),
    )
    _packed_row(run, args, folder)


def _packed_row(run: Run, args: argparse.Namespace, folder: Path) -> None:
    """The judgements as this project packs them: the prompts of one method of a real run."""
    asked = llm_workload.requests_of(load_run(args.run), method="ensemble_raw")
    path = folder / "packed.jsonl"
    llm_workload.write(asked, path)
    latents = sum(not request.choices and not request.json_schema for request in asked)
    characters = sum(len(m.content) for request in asked for m in request.messages)
    ours = OurPool(run, path, share=32)
    rows = interleaved({"pool": ours.round}, args.rounds)["pool"]
    ours.close()
    report(
        race="packed",
        latents_per_hour=_median(rows, lambda r: 3600 * latents / r["seconds"]),
        requests_a_latent=len(asked) / latents,
        characters_a_latent=characters / latents,
    )


def _resume_race(run: Run, url: str, folder: Path, args: argparse.Namespace) -> None:
    """Kill -9 of driver and client at 85 %, then again to the end: what was asked twice."""
    plan = folder / "crash.json"
    told = {"run": run.uri, "url": url, "in_flight": args.in_flight, "uri": str(folder / "crash")}
    plan.write_text(json.dumps(told | {"prompts": str(_made(_REQUESTS, folder))}))
    command = [sys.executable, __file__, "--run", args.run, "--crash", str(plan)]
    urllib.request.urlopen(urllib.request.Request(f"{url}/clear", method="POST")).close()
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
    while counts(url)["requests"] < 0.85 * _REQUESTS:
        time.sleep(0.005)
    for pid in _family(process.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
    time.sleep(1)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    seen = counts(url)
    report(race="resume", repeated=seen["requests"] - seen["distinct"], of=_REQUESTS)
    if args.trove:
        where = ("--folder", str(_fresh(folder / "killed")))
        subprocess.run(
            [args.trove, str(_HERE / "llm_peers.py"), "datatrove", "--url", url, *where]
            + ["--kill-at", str(int(0.85 * _REQUESTS))],
            check=False,
            capture_output=True,
        )
        _peer(args.trove, "datatrove", url, *where, "--resume")
        seen = counts(url)
        report(race="resume datatrove", repeated=seen["requests"] - seen["distinct"], of=_REQUESTS)


def _crash(plan: str) -> None:
    """The side of the resume race that is killed, and that goes on."""
    told = json.loads(Path(plan).read_text())
    ray.init(address="local", num_cpus=4, include_dashboard=False, logging_level="WARNING")
    run = _asking(load_run(told["run"]), told["url"], told["in_flight"])
    ours = OurPool(run, Path(told["prompts"]), share=625)
    ours.round(told["uri"])
    ours.close()
    ray.shutdown()


def _family(pid: int) -> list[int]:
    found = [pid]
    for parent in found:
        children = Path(f"/proc/{parent}/task/{parent}/children")
        if children.exists():
            found += [int(child) for child in children.read_text().split()]
    return found


def _peer(python: str, *arguments: str) -> dict[str, Any]:
    """A round of a peer: `PEER URL ...`."""
    peer, url, *more = arguments
    done = subprocess.run(
        [python, str(_HERE / "llm_peers.py"), peer, "--url", url, *more],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        raise RuntimeError(f"{peer} printed no row: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _median(rows: list[dict[str, Any]], figure: Any) -> float:
    return statistics.median(float(figure(row)) for row in rows)


if __name__ == "__main__":
    main()
