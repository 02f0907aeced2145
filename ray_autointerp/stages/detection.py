"""detection: can a judge tell by a description in which held-out texts the latent is active?

Active texts are score-side examples; inactive ones are cut out of sampled score-side windows in
which the latent is silent, and, as a kind of their own, around tokens on which it peaks elsewhere.
All are plain, cut in the same way and of one length in tokens: they differ in content alone.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from ray_autointerp.methods.input_score import auroc
from ray_autointerp.methods.offsets import offsets_of
from ray_autointerp.passes.excerpts import excerpts, silent_peaks
from ray_autointerp.passes.judged_texts import (
    ACTIVE,
    JudgedText,
    active_examples,
    held_out,
    judge_texts,
    log_odds_of,
    text_scores,
)
from ray_autointerp.passes.window_sample import WindowSample
from ray_autointerp.prompts.detection import JUDGEMENT
from ray_autointerp.records.keys import derive_seed, hash_order
from ray_autointerp.records.task import Task
from ray_autointerp.runs.context import WorkerContext
from ray_autointerp.runs.tables import Row

RANDOM, NEAR_MISS = "random", "near_miss"


async def run(task: Task, context: WorkerContext) -> None:
    """Write one selection shard of `detections/<method>` and `detection_scores/<method>`."""
    texts = _texts(task, context, context.tables.chosen(task))
    rows = await judge_texts(task, context, texts, RANDOM, JUDGEMENT)
    context.write(task, "detections", [row for judged in rows.values() for row in judged])
    context.write(
        task, "detection_scores", [_scored(latent, judged) for latent, judged in rows.items()]
    )


def _scored(latent: int, rows: Sequence[Row]) -> Row:
    row = text_scores(latent, rows, RANDOM)
    active, missed = log_odds_of(rows, ACTIVE), log_odds_of(rows, NEAR_MISS)
    is_scored = row["status"] == "ok" and missed
    return row | {
        "near_miss_auroc": auroc(active, missed) if is_scored else None,
        "num_near_miss": len(missed),
    }


def _texts(
    task: Task, context: WorkerContext, latents: Sequence[int]
) -> dict[int, list[JudgedText]]:
    """The texts of each latent: no more random ones than active ones."""
    assert task.sae is not None
    config, text_of = context.run.config, context.tokenizer.row_text
    sample = WindowSample(context.tables, task.sae, latents)
    sizes = _sizes(sample, context)
    length = min(config.evidence.excerpt_tokens, int(np.median(list(sizes.values()) or [0])))
    excerpts_of = held_out(task, context, latents)

    def is_long(example: Row) -> bool:
        return len(example["token_ids"]) >= length

    active = {
        latent: active_examples(excerpts_of[latent], config.score.detection_texts, is_long)
        for latent in latents
    }
    wanted = {latent: len(found) for latent, found in active.items()}
    silent = _silent(sample, wanted, {w for w, size in sizes.items() if size >= length}, context)
    texts: dict[int, list[JudgedText]] = {}
    for latent in latents:
        missed = [e for e in excerpts_of[latent]["near_misses"] if is_long(e)]
        found = {
            ACTIVE: active[latent],
            RANDOM: silent[latent],
            NEAR_MISS: missed[: config.score.detection_near_misses],
        }
        texts[latent] = [
            JudgedText(kind, e["window"], e["activation"], text_of(_cut(e, length)))
            for kind, of_kind in found.items()
            for e in of_kind
        ]
    return texts


def _sizes(sample: WindowSample, context: WorkerContext) -> dict[int, int]:
    """Tokens of each sampled window without BOS."""
    windows = sample.windows
    sizes_W = np.diff(windows.offsets_W1) - windows.has_bos_W(context.tokenizer.begin_ids)
    return dict(zip(windows.ids_W.tolist(), sizes_W.tolist(), strict=True))


def _silent(
    sample: WindowSample, wanted: Mapping[int, int], usable: Collection[int], context: WorkerContext
) -> dict[int, list[Row]]:
    """Excerpts of score-side windows in which a latent is silent, at a random place in each."""
    seed, tokenizer, windows = context.run.config.run.seed, context.tokenizer, sample.windows
    drawn = {
        latent: hash_order(
            (window for window in sample.silent(latent, "score") if window in usable),
            seed,
            "silent window",
            latent,
        )[:number]
        for latent, number in wanted.items()
    }
    draws = [(latent, window) for latent, found in drawn.items() for window in found]
    ids = [window for _, window in draws]
    sizes = np.diff(windows.offsets_W1)[windows.rows(ids)].tolist()
    places = [
        derive_seed(seed, "silent place", *draw) % size
        for draw, size in zip(draws, sizes, strict=True)
    ]
    counts = offsets_of(np.array([len(found) for found in drawn.values()], np.int64))
    length = context.run.config.evidence.excerpt_tokens
    shown = excerpts(windows, silent_peaks(ids, places), length, tokenizer)
    lists: list[Any] = shown.lists(counts).to_pylist()
    return dict(zip(drawn, lists, strict=True))


def _cut(example: Row, length: int) -> list[int]:
    """So many tokens around the peak, as `excerpts` cuts them."""
    token_ids: list[int] = example["token_ids"]
    start = max(0, min(example["peak"] - 3 * length // 4, len(token_ids) - length))
    return token_ids[start : start + length]
