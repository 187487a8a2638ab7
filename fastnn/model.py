"""Model: the one class most people meet.

It says one formula, min E(f(x), t) + R: the optimizer minimises the loss E of the layers' output f(x) against
the targets t, plus the regularizer R.
"""

from __future__ import annotations

import math
import numbers
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from fastnn import initializers, losses, metrics, optimizers, regularizers
from fastnn._compatibility import (
    as_metrics,
    as_n_threads,
    as_optimizer,
    check_output,
    check_solver,
    solver_batch,
)
from fastnn._data.arrays import as_features, as_sample_weight, as_targets, split_validation
from fastnn._data.class_weight import ClassWeight, apply_class_weight
from fastnn._engine.architecture import Architecture
from fastnn._engine.engine import AugmentationPlan, Engine
from fastnn._engine.thread_team import ThreadTeam, available_threads
from fastnn._persistence import model_state, npz
from fastnn._training import objective
from fastnn._training.loop import Fit, train, train_on_batch
from fastnn._training.objective import Rows
from fastnn._training.progress import bar
from fastnn._validation import as_dtype, as_max_seconds, as_seed, as_verbose, check_bool, positive_integer
from fastnn.augmentation import Augmentation
from fastnn.callbacks import Callback, as_callbacks
from fastnn.custom import CustomActivation, CustomLoss, activation_code, loss_code
from fastnn.history import History
from fastnn.kernels.maths.isfinite import all_finite
from fastnn.kernels.tables import OK
from fastnn.layers import Dense, Dropout, as_layers, changed
from fastnn.lr_finder import LearningRates, range_test

__all__ = ["Model"]

Array: TypeAlias = npt.NDArray[Any]
ValidationData: TypeAlias = tuple[Any, Any] | tuple[Any, Any, Any]

#: Operations below which a second thread is not worth waking (some 50 us of a core).
WORK_FOR_THREADS = 5_000_000

#: Rows of a batch where `fit` is told nothing.
DEFAULT_BATCH = 32


#: What the engine is built from: a change would not reach it.
_FIXED = frozenset({"layers", "loss", "metrics", "seed", "dtype", "n_threads"})


class Model:
    """A multilayer perceptron and its training: min E(f(x), t) + R.

    Nothing is compiled or allocated before the first call that needs it.

    Parameters
    ----------
    layers : sequence of Dense, Dropout or int
        From the first hidden layer to the output. A plain int is a `Dense` layer of that width, with ReLU
        when hidden and without activation at the end; a `Dropout` becomes part of the layer after it. An empty
        sequence is a net without hidden layer whose output is as wide as the targets ask: linear, logistic or
        softmax regression, by the loss.
    loss : str or Loss
        "squared_error", "sum_of_squares", "absolute_error", "huber", "quantile", "gaussian_nll", "poisson",
        "binary_crossentropy", "softmax_crossentropy", or one with settings such as
        ``losses.softmax_crossentropy(label_smoothing=0.1)``. The cross-entropies are computed from logits: the last
        layer is linear, or its "sigmoid" or "softmax" is understood as part of the loss; so is "exponential" for
        "poisson". Other activations of the last layer are refused with these losses.
    optimizer : str or optimizer
        "sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw", "amsgrad", "nadam", "lion", or an
        instance with its settings; the full-batch methods "lbfgs" and, for squared errors, "lm"
        (Levenberg-Marquardt) for small nets.
    regularizer : None, str or regularizer
        None, "l1", "l2", "l1_l2" or an instance; a penalty on all weights, not on biases.
    metrics : sequence of str, Metric or callable, or None
        "accuracy" for the cross-entropies; "mean_squared_error" and "mean_absolute_error", which cost
        next to nothing, "root_mean_squared_error" and "r2" for the others; None is accuracy for the
        cross-entropies and nothing for the others. A callable is called as ``metric(y_true, y_pred)`` after
        each epoch, and its ``__name__`` is its key in the History (or the name of ``Metric(name, metric)``).
        It gets y as it was given, as an array, and predictions: values, or the probabilities of
        `predict_proba` with a cross-entropy; (n,) where y is and there is one output. Sample weights do not
        reach it. Most metrics of scikit-learn can be given as they are. All but the first three are computed
        after an epoch, of its last weights, by a prediction for all rows.
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
    trainable : list of bool
        For each layer whether training changes it; set it to freeze layers, or thaw them.
    averages : (list of ndarray, list of ndarray) or None
        Running averages of weights and biases, where the optimizer has an `ema_momentum`; these predict.
    history : History
        All epochs of all fits.
    stop_training : bool or str
        Set by a callback to end the training after this epoch; a text becomes `History.stopped`.

    Raises
    ------
    ValueError, TypeError
        If something given makes no sense, by itself or with the rest.

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
        layers: Sequence[Dense | Dropout | int] | npt.NDArray[np.integer],
        *,
        loss: str | losses.Loss,
        optimizer: str | optimizers.Optimizer = "adam",
        regularizer: str | regularizers.Regularizer | None = None,
        metrics: Sequence[str | metrics.Metric | metrics.MetricFunction] | None = None,
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
        self._trainable = tuple(layer.trainable for layer in self.layers)
        self._n_predicting = min(self.n_threads, available_threads())  # more would only be in each other's way
        self.history = History()
        self.stop_training: bool | str = False
        self._epochs_done = 0
        self._engine: Engine | None = None
        self._kernel_lock = threading.RLock()  # whoever runs kernels: their buffers are the model's
        self._fit_lock = threading.Lock()
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
        old = self._optimizer
        solver = isinstance(new, optimizers.Solver) or isinstance(old, optimizers.Solver)
        if solver and new != old and self._fit_lock.locked():
            raise ValueError(
                f"optimizer is {new!r}, but a fit that is under way with {old!r} cannot go on with it: call fit again "
                "with the new one."
            )
        if self._engine is not None:
            if new.code != old.code:
                self._engine.reset_slots(new.n_slots, averaged=optimizers.averages(new))
            self._engine.set_averaged(optimizers.averages(new))
        self._optimizer = new

    @property
    def regularizer(self) -> regularizers.Regularizer:
        """The regularizer; another one takes effect with the next step."""
        return self._regularizer

    @regularizer.setter
    def regularizer(self, regularizer: str | regularizers.Regularizer | None) -> None:
        new = regularizers.get(regularizer)
        check_solver(self._optimizer, self.loss, new)
        if isinstance(self._optimizer, optimizers.Solver) and new != self._regularizer and self._fit_lock.locked():
            raise ValueError(
                f"regularizer is {new!r}, but a fit that is under way with {self._optimizer!r} cannot go on with it: "
                "call fit again with the new one."
            )
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
    def trainable(self) -> list[bool]:
        """For each layer whether training changes its weights and biases; set it to freeze layers, or thaw them.

        The penalty R counts trainable layers only.
        """
        return list(self._trainable)

    @trainable.setter
    def trainable(self, trainable: Iterable[bool]) -> None:
        given = tuple(trainable) if isinstance(trainable, Iterable) else (trainable,)
        if len(given) != len(self.layers) or not all(isinstance(flag, bool | np.bool_) for flag in given):
            raise ValueError(
                f"trainable is {given!r}, but must be one True or False for each of the {len(self.layers)} layers."
            )
        if self._fit_lock.locked():
            raise ValueError("trainable cannot be changed while a fit is under way: set it between two fits.")
        self._trainable = tuple(map(bool, given))
        if self._engine is not None:
            self._engine.set_trained(self._trainable)

    @property
    def averages(self) -> tuple[list[Array], list[Array]] | None:
        """Running averages of weights and biases, copies; None without `ema_momentum` of the optimizer.

        Predictions and evaluations are made with them: what is written into `weights` reaches these by training only.
        """
        return self._built().averages()

    def replace_head(
        self,
        layers: Sequence[Dense | Dropout | int],
        *,
        n_replaced: int = 1,
        trainable: bool = False,
        **settings: Any,
    ) -> Model:
        """Make a new model with the lower layers of this one and a new head: transfer learning.

        Parameters
        ----------
        layers : sequence of Dense, Dropout or int
            What comes after the layers that are kept, as for `Model`.
        n_replaced : int
            How many layers at the end are left out.
        trainable : bool
            Whether training changes the layers that are kept. They are frozen by default; with
            ``model.trainable = [True] * len(model.layers)`` they are fine-tuned later on.
        **settings
            Settings of `Model`; those that are left out (but `metrics`) are as here.

        Returns
        -------
        Model
            Built, with copies of the weights that are kept and start weights in the head.

        Raises
        ------
        ValueError
            If this model has no weights yet, or `n_replaced` leaves no layer.
        """
        engine = self._built()
        n_replaced = positive_integer(n_replaced, "n_replaced")
        check_bool(trainable, "trainable")
        n_kept = len(self.layers) - n_replaced
        if n_kept < 1:
            raise ValueError(
                f"n_replaced is {n_replaced}, but of the {len(self.layers)} layers at least one must be kept."
            )
        kept = [changed(layer, trainable=bool(trainable)) for layer in self.layers[:n_kept]]
        same = ("loss", "optimizer", "regularizer", "seed", "dtype", "n_threads")
        given = {name: getattr(self, name) for name in same} | settings
        model = Model([*kept, *layers], **given).build(engine.architecture.sizes[0])
        for own, copied in ((model.weights, self.weights), (model.biases, self.biases)):
            for k in range(n_kept):
                own[k][...] = copied[k]
        return model

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
            self._trainable = self._trainable or (True,)
            self._engine = engine
        return self

    def _new_engine(self, layers: tuple[Dense, ...], n_features: int) -> Engine:
        penalty = (self.regularizer.l1, self.regularizer.l2)
        architecture = Architecture(
            sizes=(n_features, *(layer.units for layer in layers)),
            activations=tuple((layer.activation.rule.code, layer.activation.alpha) for layer in layers),
            use_bias=tuple(layer.use_bias for layer in layers),
            penalties=(penalty,) * len(layers),
            loss=self.loss.rule.code,
            fused_output=self.loss.link is layers[-1].activation.rule,
            dtype=self.dtype,
            loss_parameters=self.loss.parameters(layers[-1].units),
            trained=self._trainable or tuple(layer.trainable for layer in layers),
            max_norms=tuple(layer.max_norm or 0.0 for layer in layers),
            dropouts=tuple(layer.dropout for layer in layers),
            functions=tuple(
                activation_code(layer.activation, self.dtype)
                if isinstance(layer.activation, CustomActivation)
                else None
                for layer in layers
            ),
            loss_function=loss_code(self.loss, self.dtype) if isinstance(self.loss, CustomLoss) else None,
        )
        averaged = optimizers.averages(self._optimizer)
        return Engine(architecture, self._optimizer.n_slots, self.n_threads, averaged=averaged)

    def _built(self) -> Engine:
        if self._engine is None:
            raise ValueError("the model has no weights yet: call fit, or build(n_features), first.")
        return self._engine

    def __repr__(self) -> str:
        """Name the parts of the formula."""
        widths = [str(layer.units) for layer in self.layers]
        net = "-".join(([str(self.n_features)] if self.built else []) + widths) or "[]"
        return f"Model({net}, loss={self.loss.name!r}, optimizer={self._optimizer!r}, seed={self.seed})"

    def _notes(self) -> Iterator[str]:
        """What is unusual about each layer."""
        for layer, trainable in zip(self.layers, self._trainable, strict=True):
            found = [f"dropout={layer.dropout:g}"] if layer.dropout else []
            found += [f"max_norm={layer.max_norm:g}"] if layer.max_norm else []
            found += [] if trainable else ["frozen"]
            yield "  " + ", ".join(found) if found else ""

    def summary(self, print_fn: Callable[[str], Any] = print) -> None:
        """Print the layers with their shapes, activations and numbers of parameters, and what is unusual about them.

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
        notes = iter(["", *self._notes()])
        for number, shape, activation, count in rows:
            line = f"{number:>{widths[0]}}  {shape:>{widths[1]}}  {activation:<{widths[2]}}  {count:>{widths[3]}}"
            print_fn(line + next(notes))
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
        class_weight: ClassWeight | None = None,
        shuffle: bool = True,
        augmentation: Augmentation | None = None,
        callbacks: Callback | Iterable[Callback] | None = None,
        max_seconds: float | None = None,
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
        class_weight : dict of label to weight, "balanced" or None
            What the rows of each class count, times `sample_weight`; classes that are left out count 1.
            "balanced" is n / (k count), n rows of k classes. For labels, one-hot rows, or one column of zeros and
            ones; in training only, as validation tells what the classes are worth in the data.
        shuffle : bool
            Whether each epoch goes through the rows in a new order.
        augmentation : Augmentation or None
            How rows are changed at random when training reads them: noise, mixtures, a function. Validation sees them
            as they are; solvers refuse it.
        callbacks : Callback, several or None
            Called at the start and the end of the training and of each epoch; see `Callback`.
        max_seconds : float or None
            No epoch but the first begins once so many seconds are over (compiling and validation included).
            An epoch that has begun is finished, however long: so what is recorded are whole epochs, and
            a later fit goes on exactly.
        verbose : bool or "auto"
            Progress on stderr: a bar in terminals and notebooks, a line an epoch in logs. "auto" shows the
            bar where tqdm is installed and somebody looks (terminal, notebook), and nothing otherwise.

        Returns
        -------
        History
            The epochs of this call: loss (with the penalty), the metrics, both for validation with the
            prefix ``val_``, seconds and learning_rate (that of the last step). Training losses are means over
            the epoch's batches, each before its update. `stopped` says why it ended early: "interrupted" after
            Ctrl-C, with the weights of the last finished step, "early_stopping", "max_seconds", "diverged",
            "stop_training". With a solver the loss is that after the iteration, there is no learning_rate (but the
            damping `mu` of "lm"), and `stopped` may also be "converged", "stalled" (no step lowers the loss any
            more) or "max_fun", with a sentence in ``params["reason"]``.

        Raises
        ------
        ValueError, TypeError
            If something given makes no sense; the model is then as before.
        DivergenceError
            If the loss or a weight stops being finite; the model keeps the last finite weights. The callback
            `TerminateOnNaN` ends the training quietly instead.
        """
        epochs = positive_integer(epochs, "epochs")
        max_seconds = as_max_seconds(max_seconds)
        self._check_trainable()
        training, validation = self._check_data(X, y, sample_weight, validation_data, validation_split)
        training = self._with_class_weight(training, class_weight)
        batch = training.n if batch_size is None else min(positive_integer(batch_size, "batch_size"), training.n)
        check_bool(shuffle, "shuffle")
        if isinstance(self._optimizer, optimizers.Solver):
            batch, shuffle = solver_batch(self._optimizer, batch, training.n, default=DEFAULT_BATCH), False
        watchers = as_callbacks(callbacks)
        verbose = as_verbose(verbose)
        changes = self._changes(augmentation, training)
        with self._in_training("fit"):
            self._check_weights()
            progress = bar(verbose, epochs=epochs, rows=training.n)
            try:
                self.build(training.features.shape[1], training.targets.n_outputs)
                fit = Fit(
                    training=training,
                    validation=validation,
                    epochs=epochs,
                    batch=batch,
                    shuffle=bool(shuffle),
                    callbacks=watchers,
                    progress=progress,
                    max_seconds=max_seconds,
                    changes=changes,
                )
                return train(self, fit)
            finally:
                progress.close()

    def _changes(self, augmentation: Any, rows: Rows) -> AugmentationPlan | None:
        """What an augmentation says to the engine, checked."""
        if augmentation is None:
            return None
        if not isinstance(augmentation, Augmentation):
            raise TypeError(f"augmentation is {augmentation!r}, but must be a fastnn.Augmentation, or None.")
        if isinstance(self._optimizer, optimizers.Solver):
            raise ValueError(
                f"augmentation is {augmentation!r}, but optimizer={self._optimizer!r} needs the same rows in each "
                "iteration: leave augmentation out, or take an optimizer such as 'adam'."
            )
        return augmentation.changes(rows.features.shape[1], self.dtype)

    def partial_fit(self, X: Any, y: Any, *, batch_size: int | None = 32, sample_weight: Any = None) -> Model:
        """Make one pass over the data in the order given, going on from where the model stands.

        For data that come in pieces.

        Parameters
        ----------
        X, y, batch_size, sample_weight
            As for `fit`.

        Returns
        -------
        Model
            This one.

        Raises
        ------
        ValueError, TypeError, DivergenceError
            As for `fit`; also for a solver, which would forget the pieces before.
        """
        self._refuse_solver("partial_fit")
        self.fit(X, y, batch_size=batch_size, sample_weight=sample_weight, shuffle=False, verbose=False)
        return self

    def train_on_batch(
        self, X: Any, y: Any, *, sample_weight: Any = None, class_weight: ClassWeight | None = None
    ) -> dict[str, float]:
        """Make one update by all rows given, for loops of one's own.

        It counts as a step of the optimizer, not as an epoch, and is not recorded in `history`. A schedule of the
        learning rate stands still meanwhile, at the start of the next epoch. Solvers are refused.

        Parameters
        ----------
        X, y, sample_weight, class_weight
            As for `fit`.

        Returns
        -------
        dict of str to float
            Loss (with the penalty) and metrics of these rows, before the update.

        Raises
        ------
        ValueError, TypeError
            If something given makes no sense; the model is then as before.
        DivergenceError
            If the loss or a weight is not finite; the model keeps the last finite weights.
        """
        self._refuse_solver("train_on_batch")
        self._check_trainable()
        rows = self._check_rows(X, y, sample_weight, self.n_outputs, ("X", "y", "sample_weight"))
        rows = self._with_class_weight(rows, class_weight)
        with self._in_training("train_on_batch"):
            self._check_weights()
            self.build(rows.features.shape[1], rows.targets.n_outputs)
            return train_on_batch(self, rows)

    def lr_find(
        self,
        X: Any,
        y: Any,
        *,
        batch_size: int | None = 32,
        start: float = 1e-7,
        end: float = 10.0,
        steps: int = 100,
        smoothing: float = 0.9,
        divergence: float = 4.0,
        sample_weight: Any = None,
        class_weight: ClassWeight | None = None,
    ) -> LearningRates:
        """Find a learning rate: a short training in which it grows with every step, until the loss does, too.

        The model is not changed in any way; a copy is trained, from the present state with the present optimizer.

        Parameters
        ----------
        X, y, sample_weight, class_weight
            As for `fit`.
        batch_size : int or None
            Rows a step; that of the later `fit`, for the best rate depends on it. The batches are shuffled, as often
            as there are too few for all steps.
        start, end : float
            The first and the last rate, which lie a constant factor apart from step to step.
        steps : int
            At least 10.
        smoothing : float
            Share of the past in the running mean of the losses, at least 0 and below 1.
        divergence : float
            The test ends where the smoothed loss is so many times the best one (or not finite).

        Returns
        -------
        LearningRates
            With the suggestions `valley`, `steep` and `minimum`, and a `plot`.

        Notes
        -----
        The range test of [1]_ in fastai's form. It needs a loss that can still fall: do it before the training. After
        it the curve is flat, and what is read off noise.

        References
        ----------
        .. [1] L. N. Smith, "Cyclical learning rates for training neural networks", WACV, 2017 (arXiv:1506.01186, 2015).
        """
        return range_test(
            self, X, y, batch_size=batch_size, start=start, end=end, steps=steps, smoothing=smoothing,
            divergence=divergence, sample_weight=sample_weight, class_weight=class_weight,
        )  # fmt: skip

    def _check_trainable(self) -> None:
        """Insist on a layer that training changes."""
        if self._trainable and not any(self._trainable):
            raise ValueError("there is nothing to train: all layers are frozen. Set model.trainable first.")

    def _refuse_solver(self, call: str) -> None:
        """Insist on an optimizer that can learn from one piece of the data after the other."""
        if isinstance(self._optimizer, optimizers.Solver):
            raise ValueError(
                f"{call} learns from one piece of the data after the other, but optimizer={self._optimizer!r} fits all "
                "rows that it is given at once: call fit with all data, or take an optimizer such as 'adam'."
            )

    @contextmanager
    def _in_training(self, call: str) -> Iterator[None]:
        """Refuse a second training at the same time; one that is refused before its first step builds nothing."""
        if not self._fit_lock.acquire(blocking=False):
            raise RuntimeError(
                f"{call} was called while this model is in training, from one of its callbacks or from another "
                "thread: wait for the end, or train a copy (copy.copy(model))."
            )
        layers, trainable, built, done = self.layers, self._trainable, self.built, self._epochs_done
        try:
            yield
        except (TypeError, ValueError, MemoryError):
            if not built and self._epochs_done == done and self._engine is not None and not self._engine.steps_done:
                self.__dict__.update(layers=layers, _trainable=trainable, _engine=None)
            raise
        finally:
            self._fit_lock.release()

    @contextmanager
    def _team(self, work: int) -> Iterator[ThreadTeam]:
        """As many threads as some floating-point operations are worth."""
        with ThreadTeam(self.n_threads if work >= WORK_FOR_THREADS else 1) as team:
            yield team

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

    def _check_rows(self, X: Any, y: Any, sample_weight: Any, n_outputs: int | None, names: Sequence[str]) -> Rows:
        features = as_features(X, dtype=self.dtype, n_features=self.n_features, name=names[0])
        targets = as_targets(
            y, loss=self.loss, n_rows=len(features), n_outputs=n_outputs, dtype=self.dtype, name=names[1]
        )
        weights = as_sample_weight(sample_weight, n_rows=len(features), dtype=self.dtype, name=names[2])
        return Rows(features, targets, weights, y)

    def _with_class_weight(self, rows: Rows, class_weight: Any) -> Rows:
        if class_weight is None:
            return rows
        weights = apply_class_weight(
            class_weight,
            targets=rows.targets,
            sample_weight=rows.sample_weight,
            index=rows.index,
            loss=self.loss,
            dtype=self.dtype,
        )
        return replace(rows, sample_weight=weights)

    def _check_data(
        self, X: Any, y: Any, sample_weight: Any, validation_data: Any, validation_split: float
    ) -> tuple[Rows, Rows | None]:
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
            return replace(training, index=index), replace(training, index=held_back)
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
        """Outputs f(x) of the last layer, its activation included.

        With a cross-entropy over a linear last layer these are logits; see `predict_proba`.

        Parameters
        ----------
        X : array-like, (n, n_features)

        Returns
        -------
        ndarray, (n, n_outputs)

        Raises
        ------
        ValueError, TypeError
            If X is of another width, no numbers, not finite, or the model has no weights yet.
        """
        engine = self._built()
        # The kernel itself looks for NaN and infinity, while the rows are near; `as_features` says where they are.
        features = X if engine.can_read(X) else as_features(X, dtype=self.dtype, n_features=self.n_features)
        with self._kernel_lock:
            outputs = engine.predict(features, self._n_predicting)
        if outputs is None:
            as_features(X, dtype=self.dtype, n_features=self.n_features)
            raise ValueError("X was written to by another thread during the call, and held NaN or infinity.")
        return outputs

    def predict_proba(self, X: Any) -> Array:
        """Probabilities of the classes.

        Parameters
        ----------
        X : array-like, (n, n_features)

        Returns
        -------
        ndarray, (n, n_outputs)
            Rows add up to 1 with "softmax_crossentropy"; otherwise each output is a probability by itself.

        Raises
        ------
        ValueError, TypeError
            As for `predict`, and if neither the loss nor the last activation speaks of probabilities.
        """
        self._built()
        last = self.layers[-1].activation.rule
        link = self.loss.link
        kind = link if link is not None and link.probabilities else last  # the activation in the loss comes first
        if not kind.probabilities:
            raise ValueError(
                f"predict_proba needs a cross-entropy, or a last layer of softmax or sigmoid; the loss is "
                f"{self.loss.name!r}. Use predict."
            )
        outputs = self.predict(X)
        if last is kind:
            return outputs
        from scipy import special  # where used: it costs some 60 ms to import

        return np.asarray(special.softmax(outputs, axis=1) if kind.probabilities == "row" else special.expit(outputs))

    def predict_classes(self, X: Any) -> npt.NDArray[np.int64]:
        """Most probable classes.

        Parameters
        ----------
        X : array-like, (n, n_features)

        Returns
        -------
        ndarray of int64
            Labels (n,), also of two classes that share one output; 0 and 1 (n, n_outputs) where several outputs do not
            compete.

        Raises
        ------
        ValueError, TypeError
            As for `predict_proba`.
        """
        probabilities = self.predict_proba(X)
        if self.loss.rule.targets == "classes" or self.layers[-1].activation.rule.probabilities == "row":
            return probabilities.argmax(axis=1)
        classes = (probabilities > 0.5).astype(np.int64)
        return classes[:, 0] if classes.shape[1] == 1 else classes

    def evaluate(self, X: Any, y: Any, *, sample_weight: Any = None) -> dict[str, float]:
        """Loss and metrics on some data.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.

        Returns
        -------
        dict of str to float
            "loss" (with the penalty) and the metrics, by their names.

        Raises
        ------
        ValueError, TypeError
            If something given makes no sense, or the model has no weights yet.
        """
        self._built()
        rows = self._check_rows(X, y, sample_weight, self.n_outputs, ("X", "y", "sample_weight"))
        with self._team(self.flops_per_row(training=False) * rows.n) as team:
            return objective.evaluate(self, rows, team)

    def gradient(self, X: Any, y: Any, *, sample_weight: Any = None) -> tuple[float, list[Array], list[Array]]:
        """Loss E + R of all rows as one batch, and its gradient, by back-propagation; without dropout.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.

        Returns
        -------
        loss : float
        weights, biases : list of ndarray
            dE/dW + dR/dW (n_in, n_out) and dE/db (n_out,) of each layer; copies. All is NaN where the loss is
            not finite.
        """
        engine = self._built()
        rows = self._check_rows(X, y, sample_weight, self.n_outputs, ("X", "y", "sample_weight"))
        with self._kernel_lock, self._team(self.flops_per_row(training=True) * rows.n) as team:
            sums, weights, biases = engine.gradient(rows.data(), team=team)
        if sums.status == OK:
            return objective.loss_of(self, sums), weights, biases
        for array in (*weights, *biases):
            array.fill(math.nan)
        return math.nan, weights, biases

    # ------------------------------------------------------------------------------------------ keeping

    def save(self, path: npz.PathOrFile) -> None:
        """Write the model into one file, optimizer state and history included; no pickle.

        The file is replaced in one go: a crash leaves the old one. `fastnn.load` reads it, and training goes on
        from there to the same bits as without a stop. Metrics that are functions are left out.

        Raises
        ------
        TypeError
            If the learning rate is a function or a schedule of your own, which a file cannot hold.
        """
        model_state.check_serializable(self)
        npz.write(path, *model_state.state_of(self))

    def __getstate__(self) -> dict[str, Any]:
        """For pickle and copy: what a file holds, and metrics that are functions."""
        header, arrays = model_state.state_of(self)
        return {"header": header, "arrays": arrays, "n_threads": self.n_threads, "metrics": self.metrics}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over what `__getstate__` gave."""
        n_threads = min(state["n_threads"], max(1, available_threads()))
        model = model_state.from_state(Model, state["header"], state["arrays"], n_threads=n_threads)
        self.__dict__.update(model.__dict__, metrics=state["metrics"])
