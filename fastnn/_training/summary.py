"""Text about a net: its layers as a table."""

from __future__ import annotations

from collections.abc import Iterator

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
    rows = [("layer", "shape", "activation", "parameters")]
    before = net.n_features
    for k, layer in enumerate(net.spec.layers):
        alpha = f"({layer.activation.alpha:g})" if layer.activation.alpha else ""
        count = "?" if before is None else f"{(before + layer.use_bias) * layer.units:,}"
        shape = f"{'?' if before is None else before} x {layer.units}"
        rows.append((f"{k + 1}", shape, layer.activation.name + alpha, count))
        before = layer.units
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    notes = iter(["", *_notes(net)])
    for number, shape, activation, count in rows:
        line = f"{number:>{widths[0]}}  {shape:>{widths[1]}}  {activation:<{widths[2]}}  {count:>{widths[3]}}"
        yield line + next(notes)
    total = "" if net.engine is None else f"{n_params(net):,} parameters, "
    penalty = f", {net.regularizer!r}" if net.regularizer.l1 or net.regularizer.l2 else ""
    yield f"{total}{net.spec.loss.name}, {net.optimizer!r}{penalty}, {net.spec.dtype.name}"


def _notes(net: Net) -> Iterator[str]:
    """Yield the settings of each layer that are not the defaults."""
    for layer, trainable in zip(net.spec.layers, net.trainable, strict=True):
        found = [f"dropout={layer.dropout:g}"] if layer.dropout else []
        found += [f"max_norm={layer.max_norm:g}"] if layer.max_norm else []
        found += [] if trainable else ["frozen"]
        yield "  " + ", ".join(found) if found else ""
