"""The tables that a description method, a map or a mode of TokenChange reads beside its step's."""

from ray_autointerp.config import Config
from ray_autointerp.plan.step import Read

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


def evidence_of(method: str, config: Config) -> tuple[Read, ...]:
    """The evidence tables of a description method; of TokenChange, the config's first mode."""
    return tuple(
        Read(table, method=config.evidence.change_modes[0] if table == "token_change" else None)
        for table in EVIDENCE[method]
    )


def map_reads(name: str, _: Config) -> tuple[Read, ...]:
    """The tables of a map."""
    return tuple(Read(table) for table in MAP_READS[name])


def mode_reads(mode: str, _: Config) -> tuple[Read, ...]:
    """The tables of a mode of TokenChange."""
    return tuple(Read(table) for table in MODE_READS[mode])


def rule_reads(config: Config) -> tuple[Read, ...]:
    """The tables of the config's rule of selection."""
    return (Read("free_scores"),) if config.select.rule == "top" else ()
