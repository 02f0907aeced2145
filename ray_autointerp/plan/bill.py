"""What usage costs, by the prices of the config."""

from ray_autointerp.config import PriceSection
from ray_autointerp.records.usage import Usage


def cost(usage: Usage, price: PriceSection) -> float:
    """Money, in the price's currency."""
    cached = price.prompt if price.cached is None else price.cached
    tokens = (
        (usage.num_prompt_tokens - usage.num_cached_tokens) * price.prompt
        + usage.num_cached_tokens * cached
        + usage.num_generated_tokens * price.generated
    )
    return tokens / 1e6 + usage.engine_seconds / 3600 * price.engine_hour
