"""Text about a net: its layers as a table."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from fastnn._training.net import Net


def n_params(net: Net) -> int:
    """Return the number of weights and biases that are used."""
    engine = net.built()
    used = zip(engine.biases(), engine.architecture.use_bias, strict=True)
    return sum(w.size for w in engine.weights()) + sum(b.size for b, is_used in used if is_used)


def describe(net: Net) -> str:
    """Return widths, loss, optimizer and seed in one line."""
    widths = [str(layer.units) for layer in net.spec.layers]
    shape = "-".join(([] if net.n_features is None else [str(net.n_features)]) + widths) or "[]"
    penalty = f", regularizer={net.regularizer!r}" if net.regularizer.l1 or net.regularizer.l2 else ""
    return f"Model({shape}, loss={net.spec.loss.name!r}, optimizer={net.optimizer!r}{penalty}, seed={net.spec.seed})"


def lines(net: Net) -> Iterator[str]:
    """Yield one line per layer (shape, activation, number of parameters, other settings), then totals."""
    rows = _rows(net)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for number, shape, activation, count, note in rows:
        line = f"{number:>{widths[0]}}  {shape:>{widths[1]}}  {activation:<{widths[2]}}  {count:>{widths[3]}}"
        yield f"{line}  {note}" if note else line
    yield _totals(net)


def html(net: Net) -> str:
    """Return the same as a table in HTML, of which names are escaped."""
    found = [f"<table>\n<caption>{escape(_totals(net))}</caption>"]
    for k, row in enumerate(_rows(net)):
        tag = "td" if k else "th"
        found.append("<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in row) + "</tr>")
    return "\n".join([*found, "</table>"])


def _rows(net: Net) -> list[tuple[str, str, str, str, str]]:
    """Return the cells of the table: a head, then one row per layer."""
    rows = [("layer", "shape", "activation", "parameters", "")]
    before = net.n_features
    notes = _notes(net)
    for k, layer in enumerate(net.spec.layers):
        alpha = f"({layer.activation.alpha:g})" if layer.activation.alpha else ""
        count = "?" if before is None else f"{(before + layer.use_bias) * layer.units:,}"
        shape = f"{'?' if before is None else before} x {layer.units}"
        rows.append((f"{k + 1}", shape, layer.activation.name + alpha, count, next(notes)))
        before = layer.units
    return rows


def _totals(net: Net) -> str:
    """Return the number of parameters and the settings of the net in one line."""
    total = "" if net.engine is None else f"{n_params(net):,} parameters, "
    penalty = f", {net.regularizer!r}" if net.regularizer.l1 or net.regularizer.l2 else ""
    return f"{total}{net.spec.loss.name}, {net.optimizer!r}{penalty}, {net.spec.dtype_policy}"


def _notes(net: Net) -> Iterator[str]:
    """Yield the settings of each layer that are not the defaults."""
    for layer, trainable in zip(net.spec.layers, net.trainable, strict=True):
        found = [f"dropout={layer.dropout:g}"] if layer.dropout else []
        found += [f"max_norm={layer.max_norm:g}"] if layer.max_norm else []
        found += [] if trainable else ["frozen"]
        yield ", ".join(found)
