"""Arrays and tables for nets of one architecture that are trained V at once, one in each lane of the vectors."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from fastnn._engine.architecture import Architecture, layer_table
from fastnn._engine.workspace import Arena
from fastnn.kernels import tables
from fastnn.kernels.lane_tables import N_LIMITS, N_SUMS, Lane, LaneLayer, LaneLayout, LanePlan, LaneRun, LaneState
from fastnn.kernels.lang.simd import n_lanes
from fastnn.kernels.nn.dispatch import N_COEFFICIENTS, N_HYPER, N_SCALARS
from fastnn.kernels.nn.rules import keeps_more_than_output

#: Bytes of the activations of the rows that pass through the nets together: those that stay in the nearest cache.
TILE_BYTES = 24 * 1024
#: Fewest and most of these rows.
MIN_TILE, MAX_TILE = 4, 32


class LaneBuffers:
    """Numbers of some groups of V nets, buffers for threads, and the tables that describe them.

    Parameters
    ----------
    architecture : Architecture
        Of each net; of penalties, `max_norms` and `dropouts` only whether they are 0 is read.
    n_groups : int
    n_slots : int
        Of the optimizer, with that of the running average.
    averaged : bool
        Whether the last slot is a running average.
    n_threads : int

    Attributes
    ----------
    params : ndarray, (n_groups, P, V)
        For each layer its bias (O,), and W (I, O) row by row.
    slots : ndarray, (n_groups, n_slots, P, V)
    layers : table of `LaneLayer`, (L,)
    layout : LaneLayout
    """

    def __init__(
        self, architecture: Architecture, n_groups: int, n_slots: int, *, averaged: bool, n_threads: int
    ) -> None:
        dtype = architecture.dtype
        v = self.v = n_lanes(dtype)
        self.n_groups = n_groups
        sizes = architecture.sizes
        of_layers = layer_table(architecture, training=True)
        layers = self.layers = tables.new_table(LaneLayer, architecture.n_layers)
        for name in ("n_in", "n_out", "activation", "alpha", "function", "derivative", "has_bias"):
            layers[name] = of_layers[name]
        trained = architecture.trained_layers()
        layers["trained"][trained] = 1
        layers["penalized"] = np.any(architecture.penalties, axis=1)
        layers["constrained"] = of_layers["max_norm"] > 0.0
        layers["limits"] = np.arange(architecture.n_layers) * N_LIMITS * v
        widths = [v * n for n in sizes]
        n_params = [o + i * o for i, o in pairwise(sizes)]
        layers["bias"] = (np.cumsum(n_params) - n_params) * v
        size = sum(n_params) * v

        ld_row = tables.padded(sizes[0], dtype)
        lds = [ld_row * v, *widths[1:-1]]
        row_bytes = 2 * sum(widths) * dtype.itemsize
        tile = min(MAX_TILE, max(MIN_TILE, TILE_BYTES // row_bytes // 4 * 4))
        arena = Arena(dtype)
        zeros, target = arena.take(max(widths)), arena.take(tile * widths[-1])
        weight, row = arena.take(tile * v), arena.take(v * ld_row)
        norm, values, alive = arena.take(v), arena.take((1 + tables.N_METRICS) * v), arena.take(v)
        inputs = [arena.take(tile * ld) for ld in [lds[0], *widths[1:]]]
        layers["ld_in"] = lds
        layers["input"], layers["output"] = inputs[:-1], inputs[1:]
        layers["delta"] = [arena.take(tile * width) for width in widths[1:]]
        layers["mask"] = layers["preactivation"] = -1
        for k in range(architecture.n_layers):
            if keeps_more_than_output(layers["activation"][k]):
                layers["preactivation"][k] = arena.take(tile * widths[k + 1])
            if of_layers["dropout"][k]:
                layers["mask"][k] = arena.take(tile * widths[k])
                if k:  # the layer below needs its unmasked output for its derivative
                    layers["input"][k] = arena.take(tile * widths[k])
        gradient, rates = arena.take(size), arena.take(N_COEFFICIENTS * v)
        loss_parameters = arena.take(max(sizes[-1], v))
        self.layout = LaneLayout(
            size=size, n_slots=n_slots, work_size=arena.end, tile=tile,
            first_trained=min(trained, default=architecture.n_layers), ema_slot=n_slots - 1 if averaged else -1,
            zeros=zeros, target=target, weight=weight, row=row, ld_row=ld_row, norm=norm, values=values, alive=alive,
            gradient=gradient, rates=rates, loss_parameters=loss_parameters,
        )  # fmt: skip
        self.params = tables.aligned_zeros(n_groups * size, dtype).reshape(n_groups, -1, v)
        self.slots = tables.aligned_zeros(n_groups * n_slots * size, dtype).reshape(n_groups, n_slots, size // v, v)
        self.n_threads = n_threads
        self._work = tables.aligned_zeros(n_threads * arena.end, dtype)
        parameters = self._work.reshape(n_threads, -1)[:, loss_parameters : loss_parameters + sizes[-1]]
        parameters[:] = architecture.loss_parameters
        self._keys = np.zeros(n_threads * v, np.uint64)
        self._sums = np.zeros((n_threads, N_SUMS, v))
        self._orders = np.zeros(0, np.int64)

    def state(self, *, averages: bool = False) -> LaneState:
        """Return the numbers for the kernel, with the running averages in place of the parameters if there are any."""
        averages = averages and self.layout.ema_slot >= 0
        params = np.ascontiguousarray(self.slots[:, -1]) if averages else self.params
        return LaneState(params.reshape(-1), self.slots.reshape(-1), self._work)

    def plan(
        self, run: LaneRun, nets: NetTables, first: int, *, metrics: npt.NDArray[np.int64], epochs: int,
        step_rates: npt.NDArray[np.float64], net_weights: npt.NDArray[np.floating],
    ) -> LanePlan:  # fmt: skip
        """Return the tables of a run of the groups from `first` of the tables on, at its beginning.

        `net_weights` are those of these nets.
        """
        size = self.n_threads * self.v * run.n_rows
        if run.shuffle and self._orders.size < size:
            self._orders = np.zeros(size, np.int64)
        end = min(first + self.n_groups, len(nets.limits))
        lanes = slice(first * self.v, end * self.v)
        nets.lanes["finished"][lanes] = 0
        n = (end - first) * self.v
        return LanePlan(
            layout=self.layout, run=run, first_group=0, end_group=0, n_steps=0, layers=self.layers,
            lanes=nets.lanes[lanes], progress=np.zeros(end - first, np.int64),
            limits=nets.limits[first:end].reshape(-1), metrics=metrics, hyper=nets.hyper[lanes],
            scalars=nets.scalars[lanes], step_rates=step_rates, net_weights=net_weights.reshape(-1),
            order=self._orders if run.shuffle else np.arange(run.n_rows), keys=self._keys, sums=self._sums,
            totals=np.zeros((N_SUMS, n)), epoch_totals=np.zeros((N_SUMS, epochs, n)),
        )  # fmt: skip


class NetTables:
    """Settings and counters of nets, in groups of V; those of lanes without a net are 0 and not alive.

    Attributes
    ----------
    lanes : table of `Lane`, (n_groups * V,)
    hyper, scalars : ndarray of float64, (n_groups * V, numbers)
    limits : ndarray, (n_groups, L, N_LIMITS, V)
    """

    def __init__(self, n_nets: int, n_layers: int, dtype: np.dtype[np.floating]) -> None:
        v = n_lanes(dtype)
        n_groups = -(-n_nets // v)
        self.lanes = tables.new_table(Lane, n_groups * v)
        self.lanes["rates"] = -1  # lanes without a net read no schedule
        self.hyper, self.scalars = np.zeros((n_groups * v, N_HYPER)), np.zeros((n_groups * v, N_SCALARS))
        self.limits = np.zeros((n_groups, n_layers, N_LIMITS, v), dtype)
