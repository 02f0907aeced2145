"""What the reading commands say, as one JSON document each (`--json`).

Keys are the columns of the tables and the fields of what the commands show; a number that is not
finite is null.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any, TextIO

import pyarrow as pa

from ray_autointerp.config import Config
from ray_autointerp.passes.agreement_curve import agreement_curve
from ray_autointerp.plan.estimate import Line as StepEstimate
from ray_autointerp.plan.forecast import Forecast
from ray_autointerp.plan.shards import Axes
from ray_autointerp.reports.bill_table import Bill
from ray_autointerp.reports.compare import csv_rows, run_pairs
from ray_autointerp.reports.latent_rows import LatentRows
from ray_autointerp.reports.match_table import MatchSummary
from ray_autointerp.reports.plan_table import foreseen_costs
from ray_autointerp.reports.pool_table import PoolUse
from ray_autointerp.reports.run_scores import RunScores
from ray_autointerp.reports.status_table import Status
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Tables

Document = Mapping[str, Any]


def write_json(document: Document, stream: TextIO) -> None:
    """The document and a line's end; everything but ASCII is escaped, so that no text of a model
    or a corpus reaches a terminal.
    """
    json.dump(_plain(document), stream, indent=2, allow_nan=False)
    stream.write("\n")


def status_document(of: Status) -> Document:
    """How far a run is."""
    steps = [
        {**asdict(step.progress), "seconds_per_shard": step.seconds, "num_left": step.num_left}
        for step in of.steps
    ]
    driver = of.driver and {
        **{name: getattr(of.driver, name) for name in ("host", "pid", "since")},
        "is_known_dead": of.driver.is_known_dead,
    }
    return {
        "run": of.run.uri,
        "is_finished": of.is_finished,
        "driver": driver,
        "num_tasks": of.left.num_tasks,
        "num_done": of.left.num_done,
        "seconds_left": of.left.seconds,
        "unmeasured_steps": of.left.unmeasured,
        "failed_attempts": dict(of.num_failed),
        "steps": steps,
    }


def labels_document(run: Run, sae: str, table: pa.Table) -> Document:
    """Rows of `labels`."""
    return {"run": run.uri, "sae": sae, "labels": table.to_pylist()}


def search_document(uri: str, text: str, found: Mapping[str, pa.Table]) -> Document:
    """Rows of `labels` by SAE, with their `similarity` where they were searched by meaning."""
    labels = [row for table in found.values() for row in table.to_pylist()]
    return {"run": uri, "text": text, "labels": labels}


def latent_document(run: Run, rows: LatentRows) -> Document:
    """Every row of one latent."""
    names = ("sae", "latent", "is_chosen", "stats", "free_scores", "label", "neighbours")
    lists = [{"name": name, "rows": found} for name, found in rows.lists]
    return {
        "run": run.uri,
        **{name: getattr(rows, name) for name in names},
        "top_examples": rows.example_rows,
        "token_lists": lists,
        "descriptions": [asdict(description) for description in rows.descriptions],
        "revivals": rows.revivals,
        "missing_tables": list(rows.missing),
    }


def comparison_document(ours: Sequence[RunScores], theirs: Sequence[RunScores]) -> Document:
    """Every mean with floor and lift, and the paired differences of two runs, where there are two:
    the first less the second.
    """
    differences = [
        {"method": method, "score": measure.name, **asdict(found)}
        for method, measure, found in (run_pairs(ours, theirs) if theirs else ())
    ]
    return {"scores": list(csv_rows([*ours, *theirs])), "differences": differences}


def bill_document(run: Run, made: Bill, used: Sequence[PoolUse]) -> Document:
    """What the LLM cost, and how busy the workers were. Money is null where no price is set."""
    lines = [
        {
            "step": line.step,
            "method": line.method,
            **asdict(line.usage),
            "cost": line.money if made.is_priced else None,
        }
        for line in (*made.lines, made.total)
    ]
    pools = [{**asdict(one), "busy_share": one.busy_share} for one in used]
    return {
        "run": run.uri,
        "num_latents": made.num_latents,
        "steps": lines[:-1],
        "total": lines[-1],
        "pools": pools,
    }


def matches_document(run: Run, of: MatchSummary) -> Document:
    """What became of an SAE's latents."""
    return {
        "run": run.uri,
        "sae": of.sae,
        "earlier": of.earlier,
        "num_latents": of.matches.num_rows,
        "num_matched": of.num_matched,
        "num_earlier": of.num_earlier,
        "num_lost": of.num_lost,
        "num_carried": of.num_carried,
        "num_labelled": of.num_labelled,
        "changed_labels": of.changed,
        "matches": of.matches.to_pylist(),
    }


def agreement_document(run: Run, sae: str) -> Document:
    """Each estimate's agreement with exact TokenChange, by strength and number of windows."""
    points = agreement_curve(Tables(run), sae)
    return {"run": run.uri, "sae": sae, "agreement": points}


def plan_document(
    config: Config, axes: Axes, steps: Sequence[StepEstimate], foreseen: Forecast
) -> Document:
    """What a run would do and cost. Money is null where no price is set."""
    costs = foreseen_costs(config, foreseen)
    asked = [
        {"step": step, **asdict(usage), "cost": costs and costs[step]}
        for step, usage in foreseen.steps.items()
        if usage.num_requests
    ]
    return {
        "run": config.run.name,
        "latents": {sae: [found.start, found.stop] for sae, found in axes.latents.items()},
        "steps": steps,
        "llm": asked,
        "cost": costs and sum(costs.values()),
        "notes": foreseen.notes,
    }


def _plain(value: Any) -> Any:
    """What JSON knows."""
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value.item() if hasattr(value, "item") else value
