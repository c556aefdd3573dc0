"""What the build does to models and to the course's pages before they are put on the site."""

import lzma
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

sys.path.append(str(Path(__file__).parents[2] / "site"))

from course_pages import used_rules
from site_models import STEPS, in_parts, with_small_weights


def a_model(kernel: np.ndarray, prefix: str = ""):
    """x + kernel + bias, whose weights have names with this prefix."""
    bias = np.full(kernel.shape[1], 0.5, np.float32)  # under 64 numbers, which stay as they are
    weights = [numpy_helper.from_array(kernel, f"{prefix}kernel"), numpy_helper.from_array(bias, f"{prefix}bias")]
    nodes = [helper.make_node("Add", ["x", f"{prefix}kernel"], ["a"]), helper.make_node("Add", ["a", f"{prefix}bias"], ["y"])]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, kernel.shape) for name in "xy"]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


@pytest.fixture
def kernel():
    """float16 numbers in float32, as those of shipped models, with one far out."""
    drawn = np.random.default_rng(0).normal(0, 0.02, (20, 30))
    drawn[3, 4] = 1.0
    return drawn.astype(np.float16).astype(np.float32)


def output(model, shape) -> np.ndarray:
    return ReferenceEvaluator(model).run(None, {"x": np.zeros(shape, np.float32)})[0]


def test_weights_of_half_the_bytes_are_the_same_numbers(kernel):
    model = with_small_weights(a_model(kernel), rounded=False)
    onnx.checker.check_model(model)
    np.testing.assert_array_equal(output(model, kernel.shape), kernel + 0.5)
    assert sum(len(tensor.raw_data) for tensor in model.graph.initializer) == 2 * kernel.size + 4 * kernel.shape[1]


def test_a_rounded_weight_is_off_by_half_a_step_at_most(kernel):
    model = with_small_weights(a_model(kernel), rounded=True)
    onnx.checker.check_model(model)
    off = np.abs(output(model, kernel.shape) - 0.5 - kernel)
    half = kernel.std() / STEPS / 2
    assert half / 2 < off.max() <= half + 1e-6  # float32's own rounding


def test_weights_that_are_no_float16_numbers_are_kept(kernel):
    kernel += np.float32(1e-5)
    model = with_small_weights(a_model(kernel), rounded=True)
    np.testing.assert_array_equal(output(model, kernel.shape), kernel + 0.5)


def test_parts_behind_each_other_are_the_model_and_a_shared_weight_lies_in_one(kernel, tmp_path):
    weights = {}
    first, second = (
        in_parts(with_small_weights(a_model(kernel, prefix), rounded=False), tmp_path / name, weights)
        for prefix, name in (("", "first.onnx"), ("other.", "second.onnx"))
    )
    assert first == ["first.onnx.weights.xz", "first.onnx.xz"]
    assert second == ["first.onnx.weights.xz", "second.onnx.weights.xz", "second.onnx.xz"]
    for files in (first, second):
        whole = b"".join(lzma.decompress((tmp_path / file).read_bytes()) for file in files)
        np.testing.assert_array_equal(output(onnx.load_from_string(whole), kernel.shape), kernel + 0.5)


def test_rules_for_classes_that_no_page_has_are_left_out():
    sheet = (
        ".a .b { color: red } .a, .gone { top: 0 } .gone { top: 1px } p { top: 2px } @media print { .gone { top: 3px } .a { top: 4px } }"
    )
    kept = used_rules(sheet, {"a", "b"})
    assert [f"top: {n}" in kept for n in ("0", "1px", "2px", "3px", "4px")] == [True, False, True, False, True]
    assert "color: red" in kept
