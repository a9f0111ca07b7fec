// A plot of the last minutes: a line in an SVG, and the latest value in words.

import { element, setText } from "./dom.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 300;
const HEIGHT = 60;
const KEPT_MS = 300_000;
const SHORTEST_MS = 20_000;

/** `show`: the words for a value. */
export class Plot {
  #points = [];
  #line = document.createElementNS(SVG, "polyline");
  #value = element("output");
  #show;

  constructor(title, show) {
    this.#show = show;
    const picture = document.createElementNS(SVG, "svg");
    picture.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    picture.setAttribute("preserveAspectRatio", "none");
    picture.setAttribute("aria-hidden", "true");
    picture.append(this.#line);
    this.node = element("figure", { class: "plot" }, element("figcaption", {}, title, this.#value), picture);
  }

  /** Add a value at a time in ms; null: none at that time. */
  add(at, value) {
    if (value == null) return;
    this.#points.push([at, value]);
    while (this.#points[0][0] < at - KEPT_MS) this.#points.shift();
    setText(this.#value, this.#show(value));
    const most = Math.max(1e-9, ...this.#points.map(([, each]) => each));
    const span = Math.max(SHORTEST_MS, at - this.#points[0][0]);
    const x = (time) => WIDTH - ((at - time) / span) * WIDTH;
    const y = (each) => HEIGHT - 2 - (each / most) * (HEIGHT - 4);
    const points = this.#points.map(([time, each]) => `${x(time).toFixed(1)},${y(each).toFixed(1)}`);
    this.#line.setAttribute("points", points.join(" "));
  }
}
