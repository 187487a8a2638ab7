"""Model: the one class most people meet.

It says one formula, min E(f(x), t) + R: the optimizer minimises the loss E of the layers' output f(x) against
the targets t, plus the regularizer R.
"""

from __future__ import annotations

import functools
import math
import numbers
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from fastnn import activations, initializers, losses, metrics, optimizers, regularizers, solvers, storage
from fastnn.arguments import (
    as_dtype,
    as_metrics,
    as_n_threads,
    as_optimizer,
    as_seed,
    as_verbose,
    check_bool,
    check_output,
    check_solver,
    positive_integer,
    solver_batch,
)
from fastnn.callbacks import Callback, as_callbacks
from fastnn.data import Targets, as_features, as_sample_weight, as_targets, split_validation
from fastnn.engine import Architecture, Engine, Shuffle, Sums, as_data, shuffled
from fastnn.history import History
from fastnn.kernels import codes
from fastnn.kernels.layout import LOSS_NOT_FINITE, OK
from fastnn.kernels.scan import all_finite
from fastnn.layers import Dense, as_layers
from fastnn.progress import ProgressBar, bar
from fastnn.team import Team, available_threads

Array: TypeAlias = npt.NDArray[Any]
ValidationData: TypeAlias = tuple[Any, Any] | tuple[Any, Any, Any]

#: Operations below which a second thread is not worth waking (some 50 us of a core).
WORK_FOR_A_TEAM = 5_000_000

#: Rows of a batch where `fit` is told nothing.
DEFAULT_BATCH = 32

#: The activation that a loss implies where the last layer has none.
_PROBABILITIES = {codes.SOFTMAX_CROSSENTROPY: codes.SOFTMAX, codes.BINARY_CROSSENTROPY: codes.SIGMOID}

#: What the engine is built from: a change would not reach it.
_FIXED = frozenset({"layers", "loss", "metrics", "seed", "dtype", "n_threads"})


class DivergenceError(FloatingPointError):
    """The loss or a weight stopped being finite; the model keeps its last finite weights.

    Attributes
    ----------
    epoch : int
        Number of the epoch, counted over all fits from 0.
    learning_rate : float
        The rate that was in use.
    history : History
        What the epochs before told.
    """

    def __init__(self, message: str, *, epoch: int, learning_rate: float, history: History) -> None:
        super().__init__(message)
        self.epoch = epoch
        self.learning_rate = learning_rate
        self.history = history

    def __reduce__(self) -> tuple[Any, ...]:
        """For pickle: a pool of processes could not hand on the error otherwise, and would wait for ever."""
        settings: dict[str, Any] = {"epoch": self.epoch, "learning_rate": self.learning_rate, "history": self.history}
        return functools.partial(type(self), **settings), (str(self),)


@dataclass(frozen=True)
class _Rows:
    """Checked data of one role (training or validation), and which of its rows take part, in order."""

    features: Array
    targets: Targets
    sample_weight: Array
    index: npt.NDArray[np.int64] | None = None

    @property
    def n(self) -> int:
        return len(self.features) if self.index is None else len(self.index)

    def data(self, order: npt.NDArray[np.int64] | None = None) -> Any:
        """For the kernels; `order` permutes the rows that take part."""
        rows = order if self.index is None else self.index if order is None else self.index[order]
        return as_data(self.features, self.targets.values, self.targets.labels, self.sample_weight, rows)


class Model:
    """A multilayer perceptron and its training: min E(f(x), t) + R.

    Nothing is compiled or allocated before the first call that needs it.

    Parameters
    ----------
    layers : sequence of Dense or int
        From the first hidden layer to the output. A plain int is a `Dense` layer of that width, with ReLU
        when hidden and without activation at the end. An empty sequence is a net without hidden layer whose
        output is as wide as the targets ask: linear, logistic or softmax regression, by the loss.
    loss : str or Loss
        "squared_error", "sum_of_squares", "binary_crossentropy" or "softmax_crossentropy". The two
        cross-entropies are computed from logits: the last layer is linear, or its "sigmoid" or "softmax" is
        understood as part of the loss.
    optimizer : str or optimizer
        "sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", or an instance with its settings; the
        full-batch methods "lbfgs" and, for squared errors, "lm" (Levenberg-Marquardt) for small nets.
    regularizer : None, str or regularizer
        None, "l1", "l2", "l1_l2" or an instance; a penalty on all weights, not on biases.
    metrics : sequence of str, or None
        "accuracy", "mean_squared_error", "mean_absolute_error"; None is accuracy for the cross-entropies
        and nothing for the others.
    seed : int or None
        From it come the start weights, the order of rows in each epoch and the split for validation. The
        same seed gives the same bits, whatever the number of threads. None draws one; see `seed`.
    dtype : {"float32", "float64"}
        Precision of weights and arithmetic.
    n_threads : int or None
        Most threads to use; None is all processors of the process. Fewer are used where that is faster.

    Attributes
    ----------
    layers : tuple of Dense
    loss, optimizer, regularizer, metrics : as resolved; `optimizer` and `regularizer` may be replaced
    seed : int
    dtype : numpy.dtype
    n_features, n_outputs : int or None
        Widths of input and output; None as long as unknown.
    weights, biases : list of ndarray
        Views of the parameters, (n_in, n_out) and (n_out,) a layer; writing into them changes the model.
    history : History
        All epochs of all fits.
    stop_training : bool
        Set by a callback to end the training after this epoch.

    Notes
    -----
    Threads that use one model at the same time take turns; while it trains, they get theirs between epochs.

    Examples
    --------
    >>> import fastnn
    >>> X, y, X_test, y_test = fastnn.datasets.load_digits()
    >>> model = fastnn.Model([64, 10], loss="softmax_crossentropy", seed=0)
    >>> history = model.fit(X, y, epochs=10)
    >>> bool(model.evaluate(X_test, y_test)["accuracy"] > 0.9)
    True
    """

    def __init__(
        self,
        layers: Sequence[Dense | int] | npt.NDArray[np.integer],
        *,
        loss: str | losses.Loss,
        optimizer: str | optimizers.Optimizer = "adam",
        regularizer: str | regularizers.Regularizer | None = None,
        metrics: Sequence[str | metrics.Metric] | None = None,
        seed: int | None = None,
        dtype: npt.DTypeLike = "float32",
        n_threads: int | None = None,
    ) -> None:
        self.layers = as_layers(layers)
        self.loss = losses.get(loss)
        self._regularizer = regularizers.get(regularizer)
        self.metrics = as_metrics(metrics, self.loss)
        self.seed = as_seed(seed)
        self.dtype = as_dtype(dtype)
        self._optimizer = as_optimizer(optimizer, self.dtype)
        check_solver(self._optimizer, self.loss, self.regularizer)
        self.n_threads = as_n_threads(n_threads)
        self._n_predicting = min(self.n_threads, available_threads())  # more would only be in each other's way
        self.history = History()
        self.stop_training = False
        self._epochs_done = 0
        self._engine: Engine | None = None
        self._turn = threading.RLock()  # whoever runs kernels: their buffers are the model's
        self._training = threading.Lock()
        if self.layers:
            check_output(self.layers[-1], self.loss)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; those that the engine is built from cannot be set again."""
        if name in _FIXED and name in self.__dict__:
            raise AttributeError(f"{name} of a Model cannot be changed; make a new Model with another {name}.")
        super().__setattr__(name, value)

    # --------------------------------------------------------------------------------------- what it is

    @property
    def optimizer(self) -> optimizers.Optimizer:
        """The optimizer; one of the same kind (with another rate, say) goes on with the memory it has."""
        return self._optimizer

    @optimizer.setter
    def optimizer(self, optimizer: str | optimizers.Optimizer) -> None:
        new = as_optimizer(optimizer, self.dtype)
        check_solver(new, self.loss, self.regularizer)
        if self._training.locked() and isinstance(new, optimizers.Solver) != isinstance(
            self._optimizer, optimizers.Solver
        ):
            raise ValueError(
                f"optimizer is {new!r}, but a fit that is under way with {self._optimizer!r} cannot go on with it, for "
                "one works on batches and the other on all rows: call fit again with the new one."
            )
        if self._engine is not None and new.code != self._optimizer.code:
            self._engine.reset_slots(new.n_slots)
        self._optimizer = new

    @property
    def regularizer(self) -> regularizers.Regularizer:
        """The regularizer; another one takes effect with the next step."""
        return self._regularizer

    @regularizer.setter
    def regularizer(self, regularizer: str | regularizers.Regularizer | None) -> None:
        new = regularizers.get(regularizer)
        check_solver(self._optimizer, self.loss, new)
        if self._engine is not None and (new.l1, new.l2) != (self._regularizer.l1, self._regularizer.l2):
            self._engine.set_penalties(((new.l1, new.l2),) * len(self.layers))
        self._regularizer = new

    @property
    def built(self) -> bool:
        """Whether the widths are known and the weights exist."""
        return self._engine is not None

    @property
    def n_features(self) -> int | None:
        """Columns of X; None before the first fit or build."""
        return None if self._engine is None else self._engine.architecture.sizes[0]

    @property
    def n_outputs(self) -> int | None:
        """Columns of the output; None for an empty list of layers before the first fit or build."""
        if self._engine is not None:
            return self._engine.architecture.sizes[-1]
        return self.layers[-1].units if self.layers else None

    @property
    def weights(self) -> list[Array]:
        """Views of the weights, (n_in, n_out) a layer; writing into them changes the model."""
        return self._built().weights()

    @property
    def biases(self) -> list[Array]:
        """Views of the biases, (n_out,) a layer; writing into them changes the model."""
        return self._built().biases()

    @property
    def n_params(self) -> int:
        """Number of weights and biases."""
        engine = self._built()
        used = zip(engine.biases(), engine.architecture.use_bias, strict=True)
        return sum(w.size for w in engine.weights()) + sum(b.size for b, is_used in used if is_used)

    def flops_per_row(self, *, training: bool) -> int:
        """Floating-point operations that one row needs, in its matrix products alone.

        Two a weight for the forward pass; training adds two for dE/dW and, except in the first layer, two
        for dE/dX.
        """
        return self._built().architecture.flops_per_row(training=training)

    def build(self, n_features: int, n_outputs: int | None = None) -> Model:
        """Make the start weights now, instead of at the first fit.

        Parameters
        ----------
        n_features : int
            Columns of X.
        n_outputs : int or None
            Columns of the output; needed only when `layers` is empty.

        Raises
        ------
        ValueError
            If the model is built already with other widths, or a width is missing or contradicts `layers`.
        """
        n_features = positive_integer(n_features, "n_features")
        if n_outputs is not None:
            n_outputs = positive_integer(n_outputs, "n_outputs")
        known = self.n_outputs
        if known is None and n_outputs is None:
            raise ValueError("n_outputs is missing: with an empty list of layers the output's width must be given.")
        if known is not None and n_outputs is not None and n_outputs != known:
            raise ValueError(f"n_outputs is {n_outputs}, but the last layer has {known} units.")
        if self.n_features is not None and n_features != self.n_features:
            raise ValueError(
                f"n_features is {n_features}, but the model is built for {self.n_features}; make a new Model."
            )
        if self._engine is None:
            layers = self.layers or (Dense(n_outputs or 1),)
            check_output(layers[-1], self.loss)
            try:
                engine = self._new_engine(layers, n_features)
            except (MemoryError, OverflowError, ValueError) as error:
                net = "-".join(str(n) for n in (n_features, *(layer.units for layer in layers)))
                raise MemoryError(f"layers make a net {net}, which does not fit into memory ({error}).") from error
            rng = np.random.default_rng(self.seed)
            for layer, weights in zip(layers, engine.weights(), strict=True):
                n_in, n_out = weights.shape
                weights[...] = initializers.initial_weights(
                    layer.kernel_initializer, layer.activation, n_in, n_out, rng
                )
            self.__dict__["layers"] = layers
            self._engine = engine
        return self

    def _new_engine(self, layers: tuple[Dense, ...], n_features: int) -> Engine:
        last = layers[-1].activation.code
        penalty = (self.regularizer.l1, self.regularizer.l2)
        architecture = Architecture(
            sizes=(n_features, *(layer.units for layer in layers)),
            activations=tuple((layer.activation.code, layer.activation.alpha) for layer in layers),
            use_bias=tuple(layer.use_bias for layer in layers),
            penalties=(penalty,) * len(layers),
            loss=self.loss.code,
            fused_output=(self.loss.code, last)
            in {(codes.SOFTMAX_CROSSENTROPY, codes.SOFTMAX), (codes.BINARY_CROSSENTROPY, codes.SIGMOID)},
            dtype=self.dtype,
        )
        return Engine(architecture, self._optimizer.n_slots, self.n_threads)

    def _built(self) -> Engine:
        if self._engine is None:
            raise ValueError("the model has no weights yet: call fit, or build(n_features), first.")
        return self._engine

    def __repr__(self) -> str:
        """Name the parts of the formula."""
        widths = [str(layer.units) for layer in self.layers]
        net = "-".join(([str(self.n_features)] if self.built else []) + widths) or "[]"
        return f"Model({net}, loss={self.loss.name!r}, optimizer={self._optimizer!r}, seed={self.seed})"

    def summary(self, print_fn: Callable[[str], Any] = print) -> None:
        """Print the layers with their shapes, activations and numbers of parameters.

        Parameters
        ----------
        print_fn : callable
            Called with each line.
        """
        rows = [("layer", "shape", "activation", "parameters")]
        before = self.n_features
        for k, layer in enumerate(self.layers):
            alpha = f"({layer.activation.alpha:g})" if layer.activation.alpha else ""
            count = "?" if before is None else f"{(before + layer.use_bias) * layer.units:,}"
            shape = f"{'?' if before is None else before} x {layer.units}"
            rows.append((f"{k + 1}", shape, layer.activation.name + alpha, count))
            before = layer.units
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for number, shape, activation, count in rows:
            print_fn(
                f"{number:>{widths[0]}}  {shape:>{widths[1]}}  {activation:<{widths[2]}}  {count:>{widths[3]}}"
            )
        total = f"{self.n_params:,} parameters, " if self.built else ""
        print_fn(f"{total}{self.loss.name}, {self._optimizer!r}, {self.dtype.name}")

    # ----------------------------------------------------------------------------------------- training

    def fit(
        self,
        X: Any,
        y: Any,
        *,
        epochs: int = 1,
        batch_size: int | None = DEFAULT_BATCH,
        validation_data: ValidationData | None = None,
        validation_split: float = 0.0,
        sample_weight: Any = None,
        shuffle: bool = True,
        callbacks: Callback | Iterable[Callback] | None = None,
        verbose: bool | int | Literal["auto"] = "auto",
    ) -> History:
        """Train for some epochs, going on from where the model stands.

        Parameters
        ----------
        X : array-like, (n, n_features)
            C-contiguous arrays of the model's dtype are read where they are; all else is converted once.
        y : array-like
            Values (n,) or (n, n_outputs); for "softmax_crossentropy" also labels 0, 1, ... (n,).
        epochs : int
            Passes over the data; iterations of a solver.
        batch_size : int or None
            Rows an update: 1 is stochastic descent, None (all rows) batch descent. The last batch of an
            epoch may be shorter. Memory does not grow with it beyond some thousand rows. The solvers always take
            all rows: None, the default and more than there are rows mean that to them, all else is refused.
        validation_data : (X, y) or (X, y, sample_weight), or None
            Evaluated after each epoch: `val_loss` and so on.
        validation_split : float
            Share of the rows, drawn by the seed, to be kept back for the same purpose.
        sample_weight : array-like (n,), or None
            What each row counts: the loss of a batch is the weighted mean (sum, for "sum_of_squares").
        shuffle : bool
            Whether each epoch goes through the rows in a new order.
        callbacks : Callback or several
        verbose : bool or "auto"
            Progress on stderr: a bar in terminals and notebooks, a line an epoch in logs. "auto" shows the
            bar where tqdm is installed and somebody looks (terminal, notebook), and nothing otherwise.

        Returns
        -------
        History
            The epochs of this call: loss (with the penalty), the metrics, both for validation with the
            prefix ``val_``, seconds and learning_rate. Training losses are means over the epoch's batches,
            each before its update. `stopped` says why it ended early: "interrupted" after Ctrl-C, with the
            weights of the last finished step. With a solver the loss is that after the iteration, there is no
            learning_rate, and `stopped` may also be "converged", "stalled" (no step lowers the loss any more) or
            "max_fun", with a sentence in ``params["reason"]``.

        Raises
        ------
        ValueError, TypeError
            If something given makes no sense; the model is then as before.
        DivergenceError
            If the loss or a weight stops being finite; the model keeps the last finite weights.
        """
        epochs = positive_integer(epochs, "epochs")
        training, validation = self._check_data(X, y, sample_weight, validation_data, validation_split)
        batch = training.n if batch_size is None else min(positive_integer(batch_size, "batch_size"), training.n)
        if isinstance(self._optimizer, optimizers.Solver):
            batch = solver_batch(self._optimizer, batch, training.n, default=DEFAULT_BATCH)
        check_bool(shuffle, "shuffle")
        watchers = as_callbacks(callbacks)
        verbose = as_verbose(verbose)
        if not self._training.acquire(blocking=False):
            raise RuntimeError(
                "fit was called while this model is in training, from one of its callbacks or from another thread: "
                "wait for the end, or train a copy (copy.copy(model))."
            )
        try:
            self._check_weights()
            progress = bar(verbose, epochs=epochs, rows=training.n)
            try:
                self.build(training.features.shape[1], training.targets.n_outputs)
                return self._train(training, validation, epochs, batch, bool(shuffle), watchers, progress)
            finally:
                progress.close()
        finally:
            self._training.release()

    def _train(
        self,
        training: _Rows,
        validation: _Rows | None,
        epochs: int,
        batch: int,
        shuffle: bool,
        watchers: tuple[Callback, ...],
        progress: ProgressBar,
    ) -> History:
        """Run the epochs of a `fit` whose arguments are checked."""
        if isinstance(self._optimizer, optimizers.Solver):
            return solvers.train(self, training, validation, epochs, watchers, progress)
        record = History({"epochs": epochs, "batch_size": batch, "rows": training.n, "shuffle": shuffle})
        self.stop_training = False
        logs: dict[str, float] = {}
        for watcher in watchers:
            watcher.model = self
        try:
            with self._team(self.flops_per_row(training=True) * training.n * epochs) as team:
                order = np.empty(training.n, np.int64) if shuffle and batch < training.n else None
                for watcher in watchers:
                    watcher.on_train_begin({})
                # Where nobody looks between epochs, Python does not either, for a slice of time.
                unwatched = not watchers and validation is None and type(progress) is ProgressBar
                k = 0
                while k < epochs:
                    epoch = self._epochs_done
                    progress.start_epoch(k)
                    for watcher in watchers:
                        watcher.on_epoch_begin(epoch, {})
                    if self.stop_training:
                        break
                    rate = self._optimizer.learning_rate
                    finished: list[tuple[Sums, float]] = []
                    sums: Sums | None = None
                    try:
                        sums = self._run_epochs(
                            training, order, batch, epochs - k if unwatched else 1, finished, team,
                            lambda rows, s: self._show(progress, rows, s),
                        )  # fmt: skip
                    finally:  # Ctrl-C may come as soon as the weights are those of a later epoch
                        for one, seconds in finished:
                            logs = {**self._values(one), "learning_rate": rate, "seconds": seconds}
                            self._epochs_done += 1
                            if unwatched or sums is None:
                                record.append(self._epochs_done - 1, logs)
                                self.history.append(self._epochs_done - 1, logs)
                    if sums.status != OK:
                        record.stopped = "diverged"
                        raise self._divergence(sums, self._epochs_done, rate, record)
                    k += len(finished)
                    if unwatched:
                        continue
                    if validation is not None:
                        found = self._evaluate(validation, team)
                        logs = {**self._values(sums), **{f"val_{name}": value for name, value in found.items()}} | {
                            "learning_rate": rate,
                            "seconds": finished[0][1],
                        }
                    record.append(epoch, logs)
                    self.history.append(epoch, logs)
                    progress.end_epoch(logs)
                    for watcher in watchers:
                        watcher.on_epoch_end(epoch, dict(logs))
                    if self.stop_training:
                        break
                if self.stop_training:
                    record.stopped = "stop_training"
                for watcher in watchers:
                    watcher.on_train_end(dict(logs))
        except KeyboardInterrupt:
            record.stopped = "interrupted"
        finally:
            self.history.stopped = record.stopped
        return record

    def partial_fit(self, X: Any, y: Any, *, batch_size: int | None = 32, sample_weight: Any = None) -> Model:
        """Make one pass over the data in the order given, going on from where the model stands.

        For data that come in pieces. Returns the model; raises as `fit` does, and for a solver, which would forget
        the pieces before.
        """
        if isinstance(self._optimizer, optimizers.Solver):
            raise ValueError(
                f"partial_fit learns from one piece of the data after the other, but optimizer={self._optimizer!r} "
                "fits all rows that it is given at once: call fit with all data, or take an optimizer such as 'adam'."
            )
        self.fit(X, y, batch_size=batch_size, sample_weight=sample_weight, shuffle=False, verbose=False)
        return self

    @contextmanager
    def _team(self, work: int) -> Iterator[Team]:
        """As many threads as some floating-point operations are worth."""
        with Team(self.n_threads if work >= WORK_FOR_A_TEAM else 1) as team:
            yield team

    def _run_epochs(
        self,
        training: _Rows,
        order: npt.NDArray[np.int64] | None,
        batch: int,
        most: int,
        finished: list[tuple[Sums, float]],
        team: Team,
        on_slice: Callable[[int, Sums], None],
    ) -> Sums:
        """Run some epochs, at most so many; adds to `finished` as `Engine.train_epochs` does."""
        assert not isinstance(self._optimizer, optimizers.Solver)  # these have their own loop
        with self._turn:
            engine = self._built()
            shuffle = None
            if order is not None:
                shuffle = Shuffle(order, self.seed, self._epochs_done)
                if training.index is not None:  # the order is one of some rows
                    order, shuffle = shuffled(order, self.seed, self._epochs_done), None
            epochs = 1
            if most > 1 and (order is None or shuffle is not None):
                epochs = min(most, engine.epochs_of_a_slice(training.n, batch, team))
            return engine.train_epochs(
                training.data(order),
                epochs,
                finished,
                batch=batch,
                optimizer=self._optimizer.code,
                rates=(self._optimizer.learning_rate, *self._optimizer.settings()),
                metrics=tuple(metric.code for metric in self.metrics),
                team=team,
                shuffle=shuffle,
                on_slice=on_slice,
            )

    def _show(self, progress: ProgressBar, rows: int, sums: Sums) -> None:
        values = self._values(sums)
        progress.update(rows, values.pop("loss"), values)

    def _values(self, sums: Sums) -> dict[str, float]:
        """Loss and metrics of a run, by their names."""
        weight = sums.weight or 1.0  # all rows may weigh nothing
        totals = zip(self.metrics, sums.metrics, strict=True)
        return {"loss": self._loss(sums), **{metric.name: total / weight for metric, total in totals}}

    def _loss(self, sums: Sums) -> float:
        """Loss of a run, with the penalty."""
        loss = sums.loss if self.loss.code == codes.SUM_OF_SQUARES else sums.loss / (sums.weight or 1.0)
        return loss + (sums.penalty / sums.steps if sums.steps else 0.0)

    def _divergence(self, sums: Sums, epoch: int, rate: float, record: History) -> DivergenceError:
        what = "the loss" if sums.status == LOSS_NOT_FINITE else "a weight"
        return DivergenceError(
            f"training diverged in epoch {epoch}: {what} is no longer finite with learning_rate={rate:g}. The model "
            "keeps its last finite weights. Try a smaller learning_rate (a tenth), or data scaled to about 1.",
            epoch=epoch,
            learning_rate=rate,
            history=record,
        )

    # -------------------------------------------------------------------------------- checking the data

    def _check_weights(self) -> None:
        """Insist on finite weights: what was written into them from outside is no divergence."""
        if self._engine is None or all_finite(self._engine.params):
            return
        for name, arrays in (("weights", self.weights), ("biases", self.biases)):
            for k, array in enumerate(arrays):
                if not np.isfinite(array).all():
                    raise ValueError(
                        f"{name}[{k}] of the model holds NaN or infinity: write finite numbers into it, or make a new "
                        "Model."
                    )

    def _check_rows(self, X: Any, y: Any, sample_weight: Any, n_outputs: int | None, names: Sequence[str]) -> _Rows:
        features = as_features(X, dtype=self.dtype, n_features=self.n_features, name=names[0])
        targets = as_targets(
            y, loss=self.loss, n_rows=len(features), n_outputs=n_outputs, dtype=self.dtype, name=names[1]
        )
        weights = as_sample_weight(sample_weight, n_rows=len(features), dtype=self.dtype, name=names[2])
        return _Rows(features, targets, weights)

    def _check_data(
        self, X: Any, y: Any, sample_weight: Any, validation_data: Any, validation_split: float
    ) -> tuple[_Rows, _Rows | None]:
        training = self._check_rows(X, y, sample_weight, self.n_outputs, ("X", "y", "sample_weight"))
        if not isinstance(validation_split, numbers.Real) or isinstance(validation_split, bool | np.bool_):
            raise TypeError(f"validation_split is {validation_split!r}, but must be a number in [0, 1).")
        if validation_data is not None and validation_split:
            raise ValueError("validation_data and validation_split are both given; one of them is enough.")
        if validation_split:
            parts = split_validation(training.n, float(validation_split), self.seed, name="validation_split")
            for part, role in zip(parts, ("training", "validation"), strict=True):
                if training.sample_weight.size and not training.sample_weight[part].any():
                    raise ValueError(
                        f"sample_weight is 0 in all {len(part)} rows that validation_split={validation_split!r} leaves "
                        f"for {role}: leave out rows of weight 0 before, or give validation_data."
                    )
            index, held_back = parts
            return (
                _Rows(training.features, training.targets, training.sample_weight, index),
                _Rows(training.features, training.targets, training.sample_weight, held_back),
            )
        if validation_data is None:
            return training, None
        if not isinstance(validation_data, tuple | list) or len(validation_data) not in (2, 3):
            kind = type(validation_data).__name__
            if isinstance(validation_data, tuple | list):
                kind += f" of {len(validation_data)}"
            raise TypeError(f"validation_data is a {kind}, but must be a tuple (X, y) or (X, y, sample_weight).")
        given = (*validation_data, None)[:3]
        names = tuple(f"validation_data[{k}]" for k in range(3))
        features = as_features(given[0], dtype=self.dtype, n_features=training.features.shape[1], name=names[0])
        return training, self._check_rows(features, given[1], given[2], training.targets.n_outputs, names)

    # ------------------------------------------------------------------------------------ what it knows

    def predict(self, X: Any) -> Array:
        """Outputs f(x) of the last layer, its activation included; (n, n_outputs).

        With a cross-entropy over a linear last layer these are logits; see `predict_proba`.
        """
        engine = self._built()
        # The kernel itself looks for NaN and infinity, while the rows are near; `as_features` says where they are.
        features = X if engine.can_read(X) else as_features(X, dtype=self.dtype, n_features=self.n_features)
        with self._turn:
            outputs = engine.predict(features, self._n_predicting)
        if outputs is None:
            as_features(X, dtype=self.dtype, n_features=self.n_features)
            raise ValueError("X was written to by another thread during the call, and held NaN or infinity.")
        return outputs

    def predict_proba(self, X: Any) -> Array:
        """Probabilities of the classes; (n, n_outputs).

        Raises
        ------
        ValueError
            If neither the loss nor the last activation speaks of probabilities.
        """
        self._built()
        last = self.layers[-1].activation.code
        kind = _PROBABILITIES.get(self.loss.code, last)  # what the loss takes the outputs for comes first
        if kind not in (codes.SOFTMAX, codes.SIGMOID):
            raise ValueError(
                f"predict_proba needs a cross-entropy, or a last layer of softmax or sigmoid; the loss is "
                f"{self.loss.name!r}. Use predict."
            )
        outputs = self.predict(X)
        if last == kind:
            return outputs
        from scipy import special  # where used: it costs some 60 ms to import

        return np.asarray(special.softmax(outputs, axis=1) if kind == codes.SOFTMAX else special.expit(outputs))

    def predict_classes(self, X: Any) -> npt.NDArray[np.int64]:
        """Most probable class: (n,) labels, or 0 and 1 (n, n_outputs) where several outputs do not compete."""
        probabilities = self.predict_proba(X)
        if self.loss.code == codes.SOFTMAX_CROSSENTROPY or self.layers[-1].activation.code == codes.SOFTMAX:
            return probabilities.argmax(axis=1)
        classes = (probabilities > 0.5).astype(np.int64)
        return classes[:, 0] if classes.shape[1] == 1 else classes

    def evaluate(self, X: Any, y: Any, *, sample_weight: Any = None) -> dict[str, float]:
        """Loss (with the penalty) and metrics on some data, by name."""
        self._built()
        rows = self._check_rows(X, y, sample_weight, self.n_outputs, ("X", "y", "sample_weight"))
        with self._team(self.flops_per_row(training=False) * rows.n) as team:
            return self._evaluate(rows, team)

    def _evaluate(self, rows: _Rows, team: Team) -> dict[str, float]:
        engine = self._built()
        with self._turn:
            sums = engine.evaluate(rows.data(), metrics=tuple(m.code for m in self.metrics), team=team)
        values = self._values(sums)
        if sums.status != OK:
            values = dict.fromkeys(values, math.nan)
        values["loss"] += self._penalty()
        return values

    def _penalty(self) -> float:
        """R of the present weights."""
        l1, l2 = self.regularizer.l1, self.regularizer.l2
        total = 0.0
        if l1 or l2:
            for w in self.weights:
                wide = w.astype(np.float64)
                total += l1 * float(np.abs(wide).sum()) + l2 * float((wide * wide).sum())
        return total

    def gradient(self, X: Any, y: Any, *, sample_weight: Any = None) -> tuple[float, list[Array], list[Array]]:
        """Loss E + R of all rows as one batch, and its gradient, by back-propagation.

        Returns
        -------
        loss : float
        weights, biases : list of ndarray
            dE/dW + dR/dW (n_in, n_out) and dE/db (n_out,) of each layer; copies. All is NaN where the loss is
            not finite.
        """
        engine = self._built()
        rows = self._check_rows(X, y, sample_weight, self.n_outputs, ("X", "y", "sample_weight"))
        with self._turn, self._team(self.flops_per_row(training=True) * rows.n) as team:
            sums, weights, biases = engine.gradient(rows.data(), team=team)
        if sums.status == OK:
            return self._loss(sums), weights, biases
        for array in (*weights, *biases):
            array.fill(math.nan)
        return math.nan, weights, biases

    # ------------------------------------------------------------------------------------------ keeping

    def save(self, path: storage.PathOrFile) -> None:
        """Write the model into one file, optimizer state and history included; no pickle.

        The file is replaced in one go: a crash leaves the old one. `fastnn.load` reads it.
        """
        storage.write(path, *self._state())

    def _state(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """All that makes the model, as JSON and arrays; free of this machine's padding."""
        with self._turn:
            return self._state_now()

    def _state_now(self) -> tuple[dict[str, Any], dict[str, Array]]:
        header: dict[str, Any] = {
            "layers": [
                {
                    "units": layer.units,
                    "activation": [layer.activation.name, layer.activation.alpha],
                    "kernel_initializer": layer.kernel_initializer,
                    "use_bias": layer.use_bias,
                }
                for layer in self.layers
            ],
            "loss": self.loss.name,
            "optimizer": [type(self._optimizer).__name__, _fields(self._optimizer)],
            "regularizer": [self.regularizer.l1, self.regularizer.l2],
            "metrics": [metric.name for metric in self.metrics],
            "seed": self.seed,
            "dtype": self.dtype.name,
            "n_features": self.n_features,
            "epochs_done": self._epochs_done,
            "steps_done": 0,
            "history": self.history.to_dict(),
        }
        arrays: dict[str, Array] = {}
        if self._engine is not None:
            header["steps_done"] = self._engine.steps_done
            for name, weights, biases in self._engine.named_views():
                for k, (w, b) in enumerate(zip(weights, biases, strict=True)):
                    arrays[f"{name}.{k}.weights"] = w.copy()
                    arrays[f"{name}.{k}.biases"] = b.copy()
        return header, arrays

    @classmethod
    def _from_state(cls, header: Mapping[str, Any], arrays: Mapping[str, Array], n_threads: int | None) -> Model:
        layers = [
            Dense(
                entry["units"],
                activations.Activation(entry["activation"][0], entry["activation"][1]),
                kernel_initializer=entry["kernel_initializer"],
                use_bias=entry["use_bias"],
            )
            for entry in header["layers"]
        ]
        kind, settings = header["optimizer"]
        kinds = {c.__name__: c for c in get_args(optimizers.Optimizer)}
        l1, l2 = header["regularizer"]
        model = cls(
            layers,
            loss=header["loss"],
            optimizer=kinds[kind](**settings),
            regularizer=regularizers.L1L2(l1, l2),
            metrics=header["metrics"],
            seed=header["seed"],
            dtype=header["dtype"],
            n_threads=n_threads,
        )
        model._epochs_done = _count(header["epochs_done"], "epochs_done")
        model.history = History.from_dict(header["history"])
        if model.history.epoch and model.history.epoch[-1] >= model._epochs_done:
            raise ValueError(f"history has more epochs than the {model._epochs_done} that were done")
        if header["n_features"] is not None:
            # All shapes before the engine is made: what the header says may be too large for any memory.
            n_in = positive_integer(header["n_features"], "n_features")
            for k, layer in enumerate(model.layers):
                for name in ("params", *(f"slot_{i}" for i in range(model._optimizer.n_slots))):
                    for part, shape in (("weights", (n_in, layer.units)), ("biases", (layer.units,))):
                        kept = arrays[f"{name}.{k}.{part}"]
                        if kept.shape != shape or kept.dtype != model.dtype:
                            raise ValueError(f"array {name}.{k}.{part} is {kept.dtype} {kept.shape}, not {shape}")
                n_in = layer.units
            engine = model._new_engine(model.layers, header["n_features"])
            engine.steps_done = _count(header["steps_done"], "steps_done")
            for name, weights, biases in engine.named_views():
                for k, (w, b) in enumerate(zip(weights, biases, strict=True)):
                    w[...] = arrays[f"{name}.{k}.weights"]
                    b[...] = arrays[f"{name}.{k}.biases"]
            model._engine = engine
        return model

    def __getstate__(self) -> dict[str, Any]:
        """For pickle and copy: the same as what a file holds."""
        header, arrays = self._state()
        return {"header": header, "arrays": arrays, "n_threads": self.n_threads}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over what `__getstate__` gave."""
        n_threads = min(state["n_threads"], max(1, available_threads()))
        self.__dict__.update(Model._from_state(state["header"], state["arrays"], n_threads).__dict__)


def load(path: storage.PathOrFile, *, n_threads: int | None = None) -> Model:
    """Read a model that `Model.save` wrote.

    Parameters
    ----------
    path : path or binary file
    n_threads : int or None
        As for `Model`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is cut off, of another kind, or from a later version.
    """
    header, arrays = storage.read(path)
    n_threads = as_n_threads(n_threads)
    try:
        return Model._from_state(header, arrays, n_threads)
    except (LookupError, TypeError, ValueError, AttributeError, MemoryError) as error:
        label = os.fspath(path) if isinstance(path, str | os.PathLike) else "the file"
        raise ValueError(
            f"{label!r} is a fastnn file, but what it describes is no model ({type(error).__name__}: {error}); it is "
            "damaged or was made by other software. Save the model again."
        ) from error


def _fields(optimizer: optimizers.Optimizer) -> dict[str, Any]:
    return {name: getattr(optimizer, name) for name in optimizer.__dataclass_fields__}


def _count(value: Any, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{name} is {value!r}, but must be an integer of at least 0")
    return value
