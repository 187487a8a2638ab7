/** A page without a server: a model in anywidget's form that answers from a recorded run. */
import playground from "./playground.js";

/** Milliseconds between two frames. */
const PACE = 60;

/** Return a model that plays the state and the frames of a recording; what it cannot answer is refused. */
function recordedModel({ state, frames }) {
  const listeners = new Set();
  let at = 0, playing = false;

  const decode = (text) => new DataView(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);
  const emit = (message, buffers = []) => listeners.forEach((listener) => listener(message, buffers));
  const show = () => emit({ ...frames[at].message, playing }, frames[at].buffers.map(decode));
  const go = (to) => {
    at = Math.min(to, frames.length - 1);
    playing &&= at < frames.length - 1;
    show();
  };
  const answers = {
    hello: () => (emit({ ...state, playing }), show()),
    play: () => ((playing = true), at === frames.length - 1 && (at = 0)),
    pause: () => (playing = false),
    step: () => ((playing = false), go(at + 1)),
    reset: () => ((playing = false), go(0)),
    next: () => setTimeout(() => go(playing ? at + 1 : at), PACE),
    select: () => {},
    grid: () => {},
  };
  const refuse = () => emit({ type: "error", message: "This is a recording. To change something: python -m fastnn playground" });
  return {
    get: () => undefined, set: () => {}, save_changes: () => {},
    on: (name, listener) => name === "msg:custom" && listeners.add(listener),
    off: (name, listener) => listeners.delete(listener),
    send: ({ type }) => setTimeout(answers[type] ?? refuse),
  };
}

const recording = JSON.parse(document.getElementById("recording").textContent);
playground.render({ model: recordedModel(recording), el: document.getElementById("playground") });
