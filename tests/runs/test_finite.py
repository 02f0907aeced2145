"""No row is `ok` with a number that is not finite, wherever in the row it stands."""

from typing import Any

import pyarrow as pa
import pytest

from ray_autointerp.errors import TaskError
from ray_autointerp.records.schemas import TABLES
from ray_autointerp.runs.finite import fail_rows_not_finite

NAN, INF = float("nan"), float("inf")


def made(name: str, rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=TABLES[name].schema)


def checked(name: str, rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], int]:
    table, num_failed = fail_rows_not_finite(made(name, rows), TABLES[name].key, name)
    assert table.schema == TABLES[name].schema
    return table.to_pylist(), num_failed


def lists_row(latent: int, logit: float, z: float | None = None) -> dict[str, Any]:
    entries = [{"token": 7, "text": "a", "logit": 1.0, "z": None}]
    bad = [*entries, {"token": 8, "text": "b", "logit": logit, "z": z}]
    return {"latent": latent, "status": "ok", "promoted": entries, "suppressed": bad}


@pytest.mark.parametrize("value", [NAN, INF, -INF, 1e300])
def test_row_with_a_number_that_is_not_finite_in_a_list_fails_alone(value: float) -> None:
    """1e300 is infinite as the schema's float32."""
    good = [lists_row(latent, 2.0, 0.5) for latent in range(4)]
    rows = [good[0], lists_row(1, value), good[2], lists_row(3, 2.0, value)]
    found, num_failed = checked("jacobian_proj", rows)
    assert num_failed == 2
    assert found[0] == made("jacobian_proj", good).to_pylist()[0]
    assert found[2] == made("jacobian_proj", good).to_pylist()[2]
    for latent in (1, 3):
        nulls = dict.fromkeys(("reference_activation", "promoted", "suppressed"))
        assert found[latent] == {"latent": latent, "status": "failed", **nulls}


def test_scalar_that_is_not_finite_fails_its_row() -> None:
    rows = [
        {"latent": 1, "sign": sign, "kl_target": 0.5, "status": "ok", "clamp_value": value}
        for sign, value in ((-1, INF), (1, 3.0))
    ]
    found, num_failed = checked("clamps", rows)
    assert [(row["sign"], row["status"], row["clamp_value"]) for row in found] == [
        (-1, "failed", None),
        (1, "ok", 3.0),
    ]
    assert num_failed == 1


def test_nested_lists_of_examples_are_searched() -> None:
    example = {"window": 1, "activation": 2.0, "activations": [0.0, 2.0]}
    row = {"split": "score", "status": "ok", "examples": [example, example]}
    broken = {**row, "stratified": [example, {**example, "activations": [0.0, NAN]}]}
    found, num_failed = checked("top_examples", [{"latent": 5, **row}, {"latent": 6, **broken}])
    assert num_failed == 1
    assert [row["status"] for row in found] == ["ok", "failed"]
    assert found[1]["examples"] is None


def test_finite_tables_come_back_as_they_were() -> None:
    rows = [lists_row(1, 2.0), {"latent": 2, "status": "failed"}, lists_row(3, 0.0, None)]
    rows[2]["promoted"] = []
    table = made("vocab_proj", rows)
    assert fail_rows_not_finite(table, ("latent",), "vocab_proj") == (table, 0)
    assert checked("vocab_proj", []) == ([], 0)


def test_rows_are_found_across_chunks() -> None:
    table = pa.concat_tables(
        [made("vocab_proj", [lists_row(i, NAN if i % 2 else 1.0)]) for i in range(4)]
    )
    found, num_failed = fail_rows_not_finite(table, ("latent",), "vocab_proj")
    assert found["status"].to_pylist() == ["ok", "failed", "ok", "failed"]
    assert num_failed == 2


@pytest.mark.parametrize(
    ("name", "row", "said"),
    [
        ("hub_stats", {"token": 9, "mean": 0.0, "sd": NAN}, "column `sd` at token 9"),
        ("jacobian", {"direction": 9, "mean": [0.0, INF]}, "column `mean` at direction 9"),
        (
            "jacobian",
            {"direction": 9, "mean": [0.0], "singles": [[1.0], [-INF]]},
            "column `singles` at direction 9",
        ),
        (
            "example_refs",
            {"latent": 9, "kind": "top", "split": "score", "rank": 2, "values": [NAN]},
            "column `values` at latent 9, kind top, split score, rank 2",
        ),
        (
            "judgements",
            {"latent": 9, "kind": "x", "text_set": 0, "sign": 1, "kl_target": NAN},
            "column `kl_target` at latent 9",
        ),
    ],
)
def test_where_no_status_can_be_set_the_task_fails_for_good(
    name: str, row: dict[str, Any], said: str
) -> None:
    sound = {**row, next(iter(TABLES[name].key)): 3}
    for column in set(row) - {*TABLES[name].key}:
        del sound[column]
    sound |= {"kl_target": 1.0} if "kl_target" in row else {}
    with pytest.raises(TaskError) as caught:
        checked(name, [sound, row])
    assert f"`{name}`" in str(caught.value) and said in str(caught.value)
    assert not caught.value.can_retry
