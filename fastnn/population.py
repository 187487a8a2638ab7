"""Population: many nets, each a `Model`, that are trained at the same time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias, overload

import numpy as np
import numpy.typing as npt

from fastnn._compatibility import BatchSize, as_batch_size
from fastnn._data.arrays import as_features, written_during_the_call
from fastnn._data.class_weight import ClassWeight
from fastnn._data.prepare import ValidationData, prepare
from fastnn._engine.inference import NotFinite
from fastnn._engine.processors import available_threads
from fastnn._engine.thread_team import as_n_threads
from fastnn._errors import warn
from fastnn._persistence import population_state
from fastnn._persistence.npz import PathOrFile
from fastnn._population.by_solver import train_by_solvers
from fastnn._population.by_thread import Workspaces, evaluate
from fastnn._population.copies import check_callbacks, copies_of
from fastnn._population.history import PopulationHistory
from fastnn._population.loop import Fit, Loop
from fastnn._population.pool import IsStopped, run_all
from fastnn._population.record import Record
from fastnn._population.rows import forms_of, prepare_shares
from fastnn._population.values import values_of
from fastnn._training import advice, objective, summary
from fastnn._training.net import Net, all_in_training
from fastnn._training.progress import bar
from fastnn._validation import as_path, as_seed, as_sequence, as_verbose, check_bool, must_be, positive_integer
from fastnn._validation.names import check_suffix, explained
from fastnn.callbacks import Callback, EarlyStopping, TerminateOnNaN, as_callbacks
from fastnn.history import less_is_better
from fastnn.losses import Loss
from fastnn.metrics import Metric, MetricFunction
from fastnn.model import Model, model_of, net_of
from fastnn.optimizers import FirstOrderOptimizer, Optimizer
from fastnn.regularizers import Regularizer

__all__ = ["Population", "PopulationHistory", "load_population"]


def __dir__() -> list[str]:
    return __all__


Array: TypeAlias = npt.NDArray[Any]
Numbers: TypeAlias = npt.NDArray[np.float64]


@explained
class Population:
    """Many nets, each a `Model`, that are trained on the same data at the same time.

    Parameters
    ----------
    layers : sequence of Dense, Dropout or int, or a list of such sequences
        As for `Model`: those of all nets, or a list with those of each.
    n : int or None
        Number N of nets. None is the length of the arguments that are lists.
    loss, optimizer, regularizer
        As for `Model`: one for all nets, or a list with one for each.
    metrics : sequence of str, Metric or callable, or None
        As for `Model`, for all nets.
    seed : int, sequence of int or None
        A number s gives the nets the seeds s, s + 1, ...; a sequence gives each its own; None draws s.
    dtype : {"float32", "float64"}
    n_threads : int or None
        Maximum number of threads; None means all processors of the process. No result depends on it.

    Raises
    ------
    ValueError, TypeError
        If an argument is invalid or inconsistent with the others.

    Notes
    -----
    ``population[i]`` is a `Model`, the same as ``Model(..., seed=s + i)`` by itself: its start weights, order of rows
    and dropout are those of its own seed, and neither the other nets nor the number of threads change them. After
    `fit` it goes on by itself.
    """

    __slots__ = ("_best_epochs", "_models", "n_threads")

    _models: list[Model]
    #: For each net that went back to its best weights: epochs of the net then, and the epoch of those weights.
    _best_epochs: dict[int, tuple[int, int]]
    n_threads: int

    def __init__(
        self,
        layers: Any,
        n: int | None = None,
        *,
        loss: str | Loss | Sequence[str | Loss],
        optimizer: str | Optimizer | Sequence[str | Optimizer] = "adam",
        regularizer: str | Regularizer | Sequence[str | Regularizer | None] | None = None,
        metrics: Sequence[str | Metric | MetricFunction] | None = None,
        seed: int | Sequence[int] | None = None,
        dtype: npt.DTypeLike = "float32",
        n_threads: int | None = None,
    ) -> None:
        of_each: dict[str, tuple[Any, ...] | None] = {"layers": _items_of_layers(layers)}
        for name, value in (("loss", loss), ("optimizer", optimizer), ("regularizer", regularizer), ("seed", seed)):
            of_each[name] = tuple(value) if isinstance(value, list | tuple | range | np.ndarray) else None
        count = _count(n, {name: len(items) for name, items in of_each.items() if items is not None})
        given_seeds = of_each.pop("seed")
        first = as_seed(seed) if given_seeds is None else 0
        as_seed(first + count - 1)
        seeds: Sequence[Any] = range(first, first + count) if given_seeds is None else given_seeds
        shared = {"layers": layers, "loss": loss, "optimizer": optimizer, "regularizer": regularizer}
        threads = as_n_threads(n_threads)
        models = []
        for k in range(count):
            settings = {name: shared[name] if items is None else items[k] for name, items in of_each.items()}
            try:
                models.append(Model(**settings, metrics=metrics, seed=seeds[k], dtype=dtype, n_threads=threads))
            except (TypeError, ValueError) as error:
                error.add_note(f"These are the settings of net {k} of {count}.")
                raise
        self._take(models, threads)

    @classmethod
    def of(cls, models: Iterable[Model], *, n_threads: int | None = None) -> Population:
        """Make a population of models that exist, which it trains on.

        Parameters
        ----------
        models : iterable of Model
            Each once.
        n_threads : int or None
            As for `Population`.

        Returns
        -------
        Population

        Raises
        ------
        TypeError, ValueError
            If one is no Model, one is there twice, or there is none.
        """
        given = as_sequence("models", "a sequence of fastnn.Model", models)
        for k, model in enumerate(given):
            if not isinstance(model, Model):
                raise TypeError(must_be(f"models[{k}]", "a fastnn.Model", model))
        if not given:
            raise ValueError(must_be("models", "at least one", given))
        places: dict[int, int] = {}
        for k, model in enumerate(given):
            before = places.setdefault(id(net_of(model)), k)
            if before != k:
                raise ValueError(f"models[{k}] is models[{before}] once more: give each model once, or a copy of it.")
        made = cls.__new__(cls)
        made._take(list(given), as_n_threads(n_threads))
        return made

    def _take(self, models: list[Model], n_threads: int) -> None:
        self._models = models
        self._best_epochs = {}
        self.n_threads = n_threads

    # ------------------------------------------------------------------------------------------ sequence

    def __len__(self) -> int:
        """Count the nets."""
        return len(self._models)

    def __iter__(self) -> Iterator[Model]:
        """Iterate over the nets."""
        return iter(self._models)

    @overload
    def __getitem__(self, index: int) -> Model: ...
    @overload
    def __getitem__(self, index: slice) -> Population: ...
    def __getitem__(self, index: int | slice) -> Model | Population:
        """Return a net as a Model, or some of the nets as a Population; both are these nets, no copies."""
        if isinstance(index, slice):
            return Population.of(self._models[index], n_threads=self.n_threads)
        return self._models[index]

    # ------------------------------------------------------------------------------------------ training

    @explained
    def fit(
        self,
        X: Any,
        y: Any,
        *,
        epochs: int = 1,
        batch_size: BatchSize = "auto",
        shuffle: bool = True,
        order: Literal["own", "shared"] = "own",
        sample_weight: Any = None,
        class_weight: ClassWeight | None = None,
        validation_data: ValidationData | None = None,
        validation_split: float = 0.0,
        callbacks: Callback | Iterable[Callback] | None = None,
        verbose: bool | int | Literal["auto"] = "auto",
    ) -> PopulationHistory:
        """Train all nets for `epochs` epochs from their present state.

        Parameters
        ----------
        X, y, epochs, batch_size, class_weight, validation_data, verbose
            As for `Model.fit`. The display shows the lowest loss of any net so far, of validation if there is one.
        shuffle : bool
            Whether each epoch uses the rows in a new order.
        order : {"own", "shared"}
            Whether each net has an order of its own, by its seed, or all the one of the first net.
        sample_weight : array-like (n,) or (N, n), or None
            Weight of each row, for all nets or for each net, as of bootstrap samples and folds.
        validation_split : float
            Fraction of the rows, drawn by the seed of the first net, that no net is trained on. They have the weights
            of `sample_weight`, those of each net included.
        callbacks : Callback, iterable of Callback or None
            Each net has a deep copy of each, which reads and changes that net alone. `CSVLogger` and `ModelCheckpoint`,
            which write one file, are invalid.

        Returns
        -------
        PopulationHistory
            The epochs of this call. A net whose loss or weights are no longer finite stops with its last finite
            weights, and a warning; the others go on.

        Raises
        ------
        ValueError, TypeError
            If something given makes no sense; the nets are then as before.
        KeyboardInterrupt
            After Ctrl-C. Each net keeps the weights of its last finished step.

        Warns
        -----
        TrainingWarning
            If nets have diverged, unless a callback is `TerminateOnNaN`.
        """
        nets = self._nets()
        epochs = positive_integer(epochs, "epochs")
        for net in nets:
            net.check_trainable()
        if type(order) is not str or order not in ("own", "shared"):
            raise ValueError(must_be("order", "'own' or 'shared'", order))
        shares = prepare_shares(
            X,
            y,
            nets,
            sample_weight=sample_weight,
            class_weight=class_weight,
            validation_data=validation_data,
            validation_split=validation_split,
        )
        for share in shares:
            for k in share.positions:
                as_batch_size(batch_size, share.training.n, nets[k].optimizer)
        n_rows = shares[0].training.n
        solved = {k for k, net in enumerate(nets) if net.optimizer.full_batch}
        batch = as_batch_size(batch_size, n_rows, FirstOrderOptimizer()) if len(solved) < len(nets) else n_rows
        check_bool(shuffle, "shuffle")
        called = as_callbacks(callbacks)
        check_callbacks(called)
        copies = [copies_of(called) for _ in nets]
        progress = bar(as_verbose(verbose), epochs=epochs, rows=n_rows * len(nets))
        record = Record(len(nets))

        def run() -> None:
            for share in shares:
                for k in share.positions:
                    nets[k].check_weights()
                    nets[k].learn_names(share.training.feature_names)
                    nets[k].build(share.training.features.shape[1], share.training.targets.n_outputs)
            nets[0].load_kernels()
            fit = Fit(
                shares=[share.part(set(range(len(nets))) - solved) for share in shares],
                batch=batch,
                epochs=epochs,
                shuffle=bool(shuffle),
                order=order,
                n_threads=self._threads(),
                models=self._models,
                callbacks=copies,
                progress=progress,
            )
            try:
                for share in shares:
                    advice.check_scale(nets[share.positions[0]], share.training)
                    advice.check_schedule(nets[share.positions[0]], epochs)
                Loop(nets, fit, record).run()
                train_by_solvers(
                    nets,
                    [share.part(solved) for share in shares],
                    record,
                    epochs=epochs,
                    models=self._models,
                    callbacks=copies,
                    n_threads=self._threads(),
                )
            finally:
                progress.close()

        all_in_training(nets, "fit", run)
        self._learn_best_epochs(copies)
        n_diverged = record.stopped.count("diverged")
        if n_diverged and not any(isinstance(callback, TerminateOnNaN) for callback in called):
            warn(
                f"{n_diverged} of {len(nets)} nets diverged and stopped with their last finite weights; "
                "history.stopped says which. Try smaller learning rates, or data scaled to about 1."
            )
        params = {"epochs": epochs, "batch_size": batch, "rows": n_rows, "shuffle": bool(shuffle), "order": order}
        return PopulationHistory(record.values(), record.stopped, params, copies)

    def _nets(self) -> list[Net]:
        return [net_of(model) for model in self._models]

    def _threads(self) -> int:
        return min(self.n_threads, available_threads())

    def _learn_best_epochs(self, callbacks: list[tuple[Callback, ...]]) -> None:
        """Note which nets have gone back to the weights of an earlier epoch, for `rank`."""
        for k, (model, called) in enumerate(zip(self._models, callbacks, strict=True)):
            self._best_epochs.pop(k, None)
            for callback in called:
                if isinstance(callback, EarlyStopping) and callback.restore_best_weights:
                    epoch = callback.best_epoch
                    self._best_epochs.update({} if epoch is None else {k: (net_of(model).epochs_done, epoch)})

    # ----------------------------------------------------------------------------------------- prediction

    def predict(self, X: Any) -> Array:
        """Return the outputs of all nets.

        Parameters
        ----------
        X : array-like, (n, n_features)

        Returns
        -------
        ndarray, (N, n, n_outputs)
            ``population.predict(X)[i]`` is ``population[i].predict(X)``.

        Raises
        ------
        ValueError, TypeError
            If X is invalid, a net has no weights yet, or the nets have different numbers of outputs.

        Warns
        -----
        RuntimeWarning
            If an output is NaN or infinite.
        """
        nets = self._nets()
        n_outputs = {net.built().architecture.sizes[-1] for net in nets}
        if len(n_outputs) > 1:
            raise ValueError(
                f"predict needs nets with the same number of outputs, but these have {sorted(n_outputs)}: call predict "
                "of each."
            )
        features: list[Array] = [np.empty(0)] * len(nets)
        for form, positions in forms_of(nets).items():
            given = as_features(
                X, dtype=form.dtype, n_features=form.n_features, fitted_names=form.feature_names
            )
            for k in positions:
                features[k] = given
        dtype = np.result_type(*{net.spec.dtype for net in nets})
        found = np.empty((len(nets), len(features[0]), *n_outputs), dtype)
        not_finite: list[int] = []
        nets[0].load_kernels()

        def work(k: int, thread: int, is_stopped: IsStopped) -> None:
            with nets[k].kernel_lock:
                outputs = nets[k].built().predict(features[k])
            if outputs is None:
                raise ValueError(written_during_the_call("X"))
            if isinstance(outputs, NotFinite):
                not_finite.append(k)
                outputs = outputs.outputs
            found[k] = outputs

        run_all(work, len(nets), self._threads())
        if not_finite:
            warn(f"predict returned NaN or infinity of {len(not_finite)} nets for finite X.", RuntimeWarning)
        return found

    def predict_proba(self, X: Any) -> Array:
        """Return the probabilities of the classes of all nets.

        Parameters
        ----------
        X : array-like, (n, n_features)

        Returns
        -------
        ndarray, (N, n, n_outputs)
            See `Model.predict_proba`.

        Raises
        ------
        ValueError, TypeError
            As for `predict`, and if a net does not output probabilities.
        """
        nets = self._nets()
        for net in nets:
            net.built()
            objective.check_probabilities(net.spec, "predict_proba")
        found = self.predict(X)
        for k, net in enumerate(nets):
            found[k] = objective.probabilities(net.spec, found[k])
        return found

    @explained
    def evaluate(self, X: Any, y: Any, *, sample_weight: Any = None) -> dict[str, Numbers]:
        """Return loss and metrics of all nets.

        Parameters
        ----------
        X, y
            As for `Model.fit`.
        sample_weight : array-like (n,), or None

        Returns
        -------
        dict of str to ndarray of float64, (N,)
            By name; NaN where a net has no such metric, or its loss is not finite.

        Raises
        ------
        ValueError, TypeError
            If something given makes no sense, or a net has no weights yet.
        """
        nets = self._nets()
        for net in nets:
            net.built()
        prepared = [
            (prepare(X, y, form, sample_weight=sample_weight), positions) for form, positions in forms_of(nets).items()
        ]
        nets[0].load_kernels()
        spaces = [Workspaces() for _ in range(self._threads())]
        found: dict[str, Numbers] = {}
        for rows, positions in prepared:
            chosen = [nets[k] for k in positions]
            for name, of_nets in values_of(chosen, evaluate(chosen, rows, spaces), 1).items():
                found.setdefault(name, np.full(len(nets), np.nan))[positions] = of_nets[0]
            for k in positions:
                for name, value in objective.function_metrics(nets[k], rows).items():
                    found.setdefault(name, np.full(len(nets), np.nan))[k] = value
        n_bad = int(np.isnan(found["loss"]).sum())
        if n_bad:
            warn(f"evaluate found a loss that is not finite for {n_bad} of {len(nets)} nets.", RuntimeWarning)
        return found

    # -------------------------------------------------------------------------------------------- ranking

    def rank(self, key: str | npt.ArrayLike | None = None) -> npt.NDArray[np.int64]:
        """Return the indices of the nets, the best first.

        Parameters
        ----------
        key : str, array-like (N,) or None
            Name of a value in the histories of the nets, of which each has that of its present weights: of its last
            epoch, or of the one that `EarlyStopping` went back to. Less is better, but more where the name says so, as
            "val_accuracy" does. An array has a number for each net, of which less is better. None is "val_loss" where
            the nets have it, else "loss".

        Returns
        -------
        ndarray of int64, (N,)
            NaN is last; equal nets are in the order of their indices.

        Raises
        ------
        ValueError, TypeError
            If a net has no such value, or `key` is of another shape.
        """
        if key is None:
            key = "val_loss" if all("val_loss" in model.history for model in self._models) else "loss"
        if isinstance(key, str):
            values = np.array([self._value(k, key) for k in range(len(self))])
            if less_is_better(key) is False:
                values = -values
        else:
            try:
                values = np.asarray(key, np.float64)
            except (TypeError, ValueError):
                raise TypeError(must_be("key", "a name, or a number for each net", key)) from None
            if values.shape != (len(self),):
                raise ValueError(must_be("key", f"a name, or of shape ({len(self)},)", values.shape))
        return np.argsort(values, kind="stable").astype(np.int64)

    def _value(self, k: int, name: str) -> float:
        """Return a value in the history of a net, in the epoch of its present weights."""
        history, net = self._models[k].history, net_of(self._models[k])
        if name not in history:
            known = ", ".join(history.history) or "no epochs"
            raise ValueError(must_be("key", f"in the history of each net (net {k} has {known})", name))
        done, epoch = self._best_epochs.get(k, (-1, -1))
        if done == net.epochs_done and epoch in history.epoch[-1 - done :]:
            return history[name][history.epoch.index(epoch)]
        return history[name][-1]

    @overload
    def best(self, k: None = None, *, key: str | npt.ArrayLike | None = None) -> Model: ...
    @overload
    def best(self, k: int, *, key: str | npt.ArrayLike | None = None) -> list[Model]: ...
    def best(self, k: int | None = None, *, key: str | npt.ArrayLike | None = None) -> Model | list[Model]:
        """Return the best net, or the best `k` nets.

        Parameters
        ----------
        k : int or None
            How many; None is one net instead of a list.
        key : str, array-like (N,) or None
            See `rank`.

        Returns
        -------
        Model or list of Model
            Nets of this population, no copies; the best first.

        Raises
        ------
        ValueError, TypeError
            As for `rank`, and if there are fewer than `k` nets.
        """
        if k is not None and positive_integer(k, "k") > len(self):
            raise ValueError(must_be("k", f"at most {len(self)}, the number of nets", k))
        order = self.rank(key)
        return self._models[order[0]] if k is None else [self._models[i] for i in order[:k]]

    # ---------------------------------------------------------------------------------------- persistence

    def save(self, path: PathOrFile) -> None:
        """Write all nets into one file, optimizer states and histories included; no pickle.

        The file is replaced atomically, as by `Model.save`. `fastnn.load_population` reads it, and training then
        continues bit-exactly.

        Parameters
        ----------
        path : path or binary file

        Raises
        ------
        TypeError, ValueError, OSError
            As for `Model.save`.
        """
        write(path, self)

    # ---------------------------------------------------------------------------------------------- texts

    def __repr__(self) -> str:
        """Return the number of nets and a description of the first."""
        return f"Population({len(self)} nets, the first: {self._models[0]!r})"

    def summary(self, print_fn: Callable[[str], Any] = print) -> None:
        """Print the kinds of nets: how many, and the layers of the first of each.

        Parameters
        ----------
        print_fn : callable
            Called with each line.
        """
        if not callable(print_fn):
            raise TypeError(must_be("print_fn", "a function of a line of text", print_fn))
        kinds: dict[Any, list[int]] = {}
        for k, net in enumerate(self._nets()):
            kinds.setdefault((net.n_features, net.spec.layers, net.spec.loss, net.trainable), []).append(k)
        for positions in kinds.values():
            print_fn(f"{len(positions)} nets ({_ranges(positions)}):")
            for line in summary.lines(net_of(self._models[positions[0]])):
                print_fn(f"  {line}")


@explained
def load_population(path: PathOrFile, *, n_threads: int | None = None) -> Population:
    """Read a population that `Population.save` wrote.

    Nothing in the file is executed. Metrics that are functions are not in the file.

    Parameters
    ----------
    path : path or binary file
    n_threads : int or None
        As for `Population`.

    Returns
    -------
    Population
        It predicts, ranks and trains on as the saved one would.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is truncated or damaged, holds one model, or is of another format or a later version.
    """
    return read(path, n_threads=n_threads)[0]


def write(path: PathOrFile, population: Population, extra: Mapping[str, Any] | None = None) -> None:
    """Write a population and what else a file holds, for modules of this package above.

    Parameters
    ----------
    path : path or binary file
    population : Population
    extra : mapping or None
        Values as of JSON, by names that no population has.
    """
    check_suffix("path", path)
    if isinstance(path, str | os.PathLike):
        path = as_path("path", path)
    population_state.write(path, population._nets(), population._best_epochs, extra)


def read(path: PathOrFile, *, n_threads: int | None) -> tuple[Population, dict[str, Any]]:
    """Read a population and the header of its file, for modules of this package above."""
    if isinstance(path, str | os.PathLike):
        path = as_path("path", path)
    nets, best_epochs, header = population_state.read(path, n_threads=n_threads)
    made = Population.of([model_of(net) for net in nets], n_threads=n_threads)
    made._best_epochs = best_epochs
    return made, header


def _items_of_layers(layers: Any) -> tuple[Any, ...] | None:
    """Return the layers of each net, if they are a list of lists; else None."""
    if not isinstance(layers, Sequence | np.ndarray) or isinstance(layers, str | bytes):
        return None
    items = tuple(layers)
    return items if any(isinstance(item, list | tuple) or np.ndim(item) for item in items) else None


def _count(n: Any, lengths: Mapping[str, int]) -> int:
    """Return the number of nets, on which all arguments must agree."""
    if n is not None:
        n = positive_integer(n, "n")
    elif not lengths:
        raise ValueError(must_be("n", "the number of nets, as no argument is a list with an item for each", n))
    for name, length in lengths.items():
        if n is None:
            if not length:
                raise ValueError(must_be(name, "a list with an item for each net, at least one", []))
            n = length
        if length != n:
            others = "n is" if not lengths or name == next(iter(lengths)) else f"n or {next(iter(lengths))} says"
            raise ValueError(f"{name} has {length} items, but {others} {n}: give an item for each net, or one for all.")
    return int(n)


def _ranges(positions: list[int]) -> str:
    """Return ascending numbers as text, such as "0-3, 7"."""
    found: list[list[int]] = []
    for k in positions:
        if found and found[-1][1] == k - 1:
            found[-1][1] = k
        else:
            found.append([k, k])
    return ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in found)
