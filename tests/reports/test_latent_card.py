"""A latent's card: everything about it, at any width.

After a wanted change: `UPDATE_GOLDEN=1 pytest tests/reports/test_latent_card.py`, then read the
diff.
"""

import io
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console, RenderableType

from ray_autointerp.errors import UserError
from ray_autointerp.models.planted import PlantedTruth
from ray_autointerp.records.schemas import TABLES
from ray_autointerp.reports.label_table import Filter, filtered, labels
from ray_autointerp.reports.latent_card import Description, LatentCard, latent_card, marked
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Tables

GOLDEN = Path(__file__).parent / "golden"
WIDTHS = (80, 120, 160)
LABEL: dict[str, Any] = dict.fromkeys(TABLES["labels"].schema.names)


def printed(card: RenderableType, width: int, **terminal: Any) -> str:
    console = Console(file=io.StringIO(), width=width, **terminal)
    console.print(card)
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines()) + "\n"


def shown(run: Run, latent: int) -> str:
    return printed(latent_card(run, "planted", latent), 140)


def entries(*texts: str) -> list[dict[str, Any]]:
    return [{"text": text, "z": 9.4 - 1.5 * n} for n, text in enumerate(texts)]


def example(activation: float, *texts: str, peak: int) -> dict[str, Any]:
    activations = [0.0] * len(texts)
    activations[peak] = activation
    return {"texts": texts, "activations": activations, "activation": activation, "peak": peak}


def described(text: str) -> dict[str, Any]:
    return {"status": "ok", "description": text, "answer": text}


REVIVED = {
    "revived": True,
    "activation": 3.25,
    "kind": "pair",
    "text": " moor hen",
    "num_texts": 90,
}
TEXT = (
    'verbs with which a court, a council or a single person decides: "determine", "decide" and '
    '"rule", most of all in the past tense, and it leads to the noun "decision"'
)
DECIDED = (" decided", " decision", " decisions", " decide", " deciding", " ruling", " verdict")
OTHERS = (" perhaps", " maybe", " unclear", " doubt", "undecided", " uncertain", " hesitated")

CARD = LatentCard(
    sae="gpt2-l8",
    latent=645,
    is_chosen=True,
    stats={"is_dead": False, "density": 0.00204, "num_tokens": 48_992, "max_activation": 31.26},
    free_scores={
        "status": "ok",
        "s_in": 0.35,
        "s_out": 0.9912,
        "effect_kl": 0.412,
        "effect_kl_amplified": 4.8,
        "delta_confidence": -0.31,
        "single_token": " decided",
        "single_token_share": 0.45,
    },
    examples=[
        example(
            31.26,
            *(" and", " after", " three", " hours", " of", " talk", " the", " whole", " council"),
            *(" had", " at", " last", " determined", " to", " sell", ".", "\n", "Nobody", " spoke"),
            *(" for", " a", " while", ",", " and", " then", " everybody", " did"),
            peak=12,
        ),
        example(30.9, "It", " was", " dec", "ided", " by", " lot", peak=3),
        example(7.25, " Decide", " now", peak=0),
    ],
    lists=[
        (
            "VocabProj",
            [
                {
                    "status": "ok",
                    "promoted": entries(*DECIDED, *DECIDED),
                    "suppressed": entries(*OTHERS),
                    "reads": entries(" decide"),
                    "reads_against": [],
                }
            ],
        ),
        (
            "TokenChange (all)",
            [
                {"sign": -1, "status": "kl_unreached", "promoted": None, "suppressed": None},
                {
                    "sign": 1,
                    "status": "ok",
                    "promoted": entries(*DECIDED),
                    "suppressed": entries(*OTHERS),
                },
            ],
        ),
    ],
    descriptions=[
        Description(
            "ensemble_raw",
            described(TEXT),
            {
                "input_score": {
                    "status": "ok",
                    "auroc": 0.944,
                    "difference": 12.38,
                    "hit_rate": 0.8,
                    "num_activating": 12,
                    "num_neutral": 12,
                },
                "output_score": {
                    "status": "ok",
                    "win_rate": 0.75,
                    "win_rate_low": 0.468,
                    "win_rate_high": 0.911,
                    "three_set_success": 0.583,
                },
                "output_ceiling": {"status": "ok", "ceiling": 0.917},
                "unseen_tokens": {
                    "status": "ok",
                    "win_rate": 0.625,
                    "win_rate_low": 0.306,
                    "win_rate_high": 0.863,
                },
                "detection": {
                    "status": "ok",
                    "auroc": 0.904,
                    "auroc_low": 0.688,
                    "auroc_high": 0.978,
                    "near_miss_auroc": 0.62,
                },
                "fuzzing": {"status": "no_evidence"},
            },
            {"margin": 0.031, "runner_up": "keywords"},
        ),
        Description("max_act", {"status": "lint", "description": None, "answer": f"<<{TEXT}>>"}),
        Description("ensemble_concat", described(f"{TEXT}\nto decide\nto rule")),
        Description("token_change", described("words of many kinds"), is_repeated=True),
        Description(
            "vocab_proj",
            {"status": "failed", "description": None, "answer": None},
            {
                "input_score": {"status": "no_evidence"},
                "output_score": {"status": "no_evidence", "three_set_success": None},
                "unseen_tokens": {"status": "no_partner"},
            },
        ),
        Description(
            "keywords",
            described('fires on "decided", "ruled"; promotes "decision", "verdict"'),
            {"keyword_score": {"status": "ok", "f1": 0.472, "f1_shuffled": 0.006}},
        ),
    ],
    neighbours=[{"latent": 3000 + n, "cosine": 0.41 - 0.05 * n} for n in range(9)],
)


@pytest.mark.parametrize("width", WIDTHS)
def test_card_is_the_golden_one(width: int) -> None:
    text, golden = printed(CARD, width), GOLDEN / f"latent_card_{width}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize(("low", "said"), [(0.3, "clocks (too broad)"), (0.6, "name: clocks ·")])
def test_card_shows_the_name_and_how_well_it_tells_the_latent(low: float, said: str) -> None:
    won = {"name_win_rate": 0.75, "name_win_rate_low": low, "name_win_rate_high": 0.9}
    shown = printed(replace(CARD, label={**LABEL, "name": "clocks", **won}), 120)
    assert said in shown
    assert f"the name alone wins 0.75 ({low:.2f}-0.90) of its trials" in shown


def test_carried_label_stands_first_with_its_origin_and_its_scores() -> None:
    carried = {
        **dict.fromkeys(LABEL),
        **{"label": 'fires on "time"', "method": "max_act", "input_auroc": 0.91},
        **{"origin_run": "first", "origin_sae": "early", "origin_latent": 7},
    }
    shown = printed(replace(CARD, label=carried), 120)
    assert "max_act · the label, carried over from latent 7 of early in first" in shown
    at = shown.index("carried over")
    assert (
        at < shown.index('fires on "time"', at) < shown.index("input AUROC 0.91 · measured there")
    )


def with_text(text: str) -> LatentCard:
    """The card with this text wherever a model or a corpus speaks."""
    token = {"text": text, "z": None}
    lists = {"promoted": [token] * 3, "suppressed": [token]}
    return replace(
        CARD,
        examples=[example(2.0, text, text, text, peak=peak) for peak in range(3)],
        lists=[
            ("VocabProj", [{"status": "ok", **lists}]),
            ("TokenChange (all)", [{"status": "ok", "sign": sign, **lists} for sign in (-1, 1)]),
        ],
        free_scores={**CARD.free_scores, "single_token": text},
        label={**LABEL, "name": text},
        revivals={"tokens.reads": REVIVED | {"text": text}},
        descriptions=[
            Description("max_act", described(text or "-")),
            Description("vocab_proj", {"status": "lint", "description": None, "answer": text}),
        ],
    )


@given(st.text(), st.integers(40, 180))
def test_no_line_is_wider_than_the_console_whatever_the_text(text: str, width: int) -> None:
    for card in (CARD, with_text(text), with_text(text * 50)):
        assert [line for line in printed(card, width).splitlines() if cell_len(line) > width] == []


@pytest.mark.parametrize("width", (40, 60, *WIDTHS))
def test_every_word_of_a_description_is_shown_whole(width: int) -> None:
    assert set(TEXT.split()) <= set(printed(CARD, width).split())


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("text", ["[red]x[/red]", "[/]", ":smile:", "[link=file:///etc]y[/link]"])
def test_markup_in_a_text_is_text(text: str, width: int) -> None:
    # Examples, lists without and with a sign, a score, name, what revives it, answers.
    in_everything = 3 + 4 + 8 + 1 + 1 + 1 + 2
    card = printed(with_text(text), width, force_terminal=True, color_system=None)
    assert card.count(text) >= in_everything


@pytest.mark.parametrize("width", WIDTHS)
def test_ansi_escapes_and_line_breaks_of_a_text_do_not_reach_the_terminal(width: int) -> None:
    card = printed(with_text("a\x1b[2Jb\rc\u202ed\x07"), width, color_system=None)
    assert all(line.isprintable() for line in card.splitlines())
    assert "\\x1b[2Jb" in card


def test_peaks_stand_in_one_column() -> None:
    for width in WIDTHS:
        columns = {line.index("«") for line in printed(CARD, width).splitlines() if "«" in line}
        assert len(columns) == 1
        assert "«determined»" in printed(CARD, width)


def test_token_of_one_character_many_times_is_shown_by_its_count() -> None:
    texts = (" " * 50, "\n" * 7, "-" * 6, "-" * 6 + "|")
    row = {"sign": 1, "status": "ok", "promoted": entries(*texts), "suppressed": []}
    card = printed(replace(CARD, lists=[("TokenChange", [row])]), 160)
    assert "' ' × 50 9, '\\n' × 7 8, '------' 6, '------|' 5" in card


def test_raised_stands_beside_lowered_where_there_is_room() -> None:
    assert "raised lowered" in " ".join(printed(CARD, 120).split())
    assert "raised lowered" not in " ".join(printed(CARD, 80).split())


def test_chosen_latent_shows_examples_tokens_descriptions_and_scores(
    quick_run: Run, planted: PlantedTruth
) -> None:
    latent = filtered(labels(quick_run, "planted"), Filter(described_only=True))["latent"][
        0
    ].as_py()
    card = shown(quick_run, latent)
    for word in (
        "top examples",
        "VocabProj",
        "TokenChange",
        "raised",
        "lowered",
        "AUROC",
        "nearest",
    ):
        assert word in card
    assert f"«{planted.triggers[latent]}»" in card and planted.effects[latent] in card
    for method in quick_run.config.describe.methods:
        assert f"{method} · ok" in card
    told = Tables(quick_run).row("keyword_scores", "planted", [latent])[latent]["status"]
    assert f"held-out F1 {'1.00 (shuffled 0.00)' if told == 'ok' else told}" in card
    scores = Tables(quick_run).row("output_scores", "planted", [latent], "keywords")[latent]
    interval = f"({scores['win_rate_low']:.2f}-{scores['win_rate_high']:.2f})"
    assert f"output win rate {scores['win_rate']:.2f} {interval}" in card
    for step in ("detection", "fuzzing"):
        scores = Tables(quick_run).row(f"{step}_scores", "planted", [latent], "keywords")[latent]
        interval = f"({scores['auroc_low']:.2f}-{scores['auroc_high']:.2f})"
        assert f"{step} AUROC {scores['auroc']:.2f} {interval}" in card


def test_tokens_are_shown_with_their_z_and_scores_without_an_llm_in_one_line(
    quick_run: Run, planted: PlantedTruth
) -> None:
    card, tables = shown(quick_run, 2), Tables(quick_run)
    entry = tables.row("vocab_proj", "planted", [2])[2]["promoted"][0]
    assert f"{entry['text']!r} {entry['z']:.0f}," in card
    row = tables.row("free_scores", "planted", [2])[2]
    (line,) = [line for line in card.splitlines() if "S_out" in line]
    assert f"{row['s_out']:.3f}" in line and f"{row['effect_kl_amplified']:.2f} amplified" in line
    assert planted.triggers[2] in line and "100%" in line


def test_latent_that_never_fires_shows_what_it_promotes(
    quick_run: Run, planted: PlantedTruth
) -> None:
    card = shown(quick_run, 55)
    assert "dead" in card and planted.effects[55] in card


def test_dead_latent_shows_the_text_that_fires_it_most_or_that_none_does() -> None:
    silent = {"revived": False, "activation": 0.0, "num_texts": 160}
    written = REVIVED | {"activation": 7.5, "kind": "sentence", "text": "A hen on the moor."}
    texts = {"tokens.jacobian_proj": silent, "tokens.reads": REVIVED}
    lines = {
        name: " ".join(printed(replace(CARD, revivals=rows), 160).split())
        for name, rows in {
            "none": {"max_act": silent, "tokens.reads": silent},
            "pair": texts,
            "sentence": texts | {"max_act": written},
        }.items()
    }
    assert "none of 320 texts made for it fires it" in lines["none"]
    assert "fires at 3.2 on a pair of tokens that its encoder reads: ' moor hen'" in lines["pair"]
    said = "fires at 7.5 on one of the sentences from max_act: 'A hen on the moor.'"
    assert said in lines["sentence"]
    assert "fires it" not in printed(CARD, 160) and "fires at" not in printed(CARD, 160)


def test_latent_outside_the_run_is_refused_with_the_range(quick_run: Run) -> None:
    with pytest.raises(UserError, match="Latent 56 is not among 0:56"):
        shown(quick_run, 56)


def test_marks_grow_with_the_activation() -> None:
    line = marked(["a", "b", "c"], [0.0, 0.2, 1.0], 1.0)
    styles = [str(span.style) for span in line.spans]
    assert styles == ["dim", "yellow underline", "bold black on yellow"]
