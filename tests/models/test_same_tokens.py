"""Exact TokenChange names the tokens that a slow float64 reference names, in every mode.

The reference runs Hugging Face's whole model in float64, a hook adding the clamp below the layer,
and averages full logits. Float32 and float64 must agree with it except in ties.
"""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor

from ray_autointerp.methods.token_change import mean_logit_diff, token_change
from ray_autointerp.models.active_pass import active_changes
from ray_autointerp.models.clamped_pass import clean_run, last_position_states, window_changes
from ray_autointerp.models.families import parts_of
from ray_autointerp.models.sae import Sae
from ray_autointerp.models.subject import Subject

VALUE, TOP = 5.0, 20


class Reference:
    """The notebook's procedure with the error term kept, in float64."""

    def __init__(
        self, model: Any, subject: Subject, sae: Sae, latent: int, windows_WT: Tensor
    ) -> None:
        self._model = deepcopy(model).double()
        self._layer = parts_of(self._model, subject.card.family).layers[
            subject.site(sae.hook_point)
        ]
        self._windows_WT = windows_WT
        self._direction_D = sae.W_dec_LD[latent].double()

    def changes(self, added_WT: Tensor) -> Tensor:
        """Logits [W, T, V] with so much of the latent added, minus clean ones."""
        return self._logits(added_WT) - self._logits(torch.zeros_like(added_WT))

    def _logits(self, added_WT: Tensor) -> Tensor:
        def hook(_: Any, arguments: Any, kwargs: Any) -> Any:
            moved = added_WT[..., None] * self._direction_D
            if arguments:
                return (arguments[0] + moved, *arguments[1:]), kwargs
            return arguments, {**kwargs, "hidden_states": kwargs["hidden_states"] + moved}

        handle = self._layer.register_forward_pre_hook(hook, with_kwargs=True)
        try:
            logits: Tensor = self._model(self._windows_WT, use_cache=False).logits
            return logits
        finally:
            handle.remove()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("model_type", ["llama", "gpt2", "gpt_neox", "gemma3_text"])
@torch.inference_mode()
def test_exact_modes_name_the_tokens_of_the_float64_reference(
    tiny: Callable[..., Subject],
    plain: Callable[[str], Any],
    sae_folder: Callable[..., str],
    windows_WT: Tensor,
    model_type: str,
    dtype: str,
) -> None:
    subject = tiny(model_type, dtype)
    sae = Sae.load(sae_folder("topk", k=12), dtype=dtype)
    clean = clean_run(subject, sae, range(sae.d_sae), windows_WT, keep_keys=True)
    mask_WT = clean.mask_WT
    fires_WTL = (clean.acts_WTL > 0) & mask_WT[..., None]
    latent = int(fires_WTL.sum((0, 1)).argmax())
    acts_WT, fires_WT = clean.acts_WTL[..., latent].double(), fires_WTL[..., latent]
    slow = Reference(plain(model_type), subject, sae, latent, windows_WT)
    is_last_WT = torch.zeros_like(mask_WT)
    is_last_WT[:, -1] = True
    firing_W = fires_WT.any(1).nonzero()[:, 0]
    for sign in (1, -1):
        value_B = torch.tensor([sign * VALUE])
        clamp_WT = sign * VALUE - acts_WT
        whole = window_changes(subject, sae, clean, [latent], value_B, 1).sums_BWD[0].sum(0)
        same_tokens(subject, whole / mask_WT.sum(), slow.changes(clamp_WT * mask_WT)[mask_WT])
        last_WD = last_position_states(subject, sae, clean, [latent], value_B, 1)[0]
        same_tokens(
            subject,
            (last_WD - clean.normed_WTD[:, -1])[mask_WT[:, -1]].mean(0),
            slow.changes(clamp_WT * is_last_WT * mask_WT)[:, -1][mask_WT[:, -1]],
        )
        added_WT = torch.full_like(acts_WT, VALUE) if sign > 0 else -acts_WT
        active = active_changes(
            subject, sae, clean, latent, firing_W, added_WT[None, firing_W].to(value_B), 4
        )
        same_tokens(
            subject,
            active.sums_NWD[0].sum(0) / active.counts_W.sum(),
            slow.changes(added_WT * fires_WT)[fires_WT],
        )


def same_tokens(subject: Subject, mean_D: Tensor, changes_PV: Tensor) -> None:
    """Promoted and suppressed lists are the reference's, but for ties at their ends."""
    lists = token_change(mean_logit_diff(mean_D[None], subject.W_U_DV), TOP, None)
    expected_V = changes_PV.mean(0)
    tie = 1e-5 * float(expected_V.abs().max())
    assert tie > 0
    for found, sign in ((lists.promoted, 1), (lists.suppressed, -1)):
        least = (sign * expected_V).topk(TOP).values[-1]
        ids = found.ids_BK[0]
        assert len(set(ids.tolist())) == TOP
        assert bool((sign * expected_V[ids] >= least - tie).all())
        order = sign * expected_V[ids]
        assert bool((order.diff() <= tie).all()), "strongest first"
