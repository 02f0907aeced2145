"""Labels carried over between two checkpoints: calls to the LLM saved, at which scores.

    .venv/bin/python jobs/benchmarks/carry_over.py [CONFIG] [--earlier FOLDER] [--llm NAME]

Labels the earlier checkpoint, then the config's SAE (the demo's) three times as a child of that
run: every latent anew, with carry-over by the defaults, and with carry-over without thresholds, by
which every matched label is checked. A score is the AUROC of sentences written from a label on the
latent that has it. Prints JSON lines: the curve of label agreement against each threshold, then
calls and scores of carry-over beside labelling anew. A killed benchmark continues under the same
--root.
"""

import argparse
import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from race import machine, report

from ray_autointerp.cluster.progress import Silent
from ray_autointerp.config import Config, MatchSection
from ray_autointerp.config_file import read_config
from ray_autointerp.execution.run_local import run_local
from ray_autointerp.methods.paired import Scores, difference, shared
from ray_autointerp.pipeline import label
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Row, Tables

DEMO = Path(__file__).parents[1] / "demo"
THRESHOLDS: Mapping[str, Sequence[float]] = {
    "cosine": (0, 0.7, 0.8, 0.85, 0.9, 0.95),
    "correlation": (0, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9),
    "promoted_overlap": (0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8),
}
FREE = {"carry_cosine": 0, "carry_correlation": 0, "carry_overlap": 0, "carry_auroc_loss": 1}
LOST = MatchSection().carry_auroc_loss


def main() -> None:
    """The four runs, the curves, the comparison."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("config", nargs="?", type=Path, default=DEMO / "demo.toml")
    parser.add_argument("--earlier", default=str(DEMO / "sae_earlier"))
    parser.add_argument("--llm", help="A model in place of the config's.")
    parser.add_argument("--latents", type=int, default=200)
    parser.add_argument("--root", help="Where the runs lie; else a temporary folder.")
    asked = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    with tempfile.TemporaryDirectory() as temporary:
        config = small(read_config(asked.config), asked.latents, asked.llm)
        root = asked.root or temporary
        report(machine=machine(), latents=asked.latents, llm=Path(config.llm.model).name)
        run(config, root, "earlier", None, asked.earlier)
        anew, carried, free = (
            run(config, root, name, match)
            for name, match in (
                ("anew", {"carry_over": False}),
                ("carried", {}),
                ("free", FREE),
            )
        )
        report_curves(free, anew)
        report_saved(carried, anew)


def small(config: Config, num_latents: int, llm: str | None) -> Config:
    """The config with keywords alone, scored by sentences: an LLM's calls are those for them."""
    raw = config.model_dump(mode="json")
    raw["select"] |= {"rule": "sample", "num_latents": num_latents, "num_dead": 0, "controls": 0}
    raw["select"] |= {"panel": 4, "sample": 4}  # always labelled anew
    raw["describe"] |= {"methods": ["keywords"], "label_by": "order"}
    raw["score"] |= {
        **{"methods": ["keywords"], "num_sentences": 5, "num_draws": 2},
        **{"num_units": 0, "num_choosing_units": 0, "num_unseen_trials": 0},
        **{"detection_texts": 0, "fuzzing_texts": 0, "three_set_methods": []},
    }
    if llm:
        raw["llm"] |= {"model": llm}
    return Config.model_validate(raw)


def run(
    config: Config, root: str, name: str, match: Mapping[str, Any] | None, sae: str | None = None
) -> Run:
    """One of the runs; those with `match` are children of the first."""
    raw = config.model_dump(mode="json")
    raw["run"] |= {"root": root, "name": name, "parent": None if match is None else "earlier"}
    raw["match"] = match
    if sae is not None:
        raw["sae"][0]["path"] = sae
    return label(Config.model_validate(raw), run_local, Silent())


def rows(run: Run, table: str) -> dict[int, Row]:
    """A table's rows by latent, of the first SAE."""
    return {row["latent"]: row for row in Tables(run).read(table, run.saes[0]).to_pylist()}


def report_curves(free: Run, anew: Run) -> None:
    """By threshold: how many labels pass, and what their sentences are worth on the new latent."""
    checks, labels = rows(free, "carry_checks"), rows(anew, "labels")
    found = [
        {**match, **checks[latent], "anew": labels[latent]["input_auroc"]}
        for latent, match in rows(free, "matches").items()
        if checks[latent]["auroc"] is not None and labels[latent]["chosen"]
    ]
    for name, thresholds in THRESHOLDS.items():
        for least in thresholds:
            passed = [row for row in found if (row[name] or 0) >= least]
            if passed:
                report(threshold=name, least=least, **agreement(passed, len(found)))


def agreement(passed: Sequence[Row], num_checked: int) -> dict[str, object]:
    """Mean AUROC where the labels were made, here, and of labels made anew for the same latents."""
    before, now = (np.array([row[c] for row in passed]) for c in ("auroc_before", "auroc"))
    anew = [row["anew"] for row in passed if row["anew"] is not None]
    return {
        "labels": len(passed),
        "share": len(passed) / num_checked,
        "auroc_before": float(before.mean()),
        "auroc": float(now.mean()),
        "anew": float(np.mean(anew)),
        "lost": float((now < before - LOST).mean()),
    }


def report_saved(carried: Run, anew: Run) -> None:
    """Calls and scores of both runs, over the latents that both label."""
    selection, checks = rows(carried, "selection"), rows(carried, "carry_checks")
    labels, others = rows(carried, "labels"), rows(anew, "labels")
    scores: dict[str, dict[int, float]] = {"carried": {}, "anew": {}}
    for latent, row in selection.items():
        if not (row["chosen"] or row["carried"]):
            continue
        own = checks[latent]["auroc"] if row["carried"] else labels[latent]["input_auroc"]
        for name, value in (("carried", own), ("anew", others[latent]["input_auroc"])):
            if value is not None:
                scores[name][latent] = value
    own_N, anew_N = shared(*(as_scores(one) for one in scores.values()))
    lead = difference([(own_N, anew_N)], seed=0)
    calls = {run.folder: num_calls(run) for run in (carried, anew)}
    taken = [i for i, row in selection.items() if row["chosen"] or row["carried"]]
    report(
        latents=len(taken),
        matched=sum(checks[i]["earlier_latent"] is not None for i in taken) / len(taken),
        kept=sum(selection[i]["carried"] for i in taken) / len(taken),
        calls=calls["carried"],
        calls_anew=calls["anew"],
        saved=1 - calls["carried"] / calls["anew"],
        auroc=float(own_N.mean()),
        auroc_anew=float(anew_N.mean()),
        difference=lead.mean.mean,
        interval=lead.mean.interval and [lead.mean.interval.low, lead.mean.interval.high],
        p=lead.p,
    )


def as_scores(by_latent: Mapping[int, float]) -> Scores:
    """The same as arrays."""
    latents = sorted(by_latent)
    return Scores(np.array(latents), np.array([by_latent[latent] for latent in latents]))


def num_calls(run: Run) -> int:
    """Answers that the LLM gave: a row each, as nothing else is asked."""
    return Tables(run).read("sentences", run.saes[0], "keywords").num_rows


if __name__ == "__main__":
    main()
