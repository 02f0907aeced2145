"""The tree: what may lie at the top, what tracked files may not say, the cluster file's schema."""

import copy
import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import yaml

from ray_autointerp.config import OperationsSection

ROOT = Path(__file__).parents[2]
TOP = {
    "LICENSE",
    "README.md",
    "cluster.yaml",
    "jobs",
    "pyproject.toml",
    "ray_autointerp",
    "tests",
}
EMPTY_NAMES = {"utils", "util", "common", "core", "base", "helpers", "manager", "misc", "info"}
"""Words that say nothing of what a file holds."""

LARGEST_BYTES = 20 * 2**20
BINARY = {".parquet", ".safetensors", ".png"}

HOSTS = [
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("npmjs", "org"),
        ("debian", "org"),
        ("proxy", "golang", "org"),
        ("crates", "io"),
    )
]
"""Registries are named by their clients' configuration, never by us."""
PATHS = [
    "/".join(("", *parts)) for parts in (("work", ""), ("tmp", "w", ""), ("opt", ""), ("root",))
]
WORDS = ["work" + "place", "sub" + "agent", "CE" + "O"]
SECRETS = r"AKIA[0-9A-Z]{16}|-----BEGIN [A-Z ]*PRIVATE KEY|\b(?:hf|ghp|sk)_[A-Za-z0-9]{20,}"
FORBIDDEN = re.compile(
    "|".join(
        [
            *(rf"\b{re.escape(host)}\b" for host in HOSTS),
            *(rf"(?<![\w.~}}/-]){re.escape(path)}" for path in PATHS),
            *(rf"\b{word}\b" for word in WORDS),
            SECRETS,
        ]
    )
)


def tracked() -> list[Path]:
    named = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    return [Path(name) for name in named.split("\0") if name and (ROOT / name).is_file()]


def test_top_of_the_tree_is_a_short_list() -> None:
    top = {path.parts[0] for path in tracked()}
    assert {name for name in top if not name.startswith(".")} <= TOP
    assert top >= TOP - {"README.md"}


def test_no_file_is_named_by_an_empty_word() -> None:
    assert [path for path in tracked() if path.stem in EMPTY_NAMES] == []


def test_tests_mirror_the_package() -> None:
    """Tests of a package's folder are in the folder of that name; so are those of jobs/."""
    floors = {
        path.parts[1].removesuffix(".py")
        for path in tracked()
        if path.parts[0] in {TOP_CODE, "jobs"}
    }
    there = {
        path.parts[1] for path in tracked() if path.parts[0] == "tests" and len(path.parts) > 2
    }
    assert there - floors <= {"house", "scripts"}


TOP_CODE = "ray_autointerp"


def test_tracked_files_name_no_registry_machine_or_secret() -> None:
    said = [
        f"{path}:{number}: {found[0]}"
        for path in tracked()
        if path.suffix not in BINARY
        for number, line in enumerate((ROOT / path).read_text().splitlines(), start=1)
        if (found := FORBIDDEN.search(line))
    ]
    assert said == []


@pytest.mark.parametrize(
    "line",
    [
        f"index-url = https://{HOSTS[0]}/simple",
        f"path = '{PATHS[0]}main'",
        f"{PATHS[3]}/.cache",
        f"the {WORDS[0]} says",
        "key = AKIA" + "ABCDEFGHIJKLMNOP",
    ],
)
def test_forbidden_text_is_seen(line: str) -> None:
    assert FORBIDDEN.search(line)


@pytest.mark.parametrize(
    "line",
    ["https://download.pytorch.org/whl/cpu", "root/work/x", "s3://b/opt/x", "networks/work/"],
)
def test_allowed_text_is_passed(line: str) -> None:
    assert not FORBIDDEN.search(line)


def test_tracked_files_are_small() -> None:
    sizes = {path: (ROOT / path).stat().st_size for path in tracked()}
    assert {path: size for path, size in sizes.items() if size > LARGEST_BYTES} == {}


def test_licence_is_the_one_that_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    words = (ROOT / "LICENSE").read_text().split()
    assert project["license"] == "Apache-2.0"
    assert words[:4] == ["Apache", "License", "Version", "2.0,"]
    assert "END OF TERMS AND CONDITIONS" in " ".join(words)


@pytest.fixture(scope="module")
def cluster() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    return read


@pytest.fixture(scope="module")
def ray_schema() -> dict[str, Any]:
    path = Path(ray.__file__).parent / "autoscaler" / "ray-schema.json"
    schema: dict[str, Any] = json.loads(path.read_text())
    return schema


def test_cluster_file_is_valid_for_ray(cluster: dict[str, Any], ray_schema: dict[str, Any]) -> None:
    jsonschema.validate(cluster, ray_schema)
    for broken in ({"head_node": "head"}, {"max_workers": "four"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(cluster | broken, ray_schema)


def test_cluster_file_survives_rays_own_defaults_and_checks(cluster: dict[str, Any]) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(copy.deepcopy(cluster)))


def test_cluster_nodes_types_and_mounts_are_there(cluster: dict[str, Any]) -> None:
    types = cluster["available_node_types"]
    assert cluster["head_node_type"] in types
    head, spot, on_demand = (types[name] for name in ("head", "gpu_spot", "gpu_on_demand"))
    assert head["resources"]["GPU"] == 0
    for gpu in (spot, on_demand):
        assert gpu["resources"]["GPU"] > 0
        assert gpu["min_workers"] <= gpu["max_workers"] <= cluster["max_workers"]
    # Alike but for the market, or the autoscaler's choice is not free.
    assert spot["resources"] == on_demand["resources"]
    market = {"InstanceMarketOptions": {"MarketType": "spot"}}
    assert spot["node_config"] == on_demand["node_config"] | market
    assert [p for p in cluster["file_mounts"].values() if not (ROOT / p).exists()] == []
    (installing,) = cluster["setup_commands"]
    assert [path for path in cluster["file_mounts"] if path in installing] != []


@pytest.mark.parametrize(
    ("failed", "launched"),
    [({}, {"gpu_spot": 2}), ({"gpu_spot": 0.0}, {"gpu_on_demand": 2})],
)
def test_autoscaler_takes_spot_nodes_first_and_others_where_they_fail(
    cluster: dict[str, Any], failed: dict[str, float], launched: dict[str, int]
) -> None:
    """Ray's own scheduler; `failed` says which types failed to start a moment ago."""
    from ray.autoscaler.v2.event_logger import AutoscalerEventLogger
    from ray.autoscaler.v2.instance_manager.config import NodeTypeConfig
    from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
    from ray.autoscaler.v2.utils import ResourceRequestUtil

    types = {
        name: NodeTypeConfig(
            name=name,
            min_worker_nodes=node.get("min_workers", 0),
            max_worker_nodes=node.get("max_workers", 0),
            resources=node["resources"],
            priority=node.get("priority", 0),
        )
        for name, node in cluster["available_node_types"].items()
    }
    gpu_actors = ResourceRequestUtil.group_by_count(
        [ResourceRequestUtil.make({"CPU": 1, "GPU": 1}) for _ in range(2)]
    )
    assert "RAY_enable_autoscaler_v2=1" in cluster["head_start_ray_commands"][-1]
    reply = ResourceDemandScheduler(AutoscalerEventLogger(Silent())).schedule(
        SchedulingRequest(
            node_type_configs=types,
            disable_launch_config_check=True,
            max_num_nodes=cluster["max_workers"],
            resource_requests=gpu_actors,
            recoverable_resource_availabilities=failed,
        )
    )
    assert {request.instance_type: request.count for request in reply.to_launch} == launched


class Silent:
    """An event logger that says nothing."""

    def __getattr__(self, _: str) -> Any:
        return lambda *_, **__: None


def test_cluster_files_comments_name_settings_that_exist() -> None:
    text = (ROOT / "cluster.yaml").read_text()
    named = set(re.findall(r"\b((?:subject|llm)_(?:workers|gpus))\b", text))
    assert named == {"subject_workers", "llm_workers", "subject_gpus", "llm_gpus"}
    assert named <= set(OperationsSection.model_fields)
    assert [
        path for path in re.findall(r"jobs/\S+\.(?:py|txt)", text) if not (ROOT / path).exists()
    ] == []
