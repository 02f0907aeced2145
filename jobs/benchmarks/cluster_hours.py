"""Hours, idle GPUs and money of whole runs on 1 to 512 GPUs: the real schedule in virtual time.

    python jobs/benchmarks/cluster_hours.py [--cases 16k 65k suite] [--rules sample all]
        [--gpus 1 2 4 ... 512] [--gpu-hour 3] [--llm-speed 1] [--tokenizer FOLDER] [--workers 2]

Subject: the shapes of Gemma-2-2B; explainer and judge: a model of 8B on one GPU; the config's
defaults. The work is what `plan` foretells, counted with the tokenizer of `--tokenizer`; rates are
in cluster_rates.py, each with where it was measured, or that it was not. Of every number of GPUs
those splits into subject workers and engines are tried whose own bound is not already above the
best, and that both pools share all GPUs in turns (`operations.take_turns`). `bound` is what no
schedule of the same tasks could be below: all work over all GPUs, or the longest path. Money counts
every GPU from the first second to the last. Prints a JSON line for each case and number of GPUs,
then a table.
"""

import argparse
import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cluster_events import Ran, Run, Workers, lower_bound
from cluster_rates import D_MODEL, LAYER, NUM_LAYERS, Durations, Rates
from rich import box
from rich.console import Console
from rich.table import Table

from ray_autointerp.config import Config
from ray_autointerp.config_file import parse_config
from ray_autointerp.plan.estimate import estimate, expected_selection
from ray_autointerp.plan.shards import Axes, LatentRange, num_shards, shard_size
from ray_autointerp.preflight.forecast import forecast

_CASES = {"16k": (1, 16_384), "65k": (1, 65_536), "suite": (61, 16_384)}
"""SAEs and latents of each; the suite's are spread over the hook points of all layers."""

_GPUS = [2**n for n in range(10)]
_HOUR = 3600.0
_ENOUGH = 0.98
"""A split whose bound is above this share of the best time is not tried."""
_MOST_SPLITS = 3

_CORPUS = Path(__file__).parents[1] / "demo" / "corpus.parquet"
_TOKENIZER = Path("~/.cache/ray_autointerp/SmolLM2-135M-Instruct")


@dataclass(frozen=True)
class Case:
    """One run's config, its sizes and the seconds of its tasks."""

    name: str
    rule: str
    config: Config
    axes: Axes
    durations: Durations
    rates: Rates

    def ran(self, workers: Workers | None) -> Ran:
        """In virtual time."""
        return Run(self.config, self.axes, self.durations, self.rates, workers).drive()

    @property
    def num_described(self) -> int:
        """Latents that get a description by the LLM."""
        ranges = self.axes.latents.values()
        return sum(expected_selection(self.config, len(r)).num_chosen for r in ranges)


def main() -> None:
    """Every case, rule and number of GPUs that was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--cases", nargs="+", choices=list(_CASES), default=list(_CASES))
    parser.add_argument("--rules", nargs="+", choices=["sample", "all"], default=["sample", "all"])
    parser.add_argument("--gpus", nargs="+", type=int, default=_GPUS)
    parser.add_argument("--gpu-hour", type=float, default=3.0, help="an assumption: the price")
    parser.add_argument("--cpus", type=int, default=8, help="cpu workers for each GPU")
    parser.add_argument("--llm-speed", type=float, default=1.0, help="times the derived rates")
    parser.add_argument("--tokenizer", type=Path, default=_TOKENIZER, help="a model's folder")
    parser.add_argument("--workers", type=int, default=2, help="processes of this benchmark")
    parser.add_argument("--latents", type=int, help="of each SAE, in place of the case's")
    asked = parser.parse_args()
    rates = Rates()
    rates = replace(
        rates,
        prompt_tokens=rates.prompt_tokens * asked.llm_speed,
        generated_tokens=rates.generated_tokens * asked.llm_speed,
    )
    rows = []
    for name in asked.cases:
        for rule in asked.rules:
            case = build(name, rule, asked.tokenizer, rates, asked.latents)
            for row in raced(case, asked.gpus, asked.cpus, asked.workers):
                row["money"] = round(row["gpus"] * row["hours"] * asked.gpu_hour, 2)
                rows.append(row)
                print(json.dumps(row), flush=True)
    Console(width=130).print(table(rows, asked.gpu_hour))


def build(name: str, rule: str, tokenizer: Path, rates: Rates, latents: int | None) -> Case:
    """A case with what `plan` foretells of it."""
    num_saes, width = _CASES[name]
    width = latents or width
    folder = str(tokenizer.expanduser())
    hooks = [LAYER] if num_saes == 1 else range(NUM_LAYERS)
    points = {
        f"s{i:02}": f"blocks.{hooks[i % len(hooks)]}.hook_resid_post" for i in range(num_saes)
    }
    config = parse_config(
        {
            "run": {"name": name},
            "subject": {"model": folder, "dtype": "bfloat16"},
            "sae": [{"id": sae, "path": "sae", "hook_point": hook} for sae, hook in points.items()],
            "corpus": {"path": str(_CORPUS), "window": 128},
            "llm": {"model": folder},
            "select": {"rule": rule},
            "operations": {"micro_batch": 128},
        },
        Path("cluster_hours.toml"),
    )
    corpus, operations = config.corpus, config.operations
    chosen = expected_selection(config, width).num_chosen
    axes = Axes(
        num_shards(corpus.num_tokens, shard_size(corpus.tokens_per_shard, corpus.num_tokens)),
        {sae: LatentRange(0, width) for sae in points},
        shard_size(operations.latents_per_shard, width),
        shard_size(operations.selected_per_shard, chosen),
        points,
        D_MODEL,
        operations.directions_per_shard,
    )
    lines = estimate(config, axes, NUM_LAYERS, LAYER)
    durations = Durations(config, axes, lines, forecast(config, axes).steps, rates)
    return Case(name, rule, config, axes, durations, rates)


def raced(case: Case, gpus: list[int], cpus: int, processes: int) -> Iterator[dict[str, Any]]:
    """A row for each number of GPUs, in their order."""
    longest = case.ran(None)
    with ProcessPoolExecutor(processes) as pool:
        asked = [pool.submit(best, case, longest, number, cpus) for number in gpus]
        for one in asked:
            yield one.result()


def best(case: Case, longest: Ran, num_gpus: int, cpus: int) -> dict[str, Any]:
    """The row of the quickest split of so many GPUs."""
    found: tuple[Ran, Workers] | None = None
    for bound, workers in splits(longest, num_gpus, cpus)[:_MOST_SPLITS]:
        if found is not None and bound > _ENOUGH * found[0].seconds:
            break
        ran = case.ran(workers)
        if found is None or ran.seconds < found[0].seconds:
            found = ran, workers
    assert found is not None
    return row(case, *found, lower_bound(longest, longest.seconds, num_gpus), num_gpus)


def splits(total: Ran, num_gpus: int, cpus: int) -> list[tuple[float, Workers]]:
    """The splits of so many GPUs, each with its own bound, the lowest first."""
    subject, llm = total.pools["subject"], total.pools["llm"]
    in_turns = Workers(num_gpus, num_gpus, cpus * num_gpus, take_turns=True)
    bound = lower_bound(total, total.seconds, num_gpus)
    found = [(bound, bound, 0, in_turns)]
    for number in range(1, num_gpus):
        busiest = max((subject.work + subject.overhead) / number, llm.work / (num_gpus - number))
        bound = max(total.seconds, busiest)
        # Where the longest path bounds several, the one with the least in its busier pool is first.
        found.append((bound, busiest, number, Workers(number, num_gpus - number, cpus * num_gpus)))
    return [(bound, workers) for bound, _, _, workers in sorted(found, key=lambda f: f[:3])]


def row(case: Case, ran: Ran, workers: Workers, bound: float, num_gpus: int) -> dict[str, Any]:
    """The figures of one run. Idle is all but computing."""
    subject, llm = ran.pools["subject"], ran.pools["llm"]
    held = {"subject": workers.subject * ran.seconds, "llm": workers.llm * ran.seconds}
    shared = {}
    for name, busy in (("subject", subject), ("llm", llm)):
        spent = busy.work + (subject.work + llm.work - busy.work if workers.take_turns else 0.0)
        shared[f"{name}_idle"] = 1 - spent / held[name]
        for part in ("before", "after", "loading", "overhead"):
            shared[f"{name}_{part}"] = getattr(busy, part) / held[name]
    last = sorted(ran.finished, key=lambda step: -ran.finished[step])
    return {
        "case": case.name,
        "rule": case.rule,
        "latents": sum(map(len, case.axes.latents.values())),
        "described": case.num_described,
        "gpus": num_gpus,
        "in_turns": workers.take_turns,
        "subject": workers.subject,
        "llm": workers.llm,
        "hours": round(ran.seconds / _HOUR, 4),
        "bound_hours": round(bound / _HOUR, 4),
        "efficiency": round(bound / ran.seconds, 3),
        "work_hours": round((subject.work + subject.overhead + llm.work) / _HOUR, 4),
        **{name: round(share, 3) for name, share in shared.items()},
        "num_tasks": ran.num_tasks,
        "tasks_per_second": round(ran.num_tasks / ran.seconds, 2),
        "last_steps": {step: round(ran.finished[step] / _HOUR, 3) for step in last[:4]},
    }


def table(rows: list[dict[str, Any]], gpu_hour: float) -> Table:
    """The same for eyes."""
    made = Table(
        title=f"hours of whole runs, a GPU-hour at {gpu_hour:g}",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    names = ("run", "GPUs", "subject\n+ LLM", "hours", "bound", "bound\n/ hours")
    names += ("subject\nidle", "LLM\nidle", "before its\nfirst task", "after its\nlast", "money")
    for name in names:
        made.add_column(name, justify="left" if name == "run" else "right")
    before = ""
    for one in rows:
        run = f"{one['case']}, {one['rule']}: {one['described']:,} of {one['latents']:,} described"
        if before and run != before:
            made.add_section()
        made.add_row(
            run if run != before else "",
            f"{one['gpus']}",
            "in turns" if one["in_turns"] else f"{one['subject']} + {one['llm']}",
            f"{one['hours']:,.2f}",
            f"{one['bound_hours']:,.2f}",
            f"{one['efficiency']:.2f}",
            f"{one['subject_idle']:.0%}",
            f"{one['llm_idle']:.0%}",
            f"{one['llm_before']:.0%}",
            f"{one['llm_after']:.0%}",
            f"{one['money']:,.0f}",
        )
        before = run
    return made


if __name__ == "__main__":
    main()
