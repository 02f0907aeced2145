"""Windows of the corpus as one batch for the subject."""

# W windows, T positions

from collections.abc import Sequence

import torch
from torch import Tensor

from ray_autointerp.runs.context import WorkerContext
from ray_autointerp.runs.tables import Row


def padded_windows(windows: Sequence[Row], context: WorkerContext) -> tuple[Tensor, Tensor]:
    """Token ids [W, T], and which of them are the windows' own. Padded on the right: under causal
    attention a pad changes nothing before it.
    """
    lengths = [len(row["token_ids"]) for row in windows]
    pad = context.tokenizer.eos_id or 0
    padded = [row["token_ids"] + [pad] * (max(lengths) - len(row["token_ids"])) for row in windows]
    tokens_WT = torch.tensor(padded)
    return tokens_WT, torch.arange(tokens_WT.shape[1]) < torch.tensor(lengths)[:, None]
