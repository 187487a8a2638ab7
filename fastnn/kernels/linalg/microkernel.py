"""Inner kernels of the matrix products: tiles in registers, and the dot products of narrow layers."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types

from fastnn.kernels.lang.compiler import device_function
from fastnn.kernels.lang.emit import emit_opaque, rows_from
from fastnn.kernels.lang.simd import (
    IS_AARCH64,
    N_REGISTERS,
    Vector,
    element_of,
    emit_broadcast,
    emit_fma,
    emit_load,
    emit_prefetch,
    emit_shuffle,
    emit_store,
    llvm_vector,
    n_lanes,
    op,
    undefined,
    vectors_to_prefetch,
)
from fastnn.kernels.lang.simd.bfloat16 import (
    emit_add_products,
    emit_broadcast_word,
    emit_load_words,
    halves,
    is_word_pointer,
)

#: Rows of the largest tile, of two vectors: its accumulators, one row of B and one broadcast element (with BY_ELEMENT
#: one vector of each row of A) must fit in the registers.
TILE_ROWS = 8 if N_REGISTERS == 32 else 6
#: The same of a product of words, whose halves take registers, too, where they are widened.
TILE_ROWS_OF_WORDS = 8 if N_REGISTERS == 32 else 4
#: Whether full tiles take elements of A from vectors that are loaded whole. AArch64 multiplies by one lane of a vector,
#: while a load into all lanes occupies a vector unit.
#: Smaller tiles gain nothing: the latency of their few sums is the bound.
BY_ELEMENT = IS_AARCH64


class Stream(NamedTuple):
    """Prefetch descriptor: `groups` blocks of TILE_ROWS rows, two vectors per row."""

    base: Any  # pointer to the first row of the first block; may point anywhere
    stride: Any  # elements from row to row
    group_stride: Any  # elements from block to block
    groups: Any  # number of blocks; 0 for nothing


@device_function
def nothing(p: Any) -> Stream:
    """Return an empty Stream; `p` is any pointer to the type of the elements."""
    return Stream(p, 0, 0, 0)


def _stream_of(t: Any) -> bool:
    return isinstance(t, types.NamedTuple) and t.instance_class is Stream


@op(lambda b: types.intp if _is_operand(b) else None)
def tile_rows(b: Any) -> int:
    """Return the rows of the largest tile of products with a B that `b` points to; a constant to the compiler."""
    return TILE_ROWS_OF_WORDS if b.dtype == np.uint32 else TILE_ROWS


@tile_rows.lower
def _lower_tile_rows(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return context.get_constant(types.intp, TILE_ROWS_OF_WORDS if is_word_pointer(sig.args[0]) else TILE_ROWS)


def _is_operand(p: Any) -> bool:
    """Whether a type is that of a pointer to what products read: floating-point numbers, or words."""
    return element_of(p) is not None or is_word_pointer(p)


def _make_tile(
    rows: int | None, vectors: int, *, fetching: bool = False, ahead: int = 0, by_element: bool = False
) -> Any:
    """Return the function that computes one tile of a product in registers.

    tile(a, a_row, a_k, b, ldb, init, ld_init, c, ldc, depth):
        c[i, j] = init[i, j] + sum over k of a[i * a_row + k * a_k] * b[k * ldb + j]
    for i < rows (None: `tile_rows`) and j < vectors * lanes. The sum is one chain of fused multiply-adds in the order
    of k, started from `init` (row stride ld_init: 0 for a bias row shared by all; `c` itself continues a sum),
    so splitting a sum into several calls does not change a bit. Overwrites `c`, which may be `init`.

    A and B may consist of words, pairs of bfloat16 numbers (see `simd.bfloat16`); `init` and `c` are float32 then, and
    a product of words is the sum of the products of first and of second numbers, added in that order.

    A tile with prefetching has three more parameters, Streams. The sum is split into one part per row of the tile;
    before part i, row i of each block of the streams is prefetched, and of the rows of C below the tile.

    A tile with `ahead` prefetches, at each step of the sum, the row of B that is `ahead` rows further.

    A tile with `by_element`, whose rows are whole vectors, loads A in vectors where one of its strides is 1.
    """

    def typer(a: Any, a_row: Any, a_k: Any, b: Any, ldb: Any, init: Any, ld_init: Any, c: Any, ldc: Any,
              depth: Any) -> Any:  # fmt: skip
        n = types.intp
        return types.void(a, n, n, b, n, init, n, c, n, n) if _is_operand(a) else None

    def fetching_typer(a: Any, a_row: Any, a_k: Any, b: Any, ldb: Any, init: Any, ld_init: Any, c: Any, ldc: Any,
                       depth: Any, near: Any, far: Any, farther: Any) -> Any:  # fmt: skip
        n = types.intp
        if not _is_operand(a) or not all(map(_stream_of, (near, far, farther))):
            return None
        return types.void(a, n, n, b, n, init, n, c, n, n, near, far, farther)

    def tile(a: Any, a_row: int, a_k: int, b: Any, ldb: int, init: Any, ld_init: int, c: Any, ldc: int,
             depth: int, *streams: Stream) -> None:  # fmt: skip
        width = vectors * n_lanes(c.dtype)
        for i in range(tile_rows(b) if rows is None else rows):
            total = init[i * ld_init : i * ld_init + width].copy()
            for k in range(depth):
                x, y = a[i * a_row + k * a_k], b[k * ldb : k * ldb + width]
                for x_part, y_part in zip(halves(x), halves(y), strict=True) if b.dtype == np.uint32 else [(x, y)]:
                    total += x_part * y_part
            c[i * ldc : i * ldc + width] = total

    kind = ("_fetching" if fetching else f"_ahead_{ahead}" if ahead else "") + ("_by_element" if by_element else "")
    tile.__name__ = tile.__qualname__ = f"tile_{'full' if rows is None else rows}x{vectors}{kind}"
    made = op(fetching_typer if fetching else typer)(tile)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        a, a_row, a_k, b, ldb, init, ld_init, c, ldc, depth = args[:10]
        of_words = is_word_pointer(sig.args[0])
        vector = Vector(sig.args[7].dtype)
        vt, n, ip = llvm_vector(vector), vector.lanes, ir.IntType(64)
        height = rows if rows is not None else TILE_ROWS_OF_WORDS if of_words else TILE_ROWS
        grid = [(i, j) for i in range(height) for j in range(vectors)]
        load_operand, broadcast = (
            (emit_load_words, emit_broadcast_word) if of_words else (emit_load, emit_broadcast)
        )

        def number(x: int) -> Any:
            return ir.Constant(ip, x)

        def address(base: Any, stride: Any, i: int, j: int) -> Any:
            return builder.gep(base, [builder.add(builder.mul(number(i), stride), number(j * n))])

        def fetch_row(base: Any, offset: Any) -> None:
            """Generate prefetches of the cache lines of two vectors; a row of the tile may be shorter."""
            for j in vectors_to_prefetch(2):
                place = builder.gep(base, [builder.add(offset, number(j * n))])
                emit_prefetch(builder, place)

        rows_of_a = rows_from(builder, a_row, height)

        def add_products(total: dict[Any, Any], b_row: Any, a_of_row: Callable[[int], Any]) -> dict[Any, Any]:
            """Generate the sums plus the products of one row of B with the element of A of each row, a vector."""
            b_vectors = [load_operand(builder, builder.gep(b_row, [number(j * n)]), vt) for j in range(vectors)]
            if ahead:
                b_ahead = builder.gep(b_row, [builder.mul(number(ahead), ldb)])
                for j in vectors_to_prefetch(vectors):
                    emit_prefetch(builder, builder.gep(b_ahead, [number(j * n)]))
            if of_words:
                return emit_add_products(builder, [a_of_row(i) for i in range(height)], b_vectors, total)
            after = {}
            for i in range(height):
                a_value = a_of_row(i)
                for j in range(vectors):
                    after[i, j] = emit_fma(builder, a_value, b_vectors[j], total[i, j])
            return after

        def one_step(b_row: Any, a_column: Any, total: dict[Any, Any]) -> Any:
            """Generate one k of any A, whose elements are loaded into all lanes."""
            elements = rows_of_a(a_column)

            def a_of_row(i: int) -> Any:
                return broadcast(builder, builder.load(elements[i]), vt)

            after = add_products(total, b_row, a_of_row)
            return builder.gep(b_row, [ldb]), emit_opaque(builder, builder.gep(a_column, [a_k])), after

        def lane(v: Any, place: int) -> Any:
            """Generate a vector of one lane of another, which becomes a part of the multiply-add on AArch64."""
            return emit_shuffle(builder, v, undefined(v.type), [place] * n)

        def steps_along_rows(b_row: Any, a_column: Any, total: dict[Any, Any]) -> Any:
            """Generate n steps of an A with a_k = 1, from one vector of each of its rows."""
            a_rows = [load_operand(builder, row, vt) for row in rows_of_a(a_column)]
            for k in range(n):
                total = add_products(total, b_row, lambda i, k=k: lane(a_rows[i], k))  # type: ignore[misc]
                b_row = builder.gep(b_row, [ldb])
            return b_row, builder.gep(a_column, [number(n)]), total

        def step_down_column(b_row: Any, a_column: Any, total: dict[Any, Any]) -> Any:
            """Generate one step of an A with a_row = 1, from vectors of n of its rows."""
            a_vectors = [load_operand(builder, builder.gep(a_column, [number(i)]), vt) for i in range(0, height, n)]
            after = add_products(total, b_row, lambda i: lane(a_vectors[i // n], i % n))
            return builder.gep(b_row, [ldb]), builder.gep(a_column, [a_k]), after

        def depth_loop(state: Any, k_end: Any, length: int, step: Callable[..., Any]) -> Any:
            """Generate a loop of steps of `length` k each, at least one, while k < k_end; return the next state.

            A state is k, its row of B, its column of A, and the sums; the builder is left after the loop.
            """
            k_begin, b_begin, a_begin, begin = state
            before = builder.block
            loop = builder.append_basic_block("depth")
            after_loop = builder.append_basic_block("after")
            builder.branch(loop)
            builder.position_at_end(loop)
            k = builder.phi(ip)
            b_row, a_column = builder.phi(b.type), builder.phi(a.type)
            for phi, first_value in ((k, k_begin), (b_row, b_begin), (a_column, a_begin)):
                phi.add_incoming(first_value, before)
            total = {at_: builder.phi(vt) for at_ in grid}
            next_b, next_a, after = step(b_row, a_column, total)
            for at_ in grid:
                total[at_].add_incoming(begin[at_], before)
                total[at_].add_incoming(after[at_], loop)
            next_k = builder.add(k, number(length))
            k.add_incoming(next_k, loop)
            b_row.add_incoming(next_b, loop)
            a_column.add_incoming(next_a, loop)
            builder.cbranch(builder.icmp_signed("<", next_k, k_end), loop, after_loop)
            builder.position_at_end(after_loop)
            return next_k, next_b, next_a, after

        def optional_loop(condition: Any, state: Any, k_end: Any, length: int, step: Callable[..., Any]) -> Any:
            """Generate `depth_loop` for the case that k < k_end and a condition (a bit) hold, else nothing."""
            before = builder.block
            do, done = builder.append_basic_block("do"), builder.append_basic_block("done")
            builder.cbranch(builder.and_(condition, builder.icmp_signed("<", state[0], k_end)), do, done)
            builder.position_at_end(do)
            *after, total = depth_loop(state, k_end, length, step)
            end = builder.block
            builder.branch(done)
            builder.position_at_end(done)

            def either(without: Any, value: Any) -> Any:
                phi = builder.phi(value.type)
                phi.add_incoming(without, before)
                phi.add_incoming(value, end)
                return phi

            return (*map(either, state[:3], after), {at_: either(state[3][at_], total[at_]) for at_ in grid})

        def sums(k_begin: Any, k_end: Any, b_begin: Any, a_begin: Any, begin: dict[Any, Any]) -> Any:
            """Generate the loop over k >= 1; leave the builder after it and return the next B and A, and the sums."""
            state = k_begin, b_begin, a_begin, begin
            if by_element:
                along, down = (builder.icmp_signed("==", stride, number(1)) for stride in (a_k, a_row))
                state = optional_loop(along, state, builder.sub(k_end, number(n - 1)), n, steps_along_rows)
                state = optional_loop(down, state, k_end, 1, step_down_column)
                state = optional_loop(ir.Constant(ir.IntType(1), 1), state, k_end, 1, one_step)
            else:
                state = depth_loop(state, k_end, 1, one_step)
            return state[1:]

        for i, j in itertools.product(range(height), vectors_to_prefetch(vectors)):
            emit_prefetch(builder, address(c, ldc, i, j), write=True)
        start = {(i, j): emit_load(builder, address(init, ld_init, i, j), vt) for i, j in grid}
        before = builder.block
        work = builder.append_basic_block("work")
        done = builder.append_basic_block("done")
        if not fetching:
            builder.cbranch(builder.icmp_signed(">", depth, number(0)), work, done)
            builder.position_at_end(work)
            _, _, after = sums(number(0), depth, b, a, start)
        else:
            # Callers have a depth of several rows; a part of the sum is never empty.
            part_length = builder.sdiv(depth, number(height))
            builder.cbranch(builder.icmp_signed(">", part_length, number(0)), work, done)
            builder.position_at_end(work)
            part = builder.append_basic_block("part")
            builder.branch(part)
            builder.position_at_end(part)
            i = builder.phi(ip)
            b_part, a_part = builder.phi(b.type), builder.phi(a.type)
            begin = {at_: builder.phi(vt) for at_ in grid}
            for phi, first_value in ((i, number(0)), (b_part, b), (a_part, a), *((begin[g], start[g]) for g in grid)):
                phi.add_incoming(first_value, work)
            fetch_row(c, builder.mul(builder.add(i, number(height)), ldc))
            for stream in args[10:]:
                base, stride, group_stride, groups = (builder.extract_value(stream, field) for field in range(4))
                row = builder.mul(i, stride)
                entry = builder.block
                fetch = builder.append_basic_block("fetch")
                fetched = builder.append_basic_block("fetched")
                builder.cbranch(builder.icmp_signed(">", groups, number(0)), fetch, fetched)
                builder.position_at_end(fetch)
                group, place = builder.phi(ip), builder.phi(ip)
                group.add_incoming(number(0), entry)
                place.add_incoming(row, entry)
                fetch_row(base, place)
                next_group, next_place = builder.add(group, number(1)), builder.add(place, group_stride)
                group.add_incoming(next_group, fetch)
                place.add_incoming(next_place, fetch)
                builder.cbranch(builder.icmp_signed("<", next_group, groups), fetch, fetched)
                builder.position_at_end(fetched)
            next_i = builder.add(i, number(1))
            is_last = builder.icmp_signed("==", next_i, number(height))
            k_end = builder.select(is_last, depth, builder.mul(next_i, part_length))
            b_next, a_next, after = sums(builder.mul(i, part_length), k_end, b_part, a_part, begin)
            end_of_part = builder.block
            for phi, value in ((i, next_i), (b_part, b_next), (a_part, a_next), *((begin[g], after[g]) for g in grid)):
                phi.add_incoming(value, end_of_part)
            finish = builder.append_basic_block("finish")
            builder.cbranch(is_last, finish, part)
            builder.position_at_end(finish)
        end = builder.block
        builder.branch(done)
        builder.position_at_end(done)
        result = {at_: builder.phi(vt) for at_ in grid}
        for at_ in grid:
            result[at_].add_incoming(start[at_], before)
            result[at_].add_incoming(after[at_], end)
        for i, j in grid:
            emit_store(builder, result[i, j], address(c, ldc, i, j))
        return context.get_dummy_value()

    made.lower(generate)
    return made


tile_full = _make_tile(None, 2, by_element=BY_ELEMENT)
tile_full_fetching = _make_tile(None, 2, fetching=True, by_element=BY_ELEMENT)
tile_4x2 = _make_tile(4, 2)
tile_2x2 = _make_tile(2, 2)
tile_1x2 = _make_tile(1, 2)
tile_full_narrow = _make_tile(None, 1, by_element=BY_ELEMENT)
tile_4x1 = _make_tile(4, 1)
tile_2x1 = _make_tile(2, 1)
tile_1x1 = _make_tile(1, 1)
# One row alone (inference, stochastic descent) only streams B: several vectors of columns make the reads sequential.
tile_1x4 = _make_tile(1, 4)
tile_1x8 = _make_tile(1, 8, ahead=8)
tile_1x8_near = _make_tile(1, 8)  # for a B that is in the first-level cache


def _type_dots(x: Any, ld: Any, w: Any, depth: Any) -> Any:
    element = types.float32 if is_word_pointer(x) else element_of(x)
    return Vector(element)(x, types.intp, w, types.intp) if element is not None else None


@op(_type_dots)
def dots(x: Any, ld: int, w: Any, depth: int) -> Any:
    """Return the dot products of V rows at `x` (row stride ld) with the row at `w`, a vector; `depth` is whole vectors.

    Each is a sum of vectors in the order of the columns, whose lanes are then added halves onto halves. Both may
    consist of words, each of which holds two numbers of the same lane, for products in float32.
    """
    of_words = x.dtype == np.uint32
    dtype = np.float32 if of_words else x.dtype
    v = n_lanes(dtype)
    out = np.empty(v, dtype)
    for i in range(v):
        total = np.zeros(v, dtype)
        for j in range(0, depth, v):
            part, weights = x[i * ld + j : i * ld + j + v], w[j : j + v]
            for x_part, w_part in (
                zip(halves(part), halves(weights), strict=True) if of_words else [(part, weights)]
            ):
                total += x_part * w_part
        while len(total) > 1:
            total = total[: len(total) // 2] + total[len(total) // 2 :]
        out[i] = total[0]
    return out


@dots.lower
def _lower_dots(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    x, ld, w, depth = args
    of_words = is_word_pointer(sig.args[0])
    load_operand = emit_load_words if of_words else emit_load
    vector = sig.return_type
    vt, n, ip, i32 = llvm_vector(vector), vector.lanes, ir.IntType(64), ir.IntType(32)
    zero = ir.Constant(vt, [0.0] * n)
    rows_of_x = rows_from(builder, ld, n)
    before = builder.block
    loop, done = builder.append_basic_block("columns"), builder.append_basic_block("done")
    builder.cbranch(builder.icmp_signed(">", depth, ir.Constant(ip, 0)), loop, done)
    builder.position_at_end(loop)
    j, column = builder.phi(ip), builder.phi(x.type)
    totals = [builder.phi(vt) for _ in range(n)]
    weights = load_operand(builder, builder.gep(w, [j]), vt)
    next_j = builder.add(j, ir.Constant(ip, n))
    j.add_incoming(ir.Constant(ip, 0), before)
    j.add_incoming(next_j, loop)
    column.add_incoming(x, before)
    column.add_incoming(emit_opaque(builder, builder.gep(column, [ir.Constant(ip, n)])), loop)
    x_vectors = (load_operand(builder, row, vt) for row in rows_of_x(column))
    if of_words:
        begin = {(i, 0): total for i, total in enumerate(totals)}
        after = list(emit_add_products(builder, list(x_vectors), [weights], begin).values())
    else:
        after = [emit_fma(builder, row, weights, total) for row, total in zip(x_vectors, totals, strict=True)]
    for total, value in zip(totals, after, strict=True):
        total.add_incoming(zero, before)
        total.add_incoming(value, loop)
    builder.cbranch(builder.icmp_signed("<", next_j, depth), loop, done)
    builder.position_at_end(done)
    sums = [builder.phi(vt) for _ in range(n)]
    for result, value in zip(sums, after, strict=True):
        result.add_incoming(zero, before)
        result.add_incoming(value, loop)
    # Fold two vectors into one until one is left: each half of a segment onto the other, segments side by side.
    length = n
    while length > 1:
        half = length // 2
        low = [source * n + s * length + k for s in range(n // length) for source in (0, 1) for k in range(half)]
        masks = [ir.Constant(ir.VectorType(i32, n), [k + shift for k in low]) for shift in (0, half)]
        count = len(sums) // 2
        sums = [
            builder.fadd(*(builder.shuffle_vector(a, b, mask) for mask in masks))
            for a, b in zip(sums[:count], sums[count:], strict=True)
        ]
        length = half
    return sums[0]
