"""Model: the main user-facing class.

Training minimises E(f(x), t) + R: the loss E of the layers' output f(x) against the targets t, plus the regularizer R,
by the optimizer.
"""

from __future__ import annotations

import copy
import inspect
import math
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from fastnn import losses, metrics, optimizers, regularizers
from fastnn._adversary import FGSM, PGD, table_of
from fastnn._compatibility import (
    BatchSize,
    as_batch_size,
    as_metrics,
    as_optimizer,
    check_pieces,
    check_solver,
)
from fastnn._data.arrays import as_features, written_during_the_call
from fastnn._data.class_weight import ClassWeight
from fastnn._data.prepare import ValidationData, prepare, prepare_training
from fastnn._derivatives import Differentiable
from fastnn._embedding import Embedding
from fastnn._engine.inference import NotFinite
from fastnn._engine.processors import available_threads
from fastnn._errors import warn
from fastnn._persistence import model_state
from fastnn._persistence.npz import PathOrFile
from fastnn._results import ParameterViews, Scores
from fastnn._subject import Subject
from fastnn._training import advice, descent, objective, summary
from fastnn._training.fit import train
from fastnn._training.loop import Fit
from fastnn._training.net import Net, new_net, with_new_head
from fastnn._training.progress import bar
from fastnn._validation import as_max_seconds, as_path, as_sequence, as_verbose, check_bool, must_be, positive_integer
from fastnn._validation.names import check_suffix, explained, no_attribute, unknown_keyword
from fastnn._validation.other_libraries import MODEL_ATTRIBUTES
from fastnn.augmentation import Augmentation, check_augmentation
from fastnn.callbacks import Callback, as_callbacks
from fastnn.history import History
from fastnn.layers import Dense, Dropout
from fastnn.lr_finder import LearningRates, RangeTest, check_has_rate, find

__all__ = ["Model", "load"]


def __dir__() -> list[str]:
    return __all__


_SCALE = "Scale X and y to about 1, or use dtype='float64'; the weights may be huge, too."

Array: TypeAlias = npt.NDArray[Any]

if TYPE_CHECKING:
    fixed = property
else:

    class fixed(property):  # noqa: N801  # used as the decorator `property` is
        """A read-only property, whose error states what to do instead."""

        def __set__(self, model: Model, value: Any) -> None:
            """Raise AttributeError."""
            name = self.fget.__name__
            raise AttributeError(f"{name} of a Model is read-only; make a new Model with another {name}.")


@explained
class Model(Differentiable, Embedding):
    """A multilayer perceptron and its training: min E(f(x), t) + R.

    Nothing is compiled or allocated before the first call that needs it. A name that is not an attribute below cannot
    be set; classes derived from Model may have attributes of their own.

    Parameters
    ----------
    layers : sequence of Dense, Dropout or int
        From the first hidden layer to the output. A plain int is a `Dense` layer of that width, with ReLU
        when hidden and without activation at the end; a `Dropout` becomes part of the layer after it. An empty
        sequence is a net without hidden layer, with as many outputs as the targets require: linear, logistic or
        softmax regression, by the loss.
    loss : str or Loss
        "squared_error", "sum_of_squares", "absolute_error", "huber", "quantile", "gaussian_nll", "poisson",
        "binary_crossentropy", "softmax_crossentropy", or one with settings such as
        ``losses.softmax_crossentropy(label_smoothing=0.1)``. The cross-entropies are computed from logits: the last
        layer is linear, or its "sigmoid" or "softmax" is fused into the loss; so is "exponential" for "poisson".
        Other activations of the last layer are invalid with these losses.
    optimizer : str or optimizer
        "sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw", "amsgrad", "nadam", "lion", or an
        instance with its settings; the full-batch methods "lbfgs" and, for squared errors, "lm"
        (Levenberg-Marquardt) for small nets.
    regularizer : None, str or regularizer
        None, "l1", "l2", "l1_l2" or an instance; a penalty on all weights, not on biases.
    metrics : sequence of str, Metric or callable, or None
        "accuracy" for the cross-entropies; "mean_squared_error" and "mean_absolute_error", which are
        computed in the same pass, "root_mean_squared_error" and "r2" for the others; None means accuracy for the
        cross-entropies and no metrics for the others. A callable is called as ``metric(y_true, y_pred)`` after
        each epoch, and its ``__name__`` is its key in the History (or the name of ``Metric(name, metric)``).
        Its arguments are y as passed, as an array, and predictions: values, or the probabilities of
        `predict_proba` with a cross-entropy; (n,) if y is and there is one output. Sample weights are not passed.
        A function that refuses probabilities, as ``sklearn.metrics.f1_score`` does, receives classes in place of both;
        ``Metric(name, metric, needs="classes")`` states it. Most metrics of scikit-learn are valid. All but the first
        three are computed after an epoch, with its last weights, by a prediction for all rows.
    seed : int or None
        Seed of the start weights, the order of rows in each epoch and the validation split. The same seed gives the
        same bits for every number of threads. None draws one; see `seed`.
    dtype : {"float32", "float64", "mixed_bfloat16"}
        Precision of weights and arithmetic. Data of another type are converted: with "float32" an X of float64 is
        computed in single precision. With "mixed_bfloat16" all is float32, but the matrix products of training,
        evaluation and prediction read their operands rounded to bfloat16: faster for wide nets on processors with
        the instruction AVX512_BF16, see `dtype_policy`.
    n_threads : int or None
        Maximum number of threads; None means all processors of the process. Fewer are used where that is faster, and
        never more than there are processors.

    Attributes
    ----------
    layers : tuple of Dense
    loss, optimizer, regularizer, metrics
        Instances; `optimizer` and `regularizer` may be replaced.
    seed : int
    dtype : numpy.dtype
    dtype_policy : str
        The argument `dtype`.
    n_features, n_outputs : int or None
        Widths of input and output; None while unknown.
    weights, biases : tuple of ndarray
        Views of the parameters, (n_in, n_out) and (n_out,) per layer; writing into them changes the model, and so does
        ``model.weights[0] = a`` or ``model.weights = [...]``, of arrays of the same shapes.
    trainable : list of bool
        For each layer whether training changes it; set it to freeze or unfreeze layers.
    averages : (list of ndarray, list of ndarray) or None
        Running averages of weights and biases if the optimizer has an `ema_momentum`; predictions use them.
    history : History
        All epochs of all fits.
    stop_training : bool or str
        Set by a callback to end the training after this epoch; a str becomes `History.stopped`.

    Raises
    ------
    ValueError, TypeError
        If an argument is invalid or inconsistent with the others.

    Notes
    -----
    Calls of one model from several threads are serialized by a lock; during training it is released between epochs.

    Examples
    --------
    >>> import fastnn
    >>> X, y, X_test, y_test = fastnn.datasets.load_digits()
    >>> model = fastnn.Model([64, 10], loss="softmax_crossentropy", seed=0)
    >>> history = model.fit(X, y, epochs=10)
    >>> bool(model.evaluate(X_test, y_test)["accuracy"] > 0.9)
    True
    """

    __slots__ = ("__weakref__", "_net")

    _net: Net

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
        self._net = new_net(
            layers,
            loss=loss,
            optimizer=optimizer,
            regularizer=regularizer,
            metrics=metrics,
            seed=seed,
            dtype=dtype,
            n_threads=n_threads,
        )

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute that the class has.

        Raises
        ------
        AttributeError
            If there is no such attribute, or it is read-only.
        """
        try:
            object.__setattr__(self, name, value)
        except AttributeError:
            if hasattr(type(self), name):
                raise
            raise AttributeError(no_attribute("a Model", name, MODEL_ATTRIBUTES, _public(type(self)))) from None

    def __getattr__(self, name: str) -> Any:
        """Raise AttributeError for a name that does not exist."""
        if hasattr(type(self), name):  # a property that raised AttributeError
            return object.__getattribute__(self, name)
        raise AttributeError(no_attribute("a Model", name, MODEL_ATTRIBUTES, _public(type(self))))

    # ------------------------------------------------------------------------------------ properties

    @fixed
    def layers(self) -> tuple[Dense, ...]:
        """The layers, from the first hidden one to the output; empty while the width of the output is unknown."""
        return self._net.spec.layers

    @fixed
    def loss(self) -> losses.Loss:
        """The loss."""
        return self._net.spec.loss

    @fixed
    def metrics(self) -> tuple[metrics.Metric, ...]:
        """The metrics."""
        return self._net.spec.metrics

    @fixed
    def seed(self) -> int:
        """The seed of start weights, order of rows and split for validation."""
        return self._net.spec.seed

    @fixed
    def dtype(self) -> np.dtype[Any]:
        """Dtype of weights, features and outputs: float32 in mixed precision."""
        return self._net.spec.dtype

    @fixed
    def dtype_policy(self) -> str:
        """The argument `dtype`: the name of the dtype, or "mixed_bfloat16"."""
        return self._net.spec.dtype_policy

    @fixed
    def n_threads(self) -> int:
        """Maximum number of threads."""
        return self._net.spec.n_threads

    @property
    def history(self) -> History:
        """All epochs of all fits."""
        return self._net.history

    @history.setter
    def history(self, history: History) -> None:
        if not isinstance(history, History):
            raise TypeError(must_be("history", "a fastnn.History", history))
        self._net.history = history

    @property
    def stop_training(self) -> bool | str:
        """Set by a callback to end the training after this epoch; a str becomes `History.stopped`."""
        return self._net.stop_training

    @stop_training.setter
    def stop_training(self, stop: bool | str) -> None:
        if type(stop) is not str:
            stop = check_bool(stop, "stop_training")
        self._net.stop_training = stop

    @property
    def optimizer(self) -> optimizers.Optimizer:
        """The optimizer; a new one of the same kind, as with another rate, keeps the optimizer's state."""
        return self._net.optimizer

    @optimizer.setter
    def optimizer(self, optimizer: str | optimizers.Optimizer) -> None:
        net = self._net
        new = as_optimizer(optimizer, net.spec.dtype)
        with net.kernel_lock:
            old = net.optimizer
            check_solver(new, net.spec.loss, net.regularizer)
            if (new.full_batch or old.full_batch) and new != old and net.is_in_training:
                raise ValueError(
                    f"optimizer is {new!r}, but the present fit with {old!r} cannot continue with it: call fit again "
                    "with the new one."
                )
            net.set_optimizer(new)

    @property
    def regularizer(self) -> regularizers.Regularizer:
        """The regularizer; another one takes effect with the next step."""
        return self._net.regularizer

    @regularizer.setter
    def regularizer(self, regularizer: str | regularizers.Regularizer | None) -> None:
        net = self._net
        new = regularizers.get(regularizer)
        with net.kernel_lock:
            check_solver(net.optimizer, net.spec.loss, new)
            if net.optimizer.full_batch and new != net.regularizer and net.is_in_training:
                raise ValueError(
                    f"regularizer is {new!r}, but the present fit with {net.optimizer!r} cannot continue with it: call "
                    "fit again with the new one."
                )
            net.set_regularizer(new)

    @property
    def built(self) -> bool:
        """Whether the widths are known and the weights exist."""
        return self._net.engine is not None

    @property
    def n_features(self) -> int | None:
        """Columns of X; None before the first fit or build."""
        return self._net.n_features

    @property
    def n_outputs(self) -> int | None:
        """Columns of the output; None for an empty list of layers before the first fit or build."""
        return self._net.n_outputs

    @property
    def n_params(self) -> int:
        """Number of weights and biases."""
        return summary.n_params(self._net)

    @property
    def weights(self) -> ParameterViews:
        """Views of the weights, (n_in, n_out) per layer; writing into them changes the model."""
        return ParameterViews(self._net.built().weights(), "weights")

    @weights.setter
    def weights(self, weights: Iterable[npt.ArrayLike]) -> None:
        self.weights.write(weights)

    @property
    def biases(self) -> ParameterViews:
        """Views of the biases, (n_out,) per layer; writing into them changes the model."""
        return ParameterViews(self._net.built().biases(), "biases")

    @biases.setter
    def biases(self, biases: Iterable[npt.ArrayLike]) -> None:
        self.biases.write(biases)

    @property
    def averages(self) -> tuple[list[Array], list[Array]] | None:
        """Copies of the running averages of weights and biases; None without `ema_momentum` of the optimizer.

        Predictions and evaluations use them; values written into `weights` enter them by training only.
        """
        return self._net.built().averages()

    @property
    def trainable(self) -> list[bool]:
        """For each layer whether training changes its weights and biases; set it to freeze or unfreeze layers.

        The penalty R counts trainable layers only.
        """
        return list(self._net.trainable)

    @trainable.setter
    def trainable(self, trainable: Iterable[bool]) -> None:
        net = self._net
        constraint = f"a bool for each of the {len(net.spec.layers)} layers"
        given = as_sequence("trainable", constraint, trainable) if isinstance(trainable, Iterable) else (trainable,)
        if len(given) != len(net.spec.layers) or not all(isinstance(flag, bool | np.bool_) for flag in given):
            raise ValueError(must_be("trainable", constraint, given))
        with net.kernel_lock:
            if net.is_in_training:
                raise ValueError("trainable cannot be changed during a fit: set it between two fits.")
            net.set_trainable(tuple(map(bool, given)))

    def replace_head(
        self,
        layers: Sequence[Dense | Dropout | int],
        *,
        n_replaced: int = 1,
        trainable: bool = False,
        **settings: Any,
    ) -> Model:
        """Return a new model with the lower layers of this one and a new head, for transfer learning.

        Parameters
        ----------
        layers : sequence of Dense, Dropout or int
            Layers after those that are kept, as for `Model`.
        n_replaced : int
            Number of layers at the end that are replaced.
        trainable : bool
            Whether training changes the layers that are kept. They are frozen by default; with
            ``model.trainable = [True] * len(model.layers)`` they are fine-tuned later on.
        **settings
            Settings of `Model`; the defaults, except that of `metrics`, are those of this model.

        Returns
        -------
        Model
            Built, with copies of the kept weights and start weights in the head.

        Raises
        ------
        ValueError
            If this model has no weights yet, or `n_replaced` leaves no layer.
        """
        net = self._net
        net.built()
        check_bool(trainable, "trainable")
        names = list(inspect.signature(Model).parameters)[1:]
        for name in settings:
            if name not in names:
                raise TypeError(unknown_keyword("replace_head", name, names))
        return model_of(with_new_head(net, layers, n_replaced=n_replaced, trainable=trainable, settings=settings))

    def flops_per_row(self, *, training: bool) -> int:
        """Return the floating-point operations per row of the matrix products.

        Two per weight for the forward pass; training adds two for dE/dW and, except in the first layer, two
        for dE/dX.

        Parameters
        ----------
        training : bool
            Whether to count the backward pass.

        Returns
        -------
        int
            Multiplications and additions counted separately.
        """
        return self._net.flops_per_row(training=check_bool(training, "training"))

    @explained
    def build(self, n_features: int, n_outputs: int | None = None) -> Model:
        """Allocate the parameters and draw the start weights, which otherwise the first fit does.

        Parameters
        ----------
        n_features : int
            Columns of X.
        n_outputs : int or None
            Columns of the output; required only if `layers` is empty.

        Returns
        -------
        Model
            This model.

        Raises
        ------
        ValueError
            If the model is already built with other widths, or a width is missing or contradicts `layers`.
        """
        n_features = positive_integer(n_features, "n_features")
        if n_outputs is not None:
            n_outputs = positive_integer(n_outputs, "n_outputs")
        self._net.build(n_features, n_outputs)
        return self

    def __repr__(self) -> str:
        """Return widths, loss, optimizer and seed."""
        return summary.describe(self._net)

    def _repr_html_(self) -> str:
        """Return the table of `summary`, which notebooks show."""
        return summary.html(self._net)

    def summary(self, print_fn: Callable[[str], Any] = print) -> None:
        """Print the layers: shapes, activations, numbers of parameters, and settings that are not the defaults.

        Parameters
        ----------
        print_fn : callable
            Called with each line.
        """
        if not callable(print_fn):
            raise TypeError(must_be("print_fn", "a function of a line of text", print_fn))
        for line in summary.lines(self._net):
            print_fn(line)

    # --------------------------------------------------------------------------------------- training

    @explained
    def fit(
        self,
        X: Any,
        y: Any,
        *,
        epochs: int | None = None,
        batch_size: BatchSize = "auto",
        validation_data: ValidationData | None = None,
        validation_split: float = 0.0,
        sample_weight: Any = None,
        class_weight: ClassWeight | None = None,
        shuffle: bool = True,
        augmentation: Augmentation | None = None,
        adversary: FGSM | PGD | None = None,
        callbacks: Callback | Iterable[Callback] | None = None,
        max_seconds: float | None = None,
        verbose: bool | int | Literal["auto"] = "auto",
    ) -> History:
        """Train for `epochs` epochs from the present state of the model.

        Parameters
        ----------
        X : array-like, (n, n_features)
            C-contiguous arrays of the model's dtype are used without a copy; other data are converted once. The names
            of a data frame's columns are kept: later data frames must have the same ones in the same order.
        y : array-like
            Values (n,) or (n, n_outputs); for "softmax_crossentropy" also labels 0, 1, ... (n,).
        epochs : int or None
            Passes over the data; at most this number of iterations of a solver, which ends when it has converged. None
            is 1 pass, or 1000 iterations of a solver.
        batch_size : int, None or "auto"
            Rows per update: 1 is stochastic descent, None (all rows) batch descent, "auto" 32 rows. The last batch of
            an epoch may be shorter. Memory is constant above about a thousand rows per batch. The full-batch solvers
            use all rows: "auto", None and numbers of at least the number of rows are valid.
        validation_data : (X, y) or (X, y, sample_weight), or None
            Evaluated after each epoch: `val_loss` and so on.
        validation_split : float
            Fraction of the rows, drawn by the seed, that is used as validation data and not trained on.
        sample_weight : array-like (n,), or None
            Weight of each row: the loss of a batch is the weighted mean (sum, for "sum_of_squares").
        class_weight : dict of label to weight, "balanced" or None
            Weight of the rows of each class, times `sample_weight`; 1 for classes that are not in the dict.
            "balanced" is n / (k count) for n rows of k classes. For labels, one-hot rows, or one column of zeros and
            ones; applied to training rows only, so that validation measures the original distribution.
        shuffle : bool
            Whether each epoch uses the rows in a new order.
        augmentation : Augmentation or None
            Random changes of the rows of each batch: noise, mixup, a function. Validation rows are not changed; invalid
            with full-batch solvers.
        adversary : robust.FGSM, robust.PGD or None
            Adversarial training: the rows of each batch (after `augmentation`) are moved so that their loss rises, and
            then trained on. Loss and metrics are those of the moved rows. Validation rows are not moved; invalid with
            full-batch solvers.
        callbacks : Callback, iterable of Callback or None
            Called at the start and the end of the training and of each epoch; see `Callback`.
        max_seconds : float or None
            No epoch but the first begins later than this number of seconds after the start (validation included,
            compiling not). An epoch that has begun is finished: so only whole epochs are recorded, and a later fit
            continues bit-exactly.
        verbose : bool or "auto"
            Progress on stderr: a bar in terminals and notebooks, one line per epoch in logs. "auto" shows the
            bar in an interactive terminal or notebook if tqdm is installed, and nothing otherwise.

        Returns
        -------
        History
            The epochs of this call: loss (with the penalty), the metrics, both for validation with the
            prefix ``val_``, seconds and learning_rate (that of the last step). Training losses are means over
            the epoch's batches, each before its update. `stopped` is the reason of an early end: "early_stopping",
            "max_seconds", "diverged", "stop_training". With a solver the loss is that after the iteration, there is no
            learning_rate (but the damping `mu` of "lm"), and `stopped` may also be "converged", "stalled" (no step
            lowers the loss) or "max_fun", with an explanation in ``params["reason"]``; None means that `epochs` did not
            suffice.

        Raises
        ------
        ValueError, TypeError
            If something given makes no sense; the model is then as before.
        DivergenceError
            If the loss or a weight is no longer finite; the model keeps the last finite weights. With the callback
            `TerminateOnNaN` the training ends without this error.
        KeyboardInterrupt
            After Ctrl-C. The model keeps the weights of the last finished step, `history` the finished epochs, and
            ``history.stopped`` is "interrupted". `on_train_end` of the callbacks is called before.
        """
        net = self._net
        epochs = net.optimizer.default_epochs if epochs is None else positive_integer(epochs, "epochs")
        max_seconds = as_max_seconds(max_seconds)
        net.check_trainable()
        training, validation = prepare_training(
            X,
            y,
            net.form,
            sample_weight=sample_weight,
            class_weight=class_weight,
            validation_data=validation_data,
            validation_split=validation_split,
            seed=net.spec.seed,
        )
        batch = as_batch_size(batch_size, training.n, net.optimizer)
        check_bool(shuffle, "shuffle")
        called = as_callbacks(callbacks)
        verbose = as_verbose(verbose)
        check_augmentation(augmentation, net.optimizer)
        plan = None if augmentation is None else augmentation.changes(training.features.shape[1], net.spec.dtype)
        against = table_of(adversary, training, net.optimizer)
        progress = bar(verbose, epochs=epochs, rows=training.n)

        def run() -> History:
            net.check_weights()
            net.learn_names(training.feature_names)
            net.build(training.features.shape[1], training.targets.n_outputs)
            fit = Fit(
                training=training,
                validation=validation,
                epochs=epochs,
                batch=batch,
                shuffle=bool(shuffle) and not net.optimizer.full_batch,
                model=self,
                callbacks=called,
                progress=progress,
                max_seconds=max_seconds,
                augmentation=plan,
                adversary=against,
            )
            try:
                advice.check_scale(net, training)
                advice.check_schedule(net, epochs)
                record = train(net, fit)
            finally:
                progress.close()
            advice.check_losses(net, training, record.history.get("loss", []))
            return record

        return net.in_training("fit", run)

    @explained
    def partial_fit(self, X: Any, y: Any, *, batch_size: BatchSize = "auto", sample_weight: Any = None) -> Model:
        """Make one pass over the data in their order, from the present state of the model.

        For data that are loaded in parts.

        Parameters
        ----------
        X, y, batch_size, sample_weight
            As for `fit`.

        Returns
        -------
        Model
            This model.

        Raises
        ------
        ValueError, TypeError, DivergenceError
            As for `fit`; also for a full-batch solver, whose result would depend on the last part only.
        """
        check_pieces("partial_fit", self._net.optimizer)
        self.fit(X, y, batch_size=batch_size, sample_weight=sample_weight, shuffle=False, verbose=False)
        return self

    @explained
    def train_on_batch(
        self, X: Any, y: Any, *, sample_weight: Any = None, class_weight: ClassWeight | None = None
    ) -> Scores:
        """Make one update by all given rows, for custom training loops.

        It counts as a step of the optimizer, not as an epoch, and is not recorded in `history`. A schedule of the
        learning rate has the value of the start of the next epoch. Invalid with full-batch solvers.

        Parameters
        ----------
        X, y, sample_weight, class_weight
            As for `fit`.

        Returns
        -------
        dict of str to float
            Loss (with the penalty) and metrics of these rows, before the update; see `evaluate`.

        Raises
        ------
        ValueError, TypeError
            If something given makes no sense; the model is then as before.
        DivergenceError
            If the loss or a weight is not finite; the model keeps the last finite weights.
        """
        net = self._net
        check_pieces("train_on_batch", net.optimizer)
        net.check_trainable()
        rows = prepare(X, y, net.form, sample_weight=sample_weight, class_weight=class_weight)

        def run() -> Scores:
            net.check_weights()
            net.learn_names(rows.feature_names)
            net.build(rows.features.shape[1], rows.targets.n_outputs)
            with net.team(net.flops_per_row(training=True) * rows.n, once=True) as team:
                return Scores(descent.train_on_batch(net, rows, team))

        return net.in_training("train_on_batch", run)

    @explained
    def lr_find(
        self,
        X: Any,
        y: Any,
        *,
        epochs: int = 20,
        batch_size: BatchSize = "auto",
        validation_data: ValidationData | None = None,
        validation_split: float = 0.0,
        sample_weight: Any = None,
        class_weight: ClassWeight | None = None,
        start: float = 1e-7,
        end: float = 10.0,
        steps: int = 100,
        smoothing: float = 0.9,
        divergence: float = 4.0,
    ) -> LearningRates:
        """Search the best learning rate, for a constant rate and for the peak of `schedules.OneCycle`.

        A range test, a short training with a rate that grows until the loss diverges, shows where to search. Then
        trainings from the present state, each at another rate, are compared by the loss at their end: that of the
        validation data if they are given, else that of all rows. The model is not changed: a copy is trained, with the
        present optimizer.

        Parameters
        ----------
        X, y, epochs, batch_size, validation_data, validation_split, sample_weight, class_weight
            Those of the later `fit`. The best rate depends on all of them, on `epochs` and `batch_size` above all.
        start, end : float
            First and last rate of the range test, and limits of the rates that are tried.
        steps : int
            Steps of the range test, at least 10; its rate grows by a constant factor per step.
        smoothing : float
            Decay of the running mean of the range test's losses, at least 0 and below 1.
        divergence : float
            The range test ends when the smoothed loss is `divergence` times the minimum (or not finite).

        Returns
        -------
        LearningRates
            With the recommended `learning_rate` and `max_learning_rate`, and a `plot`.

        Warns
        -----
        UserWarning
            If no training lowers the loss by 1 %, as after a training to the end. Nothing is recommended then.

        Notes
        -----
        It costs at most 32 trainings, usually 19. Each takes `epochs` epochs, but at most 3000 steps, and at most a
        million rows where these are more than 100 steps: with longer ones the rates are those of short trainings.

        The range test is that of [1]_ in fastai's form.

        References
        ----------
        .. [1] L. N. Smith, "Cyclical learning rates for training neural networks", WACV, 2017 (arXiv:1506.01186, 2015).
        """
        settings = RangeTest(start=start, end=end, steps=steps, smoothing=smoothing, divergence=divergence)
        epochs = positive_integer(epochs, "epochs")
        net = self._net
        check_has_rate(net.optimizer)
        training, validation = prepare_training(
            X,
            y,
            net.form,
            sample_weight=sample_weight,
            class_weight=class_weight,
            validation_data=validation_data,
            validation_split=validation_split,
            seed=net.spec.seed,
        )
        trial = model_state.copy_of(net)
        return find(trial, training, validation, settings, epochs=epochs, batch_size=batch_size, model=self)

    # ------------------------------------------------------------------------------------- prediction

    def predict(self, X: Any, *, batch_size: int | None = None, verbose: Any = False) -> Array:
        """Return the outputs f(x) of the last layer, its activation included.

        With a cross-entropy over a linear last layer these are logits; see `predict_proba`.

        Parameters
        ----------
        X : array-like, (n, n_features)
            A C-contiguous array of the model's dtype is read without a conversion.
        batch_size, verbose
            Without effect, for programs that were written for Keras: the result does not depend on batches, and there
            is no display.

        Returns
        -------
        ndarray, (n, n_outputs)
            A new array of the model's dtype.

        Raises
        ------
        ValueError, TypeError
            If X has another width, is not numeric or not finite, or the model has no weights yet.

        Warns
        -----
        RuntimeWarning
            If an output is NaN or infinite, as the sums of huge features are.
        """
        net = self._net
        engine = net.engine or net.built()
        # The kernel itself finds NaN and infinity, while the rows are in the cache; `as_features` reports where.
        features = X if engine.can_read(X) else self._features(X)
        outputs = net.outputs(features)
        if type(outputs) is np.ndarray:
            return outputs
        if isinstance(outputs, NotFinite):
            warn(f"predict returned NaN or infinity for finite X. {_SCALE}", RuntimeWarning)
            return outputs.outputs
        self._features(X)
        raise ValueError(written_during_the_call("X"))

    def _features(self, X: Any) -> Array:
        form = self._net.form
        return as_features(X, dtype=form.dtype, n_features=form.n_features, fitted_names=form.feature_names)

    def __call__(self, X: Any) -> Array:
        """Return `predict` of X, as in Keras and PyTorch."""
        return self.predict(X)

    def predict_proba(self, X: Any) -> Array:
        """Return the probabilities of the classes.

        Parameters
        ----------
        X : array-like, (n, n_features)

        Returns
        -------
        ndarray, (n, n_outputs)
            Rows sum to 1 with "softmax_crossentropy"; otherwise each output is an independent probability.

        Raises
        ------
        ValueError, TypeError
            As for `predict`, and if the model does not output probabilities.
        """
        return self._probabilities(X, "predict_proba")

    def _probabilities(self, X: Any, call: str) -> Array:
        net = self._net
        net.built()
        objective.check_probabilities(net.spec, call)
        return objective.probabilities(net.spec, self.predict(X))

    def predict_classes(self, X: Any) -> npt.NDArray[np.int64]:
        """Return the most probable class of each row.

        Parameters
        ----------
        X : array-like, (n, n_features)

        Returns
        -------
        ndarray of int64
            Labels (n,), also for binary classification with one output; 0 and 1 (n, n_outputs) for multi-label outputs.

        Raises
        ------
        ValueError, TypeError
            As for `predict_proba`.
        """
        probabilities = self._probabilities(X, "predict_classes")
        return objective.classes(self._net.spec, probabilities)

    @explained
    def evaluate(
        self, X: Any, y: Any, *, sample_weight: Any = None, batch_size: int | None = None, verbose: Any = False
    ) -> Scores:
        """Return loss and metrics of the given data.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.
        batch_size, verbose
            Without effect, for programs that were written for Keras: the result does not depend on batches, and there
            is no display.

        Returns
        -------
        dict of str to float
            "loss" (with the penalty) and the metrics, by name. It cannot be unpacked or iterated over, which would give
            the names; `dict.values`, `dict.items` and all else of a dict are there.

        Raises
        ------
        ValueError, TypeError
            If something given makes no sense, or the model has no weights yet.
        """
        net = self._net
        net.built()
        rows = prepare(X, y, net.form, sample_weight=sample_weight)
        with net.team(net.flops_per_row(training=False) * rows.n, once=True) as team:
            found = objective.evaluate(net, rows, team)
        if not math.isfinite(found["loss"]):
            warn(f"evaluate found a loss that is not finite. {_SCALE}", RuntimeWarning)
        return Scores(found)

    @explained
    def gradient(self, X: Any, y: Any, *, sample_weight: Any = None) -> tuple[float, list[Array], list[Array]]:
        """Return the loss E + R of all rows as one batch and its gradient, by back-propagation without dropout.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.

        Returns
        -------
        loss : float
            E + R.
        weights, biases : list of ndarray
            dE/dW + dR/dW (n_in, n_out) and dE/db (n_out,) of each layer; copies. All are NaN if the loss is
            not finite.
        """
        net = self._net
        net.built()
        return objective.gradient(net, prepare(X, y, net.form, sample_weight=sample_weight))

    # ------------------------------------------------------------------------------------ persistence

    def snapshot(self) -> Any:
        """Return a copy of the parameters, with their running averages if there are any.

        Returns
        -------
        object
            For `restore`.
        """
        with self._net.kernel_lock:
            return self._net.built().snapshot()

    def restore(self, snapshot: Any) -> None:
        """Set the parameters to those of a snapshot, which restores its predictions.

        Optimizer state, history and epoch count are unchanged.

        Parameters
        ----------
        snapshot : object
            What `snapshot` of this model returned.
        """
        self._net.restore(snapshot)

    def check_serializable(self) -> None:
        """Raise TypeError unless the model, except metrics that are functions, can be saved.

        Raises
        ------
        TypeError
            If the learning rate is a function or a custom schedule, or an activation or the loss is custom.
        """
        model_state.check_serializable(self._net)

    def astype(self, dtype: npt.DTypeLike) -> Model:
        """Return a copy in another precision: weights, optimizer state and history.

        Parameters
        ----------
        dtype : {"float32", "float64", "mixed_bfloat16"}
            As for the class.

        Returns
        -------
        Model
            Independent of this one. Weights of float64 are rounded to float32, those of float32 and "mixed_bfloat16"
            are the same numbers.

        Raises
        ------
        ValueError
            If a weight or a number of the optimizer is beyond the range of the dtype.
        """
        made = copy.copy(self)
        made._net = model_state.copy_of(self._net, dtype)
        return made

    def save(self, path: PathOrFile) -> None:
        """Write the model into one file, optimizer state and history included; no pickle.

        The file is replaced atomically: a crash leaves the old one, and other hard links to it keep the old content.
        `fastnn.load` reads it, and training then continues bit-exactly. Metrics that are functions are omitted.

        Parameters
        ----------
        path : path or binary file

        Raises
        ------
        TypeError
            As for `check_serializable`.
        ValueError
            If no file can have that name, or its suffix is that of another format, such as ".h5" or ".keras".
        OSError
            If the file cannot be written, or is write-protected.
        """
        check_suffix("path", path)
        if isinstance(path, str | os.PathLike):
            path = as_path("path", path)
        model_state.write(path, self._net)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for pickle and copy: that of a file, and metrics that are functions."""
        header, arrays = model_state.state_of(self._net)
        return {"header": header, "arrays": arrays, "n_threads": self.n_threads, "metrics": self.metrics}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Set the state that `__getstate__` returned."""
        n_threads = min(state["n_threads"], max(1, available_threads()))
        net = model_state.from_state(state["header"], state["arrays"], n_threads=n_threads)
        net.spec = replace(net.spec, metrics=state["metrics"])
        self._net = net


@explained
def load(path: PathOrFile, *, metrics: Any = None, n_threads: int | None = None) -> Model:
    """Read a model that `Model.save` wrote.

    Nothing in the file is executed, and memory is taken in proportion to its size. Weights are read as they are, NaN
    included; `Model.fit` refuses such a model.

    Parameters
    ----------
    path : path or binary file
        A device or pipe is refused as a path. A file that cannot seek may have up to 1 GiB.
    metrics : sequence of str, Metric or callable, or None
        As for `Model`. None means those of the file, which contains no functions: to use functions, pass all metrics
        again.
    n_threads : int or None
        As for `Model`.

    Returns
    -------
    Model
        With the optimizer's state and the history; it predicts and trains on as the saved one would.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is truncated or damaged, of another format, or of a later version; if no file can have that name.
    """
    if isinstance(path, str | os.PathLike):
        path = as_path("path", path)
    net = model_state.read(path, n_threads=n_threads)
    if metrics is not None:
        net.spec = replace(net.spec, metrics=as_metrics(metrics, net.spec.loss))
    return model_of(net)


def _public(kind: type[Model]) -> list[str]:
    return [name for name in dir(kind) if not name.startswith("_")]


def net_of(model: Model) -> Net:
    """Return the net of a model, for modules of this package above `Model`."""
    return model._net


def replace_net(model: Model, net: Net) -> None:
    """Give a model the net that another process has trained, for modules of this package above `Model`."""
    model._net = net


def subject_of(model: Any) -> Subject:
    """Return the net of a Model or of a fitted estimator, for modules of this package above `Model`.

    Raises
    ------
    TypeError
        If `model` is neither.
    ValueError
        If it has no weights yet.
    sklearn.exceptions.NotFittedError
        If the estimator has not been fitted.
    """
    if isinstance(model, Model):
        return Subject(model, model._net)
    model_of = getattr(type(model), "__fastnn_model__", None)
    if model_of is None:
        hint = "Of a Pipeline, give its last step and the transformed X."
        raise TypeError(must_be("model", "a fastnn.Model or a fitted estimator of fastnn", model, hint))
    own: Model = model_of(model)
    return Subject(own, own._net, model)


def model_of(net: Net) -> Model:
    """Return a model of a net, for modules of this package above `Model`."""
    model = Model.__new__(Model)
    model._net = net
    return model
