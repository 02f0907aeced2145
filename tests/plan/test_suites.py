"""Suites of SAEs: which tables a pattern becomes, and what is refused in one sentence."""

from typing import Any

import pytest

from ray_autointerp.config import SuiteSection
from ray_autointerp.errors import ConfigError
from ray_autointerp.plan.suites import Release, expand

RELEASES = {
    "small-res": Release(
        "small",
        ("blocks.10.hook_resid_pre", "blocks.2.hook_resid_pre", "blocks.2.hook_resid_post"),
    ),
    "small-scope": Release("small", ("layer_2/width_16k/a", "layer_2/width_65k/a")),
    "small-again": Release("small", ("blocks.2.hook_resid_pre",)),
    "large-res": Release("large", ("blocks.2.hook_resid_pre",)),
}


def suite(release: str, sae_ids: str = "*", **more: Any) -> SuiteSection:
    return SuiteSection(release=release, sae_ids=sae_ids, **more)


def refusal(*sections: Any) -> str:
    with pytest.raises(ConfigError) as refused:
        expand(sections, RELEASES)
    message = str(refused.value)
    assert "\n" not in message
    assert message.endswith(".")
    return message


def test_pattern_is_one_table_for_each_sae_in_the_order_of_layers() -> None:
    tables = expand([suite("small-res", "blocks.*.hook_resid_pre", latents="0:8")], RELEASES)
    assert tables == [
        {"id": name, "release": "small-res", "sae_id": name, "latents": "0:8"}
        for name in ("blocks.2.hook_resid_pre", "blocks.10.hook_resid_pre")
    ]


def test_suites_mix_with_each_other_and_with_single_saes() -> None:
    single = {"id": "mine", "path": "sae"}
    sections = [suite("small-scope", "*/width_16k/*"), single, suite("small-res", id="res")]
    assert [table["id"] for table in expand(sections, RELEASES)] == [
        "layer_2-width_16k-a",
        "mine",
        "res-blocks.2.hook_resid_pre",
        "res-blocks.2.hook_resid_post",
        "res-blocks.10.hook_resid_pre",
    ]


def test_pattern_that_matches_nothing_names_close_ones() -> None:
    said = refusal(suite("small-res", "blocks.*.hook_resid_pst"))
    assert "none of the 3 SAEs of small-res" in said
    assert "close are `blocks.2.hook_resid_post`" in said
    assert "it has `layer_2/width_16k/a`" in refusal(suite("small-scope", "?"))


def test_unknown_release_names_close_ones() -> None:
    assert "no release `small-ress`; close are `small-res`" in refusal(suite("small-ress"))


def test_saes_of_two_subjects_are_refused() -> None:
    said = refusal(suite("small-res"), suite("large-res", id="l"))
    assert "small-res is of small and large-res is of large" in said


def test_ids_that_two_saes_would_share_are_refused() -> None:
    assert "`blocks.2.hook_resid_pre`: give" in refusal(suite("small-res"), suite("small-again"))
    twice = refusal(suite("small-res"), suite("small-res", "blocks.10.*"))
    assert "small-res/blocks.10.hook_resid_pre is named twice" in twice
    own = {"id": "blocks.2.hook_resid_pre", "path": "sae"}
    assert "two SAEs have the id" in refusal(suite("small-res"), own)


def test_table_without_an_id_is_left_to_the_config() -> None:
    assert expand([{"path": "a"}, {"path": "b"}], RELEASES) == [{"path": "a"}, {"path": "b"}]
