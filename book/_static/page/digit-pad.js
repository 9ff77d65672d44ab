/* Beneath the piece "digit": how a drawn line becomes 8 × 8 pixels, what stands there at first, and the pen. */
"use strict";
(function () {
  const FINE = 32,
    SIDE = 8;
  const THREE = [
    [0.32, 0.24],
    [0.5, 0.16],
    [0.66, 0.24],
    [0.64, 0.38],
    [0.47, 0.48],
    [0.66, 0.56],
    [0.7, 0.72],
    [0.52, 0.84],
    [0.31, 0.77],
  ];

  /* Lines from 0 to 1 -> 64 numbers from 0 to 1. The set's digits fill their box from top to bottom and were counted in
     squares of 4 × 4 of 32 × 32 black or white points; so is this one, its proportions kept. */
  vitedu.countDigit = function (lines) {
    const points = lines.flat();
    if (!points.length) return new Array(SIDE * SIDE).fill(0);
    const [xs, ys] = [0, 1].map((i) => points.map((p) => p[i])),
      [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    const PEN = 4.2,
      room = FINE - PEN,
      scale = Math.min(room / Math.max(bottom - top, 0.05), room / Math.max(right - left, 0.05));
    const canvas = vitedu.el("canvas", { width: FINE, height: FINE }),
      context = canvas.getContext("2d");
    const across = (x) => FINE / 2 + (x - (left + right) / 2) * scale,
      down = (y) => FINE / 2 + (y - (top + bottom) / 2) * scale;
    context.lineWidth = PEN;
    context.lineCap = context.lineJoin = "round";
    for (const line of lines) {
      context.beginPath();
      line.forEach(([x, y], i) => (i ? context.lineTo(across(x), down(y)) : context.moveTo(across(x), down(y))));
      if (line.length === 1) context.lineTo(across(line[0][0]) + 0.1, down(line[0][1]));
      context.stroke();
    }
    const ink = context.getImageData(0, 0, FINE, FINE).data,
      counts = new Array(SIDE * SIDE).fill(0);
    for (let i = 0; i < FINE * FINE; i++)
      counts[(Math.floor(i / FINE) >> 2) * SIDE + ((i % FINE) >> 2)] += ink[4 * i + 3] > 127;
    return counts.map((n) => n / 16);
  };

  /* What is shown before the weights are here: the answer to the 3 that stands there, and where CLS looks. */
  const NAMES = [...[0, 1].map((l) => [0, 1, 2, 3].map((h) => `${l},${h}`)).flat(), "rollout"];
  function resting() {
    const { probabilities, cls } = vitedu.restDigit,
      bytes = vitedu.bytesOf(cls);
    return {
      probabilities,
      rest: (shown) => Array.from(bytes.subarray(16 * NAMES.indexOf(shown), 16 * NAMES.indexOf(shown) + 16)),
    };
  }

  /* The content of digit-rest.js: a test compares it with what the model says today. */
  vitedu.packDigit = function () {
    const { probabilities, maps: layers, rollout, tokens } = vitedu.model("digits-vit").run(vitedu.countDigit([THREE]));
    const bytes = NAMES.map((shown) => {
      const [layer, head] = shown.split(","),
        data = shown === "rollout" ? rollout : layers[layer],
        from = head ? head * tokens * tokens : 0;
      const map = Array.from(data.subarray(from + 1, from + tokens)),
        top = Math.max(...map);
      return map.map((w) => String.fromCharCode(Math.round((255 * w) / top))).join("");
    });
    return { probabilities: probabilities.map((p) => +p.toFixed(3)), cls: btoa(bytes.join("")) };
  };

  /* A mouse or finger draws a line; so do the arrow keys with Shift. */
  function listen(pad, pen, state, read, draw) {
    let down = false;
    const at = (event) => {
      const area = pad.getBoundingClientRect();
      return [(event.clientX - area.left) / area.width, (event.clientY - area.top) / area.height].map((v) =>
        Math.min(1, Math.max(0, v)),
      );
    };
    const begin = (point) => {
      if (state.fresh) state.lines = [];
      state.fresh = false;
      state.lines.push([point]);
    };
    pad.addEventListener("pointerdown", (event) => {
      down = true;
      pad.setPointerCapture(event.pointerId);
      begin(at(event));
      read();
      draw();
    });
    pad.addEventListener("pointermove", (event) => {
      if (down) {
        state.lines[state.lines.length - 1].push(at(event));
        read();
        draw();
      }
    });
    for (const kind of ["pointerup", "pointercancel"])
      pad.addEventListener(kind, () => {
        down = false;
      });
    let drawingByKey = false;
    pad.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (event.key === "Backspace") {
        Object.assign(state, { lines: [], result: null, fresh: false });
        draw();
      } else if (!step) return;
      else {
        const before = state.pen;
        state.pen = state.pen.map((v, i) => Math.min(0.95, Math.max(0.05, v + 0.05 * step[i])));
        if (event.shiftKey) {
          if (!drawingByKey) begin(before);
          state.lines[state.lines.length - 1].push(state.pen);
          read();
          draw();
        }
        drawingByKey = event.shiftKey;
        pen.hidden = false;
        pen.style.cssText = `left:${100 * state.pen[0]}%;top:${100 * state.pen[1]}%`;
      }
      event.preventDefault();
    });
  }
  vitedu.pad = { THREE, listen, resting };
})();
