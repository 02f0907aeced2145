"""explain: evidence to descriptions, one method and one selection shard at a time.

MaxAct, VocabProj, TokenChange and Ensemble Raw ask once per latent; Ensemble Concat asks for its
three parts again at a third of the cap and joins them. An answer that is no description is a row
with its status and the raw answer.
"""

import asyncio
from collections.abc import Mapping

from ray_autointerp.passes.ask import ask_and_read
from ray_autointerp.plan.evidence import evidence_of
from ray_autointerp.prompts import ensemble, max_act, token_change, vocab_proj
from ray_autointerp.prompts.answer import read_description
from ray_autointerp.prompts.max_act import Example, MaxActEvidence
from ray_autointerp.prompts.message import Message, digest
from ray_autointerp.prompts.token_change import TokenChangeEvidence
from ray_autointerp.prompts.vocab_proj import VocabProjEvidence
from ray_autointerp.records.keys import derive_seed
from ray_autointerp.records.task import Task
from ray_autointerp.runs.context import WorkerContext
from ray_autointerp.runs.tables import Row

_TOKENS_PER_WORD = 3
"""Room for an answer: words of the cap times this, so that the cap and not the limit decides."""


async def run(task: Task, context: WorkerContext) -> None:
    """Write one selection shard of `descriptions/<method>`."""
    assert task.sae is not None and task.method is not None
    latents = context.chosen(task)
    tables = {
        read.table: context.rows(read.table, task.sae, latents, read.method)
        for read in evidence_of(task.method, context.run.config)
    }
    stats = context.row("latent_stats", task.sae, latents)
    rows = await asyncio.gather(
        *(
            _described(
                latent,
                _evidence(latent, {t: rows[latent] for t, rows in tables.items()}, stats, context),
                task.method,
                context,
            )
            for latent in latents
        )
    )
    context.write(task, "descriptions", rows)


async def _described(
    latent: int, evidence: ensemble.RawEvidence, method: str, context: WorkerContext
) -> Row:
    cap = context.run.config.describe.cap_words
    if method == "ensemble_concat":
        return await _joined(latent, evidence, context)
    messages = _messages(evidence, method, cap)
    if messages is None:
        return {"latent": latent, "status": "no_evidence"}
    return {"latent": latent, **await _asked(messages, method, cap, context)}


async def _joined(latent: int, evidence: ensemble.RawEvidence, context: WorkerContext) -> Row:
    """Ensemble Concat: the parts that exist, each at its share of the cap."""
    cap = ensemble.part_cap(context.run.config.describe.cap_words)
    prompts = {
        part: messages
        for part in ensemble.CONCAT_ORDER
        if (messages := _messages(evidence, part, cap)) is not None
    }
    parts = dict(
        zip(
            prompts,
            await asyncio.gather(
                *(_asked(m, f"concat {part}", cap, context) for part, m in prompts.items())
            ),
            strict=True,
        )
    )
    text = ensemble.joined(
        {p: row["description"] for p, row in parts.items() if row["description"]}
    )
    failed = next((row["status"] for row in parts.values() if row["status"] != "ok"), "no_evidence")
    return {
        "latent": latent,
        "status": "ok" if text else failed,
        "description": text,
        "answer": "\n".join(row["answer"] for row in parts.values()) if parts else None,
        "finish_reason": None,
        "prompt_digest": "+".join(row["prompt_digest"] for row in parts.values()) or None,
    }


async def _asked(
    messages: tuple[Message, ...], purpose: str, cap: int, context: WorkerContext
) -> Row:
    answered = await ask_and_read(
        context,
        messages,
        read_description,
        seed=derive_seed(digest(messages), purpose, 0),
        purpose=purpose,
        max_tokens=cap * _TOKENS_PER_WORD,
        temperature=context.run.config.llm.temperature,
    )
    text = answered.value
    return {
        "status": answered.status,
        # One cap for every method (methods 16): a longer answer does not get to say more.
        "description": None if text is None else " ".join(text.split()[:cap]),
        **answered.kept,
    }


def _messages(evidence: ensemble.RawEvidence, method: str, cap: int) -> tuple[Message, ...] | None:
    """The prompt, or None where the method has nothing to go on."""
    match method:
        case "max_act":
            return max_act.ask(evidence.max_act, cap) if evidence.max_act else None
        case "vocab_proj":
            return vocab_proj.ask(evidence.vocab_proj, cap) if evidence.vocab_proj else None
        case "token_change":
            return token_change.ask(evidence.token_change, cap) if evidence.token_change else None
        case "ensemble_raw":
            return ensemble.ask(evidence, cap)
    raise AssertionError(f"explain does not know the method {method}")


def _evidence(
    latent: int, tables: Mapping[str, list[Row]], stats: Mapping[int, Row], context: WorkerContext
) -> ensemble.RawEvidence:
    """What the tables hold of one latent, cut to what prompts show."""
    describe = context.run.config.describe
    return ensemble.RawEvidence(
        max_act=_max_act(
            tables.get("top_examples", []), stats[latent]["max_activation"], describe.num_examples
        ),
        vocab_proj=_vocab_proj(tables.get("vocab_proj", []), describe.num_tokens_shown),
        token_change=_token_change(tables.get("token_change", []), describe.num_tokens_shown),
    )


def _max_act(rows: list[Row], maximum: float | None, num_examples: int) -> MaxActEvidence | None:
    explain = [row for row in rows if row["split"] == "explain" and row["status"] == "ok"]
    if not explain or maximum is None:
        return None
    return MaxActEvidence(
        tuple(
            Example(tuple(e["texts"]), tuple(e["activations"]))
            for e in explain[0]["examples"][:num_examples]
        ),
        maximum,
    )


def _vocab_proj(rows: list[Row], num_tokens: int) -> VocabProjEvidence | None:
    if not rows:
        return None
    return VocabProjEvidence(
        _texts(rows[0]["promoted"], num_tokens), _texts(rows[0]["suppressed"], num_tokens)
    )


def _token_change(rows: list[Row], num_tokens: int) -> TokenChangeEvidence | None:
    by_sign = {row["sign"]: row for row in rows if row["status"] == "ok"}
    if not by_sign:
        return None
    raised, lowered = by_sign.get(1, {}), by_sign.get(-1, {})
    return TokenChangeEvidence(
        _texts(raised.get("promoted"), num_tokens),
        _texts(raised.get("suppressed"), num_tokens),
        _texts(lowered.get("promoted"), num_tokens),
        _texts(lowered.get("suppressed"), num_tokens),
    )


def _texts(entries: list[Row] | None, num_tokens: int) -> tuple[str, ...]:
    return tuple(entry["text"] for entry in (entries or [])[:num_tokens])
