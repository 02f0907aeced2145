"""Neutral beginnings of text that is then continued while a latent is clamped.

The first three are the paper's (3.2); the others are of the same kind, so that a latent's trials
do not all share three prompts.
"""

NEUTRAL_PROMPTS: tuple[str, ...] = (
    "The explanation is simple:",
    "I think",
    "We",
    "It was said that",
    "There is a",
    "In the end, the",
    "For example,",
    "My friend told me that",
    "On the other hand,",
    "Let me tell you about",
    "Yesterday we saw",
    "When he opened the door,",
)

FREE_SCORE_PROMPT = "From my experience,"
"""What every latent is clamped after for the scores that need no LLM (Arad et al.'s)."""
