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


@dataclass(frozen=True)
class Read:
    """One input table of a step.

    `which` says what of it a task needs: `aligned` is the same shard where both are cut along the
    same axis, else all of it; `panel` adds the shards that hold the panel; `whole` is all of it.
    """

    table: str
    which: Literal["aligned", "panel", "whole"] = "aligned"
    every_method: bool = False
    """Of a table per method: not the task's own method alone but every scored one."""
    method: str | None = None
    """Of a table per map or mode: this one."""


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
    revision: int = 1
    """Raised by whoever changes what the step writes: part of the run's identity."""


def _reads(*tables: str) -> tuple[Read, ...]:
    return tuple(Read(table) for table in tables)


FLOW: tuple[Step, ...] = (
    Step("corpus", (), ("tokens",), "corpus", "token", "cpu", revision=2),
    Step("overlap", _reads("tokens"), ("overlap",), "corpus", "whole", "cpu"),
    Step("neighbours", (), ("neighbours",), "sae", "latents", "subject"),
    Step("jacobian", _reads("tokens"), ("jacobian",), "hook", "directions", "subject"),
    Step("hub_stats", (), ("hub_stats",), "sae", "whole", "subject", methods="maps", revision=2),
    Step(
        "vocab_proj",
        (Read("hub_stats", method="lens"), Read("hub_stats", method="reads")),
        ("vocab_proj",),
        "sae",
        "latents",
        "subject",
        revision=2,
    ),
    Step(
        "jacobian_proj",
        (Read("jacobian"), Read("hub_stats", method="jacobian"), Read("latent_stats", "whole")),
        ("jacobian_proj",),
        "sae",
        "latents",
        "subject",
    ),
    Step(
        "max_act",
        _reads("tokens"),
        ("example_refs", "firing_stats", "window_sample"),
        "subject",
        "token",
        "subject",
        revision=2,
    ),
    Step(
        "top_examples",
        _reads("example_refs", "firing_stats", "window_sample", "tokens"),
        ("top_examples", "latent_stats"),
        "sae",
        "latents",
        "cpu",
        revision=2,
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
    ),
    Step("select", _reads("latent_stats"), ("selection",), "sae", "whole", "cpu"),
    Step(
        "calibrate",
        _reads("selection", "latent_stats"),
        ("clamps",),
        "sae",
        "selection",
        "subject",
    ),
    Step(
        "steering",
        _reads("selection", "clamps"),
        ("completions",),
        "sae",
        "selection",
        "subject",
    ),
    Step(
        "agreement",
        _reads("selection", "tokens", "latent_stats", "clamps", "jacobian"),
        ("agreement", "change_variance", "hub_stats/exact"),
        "sae",
        "whole",
        "subject",
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
    ),
    Step(
        "explain",
        _reads("selection", "latent_stats"),
        ("descriptions",),
        "sae",
        "selection",
        "llm",
        methods="explained",
    ),
    Step(
        "write_sentences",
        _reads("selection", "descriptions"),
        ("sentences",),
        "sae",
        "selection",
        "llm",
        methods="scored",
    ),
    Step(
        "input_score",
        _reads("selection", "sentences", "latent_stats"),
        ("input_scores",),
        "sae",
        "selection",
        "subject",
        methods="scored",
    ),
    Step(
        "output_score",
        (
            Read("selection"),
            Read("descriptions", "panel", every_method=True),
            Read("completions", "panel"),
        ),
        ("judgements", "output_scores"),
        "sae",
        "selection",
        "judge",
        methods="scored",
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
