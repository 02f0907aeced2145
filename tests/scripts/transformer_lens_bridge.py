"""TransformerLens' bridge around a Hugging Face model: the oracle of hook points and logits."""

from torch import nn
from transformer_lens.model_bridge import TransformerBridge

from ray_autointerp.models.tokenizer import SubjectTokenizer


def boot(model: str, hf_model: nn.Module, tokenizer: SubjectTokenizer) -> TransformerBridge:
    """Wraps the model in place."""
    return TransformerBridge.boot_transformers(
        model, hf_model=hf_model, tokenizer=tokenizer.hf, dtype=next(hf_model.parameters()).dtype
    )
