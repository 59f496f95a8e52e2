// Choosing a range of the chart with the pointer: drag to zoom in, double-click to zoom out.

// A shorter way is a click.
const DRAGGED = 4;

export function selecting({ picture, selection, x, inner, zoom, out, pointer }) {
  let began = null;
  const inside = (event) => Math.max(inner.left, Math.min(inner.right, event.clientX - picture.getBoundingClientRect().left));
  picture.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    began = inside(event);
    picture.setPointerCapture(event.pointerId);
  });
  picture.addEventListener("pointermove", (event) => {
    const now = inside(event);
    pointer.near(now);
    if (began === null || Math.abs(now - began) < DRAGGED) return;
    selection.setAttribute("x", Math.min(began, now));
    selection.setAttribute("width", Math.abs(now - began));
    selection.setAttribute("visibility", "visible");
  });
  picture.addEventListener("pointerup", (event) => {
    const [start, end] = [began, inside(event)].sort((a, b) => a - b);
    const dragged = began !== null && end - start >= DRAGGED;
    began = null;
    selection.setAttribute("visibility", "hidden");
    if (dragged) zoom(x.invert(start), x.invert(end));
  });
  picture.addEventListener("pointercancel", () => {
    began = null;
    selection.setAttribute("visibility", "hidden");
  });
  picture.addEventListener("pointerleave", () => pointer.leave());
  picture.addEventListener("dblclick", out);
}
