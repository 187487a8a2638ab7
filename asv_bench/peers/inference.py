"""The same prediction in fastnn and in each peer, each in its fastest way, from NumPy array to NumPy array.

`run` is one call and returns the outputs. Where a library has several ways, `fastest` measures them.
The result is a new array from fastnn, PyTorch, JAX and scikit-learn. NumPy, ONNX Runtime (with
io_binding) and OpenVINO may write each call's outputs into the same buffer, which is their fastest way.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from asv_bench.benchmarks.workloads import Inference


class InferencePlan(Protocol):
    """Interface of a peer for `worker`."""

    def run(self) -> np.ndarray:
        """Predict all rows, once."""


def fastest(ways: dict[str, Callable[[], Any]], seconds: float = 0.1) -> str:
    """Return the name of the way with the minimum mean time per call, after a warm-up of the same duration."""
    found = {}
    for name, way in ways.items():
        for _ in range(2):  # the first is the warm-up
            start, calls = time.perf_counter(), 0
            while time.perf_counter() - start < seconds:
                way()
                calls += 1
            found[name] = (time.perf_counter() - start) / calls
    return min(found, key=lambda name: found[name])


class _Ways:
    """A peer with several ways: `run` becomes the fastest."""

    def choose(self, ways: dict[str, Callable[[], np.ndarray]]) -> None:
        self.variant = fastest(ways)
        self.run = ways[self.variant]


class Fastnn:
    """`Model.predict`."""

    def __init__(self, work: Inference, n_threads: int) -> None:
        import fastnn

        self.model = fastnn.Model(
            list(work.sizes[1:]), loss="squared_error", seed=0, dtype=work.dtype, n_threads=n_threads
        ).build(work.sizes[0])
        for (w, b), weights, biases in zip(work.parameters(), self.model.weights, self.model.biases, strict=True):
            weights[...] = w
            biases[...] = b
        self.X = work.data()

    def run(self) -> np.ndarray:
        return self.model.predict(self.X)


class FastnnFloat32(Fastnn):
    """The same in float32 where the workload is of mixed precision."""

    def __init__(self, work: Inference, n_threads: int) -> None:
        super().__init__(replace(work, dtype="float32"), n_threads)


class OnnxRuntime(_Ways):
    """A graph of Gemm and Relu nodes with any number of rows; by `run`, or by binding input and output."""

    def __init__(self, work: Inference, n_threads: int) -> None:
        import onnxruntime
        from onnx import TensorProto, checker, helper, numpy_helper

        nodes, values, last = [], [], "x"
        layers = work.parameters()
        for k, (w, b) in enumerate(layers):
            values += [numpy_helper.from_array(w, f"w{k}"), numpy_helper.from_array(b, f"b{k}")]
            nodes.append(helper.make_node("Gemm", [last, f"w{k}", f"b{k}"], [f"z{k}"]))
            last = f"z{k}"
            if k < len(layers) - 1:
                nodes.append(helper.make_node("Relu", [last], [f"a{k}"]))
                last = f"a{k}"
        ends = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", n])
            for name, n in (("x", work.sizes[0]), (last, work.sizes[-1]))
        ]
        graph = helper.make_graph(nodes, "net", ends[:1], ends[1:], values)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
        checker.check_model(model)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = n_threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        X, out = work.data(), np.empty((work.rows, work.sizes[-1]), np.float32)
        binding = session.io_binding()
        binding.bind_output(last, "cpu", 0, np.float32, out.shape, out.ctypes.data)

        def bound() -> np.ndarray:
            binding.bind_cpu_input("x", X)  # each call may bring another array
            session.run_with_iobinding(binding)
            return out

        self.choose({"run": lambda: session.run(None, {"x": X})[0], "io_binding": bound})


class OpenVino(_Ways):
    """A graph of the fixed number of rows, one request for all calls; NumPy arrays shared, or output copied."""

    precision = "f32"

    def __init__(self, work: Inference, n_threads: int) -> None:
        import openvino
        from openvino import opset13 as opset

        x = opset.parameter([work.rows, work.sizes[0]], np.float32)
        a = x
        layers = work.parameters()
        for k, (w, b) in enumerate(layers):
            a = opset.add(opset.matmul(a, opset.constant(w), False, False), opset.constant(b))
            if k < len(layers) - 1:
                a = opset.relu(a)
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": n_threads,
            "INFERENCE_PRECISION_HINT": self.precision,
        }
        compiled = openvino.Core().compile_model(openvino.Model([a], [x], "net"), "CPU", settings)
        request = compiled.create_infer_request()
        X = work.data()

        def shared() -> np.ndarray:
            return request.infer({0: X}, share_inputs=True, share_outputs=True)[0]

        def bound() -> np.ndarray:
            request.set_input_tensor(openvino.Tensor(X, shared_memory=True))
            request.infer()
            return request.get_output_tensor().data

        self.choose({"infer, shared": shared, "tensors": bound})
        used = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        self.variant += f", computed in {used}"  # a hint is ignored where the processor has no instruction for it


class OpenVinoBfloat16(OpenVino):
    """The same with the hint that computations may be in bfloat16."""

    precision = "bf16"


class Torch(_Ways):
    """Eager, or traced, frozen and optimized for inference."""

    autocast = False

    def __init__(self, work: Inference, n_threads: int) -> None:
        import torch

        torch.set_num_threads(n_threads)
        parts: list[Any] = []
        for w, b in work.parameters():
            layer = torch.nn.Linear(*w.shape)
            with torch.no_grad():
                layer.weight.copy_(torch.from_numpy(w.T.copy()))
                layer.bias.copy_(torch.from_numpy(b))
            parts += [layer, torch.nn.ReLU()]
        net = torch.nn.Sequential(*parts[:-1]).eval()
        X = work.data()

        def way(function: Any) -> Callable[[], np.ndarray]:
            def predict() -> np.ndarray:
                with torch.inference_mode():
                    return function(torch.from_numpy(X)).numpy()

            return predict

        def eager_autocast(x: Any) -> Any:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return net(x).float()

        # The casts become a part of the graph, those of the weights constants.
        autocast = torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.autocast, cache_enabled=False)
        with warnings.catch_warnings(), torch.no_grad(), autocast:
            warnings.simplefilter("ignore")  # TorchScript is deprecated, and still the faster one for some nets
            frozen = torch.jit.freeze(torch.jit.trace(net, torch.from_numpy(X)))
            optimized = torch.jit.optimize_for_inference(frozen)
        ways = {"eager": net, "jit": optimized}
        if self.autocast:
            ways = {"eager": eager_autocast, "jit": lambda x: optimized(x).float()}
        self.choose({name: way(function) for name, function in ways.items()})


class TorchAutocast(Torch):
    """The same under `torch.autocast` to bfloat16; outputs as float32."""

    autocast = True


class Jax(_Ways):
    """Compiled ahead for the shape; parameters as arguments or as constants."""

    def __init__(self, work: Inference, n_threads: int) -> None:
        import jax
        import jax.numpy as jnp

        def forward(params: Any, a: Any) -> Any:
            for w, b in params[:-1]:
                a = jax.nn.relu(a @ w + b)
            return a @ params[-1][0] + params[-1][1]

        params = [(jnp.array(w), jnp.array(b)) for w, b in work.parameters()]
        X = work.data()
        general = jax.jit(forward).lower(params, X).compile()
        special = jax.jit(lambda a: forward(params, a)).lower(X).compile()
        ways = {"arguments": lambda: np.asarray(general(params, X)), "constants": lambda: np.asarray(special(X))}
        self.choose(ways)


class NumPy:
    """Plain NumPy, into buffers that are made once."""

    def __init__(self, work: Inference, n_threads: int) -> None:
        self.layers = [(w, b, np.empty((work.rows, len(b)), np.float32)) for w, b in work.parameters()]
        self.X = work.data()

    def run(self) -> np.ndarray:
        a = self.X
        for w, b, out in self.layers:
            if a is not self.X:
                np.maximum(a, 0, out=a)
            np.matmul(a, w, out=out)
            out += b
            a = out
        return a


class ScikitLearn(_Ways):
    """`MLPRegressor`; the public `predict`, or what it calls, without the checks of the input."""

    def __init__(self, work: Inference, n_threads: int) -> None:
        from sklearn.neural_network import MLPRegressor

        net = MLPRegressor(hidden_layer_sizes=work.sizes[1:-1])
        two = np.zeros((2, work.sizes[-1]), np.float32)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            net.partial_fit(np.zeros((2, work.sizes[0]), np.float32), two[:, 0] if two.shape[1] == 1 else two)
        for (w, b), weights, biases in zip(work.parameters(), net.coefs_, net.intercepts_, strict=True):
            weights[...] = w
            biases[...] = b
        X = work.data()
        self.choose({"predict": lambda: net.predict(X), "_predict": lambda: net._predict(X, check_input=False)})
