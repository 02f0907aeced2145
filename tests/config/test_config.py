"""The config file: strict, and every refusal is one sentence that names the key."""

from pathlib import Path
from typing import Any

import pytest

from ray_autointerp.config_file import parse_config, read_config
from ray_autointerp.errors import ConfigError

GOOD: dict[str, Any] = {
    "run": {"name": "demo"},
    "subject": {"model": "./subject"},
    "sae": [{"id": "a", "path": "sae"}],
    "corpus": {"path": "corpus.parquet"},
    "llm": {"model": "org/model"},
}


def with_change(path: str, value: Any) -> dict[str, Any]:
    raw: dict[str, Any] = {
        name: [dict(part) for part in section] if isinstance(section, list) else dict(section)
        for name, section in GOOD.items()
    }
    section, _, key = path.partition(".")
    if section == "sae":
        raw["sae"][0][key] = value
    else:
        raw.setdefault(section, {})[key] = value
    return raw


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("evidence.num_top_exampels", 3, "Did you mean `num_top_examples`?"),
        ("llm.modell", "x", "Did you mean `model`?"),
        ("sae.layers", 3, "unknown key `sae.0.layers`"),
        ("select.panel", 2, "select.panel"),
        ("run.name", "../up", "run.name"),
        ("sae.latents", "first", "latents"),
        ("score.methods", ["token_change"], "score.methods"),
        ("score.three_set_methods", ["vocab_proj"], "three_set_methods"),
        ("sae.release", "gpt2", "either `path`"),
        ("sae.random_like", "b", "or `random_like`"),
        ("sae.layer", -1, "sae.0.layer"),
        ("sae.sae_ids", "*", "`sae.0.release` is missing"),
        ("steering.num_prompts", 3, "score.texts_per_set"),
        ("steering.kl_targets", [], "steering.kl_targets"),
    ],
)
def test_config_bad_value_is_one_sentence_naming_the_key(path: str, value: Any, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_config(with_change(path, value), Path("x.toml"))
    message = str(refused.value)
    assert said in message
    assert "\n" not in message


def test_config_clamp_to_a_kl_that_is_not_calibrated_is_refused() -> None:
    clamp = {"change_clamp": "kl", "change_clamp_size": 0.3}
    with pytest.raises(ConfigError, match="must be one of steering.kl_targets"):
        parse_config({**GOOD, "evidence": clamp}, Path("x.toml"))
    parse_config({**GOOD, "evidence": clamp, "steering": {"kl_targets": [0.3]}}, Path("x.toml"))


@pytest.mark.parametrize("method", ["summary", "ensemble_concat_uncapped"])
def test_config_method_made_of_others_descriptions_needs_them(method: str) -> None:
    singles = ["max_act", "vocab_proj", "token_change"]
    score = {"score": {"methods": []}}
    parse_config({**GOOD, **score, "describe": {"methods": [*singles, method]}}, Path("x.toml"))
    for left_out in singles:
        some = [one for one in singles if one != left_out]
        with pytest.raises(ConfigError, match=f"`{method}`.*`{left_out}`: name that method") as bad:
            parse_config({**GOOD, **score, "describe": {"methods": [*some, method]}}, Path("x"))
        assert "\n" not in str(bad.value)
    named = {"describe": {"methods": ["named_keywords"]}}
    parse_config({**GOOD, **score, **named}, Path("x.toml"))  # keywords are made in any case


def test_config_missing_section_is_named() -> None:
    raw = {name: section for name, section in GOOD.items() if name != "corpus"}
    with pytest.raises(ConfigError, match="`corpus` is missing"):
        parse_config(raw, Path("x.toml"))


def test_config_two_saes_of_one_id_are_refused() -> None:
    with pytest.raises(ConfigError, match="same `id`"):
        parse_config({**GOOD, "sae": GOOD["sae"] * 2}, Path("x.toml"))


def test_config_random_sae_is_like_another_that_has_weights() -> None:
    saes = [*GOOD["sae"], {"id": "r", "random_like": "a"}]
    config = parse_config({**GOOD, "sae": saes}, Path("x.toml"))
    assert [config.source_of(sae).id for sae in config.sae] == ["a", "a"]
    for like in ("b", "r", "s"):  # none, itself, another random one
        bad = [*saes[:1], {"id": "r", "random_like": like}, {"id": "s", "random_like": "a"}]
        with pytest.raises(ConfigError, match=f"random_like of SAE r is {like}: name") as refused:
            parse_config({**GOOD, "sae": bad}, Path("x.toml"))
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize("field", ["detection_texts", "fuzzing_texts"])
def test_config_texts_too_few_for_a_score_are_refused(field: str) -> None:
    with pytest.raises(ConfigError, match=f"{field} must be 0 or at least 3"):
        parse_config(with_change(f"score.{field}", 2), Path("x.toml"))
    for number in (0, 3):
        score = parse_config(with_change(f"score.{field}", number), Path("x.toml")).score
        assert getattr(score, field) == number


def test_config_missing_file_and_broken_toml_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Cannot read"):
        read_config(tmp_path / "none.toml")
    (tmp_path / "broken.toml").write_text("[run\n")
    with pytest.raises(ConfigError, match="not valid TOML"):
        read_config(tmp_path / "broken.toml")


def test_config_inputs_are_relative_to_the_file_and_hub_names_stay(tmp_path: Path) -> None:
    config = parse_config(GOOD, tmp_path / "x.toml")
    assert config.corpus.path == str(tmp_path / "corpus.parquet")
    assert config.sae[0].path == str(tmp_path / "sae")
    assert config.subject.model == str(tmp_path / "subject")
    assert config.llm.model == "org/model"


def test_config_variables_and_home_expand(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("MODELS", str(tmp_path / "models"))
    config = parse_config(with_change("llm.model", "$MODELS/big"), tmp_path / "x.toml")
    assert config.llm.model == str(tmp_path / "models" / "big")


def test_config_remote_paths_stay() -> None:
    config = parse_config(with_change("sae.path", "s3://bucket/sae"), Path("x.toml"))
    assert config.sae[0].path == "s3://bucket/sae"


def test_byte_order_mark_before_the_toml_is_read_over(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_bytes(b"\xef\xbb\xbf[run]\nnam = 3\n")
    with pytest.raises(ConfigError, match=r"missing|unknown key"):
        read_config(tmp_path / "x.toml")


def test_config_what_is_described_is_scored_unless_the_config_says_otherwise() -> None:
    raw = {**GOOD, "describe": {"methods": ["max_act", "keywords"]}}
    assert parse_config(raw, Path("t.toml")).score.methods == ("max_act", "keywords")
    for score in ({"num_units": 3}, {"num_units": 3, "methods": ["keywords"]}):
        methods = score.get("methods", ["max_act", "keywords"])
        config = parse_config({**raw, "score": score}, Path("t.toml"))
        assert (list(config.score.methods), config.score.num_units) == (methods, 3)


def test_suite_of_a_release_becomes_one_section_for_each_sae() -> None:
    suite = {"release": "gpt2-small-res-jb", "sae_ids": "blocks.*.hook_resid_pre", "id": "jb"}
    config = parse_config({**GOOD, "sae": [*GOOD["sae"], suite]}, Path("x.toml"))
    own, *saes = config.sae
    assert own.id == "a"
    assert [sae.sae_id for sae in saes] == [f"blocks.{i}.hook_resid_pre" for i in range(12)]
    assert {sae.release for sae in saes} == {"gpt2-small-res-jb"}
    assert saes[3].id == "jb-blocks.3.hook_resid_pre"


@pytest.mark.parametrize(
    ("suite", "said"),
    [
        ({"sae_ids": "*"}, "`sae.0.release` is missing"),
        ({"sae_ids": "*", "release": "gpt2-small-res-jb", "sae_id": "x"}, "mean `sae_ids`?"),
        ({"sae_ids": "*", "release": "gpt2-small-res-jb", "latent": "0:2"}, "mean `latents`?"),
        ({"sae_ids": "*", "release": "gpt2-small-res"}, "x.toml: SAELens' registry has no"),
        ({"id": "a", "release": "gpt2-small-res-jb", "sae_id": "*"}, "say `sae_ids`"),
    ],
)
def test_suite_that_is_none_is_refused_in_one_sentence(suite: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_config({**GOOD, "sae": [suite]}, Path("x.toml"))
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
