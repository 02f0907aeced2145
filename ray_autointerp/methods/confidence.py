"""Token confidence: how sure a next-token distribution is (Delta Token Confidence, 2510.03659).

Minus the mean log-probability of the k most likely tokens: the flatter the tail behind the first
token, the larger. Its change under a clamp says how far a latent sharpens or blurs what follows.
"""

# X any leading dimensions, V vocabulary

from torch import Tensor

TOP_TOKENS = 20
"""Most likely tokens averaged over."""


def token_confidence(logits_XV: Tensor, num_tokens: int = TOP_TOKENS) -> Tensor:
    """Confidence [...] in nats, float32, of logits after the softcap if there is one."""
    log_p_XV = logits_XV.float().log_softmax(-1)
    return -log_p_XV.topk(min(num_tokens, logits_XV.shape[-1]), dim=-1).values.mean(-1)
