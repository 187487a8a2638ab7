/** The page of the server: a model in anywidget's form over the WebSocket, with the settings in the address. */
import playground from "./playground.js";

/** Return the settings of the address: its hash holds key=value pairs, as TensorFlow Playground writes them. */
function readHash() {
  return Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
}

/** Return a model whose messages go over a WebSocket, which is opened anew while the server cannot be reached. */
function socketModel(address) {
  const listeners = new Map();
  const values = { settings: readHash() };
  let socket, timer, closed = false, head = null, parts = [];

  const emit = (name, ...args) => (listeners.get(name) || new Set()).forEach((listener) => listener(...args));

  function connect() {
    socket = new WebSocket(address);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => emit("msg:custom", { type: "open" }, []);
    socket.onmessage = ({ data }) => {
      if (typeof data === "string") {
        head = JSON.parse(data);
        parts = [];
      } else {
        parts.push(new DataView(data));
      }
      if (head && parts.length === (head.buffers || 0)) {
        const message = head;
        head = null;
        emit("msg:custom", message, parts);
      }
    };
    socket.onclose = () => {
      if (closed) return;
      emit("msg:custom", { type: "closed" }, []);
      timer = setTimeout(connect, 1000);
    };
  }

  window.addEventListener("hashchange", () => {
    values.settings = readHash();
    emit("change:settings");
  });
  connect();
  return {
    get: (name) => values[name],
    set: (name, value) => (values[name] = value),
    save_changes: () => history.replaceState(null, "", "#" + new URLSearchParams(values.settings)),
    on: (name, listener) => listeners.set(name, (listeners.get(name) || new Set()).add(listener)),
    off: (name, listener) => listeners.get(name)?.delete(listener),
    send: (content) => socket.readyState === WebSocket.OPEN && socket.send(JSON.stringify(content)),
    close: () => ((closed = true), clearTimeout(timer), socket.close()),
  };
}

const el = document.getElementById("playground");
const model = socketModel(location.href.replace(/^http/, "ws").replace(/[#?].*$/, "").replace(/[^/]*$/, "socket"));
playground.render({ model, el });

// A key that is pressed while nothing has the focus is for the playground, too.
document.addEventListener("keydown", (event) => {
  if (event.target !== document.body) return;
  if (!el.firstElementChild.dispatchEvent(new KeyboardEvent("keydown", event))) event.preventDefault();
});
