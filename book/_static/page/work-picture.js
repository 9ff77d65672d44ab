/* The picture of the piece "work": pointing chooses the patch that asks, dragging moves the object or draws. */
"use strict";
(function () {
  const { el, maps, drawing } = vitedu,
    { SIDE } = drawing,
    { GRID, CLS, chosen } = vitedu.work,
    P = SIDE / GRID;

  function makePicture() {
    const canvas = el("canvas", { width: SIDE, height: SIDE, class: "vp-pixels" });
    const frame = el("div", { class: "vp-query" });
    const node = el(
      "div",
      {
        class: "vp-picture",
        tabindex: 0,
        role: "application",
        "aria-roledescription": "picture of 8 by 8 patches",
        "aria-label":
          "The model's picture. Arrow keys choose a patch, with Shift they move the object; Space paints a patch.",
      },
      canvas,
      el("div", { class: "vp-grid" }),
      frame,
    );
    function draw({ scene, order, shown, result, query, drawing: free }) {
      const { pixels } = drawing.picture(scene),
        map = shown === null ? null : chosen(shown, result, query);
      maps.picture(canvas.getContext("2d"), order ? reordered(pixels, order) : pixels, SIDE, map, [GRID, GRID]);
      frame.hidden = query === CLS || (free && scene.free && !node.matches(":focus-visible"));
      frame.style.cssText = `left:${(query % GRID) * 12.5}%;top:${Math.floor(query / GRID) * 12.5}%`;
    }
    return { node, draw, listen: (to) => listen(node, to) };
  }

  /* Pointing chooses the query; dragging moves the object, or draws. */
  function listen(node, { state, inScene, redraw, touch }) {
    let from = null,
      line = null;
    const at = (event) => {
      const box = node.getBoundingClientRect();
      return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height].map((v) =>
        Math.min(0.999, Math.max(0, v)),
      );
    };
    const ask = ([x, y]) => {
      state.query = Math.floor(y * GRID) * GRID + Math.floor(x * GRID);
      redraw();
    };
    node.addEventListener("pointerdown", (event) => {
      touch();
      from = at(event);
      line = state.drawing ? [from] : null;
      node.setPointerCapture(event.pointerId);
      ask(from);
    });
    node.addEventListener("pointermove", (event) => {
      const to = at(event);
      if (!from) return ask(to);
      if (line) return inScene({ free: drawn(state.scene.free, [...(line = [...line, to])], false) });
      if (Math.hypot(to[0] - from[0], to[1] - from[1]) > 0.04) move(state, inScene, to);
    });
    const end = () => {
      if (line && line.length > 1) inScene({ free: drawn(state.scene.free, line, true) });
      from = line = null;
    };
    node.addEventListener("pointerup", end);
    node.addEventListener("pointercancel", end);
    node.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (event.key === " " && state.drawing && state.query !== CLS)
        inScene({ free: flipped(state.scene.free, state.query) });
      else if (!step) return;
      else if (event.shiftKey) {
        const { x, y } = drawing.placeOf(state.scene.place);
        move(state, inScene, [x + step[0] / SIDE, y + step[1] / SIDE]);
      } else {
        const [row, column] = state.query === CLS ? [4, 3] : [Math.floor(state.query / GRID), state.query % GRID];
        state.query = Math.min(7, Math.max(0, row + step[1])) * GRID + Math.min(7, Math.max(0, column + step[0]));
        redraw();
      }
      event.preventDefault();
    });
  }

  function move(state, inScene, [x, y]) {
    const { margin } = drawing.placeOf(state.scene.place),
      share = (v) => Math.min(1, Math.max(0, (v - margin) / (1 - 2 * margin)));
    inScene({ place: [state.scene.place[0], share(x), share(y), state.scene.place[3]] });
  }

  /* What was drawn, 32·32, with one more line; at its end a line that came back to its start is filled. */
  function drawn(before, line, ended) {
    const canvas = el("canvas", { width: SIDE, height: SIDE }),
      context = canvas.getContext("2d");
    const [a, z] = [line[0], line[line.length - 1]],
      path = new Path2D();
    line.forEach(([x, y], i) => path[i ? "lineTo" : "moveTo"](x * SIDE, y * SIDE));
    context.lineWidth = 2.5;
    context.lineCap = context.lineJoin = "round";
    context.stroke(path);
    if (ended && line.length > 8 && Math.hypot(a[0] - z[0], a[1] - z[1]) < 0.15) context.fill(path);
    const ink = context.getImageData(0, 0, SIDE, SIDE).data;
    return before.map((old, i) => Math.max(old, ink[4 * i + 3] / 255));
  }

  function flipped(free, patch) {
    const next = free.slice(),
      [top, left] = [Math.floor(patch / GRID) * P, (patch % GRID) * P],
      full = next[top * SIDE + left] > 0.5;
    for (let y = top; y < top + P; y++) for (let x = left; x < left + P; x++) next[y * SIDE + x] = full ? 0 : 1;
    return next;
  }

  function reordered(pixels, order) {
    const out = pixels.slice(),
      area = SIDE * SIDE;
    order.forEach((from, to) => {
      for (let y = 0; y < P; y++)
        for (let x = 0; x < P; x++)
          for (let c = 0; c < 3; c++) {
            const place = (n) => c * area + (Math.floor(n / GRID) * P + y) * SIDE + (n % GRID) * P + x;
            out[place(to)] = pixels[place(from)];
          }
    });
    return out;
  }

  Object.assign(vitedu.work, { makePicture, reordered });
})();
