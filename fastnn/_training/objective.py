"""Loss and metrics by name, of rows or of the sums that the kernels computed over them."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from fastnn._data.arrays import written_during_the_call
from fastnn._data.rows import Rows
from fastnn._engine.engine import Sums
from fastnn._engine.inference import NotFinite
from fastnn._engine.limits import WORK_FOR_THREADS
from fastnn._engine.thread_team import ThreadTeam
from fastnn._training.net import Net, Spec
from fastnn.kernels.nn.rules import ActivationRule
from fastnn.kernels.tables import OK

Array: TypeAlias = npt.NDArray[Any]

#: The calling thread, for work that is too little for more.
_ALONE = ThreadTeam(1)


def loss_of(net: Net, sums: Sums) -> float:
    """Return the loss of a run, with the penalty that was summed."""
    loss = sums.loss if net.spec.loss.rule.reduction == "sum" else sums.loss / (sums.weight or 1.0)
    return loss + (sums.penalty / sums.steps if sums.steps else 0.0)


def values_of(net: Net, sums: Sums) -> dict[str, float]:
    """Return loss and compiled metrics of a run, by name."""
    weight = sums.weight or 1.0  # all rows may have the weight 0
    names = (metric.name for metric in net.spec.metrics if metric.compiled)
    return {"loss": loss_of(net, sums), **{n: total / weight for n, total in zip(names, sums.metrics, strict=True)}}


def names_of(net: Net) -> list[str]:
    """Return the names of loss and metrics in the order of the logs: compiled metrics come first."""
    return ["loss", *(metric.name for metric in sorted(net.spec.metrics, key=lambda metric: not metric.compiled))]


def compiled_metrics(net: Net) -> tuple[int, ...]:
    """Return the codes of the metrics that the kernels compute."""
    return tuple(metric.code for metric in net.spec.metrics if metric.compiled)


def function_metrics(net: Net, rows: Rows) -> dict[str, float]:
    """Return the metrics that are functions of targets and predictions, by name; without any, no prediction is made."""
    functions = [metric for metric in net.spec.metrics if not metric.compiled]
    if not functions:
        return {}
    features, y_true = rows.features, np.asarray(rows.y)
    weight = rows.sample_weight if rows.sample_weight.size else None
    if rows.index is not None:
        features, y_true = features[rows.index], y_true[rows.index]
        weight = None if weight is None else weight[rows.index]
    classification = net.spec.loss.classification
    y_pred = net.outputs(features)
    if y_pred is None:
        raise ValueError(written_during_the_call("X"))
    if classification and not isinstance(y_pred, NotFinite):
        y_pred = probabilities(net.spec, y_pred)
    if isinstance(y_pred, NotFinite):  # as for the others: huge data give NaN, and training goes on
        return {metric.name: math.nan for metric in functions}
    both_classes = partial(_both_classes, net.spec, y_true, y_pred) if classification else None
    if y_true.ndim == 1 and y_pred.shape[1] == 1:  # (n,) - (n, 1) would be (n, n)
        y_pred = y_pred[:, 0]
    try:
        return {metric.name: metric.value(y_true, y_pred, weight, both_classes) for metric in functions}
    except Exception as error:
        kind = "probabilities, see predict_proba" if classification else "values"
        if classification:
            kind += "; fastnn.metrics.Metric(name, function, needs='classes') receives classes"
        error.add_note(f"A metric was called with y_true {y_true.shape} and y_pred {y_pred.shape}, which are {kind}.")
        raise


def check_probabilities(spec: Spec, call: str) -> None:
    """Raise ValueError unless the outputs are logits of probabilities, or probabilities."""
    if not link_of(spec).probabilities:
        raise ValueError(
            f"{call} needs a model of classes, with a cross-entropy or a last layer of softmax or sigmoid, but "
            f"loss is {spec.loss.name!r} and the last layer has activation {spec.layers[-1].activation.name!r}. Use "
            "predict, or a loss such as 'softmax_crossentropy'."
        )


def probabilities(spec: Spec, outputs: Array) -> Array:
    """Return probabilities from outputs: logits, or probabilities if the last activation computes them."""
    link = link_of(spec)
    if spec.layers[-1].activation.rule is link:
        return outputs
    from scipy import special  # where used: it costs some 60 ms to import

    return np.asarray(special.softmax(outputs, axis=1) if link.probabilities == "row" else special.expit(outputs))


def classes(spec: Spec, probabilities: Array) -> npt.NDArray[np.int64]:
    """Return the most probable classes: labels (n,), or 0 and 1 (n, n_outputs) for several independent outputs."""
    if link_of(spec).probabilities == "row":
        return probabilities.argmax(axis=1)
    found = (probabilities > 0.5).astype(np.int64)
    return found[:, 0] if found.shape[1] == 1 else found


def _both_classes(spec: Spec, y_true: Array, probabilities: Array) -> tuple[Array, Array]:
    """Return targets and predictions as classes, in the same form."""
    predicted = classes(spec, probabilities)
    if y_true.ndim > predicted.ndim:  # one-hot rows, or one column
        y_true = y_true.argmax(axis=1) if y_true.shape[1] > 1 else y_true[:, 0]
    return y_true, predicted


def link_of(spec: Spec) -> ActivationRule:
    """Return the activation between logits and predictions: that in the loss, else the last layer's."""
    link = spec.loss.link
    return link if link is not None and link.probabilities else spec.layers[-1].activation.rule


def evaluate(net: Net, rows: Rows, team: ThreadTeam) -> dict[str, float]:
    """Return loss (with the penalty of the present weights) and metrics of rows, by name."""
    return evaluate_compiled(net, rows, team) | function_metrics(net, rows)


def evaluate_compiled(net: Net, rows: Rows, team: ThreadTeam) -> dict[str, float]:
    """Return loss and compiled metrics of rows, by name, as `evaluate` does."""
    engine = net.built()
    if net.flops_per_row(training=False) * rows.n < WORK_FOR_THREADS:
        team = _ALONE
    with net.kernel_lock:
        sums = engine.evaluate(rows.data(), metrics=compiled_metrics(net), team=team)
    values = values_of(net, sums)
    if sums.status != OK:
        values = dict.fromkeys(values, math.nan)
    values["loss"] += penalty(net)
    return values


def losses_of_rows(net: Net, rows: Rows) -> npt.NDArray[np.float64]:
    """Return the loss of each row, without weight and penalty; (n,). NaN from the first that is not finite on."""
    with net.kernel_lock:
        return net.built().losses(rows.data(), team=_ALONE)


def penalty(net: Net) -> float:
    """Return R of the present weights of the layers that are trained."""
    l1, l2 = net.regularizer.l1, net.regularizer.l2
    total = 0.0
    if l1 or l2:
        engine = net.built()
        weights = engine.weights()
        for k in engine.architecture.trained_layers():
            wide = weights[k].astype(np.float64)
            total += l1 * float(np.abs(wide).sum()) + l2 * float((wide * wide).sum())
    return total


def gradient(net: Net, rows: Rows) -> tuple[float, list[Array], list[Array]]:
    """Return loss and gradient of all rows as one batch; NaN where the loss is not finite. See `Model.gradient`."""
    engine = net.built()
    with net.kernel_lock, net.team(net.flops_per_row(training=True) * rows.n, once=True) as team:
        sums, weights, biases = engine.gradient(rows.data(), team=team)
    if sums.status == OK:
        return loss_of(net, sums), weights, biases
    for array in (*weights, *biases):
        array.fill(math.nan)
    return math.nan, weights, biases
