"""Prompts of description methods raced: variants of wording and of evidence, by what their
descriptions score.

    .venv/bin/python jobs/benchmarks/prompts.py RUN --llm FOLDER --latents 48
    .venv/bin/python jobs/benchmarks/prompts.py RUN --llm FOLDER --variants shots-0
    .venv/bin/python jobs/benchmarks/prompts.py RUN --judge FOLDER --judged-by likelihood

The variants are those of prompt_variants.py. Descriptions are written and judged by the stages of
the flow, on the evidence of a finished run, to which nothing is written: by held-out texts
(detection AUROC) and by tokens that no explainer was shown (win rate). The best variant is chosen
on half of the latents, by seeded hash, and reported on the other, held-out half, beside all that
lost. A latent without an `ok` description counts 0.5, the floor that shuffled ones measure.
`copied` counts descriptions with four neighbouring words of the prompt's own worked answers.

Answers are kept under `--cache`: killed and given again, the command goes on.
"""

import argparse
import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from prompt_race import Race, Raced, lift_cell
from prompt_variants import METHODS, PACKAGED, Variant, variants_of
from race import report

from ray_autointerp.config import LLMSection
from ray_autointerp.llm.client import LLMClient
from ray_autointerp.llm.open import check_llm, open_llm
from ray_autointerp.methods.paired import Scores, difference, mean_of, shared
from ray_autointerp.records.keys import derive_seed
from ray_autointerp.runs.manifest import load_run
from ray_autointerp.runs.run import Run

CONTROL = "packaged, shuffled"
KINDS = ("detection", "unseen")
_COLUMNS = (
    *("variant", "choosing: mean", "detection AUROC", "less packaged", "unseen win rate"),
    *("less packaged", "ok", "copied", "words", "prompt tokens"),
)
_FLOOR = 0.5


def _told(found: Mapping[str, Raced], latents: Sequence[int]) -> dict[str, dict[str, Scores]]:
    """By variant and kind, the scores on some latents, of those that any variant has a score of."""
    told: dict[str, dict[str, Scores]] = {name: {} for name in found}
    for kind in KINDS:
        values = {name: getattr(raced, kind) for name, raced in found.items()}
        scored = [i for i in sorted(latents) if any(of[i] is not None for of in values.values())]
        for name, raced in found.items():
            kept = {i: values[name][i] for i in scored if raced.descriptions[i]["status"] == "ok"}
            kept = {i: _FLOOR for i in scored} | kept
            kept = {i: value for i, value in kept.items() if value is not None}
            told[name][kind] = Scores(
                np.array([*kept], np.int64), np.array([*kept.values()], np.float64)
            )
    return told


def _mean(scores: Mapping[str, Scores]) -> float:
    """Both kinds count alike; NaN where there is nothing to go by."""
    means = [float(one.values_N.mean()) for one in scores.values() if len(one.values_N)]
    return fmean(means) if means else math.nan


def table(found: Mapping[str, Raced], race: Race) -> tuple[str, list[dict[str, Any]]]:
    """Every variant on the held-out latents, the best on those that choose marked with a star."""
    held_out = [latent for latent in race.raced if latent not in race.choosing]
    chosen = {name: _mean(scores) for name, scores in _told(found, race.choosing).items()}
    best = max((n for n in found if n != CONTROL), key=lambda n: (chosen[n], n == PACKAGED))
    told = _told(found, held_out)
    lines = [[*_COLUMNS], ["---"] * len(_COLUMNS)]
    rows = []
    for name in sorted(found, key=lambda n: -_mean(told[n])):
        texts = [r["description"] for r in found[name].descriptions.values() if r["description"]]
        row: dict[str, Any] = {
            "variant": name,
            "is_chosen": name == best,
            "choosing": chosen[name],
            "held_out": _mean(told[name]),
            "ok": sum(r["status"] == "ok" for r in found[name].descriptions.values()),
            "copied": found[name].num_copied,
            "words": fmean(len(text.split()) for text in texts) if texts else None,
            "prompt_tokens": found[name].prompt_tokens or None,
        }
        cells = [f"{name} *" if name == best else name, _number(row["choosing"])]
        for kind in KINDS:
            seed = derive_seed(0, "prompts", name, kind)
            one, other = told[name][kind], told[PACKAGED][kind]
            row[kind] = mean_of(one.values_N, seed).mean
            row[f"{kind}_lift"] = asdict(difference([shared(one, other)], seed).mean)
            cells += [_number(row[kind]), lift_cell(row[f"{kind}_lift"])]
        cells += [str(row["ok"]), str(row["copied"])]
        cells += [_number(row["words"], 1), _number(row["prompt_tokens"], 0)]
        lines.append(cells)
        rows.append(row)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines), rows


def _number(value: float | None, places: int = 3) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.{places}f}"


async def _raced(asked: argparse.Namespace, run: Run, llm: LLMClient, judge: LLMClient) -> None:
    sae = asked.sae or run.saes[0]
    race = Race(run, sae, llm, judge, Path(asked.cache), asked.latents)
    variants = {method: _wanted(method, asked.variants) for method in asked.methods}
    race.expect({method: list(found) for method, found in variants.items()})
    await llm.start()
    await judge.start()
    race.clock.start()
    print(
        f"{len(race.choosing)} latents choose, {len(race.raced) - len(race.choosing)} are held out"
    )
    for method, wanted in variants.items():
        found = {name: await race.variant(method, name, v) for name, v in wanted.items()}
        found[CONTROL] = await race.control(method)
        shown, rows = table(found, race)
        print(f"\n{method}\n\n{shown}\n", flush=True)
        report(method=method, latents=len(race.raced), variants=rows)


def _wanted(method: str, names: Sequence[str]) -> dict[str, Variant]:
    known = variants_of(method)
    return {name: v for name, v in known.items() if not names or name in (PACKAGED, *names)}


def _run(asked: argparse.Namespace) -> Run:
    """The run, with the LLMs and the trials of the command line."""
    run = load_run(asked.run)
    config, score = run.config, run.config.score
    trials = {
        "detection_texts": asked.texts,
        "detection_near_misses": 0,
        "num_unseen_trials": asked.trials,
        "judged_by": asked.judged_by or score.judged_by,
    }
    update: dict[str, Any] = {
        "score": score.model_copy(update=trials),
        "describe": config.describe.model_copy(update={"structured": False, "label_by": "order"}),
    }
    if asked.llm:
        update |= {"llm": _section(asked.llm, asked), "judge": None}
    if asked.judge:
        update["judge"] = _section(asked.judge, asked)
    return replace(run, config=config.model_copy(update=update))


def _section(model: str, asked: argparse.Namespace) -> LLMSection:
    section = LLMSection(model=model, dtype=asked.dtype, max_model_len=asked.max_model_len)
    check_llm(section, gpus=asked.gpus)
    return section


def main() -> None:
    """Race the variants of each method."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("run", help="a finished run, local or s3://")
    parser.add_argument("--llm", help="a folder or hub name; without it the run's own")
    parser.add_argument("--judge", help="the same of the judge; without it the explainer judges")
    parser.add_argument("--judged-by", choices=("choice", "likelihood"), help="if not as the run")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--max-model-len", type=int, default=4096)
    parser.add_argument("--gpus", type=float, default=0)
    parser.add_argument("--sae", help="the first of the run, if not named")
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--variants", nargs="+", default=(), help="beside the packaged prompt")
    parser.add_argument("--latents", type=int, default=48)
    parser.add_argument("--texts", type=int, default=10, help="of either kind, for detection")
    parser.add_argument("--trials", type=int, default=4, help="on unseen tokens")
    parser.add_argument("--cache", required=True, help="a folder of one LLM's answers")
    asked = parser.parse_args()
    known = {name for method in asked.methods for name in variants_of(method)}
    if unknown := sorted(set(asked.variants) - known):
        parser.error(f"no variant {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    run = _run(asked)
    config = run.config
    threads = config.operations.threads
    llm = judge = open_llm(config.llm, threads=threads, gpus=asked.gpus)
    if config.judge:
        judge = open_llm(config.judge, threads=threads, gpus=asked.gpus)

    async def whole() -> None:
        try:
            await _raced(asked, run, llm, judge)
        finally:
            await judge.close()
            await llm.close()

    asyncio.run(whole())


if __name__ == "__main__":
    main()
