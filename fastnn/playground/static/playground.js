/** The playground: a network that is trained while one looks. One module in anywidget's form, without a library. */

const FEATURES = {
  x: ["X₁", (x) => x], y: ["X₂", (x, y) => y], xSquared: ["X₁²", (x) => x * x], ySquared: ["X₂²", (x, y) => y * y],
  xTimesY: ["X₁X₂", (x, y) => x * y], sinX: ["sin X₁", (x) => Math.sin(x)], sinY: ["sin X₂", (x, y) => Math.sin(y)],
  cosX: ["cos X₁", (x) => Math.cos(x)], cosY: ["cos X₂", (x, y) => Math.cos(y)],
};
const LABELS = {
  learningRate: "Learning rate", optimizer: "Optimizer", momentum: "Momentum", activation: "Activation", loss: "Loss",
  regularization: "Regularization", regularizationRate: "Regularization rate", dropout: "Dropout", schedule: "Schedule", scheduleEpochs: "Epochs of the schedule",
  problem: "Problem type", percTrainData: "Ratio of training data", noise: "Noise", batchSize: "Batch size",
  epochsPerFrame: "Epochs per frame", classes: "Classes", stopEpochs: "Stop after epochs", stopLoss: "Stop at test loss",
  patience: "Patience (epochs)", precision: "Precision", showTestData: "Show test data",
  discretize: "Discretize output", initZero: "Start from zeros", dataset: "Data set", numHiddenLayers: "Number of layers",
  playButton: "Play button", stepButton: "Step button", resetButton: "Reset button",
};
/** Controls that a link can hide, by the keys of TensorFlow Playground. */
const HIDABLE = ["showTestData", "discretize", "playButton", "stepButton", "resetButton", "learningRate", "activation",
  "regularization", "regularizationRate", "problem", "dataset", "percTrainData", "noise", "batchSize", "numHiddenLayers"];
/** When a setting has an effect; else it is drawn pale. */
const APPLIES = {
  momentum: ({ optimizer }) => ["momentum", "nesterov"].includes(optimizer),
  loss: (settings, { nClasses }) => nClasses === 2, // more classes have their own, a regression the squared error
  regularizationRate: ({ regularization }) => regularization !== "none",
};
const ICONS = {
  play: "M8 5v14l11-7z", pause: "M7 5h4v14H7zM13 5h4v14h-4z", step: "M6 5v14l9-7zM16 5h2.6v14H16z",
  reset: "M12 5V1.5L7 6.5l5 5V8a5 5 0 1 1-5 5H4a8 8 0 1 0 8-8z",
};
const SVG = "http://www.w3.org/2000/svg";
const PALE = 0.7;
const MOST_EDGES = 1200;
const MOST_HISTORY = 600;
/** While it plays, numbers are written in each such frame only: they change too fast to be read, and text is laid out anew. */
const SLOW = 6;
/** Frames asked for or received, and not yet drawn, while it plays: the session trains while the page draws. */
const AHEAD = 2;

// --- elements, numbers, colours --------------------------------------------------------------------------------------

/** Return an element: properties that begin with "on" are listeners, null and false are left out. */
function h(tag, properties = {}, ...children) {
  const node = tag.startsWith("svg:") ? document.createElementNS(SVG, tag.slice(4)) : document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false && value !== undefined) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(3).filter((child) => child !== null && child !== undefined));
  return node;
}

const icon = (name) => h("svg:svg", { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true" }, h("svg:path", { d: ICONS[name] }));
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
/** Set an attribute if it has another value: each change makes the browser compute styles anew. */
function update(node, name, value) {
  node.shown ??= {};
  if (node.shown[name] === value) return;
  node.shown[name] = value;
  if (name === "fill") node.style.background = value;
  else node.setAttribute(name, value);
}

/** Set the text of an element if it is another; its text node is kept, which spares the browser work in each frame. */
function setText(node, text) {
  if (node.firstChild?.nodeType !== Node.TEXT_NODE) node.textContent = text;
  else if (node.firstChild.nodeValue !== text) node.firstChild.nodeValue = text;
}

/** Return a number with three significant digits, as people write it. */
function short(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e5)) return value.toExponential(1).replace("e+", "e").replace("-", "−");
  return (size >= 100 ? value.toFixed(0) : size >= 10 ? value.toFixed(1) : size >= 1 ? value.toFixed(2) : value.toFixed(3)).replace("-", "−");
}

const rgb = (text) => [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16));
const abgr = ([r, g, b], a = 255) => ((a << 24) | (b << 16) | (g << 8) | r) >>> 0;
const mix = (from, to, share) => from.map((value, i) => Math.round(value + (to[i] - value) * share));

/** Return the colours of the present theme: words to paint for bytes, and texts for edges and points. */
function readColours(root) {
  const style = getComputedStyle(root);
  const read = (name) => style.getPropertyValue("--" + name).trim();
  const hex = (name) => rgb(read(name).length === 4 ? read(name).replace(/[^#]/g, "$&$&") : read(name));
  const [negative, zero, positive] = ["negative", "zero", "positive"].map(hex);
  const classes = [0, 1, 2, 3, 4, 5].map((k) => hex("class-" + k));
  const at = (value) => (value < 0 ? mix(zero, negative, -value) : mix(zero, positive, value));
  return {
    // Maps are paler than points and edges, so that points are seen on them.
    ramp: Uint32Array.from({ length: 256 }, (_, byte) => abgr(at((PALE * (byte - 127.5)) / 127.5))),
    discrete: Uint32Array.from({ length: 256 }, (_, byte) => abgr(at(byte < 128 ? -PALE : PALE))),
    classes: classes.map((colour) => Uint32Array.from({ length: 256 }, (_, a) => abgr(mix(zero, colour, (a / 255) * PALE)))),
    of: (value) => `rgb(${at(clamp(value, -1, 1))})`,
    ofClass: (k) => `rgb(${classes[k % 6]})`,
    panel: read("panel"), text: read("text"), muted: read("muted"), line: read("line"), accent: read("accent"),
  };
}

/** Whether two arrays of bytes, or none, are equal. */
const same = (one, other) => one === other || (one && other && one.length === other.length && one.every((value, i) => value === other[i]));

/** Paint square maps of bytes: values from 0 (negative) over 127.5 to 255, or, with classes, a class and its probability. */
function paintMap(canvas, bytes, table, classes = null) {
  if (canvas.table === table && same(canvas.bytes, bytes) && same(canvas.classes, classes)) return;
  Object.assign(canvas, { table, bytes, classes });
  const side = Math.round(Math.sqrt(bytes.length));
  if (canvas.width !== side) canvas.width = canvas.height = side;
  const context = canvas.getContext("2d");
  const image = (canvas.image ??= context.createImageData(side, side));
  const words = new Uint32Array(image.data.buffer);
  for (let i = 0; i < words.length; i++) words[i] = classes ? table[classes[i] % 6][bytes[i]] : table[bytes[i]];
  context.putImageData(image, 0, 0);
}

/** Size a canvas to its box in device pixels and return a context in CSS pixels. */
function sharp(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * ratio)) canvas.width = Math.round(width * ratio);
  if (canvas.height !== Math.round(height * ratio)) canvas.height = Math.round(height * ratio);
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

/** Draw one point: classes beyond two have shapes of their own, so that colour is not the only sign. */
function drawPoint(context, x, y, radius, shape) {
  context.beginPath();
  if (shape === 0) context.arc(x, y, radius, 0, 7);
  else if (shape === 1) context.rect(x - radius, y - radius, 2 * radius, 2 * radius);
  else {
    const corners = [3, 4, 5, 6][(shape - 2) % 4];
    for (let i = 0; i < corners; i++) {
      const turn = (2 * Math.PI * i) / corners - Math.PI / 2;
      context.lineTo(x + 1.4 * radius * Math.cos(turn), y + 1.4 * radius * Math.sin(turn));
    }
    context.closePath();
  }
  context.fill();
  context.stroke();
}

// --- controls --------------------------------------------------------------------------------------------------------

/** Return a select for one setting; `update` follows the state. */
function choice(app, key, applies = () => true) {
  const select = h("select", { name: key, "data-key": key, onchange: () => app.set({ [key]: parse(select.value) }) });
  const parse = (text) => (text !== "" && !Number.isNaN(Number(text)) ? Number(text) : text);
  let shown = "";
  app.onState((state) => {
    const { settings, choices } = state;
    const values = [...(choices[key] || [])];
    if (!values.some((value) => String(value) === String(settings[key]))) values.push(settings[key]);
    if (shown !== (shown = values.join())) {
      select.replaceChildren(...values.map((value) => h("option", { value }, String(value).replaceAll("_", " "))));
    }
    select.value = String(settings[key]);
    label.classList.toggle("idle", !applies(settings, state));
  });
  const label = h("label", { class: "field", "data-control": key }, h("span", {}, LABELS[key]), select);
  return label;
}

/** Return a slider for one setting with its value beside the name. */
function slider(app, key, unit = "") {
  const output = h("output");
  const show = (value) => setText(output, `${value}${unit}`);
  const input = h("input", {
    type: "range", name: key, "data-key": key, "aria-label": LABELS[key],
    oninput: () => show(input.value), onchange: () => app.set({ [key]: Number(input.value) }),
  });
  app.onState(({ settings, limits }) => {
    const [low, high, step] = limits[key];
    Object.assign(input, { min: low, max: Math.max(high, settings[key]), step, value: settings[key] });
    show(settings[key]);
  });
  return h("label", { class: "field", "data-control": key }, h("span", {}, LABELS[key], output), input);
}

/** Return a number box for one setting; an empty box is no limit. */
function box(app, key) {
  const input = h("input", {
    type: "number", min: 0, step: "any", name: key, "data-key": key, placeholder: "no limit",
    onchange: () => app.set({ [key]: input.value === "" ? null : Number(input.value) }),
  });
  app.onState(({ settings }) => document.activeElement !== input && (input.value = settings[key] || ""));
  return h("label", { class: "field", "data-control": key }, h("span", {}, LABELS[key]), input);
}

/** Return a check box for one setting. */
function check(app, key) {
  const input = h("input", { type: "checkbox", name: key, "data-key": key, onchange: () => app.set({ [key]: input.checked }) });
  app.onState(({ settings }) => (input.checked = Boolean(settings[key])));
  return h("label", { class: "check", "data-control": key }, input, LABELS[key]);
}

/** Offer bytes or text to the user as a file. */
function download(name, content, type = "application/octet-stream") {
  const link = h("a", { href: URL.createObjectURL(new Blob([content], { type })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

// --- the losses over the epochs --------------------------------------------------------------------------------------

/** Draw both losses over the epochs, with the values under the mouse. */
function lossChart(app) {
  const train = h("b", { "data-value": "trainLoss" }), test = h("b", { "data-value": "testLoss" });
  const lines = { train: h("svg:path", { class: "train" }), test: h("svg:path", { class: "test" }) };
  const cursor = h("svg:line", { y1: 0, y2: 80, visibility: "hidden" });
  const top = h("svg:text", { x: 0, y: 8 }), bottom = h("svg:text", { x: 0, y: 94 });
  const last = h("svg:text", { y: 94, "text-anchor": "end" });
  const tip = h("div", { class: "tip", hidden: true });
  const picture = h("svg:svg", {
    role: "img", "aria-label": "Losses over the epochs", onpointermove: point, onpointerdown: point, onpointerleave: leave,
  }, h("svg:line", { x1: 0, x2: "100%", y1: 80, y2: 80 }), lines.train, lines.test, cursor, top, bottom, last);
  let history = [], width = 300;

  function add(frame, slow) {
    const before = history[history.length - 1];
    if (before && frame.epoch < before.epoch) history = [];
    if (before && frame.epoch === before.epoch) history.pop();
    history.push({ epoch: frame.epoch, train: frame.trainLoss, test: frame.testLoss });
    if (history.length > MOST_HISTORY) history = history.filter((_, i) => i % 2 === 0 || i === history.length - 1);
    if (!slow) return drawLines();
    setText(train, short(frame.trainLoss));
    setText(test, short(frame.testLoss));
    draw();
  }

  function drawLines() {
    const from = history[0].epoch, to = Math.max(history[history.length - 1].epoch, from + 1);
    const finite = history.flatMap(({ train, test }) => [train, test]).filter(Number.isFinite);
    const high = Math.max(...finite, 1e-9);
    for (const name of ["train", "test"]) {
      const places = history.filter((row) => Number.isFinite(row[name]))
        .map((row) => `${(((row.epoch - from) / (to - from)) * width).toFixed(1)},${(80 - (row[name] / high) * 64).toFixed(1)}`);
      lines[name].setAttribute("d", places.length ? `M${places.join("L")}` : "");
    }
    return [from, to, finite.length ? high : NaN];
  }

  function draw() {
    if (!history.length) return;
    const [from, to, high] = drawLines();
    setText(top, Number.isNaN(high) ? "" : short(high));
    setText(bottom, `epoch ${from}`);
    setText(last, String(to));
    last.setAttribute("x", width);
  }

  function point(event) {
    if (!history.length) return;
    const box = picture.getBoundingClientRect();
    const from = history[0].epoch, to = Math.max(history[history.length - 1].epoch, from + 1);
    const epoch = from + ((event.clientX - box.left) / box.width) * (to - from);
    const row = history.reduce((best, each) => (Math.abs(each.epoch - epoch) < Math.abs(best.epoch - epoch) ? each : best));
    const x = ((row.epoch - from) / (to - from)) * width;
    cursor.setAttribute("x1", x);
    cursor.setAttribute("x2", x);
    cursor.setAttribute("visibility", "visible");
    tip.hidden = false;
    tip.style.left = `${clamp(x, 100, width - 100)}px`;
    setText(tip, `epoch ${row.epoch}: test ${short(row.test)}, training ${short(row.train)}`);
  }

  function leave() {
    tip.hidden = true;
    cursor.setAttribute("visibility", "hidden");
  }

  app.onFrame(add);
  app.onResize(() => {
    width = picture.clientWidth || 300;
    draw();
  });
  return h("div", { class: "stack" },
    h("div", { class: "losses" },
      h("i", { class: "swatch test" }), h("span", {}, "Test loss"), test,
      h("i", { class: "swatch" }), h("span", {}, "Training loss"), train),
    h("div", { class: "chart" }, picture, tip));
}

// --- the big map -----------------------------------------------------------------------------------------------------

/** Draw the map of the output or of the chosen neuron, with axes, points and legend. */
function outputMap(app) {
  const heat = h("canvas", { class: "heat", "aria-hidden": "true" });
  const dots = h("canvas", { class: "dots", "aria-hidden": "true" });
  const tip = h("div", { class: "tip", hidden: true });
  const cross = h("i", { class: "cross", hidden: true });
  const map = h("div", {
    class: "map", role: "img", tabindex: "-1", "aria-label": "Output of the network over the two inputs, with the data points",
    onpointermove: hover, onpointerleave: () => (tip.hidden = true), onpointerdown: paint, onkeydown: walk,
    oncontextmenu: (event) => app.painting && event.preventDefault(),
  }, heat, dots, tip, cross);
  const axes = h("svg:svg", { class: "axes", viewBox: "0 0 336 326", "aria-hidden": "true" });
  const title = h("h3", { "data-value": "mapTitle" });
  const legend = h("div", { class: "legend" });
  let bytes = null, classes = null, drawn = [0, 0], at = [0.5, 0.5];

  function drawAxes() {
    const [low, high] = app.state.domain;
    const marks = [];
    for (let i = 0; i <= 6; i++) {
      const value = low + ((high - low) * i) / 6, x = 28 + i * 50, y = 306 - i * 50;
      marks.push(h("svg:text", { x, y: 322, "text-anchor": "middle" }, short(value).replace(/\.?0+$/, "") || "0"));
      marks.push(h("svg:text", { x: 22, y: y + 4, "text-anchor": "end" }, short(value).replace(/\.?0+$/, "") || "0"));
    }
    axes.replaceChildren(...marks);
  }

  function drawLegend() {
    const { settings, nClasses, classNames } = app.state;
    if (nClasses > 2) {
      legend.replaceChildren(...Array.from({ length: nClasses }, (_, k) => {
        const canvas = h("canvas", { width: 14, height: 14, "aria-hidden": "true" });
        const context = canvas.getContext("2d");
        Object.assign(context, { fillStyle: app.colours.ofClass(k), strokeStyle: app.colours.panel });
        drawPoint(context, 7, 7, 4.2, k);
        return h("span", { class: "row" }, canvas, classNames?.[k] ?? `class ${k}`);
      }), h("span", { class: "hint" }, "darker: more probable"));
    } else {
      const [low, high] = settings.problem === "regression" ? ["−1", "1"] : [classNames?.[0] ?? "orange −1", classNames?.[1] ?? "blue +1"];
      legend.replaceChildren(h("span", {}, low), h("i", { class: "ramp", role: "img", "aria-label": "Colours: orange is negative, grey is zero, blue is positive" }), h("span", {}, high));
    }
  }

  function drawHeat() {
    if (!bytes) return;
    const { settings } = app.state;
    if (classes) paintMap(heat, settings.discretize ? bytes.map(() => 200) : bytes, app.colours.classes, classes);
    else paintMap(heat, bytes, settings.discretize ? app.colours.discrete : app.colours.ramp);
  }

  function drawDots() {
    const side = map.clientWidth || 300, height = map.clientHeight || 300;
    const context = sharp(dots, side, height);
    const { points, settings, nClasses, domain: [low, high] } = app.state;
    const scale = side / (high - low);
    context.lineWidth = 1;
    for (const { x, y, label, test } of points) {
      if (test && !settings.showTestData) continue;
      const several = nClasses > 2 && settings.problem !== "regression";
      context.fillStyle = several ? app.colours.ofClass(label) : app.colours.of(settings.problem === "regression" ? label : label > 0 ? 1 : -1);
      context.strokeStyle = test ? app.colours.text : "#fff";
      drawPoint(context, (x - low) * scale, height - (y - low) * scale, 3 * Math.max(1, side / 340), several ? label : 0);
    }
  }

  /** Return where an event is, in units of the inputs. */
  function place(event) {
    const box = map.getBoundingClientRect(), [low, high] = app.state.domain;
    return [low + ((event.clientX - box.left) / box.width) * (high - low), high - ((event.clientY - box.top) / box.height) * (high - low)];
  }

  function hover(event) {
    if (app.painting && event.buttons === 1 && Math.hypot(event.clientX - drawn[0], event.clientY - drawn[1]) > 12) paint(event);
    if (!bytes || event.pointerType === "touch") return;
    const [x, y] = place(event), [low, high] = app.state.domain, side = heat.width;
    const column = clamp(Math.floor(((x - low) / (high - low)) * side), 0, side - 1);
    const row = clamp(Math.floor(((high - y) / (high - low)) * side), 0, side - 1);
    const byte = bytes[row * side + column];
    const value = classes ? `class ${classes[row * side + column]}, ${Math.round((byte / 255) * 100)} %` : short((byte - 127.5) / 127.5);
    tip.hidden = false;
    tip.style.cssText = column < side / 2 ? "right:6px;bottom:6px" : "left:6px;bottom:6px";
    setText(tip, `(${short(x)}, ${short(y)}): ${value}`);
  }

  /** Set or remove a point where the mouse is; while a button is down, one every 12 pixels. */
  function paint(event) {
    if (!app.painting) return;
    drawn = [event.clientX, event.clientY];
    put(event, ...place(event));
  }

  function put(event, x, y) {
    if (event.ctrlKey || event.metaKey || app.painting === "remove") app.send("points", { op: "remove", x, y });
    else app.send("points", { op: "add", x, y, label: event.shiftKey ? app.otherLabel() : app.painting.label });
  }

  /** Move a cross by the arrow keys and set points by Enter. */
  function walk(event) {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (!app.painting || (!step && event.key !== "Enter")) return;
    event.preventDefault();
    const [low, high] = app.state.domain;
    if (step) at = at.map((value, i) => clamp(value + step[i] / 40, 0, 1));
    else put(event, low + at[0] * (high - low), low + at[1] * (high - low));
    cross.hidden = false;
    Object.assign(cross.style, { left: `${100 * at[0]}%`, bottom: `${100 * at[1]}%` });
  }

  app.onState(() => {
    drawAxes();
    drawLegend();
    drawHeat();
    drawDots();
  });
  app.onFrame((frame) => {
    [bytes, classes] = [frame.map, frame.mapClasses];
    setText(title, app.nameOf(frame.selected));
    drawHeat();
  });
  app.onResize(() => app.state && drawDots());
  return h("div", { class: "stack" }, title, h("div", { class: "mapbox" }, axes, map), legend);
}

// --- the network -----------------------------------------------------------------------------------------------------

/** Draw the network: a map in every node, an edge for every weight, and cards to read and change both. */
function network(app) {
  const lines = h("svg:svg", { "aria-hidden": "true" });
  const card = h("div", { class: "card", hidden: true, "data-value": "card" });
  const net = h("div", {
    class: "net", onpointermove: hover, onpointerleave: unhover, onclick: click,
    onkeydown: (event) => event.key === "Escape" && close(),
  });
  let nodes = [], edges = [], biases = [], columns = [], shape = "", radius = 18, width = 0;
  let hot = null, pinned = null, refresh = null, flow = 0;

  /** Columns of the picture: all inputs, the hidden layers, the outputs. */
  function plan() {
    const { features, settings, nOutputs } = app.state;
    return [features.map(({ key }) => key), ...settings.networkShape.map((n) => Array.from({ length: n }, (_, i) => i)),
      Array.from({ length: nOutputs }, (_, i) => i)];
  }

  function layout() {
    columns = plan();
    const { features } = app.state;
    const outer = net.parentElement.clientWidth - 32;
    const first = 66, most = Math.max(...columns.map((column) => column.length), 4);
    width = Math.max(outer, first + columns.length * 44);
    const gap = (width - first - 30) / (columns.length - 1);
    const spacing = clamp(430 / most, 12, 54), top = gap < 64 ? 76 : 52;
    radius = clamp(Math.min(spacing * 0.37, gap * 0.26), 5, 19);
    Object.assign(net.style, { width: `${width}px`, height: `${top + most * spacing + 18}px` });
    nodes = [];
    biases = [];
    const children = [lines];
    columns.forEach((column, layer) => {
      const x = first + layer * gap;
      column.forEach((name, unit) => {
        const input = layer === 0, y = top + (unit + 0.5) * (input ? Math.max(spacing, 24) : spacing);
        const canvas = h("canvas", { width: 10, height: 10 });
        const label = input ? `Input ${features[unit].label}` : app.nameOf({ layer: layer - 1, unit });
        const node = h("button", {
          class: "node", "data-layer": layer - 1, "data-unit": unit, "aria-label": label, "aria-pressed": input ? String(features[unit].on) : null,
          style: `left:${x - radius}px;top:${y - radius}px;width:${2 * radius}px;height:${2 * radius}px`,
          onpointerenter: (event) => event.pointerType !== "touch" && app.select({ layer: layer - 1, unit }),
          onpointerleave: (event) => event.pointerType !== "touch" && !pinned && app.select(null),
          onfocus: () => app.select({ layer: layer - 1, unit }), onblur: () => !pinned && app.select(null),
        }, canvas);
        node.classList.toggle("off", input && !features[unit].on);
        children.push(node);
        if (input) children.push(h("span", { class: "name", style: `left:${x - radius}px;top:${y}px` }, features[unit].label));
        else {
          const bias = h("button", { class: "bias", hidden: radius < 9, tabindex: -1, "data-layer": layer - 1, "data-unit": unit, "aria-label": `Bias of ${label}`, style: `left:${x - radius - 6}px;top:${y + radius - 5}px` });
          biases.push({ node: bias, layer: layer - 1, unit, x: x - radius, y: y + radius });
          children.push(bias);
        }
        nodes.push({ node, canvas, layer: layer - 1, unit, x, y, input });
      });
      if (layer > 0 && layer < columns.length - 1) children.push(caption(layer - 1, column.length, x, gap));
    });
    children.push(card);
    net.replaceChildren(...children);
    joinNodes();
  }

  /** Return the buttons above a hidden layer. */
  function caption(layer, units, x, gap) {
    const change = (by) => app.set({ networkShape: app.state.settings.networkShape.map((n, i) => (i === layer ? n + by : n)) });
    const [low, high] = app.state.limits.units;
    return h("div", { class: gap < 64 ? "caption tight" : "caption", style: `left:${x}px;top:0` },
      h("div", { class: "row", "data-control": "numHiddenLayers" },
        h("button", { class: "round", "aria-label": `Remove a neuron from layer ${layer + 1}`, disabled: units <= low, onclick: () => change(-1) }, "−"),
        h("button", { class: "round", "aria-label": `Add a neuron to layer ${layer + 1}`, disabled: units >= high, onclick: () => change(1) }, "+")),
      gap < 64 ? String(units) : `${units} ${units === 1 ? "neuron" : "neurons"}`);
  }

  /** Make the edges: all of them, or in large nets those with the largest weights. */
  function joinNodes() {
    const at = new Map(nodes.map((each) => [`${each.layer},${each.unit}`, each]));
    edges = [];
    const on = app.state.features.map((feature, index) => (feature.on ? index : -1)).filter((index) => index >= 0);
    columns.slice(1).forEach((column, layer) => {
      const sources = layer === 0 ? on : columns[layer].map((_, i) => i);
      sources.forEach((unit, row) => column.forEach((_, to) => {
        edges.push({ layer, row, to, from: at.get(`${layer - 1},${unit}`), target: at.get(`${layer},${to}`) });
      }));
    });
    if (edges.length > MOST_EDGES && app.frame && fits(app.frame)) {
      const size = (edge) => Math.abs(app.frame.weights[edge.layer]?.[edge.row]?.[edge.to] ?? 0);
      edges = edges.map((edge) => [size(edge), edge]).sort((a, b) => b[0] - a[0]).slice(0, MOST_EDGES).map(([, edge]) => edge);
    }
    lines.replaceChildren(...edges.map((edge) => {
      const x0 = edge.from.x + radius, x1 = edge.target.x - radius, xm = (x0 + x1) / 2;
      Object.assign(edge, { x0, x1, y0: edge.from.y, y1: edge.target.y });
      return (edge.path = h("svg:path", {
        class: "edge", d: `M${x0},${edge.y0}C${xm},${edge.y0} ${xm},${edge.y1} ${x1},${edge.y1}`,
        "data-edge": `${edge.layer},${edge.row},${edge.to}`,
      }));
    }));
  }

  /** Whether a frame is of the present network: after a change the state comes first. */
  const fits = ({ weights, biases }) =>
    biases.length === columns.length - 1 && biases.every((row, layer) => row.length === columns[layer + 1].length) &&
    weights[0].length === app.state.features.filter(({ on }) => on).length;

  function draw(frame) {
    if (!fits(frame)) return;
    const { features } = app.state;
    const thin = radius < 10 ? radius / 14 : 1;
    for (const { path, layer, row, to } of edges) {
      const weight = frame.weights[layer][row][to];
      update(path, "stroke", app.colours.of(weight));
      update(path, "stroke-width", (clamp(1 + Math.abs(weight) * 1.8, 1, 10) * thin).toFixed(1));
    }
    for (const { node, layer, unit } of biases) update(node, "fill", app.colours.of(frame.biases[layer][unit]));
    // The dashes flow with the epochs; the paths inherit this from the picture.
    lines.style.strokeDashoffset = app.playing ? -(flow = (flow + 1.5) % 10) : 0;
    let index = 0;
    for (const { canvas, input, unit } of nodes) {
      if (input) {
        if (!canvas.image || canvas.shown !== app.colours) paintMap(canvas, app.inputMap(features[unit].key), app.colours.ramp);
        canvas.shown = app.colours;
      } else {
        paintMap(canvas, frame.unitMap(index++), app.state.settings.discretize ? app.colours.discrete : app.colours.ramp);
      }
    }
    refresh?.();
  }

  /** Return the edge or bias under the mouse, or null. */
  function find(event) {
    const own = event.target.closest?.(".bias");
    if (own) return biases.find(({ node }) => node === own);
    if (event.target.closest?.(".node, .card, .caption")) return null;
    const box = net.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
    let best = null, least = 9;
    for (const edge of edges) {
      if (x < edge.x0 || x > edge.x1) continue;
      // The curve's x grows with its parameter t: halve the interval.
      let low = 0, high = 1;
      for (let i = 0; i < 12; i++) {
        const t = (low + high) / 2;
        if (edge.x0 + (edge.x1 - edge.x0) * (1.5 * t * (1 - t) + t * t * t) < x) low = t;
        else high = t;
      }
      const share = low * low * (3 - 2 * low), distance = Math.abs(edge.y0 + (edge.y1 - edge.y0) * share - y);
      if (distance < least) [best, least] = [edge, distance];
    }
    return best;
  }

  const isWeight = (item) => item.row !== undefined;
  const valueOf = (item) => (isWeight(item) ? app.frame?.weights[item.layer]?.[item.row]?.[item.to] : app.frame?.biases[item.layer]?.[item.unit]);
  const store = (item, value) =>
    isWeight(item) ? app.send("weight", { layer: item.layer, from: item.row, to: item.to, value }) : app.send("bias", { layer: item.layer, to: item.unit, value });

  function show(x, y, ...children) {
    card.replaceChildren(...children);
    card.hidden = false;
    const right = net.parentElement.scrollLeft + net.parentElement.clientWidth - card.offsetWidth - 40;
    const bottom = net.clientHeight + 50 - card.offsetHeight;
    Object.assign(card.style, { left: `${Math.max(0, Math.min(x + 12, right))}px`, top: `${Math.max(0, Math.min(y + 12, bottom))}px` });
  }

  function hover(event) {
    if (pinned || event.pointerType === "touch") return;
    const item = find(event);
    if (hot !== item) {
      hot?.path?.classList.remove("hot");
      hot = item;
      hot?.path?.classList.add("hot");
    }
    net.style.cursor = item ? "pointer" : "";
    if (!item) return close();
    const box = net.getBoundingClientRect(), value = h("b");
    refresh = () => setText(value, short(valueOf(item)));
    refresh();
    show(event.clientX - box.left, event.clientY - box.top, isWeight(item) ? "Weight is " : "Bias is ", value, h("div", { class: "hint" }, "Click to edit"));
  }

  function unhover() {
    if (!pinned) close();
  }

  function close() {
    hot?.path?.classList.remove("hot");
    card.hidden = true;
    card.classList.remove("pinned");
    if (pinned?.node) app.select(null);
    hot = pinned = refresh = null;
  }

  /** Return a number box for a weight or bias that shows the live value while it has not the focus. */
  function number(item, label) {
    const input = h("input", {
      type: "number", step: 0.1, "aria-label": label,
      onchange: () => input.value !== "" && store(item, Number(input.value)),
      onkeydown: (event) => event.key === "Enter" && (input.dispatchEvent(new Event("change")), close(), event.preventDefault()),
    });
    const follow = () => document.activeElement !== input && (input.value = Number(valueOf(item)?.toPrecision(4)));
    follow();
    return [input, follow];
  }

  function click(event) {
    if (event.target.closest(".card, .caption")) return;
    const box = net.getBoundingClientRect(), own = event.target.closest(".node");
    const at = nodes.find(({ node }) => node === own);
    if (at?.input) return app.toggle(app.state.features[at.unit]);
    if (at) return inspect(at);
    const item = find(event);
    close();
    if (!item) return;
    const kind = isWeight(item) ? "Weight" : "Bias";
    const [input, follow] = number(item, kind);
    pin(item, follow, event.clientX - box.left, event.clientY - box.top, h("label", {}, `${kind} is `, input));
    input.select();
  }

  function pin(item, follow, x, y, ...children) {
    pinned = item;
    refresh = follow;
    card.classList.add("pinned");
    show(x, y, ...children);
    card.querySelector("input").focus();
  }

  /** Show the card of a node: its bias and all weights that come in. */
  function inspect(at) {
    close();
    const sources = at.layer === 0 ? app.state.features.filter(({ on }) => on).map(({ label }) => label) : columns[at.layer].map((unit) => `neuron ${unit + 1}`);
    const rows = [["bias", { layer: at.layer, unit: at.unit }], ...sources.map((label, row) => [label, { layer: at.layer, row, to: at.unit }])];
    const follows = [], list = h("div", { class: "list" });
    for (const [label, item] of rows) {
      const [input, follow] = number(item, label === "bias" ? "Bias" : `Weight of ${label}`);
      follows.push(follow);
      list.append(h("span", {}, label), input);
    }
    pin(at, () => follows.forEach((follow) => follow()), at.x, at.y, h("b", {}, app.nameOf(at)), list);
  }

  /** Return the picture as the text of an SVG file. */
  function file() {
    const height = net.clientHeight, hex = (node) => node.style.background || "#ccc";
    const picture = h("svg:svg", { xmlns: SVG, viewBox: `0 0 ${width} ${height}`, width, height, "font-family": "sans-serif", "font-size": 13 },
      h("svg:rect", { width, height, fill: app.colours.panel }),
      edges.map(({ path }) => h("svg:path", { d: path.getAttribute("d"), stroke: path.getAttribute("stroke"), "stroke-width": path.getAttribute("stroke-width"), fill: "none" })),
      nodes.map(({ canvas, x, y, input, unit, node }) => [
        h("svg:image", { href: canvas.toDataURL(), x: x - radius, y: y - radius, width: 2 * radius, height: 2 * radius, opacity: node.classList.contains("off") ? 0.3 : 1 }),
        h("svg:rect", { x: x - radius, y: y - radius, width: 2 * radius, height: 2 * radius, rx: 4, fill: "none", stroke: app.colours.muted }),
        input ? h("svg:text", { x: x - radius - 6, y: y + 4, "text-anchor": "end", fill: app.colours.text }, app.state.features[unit].label) : null,
      ]),
      biases.map(({ node, x, y }) => h("svg:rect", { x: x - 6, y: y - 4, width: 7, height: 7, fill: hex(node), stroke: app.colours.panel })));
    return new XMLSerializer().serializeToString(picture);
  }

  document.addEventListener("pointerdown", outside);
  app.onClose(() => document.removeEventListener("pointerdown", outside));
  function outside(event) {
    if (pinned && !card.contains(event.target)) close();
  }

  app.onState((state) => {
    const next = JSON.stringify([plan(), state.features, state.limits.units]);
    if (next === shape) return;
    shape = next;
    const focused = document.activeElement?.dataset;
    const keep = net.contains(document.activeElement) && [focused.layer, focused.unit, document.activeElement.getAttribute("aria-label")];
    close();
    layout();
    if (keep) (net.querySelector(`[aria-label="${keep[2]}"]`) ?? net.querySelector(".node")).focus();
    if (app.frame) draw(app.frame);
  });
  app.onFrame((frame) => {
    if (edges.length === MOST_EDGES && ++draw.count % 60 === 0) joinNodes();
    draw(frame);
    for (const { node, layer, unit } of nodes) {
      const shown = app.selected && app.selected.layer === layer && app.selected.unit === unit;
      if ((node.getAttribute("aria-current") === "true") !== Boolean(shown)) node.setAttribute("aria-current", String(Boolean(shown)));
    }
  });
  draw.count = 0;
  app.onResize(() => {
    if (!app.state || net.parentElement.clientWidth - 32 === draw.outer) return;
    draw.outer = net.parentElement.clientWidth - 32;
    layout();
    if (app.frame) draw(app.frame);
  });

  const layers = (by) => {
    const now = app.state.settings.networkShape;
    app.set({ networkShape: by > 0 ? [...now, 2] : now.slice(0, -1) });
  };
  const count = h("h3");
  const fewer = h("button", { class: "round", "aria-label": "Remove a layer", onclick: () => layers(-1) }, "−");
  const more = h("button", { class: "round", "aria-label": "Add a layer", onclick: () => layers(1) }, "+");
  app.onState(({ settings: { networkShape }, limits }) => {
    setText(count, `${networkShape.length} hidden ${networkShape.length === 1 ? "layer" : "layers"}`);
    fewer.disabled = networkShape.length <= 0;
    more.disabled = networkShape.length >= limits.layers[1];
  });
  return h("div", { class: "stack" },
    h("div", { class: "nethead" }, h("h2", {}, "Network"),
      h("div", { class: "row" }, h("span", { class: "row", "data-control": "numHiddenLayers" }, fewer, more), count),
      h("button", { "data-action": "svg", onclick: () => download("network.svg", file(), "image/svg+xml") }, "SVG")),
    h("div", { class: "scroll" }, net),
    h("p", { class: "hint", "data-control": "text" }, "Each square shows what a neuron gives out over the two inputs: point at it to see it large. The line of a weight is the thicker, the larger it is; orange is negative, blue positive. Click a line or a square to change numbers."));
}

// --- the data --------------------------------------------------------------------------------------------------------

/** Points of the data sets without noise, for their buttons: functions of i = 0..199 and of a random number in 0..1. */
const uniform = (random, low, high) => low + (high - low) * random();
const polar = (r, turn, label) => [r * Math.sin(turn), r * Math.cos(turn), label];
const normal = (random, x, y, label) => {
  const r = Math.sqrt(-2 * Math.log(1 - random())), turn = 2 * Math.PI * random();
  return [x + r * Math.cos(turn) * 0.7, y + r * Math.sin(turn) * 0.7, label];
};
const BUMPS = [[-4, 2.5, 1], [0, 2.5, -1], [4, 2.5, 1], [-4, -2.5, -1], [0, -2.5, 1], [4, -2.5, -1]];
const SETS = {
  circle: (i, u) => (i % 2 ? polar(uniform(u, 0, 2.5), uniform(u, 0, 6.3), 1) : polar(uniform(u, 3.5, 5), uniform(u, 0, 6.3), -1)),
  xor: (i, u) => {
    const [x, y] = [uniform(u, -5, 5), uniform(u, -5, 5)].map((value) => value + Math.sign(value) * 0.3);
    return [x, y, Math.sign(x * y)];
  },
  gauss: (i, u) => (i % 2 ? normal(u, 2, 2, 1) : normal(u, -2, -2, -1)),
  spiral: (i) => polar((5 * (i >> 1)) / 100, (1.75 * 2 * Math.PI * (i >> 1)) / 100 + (i % 2) * Math.PI, i % 2 ? -1 : 1),
  moons: (i, u) => {
    const turn = uniform(u, 0, Math.PI);
    return i % 2 ? [3.4 * Math.cos(turn) - 1.7, 3.4 * Math.sin(turn) - 1, 1] : [1.7 - 3.4 * Math.cos(turn), 1 - 3.4 * Math.sin(turn), -1];
  },
  blobs: (i, u) => normal(u, 3.6 * Math.sin((i % 3) * 2.1), 3.6 * Math.cos((i % 3) * 2.1), i % 3),
  rings: (i, u) => polar([1, 3, 5][i % 3] - uniform(u, 0, 0.7), uniform(u, 0, 6.3), i % 3),
  "reg-plane": (i, u) => {
    const [x, y] = [uniform(u, -6, 6), uniform(u, -6, 6)];
    return [x, y, (x + y) / 10];
  },
  "reg-gauss": (i, u) => {
    const x = uniform(u, -6, 6), y = uniform(u, -6, 6);
    const heights = BUMPS.map(([cx, cy, sign]) => sign * Math.max(0, 1 - Math.hypot(x - cx, y - cy) / 2));
    return [x, y, heights.reduce((most, value) => (Math.abs(value) > Math.abs(most) ? value : most))];
  },
};
const SET_NAMES = {
  circle: "Circle", xor: "Exclusive or", gauss: "Two Gaussians", spiral: "Spiral", moons: "Moons", blobs: "Blobs: classes",
  rings: "Rings: classes", "reg-plane": "Plane: regression", "reg-gauss": "Bumps: regression",
};

function paintSet(app, canvas, name) {
  let seed = 7;
  const random = () => (seed = (seed * 16807) % 2147483647) / 2147483647;
  const context = sharp(canvas, 54, 54);
  for (let i = 0; i < 200; i++) {
    const [x, y, label] = SETS[name](i, random);
    const several = name === "blobs" || name === "rings";
    context.fillStyle = several ? app.colours.ofClass(label) : app.colours.of(label);
    context.fillRect(27 + x * 4.1 - 1, 27 - y * 4.1 - 1, 2, 2);
  }
}

/** Choose, make, paint and read data. */
function dataPanel(app) {
  const sets = h("div", { class: "sets", role: "group", "aria-label": "Data set", "data-control": "dataset" });
  const file = h("input", { type: "file", accept: ".csv,.txt,text/csv", "aria-label": "Open a CSV file", onchange: () => file.files[0] && read(file.files[0]) });
  const paints = h("div", { class: "row paints", role: "group", "aria-label": "What a click into the picture does" });
  let shown = "";

  async function read(chosen) {
    app.send("csv", { text: await chosen.text() });
    file.value = "";
  }

  app.root.addEventListener("dragover", (event) => {
    if (![...event.dataTransfer.types].includes("Files")) return;
    event.preventDefault();
    app.root.classList.add("over");
  });
  app.root.addEventListener("dragleave", () => app.root.classList.remove("over"));
  app.root.addEventListener("drop", (event) => {
    app.root.classList.remove("over");
    const dropped = event.dataTransfer.files[0];
    if (!dropped) return;
    event.preventDefault();
    read(dropped);
  });

  function choosePaint(value) {
    app.painting = value;
    app.root.classList.toggle("painting", Boolean(value));
    app.root.querySelector(".map")?.setAttribute("tabindex", value ? 0 : -1);
    for (const button of paints.children) button.setAttribute("aria-pressed", String(button.paint === (value?.label ?? value)));
  }

  app.onState((state) => {
    const names = app.state.sets, now = JSON.stringify([names, app.dark]);
    if (shown !== now) {
      shown = now;
      sets.replaceChildren(...names.map((name) => {
        const canvas = h("canvas", { "aria-hidden": "true" });
        if (SETS[name]) paintSet(app, canvas, name);
        return h("button", { "data-set": name, "aria-label": SET_NAMES[name] ?? name, title: SET_NAMES[name] ?? name, onclick: () => app.chooseSet(name) }, canvas);
      }));
    }
    for (const button of sets.children) button.setAttribute("aria-pressed", String(button.dataset.set === app.currentSet()));
    const labels = state.settings.problem === "regression" ? [1, -1] : state.nClasses > 2 ? Array.from({ length: state.nClasses }, (_, k) => k) : [1, -1];
    const kinds = [[null, "off"], ...labels.map((label) => [label, null]), ["remove", "remove"]];
    if (paints.kinds !== (paints.kinds = JSON.stringify([kinds, app.dark]))) {
      paints.replaceChildren(...kinds.map(([value, text]) => {
        const colour = state.nClasses > 2 ? app.colours.ofClass(value) : app.colours.of(value);
        const button = h("button", {
          "data-paint": value ?? "off", "aria-label": text ?? `Add points of ${state.nClasses > 2 ? `class ${value}` : value > 0 ? "+1" : "−1"}`,
          onclick: () => choosePaint(text === "remove" ? "remove" : value === null ? null : { label: value }),
        }, text ?? h("i", { class: "dot", style: `background:${colour};margin:0` }));
        button.paint = value;
        return button;
      }));
      choosePaint(null);
    }
  });

  return h("section", { class: "panel data stack", "aria-label": "Data" },
    h("h2", {}, "Data"), sets, choice(app, "problem"), choice(app, "classes", ({ dataset, problem }) => problem === "classification" && ["blobs", "rings"].includes(dataset)),
    slider(app, "percTrainData", " %"), slider(app, "noise", " %"), slider(app, "batchSize"),
    h("button", { "data-action": "regenerate", title: "New data with another seed (g)", onclick: () => app.send("regenerate") }, "Regenerate"),
    h("div", { class: "stack", style: "gap:5px" }, h("span", { class: "hint" }, "Click into the picture adds or removes points:"), paints,
      h("button", { "data-action": "clear", onclick: () => app.send("points", { op: "clear" }) }, "Remove all points")),
    h("div", { class: "drop" }, h("span", { class: "hint" }, "Own data: drop a CSV file here (two inputs, one label)."),
      h("div", { class: "row" }, h("label", { class: "file" }, "Open …", file),
        h("button", { "data-export": "csv", onclick: () => app.send("export", { format: "csv" }) }, "Save"))));
}

// --- what is beside the three columns --------------------------------------------------------------------------------

/** Show scores of the test and training rows, and which classes are taken for which. */
function scores(app) {
  const table = h("table", { "data-value": "metrics" }), confusion = h("table", { class: "confusion", "data-value": "confusion" });
  const names = { accuracy: "Accuracy", r2: "R²", rmse: "RMSE" };
  let cells = null;
  app.onFrame(({ metrics }, slow) => {
    if (!slow) return;
    const shown = Object.keys(names).filter((name) => metrics[name]);
    if (cells?.names !== shown.join()) {
      cells = { names: shown.join(), rows: shown.map((name) => [h("td"), h("td")]) };
      table.replaceChildren(h("tr", {}, h("th"), h("th", { scope: "col" }, "test"), h("th", { scope: "col" }, "training")),
        ...shown.map((name, i) => h("tr", {}, h("th", { scope: "row" }, names[name]), cells.rows[i])));
    }
    const write = (name, value) => (name === "accuracy" && Number.isFinite(value) ? `${(100 * value).toFixed(1)} %` : short(value));
    shown.forEach((name, i) => ["test", "train"].forEach((part, k) => setText(cells.rows[i][k], write(name, metrics[name][part]))));
    const counts = metrics.confusion;
    confusion.hidden = !counts;
    if (!counts) return;
    if (confusion.rows.length !== counts.length + 2) {
      const labels = counts.map((_, k) => app.classLabel(k));
      confusion.replaceChildren(
        h("tr", {}, h("th"), h("th", { colspan: counts.length }, "predicted (test data)")),
        h("tr", {}, h("th", {}, "true"), labels.map((label) => h("th", { scope: "col" }, label))),
        ...counts.map((row, k) => h("tr", {}, h("th", { scope: "row" }, labels[k]), row.map(() => h("td")))));
    }
    counts.forEach((row, k) => row.forEach((count, j) => {
      const cell = confusion.rows[k + 2].cells[j + 1], total = Math.max(1, row.reduce((sum, value) => sum + value, 0));
      setText(cell, String(count));
      cell.style.background = `color-mix(in srgb, var(${k === j ? "--positive" : "--negative"}) ${Math.round((count / total) * 55)}%, var(--soft))`;
    }));
  });
  return [table, confusion];
}

/** Settings of each layer: activation and dropout. */
function layerPanel(app) {
  const table = h("table", { class: "layers" });
  let shown = "";
  app.onState(({ settings, choices }) => {
    const { networkShape, layerActivations, layerDropout } = settings;
    const now = JSON.stringify([networkShape, layerActivations, layerDropout, settings.activation]);
    if (shown === now || table.contains(document.activeElement)) return;
    shown = now;
    const change = (key, list, layer, value, none) => app.set({ [key]: networkShape.map((_, i) => (i === layer ? value : (list?.[i] ?? none))) });
    table.replaceChildren(
      h("tr", {}, ["Layer", "Neurons", "Activation", "Dropout"].map((text) => h("th", { scope: "col" }, text))),
      ...networkShape.map((units, layer) => {
        const activation = h("select", { "aria-label": `Activation of layer ${layer + 1}`, "data-layer-activation": layer, onchange: () => change("layerActivations", layerActivations, layer, activation.value, "") },
          h("option", { value: "" }, `${settings.activation} (all)`), choices.layerActivations.filter(Boolean).map((name) => h("option", { value: name }, name)));
        activation.value = layerActivations?.[layer] ?? "";
        const dropout = h("input", { type: "number", min: 0, max: 0.9, step: 0.1, value: layerDropout?.[layer] ?? settings.dropout ?? 0, "aria-label": `Dropout after layer ${layer + 1}`, "data-layer-dropout": layer, onchange: () => change("layerDropout", layerDropout, layer, Number(dropout.value), settings.dropout ?? 0) });
        const count = h("input", { type: "number", min: app.state.limits.units[0], max: app.state.limits.units[1], value: units, "aria-label": `Neurons of layer ${layer + 1}`, onchange: () => app.set({ networkShape: networkShape.map((n, i) => (i === layer ? Number(count.value) : n)) }) });
        return h("tr", {}, h("th", { scope: "row" }, String(layer + 1)), h("td", {}, count), h("td", {}, activation), h("td", {}, dropout));
      }));
  });
  return h("details", { class: "panel", "data-panel": "layers" }, h("summary", {}, "Each layer"), h("div", { class: "stack" }, table));
}

/** Draw a curve of losses over learning rates on a logarithmic axis, with the suggested rate. */
function rateFinder(app) {
  const picture = h("svg:svg", { class: "curve", viewBox: "0 0 320 150", role: "img", "aria-label": "Loss over the learning rate", hidden: true });
  const take = h("button", { "data-action": "take-rate", hidden: true });
  app.onMessage("lr_find", ({ rates, losses, suggestion }) => {
    const known = rates.map((rate, i) => [Math.log10(rate), losses[i]]).filter(([, loss]) => Number.isFinite(loss));
    const lowest = Math.min(...known.map(([, loss]) => loss)), start = known[0][1];
    const high = Math.max(start * 1.3, lowest + 1e-9), from = known[0][0], to = known[known.length - 1][0];
    const across = (power) => 34 + ((power - from) / (to - from)) * 276;
    const up = (loss) => 122 - ((Math.min(loss, high) - lowest) / (high - lowest)) * 110;
    const marks = [];
    for (let power = Math.ceil(from); power <= to; power++) {
      marks.push(h("svg:line", { x1: across(power), x2: across(power), y1: 12, y2: 122 }), h("svg:text", { x: across(power), y: 138, "text-anchor": "middle" }, power < -3 || power > 3 ? `1e${power}` : String(Number((10 ** power).toPrecision(1)))));
    }
    const best = suggestion === null ? null : across(Math.log10(suggestion));
    picture.replaceChildren(...[...marks, h("svg:text", { x: 0, y: 16 }, short(high)), h("svg:text", { x: 0, y: 122 }, short(lowest)),
      h("svg:path", { d: known.map(([power, loss], i) => `${i ? "L" : "M"}${across(power).toFixed(1)},${up(loss).toFixed(1)}`).join("") }),
      best === null ? [] : h("svg:line", { x1: best, x2: best, y1: 12, y2: 122, style: `stroke:${app.colours.text};stroke-dasharray:3 3` }),
      h("svg:text", { x: 320, y: 149, "text-anchor": "end" }, "learning rate")].flat());
    picture.removeAttribute("hidden");
    take.hidden = suggestion === null;
    if (suggestion === null) return;
    take.onclick = () => app.set({ learningRate: Number(suggestion.toPrecision(2)) });
    setText(take, `Use ${short(suggestion)}`);
  });
  return h("details", { class: "panel", "data-panel": "lr_find" }, h("summary", {}, "Find a learning rate"),
    h("div", { class: "stack" }, h("p", { class: "hint" }, "A copy of the network is trained while the rate grows: the loss falls where a rate works and rises where it is too high."),
      h("div", { class: "row" }, h("button", { "data-action": "lr_find", onclick: (event) => app.order(event, "lr_find") }, "Find"), take), picture));
}

/** Show the same network after the same epochs with three rates. */
function threeRates(app) {
  const cells = [0, 1, 2].map(() => ({ canvas: h("canvas"), title: h("b"), text: h("div", { class: "hint" }), line: h("svg:path") }));
  const view = h("div", { class: "three", hidden: true }, cells.map(({ canvas, title, text, line }) =>
    h("figure", {}, title, text, canvas, h("svg:svg", { class: "curve", viewBox: "0 0 200 50", "aria-hidden": "true" }, line))));
  let high = 1;
  const curve = (losses) => losses.map((loss, i) => [i, loss]).filter(([, loss]) => Number.isFinite(loss))
    .map(([i, loss], k) => `${k ? "L" : "M"}${((200 * i) / Math.max(1, losses.length - 1)).toFixed(1)},${(48 - 46 * Math.min(1, loss / high)).toFixed(1)}`).join("");
  app.onMessage("rates", ({ runs }, buffers) => {
    view.hidden = false;
    high = 1.3 * Math.max(...runs.map(({ losses }) => losses[0]).filter(Number.isFinite), 1e-9);
    runs.forEach((run, i) => {
      const [bytes, classes] = run.maps.map((index) => bytesOf(buffers[index]));
      paintMap(cells[i].canvas, bytes, classes ? app.colours.classes : app.colours.ramp, classes);
      setText(cells[i].title, `${run.label}: ${short(run.rate)}`);
      setText(cells[i].text, run.diverged ? `diverged in epoch ${run.epoch}` : `loss ${short(run.loss)} after ${run.epoch} epochs`);
      cells[i].line.setAttribute("d", curve(run.losses));
    });
  });
  return h("details", { class: "panel", "data-panel": "rates" }, h("summary", {}, "Too low, just right, too high"),
    h("div", { class: "stack" }, h("div", { class: "row" }, h("button", { "data-action": "rates", onclick: (event) => app.order(event, "rates") }, "Train three copies"),
      h("span", { class: "hint" }, "The same start and the same epochs, with three learning rates.")), view));
}

/** Draw the input grid where two units of a layer put it, with the data on it. */
function warpedGrid(app) {
  const canvas = h("canvas", { class: "square", role: "img", "aria-label": "The grid of the inputs as two neurons of a layer see it" });
  const layer = h("select", { "aria-label": "Layer", onchange: () => (choose(), ask()) });
  const first = h("select", { "aria-label": "Neuron across", onchange: ask }), second = h("select", { "aria-label": "Neuron up", onchange: ask });
  const next = h("button", { "data-action": "next-pair", onclick: cycle }, "Next pair");
  let waiting = false;
  const panel = h("details", { class: "panel", "data-panel": "grid", ontoggle: ask }, h("summary", {}, "Warped grid"),
    h("div", { class: "stack" }, h("p", { class: "hint" }, "Lines of the input grid, put where two neurons of a hidden layer put them. The next layer cuts this picture by straight lines."),
      h("div", { class: "row choices" }, layer, first, second, next), canvas));

  function choose(x = 0, y = 1) {
    const units = app.state.settings.networkShape[layer.value] ?? 1;
    for (const [select, value] of [[first, x], [second, y]]) {
      select.replaceChildren(...Array.from({ length: units }, (_, i) => h("option", { value: i }, `neuron ${i + 1}`)));
      select.value = Math.min(value, units - 1);
    }
  }

  function cycle() {
    const units = first.options.length;
    let x = Number(first.value), y = Number(second.value) + 1;
    if (y >= units) [x, y] = [x + 1, x + 2];
    if (y >= units) [x, y] = [0, Math.min(1, units - 1)];
    choose(x, y);
    ask();
  }

  function ask() {
    if (!panel.open || waiting || !app.state.settings.networkShape.length) return;
    waiting = true;
    app.send("grid", { layer: Number(layer.value), units: [Number(first.value), Number(second.value)] });
  }

  app.onState(({ settings }) => {
    waiting = false;
    const now = settings.networkShape.join();
    if (layer.shown === now) return;
    layer.shown = now;
    layer.replaceChildren(...settings.networkShape.map((_, i) => h("option", { value: i }, `layer ${i + 1}`)));
    layer.value = settings.networkShape.length - 1;
    choose();
    ask();
  });
  app.onFrame(ask);
  app.onMessage("grid", (message, buffers) => {
    waiting = false;
    const side = canvas.clientWidth || 300, context = sharp(canvas, side, side), { points, settings, nClasses } = app.state;
    const grid = floatsOf(buffers[0]), data = floatsOf(buffers[1]), steps = Math.round(Math.sqrt(grid.length / 2));
    const xs = [], ys = [];
    for (let i = 0; i < grid.length; i += 2) xs.push(grid[i]), ys.push(grid[i + 1]);
    const [left, right, low, high] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    const across = (value) => 10 + ((value - left) / (right - left || 1)) * (side - 20);
    const up = (value) => side - 10 - ((value - low) / (high - low || 1)) * (side - 20);
    Object.assign(context, { strokeStyle: app.colours.muted, lineWidth: 0.7, globalAlpha: 0.55 });
    context.beginPath();
    for (let i = 0; i < steps; i++) {
      for (let j = 0; j < steps; j++) {
        const at = i * steps + j;
        if (j + 1 < steps) context.moveTo(across(xs[at]), up(ys[at])), context.lineTo(across(xs[at + 1]), up(ys[at + 1]));
        if (i + 1 < steps) context.moveTo(across(xs[at]), up(ys[at])), context.lineTo(across(xs[at + steps]), up(ys[at + steps]));
      }
    }
    context.stroke();
    Object.assign(context, { strokeStyle: app.colours.panel, lineWidth: 0.8, globalAlpha: 1 });
    points.forEach(({ label, test }, i) => {
      if (2 * i + 1 >= data.length || (test && !settings.showTestData)) return;
      const several = nClasses > 2;
      context.fillStyle = several ? app.colours.ofClass(label) : app.colours.of(settings.problem === "regression" ? label : label > 0 ? 1 : -1);
      drawPoint(context, across(data[2 * i]), up(data[2 * i + 1]), 2.6, several ? label : 0);
    });
    canvas.dataset.drawn = `${message.layer},${message.units}`;
  });
  return panel;
}

/** The network as a line of Python that can be edited, and files of it. */
function codePanel(app) {
  const text = h("textarea", { rows: 4, spellcheck: "false", "aria-label": "The network as text", "data-value": "net" });
  const copied = h("span", { class: "hint", role: "status" });
  app.onState(({ net }) => document.activeElement !== text && (text.value = net));
  app.onMessage("file", ({ name, mime }, buffers) => download(name, buffers[0], mime));
  const formats = { python: "Python", npz: ".npz", onnx: "ONNX", c: "C header" };
  async function copy() {
    try {
      await navigator.clipboard.writeText(location.href);
      setText(copied, "Link copied.");
    } catch {
      setText(copied, location.href);
    }
  }
  return h("details", { class: "panel", "data-panel": "code" }, h("summary", {}, "Network as text, files, link"),
    h("div", { class: "stack" }, text,
      h("div", { class: "row" }, h("button", { "data-action": "net", onclick: () => app.send("net", { text: text.value }) }, "Apply")),
      h("div", { class: "row" }, Object.entries(formats).map(([format, name]) => h("button", { "data-export": format, onclick: (event) => app.order(event, "export", { format }) }, name))),
      h("div", { class: "row" }, h("button", { "data-action": "link", onclick: copy }, "Copy link"), copied)));
}

/** Stop conditions, speed of the picture, precision. */
function runPanel(app) {
  return h("details", { class: "panel", "data-panel": "run" }, h("summary", {}, "Speed and when to stop"),
    h("div", { class: "stack" }, slider(app, "epochsPerFrame"), slider(app, "scheduleEpochs"),
      h("div", { class: "pair" }, box(app, "stopEpochs"), box(app, "stopLoss"), box(app, "patience"), choice(app, "precision")), check(app, "initZero")));
}

/** Choose which controls a link hides. */
function classDialog(app) {
  const boxes = [...HIDABLE, "text"].map((key) => {
    const input = h("input", { type: "checkbox", "data-hide": key, onchange: () => app.hide(key, !input.checked) });
    app.onHidden((hidden) => (input.checked = !hidden.has(key)));
    return h("label", { class: "check" }, input, LABELS[key] ?? "Explanations");
  });
  return h("dialog", { "aria-label": "Use in class" }, h("div", { class: "stack" }, h("h3", {}, "Use in class"),
    h("p", { class: "hint" }, "Controls without a mark are hidden. The link keeps the choice."),
    h("div", { class: "pair" }, boxes), h("form", { method: "dialog" }, h("button", {}, "Close"))));
}

function helpDialog() {
  const keys = [["Space", "play or pause"], ["s", "one epoch"], ["r", "start again"], ["g", "new data"], ["Tab", "next control"], ["← →", "move a slider"], ["Enter", "on a neuron: its numbers"], ["Esc", "close a card"]];
  return h("dialog", { "aria-label": "Help" }, h("div", { class: "stack help" }, h("h3", {}, "What is seen here"),
    h("p", {}, "A network learns to give each point of the plane its colour. Its inputs are on the left: the two coordinates, and functions of them that you can switch on. Each neuron adds up what comes in, times a weight each, plus a bias, and applies its activation function. Training changes weights and biases until the loss, the error over all points, is small."),
    h("ul", {}, ["The colour behind the points is the output: orange below 0, grey at 0, blue above.", "Test data are points that training never sees: their loss says how the network does on new data.", "Click a line or a square to set a weight or a bias by hand, also while it is trained.", "Click into the picture to set points: choose their colour under Data first. With Shift they are of the other class; with Ctrl the nearest is removed."].map((text) => h("li", {}, text))),
    h("div", { class: "pair" }, keys.map(([key, text]) => h("div", {}, h("kbd", {}, key), " ", text))),
    h("form", { method: "dialog" }, h("button", {}, "Close"))));
}

// --- the whole -------------------------------------------------------------------------------------------------------

const bytesOf = (view) => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
const floatsOf = (view) => new Float32Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));

/** Draw the playground into an element and connect it with a session by the model's messages. */
function render({ model, el }) {
  const listeners = { state: [], frame: [], resize: [], close: [], hidden: [] };
  const answers = {}, busy = {};
  // On a page of its own a key is for the playground wherever the focus is; in a notebook only inside.
  const isPage = el.parentElement === document.body, keys = isPage ? document : root;
  const root = h("div", { class: "fnp" });
  const darkQuery = matchMedia("(prefers-color-scheme: dark)");
  let theme = model.get("settings")?.theme ?? "auto";
  let inputMaps = {}, asked = 0, drawn = 0, drawings = 0, storing = false;
  const frames = []; // received, not yet drawn

  const app = {
    root, state: null, frame: null, selected: null, playing: false, painting: null, colours: null, dark: false,
    onState: (listener) => listeners.state.push(listener),
    onFrame: (listener) => listeners.frame.push(listener),
    onResize: (listener) => listeners.resize.push(listener),
    onClose: (listener) => listeners.close.push(listener),
    onHidden: (listener) => listeners.hidden.push(listener),
    onMessage: (type, listener) => (answers[type] = listener),
    send: (type, content = {}) => model.send({ type, ...content }),
    set: (changes) => app.send("set", { changes }),
    /** Send what takes a while: the button is pale until the answer, or the error, is there. */
    order(event, type, content) {
      busy[type] = event.currentTarget;
      busy[type].disabled = true;
      app.send(type, content);
    },
    select(node) {
      app.selected = node;
      app.send("select", node ?? { layer: null, unit: null });
    },
    toggle: (feature) => app.set({ [feature.key]: !feature.on }),
    currentSet: () => (app.state.settings.problem === "regression" ? app.state.settings.regDataset : app.state.settings.dataset),
    chooseSet: (name) => app.set({ [app.state.settings.problem === "regression" ? "regDataset" : "dataset"]: name }),
    classLabel: (k) => app.state.classNames?.[k] ?? (app.state.nClasses > 2 ? String(k) : k ? "+1" : "−1"),
    otherLabel: () => (app.state.nClasses > 2 ? (app.painting.label + 1) % app.state.nClasses : -app.painting.label),
    nameOf(node) {
      if (!node || node.layer === null) return "Output";
      if (node.layer < 0) return `Input ${app.state.features[node.unit].label}`;
      if (node.layer < app.state.settings.networkShape.length) return `Layer ${node.layer + 1}, neuron ${node.unit + 1}`;
      return app.state.nOutputs > 1 ? `Output of class ${app.classLabel(node.unit)}` : "Output";
    },
    /** Return the 10x10 bytes of an input over the plane. */
    inputMap(key) {
      const [low, high] = app.state.domain;
      return (inputMaps[[key, low, high]] ??= Uint8Array.from({ length: 100 }, (_, i) => {
        const x = low + ((high - low) * ((i % 10) + 0.5)) / 10, y = high - ((high - low) * (Math.floor(i / 10) + 0.5)) / 10;
        return Math.round(127.5 + 127.5 * clamp(FEATURES[key][1](x, y), -1, 1));
      }));
    },
    hide(key, hidden) {
      store({ [`${key}_hide`]: hidden ? "true" : undefined });
      showHidden();
    },
  };

  // Settings that the address (or the notebook) keeps: those of the session, and what is the page's own.
  function store(changes) {
    const settings = { ...model.get("settings"), ...changes };
    for (const key of Object.keys(settings)) if (settings[key] === undefined || settings[key] === null) delete settings[key];
    storing = true; // In a notebook `set` notifies the listeners of changes, and these are for those of others.
    model.set("settings", settings);
    storing = false;
    model.save_changes();
  }

  function showHidden() {
    const settings = model.get("settings") ?? {};
    const hidden = new Set(Object.keys(settings).filter((key) => key.endsWith("_hide") && String(settings[key]) === "true").map((key) => key.slice(0, -5)));
    if (String(settings.hideText) === "true") hidden.add("text");
    for (const node of root.querySelectorAll("[data-control]")) node.hidden = hidden.has(node.dataset.control);
    listeners.hidden.forEach((listener) => listener(hidden));
  }

  function showTheme() {
    app.dark = theme === "dark" || (theme === "auto" && darkQuery.matches);
    root.classList.toggle("dark", app.dark);
    app.colours = readColours(root);
    if (isPage) document.body.style.background = getComputedStyle(root).backgroundColor;
    setText(themeButton, app.dark ? "☀" : "☾");
    themeButton.setAttribute("aria-label", app.dark ? "Light colours" : "Dark colours");
    if (app.state) listeners.state.forEach((listener) => listener(app.state));
    if (app.frame) listeners.frame.forEach((listener) => listener(app.frame, true));
  }

  // --- the head: transport, counters, tools ---
  const playButton = h("button", { class: "play", "data-action": "play", "data-control": "playButton", onclick: play });
  const stepButton = h("button", { "data-action": "step", "data-control": "stepButton", "aria-label": "One epoch (s)", title: "One epoch (s)", onclick: step }, icon("step"));
  const resetButton = h("button", { "data-action": "reset", "data-control": "resetButton", "aria-label": "Start again (r)", title: "Start again (r)", onclick: reset }, icon("reset"));
  const themeButton = h("button", { "data-action": "theme", onclick: () => {
    theme = app.dark ? "light" : "dark";
    store({ theme });
    showTheme();
  } });
  const epoch = h("b", { "data-value": "epoch" }, "000,000");
  const speed = h("b", { "data-value": "epochsPerSecond" }, "–"), time = h("b", { "data-value": "stepTime" }, "–");
  const help = helpDialog(), classes = classDialog(app);
  const noticeText = h("span"), noticeButton = h("button", { onclick: () => (noticeKind === "diverged" ? reset() : say(noticeKind, null)) });
  const notice = h("div", { class: "notice", role: "status", "aria-live": "polite", hidden: true }, noticeText, noticeButton);
  let noticeKind = null;

  function say(kind, text) {
    if (text === null && kind !== noticeKind) return;
    noticeKind = text === null ? null : kind;
    notice.hidden = text === null;
    notice.classList.toggle("alert", kind !== "notice");
    notice.dataset.kind = noticeKind ?? "";
    setText(noticeText, text ?? "");
    noticeButton.hidden = kind === "closed";
    setText(noticeButton, kind === "diverged" ? "Reset" : "Close");
  }

  function showPlaying(playing) {
    app.playing = playing;
    root.classList.toggle("playing", playing);
    const name = playing ? "Pause (Space)" : "Play (Space)";
    if (playButton.title === name) return;
    playButton.title = name;
    playButton.setAttribute("aria-label", name);
    playButton.replaceChildren(icon(playing ? "pause" : "play"));
  }

  function play() {
    const playing = !app.playing;
    showPlaying(playing);
    app.send(playing ? "play" : "pause");
    if (playing) ask();
  }

  function step() {
    showPlaying(false);
    app.send("step");
  }

  function reset() {
    say(noticeKind, null);
    showPlaying(false);
    app.send("reset");
  }

  function ask() {
    for (; asked + frames.length < AHEAD; asked++) app.send("next");
  }

  // --- messages ---
  function onState(message) {
    if (frames.length) draw(frames.splice(0).at(-1), true); // These belong to the former state.
    app.state = message;
    say("error", null); // what was asked for since then has worked
    listeners.state.forEach((listener) => listener(message));
    store(message.settings);
    showHidden();
    showPlaying(message.playing);
    if (message.playing) ask();
  }

  function onFrame(message, buffers) {
    asked = Math.max(0, asked - 1);
    const [map, units, mapClasses] = buffers.map(bytesOf);
    frames.push({ ...message, map, mapClasses, unitMap: (index) => units.subarray(100 * index, 100 * index + 100) });
    if (!message.playing) frames.splice(0, frames.length - 1); // What it shows is final.
    drawn ||= requestAnimationFrame(onScreen);
  }

  function onScreen() {
    drawn = frames.length > 1 ? requestAnimationFrame(onScreen) : 0;
    const frame = frames.shift();
    if (!frame) return;
    if (frame.playing) ask();
    draw(frame);
  }

  function draw(frame, slow = !frame.playing || ++drawings % SLOW === 0) {
    if (!app.state) return;
    app.frame = frame;
    if (slow) setText(epoch, String(frame.epoch).padStart(6, "0").replace(/\B(?=(\d{3})+$)/g, ","));
    if (slow && frame.epochsPerSecond) setText(speed, Math.round(frame.epochsPerSecond).toLocaleString("en-US"));
    if (slow && frame.stepTime) setText(time, short(frame.stepTime));
    // A frame that was on its way when play or pause was pressed does not undo that.
    if (!frame.playing) showPlaying(false);
    if (frame.diverged) say("diverged", frame.diverged.message);
    else if (frame.stopped) say("stopped", frame.stopped);
    else if (noticeKind === "diverged" || noticeKind === "stopped") say(noticeKind, null);
    listeners.frame.forEach((listener) => listener(frame, slow));
  }

  function onMessage(message, buffers = []) {
    const done = { file: "export", error: message.request }[message.type] ?? message.type;
    if (busy[done]) busy[done].disabled = false;
    if (message.type === "open") {
      say("closed", null);
      hello();
    } else if (message.type === "closed") {
      asked = 0;
      for (const button of Object.values(busy)) button.disabled = false;
      frames.forEach((frame) => (frame.playing = false));
      showPlaying(false);
      say("closed", "The server cannot be reached. Start it again with: python -m fastnn playground. This page then connects by itself.");
    } else if (message.type === "state") onState(message);
    else if (message.type === "frame") onFrame(message, buffers);
    else if (message.type === "error") say("error", message.message);
    else if (message.type === "notice") say("notice", message.message);
    else answers[message.type]?.(message, buffers);
  }

  const hello = () => app.send("hello", { state: model.get("settings") ?? {} });
  const onSettings = () => storing || hello();
  
  function onKey(event) {
    const typing = event.target.closest?.("input:not([type=range]):not([type=checkbox]), select, textarea, dialog");
    if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    const action = { " ": play, s: step, r: reset, g: () => app.send("regenerate") }[event.key];
    if (!action || (event.key === " " && event.target.closest?.("button, input, summary, a"))) return;
    event.preventDefault();
    action();
  }

  const settings = ["learningRate", "optimizer", "momentum", "activation", "loss", "regularization", "regularizationRate", "dropout", "schedule"];
  root.append(h("div", { class: "fnp-body" },
    h("header", { class: "panel head" },
      h("h1", {}, h("i"), h("i"), "fastnn", h("span", {}, "playground")),
      h("div", { class: "transport" }, resetButton, playButton, stepButton),
      h("div", { class: "number" }, epoch, h("span", {}, "epoch")),
      h("div", { class: "speed" }, h("div", {}, speed, " epochs/s"), h("div", {}, time, " µs/step")),
      h("div", { class: "tools" },
        h("button", { "data-action": "class", onclick: () => classes.showModal() }, "Use in class"), themeButton,
        h("button", { "data-action": "help", "aria-label": "Help", onclick: () => help.showModal() }, "?"))),
    notice,
    h("section", { class: "panel settings", "aria-label": "Training" }, settings.map((key) => choice(app, key, APPLIES[key]))),
    h("div", { class: "columns" },
      dataPanel(app),
      h("div", { class: "stack middle" },
        h("section", { class: "panel", "aria-label": "Network" }, network(app)),
        h("div", { class: "more" }, h("div", { class: "stack" }, layerPanel(app), rateFinder(app), codePanel(app)), h("div", { class: "stack" }, runPanel(app), warpedGrid(app))),
        threeRates(app)),
      h("section", { class: "panel output stack", "aria-label": "Output" },
        h("div", { class: "stack" }, h("h2", {}, "Output"), lossChart(app)),
        h("div", { class: "stack view" }, outputMap(app), h("div", { class: "row" }, check(app, "showTestData"), check(app, "discretize"))),
        h("div", { class: "stack" }, scores(app))))),
  help, classes);
  el.append(root);

  const observer = new ResizeObserver(() => listeners.resize.forEach((listener) => listener()));
  observer.observe(root);
  keys.addEventListener("keydown", onKey);
  darkQuery.addEventListener("change", showTheme);
  model.on("msg:custom", onMessage);
  model.on("change:settings", onSettings);
  showTheme();
  showPlaying(false);
  showHidden();
  hello();

  return () => {
    observer.disconnect();
    keys.removeEventListener("keydown", onKey);
    cancelAnimationFrame(drawn);
    darkQuery.removeEventListener("change", showTheme);
    model.off("msg:custom", onMessage);
    model.off("change:settings", onSettings);
    listeners.close.forEach((listener) => listener());
    root.remove();
  };
}

export default { render };
