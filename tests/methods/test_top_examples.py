"""Records of top examples: joined, chosen from, ranked and merged."""

import numpy as np

from ray_autointerp.methods.top_examples import (
    TopExamples,
    empty_examples,
    join_examples,
    merge_examples,
    ranks,
    take_examples,
)


def example(latent, window, *activations, is_score=False):
    """One example that is active from position 0 on."""
    values = np.array(activations, np.float32)
    return TopExamples(
        np.array([latent], np.int32),
        np.array([is_score]),
        np.array([window], np.int64),
        np.array([values.argmax()], np.int16),
        np.array([values.max()], np.float32),
        np.array([0, len(values)], np.int64),
        np.arange(len(values), dtype=np.int16),
        values,
    )


def as_tuples(examples):
    """(latent, window, activations) of each example."""
    cuts = examples.offsets_E1[1:-1]
    values = [part.tolist() for part in np.split(examples.values_N, cuts)]
    return list(zip(examples.latents_E.tolist(), examples.windows_E.tolist(), values, strict=True))


def test_merge_nothing_gives_no_examples():
    merged = merge_examples([], 5)
    assert len(merged.latents_E) == 0 and merged.offsets_E1.tolist() == [0]


def test_examples_taken_in_any_order_keep_their_own_activations():
    joined = join_examples(
        [example(0, 7, 1.0, 2.0), empty_examples(), example(3, 8, 5.0), example(1, 9, 4.0, 3.0)]
    )
    assert as_tuples(joined) == [(0, 7, [1.0, 2.0]), (3, 8, [5.0]), (1, 9, [4.0, 3.0])]
    taken = take_examples(joined, np.array([2, 0]))
    assert as_tuples(taken) == [(1, 9, [4.0, 3.0]), (0, 7, [1.0, 2.0])]


def test_merge_keeps_the_strongest_of_each_latent_and_side():
    parts = [
        example(0, 5, 1.0),
        example(0, 4, 3.0, 1.0),
        example(0, 3, 3.0),
        example(0, 9, 0.5, is_score=True),
        example(1, 2, 0.25),
    ]
    merged = merge_examples(parts, 2)
    assert as_tuples(merged) == [
        (0, 3, [3.0]),
        (0, 4, [3.0, 1.0]),
        (0, 9, [0.5]),
        (1, 2, [0.25]),
    ]
    assert merged.is_score_E.tolist() == [False, False, True, False]


def test_ranks_begin_anew_with_every_run_of_equal_keys():
    assert ranks(np.array([4, 4, 4, 2, 4, 4])).tolist() == [0, 1, 2, 0, 0, 1]
