"""One variant of a prompt, described and judged by the flow's stages on a finished run's tables.

Nothing is written to the run: what stages write stays in memory, answers in a folder of their own.
"""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import pyarrow as pa
from prompt_variants import PACKAGED, Variant, explainer_of

from ray_autointerp.config import Config
from ray_autointerp.execution.execute import run_stage
from ray_autointerp.llm.client import Answer, LLMClient, Request
from ray_autointerp.plan.controls import shuffled
from ray_autointerp.plan.evidence import EXPLAINERS
from ray_autointerp.plan.flow import step_named
from ray_autointerp.plan.units import detection_requests, unseen_requests
from ray_autointerp.prompts.repeated_text import repeats_run
from ray_autointerp.prompts.text import worked_examples
from ray_autointerp.records.keys import hash_order
from ray_autointerp.records.schemas import TABLES
from ray_autointerp.records.task import Task
from ray_autointerp.runs.answers import Answers
from ray_autointerp.runs.context import WorkerContext
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Row, Tables
from ray_autointerp.storage.store import open_store

NUM_OPPONENTS = 8
"""Latents described at least, so that each trial finds a partner and a stranger."""

_OF_RACED = ("detection", "unseen_tokens", "write_sentences", "input_score")
"""Steps that are run of the raced latents alone."""

_LEAST_ANSWERS = 100
"""Answers before the time left is printed: those of a batch come back at once."""

_COPIED_WORDS = 4
"""Neighbouring words of a worked example's answer that no description should have by chance."""


@dataclass(frozen=True)
class Raced:
    """What became of one variant, over the raced latents."""

    descriptions: dict[int, Row]
    detection: dict[int, float | None]
    """AUROC by latent."""
    unseen: dict[int, float | None]
    """Win rate by latent."""
    prompt_tokens: float = 0.0
    """Mean, of the explainer's questions."""
    num_copied: int = 0
    """Descriptions with words of a worked example's answer."""


def race_order(run: Run, sae: str) -> list[int]:
    """The chosen latents by seeded hash, those of the panel first: a race has the first few."""
    tables, seed = Tables(run), run.config.run.seed
    panel = tables.panel(sae)
    others = set(tables.selection(sae)) - set(panel)
    return [*hash_order(panel, seed, "prompts"), *hash_order(others, seed, "prompts")]


def lift_cell(mean: Mapping[str, Any]) -> str:
    """A mean difference and its interval, for a table; empty without one."""
    if mean["mean"] is None:
        return ""
    ends = mean["interval"]
    return f"{mean['mean']:+.3f}" + (
        f" ({ends['low']:+.3f} to {ends['high']:+.3f})" if ends else ""
    )


class RaceTables(Tables):
    """A run's tables for some of its latents; what is written stays in memory, to be read."""

    def __init__(self, run: Run, raced: Sequence[int], described: Sequence[int]) -> None:
        super().__init__(run)
        self._raced, self._described = list(raced), list(described)
        self.written: dict[tuple[str, str | None], dict[int, Row]] = {}

    def chosen(self, task: Task) -> list[int]:
        """Scores are of the raced latents alone."""
        return self._raced if task.step in _OF_RACED else self._described

    def panel(self, sae: str) -> list[int]:
        """Those that are described."""
        return [latent for latent in super().panel(sae) if latent in self._described]

    def rows(
        self,
        table: str,
        sae: str,
        latents: Sequence[int],
        method: str | None = None,
        *,
        columns: Sequence[str] | None = None,
    ) -> dict[int, list[Row]]:
        """What was written here, else the run's."""
        made = self.written.get((table, method))
        if made is None:
            return super().rows(table, sae, latents, method, columns=columns)
        return {latent: [made[latent]] for latent in latents}

    def write(self, task: Task, table: str, content: Any, **_: Any) -> int:
        """Keep a table with a row per latent; of a longer one the last rows."""
        rows = pa.Table.from_pylist(content, schema=TABLES[table].schema).to_pylist()
        self.written[table, task.method] = {row["latent"]: row for row in rows}
        return 0


@dataclass
class _Clock:
    """Says after a minute, and then every ten, how long an answer takes and when all are there."""

    num_left: int
    """Answers to come, new or kept: at most so many."""
    num_new: int = 0
    started: float = 0.0
    says_at: float = 60.0

    def start(self) -> None:
        """The engine is ready."""
        self.started = time.monotonic()

    def new(self, _request: Request, _answer: Answer) -> None:
        """The LLM answered."""
        self.num_new += 1
        passed = time.monotonic() - self.started
        if passed > self.says_at and self.num_new >= _LEAST_ANSWERS:
            self.says_at = passed + 600
            seconds = passed / self.num_new
            left = f"{self.num_left:,} to come, {self.num_left * seconds / 60:.0f} minutes"
            print(f"{seconds:.2f} s a request; at most {left}", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class _Heard:
    """An LLM whose answers are counted."""

    llm: LLMClient
    heard: Callable[[Request, Answer], None]

    async def start(self) -> None:
        """Start the LLM."""
        await self.llm.start()

    async def ask(self, request: Request) -> Answer:
        """The LLM's answer."""
        answer = await self.llm.ask(request)
        self.heard(request, answer)
        return answer

    async def close(self) -> None:
        """Nothing: others ask the LLM too."""


class Race:
    """The raced latents of one SAE, the LLM that describes, and the one that judges."""

    def __init__(
        self, run: Run, sae: str, llm: LLMClient, judge: LLMClient, cache: Path, num_latents: int
    ) -> None:
        seed, order = run.config.run.seed, race_order(run, sae)
        self.sae, self.raced = sae, order[:num_latents]
        self.described = order[: max(num_latents, NUM_OPPONENTS)]
        if len(self.raced) < 2:
            raise SystemExit("two latents are needed, one to choose by and one to tell by")
        self.choosing = hash_order(self.raced, seed, "choose a prompt")[: len(self.raced) // 2]
        self._llm, self._judge = llm, judge
        self._cache, self._store = cache, open_store(str(cache))
        self._context = WorkerContext(run)
        self._tables = self._context.tables = RaceTables(run, self.raced, self.described)
        self._config = run.config
        self._answered: dict[str, Answer] = {}
        """By key, all answers so far: what variants ask alike is asked once."""
        self.clock = _Clock(0)

    def expect(self, variants: Mapping[str, Sequence[str]]) -> None:
        """Count what these variants, by method, will ask at most."""
        config = self._config
        for method, names in variants.items():
            judged = detection_requests(method, config) + unseen_requests(method, config)
            self.clock.num_left += len(names) * len(self.described)
            self.clock.num_left += (len(names) + 1) * len(self.raced) * judged

    async def variant(self, method: str, name: str, variant: Variant) -> Raced:
        """Describe, and judge."""
        made = f"{method}@{name}"
        EXPLAINERS[made] = explainer_of(method, name, variant, self._cache / "texts")
        worked = [shot.assistant for shot in worked_examples(EXPLAINERS[made].text)]
        describe = self._config.describe.model_copy(update=dict(variant.describe))
        config = self._config.model_copy(update={"describe": describe})
        tokens: list[int] = []
        try:
            await self._stage("explain", made, config, tokens)
        finally:
            del EXPLAINERS[made]
        raced = await self._judged(made, config)
        texts = [row["description"] or "" for row in raced.descriptions.values()]
        num_copied = sum(repeats_run(text, worked, _COPIED_WORDS) for text in texts)
        return replace(raced, prompt_tokens=fmean(tokens or [0]), num_copied=num_copied)

    async def control(self, method: str) -> Raced:
        """The packaged prompt's descriptions, each given to another latent."""
        made = shuffled(f"{method}@{PACKAGED}")
        await self._stage("shuffle", made, self._config, [])
        return await self._judged(made, self._config)

    async def _judged(self, made: str, config: Config) -> Raced:
        for step in ("detection", "unseen_tokens"):
            await self._stage(step, made, config, [])
        descriptions = self._tables.written["descriptions", made]
        detection = self._tables.written["detection_scores", made]
        unseen = self._tables.written["unseen_scores", made]
        return Raced(
            {latent: descriptions[latent] for latent in self.raced},
            {latent: row["auroc"] for latent, row in detection.items()},
            {latent: row["win_rate"] for latent, row in unseen.items()},
        )

    async def _stage(self, step: str, made: str, config: Config, tokens: list[int]) -> None:
        task = Task(step, self.sae, made, 0, 1)

        def heard(request: Request, answer: Answer) -> None:
            self._answered[request.key] = answer
            tokens.append(answer.num_prompt_tokens)
            self.clock.num_left -= 1

        self._context.tables = self._tables.seen_by(replace(self._tables.run, config=config))
        asked = self._llm if step_named(step).pool == "llm" else self._judge
        counted = _Heard(asked, self.clock.new)
        answered, spending = self._answered, self._context.spending
        async with Answers(counted, task, self._store, spending, earlier=answered) as answers:
            await run_stage(task, self._context.for_task(task, _Heard(answers, heard)))
