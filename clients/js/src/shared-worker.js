// The SharedWorker: holds the connections of all tabs, at most a few for tabs that are hidden.

import { Channel } from "./channel.js";

const PULSE_MS = 10_000;
const HIDDEN_STREAMS = 4; // a browser has six connections per host over HTTP/1.1, and calls need some

const ports = new Set();
const channels = new Set();

/** Close the streams of which all tabs are hidden, except for the newest few, and open the others. */
function arrange() {
  let left = HIDDEN_STREAMS;
  for (const channel of [...channels].reverse()) {
    if (channel.ended || !channel.size) channels.delete(channel);
    const runs = channel.visible || left > 0;
    if (runs) left -= 1;
    channel.run(channels.has(channel) && runs);
  }
}

function open(tab, { open: id, visible, cursor, ...stream }) {
  tab.visible = visible;
  const key = JSON.stringify(stream);
  let channel = [...channels].find((each) => each.key === key && each.covers(cursor));
  if (!channel) channels.add((channel = new Channel(key, stream, cursor, arrange)));
  tab.subscriptions.set(id, channel);
  channel.add(tab, id, cursor);
}

function leave(tab, id) {
  tab.subscriptions.get(id)?.remove(tab, id);
  tab.subscriptions.delete(id);
}

function receive(tab, message) {
  if (message.request) tab.answers.get(message.request)?.(message.headers);
  if ("visible" in message) tab.visible = message.visible;
  if (message.open) {
    leave(tab, message.open);
    open(tab, message);
  }
  if (message.close) leave(tab, message.close);
  if (message.bye) for (const id of [...tab.subscriptions.keys()]) leave(tab, id);
  arrange();
}

addEventListener("connect", ({ ports: [port] }) => {
  const tab = { port, visible: true, subscriptions: new Map(), answers: new Map() };
  ports.add(port);
  port.onmessage = ({ data }) => receive(tab, data);
  port.onclose = () => {
    ports.delete(port);
    receive(tab, { bye: true });
  };
  port.postMessage({});
});

setInterval(() => {
  for (const port of ports) port.postMessage({});
}, PULSE_MS);
