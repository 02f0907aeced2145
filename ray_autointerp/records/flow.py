"""What flows: the steps of a run as data. The README prints this table and a test holds the two
together; plan/schedule.py reads nothing else to know what may run when.

Among ready steps that as many LLM steps wait for, the later in the table goes first
(plan/priority.py): so the step for which most others wait, `max_act`, stands after those that need
weights alone.

A step that is per method has one task per description method and shard; its tables lie in a
folder of the method's name, so methods never wait for each other.
"""

from dataclasses import dataclass
from typing import Literal

Scope = Literal["corpus", "subject", "hook", "sae"]
"""corpus: once per run. subject: one pass for all SAEs, tables per SAE. hook: once per hook point,
for all SAEs that write there. sae: once per SAE."""

Split = Literal["token", "latents", "selection", "directions", "whole"]
"""The axis a step's work is cut along: token shards, all latents, the chosen latents, the output
directions of a Jacobian, or not at all."""

Pool = Literal["cpu", "subject", "llm", "judge"]
"""Which workers run it: plain tasks, actors that hold the subject, actors that hold the LLM, and
those that hold the judge: the same ones, unless the config names a judge of its own."""

LLM_POOLS: tuple[Pool, ...] = ("llm", "judge")
"""The pools whose workers ask a language model."""

Methods = Literal["none", "keywords", "explained", "described", "scored", "maps", "modes"]
"""What a step has tasks for, each with a folder of its own: nothing of the kind, the description
methods (keywords alone, those an LLM call or a joining makes, all, those the config scores), the
maps from a decoder row to the vocabulary, or the config's modes of TokenChange."""


Input = Literal["corpus", "tokenizer", "subject", "sae", "llm", "judge", "prompts"]
"""What a run is made from. The subject's tokenizer is a part of `subject`."""

WEIGHTS = ("subject.dtype", "subject.model_kwargs")
"""The config of every step that reads weights."""

SUBJECT = (*WEIGHTS, "operations.micro_batch")
"""The config of every pass through the subject; batch shapes move the last float bits."""


@dataclass(frozen=True)
class Read:
    """One input table of a step.

    `which` says what of it a task needs: `aligned` is the same shard where both are cut along the
    same axis, else all of it; `panel` adds the shards that hold the panel; `whole` is all of it.
    """

    table: str
    which: Literal["aligned", "panel", "whole"] = "aligned"
    method: str | None = None
    """Of a table per method, map or mode: this one."""


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
    revision: int = 1
    """Raised by whoever changes what the step writes: part of the run's identity."""


def _reads(*tables: str) -> tuple[Read, ...]:
    return tuple(Read(table) for table in tables)


FLOW: tuple[Step, ...] = (
    Step(
        "corpus",
        (),
        ("tokens",),
        "corpus",
        "token",
        "cpu",
        config=("corpus",),
        inputs=("corpus", "tokenizer"),
    ),
    Step("overlap", _reads("tokens"), ("overlap",), "corpus", "whole", "cpu"),
    Step(
        "neighbours",
        (),
        ("neighbours",),
        "sae",
        "latents",
        "subject",
        config=(*WEIGHTS, "evidence.num_neighbours"),
        inputs=("subject", "sae"),
    ),
    Step(
        "jacobian",
        _reads("tokens"),
        ("jacobian",),
        "hook",
        "directions",
        "subject",
        config=(*SUBJECT, "run.seed", "evidence.jacobian_windows", "evidence.change_window_tokens"),
        inputs=("subject",),
    ),
    Step(
        "hub_stats",
        (),
        ("hub_stats",),
        "sae",
        "whole",
        "subject",
        methods="maps",
        revision=2,
        config=WEIGHTS,
        inputs=("subject", "sae"),
    ),
    Step(
        "vocab_proj",
        (Read("hub_stats", method="lens"), Read("hub_stats", method="reads")),
        ("vocab_proj",),
        "sae",
        "latents",
        "subject",
        revision=2,
        config=(
            *WEIGHTS,
            "evidence.num_vocab_tokens",
            "evidence.vocab_rank_by",
            "evidence.num_read_tokens",
        ),
        inputs=("subject", "sae"),
    ),
    Step(
        "jacobian_proj",
        (Read("jacobian"), Read("hub_stats", method="jacobian"), Read("latent_stats", "whole")),
        ("jacobian_proj",),
        "sae",
        "latents",
        "subject",
        config=(*WEIGHTS, "evidence.num_changed_tokens"),
        inputs=("subject", "sae"),
    ),
    Step(
        "max_act",
        _reads("tokens"),
        ("example_refs", "firing_stats", "window_sample"),
        "subject",
        "token",
        "subject",
        revision=2,
        config=(
            *SUBJECT,
            "run.seed",
            "corpus.window",
            "corpus.num_tokens",
            "evidence.num_top_examples",
            "evidence.num_stratified",
            "evidence.sample_windows",
        ),
        inputs=("subject", "sae"),
    ),
    Step(
        "top_examples",
        _reads("example_refs", "firing_stats", "window_sample", "tokens"),
        ("top_examples", "latent_stats"),
        "sae",
        "latents",
        "cpu",
        revision=2,
        config=(
            "run.seed",
            "evidence.num_top_examples",
            "evidence.num_stratified",
            "evidence.num_near_misses",
            "evidence.excerpt_tokens",
        ),
        inputs=("tokenizer",),
    ),
    Step(
        "keywords",
        _reads("top_examples", "vocab_proj"),
        ("descriptions",),
        "sae",
        "latents",
        "cpu",
        methods="keywords",
    ),
    Step(
        "free_scores",
        (*_reads("vocab_proj", "top_examples"), Read("latent_stats", "whole")),
        ("free_scores",),
        "sae",
        "latents",
        "subject",
        config=SUBJECT,
        inputs=("subject", "sae"),
    ),
    Step(
        "select",
        _reads("latent_stats"),
        ("selection",),
        "sae",
        "whole",
        "cpu",
        revision=2,
        config=("run.seed", "select"),
    ),
    Step(
        "calibrate",
        _reads("selection", "latent_stats"),
        ("clamps",),
        "sae",
        "selection",
        "subject",
        config=(*SUBJECT, "steering.kl_targets", "steering.num_prompts"),
        inputs=("subject", "sae", "prompts"),
    ),
    Step(
        "steering",
        _reads("selection", "clamps"),
        ("completions",),
        "sae",
        "selection",
        "subject",
        config=(*SUBJECT, "run.seed", "steering", "score.num_units", "score.three_set_methods"),
        inputs=("subject", "sae", "prompts"),
    ),
    Step(
        "agreement",
        _reads("selection", "tokens", "latent_stats", "clamps", "jacobian"),
        ("agreement", "change_variance", "hub_stats/exact"),
        "sae",
        "whole",
        "subject",
        config=(
            *SUBJECT,
            "run.seed",
            "evidence.agreement_windows",
            "evidence.change_windows",
            "evidence.change_window_tokens",
            "steering.kl_targets",
        ),
        inputs=("subject", "sae"),
    ),
    Step(
        "token_change",
        _reads("selection", "tokens", "latent_stats", "clamps"),
        ("token_change",),
        "sae",
        "selection",
        "subject",
        methods="modes",
        revision=2,
        config=(
            *SUBJECT,
            "run.seed",
            "evidence.num_changed_tokens",
            "evidence.change_windows",
            "evidence.change_window_tokens",
            "evidence.change_clamp",
            "evidence.change_clamp_size",
            "evidence.change_estimator",
            "evidence.change_examples",
        ),
        inputs=("subject", "sae"),
    ),
    Step(
        "explain",
        _reads("selection", "latent_stats"),
        ("descriptions",),
        "sae",
        "selection",
        "llm",
        methods="explained",
        config=(
            "llm",
            "evidence.change_modes",
            "describe.cap_words",
            "describe.num_examples",
            "describe.num_tokens_shown",
        ),
        inputs=("llm", "prompts"),
    ),
    Step(
        "write_sentences",
        _reads("selection", "descriptions"),
        ("sentences",),
        "sae",
        "selection",
        "llm",
        methods="scored",
        config=("llm", "run.seed", "score.num_sentences", "score.num_draws"),
        inputs=("llm", "prompts"),
    ),
    Step(
        "input_score",
        _reads("selection", "sentences", "latent_stats"),
        ("input_scores",),
        "sae",
        "selection",
        "subject",
        methods="scored",
        config=(*SUBJECT, "corpus.window"),
        inputs=("subject", "sae"),
    ),
    Step(
        "output_score",
        (
            Read("selection"),
            Read("descriptions", "panel"),
            Read("completions", "panel"),
        ),
        ("judgements", "output_scores"),
        "sae",
        "selection",
        "judge",
        methods="scored",
        config=(
            "judge",
            "run.seed",
            "score.num_units",
            "score.three_set_methods",
            "steering.kl_targets",
            "steering.num_prompts",
        ),
        inputs=("judge", "prompts"),
    ),
    Step(
        "publish",
        _reads(
            "overlap",
            "latent_stats",
            "top_examples",
            "vocab_proj",
            "neighbours",
            "selection",
            "jacobian_proj",
            "token_change",
            "agreement",
            "free_scores",
            "descriptions",
            "input_scores",
            "output_scores",
        ),
        ("labels",),
        "sae",
        "latents",
        "cpu",
        config=("evidence.change_modes", "describe.methods", "score.methods"),
    ),
)

EVIDENCE: dict[str, tuple[str, ...]] = {
    "keywords": ("top_examples", "vocab_proj"),
    "max_act": ("top_examples",),
    "vocab_proj": ("vocab_proj",),
    "token_change": ("token_change",),
    "ensemble_raw": ("top_examples", "vocab_proj", "token_change"),
    "ensemble_concat": ("top_examples", "vocab_proj", "token_change"),
}
"""The evidence tables each description method reads: what `explain` waits for, per method."""

MAP_READS: dict[str, tuple[str, ...]] = {
    "lens": (),
    "reads": (),
    "jacobian": ("jacobian", "latent_stats"),
}
"""The maps from a latent to the vocabulary, and what `hub_stats` reads for each: the decoder row
through the final norm and through the Jacobian, and the encoder column against the embedding."""

MAPS: tuple[str, ...] = tuple(MAP_READS)

MODE_READS: dict[str, tuple[str, ...]] = {
    "all": ("jacobian", "change_variance", "hub_stats/exact"),
    "active": ("top_examples", "hub_stats/exact"),
    "last": ("hub_stats/exact",),
}
"""The modes of TokenChange (methods 16), and what `token_change` reads for each beside the rest."""

METHODS: tuple[str, ...] = tuple(EVIDENCE)


def step_named(name: str) -> Step:
    """The step of that name; KeyError if the flow has none."""
    return {step.name: step for step in FLOW}[name]
