"""token_change: which logits move when a latent is clamped, at every position, both signs.

One fixed set of windows for all latents (the first by hash of their documents' explain side),
clean pass shared, error term kept, mean taken before the unembedding (methods 4.3, 9). Chosen
latents only: 2 signs x windows x tokens per latent through the layers above the hook.
"""

import torch
from torch import Tensor

from ray_autointerp.errors import TaskError
from ray_autointerp.methods.token_change import mean_logit_diff, token_change
from ray_autointerp.models.clamped_pass import clean_run, mean_change
from ray_autointerp.records.keys import hash_order
from ray_autointerp.records.task import Task
from ray_autointerp.stages.desk import Desk
from ray_autointerp.stages.reference_activations import reference_activations
from ray_autointerp.stages.tables import Row
from ray_autointerp.stages.token_entries import token_entries


def run(task: Task, desk: Desk) -> None:
    """Write one selection shard of `token_change/all`: a row per latent and sign."""
    assert task.sae is not None
    latents = desk.chosen(task)
    sae, evidence = desk.sae(task.sae), desk.run.config.evidence
    windows_WT = shared_windows(desk)
    clean = clean_run(desk.subject, sae, latents, windows_WT)
    clamps = clamp_values(task, desk, latents)
    pairs = [pair for pair in clamps if clamps[pair] is not None]
    rows_per_pass = max(1, desk.run.config.operations.micro_batch // len(windows_WT))
    rows: dict[tuple[int, int], Row] = {
        (latent, sign): {
            "latent": latent,
            "sign": sign,
            "status": "kl_unreached",
            "num_windows": len(windows_WT),
            "num_positions": clean.num_positions,
        }
        for latent, sign in clamps
    }
    if pairs:
        values_B = torch.tensor([clamps[pair] for pair in pairs], device=desk.subject.device)
        change_BD = mean_change(
            desk.subject, sae, clean, [latent for latent, _ in pairs], values_B, rows_per_pass
        )
        logit_diff_BV = mean_logit_diff(change_BD, desk.subject.W_U_DV)
        lists = token_change(logit_diff_BV, evidence.num_changed_tokens)
        for i, pair in enumerate(pairs):
            rows[pair] |= {
                "status": "ok",
                "clamp_value": clamps[pair],
                "promoted": token_entries(lists.promoted, i, desk.tokenizer),
                "suppressed": token_entries(lists.suppressed, i, desk.tokenizer),
            }
    desk.write(task, "token_change/all", list(rows.values()))


def shared_windows(desk: Desk) -> Tensor:
    """The windows [W, T] that every latent is clamped on: explain side, seeded, BOS first.

    One window from each of as many documents as there are; the first tokens of a corpus window,
    so that BOS stands where the SAE was trained to see it.
    """
    evidence = desk.run.config.evidence
    length = evidence.change_window_tokens
    rows = [
        row
        for row in desk.read("tokens", None).to_pylist()
        if row["split"] == "explain" and len(row["token_ids"]) >= length
    ]
    by_window = {row["window"]: row for row in rows}
    order = hash_order(by_window, desk.run.config.run.seed, "change_windows")
    first_of_document = list({by_window[w]["document"]: w for w in reversed(order)}.values())
    first_of_document.reverse()
    rest = [window for window in order if window not in set(first_of_document)]
    chosen = (first_of_document + rest)[: evidence.change_windows]
    if not chosen:
        raise TaskError(
            f"the corpus has no explain-side window of {length} tokens: give more text, or lower "
            "evidence.change_window_tokens"
        )
    return torch.tensor([by_window[window]["token_ids"][:length] for window in chosen])


def clamp_values(task: Task, desk: Desk, latents: list[int]) -> dict[tuple[int, int], float | None]:
    """By latent and sign, the value the config's rule clamps to; None where a KL is unreached."""
    assert task.sae is not None
    evidence = desk.run.config.evidence
    if evidence.change_clamp == "kl":
        rows = desk.rows("clamps", task.sae, latents)
        return {
            (latent, row["sign"]): row["clamp_value"]
            for latent in latents
            for row in rows[latent]
            if abs(row["kl_target"] - evidence.change_clamp_size) < 1e-6
        }
    scale = reference_activations(desk, task.sae)
    return {
        (latent, sign): sign * evidence.change_clamp_size * scale[latent]
        for latent in latents
        for sign in (1, -1)
    }
