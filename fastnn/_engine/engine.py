"""The buffers of one net and the calls that run kernels over them.

Layers, names and rows are the terms of the modules above, offsets and codes those of the kernels. Here sizes become
tables, arrays become arenas, and compiled code runs in slices of about 50 ms.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from fastnn._data.rows import AugmentationPlan, Shuffle
from fastnn._engine.architecture import Architecture, address_of, set_penalties
from fastnn._engine.autotune import SliceTuner
from fastnn._engine.inference import InferencePlan, NotFinite
from fastnn._engine.limits import INFERENCE_LIMITS, WORKSPACE_LIMITS, InferenceLimits, WorkspaceLimits
from fastnn._engine.thread_team import ThreadTeam
from fastnn._engine.workspace import NO_ADVERSARY, NO_NUMBERS, NO_ORDER, Workspace
from fastnn._validation import must_be
from fastnn.kernels import tables
from fastnn.kernels.loop.train import train as train_kernel
from fastnn.kernels.nn.rules import check_slots, initial_scalars
from fastnn.kernels.tables import Data, Plan, Run, State


@dataclass
class Sums:
    """Sums over a run of steps.

    Attributes
    ----------
    loss : float
        Sum over rows of weight times loss.
    weight : float
        Sum of the rows' weights.
    metrics : tuple of float
        For each metric the sum over rows of weight times metric.
    penalty : float
        Sum over steps of R.
    steps : int
        Number of steps.
    status : int
        OK, LOSS_NOT_FINITE or WEIGHTS_NOT_FINITE of `kernels.tables`.
    """

    loss: float = 0.0
    weight: float = 0.0
    metrics: tuple[float, ...] = ()
    penalty: float = 0.0
    steps: int = 0
    status: int = tables.OK


@dataclass(frozen=True)
class StepOptions:
    """How a step updates the weights, given the gradient.

    Parameters
    ----------
    optimizer : id
    rates : learning rate and the optimizer's hyperparameters
    weight_decay : share of the weights that a step subtracts, times the learning rate
    clip_value, clip_norm : upper limit of the size of each element of the gradient, and of its norm; 0 for none
    ema_decay : of the running average, if the engine has one
    """

    optimizer: int
    rates: tuple[float, ...]
    weight_decay: float = 0.0
    clip_value: float = 0.0
    clip_norm: float = 0.0
    ema_decay: float = 0.0


@dataclass(frozen=True, eq=False)
class RunOptions:
    """Which batches a run consists of, and what is measured.

    Parameters
    ----------
    batch : rows per batch; the last one of an epoch may have fewer
    metrics : ids, N_METRICS at most
    shuffle : how each epoch's order is made, in the memory of `Data.order`; None leaves that as it is
    seed : of dropout and augmentation; that of `shuffle`, if it is given
    changes : how features and targets are changed at random
    step_rates : (steps of the run,) float64, the learning rate of each step; or (0,) for that of `StepOptions.rates`
    step_losses : of the same shape, overwritten with the mean loss of each step's batch, without penalty; or (0,)
    step_penalties : of the same shape, overwritten with the penalty of each step; or (0,)
    penalty_weight : see `tables.Run`
    adversary : (1,) or (0,) `tables.Adversary`, how the rows of a step are moved against the net
    """

    batch: int
    metrics: tuple[int, ...] = ()
    shuffle: Shuffle | None = None
    seed: int = 0
    changes: AugmentationPlan | None = None
    step_rates: np.ndarray = field(default_factory=lambda: NO_NUMBERS)
    step_losses: np.ndarray = field(default_factory=lambda: NO_NUMBERS)
    step_penalties: np.ndarray = field(default_factory=lambda: NO_NUMBERS)
    penalty_weight: float = 0.0
    adversary: np.ndarray = field(default_factory=lambda: NO_ADVERSARY)

    def plan(self, plan: Plan, settings: Run, end_step: int) -> Plan:
        """Return the plan of a slice of the run, which ends before `end_step`."""
        return plan._replace(
            run=settings,
            end_step=end_step,
            order=NO_ORDER if self.shuffle is None else self.shuffle.order,
            step_rates=self.step_rates,
            step_losses=self.step_losses,
            step_penalties=self.step_penalties,
            mixing=NO_NUMBERS if self.changes is None else self.changes.mixing,
            adversary=self.adversary,
        )


def _purpose(adversary: np.ndarray) -> str:
    """Return the purpose of the workspace of training."""
    return "train_against" if adversary.size else "train"


class Reader(Protocol):
    """An object outside that reads the parameters of an engine, and must know where they are."""

    def point_at(self, params: np.ndarray, /) -> None:
        """Read another array from now on."""


def _n_rows(data: Data) -> int:
    """Return the number of rows in use: those of the order, or all."""
    return len(data.order) or len(data.features)


def _sums_of(totals: np.void, n_metrics: int, steps: int) -> Sums:
    """Return the sums in a record of `tables.Totals`."""
    return Sums(
        loss=float(totals["loss"]),
        weight=float(totals["weight"]),
        metrics=(float(totals["first_metric"]), float(totals["second_metric"]))[:n_metrics],
        penalty=float(totals["penalty"]),
        steps=steps,
    )


def as_int64(seed: int) -> int:
    """Return the int64 with the same 64 bits as the unsigned `seed`."""
    return seed - (1 << 64) if seed >= 1 << 63 else seed


class Engine:
    """Parameters, optimizer slots and workspaces of one net.

    Attributes
    ----------
    params : ndarray
        (P,) weights and biases of all layers, padded; see `kernels.tables`.
    slots : ndarray
        (n_slots, P); if `averaged`, the last one is the running average of the parameters.
    averaged : bool
        Whether there is a running average.
    steps_done : int
        Updates since the slots were zero.
    scalars : tuple of float
        Numbers that the optimizer keeps between steps; empty before the first step. See `kernels.nn.rules`.
    """

    def __init__(
        self,
        architecture: Architecture,
        n_slots: int,
        n_threads: int,
        *,
        averaged: bool = False,
        limits: WorkspaceLimits = WORKSPACE_LIMITS,
        inference_limits: InferenceLimits = INFERENCE_LIMITS,
    ) -> None:
        self._limits = limits
        self._inference_limits = inference_limits
        self.architecture = architecture
        self.n_threads = n_threads
        self.offsets, size = tables.param_offsets(architecture.sizes, architecture.dtype)
        self.params = tables.aligned_zeros(size, architecture.dtype)
        self._predictor: InferencePlan | None = None
        self._readers: weakref.WeakSet[Reader] = weakref.WeakSet()
        self.reset_slots(n_slots, averaged=averaged)
        self._grad = np.zeros(0, architecture.dtype)
        self._workspaces: dict[str, Workspace] = {}
        self._n_in = architecture.sizes[0]

    # ------------------------------------------------------------------------------------------- views

    def weights(self) -> list[np.ndarray]:
        """Return views of the unpadded weights, (I, O) per layer."""
        return self._views(self.params)[0]

    def biases(self) -> list[np.ndarray]:
        """Return views of the biases, (O,) per layer."""
        return self._views(self.params)[1]

    def _views(self, flat: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        weights, biases = [], []
        lds = self.architecture.leading_dimensions()
        for k, (w, bias) in enumerate(self.offsets):
            n_in, n_out = self.architecture.sizes[k : k + 2]
            if tables.is_narrow(n_in, n_out, self.architecture.dtype):
                weights.append(flat[w : w + n_out * lds[k]].reshape(n_out, lds[k])[:, :n_in].T)
            else:
                weights.append(flat[w : w + n_in * lds[k + 1]].reshape(n_in, lds[k + 1])[:, :n_out])
            biases.append(flat[bias : bias + n_out])
        return weights, biases

    def named_views(self) -> list[tuple[str, list[np.ndarray], list[np.ndarray]]]:
        """Return views of the parameters and of each slot: name, weights and biases per layer."""
        slots = [(f"slot_{k}", *self._views(slot)) for k, slot in enumerate(self.slots)]
        return [("params", *self._views(self.params)), *slots]

    def parameter_index(self) -> np.ndarray:
        """Return the index in `params` of each weight and bias that is trained; (P',) int64.

        Trained layer by trained layer, W (I, O) row by row and then b, which is left out where the layer has none.
        """
        weights, biases = self._views(np.arange(self.params.size))
        parts = [np.empty(0, np.int64)]
        for k in self.architecture.trained_layers():
            parts += [weights[k].ravel(), biases[k]] if self.architecture.use_bias[k] else [weights[k].ravel()]
        return np.concatenate(parts)

    def layer_index(self) -> np.ndarray:
        """Return the index in `params` of each bias and weight, layer by layer: b (O,), then W (I, O) row by row."""
        weights, biases = self._views(np.arange(self.params.size))
        return np.concatenate([a.ravel() for pair in zip(biases, weights, strict=True) for a in pair])

    def reset_slots(self, n_slots: int, *, averaged: bool = False) -> None:
        """Replace the optimizer's slots by zeros, for another kind of optimizer, and reset the average."""
        self.averaged = averaged
        self.slots = self._new_slots(n_slots + averaged)
        self.steps_done = 0
        self.scalars: tuple[float, ...] = ()
        self._predictor = None
        self.update_readers()

    def set_progress(self, steps_done: int, scalars: tuple[float, ...]) -> None:
        """Set what updates outside of this engine have changed besides `params` and `slots`."""
        self.steps_done, self.scalars = steps_done, scalars
        self._predictor = None
        self.update_readers()

    def _new_slots(self, n_slots: int) -> np.ndarray:
        size = self.params.size
        return tables.aligned_zeros(n_slots * size, self.architecture.dtype).reshape(n_slots, size)

    def set_averaged(self, averaged: bool) -> None:
        """Start a running average from the present parameters, or drop it; the other slots stay."""
        if averaged == self.averaged:
            return
        kept = self.slots if averaged else self.slots[:-1]
        self.slots = self._new_slots(len(kept) + averaged)
        self.slots[: len(kept)] = kept
        if averaged:
            self.slots[-1] = self.params
        self.averaged = averaged
        self._predictor = None
        self.update_readers()

    def set_trained(self, trained: tuple[bool, ...]) -> None:
        """Choose the layers that the next steps train; (L,) bool."""
        self.architecture = replace(self.architecture, trained=trained)
        self._workspaces.clear()

    @property
    def final_params(self) -> np.ndarray:
        """Parameters used for predictions: the running average if there is one, else `params`."""
        return self.slots[-1] if self.averaged and self.steps_done else self.params

    def add_reader(self, reader: Reader) -> None:
        """Call `point_at` of an object, as long as it lives, with `final_params` whenever they may be another array."""
        self._readers.add(reader)

    def update_readers(self) -> None:
        """Call `point_at` of the readers."""
        if self._readers:
            for reader in tuple(self._readers):
                reader.point_at(self.final_params)

    def set_penalties(self, penalties: tuple[tuple[float, float], ...]) -> None:
        """Replace the factors l1 and l2 of each layer; (L,) pairs."""
        self.architecture = replace(self.architecture, penalties=penalties)
        for space in self._workspaces.values():
            set_penalties(space.layers, self.architecture)

    def averages(self) -> tuple[list[np.ndarray], list[np.ndarray]] | None:
        """Return copies of the running averages of weights and biases; None without an average."""
        if not self.averaged:
            return None
        return self.final_weights()

    def final_weights(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Return copies of the weights (I, O) and biases (O,) that predictions use."""
        weights, biases = self._views(self.final_params)
        return [w.copy() for w in weights], [b.copy() for b in biases]

    def snapshot(self) -> tuple[np.ndarray, np.ndarray]:
        """Return copies of `params` and `final_params`."""
        return self.params.copy(), self.final_params.copy()

    def restore(self, snapshot: tuple[np.ndarray, np.ndarray]) -> None:
        """Restore a `snapshot` and its predictions, whether or not there is an average now."""
        parts = snapshot if type(snapshot) is tuple else ()
        if len(parts) != 2 or any(
            type(part) is not np.ndarray or part.shape != self.params.shape or part.dtype != self.params.dtype
            for part in parts
        ):
            raise TypeError(must_be("snapshot", "what the method snapshot of this model returned", snapshot))
        params, final = snapshot
        self.params[:] = params if self.averaged else final
        if self.averaged:
            self.slots[-1] = final

    # ------------------------------------------------------------------------------------------ running

    def _workspace(self, purpose: str, batch: int, team: ThreadTeam) -> Workspace:
        """Return the workspace for a purpose; only the last one of each purpose is kept."""
        found = self._workspaces.get(purpose)
        if found is None or found.batch != batch or found.max_threads < team.n_threads:
            n_threads = max(self.n_threads, team.n_threads)
            found = Workspace(
                self.architecture, batch, n_threads, gradients=purpose != "evaluate",
                dropout=purpose.startswith("train"), to_inputs=purpose == "train_against", limits=self._limits,
            )  # fmt: skip
            self._workspaces[purpose] = found
        return found

    def take_workspaces(self) -> dict[str, Workspace]:
        """Return the workspaces and keep none, nor the memory of a gradient, so that another engine may use them."""
        taken, self._workspaces = self._workspaces, {}
        self._grad = np.zeros(0, self.architecture.dtype)
        return taken

    def give_workspaces(self, workspaces: dict[str, Workspace]) -> None:
        """Use workspaces of an engine whose architecture differs at most in the penalties."""
        self._workspaces = workspaces
        for space in workspaces.values():
            set_penalties(space.layers, self.architecture)

    def epochs_per_slice(
        self, n_rows: int, batch: int, team: ThreadTeam, *, adversary: np.ndarray = NO_ADVERSARY
    ) -> int:
        """Return the epochs per slice that the timing of earlier steps suggests."""
        space = self._workspace(_purpose(adversary), batch, team)
        return space.pace(team.n_threads).epochs(-(-n_rows // batch))

    def gradient_buffer(self) -> np.ndarray:
        """Return the memory of a gradient in the layout of `params`."""
        if self._grad.size != self.params.size:
            self._grad = tables.aligned_zeros(self.params.size, self.architecture.dtype)
        return self._grad

    def train_epoch(
        self, data: Data, step: StepOptions, run: RunOptions, *, team: ThreadTeam, pace: SliceTuner | None = None,
        on_slice: Callable[[int, Sums], None] | None = None,
    ) -> Sums:  # fmt: skip
        """Make one pass over the data in the order that they come in; return the last sums of `train_epochs`."""
        return self.train_epochs(data, 1, [], step, run, team=team, pace=pace, on_slice=on_slice)

    def train_epochs(
        self,
        data: Data,
        epochs: int,
        finished: list[tuple[Sums, float]],
        step: StepOptions,
        run: RunOptions,
        *,
        team: ThreadTeam,
        pace: SliceTuner | None = None,
        on_slice: Callable[[int, Sums], None] | None = None,
    ) -> Sums:
        """Make passes over the data in mini-batches.

        Parameters
        ----------
        data : from `as_data`
        epochs : number of passes, at most MAX_EPOCHS
        finished : sums and seconds of each epoch are appended, also if an exception ends the run
        step : how weights are updated
        run : batches, order, randomness, metrics
        team : the threads
        pace : how the threads are used; by default as was measured in epochs of the same batch size
        on_slice : called after each slice with the rows done of the epoch and the sums so far

        Returns
        -------
        Sums
            Those of the last epoch, with a status other than OK (and the epoch not finished) if training diverged.
        """
        n_rows = _n_rows(data)
        n_steps = -(-n_rows // run.batch)
        n_metrics = len(run.metrics)
        slots, averaged = self.slots, self.averaged
        check_slots(step.optimizer, len(slots) - averaged)
        space = self._begin(step, run, team)
        grad = self.gradient_buffer() if run.batch > space.chunk or step.clip_norm else self._grad
        state = State(self.params, slots.reshape(-1), grad, space.work, space.rounded)
        settings = self.settings(step, run, n_rows, ema_slot=len(slots) - 1 if averaged else -1)
        pace = space.pace(team.n_threads) if pace is None else pace
        sums = Sums()
        number, done, seconds = 0, 0, 0.0
        while number < epochs * n_steps:
            wanted, count = pace.next()
            n_threads = team.start(wanted)
            plan = run.plan(space.plan(n_threads), settings, min(number + count, epochs * n_steps))
            start = time.perf_counter()
            try:
                sums.status = int(team.run(train_kernel, state, plan, data, n_threads=n_threads))
            finally:  # KeyboardInterrupt may be raised as soon as the kernel returns
                reached = self.end_updates(space)
                seconds += time.perf_counter() - start
                n_new = reached // n_steps - done
                for totals in space.epoch_totals[done : done + n_new]:
                    finished.append((_sums_of(totals, n_metrics, n_steps), seconds / n_new))
                done += n_new
            pace.learn(wanted, reached - number, time.perf_counter() - start)
            number = reached
            if n_new:
                seconds = 0.0
            status = sums.status
            at_end = number % n_steps == 0
            sums = finished[-1][0] if n_new and at_end else _sums_of(space.totals[0], n_metrics, number % n_steps)
            sums.status = status
            if status != tables.OK:
                break
            if on_slice is not None:
                on_slice(n_rows if at_end else number % n_steps * run.batch, sums)
        return sums

    def _begin(self, step: StepOptions, run: RunOptions, team: ThreadTeam) -> Workspace:
        """Prepare the workspace of training for a run, and the optimizer's memory for its first step."""
        space = self._workspace(_purpose(run.adversary), run.batch, team)
        space.begin(run.metrics)
        self.begin_updates(space, step)
        return space

    def begin_updates(self, space: Workspace, step: StepOptions) -> None:
        """Prepare a workspace for updates, and the optimizer's memory for its first one."""
        if not self.steps_done:
            self.scalars = initial_scalars(step.optimizer)
            if self.averaged:
                self.slots[-1] = self.params
                self._predictor = None
        space.progress["steps_done"] = self.steps_done
        space.hyper[: len(step.rates) - 1] = step.rates[1:]
        space.scalars[: len(self.scalars)] = self.scalars

    def end_updates(self, space: Workspace) -> int:
        """Keep what the updates of a workspace have changed besides the arrays; return the steps of the run."""
        reached, self.steps_done = space.progress[0].item()
        self.scalars = tuple(map(float, space.scalars[: len(self.scalars)]))
        self.update_readers()  # from the first step on, there may be an average
        return int(reached)

    def settings(self, step: StepOptions, run: RunOptions, n_rows: int, *, ema_slot: int) -> Run:
        """Return the settings of a run of training, of the types that the kernel is compiled for."""
        shuffle, changes = run.shuffle, AugmentationPlan() if run.changes is None else run.changes
        return Run(
            mode=tables.TRAIN,
            n_rows=n_rows,
            epoch_steps=-(-n_rows // run.batch),
            loss=self.architecture.loss,
            optimizer=step.optimizer,
            learning_rate=float(step.rates[0]),
            weight_decay=float(step.weight_decay),
            clip_value=float(step.clip_value),
            clip_norm=float(step.clip_norm),
            ema_slot=ema_slot,
            ema_decay=float(step.ema_decay),
            seed=as_int64(run.seed if shuffle is None else shuffle.seed),
            shuffle=shuffle is not None,
            epoch=0 if shuffle is None else shuffle.epoch,
            augment=run.changes is not None,
            row_function=address_of(changes.function),
            noise=float(changes.noise),
            penalty_weight=float(run.penalty_weight),
        )

    def evaluate(self, data: Data, *, metrics: tuple[int, ...], team: ThreadTeam) -> Sums:
        """Return the sums of loss and metrics over all rows, without penalty."""
        return self._whole(data, tables.EVALUATE, metrics, team)

    def losses(self, data: Data, *, team: ThreadTeam) -> np.ndarray:
        """Return the loss of each row, without weight and penalty; (n,). NaN from the first that is not finite on."""
        losses = np.full(_n_rows(data), np.nan)
        self._whole(data, tables.EVALUATE, (), team, step_losses=losses)
        return losses

    def gradient(self, data: Data, *, team: ThreadTeam) -> tuple[Sums, list[np.ndarray], list[np.ndarray]]:
        """Return sums, dE/dW and dE/db per layer (copies) of all rows as one batch."""
        sums, grad = self.flat_gradient(data, team=team)
        return sums, *self.copies_of_gradient(grad)

    def copies_of_gradient(self, grad: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Return copies of a gradient per layer, zeros where nothing is trained; overwrites it there, too."""
        weights, biases = self._views(grad)
        trained = self.architecture.trained_layers()
        for k, used in enumerate(self.architecture.use_bias):
            if k not in trained:
                weights[k][:] = 0.0
            if k not in trained or not used:
                biases[k][:] = 0.0
        return [w.copy() for w in weights], [b.copy() for b in biases]

    def write_gradient(self, weights: list[np.ndarray], biases: list[np.ndarray]) -> None:
        """Overwrite the buffer of the gradient."""
        grad = self.gradient_buffer()
        grad[:] = 0.0  # padding
        for mine, given in zip(self._views(grad), (weights, biases), strict=True):
            for view, array in zip(mine, given, strict=True):
                view[...] = array

    def flat_gradient(self, data: Data, *, team: ThreadTeam, metrics: tuple[int, ...] = ()) -> tuple[Sums, np.ndarray]:
        """Return sums and gradient of all rows as one batch, the gradient in the layout of `params`.

        The gradient is the engine's buffer, which the next call overwrites. Elements of unused biases are computed
        as if they were used.
        """
        grad = self.gradient_buffer()
        return self._whole(data, tables.GRADIENT, metrics, team), grad

    def _whole(
        self, data: Data, mode: int, metrics: tuple[int, ...], team: ThreadTeam, step_losses: np.ndarray = NO_NUMBERS
    ) -> Sums:
        n_rows = _n_rows(data)
        # Without a gradient no sum over the rows of a chunk is needed, so a small chunk suffices.
        batch = min(n_rows, self._limits.min_chunk) if mode == tables.EVALUATE else n_rows
        if step_losses.size:
            batch = 1
        space = self._workspace("evaluate" if mode == tables.EVALUATE else "gradient", batch, team)
        params = self.final_params if mode == tables.EVALUATE else self.params
        state = State(params, self.slots.reshape(-1), self._grad, space.work, space.rounded)
        space.begin(metrics)
        n_steps = -(-n_rows // batch)
        run = Run(mode=mode, n_rows=n_rows, epoch_steps=n_steps, loss=self.architecture.loss)
        n_threads = team.start(team.n_threads)
        plan = space.plan(n_threads)._replace(run=run, end_step=n_steps, step_losses=step_losses)
        status = int(team.run(train_kernel, state, plan, data, n_threads=n_threads))
        # The sums of the finished epoch, or of the steps before the failure.
        steps = int(space.progress["step"][0])
        totals = space.epoch_totals if steps == n_steps else space.totals
        sums = _sums_of(totals[0], len(metrics), steps)
        sums.status = status
        return sums

    def can_read(self, X: Any) -> bool:
        """Return whether the kernels can read `X` unconverted: dtype, width, C order, alignment, at least one row."""
        if type(X) is not np.ndarray or X.dtype != self.params.dtype or X.ndim != 2:
            return False
        n_rows, n_in = X.shape
        flags = X.flags
        return n_rows > 0 and n_in == self._n_in and flags.c_contiguous and flags.aligned

    def predict(self, features: np.ndarray, n_threads: int = 1) -> np.ndarray | NotFinite | None:
        """Return the outputs f(x) of all rows, (n, O), as `NotFinite` if one is; None if a feature is."""
        predictor = self._predictor
        if predictor is None or predictor.n_threads < n_threads:
            predictor = self._predictor = InferencePlan(
                self.architecture, self.final_params, n_threads, self._inference_limits
            )
        return predictor(features)
