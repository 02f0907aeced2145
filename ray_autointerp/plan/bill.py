"""What answers cost in money, and the one sentence for a ceiling that is reached."""

from collections.abc import Mapping

from ray_autointerp.config import Config, PriceSection
from ray_autointerp.plan.step import Pool
from ray_autointerp.records.usage import Usage

_MILLION = 1_000_000
_HOUR = 3600


def cost(usage: Usage, price: PriceSection) -> float:
    """The money that this usage costs, in the price's currency."""
    cached = price.prompt if price.cached is None else price.cached
    tokens = (
        (usage.num_prompt_tokens - usage.num_cached_tokens) * price.prompt
        + usage.num_cached_tokens * cached
        + usage.num_generated_tokens * price.generated
    )
    return tokens / _MILLION + usage.engine_seconds / _HOUR * price.engine_hour


def is_priced(price: PriceSection) -> bool:
    """Whether anything costs money at this price."""
    return any((price.prompt, price.cached, price.generated, price.engine_hour))


def ceiling_reached(config: Config, spent: Mapping[Pool, Usage]) -> str | None:
    """The sentence that says which ceiling of the run is reached; None if none is.

    `spent` is what the answers of each pool have cost, in all processes together.
    """
    budget = config.budget
    prices = {"llm": config.llm.price, "judge": config.judging.price}
    num_tokens = sum(usage.num_tokens for usage in spent.values())
    money = sum(cost(usage, prices[pool]) for pool, usage in spent.items())
    if budget.max_tokens is not None and num_tokens >= budget.max_tokens:
        what, sum_spent = f"budget.max_tokens = {budget.max_tokens:,}", f"{num_tokens:,} tokens"
    elif budget.max_cost is not None and money >= budget.max_cost:
        what, sum_spent = f"budget.max_cost = {budget.max_cost:g}", f"{money:.4g}"
    else:
        return None
    return (
        f"The ceiling {what} is reached: {sum_spent} spent. What is finished and every answer is "
        "kept; the same command with a higher ceiling continues."
    )
