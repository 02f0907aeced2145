"""On which tokens latents are looked at: those that SAELens' training would have kept."""

from collections.abc import Callable

import pytest
import torch
from byte_tokenizers import GPT2, LLAMA
from sae_lens.training.activations_store import _filter_buffer_acts
from sae_lens.util import get_special_token_ids

from ray_autointerp.models.clamped_pass import position_mask
from ray_autointerp.models.subject import Subject
from ray_autointerp.models.tokenizer import SubjectTokenizer

Tiny = Callable[..., Subject]


@pytest.mark.parametrize("tokenizer", [GPT2, LLAMA])
def test_structural_tokens_are_saelens_and_a_templates_are_special_too(
    tokenizer: SubjectTokenizer,
) -> None:
    assert tokenizer.excluded_ids(True) == set(get_special_token_ids(tokenizer.hf))
    assert tokenizer.excluded_ids(False) == frozenset()
    assert tokenizer.excluded_ids((3, 9)) == {3, 9}
    shown = tokenizer.hf.convert_ids_to_tokens(sorted(tokenizer.special_ids))
    assert shown == ["<s>", "</s>", "<|user|>", "<|end|>"]


@pytest.mark.parametrize("excluded", [True, False, (7, 30)])
def test_positions_counted_are_those_that_saelens_training_keeps_after_the_first(
    tiny: Tiny, excluded: bool | tuple[int, ...]
) -> None:
    subject = tiny("llama")
    own = Subject(subject._model, subject.tokenizer, subject.card, exclude_special_tokens=excluded)
    bos, eos = subject.tokenizer.bos_id, subject.tokenizer.eos_id
    windows_WT = torch.tensor([[bos, 7, eos, 30, bos, 31, 8, 9], [eos, 30, 7, 7, 12, 13, 14, eos]])
    h_WTD = torch.ones(2, 8, subject.card.d_model)  # no sinks
    own._sink_thresholds[2] = 1e9
    mask_WT = position_mask(own, windows_WT, h_WTD, 2)
    assert not mask_WT[:, 0].any(), "what begins a window is or stands for BOS"
    ids = sorted(own.excluded_ids) if excluded is True else excluded
    theirs = torch.tensor(ids) if ids is not False else None
    rest_N = windows_WT[:, 1:].reshape(-1)
    kept_N1 = _filter_buffer_acts((torch.arange(len(rest_N))[:, None], rest_N), theirs)
    assert mask_WT[:, 1:].reshape(-1).nonzero().tolist() == kept_N1.tolist()


def test_window_that_begins_with_text_counts_from_the_first_token(tiny: Tiny) -> None:
    subject = tiny("llama")
    subject._sink_thresholds[2] = 1e9
    mask_WT = position_mask(
        subject, torch.tensor([[9, 10, 11]]), torch.ones(1, 3, subject.card.d_model), 2
    )
    assert mask_WT.all()
