"""What a step of the flow declares; the steps themselves are in flow.py.

One declaration holds every fact of a step: what it reads and writes, how its work is cut, who runs
it, which config it reads, what it asks of an LLM, what it costs. Schedule, identity, estimate,
forecast and publishing read these, and keep no list of steps of their own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Literal

from ray_autointerp.config import Config
from ray_autointerp.plan.sizes import Sizes, Work
from ray_autointerp.prompts import question
from ray_autointerp.prompts.question import Question
from ray_autointerp.prompts.shown import Rows, Shown

Scope = Literal["corpus", "run", "subject", "hook", "read", "sae"]
"""corpus: once for the corpus. run: once for all that the run asks. subject: one pass for all SAEs,
tables per SAE. hook: once per hook point, for all SAEs that write there. read: once per place that
SAEs read. sae: once per SAE."""

Split = Literal["token", "latents", "selection", "directions", "whole"]
"""The axis a step's work is cut along: token shards, all latents, the chosen latents, the output
directions of a Jacobian, or not at all."""

Pool = Literal["cpu", "subject", "llm", "judge"]
"""Which workers run it: plain tasks, actors that hold the subject, actors that hold the LLM, and
those that hold the judge: the same ones, unless the config names a judge of its own."""

LLM_POOLS: tuple[Pool, ...] = ("llm", "judge")
"""The pools whose workers ask a language model."""

AnswerKind = Literal["text", "json", "choice", "loglikelihood"]
"""The form of an LLM's answers: free text, JSON of a schema, log-probabilities of choices, or those
of the tokens of a given answer."""

Methods = Literal[
    "none",
    "keywords",
    "explained",
    "shuffled",
    "scored",
    "maps",
    "modes",
    "control_texts",
    "revivals",
    "judgements",
]
"""What a step has tasks for, each with a folder of its own: nothing of the kind, the description
methods (keywords alone, those an LLM call or a joining makes, controls of those that the config
scores, the scored ones with their controls), the maps from a decoder row to the vocabulary, the
config's modes of TokenChange, its kinds of control text, the sources of texts that may revive a
dead latent, or the steps that ask a judge to choose."""


Input = Literal["corpus", "tokenizer", "subject", "sae", "earlier_sae", "lens", "llm", "judge"]
"""What a run is made from; `lens` is a Jacobian that was fitted before, `earlier_sae` is the parent
run's SAE with its tables. The subject's tokenizer is a part of `subject`."""

WEIGHTS = ("subject.dtype", "subject.model_kwargs")
"""The config of every step that reads weights."""

SUBJECT = (*WEIGHTS, "operations.micro_batch")
"""The config of every pass through the subject; batch shapes move the last float bits."""


@dataclass(frozen=True)
class Read:
    """One input table of a step.

    `which` says what of it a task needs: `aligned` is the same shard where both are cut along the
    same axis, else all of it; `panel` adds the shards that hold the panel; `whole` is all of it;
    `first` is the first shard, for a step that is not cut.
    """

    table: str
    which: Literal["aligned", "panel", "whole", "first"] = "aligned"
    method: str | None = None
    """Of a table per method, map or mode: this one."""


@dataclass(frozen=True)
class Choosing:
    """Trials that choose the label and are not published."""

    column: str
    """Of the last table that the step writes: scores of two halves of them, from 0 to 1."""
    of: Literal["inputs", "outputs"]
    """What they judge: both count alike, however many steps judge them."""


@dataclass(frozen=True)
class Step:
    """One entry of the data flow; the stage of the same name runs it."""

    name: str
    reads: tuple[Read, ...]
    writes: tuple[str, ...]
    scope: Scope
    split: Split
    pool: Pool
    methods: Methods = "none"
    config: tuple[str, ...] = ()
    """The config fields, or whole sections, that the stage reads: it is handed nothing else. Fields
    of the kind `operations` are free for all."""
    inputs: tuple[Input, ...] = ()
    """What it reads beside tables."""
    method_reads: Callable[[str, Config], tuple[Read, ...]] | None = None
    """What a task reads for its method, map or mode beside `reads`."""
    config_reads: Callable[[Config], tuple[Read, ...]] | None = None
    """What every task reads beside `reads`, where the config decides."""
    requests: Callable[[str, Config], int] | None = None
    """LLM requests for one latent with its evidence, by method; of a step that is not cut over a
    selection, all of them. None where no LLM is asked."""
    control_requests: Callable[[str, Config], int] | None = None
    """LLM requests for one latent of the control sample beside those, by method."""
    answer_kind: AnswerKind | Callable[[str, Config], AnswerKind | None] | None = None
    """The form of the answers to those requests, or what tells it by method."""
    texts: tuple[str, ...] | Callable[[str, Config], tuple[str, ...]] = ()
    """The prompt texts that it uses (prompts/text.py), or what tells them by method."""
    switch: str | None = None
    """A config field that switches the step off where it is 0 or false: then it has no task."""
    is_chain: bool = False
    """Whether each shard goes on where the shard before ended, and so waits for it."""
    may_refuse: bool = False
    """Whether it looks at what the run is made from, and may end it: it goes before all others."""
    label_columns: tuple[tuple[str, str], ...] = ()
    """Columns of `labels`, and those of the last table that it writes from which they are copied:
    of the label's own method, for a step with one task per method."""
    choosing: Choosing | None = None
    """Its trials that choose the label; of a step with one task per method."""
    work: Callable[[Sizes], Work] | None = None
    """What the step passes through the subject, for every SAE of the run together."""
    revision: int = 1
    """Raised by whoever changes what the step writes: part of the run's identity."""

    def is_wanted(self, config: Config) -> bool:
        """Whether the config has not switched the step off."""
        return self.switch is None or bool(attrgetter(self.switch)(config))


@dataclass(frozen=True)
class Explainer:
    """A description method beside `keywords`."""

    evidence_from: Callable[[Rows, Shown], Any] | None = None
    """Rows of one latent to what the prompt shows; None where there is nothing to go on."""
    reads: tuple[str, ...] = ()
    """Evidence tables."""
    descriptions: tuple[str, ...] = ()
    """Methods whose finished descriptions it reads, as the table `descriptions/<method>`."""
    column: str = "description"
    """What it takes of each of them where it asks no LLM."""
    text: str | None = None
    """Its prompt text; None asks no LLM: what it reads are joined."""
    ask: Callable[[str, Any, int, bool], Question] = question.ask
    """Prompt text, evidence, cap on words and whether the form is structured, to the question."""
    can_be_structured: bool = True
    """Whether it is asked for JSON where the config wants the structured form."""
    parts: tuple[str, ...] = ()
    """Of a method that joins others' answers instead: theirs, each at a share of the cap."""

    def question(
        self, rows: Rows, shown: Shown, cap_words: int, is_structured: bool
    ) -> Question | None:
        """The question about one latent; None where the method has nothing to go on."""
        assert self.evidence_from is not None and self.text is not None
        evidence = self.evidence_from(rows, shown)
        if evidence is None:
            return None
        return self.ask(self.text, evidence, cap_words, is_structured)
