// What is under the pointer, or where the arrow keys have led: a line, a dot on each series, and their values.

import { svg } from "../base/dom.js";
import { figure, moment, range } from "../base/format.js";

export class Crosshair {
  // `at`: the place of a bucket's time; `x` and `y`: the scales; `tip`: shows lines of text at a place.
  constructor({ picture, cross, result, x, at, y, inner, tip }) {
    Object.assign(this, { picture, cross, result, x, at, y, inner, tip, current: -1 });
    const times = new Set(result.series.flatMap((one) => one.points.map((point) => point.t)));
    this.times = [...times].sort((a, b) => a - b);
    this.byTime = result.series.map((one) => new Map(one.points.map((point) => [point.t, point])));
  }

  // The time it stands at, null when it is not shown.
  time() {
    return this.current < 0 ? null : this.times[this.current];
  }

  step(by) {
    const start = by > 0 ? 0 : this.times.length - 1;
    if (this.times.length) this.stand(this.current < 0 ? start : this.current + by);
  }

  near(pixel) {
    if (!this.times.length) return;
    const wanted = this.x.invert(pixel) - this.result.grain.ms / 2;
    let [low, high] = [0, this.times.length - 1];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (this.times[middle] < wanted) low = middle;
      else high = middle;
    }
    this.stand(wanted - this.times[low] < this.times[high] - wanted ? low : high);
  }

  stand(index) {
    this.current = Math.max(0, Math.min(this.times.length - 1, index));
    const time = this.times[this.current];
    const place = this.at(time);
    const { series, grain } = this.result;
    const found = series
      .map(({ name, unit }, i) => ({ name, unit, i, point: this.byTime[i].get(time) }))
      .filter((one) => one.point?.v != null);
    const dots = found.map(({ point, i }) => svg("circle", { class: `s${i % 8}`, cx: place, cy: this.y(point.v), r: 4 }));
    this.cross.replaceChildren(svg("line", { x1: place, x2: place, y1: this.inner.top, y2: this.inner.bottom }), ...dots);
    this.cross.setAttribute("visibility", "visible");
    const box = this.picture.getBoundingClientRect();
    const title = grain.ms ? range(time, time + grain.ms) : moment(time);
    const lines = found.map((one) => described(one, series.length > 1));
    this.tip.show(box.left + place, box.top + this.inner.top, title, lines);
  }

  leave() {
    this.current = -1;
    this.cross.setAttribute("visibility", "hidden");
    this.tip.hide();
  }
}

function described({ name, unit, point, i }, several) {
  const fine = Math.max(Math.abs(point.v), 1e-9) / 1000;
  const single = point.lo === null;
  const label = several ? name : single ? "value" : "average";
  const span = single ? "" : `${figure(point.lo, fine)} – ${figure(point.hi, fine)}`;
  return { kind: `s${i % 8}`, name: label, value: `${figure(point.v, fine)}${unit ? ` ${unit}` : ""}`, span };
}
