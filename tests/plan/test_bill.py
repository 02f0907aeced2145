"""Money of a usage, and the sentence of a ceiling."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_autointerp.config import Config, PriceSection
from ray_autointerp.plan.bill import ceiling_reached, cost, is_priced
from ray_autointerp.records.usage import Usage

USAGE = Usage(10, 3_000_000, 1_000_000, 500_000, 1800.0)


@pytest.mark.parametrize(
    ("price", "money"),
    [
        (PriceSection(), 0.0),
        (PriceSection(prompt=2.0), 6.0),
        (PriceSection(prompt=2.0, cached=0.5), 4.5),
        (PriceSection(cached=0.5), 0.5),
        (PriceSection(generated=8.0), 4.0),
        (PriceSection(engine_hour=3.0), 1.5),
        (PriceSection(prompt=2.0, cached=0.5, generated=8.0, engine_hour=3.0), 10.0),
    ],
)
def test_cost_is_counted_by_hand(price: PriceSection, money: float) -> None:
    assert cost(USAGE, price) == pytest.approx(money)
    assert is_priced(price) == (money > 0)


counts = st.integers(0, 10**9)
usages = st.builds(
    lambda requests, new, cached, generated, seconds: Usage(
        requests, new + cached, cached, generated, seconds
    ),
    *(counts, counts, counts, counts),
    st.floats(0, 1e6),
)
prices = st.floats(0, 100)


@given(usages, usages, st.builds(PriceSection, prompt=prices, generated=prices, cached=prices))
def test_cost_of_a_sum_is_the_sum_of_costs(a: Usage, b: Usage, price: PriceSection) -> None:
    assert cost(a + b, price) == pytest.approx(cost(a, price) + cost(b, price))


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        ({}, None),
        ({"max_tokens": 1001}, None),
        ({"max_tokens": 1000}, "budget.max_tokens = 1,000 is reached: 1,000 tokens"),
        ({"max_cost": 2.6}, None),
        ({"max_cost": 2.5}, "budget.max_cost = 2.5 is reached: 2.5 spent"),
    ],
)
def test_reached_ceiling_is_a_sentence_that_says_how_to_go_on(
    budget: dict[str, float], said: str | None
) -> None:
    engine = {"backend": "scripted", "script": "m:f"}
    config = Config.model_validate(
        {
            "run": {"name": "run"},
            "subject": {"model": "model"},
            "sae": [{"id": "s", "path": "sae"}],
            "corpus": {"path": "c.parquet"},
            "llm": {**engine, "price": {"prompt": 1000}},
            "judge": {**engine, "price": {"prompt": 4000}},
            "budget": budget,
        }
    )
    # 0.5 for 500 tokens of the explainer, 2 for as many of the judge.
    sentence = ceiling_reached(config, {"llm": Usage(1, 500), "judge": Usage(1, 500)})
    if said is None:
        assert sentence is None
    else:
        assert sentence is not None
        assert said in sentence
        assert "higher ceiling continues" in sentence
