"""Which layers, losses, metrics, optimizers and solvers go together: each function resolves or raises."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np

from fastnn import activations, losses, metrics, optimizers, regularizers
from fastnn._validation import as_sequence, positive_integer
from fastnn.kernels.nn.rules import CUSTOM
from fastnn.layers import Dense

BatchSize: TypeAlias = int | Literal["auto"] | None

#: Rows per update where `batch_size` is "auto".
DEFAULT_BATCH = 32


def as_optimizer(optimizer: Any, dtype: np.dtype[Any]) -> optimizers.Optimizer:
    """Return the optimizer of a name or instance, validated: epsilon and limits must not be 0 in the model's dtype."""
    found = optimizers.get(optimizer)
    for name in ("epsilon", "clipvalue", "global_clipnorm"):
        value = getattr(found, name, None)
        if value is not None and not dtype.type(value) > 0.0:  # the step would be 0 / 0, or none
            raise ValueError(
                f"optimizer has {name}={value:g}, which is 0 in {dtype.name}; give at least 1e-30, or dtype='float64'."
            )
    return found


def check_solver(optimizer: optimizers.Optimizer, loss: losses.Loss, regularizer: regularizers.Regularizer) -> None:
    """Raise ValueError if the optimizer is a solver that cannot minimise this loss and penalty."""
    if not optimizer.full_batch:
        return
    if isinstance(optimizer, optimizers.LevenbergMarquardt) and not loss.rule.least_squares:
        raise ValueError(
            f"optimizer is {optimizer!r}, which minimises sums of squares, but loss is {loss.name!r}: use "
            "optimizer='lbfgs', or loss='squared_error' or 'sum_of_squares'."
        )
    if regularizer.l1:
        raise ValueError(
            f"optimizer is {optimizer!r}, which needs a differentiable loss, but regularizer has "
            f"l1={regularizer.l1:g}, whose penalty has no derivative at 0: use L2, or an optimizer such as 'adam'."
        )


def as_batch_size(batch_size: Any, n_rows: int, optimizer: optimizers.Optimizer) -> int:
    """Resolve the rows per update.

    Parameters
    ----------
    batch_size : int, None or "auto"
        None is all rows; "auto" is `DEFAULT_BATCH`, and all rows for a full-batch solver.
    n_rows : int
        The result is at most that.
    optimizer : Optimizer

    Returns
    -------
    int

    Raises
    ------
    TypeError, ValueError
        If it is no such value, or not all rows for a full-batch solver.
    """
    if batch_size is None:
        return n_rows
    if isinstance(batch_size, str) and str.__str__(batch_size) == "auto":
        return n_rows if optimizer.full_batch else min(DEFAULT_BATCH, n_rows)
    batch = min(positive_integer(batch_size, "batch_size"), n_rows)
    if optimizer.full_batch and batch != n_rows:
        raise ValueError(
            f"batch_size is {batch}, but {optimizer!r} takes all {n_rows} rows in each iteration: leave batch_size "
            "out, or give None."
        )
    return batch


def check_pieces(call: str, optimizer: optimizers.Optimizer) -> None:
    """Raise ValueError unless an optimizer can learn from one piece of the data after the other."""
    if optimizer.full_batch:
        raise ValueError(
            f"{call} learns from one piece of the data after the other, but optimizer={optimizer!r} fits all "
            "rows that it is given at once: call fit with all data, or take an optimizer such as 'adam'."
        )


def as_metrics(given: Any, loss: losses.Loss) -> tuple[metrics.Metric, ...]:
    """Resolve metrics, each once; None is what is usual for the loss."""
    if given is None:
        return (metrics.get("accuracy"),) if loss.classification else ()
    if isinstance(given, str | metrics.Metric) or callable(given):
        given = (given,)
    found: list[metrics.Metric] = []
    for metric in as_sequence("metrics", "a sequence of names such as ['accuracy'] or functions, or None", given):
        new = metrics.get(metric, loss=loss)
        if not any(new.name == one.name and new.function is one.function for one in found):
            found.append(new)
    names = [metric.name for metric in found]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(
                f"metrics has {names.count(name)} of the name {name!r}; use fastnn.metrics.Metric('another_name', "
                "function) for one of them."
            )
    return tuple(found)


def check_output(last: Dense, loss: losses.Loss) -> None:
    """Raise ValueError unless the loss can be computed from the outputs of the last layer."""
    rule, activation = loss.rule, last.activation.rule
    if rule.targets == "binary" and activation.probabilities == "row":
        raise ValueError(
            f"the last layer has activation {last.activation.name!r} while the loss is {loss.name!r}, which "
            "needs 'sigmoid' or 'identity'; for classes that exclude each other use loss='softmax_crossentropy'."
        )
    identity = activations.get(None).rule
    if loss.link is not None and activation not in (identity, loss.link) and activation.code != CUSTOM:
        raise ValueError(
            f"the last layer has activation {last.activation.name!r} while the loss is {loss.name!r}, which is "
            "computed from "
            f"{'logits' if loss.classification else 'logarithms of means'}: use 'identity' or {loss.link.name!r}."
        )
    if rule.identity_only and activation is not identity:
        raise ValueError(
            f"the last layer has activation {last.activation.name!r}, but {loss.name!r} needs 'identity': its outputs "
            "are means and logarithms of variances."
        )
    if activation.probabilities == "row" and (last.units == 1 or not rule.predictions):
        raise ValueError(
            f"the last layer has activation 'softmax', whose outputs sum to 1, but {last.units} "
            f"unit{'s' * (last.units > 1)} and the loss {loss.name!r}: use 'identity'."
        )
    if rule.targets == "classes" and last.units == 1:
        raise ValueError(
            f"the last layer has 1 unit, but {loss.name!r} needs one per class, at least 2; for two classes "
            "with one output use loss='binary_crossentropy'."
        )
    if last.units % loss.outputs_per_target:
        raise ValueError(
            f"the last layer has {last.units} unit{'s' * (last.units > 1)}, but {loss.name!r} needs "
            f"{loss.outputs_per_target} for each column of the targets."
        )
