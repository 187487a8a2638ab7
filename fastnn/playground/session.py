"""A session of the playground: settings, data, net and pictures of one page, in answer to its messages.

Nothing here knows how messages travel: the server sends them over a WebSocket, the widget over the comm of a notebook,
and tests append them to a list.

**Messages.** A message is a JSON object with a `type`, and a number of binary buffers. Over the WebSocket the JSON is one
text message with the number of buffers as `buffers` (0 where it is missing), and each buffer one binary message
after it. Numbers that are not finite are null. Whatever is wrong with a message is answered by an `error`, and nothing
has changed then.

Places in the net: `layer` counts the layers as `Model.weights` does, from 0 for the first hidden layer; with H hidden
layers, layer H is the output. Layer -1 is the inputs, whose `unit` counts `features`, whether switched on or not. The row
`from` of a weight of layer 0 counts only those that are on.

From the page:

- ``{"type": "hello", "state": {...}}`` begins anew with these settings, whose values may be texts, as in the hash of an
  address ("true", "0.03", "4,2"). Unknown keys are ignored, invalid values replaced by defaults with a `notice`.
  Answer: `state`, `frame`.
- ``{"type": "set", "changes": {...}}`` changes settings. Answer: `state`, and `frame` unless the session plays.
- ``{"type": "play"}`` and ``{"type": "pause"}``. Answer: `state`.
- ``{"type": "next"}`` asks for a frame; the session trains `epochsPerFrame` epochs before it if it plays (fewer if these
  take longer than 0.1 s). Answer: exactly one `frame`. A page sends the next one when it has received the last one.
- ``{"type": "step"}`` pauses and trains one epoch. Answer: `state`, `frame`.
- ``{"type": "reset"}`` pauses and draws other start weights. Answer: `state`, `frame`.
- ``{"type": "regenerate"}`` makes new data, by a new seed; the weights stay. Answer: `state`, `frame` unless it plays.
- ``{"type": "select", "layer": 0, "unit": 1}`` chooses the node of the large map; layer null (or none) is the output.
  Answer: `frame` unless it plays.
- ``{"type": "weight", "layer": 0, "from": 1, "to": 2, "value": 0.5}`` and
  ``{"type": "bias", "layer": 0, "to": 2, "value": 0.5}`` write into the net. Answer: `frame` unless it plays.
- ``{"type": "points", "op": "add", "x": 1, "y": 2, "label": 1}``, ``{"op": "remove", "x": 1, "y": 2}`` (the nearest),
  ``{"op": "clear"}``. The data set is "own" from then on; the weights stay. Labels are -1 and 1, with more classes 0, 1,
  ..., for a regression a number from -1 to 1. Answer: `state`, and `frame` unless it plays.
- ``{"type": "csv", "text": "..."}`` replaces the data: two inputs and a label per line. Answer: `state`, `frame`.
- ``{"type": "net", "text": "[(4, 'tanh'), (2, 'relu')]"}`` sets the hidden layers: widths with their activations, or
  widths. It is read as a literal, never run. Answer: `state`, `frame`.
- ``{"type": "lr_find"}``, ``{"type": "rates"}``, ``{"type": "grid", "layer": 0, "units": [0, 1]}``,
  ``{"type": "export", "format": "python"}`` (or "npz", "onnx", "c", "csv"). Answer: the message of the same name, `file`
  for an export.

From the session:

- `state`: `settings` (all of them by key), `choices` (lists by key), `limits` ([low, high, step] by key, also of "layers"
  and "units"), `features` ([{key, label, on}]), `sets` (data sets of the problem), `domain` ([-6, 6], both axes), `points`
  ([{x, y, label, test}]), `nClasses` (0 for a regression), `classNames` (null, or those of own data), `nOutputs`, `net`
  (the hidden layers as text), `playing`.
- `frame`: `epoch`, `playing`, `trainLoss`, `testLoss` (without penalty), `metrics` ({accuracy: {train, test}, confusion},
  of which confusion counts the test points, or all without any, a row per true class; or {r2: {train, test}, rmse: {train,
  test}}), `weights` ([layer][from][to]), `biases` ([layer][to]), `selected` ({layer, unit}, layer null for the output),
  `learningRate` (at this epoch), `epochsPerSecond` and `stepTime` (us; null before the first), `stopped` (null, or why
  training ended by itself), `diverged` (null, or {epoch, rate, message}). Buffers:

  - 0: the large map, 100x100 bytes, rows from the top. 0 is -1, 127.5 is 0, 255 is 1. With `mapClasses` (an output of more
    than two classes) the probability of the most probable class, 0 to 255.
  - 1: 10x10 bytes per unit, layer after layer, outputs last (those of classes as 2 p - 1).
  - 2, only with `mapClasses`: the most probable class, 100x100 bytes.
- `lr_find`: `rates` and `losses` of a range test (smoothed), `constant` ([[rate, loss]] of short trainings), `suggestion`
  (null where no training lowers the loss).
- `rates`: `runs`, three of {label, rate, epoch, loss, losses (per epoch, from the start), diverged, maps}; `maps` are the
  indices of the buffers: values, or probabilities and classes, as in a frame.
- `grid`: `layer`, `units`, `size`. Buffers of float32, pairs (across, up): 0: the size x size points of the input grid, in
  rows from the top; 1: the data, in the order of `points`. Of a layer with one unit, up is 0.
- `file`: `name`, `mime`; buffer 0 is the content.
- `notice`: `message`, null where an earlier one no longer holds.
- `error`: `message`, `request` (the type of what failed, null if it had none).

**A recording** is ``{"state": state, "frames": [{"message": frame, "buffers": [base64, ...]}, ...]}``: a `state` and what
followed `play`, of which the first frame is the start.
"""
