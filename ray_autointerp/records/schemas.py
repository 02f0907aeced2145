"""The Arrow schema of every table, key columns first. Rows are sorted by key.

Changing a schema means raising SCHEMA_VERSION and the `revision` of the steps in flow.py that
write it. A version adds columns or leaves some out, so that runs of older versions can be read:
columns that they lack are null. Content columns hold no clock, duration, host or attempt: those
go to the ledger.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

SCHEMA_VERSION = 8

_I8, _I16, _I32, _I64 = pa.int8(), pa.int16(), pa.int32(), pa.int64()
_F32, _F64, _STR, _BOOL = pa.float32(), pa.float64(), pa.string(), pa.bool_()

TOKEN_ENTRY = pa.struct([("token", _I32), ("text", _STR), ("logit", _F32), ("z", _F32)])
"""One token of a promoted or suppressed list. `logit` is a projected logit (VocabProj) or a mean
logit diff (TokenChange); `z` its distance from the token's mean over latents, null if unknown."""

CHANGED_TOKEN = pa.struct([*TOKEN_ENTRY, ("se", _F32)])
"""The same with `se`, the standard error over windows of a mean logit diff."""

EXAMPLE = pa.struct(
    [
        ("window", _I64),
        ("document", _I64),
        ("document_id", _STR),
        ("peak", _I16),
        ("activation", _F32),
        ("token_ids", pa.list_(_I32)),
        ("texts", pa.list_(_STR)),
        ("activations", pa.list_(_F32)),
    ]
)
"""An excerpt around a latent's peak: `peak` indexes into the excerpt's own lists."""

SENTENCE_ACTIVATION = pa.struct(
    [("draw", _I16), ("side", _STR), ("activation", _F32), ("token", _STR)]
)

SENTENCE = pa.struct([("side", _STR), ("text", _STR)])

CANDIDATE = pa.struct([("method", _STR), ("halves", pa.list_(_F32)), ("expected", _F32)])
"""A description that may become the label: its scores in the two halves of the choosing trials,
and the score that is expected of it."""


@dataclass(frozen=True)
class Table:
    """A table's schema and the columns its rows are sorted (and unique) by."""

    schema: pa.Schema
    key: tuple[str, ...]


def _table(key: Mapping[str, pa.DataType], **columns: pa.DataType) -> Table:
    fields = [pa.field(name, kind, nullable=False) for name, kind in key.items()]
    fields += [pa.field(name, kind) for name, kind in columns.items()]
    return Table(pa.schema(fields), tuple(key))


_LATENT: Mapping[str, pa.DataType] = {"latent": _I32}

_JUDGED_TEXTS = _table(
    {"latent": _I32, "number": _I16},
    kind=_STR,
    window=_I64,
    strength=_F32,
    log_odds=_F32,
    status=_STR,
)
"""Texts in the order of asking. `strength` is the latent's maximum over what is asked about."""

_STEERED_TEXTS = _table(
    {"latent": _I32, "prompt": _I16, "sign": _I8, "kl_target": _F32, "draw": _I16},
    status=_STR,
    clamp_value=_F32,
    kl_reached=_F32,
    prompt_text=_STR,
    token_ids=pa.list_(_I32),
    text=_STR,
)
"""Of a random direction `clamp_value` is what it is multiplied by; unsteered text has none."""

_TEXT_SCORES: Mapping[str, pa.DataType] = dict.fromkeys(
    (
        *("auroc", "auroc_low", "auroc_high", "balanced_accuracy", "f1", "average_precision"),
        "strength_spearman",
    ),
    _F32,
)

_USAGE: Mapping[str, pa.DataType] = dict.fromkeys(
    ("num_requests", "num_prompt_tokens", "num_cached_tokens", "num_generated_tokens"), _I64
)

_LABELS = _table(
    _LATENT,
    label=_STR,
    name=_STR,
    name_win_rate=_F32,
    name_win_rate_low=_F32,
    name_win_rate_high=_F32,
    method=_STR,
    runner_up=_STR,
    margin=_F32,
    status=_STR,
    repeated=pa.list_(_STR),
    chosen=_BOOL,
    origin_run=_STR,
    origin_sae=_STR,
    origin_latent=_I32,
    is_dead=_BOOL,
    density=_F64,
    max_activation=_F32,
    revived=_BOOL,
    revived_by=_STR,
    s_in=_F32,
    s_out=_F32,
    effect_kl=_F32,
    delta_confidence=_F32,
    single_token_share=_F32,
    keyword_f1=_F32,
    keyword_f1_shuffled=_F32,
    detection_auroc=_F32,
    detection_auroc_low=_F32,
    detection_auroc_high=_F32,
    detection_auprc=_F32,
    detection_near_miss_auroc=_F32,
    fuzzing_auroc=_F32,
    fuzzing_auroc_low=_F32,
    fuzzing_auroc_high=_F32,
    input_difference=_F32,
    input_auroc=_F32,
    input_auprc=_F32,
    input_hit_rate=_F32,
    input_paper_success=_F32,
    output_win_rate=_F32,
    output_win_rate_low=_F32,
    output_win_rate_high=_F32,
    output_ceiling=_F32,
    output_three_set_success=_F32,
    unseen_win_rate=_F32,
    unseen_win_rate_low=_F32,
    unseen_win_rate_high=_F32,
    fires_on=pa.list_(_STR),
    promotes=pa.list_(_STR),
    suppresses=pa.list_(_STR),
)

TABLES: dict[str, Table] = {
    "tokens": _table(
        {"window": _I64},
        document=_I64,
        document_id=_STR,
        split=_STR,
        token_ids=pa.list_(_I32),
    ),
    "example_refs": _table(
        {"latent": _I32, "kind": _STR, "split": _STR, "rank": _I16},
        window=_I64,
        peak=_I16,
        activation=_F32,
        positions=pa.list_(_I16),
        values=pa.list_(_F32),
    ),
    "firing_stats": _table(
        {"latent": _I32, "split": _STR},
        num_tokens=_I64,
        num_active=_I64,
        sum_activation=_F64,
        max_activation=_F32,
        histogram=pa.list_(_I64),
    ),
    "window_sample": _table(
        {"window": _I64},
        split=_STR,
        token_ids=pa.list_(_I32),
        latents=pa.list_(_I32),
        positions=pa.list_(_I16),
        values=pa.list_(_F32),
    ),
    "overlap": _table(
        {"split": _STR},
        num_documents=_I64,
        num_windows=_I64,
        num_overlapping=_I64,
        share=_F64,
    ),
    "sae_fit": _table(
        {"sae": _STR},
        status=_STR,
        architecture=_STR,
        d_in=_I32,
        d_sae=_I32,
        read_point=_STR,
        hook_point=_STR,
        normalization=_STR,
        num_tokens=_I64,
        l0=_F64,
        expected_l0=_F64,
        unexplained=_F64,
        silent_share=_F64,
        sink_share=_F64,
    ),
    "judge_check": _table(
        {"order": _I8},
        status=_STR,
        prompt_digest=_STR,
        right_answer=_STR,
        answer=_STR,
        allowed=_F64,
        log_odds=_F64,
    ),
    "input_map": _table(
        {"direction": _I32}, num_windows=_I32, ridge=_F32, unexplained=_F32, row=pa.list_(_F32)
    ),
    "top_examples": _table(
        {"latent": _I32, "split": _STR},
        status=_STR,
        examples=pa.list_(EXAMPLE),
        stratified=pa.list_(EXAMPLE),
        near_misses=pa.list_(EXAMPLE),
        following=pa.list_(pa.struct([("token", _I32), ("text", _STR), ("count", _I32)])),
    ),
    "latent_stats": _table(
        _LATENT,
        status=_STR,
        num_tokens=_I64,
        num_active_explain=_I64,
        num_active_score=_I64,
        density=_F64,
        mean_activation=_F32,
        max_activation=_F32,
        max_activation_score=_F32,
        histogram=pa.list_(_I64),
        is_dead=_BOOL,
    ),
    "neighbours": _table(
        _LATENT,
        status=_STR,
        neighbours=pa.list_(pa.struct([("latent", _I32), ("cosine", _F32)])),
    ),
    "matches": _table(
        _LATENT,
        status=_STR,
        earlier_latent=_I32,
        cosine=_F32,
        margin=_F32,
        correlation=_F32,
        promoted_overlap=_F32,
    ),
    "carry_checks": _table(
        _LATENT,
        status=_STR,
        carried=_BOOL,
        failed_check=_STR,
        earlier_latent=_I32,
        auroc_before=_F32,
        auroc=_F32,
        sentences=pa.list_(SENTENCE),
    ),
    "hub_stats": _table({"token": _I32}, mean=_F32, sd=_F32),
    "vocab_proj": _table(
        _LATENT,
        status=_STR,
        promoted=pa.list_(TOKEN_ENTRY),
        suppressed=pa.list_(TOKEN_ENTRY),
        reads=pa.list_(TOKEN_ENTRY),
        reads_against=pa.list_(TOKEN_ENTRY),
    ),
    "descriptions": _table(
        _LATENT,
        status=_STR,
        description=_STR,
        name=_STR,
        trigger=_STR,
        promotes=_STR,
        suppresses=_STR,
        relation=_STR,
        source=_I32,  # the latent that a control's was made for
        answer=_STR,
        finish_reason=_STR,
        prompt_digest=_STR,
    ),
    "keyword_lists": _table(_LATENT, status=_STR, fired=pa.list_(_STR), promoted=pa.list_(_STR)),
    "keyword_scores": _table(
        _LATENT,
        status=_STR,
        num_firings=_I64,
        num_predicted=_I64,
        precision=_F32,
        recall=_F32,
        f1=_F32,
        f1_weighted=_F32,
        window_auroc=_F32,
        shuffled_with=_I32,
        precision_shuffled=_F32,
        recall_shuffled=_F32,
        f1_shuffled=_F32,
        f1_weighted_shuffled=_F32,
        window_auroc_shuffled=_F32,
    ),
    "selection": _table(
        _LATENT,
        chosen=_BOOL,
        carried=_BOOL,
        reason=_STR,
        panel=_BOOL,
        sample=_BOOL,
        control=_BOOL,
        order=_I64,
    ),
    "clamps": _table(
        {"latent": _I32, "sign": _I8, "kl_target": _F32},
        status=_STR,
        clamp_value=_F32,
        kl_reached=_F32,
        kl_all_positions=_F32,
        reference_activation=_F32,
    ),
    "token_change": _table(
        {"latent": _I32, "sign": _I8},
        status=_STR,
        clamp_value=_F32,
        estimator=_STR,
        num_windows=_I32,
        num_positions=_I64,
        kl=_F32,
        delta_confidence=_F32,
        promoted=pa.list_(CHANGED_TOKEN),
        suppressed=pa.list_(CHANGED_TOKEN),
    ),
    "held_out_change": _table(
        {"latent": _I32, "strength": _STR},
        status=_STR,
        clamp_value=_F32,
        num_windows=_I32,
        mean_change=pa.list_(_F32),
        promoted=pa.list_(TOKEN_ENTRY),
        suppressed=pa.list_(TOKEN_ENTRY),
    ),
    "jacobian": _table(
        {"direction": _I32},
        num_windows=_I32,
        mean=pa.list_(_F32),
        singles=pa.list_(pa.list_(_F32)),
        single_counts=pa.list_(_I64),
    ),
    "jacobian_proj": _table(
        _LATENT,
        status=_STR,
        reference_activation=_F32,
        promoted=pa.list_(TOKEN_ENTRY),
        suppressed=pa.list_(TOKEN_ENTRY),
    ),
    "free_scores": _table(
        _LATENT,
        status=_STR,
        num_examples=_I32,
        s_in=_F32,
        s_out=_F32,
        s_out_best_rank=_I32,
        s_out_probability=_F32,
        amplified_value=_F32,
        effect_kl_amplified=_F32,
        clamp_value=_F32,
        effect_kl=_F32,
        delta_confidence=_F32,
        max_logit_diff=_F32,
        single_token=_STR,
        single_token_share=_F32,
    ),
    "agreement": _table(
        {"latent": _I32, "strength": _STR, "estimator": _STR, "num_windows": _I32},
        status=_STR,
        clamp_value=_F32,
        overlap=_F32,
        spearman=_F32,
        relative_error=_F32,
        coverage=_F32,
    ),
    "change_variance": _table(
        {"latent": _I32, "strength": _STR},
        status=_STR,
        clamp_norm=_F32,
        first_residual=_F32,
        linear=_F32,
        residual=_F32,
        exact=_F32,
    ),
    "sentences": _table(
        {"latent": _I32, "draw": _I16},
        status=_STR,
        activating=pa.list_(_STR),
        neutral=pa.list_(_STR),
        answer=_STR,
        finish_reason=_STR,
        prompt_digest=_STR,
    ),
    "detections": _JUDGED_TEXTS,
    "detection_scores": _table(
        _LATENT,
        status=_STR,
        **_TEXT_SCORES,
        near_miss_auroc=_F32,
        num_active=_I16,
        num_random=_I16,
        num_near_miss=_I16,
    ),
    "fuzzings": _JUDGED_TEXTS,
    "fuzzing_scores": _table(
        _LATENT, status=_STR, **_TEXT_SCORES, num_active=_I16, num_inactive=_I16
    ),
    "input_scores": _table(
        _LATENT,
        status=_STR,
        difference=_F32,
        difference_over_max=_F32,
        auroc=_F32,
        average_precision=_F32,
        hit_rate=_F32,
        paper_success=_F32,
        num_activating=_I16,
        num_neutral=_I16,
        choosing_auroc=pa.list_(_F32),
        activations=pa.list_(SENTENCE_ACTIVATION),
    ),
    "revivals": _table(
        _LATENT,
        status=_STR,
        revived=_BOOL,
        activation=_F32,
        kind=_STR,
        text=_STR,
        token_ids=pa.list_(_I32),
        num_texts=_I32,
        num_firing=_I32,
    ),
    "completions": _STEERED_TEXTS,
    "control_texts": _STEERED_TEXTS,
    "unsteered_texts": _table(
        {"prompt": _I16, "draw": _I16},
        status=_STR,
        prompt_text=_STR,
        token_ids=pa.list_(_I32),
        text=_STR,
    ),
    "output_ceilings": _table(
        _LATENT,
        status=_STR,
        ceiling=_F32,
        null_quantile=_F32,
        num_sets=_I16,
    ),
    "judgements": _table(
        {"latent": _I32, "kind": _STR, "text_set": _I16, "sign": _I8, "kl_target": _F32},
        choosing=_BOOL,
        status=_STR,
        partner=_I32,
        stranger=_I32,
        log_odds=_F32,
        log_odds_stranger=_F32,
        win=_F32,
        right=_F32,
        word_overlap_win=_F32,
        answers=pa.list_(_STR),
    ),
    "output_scores": _table(
        _LATENT,
        status=_STR,
        win_rate=_F32,
        win_rate_low=_F32,
        win_rate_high=_F32,
        mean_lift=_F32,
        share_right=_F32,
        num_units=_I16,
        three_set_success=_F32,
        word_overlap_win_rate=_F32,
        choosing_win_rate=pa.list_(_F32),
    ),
    "choices": _table(
        _LATENT,
        status=_STR,
        method=_STR,
        runner_up=_STR,
        margin=_F32,
        reliability=_F32,
        candidates=pa.list_(CANDIDATE),
    ),
    "unseen_judgements": _table(
        {"latent": _I32, "choosing": _BOOL, "trial": _I16},
        status=_STR,
        partner=_I32,
        stranger=_I32,
        tokens=pa.list_(_STR),
        partner_tokens=pa.list_(_STR),
        log_odds=_F32,
        log_odds_stranger=_F32,
        win=_F32,
        right=_F32,
        word_overlap_win=_F32,
        answers=pa.list_(_STR),
    ),
    "unseen_scores": _table(
        _LATENT,
        status=_STR,
        win_rate=_F32,
        win_rate_low=_F32,
        win_rate_high=_F32,
        mean_lift=_F32,
        num_trials=_I16,
        word_overlap_win_rate=_F32,
        choosing_win_rate=pa.list_(_F32),
    ),
    "surprisal_trials": _table(
        {"latent": _I32, "text_set": _I16, "sign": _I8, "kl_target": _F32},
        status=_STR,
        logprob_steered=_F32,
        logprob_unsteered=_F32,
        num_tokens=_I32,
    ),
    "surprisal_scores": _table(
        _LATENT,
        status=_STR,
        difference=_F32,
        se=_F32,
        difference_per_token=_F32,
        num_tokens=_I32,
        num_trials=_I16,
    ),
    "labels": _LABELS,
    "carried_labels": _LABELS,
    "ledger": _table(
        {"step": _STR, "sae": _STR, "method": _STR, "shard": _I32},
        started=pa.timestamp("us", tz="UTC"),
        seconds=_F64,
        outcome=_STR,
        worker=_STR,
        detail=_STR,
        **_USAGE,
        engine_seconds=_F64,
    ),
    "ledger_pools": _table(
        {"pool": _STR, "started": pa.timestamp("us", tz="UTC")},
        seconds=_F64,
        worker_seconds=_F64,
    ),
    "answers": _table(
        {"key": _STR},
        text=_STR,
        finish_reason=_STR,
        choice_logprobs=pa.map_(_STR, _F64),
        num_prompt_tokens=_I64,
        num_cached_tokens=_I64,
        num_generated_tokens=_I64,
        answer_logprobs=pa.list_(_F64),
    ),
}
