"""Net: specification, parameters and progress of a network, on which training, evaluation and persistence work.

`fastnn.model.Model` is its public interface.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from fastnn import initializers, losses, metrics, optimizers, regularizers
from fastnn._compatibility import as_metrics, as_optimizer, check_output, check_solver
from fastnn._data.prepare import RowFormat
from fastnn._engine.architecture import Architecture
from fastnn._engine.engine import Engine
from fastnn._engine.inference import NotFinite
from fastnn._engine.kernel_loading import load_kernels
from fastnn._engine.limits import WORK_FOR_THREADS, WORK_TO_START_THREADS
from fastnn._engine.processors import available_threads
from fastnn._engine.thread_team import ThreadTeam, as_n_threads
from fastnn._errors import warn
from fastnn._validation import MIXED_BFLOAT16, as_dtype_policy, as_seed, as_sequence, positive_integer
from fastnn.custom import CustomActivation, CustomLoss, activation_code, loss_code
from fastnn.history import History
from fastnn.kernels.lang.simd import HAS_BFLOAT16
from fastnn.kernels.maths.isfinite import all_finite
from fastnn.kernels.tables import param_offsets
from fastnn.layers import Dense, Dropout, as_layers, changed
from fastnn.losses import Loss
from fastnn.metrics import Metric
from fastnn.optimizers import Optimizer
from fastnn.regularizers import Regularizer

if TYPE_CHECKING:
    from fastnn._engine.derivatives import Derivatives

Array: TypeAlias = npt.NDArray[Any]
T = TypeVar("T")


@dataclass(frozen=True)
class Spec:
    """Immutable specification of a net, of which none changes once there are weights.

    Parameters
    ----------
    layers : tuple of Dense
        Empty while the width of the output is unknown.
    loss : Loss
    metrics : tuple of Metric
    seed : int
    dtype : numpy.dtype
    n_threads : int
        Maximum number of threads.
    mixed : bool
        Whether the matrix products read numbers rounded to bfloat16.
    """

    layers: tuple[Dense, ...]
    loss: Loss
    metrics: tuple[Metric, ...]
    seed: int
    dtype: np.dtype[Any]
    n_threads: int
    mixed: bool = False

    @property
    def dtype_policy(self) -> str:
        """The argument `dtype` of `Model`."""
        return MIXED_BFLOAT16 if self.mixed else self.dtype.name


class Net:
    """A network: its specification, and its state, which training changes.

    Parameters
    ----------
    spec : Spec
    optimizer : Optimizer
    regularizer : Regularizer

    Attributes
    ----------
    spec : Spec
    optimizer, regularizer
        Set by `set_optimizer` and `set_regularizer`.
    trainable : tuple of bool
        For each layer whether training changes it; set by `set_trainable`.
    engine : Engine or None
        Parameters, optimizer slots and buffers; None before `build`.
    feature_names : tuple of str or None
        Names of the columns of the data frame that the net was trained with.
    epochs_done : int
        Epochs over all fits, of which the order of rows is a function.
    history : History
        All epochs of all fits.
    stop_training : bool or str
        Set by a callback to end training after this epoch; a str becomes `History.stopped`.
    n_threads : int
        Threads that are used: those of `spec`, but not more than processors, which would be slower.
    kernel_lock : threading.RLock
        Held while kernels run, as their buffers are the engine's, and while a setting changes.
    """

    def __init__(self, spec: Spec, optimizer: Optimizer, regularizer: Regularizer) -> None:
        self.spec = spec
        self.optimizer = optimizer
        self.regularizer = regularizer
        self.trainable = tuple(layer.trainable for layer in spec.layers)
        self.engine: Engine | None = None
        self.feature_names: tuple[str, ...] | None = None
        self.epochs_done = 0
        self.history = History()
        self.stop_training: bool | str = False
        self.kernel_lock = threading.RLock()
        self.n_threads = min(spec.n_threads, available_threads())
        self._training: tuple[int] | None = None  # identifier of the thread that trains
        self._settings_fixed = False
        self._kernels_loaded = False
        self._derivatives: Derivatives | None = None
        _nets.add(self)

    # ------------------------------------------------------------------------------------------- widths

    @property
    def n_features(self) -> int | None:
        """Columns of X; None before `build`."""
        return None if self.engine is None else self.engine.architecture.sizes[0]

    @property
    def n_outputs(self) -> int | None:
        """Columns of the output; None without layers before `build`."""
        if self.engine is not None:
            return self.engine.architecture.sizes[-1]
        return self.spec.layers[-1].units if self.spec.layers else None

    @property
    def form(self) -> RowFormat:
        """What the net requires of its data."""
        names = None if self.engine is None else self.feature_names
        return RowFormat(self.spec.loss, self.spec.dtype, self.n_features, self.n_outputs, names)

    def flops_per_row(self, *, training: bool) -> int:
        """Return the floating-point operations per row in the matrix products."""
        return self.built().architecture.flops_per_row(training=training)

    # ----------------------------------------------------------------------------------------- building

    def built(self) -> Engine:
        """Return the engine.

        Raises
        ------
        ValueError
            If there are no weights yet.
        """
        if self.engine is None:
            raise ValueError("the model has no weights yet: call fit, or build(n_features), first.")
        return self.engine

    def build(self, n_features: int, n_outputs: int | None = None) -> None:
        """Allocate the parameters and draw the start weights, unless that is done; see `Model.build`."""
        known = self.n_outputs
        if known is None and n_outputs is None:
            raise ValueError("n_outputs must be given, as the list of layers is empty.")
        if known is not None and n_outputs is not None and n_outputs != known:
            raise ValueError(f"n_outputs is {n_outputs}, but the last layer has {known} unit{'s' * (known > 1)}.")
        if self.n_features is not None and n_features != self.n_features:
            raise ValueError(
                f"n_features is {n_features}, but the model is built for {self.n_features}; make a new Model."
            )
        with self.kernel_lock:
            if self.engine is None:
                self._draw(n_features, n_outputs)

    def learn_names(self, names: tuple[str, ...] | None) -> None:
        """Keep the names of the columns, which later data frames must have; None if there are none."""
        if self.engine is None or names is not None:
            self.feature_names = names

    def _draw(self, n_features: int, n_outputs: int | None) -> None:
        """Allocate the parameters and draw the start weights."""
        spec = replace(self.spec, layers=self.spec.layers or (Dense(n_outputs or 1),))
        check_output(spec.layers[-1], spec.loss)
        engine = _new_engine(spec, n_features, self.optimizer, self.regularizer, self.trainable)
        rng = np.random.default_rng(spec.seed)
        for layer, weights in zip(spec.layers, engine.weights(), strict=True):
            n_in, n_out = weights.shape
            weights[...] = initializers.initial_weights(layer.kernel_initializer, layer.activation, n_in, n_out, rng)
        self.spec = spec
        self.trainable = self.trainable or (True,)
        self.engine = engine

    def allocate(self, n_features: int) -> Engine:
        """Allocate the parameters without drawing start weights, to be overwritten, and return the engine."""
        self.engine = _new_engine(self.spec, n_features, self.optimizer, self.regularizer, self.trainable)
        return self.engine

    # ----------------------------------------------------------------------------------------- settings

    def set_optimizer(self, optimizer: Optimizer) -> None:
        """Replace the optimizer; one of the same kind keeps the slots, another one starts with slots of zeros."""
        with self.kernel_lock:
            self._check_settable("optimizer")
            self._settings_fixed = True  # also for a signal handler that comes in the middle of this
            engine = self.engine
            if engine is not None:
                before = engine.slots, engine.averaged, engine.steps_done, engine.scalars
            try:
                if engine is not None:
                    averaged = optimizers.averages(optimizer)
                    if getattr(optimizer, "rule", None) is not getattr(self.optimizer, "rule", None):  # no solver's
                        engine.reset_slots(optimizer.n_slots, averaged=averaged)
                    engine.set_averaged(averaged)
                self.optimizer = optimizer
            except BaseException:  # one of a signal handler, too: slots and optimizer must agree
                if engine is not None:
                    engine.slots, engine.averaged, engine.steps_done, engine.scalars = before
                    engine.update_readers()
                raise
            finally:
                self._settings_fixed = False

    def set_regularizer(self, regularizer: Regularizer) -> None:
        """Replace the regularizer, from the next step on."""
        with self.kernel_lock:
            self._check_settable("regularizer")
            self._settings_fixed = True
            before = self.regularizer
            try:
                self._set_penalties(regularizer)
                self.regularizer = regularizer
            except BaseException:
                self._set_penalties(before)
                raise
            finally:
                self._settings_fixed = False

    def _set_penalties(self, regularizer: Regularizer) -> None:
        if self.engine is not None:
            self.engine.set_penalties(((regularizer.l1, regularizer.l2),) * len(self.spec.layers))

    def set_trainable(self, trainable: tuple[bool, ...]) -> None:
        """Choose the layers that training changes."""
        with self.kernel_lock:
            self._check_settable("trainable")
            self._settings_fixed = True
            engine = self.engine
            if engine is not None:
                before = engine.architecture
            try:
                if engine is not None:
                    engine.set_trained(trainable)
                self.trainable = trainable
            except BaseException:
                if engine is not None:
                    engine.architecture = before
                raise
            finally:
                self._settings_fixed = False

    def restore(self, snapshot: Any) -> None:
        """Set the parameters to those of a snapshot."""
        with self.kernel_lock:
            self._check_settable("the weights")
            self.built().restore(snapshot)

    def _check_settable(self, name: str) -> None:
        """Raise RuntimeError in the middle of a step; the caller holds the lock, so this thread runs that step."""
        if self._settings_fixed:
            raise RuntimeError(
                f"{name} cannot be changed from a signal handler or a function of the learning rate while a step "
                "runs or another setting changes: change it in a callback, from another thread, or after the fit."
            )

    # ------------------------------------------------------------------------------------------ running

    def run_steps(self, steps: Callable[[Engine], T]) -> T:
        """Call a function that trains, while nothing can change the settings that it reads, nor the arrays."""
        with self.kernel_lock:
            self._settings_fixed = True
            try:
                return steps(self.built())
            finally:
                self._settings_fixed = False

    def load_kernels(self) -> float:
        """Load the kernels for this net before the first of them runs; return the seconds that this took."""
        seconds = load_kernels(self.spec.dtype, mixed=self.spec.mixed)
        self._kernels_loaded = True
        return seconds

    @contextmanager
    def team(self, work: int, *, once: bool = False) -> Iterator[ThreadTeam]:
        """Provide threads for runs of `work` floating-point operations, or for one: one if more would be slower."""
        enough = work >= (WORK_TO_START_THREADS if once else WORK_FOR_THREADS)
        self.load_kernels()
        with ThreadTeam(self.n_threads if enough else 1) as team:
            yield team

    def outputs(self, features: Array) -> Array | NotFinite | None:
        """Return the outputs (n, n_outputs) of prepared features, as `NotFinite` if one is; None if a feature is."""
        if not self._kernels_loaded:
            self.load_kernels()
        with self.kernel_lock:
            return self.built().predict(features, self.n_threads)

    def derivatives(self) -> Derivatives:
        """Return the buffers and calls for derivatives by the inputs, which the next call may replace."""
        from fastnn._engine.derivatives import Derivatives  # where used: most programs differentiate nothing

        engine = self.built()
        if not self._kernels_loaded:
            self.load_kernels()
        if self._derivatives is None or not self._derivatives.is_of(engine):
            self._derivatives = Derivatives(engine, self.n_threads)
        return self._derivatives

    @property
    def is_in_training(self) -> bool:
        """Whether a training of this net has begun and not ended."""
        return self._training is not None

    def in_training(self, call: str, train: Callable[[], T]) -> T:
        """Call `train`, unless another training runs; discard weights built by a call that fails before a step.

        A method in place of a context manager: an interrupt at the beginning of ``__exit__`` would leave the net in
        training for ever, but none can come between the end of a `try` and its `finally`.

        Parameters
        ----------
        call : str
            Name of the method that trains, for the error.
        train : callable
            Called without arguments.

        Raises
        ------
        RuntimeError
            If this net is in training already.
        """
        return all_in_training((self,), call, train)

    def reset_locks(self) -> None:
        """Replace what other threads hold (called in a forked child, which has no other threads)."""
        if self._training is not None and self._training[0] != threading.get_ident():
            self._training = None
        if self.kernel_lock.acquire(blocking=False):
            self.kernel_lock.release()
        else:
            self.kernel_lock = threading.RLock()
            self._settings_fixed = False

    def check_trainable(self) -> None:
        """Raise ValueError unless training changes a layer."""
        if self.trainable and not any(self.trainable):
            raise ValueError("there is nothing to train: all layers are frozen. Set model.trainable first.")

    def check_weights(self) -> None:
        """Raise ValueError unless all weights are finite, so that values written by the caller are no divergence."""
        if self.engine is None or all_finite(self.engine.params):
            return
        for name, arrays in (("weights", self.engine.weights()), ("biases", self.engine.biases())):
            for k, array in enumerate(arrays):
                if not np.isfinite(array).all():
                    raise ValueError(
                        f"{name}[{k}] of the model holds NaN or infinity: assign finite numbers, or make a new Model."
                    )


def all_in_training(nets: Sequence[Net], call: str, train: Callable[[], T]) -> T:
    """Call `train` for several nets as `Net.in_training` does for one."""
    before = [(net, net.spec, net.trainable, net.engine, net.epochs_done) for net in nets]
    own = (threading.get_ident(),)
    interrupt: BaseException | None = None
    try:
        for net in nets:
            with net.kernel_lock:  # not between the check and the assignment of a setter
                if net._training is not None:
                    raise RuntimeError(
                        f"{call} was called while this model is in training, from one of its callbacks or from another "
                        "thread: wait for the end, or train a copy (copy.copy(model))."
                    )
                net._training = own
        return train()
    except (TypeError, ValueError, MemoryError):
        for net, spec, trainable, engine, done in before:
            made = net.engine
            if engine is None and net.epochs_done == done and made is not None and not made.steps_done:
                net.spec, net.trainable, net.engine = spec, trainable, None
        raise
    finally:
        while True:  # no function, as an interrupt may come where one begins
            try:
                for net in nets:
                    if net._training is own:
                        net._training = None
                break
            except BaseException as error:
                interrupt = error
        if interrupt is not None:
            raise interrupt


_nets: weakref.WeakSet[Net] = weakref.WeakSet()


def _reset_all_locks() -> None:
    for net in list(_nets):
        net.reset_locks()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_all_locks)


def new_net(
    layers: Sequence[Dense | Dropout | int] | npt.NDArray[np.integer],
    *,
    loss: str | Loss,
    optimizer: str | Optimizer,
    regularizer: str | Regularizer | None,
    metrics: Sequence[str | Metric | metrics.MetricFunction] | None,
    seed: int | None,
    dtype: npt.DTypeLike,
    n_threads: int | None,
) -> Net:
    """Validate the arguments of `Model` and make a net of them, without weights."""
    given = as_layers(layers)
    a_loss = losses.get(loss)
    a_regularizer = regularizers.get(regularizer)
    some_metrics = as_metrics(metrics, a_loss)
    a_seed = as_seed(seed)
    a_dtype, mixed = as_dtype_policy(dtype)
    if mixed:
        _notify_of_no_instruction()
    an_optimizer = as_optimizer(optimizer, a_dtype)
    check_solver(an_optimizer, a_loss, a_regularizer)
    spec = Spec(given, a_loss, some_metrics, a_seed, a_dtype, as_n_threads(n_threads), mixed)
    if given:
        check_output(given[-1], a_loss)
    return Net(spec, an_optimizer, a_regularizer)


@functools.cache
def _notify_of_no_instruction() -> None:
    """Warn once per process if mixed precision is no faster than float32 here."""
    if not HAS_BFLOAT16:
        warn(
            f"dtype={MIXED_BFLOAT16!r} is no faster than 'float32' on this processor, which has no instruction for it "
            "(AVX512_BF16). The results are those of processors that have one.",
            UserWarning,
        )


def with_new_head(
    net: Net,
    layers: Sequence[Dense | Dropout | int],
    *,
    n_replaced: int,
    trainable: bool,
    settings: dict[str, Any],
) -> Net:
    """Make a net of the lower layers, with copies of their weights, and a new head; see `Model.replace_head`."""
    engine = net.built()
    own = net.spec.layers
    n_kept = len(own) - positive_integer(n_replaced, "n_replaced")
    if n_kept < 1:
        raise ValueError(f"n_replaced is {n_replaced}, but of the {len(own)} layers at least one must be kept.")
    kept = [changed(layer, trainable=bool(trainable)) for layer in own[:n_kept]]
    given = {name: getattr(net.spec, name) for name in ("loss", "seed", "n_threads")}
    given |= {"optimizer": net.optimizer, "regularizer": net.regularizer, "metrics": None}
    given["dtype"] = net.spec.dtype_policy
    head = as_sequence("layers", "a sequence of Dense, Dropout or int, such as [64, 10]", layers)
    made = new_net([*kept, *head], **(given | settings))
    made.build(engine.architecture.sizes[0])
    for new, old in ((made.built().weights(), engine.weights()), (made.built().biases(), engine.biases())):
        for k in range(n_kept):
            new[k][...] = old[k]
    return made


def _new_engine(
    spec: Spec, n_features: int, optimizer: Optimizer, regularizer: Regularizer, trainable: tuple[bool, ...]
) -> Engine:
    """Allocate the parameters (zeros) and slots of a net.

    Raises
    ------
    MemoryError
        If they do not fit into memory.
    """
    averaged = optimizers.averages(optimizer)
    try:
        architecture = _architecture(spec, n_features, regularizer, trainable)
        _check_address_space(architecture, 1 + optimizer.n_slots + averaged)
        return Engine(architecture, optimizer.n_slots, min(spec.n_threads, available_threads()), averaged=averaged)
    except (MemoryError, OverflowError) as error:
        net = "-".join(str(n) for n in (n_features, *(layer.units for layer in spec.layers)))
        raise MemoryError(
            f"n_features and layers make a net {net}, which does not fit into memory ({error})."
        ) from error


def _architecture(
    spec: Spec, n_features: int, regularizer: Regularizer, trainable: tuple[bool, ...]
) -> Architecture:
    """Return the architecture in the terms of the kernels."""
    layers = spec.layers
    return Architecture(
        sizes=(n_features, *(layer.units for layer in layers)),
        activations=tuple((layer.activation.rule.code, layer.activation.alpha) for layer in layers),
        use_bias=tuple(layer.use_bias for layer in layers),
        penalties=((regularizer.l1, regularizer.l2),) * len(layers),
        loss=spec.loss.rule.code,
        fused_output=spec.loss.link is layers[-1].activation.rule,
        dtype=spec.dtype,
        mixed=spec.mixed,
        loss_parameters=spec.loss.parameters(layers[-1].units),
        trained=trainable or tuple(layer.trainable for layer in layers),
        max_norms=tuple(layer.max_norm or 0.0 for layer in layers),
        dropouts=tuple(layer.dropout for layer in layers),
        functions=tuple(
            activation_code(layer.activation, spec.dtype) if isinstance(layer.activation, CustomActivation) else None
            for layer in layers
        ),
        loss_function=loss_code(spec.loss, spec.dtype) if isinstance(spec.loss, CustomLoss) else None,
    )


def _check_address_space(architecture: Architecture, n_arrays: int) -> None:
    """Raise MemoryError where NumPy would raise ValueError: for arrays larger than an address can be."""
    needed = n_arrays * param_offsets(architecture.sizes, architecture.dtype)[1] * architecture.dtype.itemsize
    if needed > sys.maxsize:
        raise MemoryError(f"{needed} bytes are needed")
