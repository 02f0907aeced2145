"""Each trap of the published notebook (methods 7) has tests that fail if this code falls in."""

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

TRAPS: dict[int, tuple[str, tuple[str, ...]]] = {
    1: (
        "strengths are scaled by each example's own maximum",
        ("prompts/test_max_act.py::test_strength_is_a_tenth_of_the_latents_maximum",),
    ),
    2: (
        "more examples go to the explainer than is said",
        (
            "stages/test_what_is_shown.py"
            "::test_prompts_show_as_many_examples_and_tokens_as_the_config_says",
        ),
    ),
    3: (
        "promoted and suppressed tokens in one unlabelled list",
        (
            "methods/test_token_lists.py::test_signed_lists_keep_signs_and_order_apart",
            "prompts/test_goldens.py::test_prompt_is_the_golden_one",
        ),
    ),
    4: (
        "few-shots of one tokenizer for every model",
        ("prompts/test_text.py::test_few_shots_have_no_tokenizers_own_marks",),
    ),
    5: (
        "one clamp value for every model, layer and SAE",
        (
            "stages/test_what_is_shown.py"
            "::test_token_change_clamps_to_the_largest_activation_of_either_sign",
            "methods/test_steering.py"
            "::test_search_smooth_curve_lands_within_five_per_cent_of_each_target",
        ),
    ),
    6: (
        "BOS is clamped and averaged",
        (
            "models/test_clamped_pass.py"
            "::test_special_tokens_and_sinks_are_neither_clamped_nor_counted",
        ),
    ),
    7: (
        "new prompts without a seed for each latent",
        (
            "stages/test_what_is_shown.py"
            "::test_evidence_of_a_latent_does_not_depend_on_which_others_are_labelled",
        ),
    ),
    8: (
        "the error term is dropped",
        (
            "models/test_clamped_pass.py::test_clamped_pass_equals_saelens_with_error_term",
            "methods/test_clamp.py"
            "::test_clamp_equals_splicing_a_reconstruction_with_its_error_term",
        ),
    ),
    9: (
        "four lists are merged through a set",
        (
            "methods/test_token_change.py"
            "::test_token_change_lists_rising_and_falling_tokens_with_their_sign",
            "prompts/test_goldens.py::test_prompt_is_the_golden_one",
        ),
    ),
    10: (
        "tokens that every latent moves are not put away",
        ("methods/test_token_lists.py::test_signed_lists_ranked_by_z_put_the_hub_token_away",),
    ),
    11: (
        "rows of the corpus are dropped without a word",
        ("stages/test_corpus.py::test_every_token_of_every_document_is_in_one_window",),
    ),
    12: (
        "evidence of every latent is labelled Neuron 4",
        (
            "prompts/test_answer.py::test_answer_that_is_no_description_has_a_status",
            "prompts/test_text.py::test_no_prompt_gives_a_latent_a_number",
        ),
    ),
    13: (
        "BOS and padding are in a sentence's maximum",
        ("stages/test_input_score.py::test_neither_bos_nor_padding_counts_in_a_sentences_maximum",),
    ),
    14: (
        "a tie counts as failure",
        ("methods/test_input_score.py::test_paper_success_compares_means_and_halves_ties",),
    ),
    15: (
        "one generation with a yes or no",
        ("methods/test_input_score.py::test_difference_interval_counts_answers_not_sentences",),
    ),
    16: (
        "KL over all positions where the next token was meant",
        (
            "models/test_clamped_pass.py"
            "::test_kl_of_the_next_token_and_of_all_positions_equal_sums_over_saelens_logits",
        ),
    ),
    17: (
        "calibrated without and generated with the error term",
        ("models/test_steering.py::test_cached_generation_equals_whole_passes_token_for_token",),
    ),
    18: (
        "the reached KL is not the wanted one and nobody says so",
        (
            "methods/test_steering.py"
            "::test_search_any_continuous_curve_reports_the_kl_at_the_value_it_gives",
            "methods/test_steering.py::test_search_jump_over_the_band_is_flagged_not_silent",
        ),
    ),
    19: (
        "a set mixes the texts of several latents",
        ("stages/test_what_is_shown.py::test_each_set_of_a_judgement_is_the_texts_of_one_latent",),
    ),
    20: (
        "distractors are steered less than the target",
        (
            "stages/test_planted_truth.py"
            "::test_texts_of_a_pair_are_treated_equally_and_half_the_kl_is_found_out",
        ),
    ),
    21: (
        "the judge is told of one random latent where there are two",
        ("prompts/test_goldens.py::test_prompt_is_the_golden_one",),
    ),
    22: (
        "padding on the wrong side of generated text",
        ("models/test_steering.py::test_text_of_a_row_does_not_depend_on_what_shares_its_batch",),
    ),
    23: (
        "no control by shuffled descriptions",
        (
            "stages/test_planted_truth.py::test_shuffled_descriptions_are_at_chance_in_two_sets",
            "stages/test_planted_truth.py::test_shuffled_descriptions_are_at_chance_in_three_sets",
        ),
    ),
    24: (
        "text is steered again for each description",
        ("plan/test_budget.py::test_texts_are_made_once_whatever_is_scored",),
    ),
    25: (
        "models are loaded again for each latent",
        ("stages/test_what_is_shown.py::test_models_are_loaded_once_for_all_tasks_of_a_worker",),
    ),
    26: (
        "full logits of every position are held",
        (
            "methods/test_token_change.py"
            "::test_mean_logit_diff_before_unembedding_equals_mean_of_logit_diffs",
        ),
    ),
    27: (
        "cost is told for one latent as if for all",
        ("plan/test_budget.py::test_clamped_tokens_are_counted_for_all_latents_not_for_one",),
    ),
    28: (
        "no resume, no seeds",
        (
            "stages/test_same_tables.py::test_killed_run_continues_and_ends_with_the_same_tables",
            "plan/test_identity.py::test_identity_a_deciding_field_names_its_step",
        ),
    ),
}


def test_every_trap_is_in_the_table() -> None:
    assert list(TRAPS) == list(range(1, 29))


@pytest.mark.parametrize("trap", TRAPS)
def test_trap_has_tests_that_exist(trap: int) -> None:
    _, names = TRAPS[trap]
    for name in names:
        file, function = name.split("::")
        tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
        assert function in {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}, name
