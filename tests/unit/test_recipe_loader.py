"""Reading recipes: what is right is read, what is wrong is named with its place."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from fx2ait_core.errors import RecipeError
from fx2ait_core.recipes.loader import load_recipe, override, parse_recipe
from fx2ait_core.recipes.schema import for_target, json_schema

GOOD = """\
name: tiny
model: torch.nn:Identity
kwargs: {}
inputs:
  - {name: image, shape: [batch, 3, 8, 8], dtype: float32}
dynamic:
  batch: {min: 1, max: 64, tune: {cuda: [1, 8], cpu: [1]}}
precision: {cuda: fp16, cpu: fp32}
verify: {samples: 8, max_relative_error: 1e-2}
benchmark: {batch: [1, 8]}
"""


def test_a_good_recipe_is_read_and_frozen() -> None:
    recipe = parse_recipe(GOOD, "tiny.yaml")
    assert recipe.inputs[0].shape == ("batch", 3, 8, 8)
    assert recipe.verify.max_relative_error == 0.01
    assert for_target(recipe.precision, "cuda") == "fp16"
    assert for_target(recipe.dynamic["batch"].tune, "cpu") == (1,)
    assert for_target(recipe.benchmark.batch, "cpu") == (1, 8)
    with pytest.raises(ValidationError):
        recipe.name = "other"  # type: ignore[misc]


def test_a_limit_by_precision_goes_before_one_by_target() -> None:
    given = parse_recipe(GOOD.replace("1e-2", "{cuda: 1e-3, bf16: 2e-2}"), "tiny.yaml").verify
    assert given.relative_limit("cuda", "fp16") == 1e-3
    assert given.relative_limit("cuda", "bf16") == 2e-2
    assert given.relative_limit("cpu", "fp32") == 1e-2
    assert parse_recipe(GOOD, "tiny.yaml").verify.relative_limit("cuda", "bf16") == 1e-2


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("samples", "sample", "tiny.yaml:9:10: verify.sample: unknown key; did you mean 'samples'?"),
        ("benchmark:", "benchmrk:", "tiny.yaml:10:1: benchmrk: unknown key; did you mean 'benchmark'?"),
        ("verify:", "zzz:", "tiny.yaml:9:1: zzz: unknown key; known keys: benchmark, calibrate"),
        ("dtype:", "dtyp:", "tiny.yaml:5:44: inputs[0].dtyp: unknown key; did you mean 'dtype'?"),
        ("max: 64", "mx: 64", "tiny.yaml:7:3: dynamic.batch.max: the key is missing"),
        ("max: 64", "mx: 64", "tiny.yaml:7:19: dynamic.batch.mx: unknown key; did you mean 'max'?"),
        ("min: 1,", "min: one,", "tiny.yaml:7:11: dynamic.batch.min: should be a valid integer"),
        ("min: 1,", "min: 100,", "tiny.yaml:7:3: dynamic.batch: min 100 is above max 64"),
        ("cpu: [1]}", "cpu: [65]}", "tiny.yaml:7:3: dynamic.batch: tune size 65 lies outside 1..64"),
        ("3, 8", "3.5, 8", "tiny.yaml:5:34: inputs[0].shape[1]: should be a valid integer, or should be"),
        ("[batch,", "[n,", "tiny.yaml:1:1: no range in 'dynamic' for the symbol n of the inputs"),
        ("[batch,", "[1,", "tiny.yaml:1:1: the symbol batch of 'dynamic' occurs in no input"),
        ("float32}", "float8}", "tiny.yaml:5:44: inputs[0].dtype: should be 'float32'"),
        ("cpu: fp32", "cpu: fp31", "tiny.yaml:8:25: precision.cpu: should be 'fp16', 'bf16' or 'fp32'"),
        ("1e-2", "0", "tiny.yaml:9:22: verify.max_relative_error: should be greater than 0"),
        ("1e-2", "'1'", "tiny.yaml:9:22: verify.max_relative_error: should be a valid number"),
        ("samples: 8", "samples: yes", "tiny.yaml:9:10: verify.samples: should be a valid integer"),
        ("torch.nn:", "torch.nn.", "tiny.yaml:2:1: model: 'torch.nn.Identity' does not read"),
        ("kwargs: {}", "name: x", "tiny.yaml:3:1: name: the key is given twice"),
        ("kwargs: {}", "kwargs: {", "tiny.yaml:5:3: expected the node content"),
        ("kwargs: {}", "kwargs: {a: &a [*a]}", "tiny.yaml:3:13: kwargs.a[0]: aliases are not accepted"),
        ("kwargs: {}", "kwargs: !!python/name:os.system", "tiny.yaml:3:9: could not determine a constructor"),
        ("name: tiny", "name: Tiny One", "tiny.yaml:1:1: name: String should match pattern"),
    ],
)
def test_a_fault_is_named_with_its_place(old: str, new: str, expected: str) -> None:
    assert GOOD.count(old) >= 1
    with pytest.raises(RecipeError) as caught:
        parse_recipe(GOOD.replace(old, new, 1), "tiny.yaml")
    assert expected in str(caught.value)


def test_all_faults_are_reported_at_once_and_consequences_are_not() -> None:
    text = GOOD.replace("samples", "sample").replace("dtype", "dtyp").replace("tiny", "Tiny")
    with pytest.raises(RecipeError) as caught:
        parse_recipe(text, "t.yaml")
    assert len(str(caught.value).splitlines()) == 3


@pytest.mark.parametrize("text", ["", "- a", "just text"])
def test_what_is_no_mapping_is_refused(text: str) -> None:
    with pytest.raises(RecipeError, match="a recipe is a mapping"):
        parse_recipe(text, "t.yaml")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot be read"):
        load_recipe(tmp_path / "absent.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match="cannot be read"):
        load_recipe(tmp_path / "binary.yaml")


def test_overrides_reach_every_field_and_are_checked() -> None:
    recipe = parse_recipe(GOOD, "t.yaml")
    changed = override(
        recipe, ["verify.samples=2", "kwargs.classes=10", "inputs.0.dtype=float16", "benchmark.batch=[3]"]
    )
    assert changed.verify.samples == 2
    assert changed.kwargs == {"classes": 10}
    assert changed.inputs[0].dtype == "float16"
    assert changed.benchmark.batch == (3,)
    assert recipe.verify.samples == 8
    with pytest.raises(RecipeError, match=r"verify\.sample: unknown key; did you mean 'samples'"):
        override(recipe, ["verify.sample=2"])
    with pytest.raises(RecipeError, match="no place called"):
        override(recipe, ["inputs.7.dtype=float16"])
    with pytest.raises(RecipeError, match="KEY=VALUE"):
        override(recipe, ["verify"])
    with pytest.raises(RecipeError, match="not YAML"):
        override(recipe, ["name=[1"])


def test_the_json_schema_is_strict_and_describes_every_key() -> None:
    schema = json_schema()
    json.dumps(schema)
    assert schema["additionalProperties"] is False
    assert set(schema["required"]) == {"name", "model", "inputs"}
    for section in (schema, *schema["$defs"].values()):
        for key, described in section["properties"].items():
            assert "description" in described or "$ref" in described, key
