"""The Kubernetes manifests against the schemas of what reads them; unknown fields are errors.

schemas.yaml, beside this file, has the fields in use. With `KUBERAY_CRDS=folder` (KubeRay's
ray-operator/config/crd/bases) and with kubernetes-validate installed, whole schemas are used too.
"""

import copy
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import yaml

ROOT = Path(__file__).parents[2]
MANIFESTS = ("rayjob", "raycronjob", "cronjob")
CRDS = {"RayJob": "ray.io_rayjobs.yaml", "RayCronJob": "ray.io_raycronjobs.yaml"}


def read(name: str) -> dict[str, Any]:
    (found,) = yaml.safe_load_all((ROOT / "jobs" / "kubernetes" / f"{name}.yaml").read_text())
    assert isinstance(found, dict)
    return found


def validate(manifest: dict[str, Any]) -> None:
    schemas = yaml.safe_load((Path(__file__).parent / "schemas.yaml").read_text())
    schema = {**schemas[manifest["kind"]], "$defs": schemas["$defs"]}
    jsonschema.Draft202012Validator(schema).validate(manifest)


def mappings(node: Any) -> Iterator[dict[str, Any]]:
    """Every mapping of a manifest, itself first."""
    if isinstance(node, dict):
        yield node
    for inner in (
        node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    ):
        yield from mappings(inner)


@pytest.mark.parametrize("name", MANIFESTS)
def test_manifest_is_valid(name: str) -> None:
    validate(read(name))


@pytest.mark.parametrize("name", MANIFESTS)
def test_unknown_field_is_refused_wherever_it_stands(name: str) -> None:
    count = sum(1 for _ in mappings(read(name)))
    free = {"limits", "requests", "nodeSelector", "rayStartParams"}
    refused = 0
    for number in range(count):
        manifest = copy.deepcopy(read(name))
        parents = [(key, value) for m in mappings(manifest) for key, value in m.items()]
        changed = list(mappings(manifest))[number]
        if any(value is changed and key in free for key, value in parents):
            continue
        changed["concurrencyPolice"] = "Forbid"
        with pytest.raises(jsonschema.ValidationError):
            validate(manifest)
        refused += 1
    assert refused > 5


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("rayjob", ("spec", "backoffLimit"), "two"),
        ("rayjob", ("spec", "rayClusterSpec", "autoscalerOptions", "version"), "v3"),
        ("raycronjob", ("spec", "schedule"), 3),
        ("cronjob", ("spec", "concurrencyPolicy"), "Never"),
    ],
)
def test_impossible_value_is_refused(name: str, path: tuple[str, ...], value: Any) -> None:
    manifest = read(name)
    inner = manifest
    for key in path[:-1]:
        inner = inner[key]
    assert path[-1] in inner
    inner[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        validate(manifest)


def test_clusters_run_the_ray_that_is_locked_and_the_script_that_is_here() -> None:
    job, cron = read("rayjob")["spec"], read("raycronjob")["spec"]["jobTemplate"]
    assert job["rayClusterSpec"] == cron["rayClusterSpec"]
    assert job["rayClusterSpec"]["rayVersion"] == ray.__version__
    docker = (ROOT / "jobs" / "kubernetes" / "Dockerfile").read_text()
    assert f"FROM rayproject/ray:{ray.__version__}-py311-gpu\n" in docker
    (home,) = re.findall(r"^WORKDIR (\S+)$", docker, re.M)
    assert job["entrypoint"].startswith(f"python {home}/jobs/label_sae.py {home}/CONFIG ")
    assert (ROOT / "jobs" / "label_sae.py").is_file()
    poll = f"python {home}/jobs/relabel_checkpoints.py {home}/CONFIG"
    assert cron["entrypoint"] == poll
    (pod,) = read("cronjob")["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert " ".join(pod["command"]) == poll.replace(f"{home}/", "")  # from the image's folder


def test_worker_groups_are_alike_but_for_the_market() -> None:
    spot, on_demand = read("rayjob")["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert spot["priority"] > on_demand["priority"]
    pods = [group["template"]["spec"] for group in (spot, on_demand)]
    assert pods[0].keys() - pods[1].keys() == {"nodeSelector", "tolerations"}
    assert pods[0]["containers"] == pods[1]["containers"]


def strict(schema: Any) -> Any:
    """A CRD's schema in which no object has fields that it does not name."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: strict(value) for key, value in schema.items()}
    if "properties" in schema and isinstance(schema["properties"], dict):
        closed.setdefault("additionalProperties", False)
    if schema.get("x-kubernetes-int-or-string"):
        closed = {"type": ["integer", "string"]}
    return closed


@pytest.mark.skipif("KUBERAY_CRDS" not in os.environ, reason="KUBERAY_CRDS names no folder")
@pytest.mark.parametrize("name", ["rayjob", "raycronjob"])
def test_manifest_is_valid_for_the_whole_crd(name: str) -> None:
    manifest = read(name)
    crd = yaml.safe_load((Path(os.environ["KUBERAY_CRDS"]) / CRDS[manifest["kind"]]).read_text())
    (version,) = [v for v in crd["spec"]["versions"] if v["name"] == "v1"]
    schema = strict(version["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"] = {"type": "object"}
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate(manifest)
    manifest["spec"]["concurrencyPolicy"] = "Forbid"
    assert not validator.is_valid(manifest)


def test_cron_job_is_valid_for_the_whole_kubernetes_schema() -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    manifest = read("cronjob")
    kubernetes_validate.validate(manifest, "1.37", strict=True)
    manifest["spec"]["concurrencyPolice"] = "Forbid"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest, "1.37", strict=True)
