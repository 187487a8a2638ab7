"""Peers of the comparison and their packages; no peer is imported here.

A peer is a class that is constructed from a workload and a number of threads, in a process of its own (`worker`). Its
`run` is timed; preparation happens before. `variant` names the fastest of several implementations, which is used;
`note` describes differences of its work.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass


@dataclass(frozen=True)
class Peer:
    """Location of a peer's class and its packages.

    Parameters
    ----------
    name : for tables
    target : "module:class"
    packages : packages that it imports; the first is its name for ``--peers``
    fast : whether it is measured over all widths, too
    slow_start : whether it takes minutes to compile, and so is measured only if selected
    """

    name: str
    target: str
    packages: tuple[str, ...]
    fast: bool = False
    slow_start: bool = False

    @property
    def missing(self) -> list[str]:
        """Return the packages that are not installed."""
        return [package for package in self.packages if importlib.util.find_spec(package) is None]


_TRAINING = "asv_bench.peers.training:"
_INFERENCE = "asv_bench.peers.inference:"

TRAINERS = (
    Peer("fastnn", _TRAINING + "Fastnn", ("fastnn",), fast=True),
    Peer("JAX (jit, lax.scan)", _TRAINING + "Jax", ("jax",), fast=True),
    Peer("PyTorch (eager)", _TRAINING + "Torch", ("torch",), fast=True),
    Peer("PyTorch (torch.compile)", _TRAINING + "TorchCompiled", ("torch",), slow_start=True),
    Peer("Keras (JAX)", _TRAINING + "Keras", ("keras", "jax")),
    Peer("scikit-learn", _TRAINING + "ScikitLearn", ("sklearn",)),
)
MIXED_TRAINERS = (
    Peer("fastnn", _TRAINING + "Fastnn", ("fastnn",)),
    Peer("fastnn (float32)", _TRAINING + "FastnnFloat32", ("fastnn",)),
    Peer("PyTorch (autocast)", _TRAINING + "TorchAutocast", ("torch",)),
)
PREDICTORS = (
    Peer("fastnn", _INFERENCE + "Fastnn", ("fastnn",)),
    Peer("ONNX Runtime", _INFERENCE + "OnnxRuntime", ("onnxruntime", "onnx")),
    Peer("OpenVINO", _INFERENCE + "OpenVino", ("openvino",)),
    Peer("PyTorch", _INFERENCE + "Torch", ("torch",)),
    Peer("JAX (jit)", _INFERENCE + "Jax", ("jax",)),
    Peer("NumPy", _INFERENCE + "NumPy", ("numpy",)),
    Peer("scikit-learn", _INFERENCE + "ScikitLearn", ("sklearn",)),
)
MIXED_PREDICTORS = (
    Peer("fastnn", _INFERENCE + "Fastnn", ("fastnn",)),
    Peer("fastnn (float32)", _INFERENCE + "FastnnFloat32", ("fastnn",)),
    Peer("OpenVINO (bf16)", _INFERENCE + "OpenVinoBfloat16", ("openvino",)),
    Peer("PyTorch (autocast)", _INFERENCE + "TorchAutocast", ("torch",)),
)
