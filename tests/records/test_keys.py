"""Keys and seeds: one to one, stable, and independent of who else is there."""

from hypothesis import given
from hypothesis import strategies as st

from ray_autointerp.records.keys import (
    WINDOWS_PER_TOKEN_SHARD,
    derive_seed,
    hash_order,
    slug,
    unslug,
    window_id,
)


@given(st.text(min_size=1))
def test_slug_any_name_comes_back_and_is_one_safe_path_part(name: str) -> None:
    text = slug(name)
    assert unslug(text) == name
    assert "/" not in text
    assert not text.startswith(".")
    assert text.isascii()


@given(st.text(min_size=1), st.text(min_size=1))
def test_slug_different_names_differ(one: str, other: str) -> None:
    assert (slug(one) == slug(other)) == (one == other)


def test_derive_seed_known_value_never_changes() -> None:
    # A run continued by a later version must draw the same texts.
    assert derive_seed(0, "select", 7) == 5633901568825108198


@given(st.lists(st.one_of(st.integers(), st.text()), min_size=1, max_size=4))
def test_derive_seed_fits_63_bits(parts: list[int | str]) -> None:
    assert 0 <= derive_seed(*parts) < 2**63


def test_derive_seed_depends_on_types_and_order() -> None:
    assert derive_seed(1) != derive_seed("1")
    assert derive_seed(1, 2) != derive_seed(2, 1)


def test_derive_seed_joined_parts_do_not_collide() -> None:
    assert derive_seed("a", "b") != derive_seed("ab")
    assert derive_seed(1, 23) != derive_seed(12, 3)


@given(st.sets(st.integers(0, 5000), max_size=60), st.sets(st.integers(0, 5000), max_size=60))
def test_hash_order_two_latents_keep_their_order_whoever_else_is_there(
    some: set[int], others: set[int]
) -> None:
    order = hash_order(some, 3, "panel")
    wider = hash_order(some | others, 3, "panel")
    assert [latent for latent in wider if latent in some] == order


def test_window_id_shards_do_not_overlap() -> None:
    last, first = window_id(2, WINDOWS_PER_TOKEN_SHARD - 1), window_id(3, 0)
    assert last + 1 == first
    assert window_id(3, 12) == first + 12
