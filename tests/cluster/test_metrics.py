"""What a run exports: sums that the ledger and the tables confirm, on Ray's own endpoint."""

import re
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest
import ray
from receipts import Kept

from ray_autointerp.cluster.metrics import Metrics
from ray_autointerp.execution.observers import Observers
from ray_autointerp.execution.tracker import Receipt
from ray_autointerp.plan.flow import step_named
from ray_autointerp.plan.step import LLM_POOLS
from ray_autointerp.records.usage import Usage
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Tables

SAMPLE = re.compile(r"(ray_autointerp_\w+)\{([^}]*)\} (\S+)")
EXPORTED_WITHIN_S = 60
"""Ray's processes report every ten seconds."""

Samples = dict[tuple[str, ...], float]


def endpoint() -> str:
    (node,) = [node for node in ray.nodes() if node["Alive"]]
    url = f"http://127.0.0.1:{node['MetricsExportPort']}/metrics"
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


def samples(text: str, run: str) -> Samples:
    """By metric and the values of its own tags, but for the run's."""
    found = {}
    for name, labels, value in SAMPLE.findall(text):
        tags = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        if tags.get("run") == run:
            own = [tags[key] for key in ("step", "pool", "outcome", "kind") if key in tags]
            found[name.removeprefix("ray_autointerp_"), *own] = float(value)
    return found


def awaited(run: str, enough: Callable[[Samples], bool]) -> Samples:
    end = time.monotonic() + EXPORTED_WITHIN_S
    while True:
        found = samples(endpoint(), run)
        if enough(found):
            return found
        assert time.monotonic() < end, f"not exported in time: {found}"
        time.sleep(1)


@pytest.mark.slow
def test_run_on_ray_exports_what_its_receipts_say(run_in_turns: tuple[Run, list[Receipt]]) -> None:
    run, receipts = run_in_turns
    done = Counter(receipt.task.step for receipt in receipts)
    # The scripted LLM has no tokens: as an engine's answers would be counted.
    explained = next(r for r in receipts if r.task.step == "explain")
    lost = replace(explained, outcome="over budget", usage=Usage(0, 100, 40, 7, 2.5))
    metrics = Metrics()
    metrics.begun(run)
    metrics.ended(lost)
    found = awaited(
        run.folder,
        lambda found: (
            found.get(("tasks_ended_total", "publish", "done")) == done["publish"]
            and ("tasks_ended_total", "explain", "over budget") in found
        ),
    )
    made = {metric.info["name"].removeprefix("autointerp_") for metric in vars(Metrics()).values()}
    assert {key[0].removesuffix("_total") for key in found} == made
    for step, number in done.items():
        assert found["tasks_ended_total", step, "done"] == number
    usage = Counter({r.task.step: 0 for r in receipts})
    for receipt in receipts:
        usage[receipt.task.step] += receipt.usage.num_requests
        is_llm = step_named(receipt.task.step).pool in LLM_POOLS
        assert is_llm or receipt.usage.num_requests == 0
    for step, number in usage.items():
        assert found.get(("llm_requests_total", step), 0) == number
    assert sum(usage.values()) > 0
    tokens = {key[2]: value for key, value in found.items() if key[0] == "llm_tokens_total"}
    assert tokens == {"prompt": 60, "cached": 40, "generated": 7}
    engines = sum(r.usage.engine_seconds for r in [*receipts, lost])
    assert found["busy_seconds_total", "llm"] == pytest.approx(engines)
    (latents,) = run.axes.latents.values()
    assert found["latents_done_total", "publish"] == len(latents)
    (sae,) = run.saes
    chosen = Tables(run).selected(sae).num_chosen
    assert found["latents_done_total", "calibrate"] == chosen
    assert ("latents_done_total", "max_act") not in found, "a token shard is of every latent"
    seconds = sum(r.seconds for r in receipts if step_named(r.task.step).pool == "cpu")
    assert found["busy_seconds_total", "cpu"] == pytest.approx(seconds)
    queues = {key[1]: value for key, value in found.items() if key[0] == "tasks_ready"}
    assert queues == {"cpu": 0, "subject": 0, "llm": 0}, "a judge without a name is the llm's"


def test_no_tag_names_what_a_run_has_thousands_of() -> None:
    tags = {key for metric in vars(Metrics()).values() for key in metric.info["tag_keys"]}
    assert tags == {"run", "step", "pool", "outcome", "kind"}


def test_observers_are_told_the_same() -> None:
    first, second = Kept(), Kept()
    observers = Observers(first, second)
    receipt = object()
    observers.ended(receipt)  # type: ignore[arg-type]
    assert first.receipts == second.receipts == [receipt]
