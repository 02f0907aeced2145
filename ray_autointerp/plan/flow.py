"""What flows: the steps of a run as data. methods/README.md has them as a table, and a test holds
the two together. stages/README.md says how to add a step.

Among ready steps that as many LLM steps wait for, the later in the table goes first
(plan/priority.py): so the step for which most others wait, `max_act`, stands after those that need
weights alone.

A step that is per method has one task per description method and shard; its tables lie in a
folder of the method's name, so methods never wait for each other.
"""

from collections.abc import Callable

from ray_autointerp.config import Config
from ray_autointerp.plan import units, work
from ray_autointerp.plan.evidence import (
    answer_kind_of,
    carried_label_reads,
    control_text_reads,
    evidence_of,
    first_mode_reads,
    map_reads,
    mode_reads,
    revival_reads,
    selection_reads,
    shuffled_reads,
    texts_of,
)
from ray_autointerp.plan.step import SUBJECT, WEIGHTS, Choosing, Read, Step


def _reads(*tables: str) -> tuple[Read, ...]:
    return tuple(Read(table) for table in tables)


_CHANGE_WINDOWS = ("evidence.change_windows", "evidence.change_window_tokens")
"""The config behind passes/change_windows.py."""

_DRAWS = ("score.num_draws", "score.num_choosing_draws", "describe.label_by")
"""The config behind the answers of the sentence writer: those published, and those that choose."""


_UNSEEN_TRIALS = (
    "score.num_unseen_trials",
    "score.num_choosing_trials",
    "describe.label_by",
)
"""The config behind the trials on unseen tokens: those published, and those that choose."""
_UNITS = (
    *("score.num_units", "score.num_choosing_units", "score.texts_per_set", "describe.label_by"),
    *("steering.kl_targets", "steering.num_prompts"),
)
"""The config behind the two-set trials (plan/units.py)."""


_SURPRISAL_UNITS = (
    *("score.num_surprisal_trials", "score.texts_per_set"),
    *("steering.kl_targets", "steering.num_prompts"),
)
"""The config behind the trials of intervention surprisal. No other step declares the first field: a
run that switches the score on makes nothing else again."""


def _judged(
    *always: str, by_choice: str, by_likelihood: str
) -> Callable[[str, Config], tuple[str, ...]]:
    """The prompt texts of a judging step, whatever the method."""
    by = {"choice": by_choice, "likelihood": by_likelihood}
    return lambda _, config: (by[config.score.judged_by], *always)


def _texts_of_sentences(_: str, config: Config) -> tuple[str, ...]:
    """The writer's prompt text, and the packaged sentences where it writes no neutral ones."""
    is_packaged = config.score.neutral_sentences == "packaged"
    return (units.sentence_text(config), *(("neutral_sentences",) if is_packaged else ()))


def _texts_of_step(name: str, config: Config) -> tuple[str, ...]:
    """The prompt texts of a step that has the same ones for every method."""
    texts = step_named(name).texts
    return texts(name, config) if callable(texts) else texts


def _columns(prefix: str, *names: str) -> tuple[tuple[str, str], ...]:
    return tuple((f"{prefix}{name}", name) for name in names)


_BEFORE_PUBLISH: tuple[Step, ...] = (
    Step(
        "corpus",
        (),
        ("tokens",),
        "corpus",
        "token",
        "cpu",
        config=("corpus",),
        inputs=("corpus", "tokenizer"),
        work=work.corpus,
        revision=3,
        is_chain=True,
    ),
    Step(
        "overlap",
        _reads("tokens"),
        ("overlap",),
        "corpus",
        "whole",
        "cpu",
        config=_CHANGE_WINDOWS,
        may_refuse=True,
    ),
    Step(
        "sae_fit",
        (Read("tokens", "first"),),
        ("sae_fit",),
        "sae",
        "whole",
        "subject",
        config=(*SUBJECT, "sae_fit"),
        inputs=("subject", "sae"),
        work=work.sae_fit,
        may_refuse=True,
        revision=2,
    ),
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
        config=(*SUBJECT, "run.seed", *_CHANGE_WINDOWS, "evidence.jacobian_windows"),
        inputs=("subject", "lens"),
        work=work.jacobian,
        revision=2,
    ),
    Step(
        "input_map",
        _reads("tokens"),
        ("input_map",),
        "read",
        "whole",
        "subject",
        config=(*SUBJECT, "run.seed", *_CHANGE_WINDOWS, "evidence.input_windows"),
        inputs=("subject",),
        work=work.input_map,
        switch="evidence.input_windows",
        revision=2,
    ),
    Step(
        "hub_stats",
        (),
        ("hub_stats",),
        "sae",
        "whole",
        "subject",
        methods="maps",
        revision=5,
        config=(*WEIGHTS, "evidence.input_windows"),
        inputs=("subject", "sae"),
        method_reads=map_reads,
    ),
    Step(
        "vocab_proj",
        (
            *_reads("input_map"),
            *(Read("hub_stats", method="lens"), Read("hub_stats", method="reads")),
        ),
        ("vocab_proj",),
        "sae",
        "latents",
        "subject",
        revision=5,
        config=(
            *WEIGHTS,
            "evidence.input_windows",
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
        revision=3,
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
        revision=3,
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
        work=work.max_act,
    ),
    Step(
        "match",
        _reads("window_sample", "jacobian_proj"),
        ("matches",),
        "sae",
        "whole",
        "subject",
        config=(*WEIGHTS, "match.sae", "match.cosine"),
        inputs=("subject", "sae", "earlier_sae"),
        switch="is_matched",
    ),
    Step(
        "carry_check",
        (Read("matches", "whole"),),
        ("carry_checks", "carried_labels"),
        "sae",
        "latents",
        "subject",
        config=(*SUBJECT, "corpus.window", "match"),
        inputs=("subject", "sae", "earlier_sae"),
        work=work.carry_check,
        switch="carries_over",
    ),
    Step(
        "top_examples",
        _reads("example_refs", "firing_stats", "window_sample", "tokens"),
        ("top_examples", "latent_stats"),
        "sae",
        "latents",
        "cpu",
        revision=3,
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
        _reads("top_examples", "jacobian_proj"),
        ("descriptions", "keyword_lists"),
        "sae",
        "latents",
        "cpu",
        methods="keywords",
        revision=6,
    ),
    Step(
        "keyword_score",
        (Read("keyword_lists", "whole", method="keywords"), Read("window_sample")),
        ("keyword_scores",),
        "sae",
        "latents",
        "cpu",
        config=("run.seed",),
        inputs=("tokenizer",),
        label_columns=_columns("keyword_", "f1", "f1_shuffled"),
        revision=2,
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
        work=work.free_scores,
        label_columns=_columns(
            "", "s_in", "s_out", "effect_kl", "delta_confidence", "single_token_share"
        ),
        revision=2,
    ),
    Step(
        "select",
        _reads("latent_stats"),
        ("selection",),
        "sae",
        "whole",
        "cpu",
        revision=4,
        config=("run.seed", "select", "match"),
        config_reads=selection_reads,
    ),
    Step(
        "calibrate",
        _reads("selection", "latent_stats"),
        ("clamps",),
        "sae",
        "selection",
        "subject",
        revision=2,
        config=(
            *SUBJECT,
            "steering.kl_targets",
            "steering.num_prompts",
            "score.three_set_methods",
        ),
        inputs=("subject", "sae"),
        texts=("neutral",),
        work=work.calibrate,
    ),
    Step(
        "steering",
        _reads("selection", "clamps"),
        ("completions",),
        "sae",
        "selection",
        "subject",
        revision=2,
        config=(*SUBJECT, "run.seed", "steering", *_UNITS, "score.three_set_methods"),
        inputs=("subject", "sae"),
        texts=("neutral",),
        work=work.steering,
        switch="score.num_units",
    ),
    Step(
        "control_texts",
        _reads("selection", "latent_stats", "neighbours"),
        ("control_texts",),
        "sae",
        "selection",
        "subject",
        methods="control_texts",
        config=(
            *(*SUBJECT, "run.seed", "steering"),
            *("score.num_units", "score.num_control_units", "score.texts_per_set"),
        ),
        inputs=("subject", "sae"),
        texts=("neutral",),
        work=work.control_texts,
        switch="score.num_units",
    ),
    Step(
        "unsteered_texts",
        (),
        ("unsteered_texts",),
        "sae",
        "whole",
        "subject",
        config=(*SUBJECT, "run.seed", "steering", *_SURPRISAL_UNITS),
        inputs=("subject", "sae"),
        texts=("neutral",),
        work=work.unsteered_texts,
        switch="score.num_surprisal_trials",
    ),
    Step(
        "agreement",
        _reads("selection", "tokens", "latent_stats", "clamps", "jacobian"),
        ("agreement", "change_variance", "hub_stats/exact"),
        "sae",
        "whole",
        "subject",
        revision=2,
        config=(
            *SUBJECT,
            "run.seed",
            "evidence.agreement_windows",
            *_CHANGE_WINDOWS,
            "steering.kl_targets",
        ),
        inputs=("subject", "sae"),
        work=work.agreement,
    ),
    Step(
        "token_change",
        _reads("selection", "tokens", "latent_stats", "clamps"),
        ("token_change",),
        "sae",
        "selection",
        "subject",
        methods="modes",
        revision=4,
        config=(
            *SUBJECT,
            "run.seed",
            "evidence.num_changed_tokens",
            *_CHANGE_WINDOWS,
            "evidence.change_clamp",
            "evidence.change_clamp_size",
            "evidence.change_estimator",
            "evidence.change_examples",
        ),
        inputs=("subject", "sae"),
        work=work.token_change,
        method_reads=mode_reads,
    ),
    Step(
        "held_out_change",
        _reads("selection", "tokens", "latent_stats", "clamps"),
        ("held_out_change",),
        "sae",
        "selection",
        "subject",
        config=(
            *SUBJECT,
            "run.seed",
            *_CHANGE_WINDOWS,
            "evidence.held_out_windows",
            "steering.kl_targets",
        ),
        inputs=("subject", "sae"),
        work=work.held_out_change,
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
        revision=6,
        config=(
            "llm",
            "evidence.change_modes",
            "describe.cap_words",
            "describe.structured",
            "describe.num_examples",
            "describe.num_tokens_shown",
        ),
        inputs=("llm",),
        texts=texts_of,
        work=work.explain,
        method_reads=evidence_of,
        requests=units.explain_requests,
        answer_kind=answer_kind_of,
    ),
    Step(
        "shuffle",
        _reads("selection"),
        ("descriptions",),
        "sae",
        "selection",
        "cpu",
        methods="shuffled",
        config=("run.seed",),
        method_reads=shuffled_reads,
    ),
    Step(
        "write_sentences",
        _reads("selection", "descriptions"),
        ("sentences",),
        "sae",
        "selection",
        "llm",
        methods="scored",
        revision=2,
        config=(
            *("llm", "run.seed", "score.num_sentences", "score.neutral_sentences"),
            *_DRAWS,
        ),
        inputs=("llm",),
        texts=_texts_of_sentences,
        work=work.write_sentences,
        requests=units.sentence_requests,
        answer_kind="json",
    ),
    Step(
        "judge_check",
        (),
        ("judge_check",),
        "run",
        "whole",
        "judge",
        methods="judgements",
        config=("judge", "score.judged_by"),
        inputs=("judge",),
        texts=_texts_of_step,
        requests=units.known_answer_requests,
        answer_kind=units.judged_as,
        may_refuse=True,
    ),
    Step(
        "detection",
        _reads("selection", "descriptions", "top_examples", "window_sample", "tokens"),
        ("detections", "detection_scores"),
        "sae",
        "selection",
        "judge",
        methods="scored",
        config=(
            "judge",
            "run.seed",
            "evidence.excerpt_tokens",
            "score.judged_by",
            "score.detection_texts",
            "score.detection_near_misses",
            "score.texts_per_prompt",
        ),
        inputs=("judge", "tokenizer"),
        texts=_judged(by_choice="detection", by_likelihood="write_text"),
        work=work.detection,
        requests=units.detection_requests,
        answer_kind=units.judged_as,
        switch="score.detection_texts",
        label_columns=(
            *_columns("detection_", "auroc", "auroc_low", "auroc_high", "near_miss_auroc"),
            ("detection_auprc", "average_precision"),
        ),
        revision=2,
    ),
    Step(
        "fuzzing",
        _reads("selection", "descriptions", "top_examples"),
        ("fuzzings", "fuzzing_scores"),
        "sae",
        "selection",
        "judge",
        methods="scored",
        config=(
            "judge",
            "run.seed",
            "evidence.excerpt_tokens",
            "score.judged_by",
            "score.fuzzing_texts",
            "score.texts_per_prompt",
        ),
        inputs=("judge",),
        texts=_judged(by_choice="fuzzing", by_likelihood="write_marked_text"),
        work=work.fuzzing,
        requests=units.fuzzing_requests,
        answer_kind=units.judged_as,
        switch="score.fuzzing_texts",
        label_columns=_columns("fuzzing_", "auroc", "auroc_low", "auroc_high"),
        revision=2,
    ),
    Step(
        "input_score",
        _reads("selection", "sentences", "latent_stats"),
        ("input_scores",),
        "sae",
        "selection",
        "subject",
        methods="scored",
        revision=4,
        config=(*SUBJECT, "corpus.window", *_DRAWS),
        inputs=("subject", "sae"),
        work=work.input_score,
        label_columns=(
            *_columns("input_", "difference", "auroc", "hit_rate", "paper_success"),
            ("input_auprc", "average_precision"),
        ),
        choosing=Choosing("choosing_auroc", of="inputs"),
    ),
    Step(
        "revive",
        _reads("selection", "latent_stats"),
        ("revivals",),
        "sae",
        "selection",
        "subject",
        methods="revivals",
        config=(*SUBJECT, "corpus.window"),
        inputs=("subject", "sae"),
        work=work.revive,
        method_reads=revival_reads,
        revision=2,
    ),
    Step(
        "output_ceiling",
        (Read("selection"), Read("held_out_change", "panel"), Read("completions", "panel")),
        ("output_ceilings",),
        "sae",
        "selection",
        "subject",
        config=(*WEIGHTS, *_UNITS),
        inputs=("subject",),
        label_columns=_columns("output_", "ceiling"),
        switch="score.num_units",
    ),
    Step(
        "output_score",
        (
            Read("selection"),
            Read("output_ceilings"),
            Read("descriptions", "panel"),
            Read("completions", "panel"),
        ),
        ("judgements", "output_scores"),
        "sae",
        "selection",
        "judge",
        methods="scored",
        revision=5,
        config=(
            *("judge", "run.seed", "score.judged_by", "score.three_set_methods", *_UNITS),
            *("score.control_texts", "score.num_control_units"),
        ),
        inputs=("judge",),
        texts=_judged("judge_three", by_choice="judge_two", by_likelihood="write_texts"),
        work=work.output_score,
        method_reads=control_text_reads,
        requests=units.judge_requests,
        control_requests=units.control_requests,
        answer_kind=units.judged_as,
        label_columns=_columns(
            "output_", "win_rate", "win_rate_low", "win_rate_high", "three_set_success"
        ),
        choosing=Choosing("choosing_win_rate", of="outputs"),
        switch="score.num_units",
    ),
    Step(
        "unseen_tokens",
        (
            *_reads("selection", "jacobian_proj", "vocab_proj"),
            Read("descriptions", "panel"),
            Read("held_out_change", "panel"),
        ),
        ("unseen_judgements", "unseen_scores"),
        "sae",
        "selection",
        "judge",
        methods="scored",
        revision=3,
        config=(
            "judge",
            "run.seed",
            "evidence.change_modes",
            "describe.num_tokens_shown",
            "score.judged_by",
            *_UNSEEN_TRIALS,
        ),
        inputs=("judge",),
        texts=_judged(by_choice="judge_tokens", by_likelihood="write_tokens"),
        work=work.unseen_tokens,
        config_reads=first_mode_reads,
        switch="score.num_unseen_trials",
        requests=units.unseen_requests,
        answer_kind=units.judged_as,
        label_columns=_columns("unseen_", "win_rate", "win_rate_low", "win_rate_high"),
        choosing=Choosing("choosing_win_rate", of="outputs"),
    ),
    Step(
        "intervention_surprisal",
        _reads("selection", "descriptions", "completions", "unsteered_texts"),
        ("surprisal_trials", "surprisal_scores"),
        "sae",
        "selection",
        "judge",
        methods="scored",
        config=("judge", *_SURPRISAL_UNITS),
        inputs=("judge",),
        texts=("intervention_surprisal",),
        work=work.intervention_surprisal,
        requests=units.surprisal_requests,
        answer_kind="loglikelihood",
        switch="score.num_surprisal_trials",
    ),
)

_PUBLISHED = dict.fromkeys(
    (
        *("overlap", "latent_stats", "top_examples", "vocab_proj", "neighbours", "selection"),
        *("jacobian_proj", "token_change", "agreement", "descriptions", "revivals"),
        *(step.writes[-1] for step in _BEFORE_PUBLISH if step.label_columns),
    )
)

FLOW: tuple[Step, ...] = (
    *_BEFORE_PUBLISH,
    Step(
        "publish",
        _reads(*_PUBLISHED),
        ("choices", "labels"),
        "sae",
        "latents",
        "cpu",
        revision=10,
        config=(
            *("evidence.change_modes", "describe.methods", "describe.label_by", "score.methods"),
            *("select.controls", "match"),
            *dict.fromkeys(
                step.switch for step in _BEFORE_PUBLISH if step.switch and step.label_columns
            ),
        ),
        config_reads=carried_label_reads,
    ),
)

_STEPS = {step.name: step for step in FLOW}


def step_named(name: str) -> Step:
    """The step of that name; KeyError if the flow has none."""
    return _STEPS[name]
