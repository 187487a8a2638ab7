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
  let socket, head = null, parts = [];

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
      emit("msg:custom", { type: "closed" }, []);
      setTimeout(connect, 1000);
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
    save_changes() {
      // Browsers limit how often an address may change.
      const hash = "#" + new URLSearchParams(values.settings);
      if (hash !== location.hash) history.replaceState(null, "", hash);
    },
    on: (name, listener) => listeners.set(name, (listeners.get(name) || new Set()).add(listener)),
    off: (name, listener) => listeners.get(name)?.delete(listener),
    send: (content) => socket.readyState === WebSocket.OPEN && socket.send(JSON.stringify(content)),
  };
}

const socket = location.href.replace(/^http/, "ws").replace(/[#?].*$/, "").replace(/[^/]*$/, "socket");
const el = document.getElementById("playground");
el.replaceChildren();
playground.render({ model: socketModel(socket), el });
