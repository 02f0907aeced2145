"""The evidence that each explainer, map and mode of TokenChange reads beside its step's tables.

To add a description method, add its prompt (prompts/<method>.py) and a line to EXPLAINERS.
"""

from ray_autointerp.config import Config
from ray_autointerp.plan.controls import method_of
from ray_autointerp.plan.step import Explainer, Read
from ray_autointerp.prompts import ensemble, max_act, token_change, vocab_proj

_ALL_EVIDENCE = ("top_examples", "vocab_proj", "token_change")

EXPLAINERS: dict[str, Explainer] = {
    "max_act": Explainer(("top_examples",), max_act.evidence_from, max_act.ask),
    "vocab_proj": Explainer(("vocab_proj",), vocab_proj.evidence_from, vocab_proj.ask),
    "token_change": Explainer(("token_change",), token_change.evidence_from, token_change.ask),
    "ensemble_raw": Explainer(_ALL_EVIDENCE, ensemble.evidence_from, ensemble.ask),
    "ensemble_concat": Explainer(_ALL_EVIDENCE, parts=ensemble.CONCAT_ORDER),
}
"""The description methods for which an LLM is asked."""

DESCRIPTION_METHODS: tuple[str, ...] = ("keywords", *EXPLAINERS)
"""What `describe.methods` may name."""

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


def evidence_of(method: str, config: Config) -> tuple[Read, ...]:
    """The evidence tables of a description method; of TokenChange, the config's first mode."""
    return tuple(
        Read(table, method=config.evidence.change_modes[0] if table == "token_change" else None)
        for table in EXPLAINERS[method].reads
    )


def map_reads(name: str, _: Config) -> tuple[Read, ...]:
    """The tables of a map."""
    return tuple(Read(table) for table in MAP_READS[name])


def mode_reads(mode: str, _: Config) -> tuple[Read, ...]:
    """The tables of a mode of TokenChange."""
    return tuple(Read(table) for table in MODE_READS[mode])


def shuffled_reads(variant: str, _: Config) -> tuple[Read, ...]:
    """The panel's descriptions by the method that the variant shuffles."""
    return (Read("descriptions", "panel", method=method_of(variant)),)


def first_mode_reads(config: Config) -> tuple[Read, ...]:
    """TokenChange as explainers read it, of the shard and of the panel."""
    return (Read("token_change", "panel", config.evidence.change_modes[0]),)


def rule_reads(config: Config) -> tuple[Read, ...]:
    """The tables of the config's rule of selection."""
    return (Read(score_column(config.select.by)[0]),) if config.select.rule == "top" else ()


def score_column(by: str) -> tuple[str, str]:
    """The table and the column of a score that latents may be selected by."""
    return ("keyword_scores", "f1") if by == "keyword_f1" else ("free_scores", by)
