"""Partners and strangers: who may be drawn, how evenly, and what the draw depends on."""

from collections import Counter

import pytest

from ray_autointerp.methods.panel_draw import Opponents, Unit, draw_opponents

PANEL = range(100, 164)
UNITS = [Unit(text_set, sign, kl) for text_set in range(12) for sign in (1, -1) for kl in (0.5, 1)]


def test_draw_is_never_the_latent_itself_nor_twice_the_same():
    for latent in PANEL:
        for unit in UNITS:
            drawn = draw_opponents(latent, unit, PANEL, PANEL, seed=0)
            assert len({latent, drawn.partner, drawn.stranger}) == 3
            assert drawn.partner in PANEL and drawn.stranger in PANEL


def test_draw_does_not_depend_on_the_order_of_the_panel_and_differs_by_unit_latent_and_seed():
    unit = UNITS[0]
    drawn = draw_opponents(5, unit, PANEL, PANEL, seed=0)
    assert drawn == draw_opponents(5, unit, list(reversed(PANEL)), set(PANEL), seed=0)
    others = [draw_opponents(5, other, PANEL, PANEL, seed=0) for other in UNITS]
    others += [draw_opponents(latent, unit, PANEL, PANEL, seed=0) for latent in range(20)]
    others += [draw_opponents(5, unit, PANEL, PANEL, seed=seed) for seed in range(20)]
    assert len({(o.partner, o.stranger) for o in others}) > 80


def test_draw_is_pinned():
    """A changed draw makes scores of old and new runs incomparable: raise the step's revision."""
    assert draw_opponents(5, Unit(3, -1, 0.25), PANEL, PANEL, seed=7) == Opponents(123, 125)


def test_draw_stranger_without_a_description_is_passed_over_and_nothing_else_changes():
    for unit in UNITS:
        drawn = draw_opponents(5, unit, PANEL, PANEL, seed=0)
        spared = set(PANEL) - {drawn.stranger}
        again = draw_opponents(5, unit, PANEL, spared, seed=0)
        assert again.partner == drawn.partner and again.stranger != drawn.stranger
        uninvolved = set(PANEL) - {max(set(PANEL) - {drawn.partner, drawn.stranger})}
        assert draw_opponents(5, unit, uninvolved, uninvolved, seed=0) == drawn


def test_draw_is_even_over_the_panel():
    panel = range(8)
    units = [Unit(text_set, 1, 0.5) for text_set in range(1000)]
    drawn = [draw_opponents(99, unit, panel, panel, seed=1) for unit in units]
    pairs = Counter((opponents.partner, opponents.stranger) for opponents in drawn)
    chi_square = sum((pairs[p, s] - 1000 / 56) ** 2 for p in panel for s in panel if p != s)
    assert chi_square / (1000 / 56) < 94  # 55 degrees of freedom, 0.1 %


@pytest.mark.parametrize(
    ("partners", "strangers"), [([], [1, 2]), ([5], [1, 2]), ([1], [1, 5]), ([1], [])]
)
def test_draw_too_small_a_panel_has_no_opponents(partners, strangers):
    assert draw_opponents(5, UNITS[0], partners, strangers, seed=0) is None
