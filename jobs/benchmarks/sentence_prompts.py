"""Prompts of the sentence writer raced: variants of its instructions and worked examples, by the
input score of the sentences that they make.

    .venv/bin/python jobs/benchmarks/sentence_prompts.py RUN --llm FOLDER --latents 48
    .venv/bin/python jobs/benchmarks/sentence_prompts.py RUN --variants explained+two-examples

A variant is a file `prompts/sentences/<variant>.md` (instructions) or `.json` (worked examples), or
an entry of FORMS, which rewords descriptions; or some of these, joined by `+`. What it lacks is the
packaged one. Sentences are written from a finished run's descriptions, and from those of other
latents (shuffled), by the stages of the flow; nothing is written to the run. `--skip` tells on
latents that did not choose.

Answers are kept under `--cache`: killed and given again, the command goes on.
"""

import argparse
import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from prompt_race import RaceTables, lift_cell, race_order
from prompt_variants import FOLDER, PACKAGED
from race import report

from ray_autointerp.config import LLMSection
from ray_autointerp.execution.execute import run_stage
from ray_autointerp.llm.client import LLMClient
from ray_autointerp.llm.open import check_llm, open_llm
from ray_autointerp.methods.paired import Scores, difference, mean_of, shared
from ray_autointerp.plan.controls import shuffled
from ray_autointerp.prompts import sentences
from ray_autointerp.prompts.message import Message
from ray_autointerp.prompts.text import few_shots, prompt_text
from ray_autointerp.records.keys import derive_seed
from ray_autointerp.records.task import Task
from ray_autointerp.runs.answers import Answers
from ray_autointerp.runs.context import WorkerContext
from ray_autointerp.runs.manifest import load_run
from ray_autointerp.runs.run import Run
from ray_autointerp.storage.store import open_store

VARIANTS = FOLDER / "sentences"
KINDS = {"auroc": "input AUROC", "hit_rate": "hit rate"}
FORMS: dict[str, Callable[[str], str]] = {
    "active-on": lambda text: text.replace("fires on", "active on"),
    "responds-leads": lambda text: text.replace("fires on", "responds to").replace(
        "promotes", "leads to"
    ),
    "such-as": lambda text: text.replace("fires on", "words such as").replace(
        "promotes", "leads to"
    ),
}
"""What the whole prompt says in place of what descriptions by keywords have."""
_COLUMNS = (
    "variant",
    *(text for title in KINDS.values() for text in (title, "less packaged", "over shuffled")),
    "latents",
)

Ask = Callable[[str, str, int], tuple[Message, ...]]


@dataclass(frozen=True)
class Written:
    """By kind, scores of what one variant wrote from own descriptions, and from other latents'."""

    own: Mapping[str, Scores]
    floor: Mapping[str, Scores]


class Race:
    """The raced latents of one SAE and the LLM that writes."""

    def __init__(self, run: Run, llm: LLMClient, asked: argparse.Namespace) -> None:
        sae = asked.sae or run.saes[0]
        raced = race_order(run, sae)[asked.skip : asked.skip + asked.latents]
        if len(raced) < 2:
            raise SystemExit("two latents are needed, for an interval")
        self._sae, self._llm, self._store = sae, llm, open_store(asked.cache)
        self._context = WorkerContext(run)
        described = dict.fromkeys((*self._context.tables.panel(sae), *raced))
        self._tables = self._context.tables = RaceTables(run, raced, [*described])

    async def variant(self, name: str, method: str) -> Written:
        """Write sentences, and read the latents on them."""
        packaged: Ask = sentences.ask
        sentences.ask = asked_with(name, packaged)
        try:
            own = await self._scores(method)
            await self._stage("shuffle", shuffled(method))
            floor = await self._scores(shuffled(method))
        finally:
            sentences.ask = packaged
        return Written(own, floor)

    async def _scores(self, method: str) -> dict[str, Scores]:
        for step in ("write_sentences", "input_score"):
            await self._stage(step, method)
        rows = self._tables.written["input_scores", method]
        ok = {latent: rows[latent] for latent in sorted(rows) if rows[latent]["status"] == "ok"}
        latents = np.array([*ok], np.int64)
        return {
            kind: Scores(latents, np.array([row[kind] for row in ok.values()], np.float64))
            for kind in KINDS
        }

    async def _stage(self, step: str, method: str) -> None:
        task, spending = Task(step, self._sae, method, 0, 1), self._context.spending
        async with Answers(self._llm, task, self._store, spending, earlier={}) as answers:
            await run_stage(task, self._context.for_task(task, answers))


def asked_with(name: str, packaged: Ask) -> Ask:
    """The packaged question, with a variant's texts and form."""
    parts = name.split("+")
    texts = {
        path.suffix: str(path.with_suffix("")) for path in VARIANTS.iterdir() if path.stem in parts
    }

    def ask(text: str, description: str, num_sentences: int) -> tuple[Message, ...]:
        *_, question = packaged(text, description, num_sentences)
        asked = (
            Message("system", prompt_text(texts.get(".md", text))),
            *few_shots(texts.get(".json", text)),
            question,
        )
        for form in (FORMS[part] for part in parts if part in FORMS):
            asked = tuple(replace(message, content=form(message.content)) for message in asked)
        return asked

    return ask


def row_of(name: str, written: Written, packaged: Written) -> dict[str, Any]:
    """A variant's means, paired with the packaged prompt and with the shuffled floor."""
    row: dict[str, Any] = {"variant": name, "latents": len(written.own["auroc"].latents_N)}
    for kind, scores in written.own.items():
        seed = derive_seed(0, "sentences", name, kind)
        row[kind] = mean_of(scores.values_N, seed).mean
        for of, other in (("lift", packaged.own), ("over_shuffled", written.floor)):
            row[f"{kind}_{of}"] = asdict(difference([shared(scores, other[kind])], seed).mean)
    return row


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A line for each variant, the best input AUROC first."""
    lines = [[*_COLUMNS], ["---"] * len(_COLUMNS)]
    for row in sorted(rows, key=lambda row: -(row["auroc"] or 0)):
        cells = [row["variant"]]
        for kind in KINDS:
            cells.append("" if row[kind] is None else f"{row[kind]:.3f}")
            cells += [lift_cell(row[f"{kind}_{of}"]) for of in ("lift", "over_shuffled")]
        lines.append([*cells, str(row["latents"])])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def variant_names() -> list[str]:
    """The single ones: files and forms."""
    return sorted({path.stem for path in VARIANTS.iterdir()} | FORMS.keys())


def _run(asked: argparse.Namespace) -> Run:
    """The run, with the LLM of the command line and one published answer a description."""
    run = load_run(asked.run)
    config = run.config
    update: dict[str, Any] = {
        "score": config.score.model_copy(update={"num_draws": 1, "neutral_sentences": "packaged"}),
        "describe": config.describe.model_copy(update={"label_by": "order"}),
    }
    if asked.llm:
        section = LLMSection(model=asked.llm, dtype=asked.dtype, max_model_len=asked.max_model_len)
        check_llm(section, gpus=asked.gpus)
        update["llm"] = section
    return replace(run, config=config.model_copy(update=update))


async def _raced(asked: argparse.Namespace, run: Run, llm: LLMClient) -> None:
    race = Race(run, llm, asked)
    await llm.start()
    for method in asked.methods:
        packaged = await race.variant(PACKAGED, method)
        rows = [row_of(PACKAGED, packaged, packaged)]
        for name in asked.variants or variant_names():
            rows.append(row_of(name, await race.variant(name, method), packaged))
        print(f"\n{method}\n\n{table(rows)}\n", flush=True)
        report(method=method, variants=rows)


def main() -> None:
    """Race the variants on the descriptions of each method."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("run", help="a finished run, local or s3://")
    parser.add_argument("--llm", help="a folder or hub name; without it the run's own")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--max-model-len", type=int, default=2048)
    parser.add_argument("--gpus", type=float, default=0)
    parser.add_argument("--sae", help="the first of the run, if not named")
    parser.add_argument("--methods", nargs="+", default=["keywords"], help="of the descriptions")
    parser.add_argument("--variants", nargs="+", help="all single ones, if not named")
    parser.add_argument("--latents", type=int, default=48)
    parser.add_argument("--skip", type=int, default=0, help="latents that are raced no more")
    parser.add_argument("--cache", required=True, help="a folder of one LLM's answers")
    asked = parser.parse_args()
    for name in asked.variants or ():
        if unknown := set(name.split("+")) - set(variant_names()):
            known = ", ".join(variant_names())
            parser.error(f"no variant {', '.join(sorted(unknown))}; there are {known}")
    run = _run(asked)
    llm = open_llm(run.config.llm, threads=run.config.operations.threads, gpus=asked.gpus)

    async def whole() -> None:
        try:
            await _raced(asked, run, llm)
        finally:
            await llm.close()

    asyncio.run(whole())


if __name__ == "__main__":
    main()
