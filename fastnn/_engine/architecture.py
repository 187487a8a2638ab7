"""The architecture of a net in the terms of the kernels: sizes, codes, numbers, and the table made of them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from fastnn.custom import MachineCode
from fastnn.kernels import tables
from fastnn.kernels.nn.rules import activation_code


@dataclass(frozen=True)
class Architecture:
    """What the kernels need to know of a net.

    Parameters
    ----------
    sizes : (L + 1,) widths, the input's first
    activations : (L,) pairs of code and alpha
    use_bias : (L,)
    penalties : (L,) pairs l1, l2
    loss : code
    fused_output : whether the loss contains the last activation (softmax or sigmoid, from logits)
    dtype : float32 or float64
    loss_parameters : (O,) a number for each output, or one for all; see `kernels.losses`
    trained : (L,) whether the layer's weights change, or empty where all do
    max_norms : (L,) longest that the weights of one output may be, 0 for any length; or empty where none has a limit
    dropouts : (L,) share of a layer's inputs that a step leaves out; or empty where there is no dropout
    functions : (L,) machine code of the user's activation and its derivative, None for none; or empty
    loss_function : machine code of the user's loss, or None
    """

    sizes: tuple[int, ...]
    activations: tuple[tuple[int, float], ...]
    use_bias: tuple[bool, ...]
    penalties: tuple[tuple[float, float], ...]
    loss: int
    fused_output: bool
    dtype: np.dtype[Any]
    loss_parameters: tuple[float, ...] = (0.0,)
    trained: tuple[bool, ...] = ()
    max_norms: tuple[float, ...] = ()
    dropouts: tuple[float, ...] = ()
    functions: tuple[tuple[MachineCode, MachineCode] | None, ...] = ()
    loss_function: MachineCode | None = None

    @property
    def n_layers(self) -> int:
        """L, the number of weight matrices."""
        return len(self.sizes) - 1

    def trained_layers(self) -> list[int]:
        """Numbers of the layers whose weights change."""
        return [k for k in range(self.n_layers) if not self.trained or self.trained[k]]

    def narrow(self) -> list[bool]:
        """Whether W is stored by outputs; (L,)."""
        return [tables.is_narrow(*pair, self.dtype) for pair in pairwise(self.sizes)]

    def leading_dimensions(self) -> list[int]:
        """Row strides of the activations; (L + 1,)."""
        return [tables.leading_dimension(n, self.dtype) for n in self.sizes]

    def flops_per_row(self, *, training: bool) -> int:
        """Operations that one row needs: 2 a weight forward, 2 for dW, 2 for dX except in the first layer."""
        products = [a * b for a, b in zip(self.sizes[:-1], self.sizes[1:], strict=True)]
        return 6 * sum(products) - 2 * products[0] if training else 2 * sum(products)


def address_of(code: MachineCode | None) -> int:
    """Where the machine code lies; 0 where there is none."""
    return 0 if code is None else code.address


def layer_table(architecture: Architecture, *, training: bool) -> np.ndarray:
    """Return the table of the layers, (L,) `tables.Layer`, without the offsets in `work`.

    For training the last activation is left to a loss that contains it.
    """
    table = tables.new_table(tables.Layer, architecture.n_layers)
    lds = architecture.leading_dimensions()
    table["n_in"], table["n_out"] = architecture.sizes[:-1], architecture.sizes[1:]
    table["ld_in"], table["ld_out"] = lds[:-1], lds[1:]
    offsets, _ = tables.param_offsets(architecture.sizes, architecture.dtype)
    table["w"], table["bias"] = np.array(offsets).T
    table["wt"] = table["preactivation"] = table["mask"] = -1
    for k, functions in enumerate(architecture.functions):
        if functions is not None:
            table["function"][k], table["derivative"][k] = map(address_of, functions)
    table["activation"] = [code for code, _ in architecture.activations]
    table["alpha"] = [alpha for _, alpha in architecture.activations]
    table["has_bias"] = architecture.use_bias
    table["narrow"] = architecture.narrow()
    if training and architecture.fused_output:
        table["activation"][-1] = activation_code("identity")
    set_penalties(table, architecture)
    for k in architecture.trained_layers() if architecture.max_norms else []:
        table["max_norm"][k] = architecture.max_norms[k]
    if architecture.dropouts:
        table["dropout"] = architecture.dropouts
    return table


def set_penalties(table: np.ndarray, architecture: Architecture) -> None:
    """Overwrite the penalties' factors in a table of layers."""
    table["l1"], table["l2"] = np.array(architecture.penalties).T
