"""What answers cost in money, and the one sentence for a ceiling that is reached."""

from ray_autointerp.config import BudgetSection, PriceSection
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


def reached(budget: BudgetSection, num_tokens: int, money: float) -> str | None:
    """The sentence that says which ceiling of the run is reached by so much; None if none is."""
    if budget.max_tokens is not None and num_tokens >= budget.max_tokens:
        what, spent = f"budget.max_tokens = {budget.max_tokens:,}", f"{num_tokens:,} tokens"
    elif budget.max_cost is not None and money >= budget.max_cost:
        what, spent = f"budget.max_cost = {budget.max_cost:g}", f"{money:.4g}"
    else:
        return None
    return (
        f"The ceiling {what} is reached: {spent} spent. What is finished and every answer is kept; "
        "the same command with a higher ceiling continues."
    )
