"""Eight SAEs on a Ray cluster of three hosts, compared byte for byte with the local runner.

    sudo .venv/bin/python jobs/benchmarks/three_nodes.py [--kill-node | --join-node]

Hosts are network namespaces on one bridge, each with an address, a host name and a Ray node of its
own; results go to an S3 server (moto) that all of them reach. Needs Linux, root and `ip`.
`--kill-node` cuts the cable of a node that works, not the head's, and kills all that runs on it,
once a third of the objects exist; `--join-node` begins with two nodes and fewer places than
workers, and starts the third once a tenth exists. Prints one JSON line: `nodes`, `tasks` by node
(from the ledger; `lost` attempts apart), `compared` objects and how many of them are `differing`.
"""

import argparse
import hashlib
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import psutil
from moto.server import ThreadedMotoServer

from ray_autointerp.cluster.progress import Silent
from ray_autointerp.cluster.run_ray import run_ray
from ray_autointerp.config import Config
from ray_autointerp.config_file import parse_config, read_config
from ray_autointerp.execution.run_local import run_local
from ray_autointerp.models.planted import write_planted
from ray_autointerp.pipeline import label
from ray_autointerp.storage.parquet import read_tables
from ray_autointerp.storage.store import Store, open_store

NUM_SAES, CPUS = 8, 3
PORT = 6379
BUCKET = "three-nodes"
HOOK_POINTS = tuple(f"blocks.{layer}.hook_resid_post" for layer in range(3))
LOOK_AGAIN_S = 0.5


def main() -> None:
    """The run on three nodes, then the local one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kill-node", action="store_true")
    parser.add_argument("--join-node", action="store_true")
    parser.add_argument("--drive", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    logging.disable(logging.WARNING)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the network is taken away
    if asked.drive:
        label(Config.model_validate_json(asked.drive.read_text()), run_ray, Silent())
        return
    with tempfile.TemporaryDirectory(prefix="nodes-") as folder, ExitStack() as stack:
        root = Path(folder)
        hosts = stack.enter_context(network(3, root))
        os.environ |= s3_environment(hosts[0].gateway)
        stack.enter_context(s3_server(hosts[0].gateway))
        here = label(config(root, str(root / "runs"), subject_workers=1), run_local, Silent())
        expected = contents(open_store(here.uri))
        # More workers than two nodes have places, where a third is to join.
        made = config(root, f"s3://{BUCKET}", subject_workers=6 if asked.join_node else 3)
        store = open_store(f"s3://{BUCKET}/{made.run.name}")
        first = hosts[:2] if asked.join_node else hosts
        nodes = [stack.enter_context(ray_node(host, hosts[0], root)) for host in first]
        await_nodes(hosts[0], len(first))
        started = at = time.perf_counter()
        driver = stack.enter_context(drive(made, hosts[0], root))
        event = None
        if asked.join_node:
            wait_for(driver, store, len(expected) // 10)
            nodes.append(stack.enter_context(ray_node(hosts[2], hosts[0], root)))
            event, at = f"{hosts[2].name} joined", time.perf_counter()
        if asked.kill_node:
            wait_for(driver, store, len(expected) // 3)
            victim = max(hosts[1:], key=lambda host: len(host.workers()))
            victim.vanish()
            event, at = f"{victim.name} killed", time.perf_counter()
        if driver.wait() != 0:
            raise SystemExit(f"the driver ended with {driver.returncode}")
        ended, found = time.perf_counter(), contents(store)
        tasks, lost = attempts(store)
        row: dict[str, Any] = {"saes": NUM_SAES, "nodes": len(nodes), "event": event}
        row |= {"tasks": tasks, "lost": lost, "compared": len(found.keys() | expected.keys())}
        row["differing"] = len(dict(found.items() ^ expected.items()))
        row |= {"run_s": round(ended - started), "after_event_s": event and round(ended - at)}
        print(json.dumps(row), flush=True)


def config(root: Path, store: str, *, subject_workers: int) -> Config:
    """Every step of the planted subject, in small, at three hook points."""
    planted = root / "planted"
    if not planted.exists():
        write_planted(planted)
    raw = read_config(planted / "planted.toml").model_dump(mode="json")
    raw["run"]["root"] = store
    raw["sae"] = [
        raw["sae"][0] | {"id": f"planted-{i}", "hook_point": HOOK_POINTS[i % len(HOOK_POINTS)]}
        for i in range(NUM_SAES)
    ]
    changes: dict[str, dict[str, Any]] = {
        "select": {"rule": "sample", "num_latents": 6, "panel": 4, "sample": 3, "controls": 0},
        "score": {
            "methods": ["ensemble_raw", "keywords"],
            "num_units": 4,
            "texts_per_set": 2,
            "num_draws": 1,
            "num_unseen_trials": 2,
            "three_set_methods": ["ensemble_raw"],
        },
        "steering": {"num_prompts": 4, "new_tokens": 8},
        "operations": {
            "latents_per_shard": 30,
            "selected_per_shard": 3,
            "micro_batch": 16,
            "threads": 1,
            "subject_workers": subject_workers,
        },
    }
    for section, values in changes.items():
        raw[section] = raw[section] | values
    return parse_config(raw, planted / "planted.toml")


@dataclass(frozen=True)
class Host:
    """A network namespace with one address."""

    name: str
    """Of the namespace, and what processes in it take for the host's name."""
    cable: str
    """The bridge's end of its cable."""
    address: str
    gateway: str
    disk: Path
    """Its own, which processes in it find at `temporary`: Ray's nodes would share their sockets."""
    temporary: Path

    def command(self, *command: str) -> list[str]:
        """What runs the command there."""
        alone = 'hostname "$0" && mount --bind "$1" "$2" && shift 2 && exec "$@"'
        return [
            *("ip", "netns", "exec", self.name, "unshare", "--uts", "--mount"),
            *("sh", "-c", alone, self.name, str(self.disk), str(self.temporary), *command),
        ]

    def pids(self) -> list[int]:
        """All that runs there."""
        return [int(pid) for pid in ip("netns", "pids", self.name).split()]

    def workers(self) -> list[int]:
        """The actors of the run among them."""
        return [pid for pid in self.pids() if "Worker" in title(pid)]

    def vanish(self) -> None:
        """As of a machine without power: nobody is told that a connection ended."""
        ip("link", "set", self.cable, "down")
        self.kill()

    def kill(self) -> None:
        """End all that runs there."""
        while pids := self.pids():
            for pid in pids:
                with_pid(pid, psutil.Process.kill)
            time.sleep(0.1)


@contextmanager
def network(num_hosts: int, root: Path) -> Iterator[list[Host]]:
    """Hosts on a bridge of their own, taken away afterwards."""
    number = os.getpid()
    bridge, net = f"rai{number}", f"10.{100 + number % 100}.{number // 100 % 256}"
    hosts = []
    for i in range(num_hosts):
        name, disk, temporary = f"rai{number}-{i}", root / f"disk-{i}", root / "ray"
        cable, address = f"rai{number}v{i}", f"{net}.{10 + i}"
        hosts.append(Host(name, cable, address, f"{net}.1", disk, temporary))
        for folder in (disk, temporary):
            folder.mkdir(exist_ok=True)
    try:
        ip("link", "add", bridge, "type", "bridge")
        ip("addr", "add", f"{net}.1/24", "dev", bridge)
        ip("link", "set", bridge, "up")
        for host in hosts:
            ip("netns", "add", host.name)
            ip("link", "add", host.cable, "type", "veth", "peer", "eth0", "netns", host.name)
            ip("link", "set", host.cable, "master", bridge, "up")
            inside = ("-n", host.name)
            ip(*inside, "addr", "add", f"{host.address}/24", "dev", "eth0")
            for device in ("eth0", "lo"):
                ip(*inside, "link", "set", device, "up")
            ip(*inside, "route", "add", "default", "via", host.gateway)
        yield hosts
    finally:
        for host in hosts:
            if (Path("/run/netns") / host.name).exists():
                host.kill()
                ip("netns", "del", host.name)
        ip("link", "del", bridge)


def ip(*arguments: str) -> str:
    """What the command says."""
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


def title(pid: int) -> str:
    """What the process calls itself."""
    return " ".join(with_pid(pid, psutil.Process.cmdline) or ())


def with_pid(pid: int, do: Callable[[psutil.Process], Any]) -> Any:
    """None where the process has gone."""
    try:
        return do(psutil.Process(pid))
    except psutil.NoSuchProcess:
        return None


def s3_environment(address: str) -> dict[str, str]:
    """How the AWS chain finds the server."""
    return {
        "AWS_ENDPOINT_URL_S3": f"http://{address}:{PORT}",
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none",
        "AWS_DEFAULT_REGION": "us-east-1",
    }


@contextmanager
def s3_server(address: str) -> Iterator[None]:
    """An S3 server in this process, with an empty bucket."""
    server = ThreadedMotoServer(ip_address=address, port=PORT, verbose=False)
    server.start()
    try:
        boto3.session.Session().client("s3").create_bucket(Bucket=BUCKET)
        yield
    finally:
        server.stop()


@contextmanager
def ray_node(host: Host, head: Host, root: Path) -> Iterator[None]:
    """A Ray node on the host."""
    place = (
        ("--head", f"--port={PORT}", "--include-dashboard=false", f"--temp-dir={host.temporary}")
        if host is head
        else (f"--address={head.address}:{PORT}",)
    )
    size = (f"--num-cpus={CPUS}", f"--object-store-memory={100 * 2**20}", "--disable-usage-stats")
    command = ("-m", "ray.scripts.scripts", "start", "--block", *place, *size)
    with open(root / f"{host.name}.log", "wb") as log:
        process = subprocess.Popen(
            host.command(sys.executable, *command, f"--node-ip-address={host.address}"),
            stdout=log,
            stderr=log,
            # The hosts share this machine's memory: it is not theirs to watch.
            env=os.environ | {"RAY_AUTH_MODE": "disabled", "RAY_memory_monitor_refresh_ms": "0"},
        )
    try:
        yield
    finally:
        host.kill()
        process.wait()


def await_nodes(head: Host, number: int) -> None:
    """Until the cluster has so many nodes."""
    script = (
        "import ray, time; ray.init(log_to_driver=False)\n"
        f"while sum(n['Alive'] for n in ray.nodes()) < {number}: time.sleep(0.5)\n"
    )
    for _ in range(60):
        environment = driver_environment(head)
        found = subprocess.run(
            head.command(sys.executable, "-c", script), env=environment, capture_output=True
        )
        if found.returncode == 0:
            return
        time.sleep(1)
    raise SystemExit("the cluster does not start")


def driver_environment(head: Host) -> dict[str, str]:
    """That of a process which drives a run."""
    return os.environ | {
        "RAY_ADDRESS": f"{head.address}:{PORT}",
        "RAY_AUTH_MODE": "disabled",
        "HF_HUB_OFFLINE": "1",
    }


@contextmanager
def drive(made: Config, head: Host, root: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The run's driver, on the head node."""
    path = root / "config.json"
    path.write_text(made.model_dump_json())
    process = subprocess.Popen(
        head.command(sys.executable, __file__, "--drive", str(path)), env=driver_environment(head)
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_for(driver: subprocess.Popen[bytes], store: Store, enough: int) -> None:
    """Until so many objects exist."""
    while len(store.list("")) < enough:
        if driver.poll() is not None:
            raise SystemExit("the run ended before anything was to happen")
        time.sleep(LOOK_AGAIN_S)


def contents(store: Store) -> dict[str, str]:
    """Digest of every table; ledger and raw answers tell of attempts and are left out."""
    return {
        name: hashlib.sha256(store.get(name)).hexdigest()
        for name in store.list("")
        if name.endswith(".parquet") and not name.startswith(("ledger/", "answers/"))
    }


def attempts(store: Store) -> tuple[dict[str, int], int]:
    """Finished tasks by node, and attempts that came to nothing."""
    rows = read_tables(store, store.list("ledger/")).to_pylist()
    done = Counter(r["worker"].split(":")[0] for r in rows if r["outcome"] == "done")
    return dict(sorted(done.items())), sum(r["outcome"] != "done" for r in rows)


if __name__ == "__main__":
    main()
