"""Token confidence: how sure a next-token distribution is (Delta Token Confidence, 2510.03659).

Minus the mean log-probability of the k most likely tokens. Read: the paper's appendix D, which
takes k = 1, after the prompt of S_out, amplified by ten, and selects latents from both ends of
the change. With k = 1 a positive change says that the likeliest token became less likely; with a
large k the sign turns round, because a sure model says little else (on the demo's SAE the two
changes rank latents with a Spearman correlation of -0.8). Ours: the paper scales a latent's code
with all other codes at zero, here it is amplified as for S_out, with the error term kept.
"""

# X any leading dimensions, V vocabulary

from torch import Tensor

TOP_TOKENS = 1
"""Most likely tokens averaged over (the source's 1)."""


def token_confidence(logits_XV: Tensor, num_tokens: int = TOP_TOKENS) -> Tensor:
    """Confidence [...] in nats, float32, of logits after the softcap if there is one."""
    log_p_XV = logits_XV.float().log_softmax(-1)
    if num_tokens == 1:
        return -log_p_XV.amax(-1)
    return -log_p_XV.topk(min(num_tokens, logits_XV.shape[-1]), dim=-1).values.mean(-1)
