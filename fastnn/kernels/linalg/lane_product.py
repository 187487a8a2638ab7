"""Matrix products of V nets at once: each number is a vector, with one net in each lane.

The products are element by element, so nothing is padded, shuffled or summed across lanes, however narrow the layers
are. Blocks of some rows and columns stay in registers while the sum runs.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from fastnn.kernels.lang.compiler import device_function, noinline
from fastnn.kernels.lang.emit import emit_opaque, rows_from
from fastnn.kernels.lang.protocols import Pointer
from fastnn.kernels.lang.simd import (
    N_REGISTERS,
    Vector,
    at,
    element_of,
    emit_fma,
    emit_load,
    emit_store,
    llvm_vector,
    n_lanes,
    op,
)

#: Rows and columns of a block: its sums, one vector of each column and one of a row must fit in the registers.
BLOCK_ROWS, BLOCK_COLUMNS = (4, 4) if N_REGISTERS == 32 else (4, 3)


def _make_block(rows: int, columns: int) -> Any:
    """Return the function that computes one block of a product in registers.

    block(x, x_row, x_k, w, w_k, w_column, init, init_row, init_column, y, y_row, y_column, depth):
        y[i, j] = init[i, j] + sum over k of x[i, k] * w[k, j]
    of vectors, at the given strides (in elements), for i < rows and j < columns. The sum is one chain of fused
    multiply-adds in the order of k. Overwrites `y`, which may be `init`. `depth` is at least 1.
    """

    def typer(x: Any, x_row: Any, x_k: Any, w: Any, w_k: Any, w_column: Any, init: Any, init_row: Any, init_column: Any,
              y: Any, y_row: Any, y_column: Any, depth: Any) -> Any:  # fmt: skip
        n = types.intp
        return types.void(x, n, n, w, n, n, init, n, n, y, n, n, n) if element_of(x) is not None else None

    def block(x: Any, x_row: int, x_k: int, w: Any, w_k: int, w_column: int, init: Any, init_row: int,
              init_column: int, y: Any, y_row: int, y_column: int, depth: int) -> None:  # fmt: skip
        v = n_lanes(x.dtype)
        for i in range(rows):
            for j in range(columns):
                begin = i * init_row + j * init_column
                total = init[begin : begin + v].copy()
                for k in range(depth):
                    a, b = i * x_row + k * x_k, k * w_k + j * w_column
                    total += x[a : a + v] * w[b : b + v]
                end = i * y_row + j * y_column
                y[end : end + v] = total

    block.__name__ = block.__qualname__ = f"block_{rows}x{columns}"
    made = op(typer)(block)

    @made.lower
    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        x, x_row, x_k, w, w_k, w_column, init, init_row, init_column, y, y_row, y_column, depth = args
        vt, word = llvm_vector(Vector(sig.args[0].dtype)), ir.IntType(64)
        grid = [(i, j) for i in range(rows) for j in range(columns)]

        def multiples(stride: Any, count: int) -> list[Any]:
            return [builder.mul(stride, ir.Constant(word, i)) for i in range(count)]

        x_rows, w_columns = rows_from(builder, x_row, rows), rows_from(builder, w_column, columns)
        init_places = [builder.add(a, b) for a in multiples(init_row, rows) for b in multiples(init_column, columns)]
        y_places = [builder.add(a, b) for a in multiples(y_row, rows) for b in multiples(y_column, columns)]
        begin = [emit_load(builder, builder.gep(init, [place]), vt) for place in init_places]
        before = builder.block
        loop, end = builder.append_basic_block("depth"), builder.append_basic_block("end")
        builder.branch(loop)
        builder.position_at_end(loop)
        k, x_now, w_now = builder.phi(word), builder.phi(x.type), builder.phi(w.type)
        totals = [builder.phi(vt) for _ in grid]
        of_columns = [emit_load(builder, column, vt) for column in w_columns(w_now)]
        after = []
        for i, row in enumerate(x_rows(x_now)):
            of_row = emit_load(builder, row, vt)
            after += [emit_fma(builder, of_row, of_columns[j], totals[i * columns + j]) for j in range(columns)]
        next_k = builder.add(k, ir.Constant(word, 1))
        for phi, first, following in (
            (k, ir.Constant(word, 0), next_k),
            (x_now, x, emit_opaque(builder, builder.gep(x_now, [x_k]))),
            (w_now, w, emit_opaque(builder, builder.gep(w_now, [w_k]))),
            *zip(totals, begin, after, strict=True),
        ):
            phi.add_incoming(first, before)
            phi.add_incoming(following, loop)
        builder.cbranch(builder.icmp_signed("<", next_k, depth), loop, end)
        builder.position_at_end(end)
        for place, value in zip(y_places, after, strict=True):
            emit_store(builder, value, builder.gep(y, [place]))
        return context.get_dummy_value()

    return made


_whole = _make_block(BLOCK_ROWS, BLOCK_COLUMNS)
_column = _make_block(BLOCK_ROWS, 1)
_row = _make_block(1, BLOCK_COLUMNS)
_single = _make_block(1, 1)


@device_function
def lane_product(x: Pointer, x_row: int, x_k: int, w: Pointer, w_k: int, w_column: int, init: Pointer, init_row: int,
                 init_column: int, y: Pointer, y_row: int, y_column: int, rows: int, columns: int,
                 depth: int) -> None:  # fmt: skip
    """Compute y = init + x w of V nets: (rows, depth) by (depth, columns) vectors, at the given strides in elements.

    Overwrites `y`, which may be `init`. Each sum is one chain of multiply-adds in the order of its terms, begun by
    `init`, so neither the blocks nor a division of the sum into several calls changes a bit. `depth` is at least 1.
    """
    noinline()
    i = 0
    while i < rows:
        tall = rows - i >= BLOCK_ROWS
        a = at(x, i * x_row)
        j = 0
        while j < columns:
            wide = columns - j >= BLOCK_COLUMNS
            b = at(w, j * w_column)
            p = at(init, i * init_row + j * init_column)
            q = at(y, i * y_row + j * y_column)
            if tall and wide:
                _whole(a, x_row, x_k, b, w_k, w_column, p, init_row, init_column, q, y_row, y_column, depth)
            elif tall:
                _column(a, x_row, x_k, b, w_k, w_column, p, init_row, init_column, q, y_row, y_column, depth)
            elif wide:
                _row(a, x_row, x_k, b, w_k, w_column, p, init_row, init_column, q, y_row, y_column, depth)
            else:
                _single(a, x_row, x_k, b, w_k, w_column, p, init_row, init_column, q, y_row, y_column, depth)
            j += BLOCK_COLUMNS if wide else 1
        i += BLOCK_ROWS if tall else 1
