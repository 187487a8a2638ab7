"""The architecture of a net as the kernels read it: sizes, codes, numbers, and the table of layers."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from fastnn.custom import MachineCode
from fastnn.kernels import tables
from fastnn.kernels.lang.simd import HAS_BFLOAT16
from fastnn.kernels.nn.rules import activation_code

#: Elements of rounded numbers for this processor.
ROUNDED_DTYPE = np.dtype(np.uint32 if HAS_BFLOAT16 else np.float32)
NUMBERS_PER_ELEMENT = {np.dtype(np.uint32): 2, np.dtype(np.float32): 1}


@dataclass(frozen=True)
class Architecture:
    """Sizes, codes and numbers of a net of L layers, from which the kernels' tables are made.

    Parameters
    ----------
    sizes : tuple of int
        (L + 1,) widths, the input's first.
    activations : tuple of (int, float)
        (L,) pairs of code and alpha.
    use_bias : tuple of bool
        (L,)
    penalties : tuple of (float, float)
        (L,) pairs l1, l2.
    loss : int
        Code of the loss.
    fused_output : bool
        Whether the loss contains the last activation (softmax or sigmoid, from logits).
    dtype : numpy.dtype
        float32 or float64.
    loss_parameters : tuple of float
        (O,) one number per output, or (1,) for all; see `kernels.nn.losses`.
    trained : tuple of bool
        (L,) whether training changes the layer; empty if all layers are trained.
    max_norms : tuple of float
        (L,) upper bound of the Euclidean norm of the weights of one output, 0 for no bound; empty if no layer has one.
    dropouts : tuple of float
        (L,) probability that a step drops an input of the layer; empty if no layer has dropout.
    functions : tuple of (MachineCode, MachineCode) or None
        (L,) machine code of a custom activation and its derivative, None for a built-in one; empty if all are built in.
    loss_function : MachineCode or None
        Machine code of a custom loss; None for a built-in one.
    mixed : bool
        Whether products read weights, activations and deltas rounded to bfloat16; for the dtype float32.
    rounded_dtype : numpy.dtype
        uint32 for words of two rounded numbers, float32 for rounded numbers; gives the same bits.
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
    mixed: bool = False
    rounded_dtype: np.dtype[Any] = field(default_factory=lambda: ROUNDED_DTYPE)

    @property
    def n_layers(self) -> int:
        """Number L of weight matrices."""
        return len(self.sizes) - 1

    def trained_layers(self) -> list[int]:
        """Return the indices of the layers that are trained."""
        return [k for k in range(self.n_layers) if not self.trained or self.trained[k]]

    def narrow(self) -> list[bool]:
        """Return for each layer whether W is stored by outputs; (L,)."""
        return [tables.is_narrow(*pair, self.dtype) for pair in pairwise(self.sizes)]

    def leading_dimensions(self) -> list[int]:
        """Return the row strides of the activations; (L + 1,)."""
        return [tables.leading_dimension(n, self.dtype) for n in self.sizes]

    def rounded_dimensions(self) -> list[int]:
        """Return the row strides of the rounded activations, in elements, for sums over columns; (L + 1,)."""
        per = NUMBERS_PER_ELEMENT[self.rounded_dtype]
        return [tables.leading_dimension(-(-n // per), self.dtype) for n in self.sizes]

    def flops_per_row(self, *, training: bool) -> int:
        """Return the floating-point operations per row.

        Per weight 2 forward; in training also 2 for dW, and 2 for dX except in the first layer.
        """
        products = [a * b for a, b in zip(self.sizes[:-1], self.sizes[1:], strict=True)]
        return 6 * sum(products) - 2 * products[0] if training else 2 * sum(products)


#: Fields of `tables.Layer` that are offsets in `State.rounded`.
ROUNDED = ("rounded_w", "rounded_wt", "rounded_input", "rounded_input_rows", "rounded_delta", "rounded_delta_rows")


def address_of(code: MachineCode | None) -> int:
    """Return the address of machine code; 0 for None."""
    return 0 if code is None else code.address


def layer_table(architecture: Architecture, *, training: bool) -> np.ndarray:
    """Return the table of the layers, (L,) `tables.Layer`, without the offsets in `work`.

    For training the last activation is the identity if the loss contains it.
    """
    table = tables.new_table(tables.Layer, architecture.n_layers)
    lds = architecture.leading_dimensions()
    table["n_in"], table["n_out"] = architecture.sizes[:-1], architecture.sizes[1:]
    table["ld_in"], table["ld_out"] = lds[:-1], lds[1:]
    rounded = architecture.rounded_dimensions()
    table["ld_rounded_in"], table["ld_rounded_out"] = rounded[:-1], rounded[1:]
    offsets, _ = tables.param_offsets(architecture.sizes, architecture.dtype)
    table["w"], table["bias"] = np.array(offsets).T
    for name in ("wt", "preactivation", "mask", *ROUNDED):
        table[name] = -1
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
    """Overwrite the columns l1 and l2 of a table of layers."""
    table["l1"], table["l2"] = np.array(architecture.penalties).T
