/* A digit drawn by the reader: counted into 8 × 8 pixels as the scans of the set were, and read by digits-vit.
   data-short: without the maps. */
"use strict";
(function () {
  const { el, button, percent, maps } = vitedu, FINE = 32, SIDE = 8, GRID = 4;
  const THREE = [[0.32, 0.24], [0.5, 0.16], [0.66, 0.24], [0.64, 0.38], [0.47, 0.48], [0.66, 0.56], [0.7, 0.72], [0.52, 0.84], [0.31, 0.77]];

  /* Lines from 0 to 1 -> 64 numbers from 0 to 1. The set's digits fill their box from top to bottom and were counted in
     squares of 4 × 4 of 32 × 32 black or white points; so is this one, its proportions kept. */
  vitedu.countDigit = function (lines) {
    const points = lines.flat();
    if (!points.length) return new Array(SIDE * SIDE).fill(0);
    const [xs, ys] = [0, 1].map((i) => points.map((p) => p[i])), [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    const PEN = 4.2, room = FINE - PEN, scale = Math.min(room / Math.max(bottom - top, 0.05), room / Math.max(right - left, 0.05));
    const canvas = el("canvas", { width: FINE, height: FINE }), context = canvas.getContext("2d");
    const across = (x) => FINE / 2 + (x - (left + right) / 2) * scale, down = (y) => FINE / 2 + (y - (top + bottom) / 2) * scale;
    context.lineWidth = PEN;
    context.lineCap = context.lineJoin = "round";
    for (const line of lines) {
      context.beginPath();
      line.forEach(([x, y], i) => (i ? context.lineTo(across(x), down(y)) : context.moveTo(across(x), down(y))));
      if (line.length === 1) context.lineTo(across(line[0][0]) + 0.1, down(line[0][1]));
      context.stroke();
    }
    const ink = context.getImageData(0, 0, FINE, FINE).data, counts = new Array(SIDE * SIDE).fill(0);
    for (let i = 0; i < FINE * FINE; i++) counts[(Math.floor(i / FINE) >> 2) * SIDE + ((i % FINE) >> 2)] += ink[4 * i + 3] > 127;
    return counts.map((n) => n / 16);
  };

  function build(box, options) {
    const state = { lines: [THREE], result: resting(), shown: null, pen: [0.5, 0.5], fresh: true }, short = "short" in options;
    const paper = el("canvas", { width: 480, height: 480 }), seen = el("canvas"), says = el("p", { class: "vp-says", "aria-live": "polite", text: "Draw a digit: the model reads it while you draw." });
    const pen = el("div", { class: "vp-pen", hidden: true });
    const pad = el("div", { class: "vp-picture vp-paper", tabindex: 0, role: "application", "aria-label": "Draw a digit here. Keys: arrows move the pen, with Shift they draw, Backspace begins anew." }, paper, pen);
    const bars = el("div", { class: "vp-bars" }), read = vitedu.onceAFrame(compute), body = el("div", { class: "vp-maps vp-two" });

    async function compute() {
      try {
        const model = await vitedu.fetchModel("digits-vit");
        state.result = state.lines.length ? model.run(vitedu.countDigit(state.lines)) : null;
        draw();
        box.dataset.ready = "";
      } catch (problem) {
        says.textContent = `The model could not be loaded: ${problem.message}.`;
      }
    }
    function draw() {
      const context = paper.getContext("2d"), pixels = vitedu.countDigit(state.lines);
      context.clearRect(0, 0, 480, 480);
      context.lineWidth = 34;
      context.lineCap = context.lineJoin = "round";
      context.strokeStyle = getComputedStyle(box).color;
      for (const line of state.lines) {
        context.beginPath();
        line.forEach(([x, y], i) => (i ? context.lineTo(480 * x, 480 * y) : context.moveTo(480 * x, 480 * y)));
        if (line.length === 1) context.lineTo(480 * line[0][0] + 1, 480 * line[0][1]);
        context.stroke();
      }
      maps.picture(Object.assign(seen, { width: SIDE, height: SIDE }).getContext("2d"), pixels, SIDE, state.result && state.shown ? look(state.shown) : null, [GRID, GRID]);
      const shares = state.result ? state.result.probabilities : new Array(10).fill(0), best = shares.indexOf(Math.max(...shares));
      bars.replaceChildren(...shares.map((p, k) => el("div", { class: state.result && k === best ? "vp-best" : "" }, el("b", { text: k }), el("i", { style: `--share:${p.toFixed(4)}` }), el("span", { text: state.result ? percent(p) : "" }))));
      if (state.result) says.replaceChildren("It says ", el("strong", { text: best }), ` (${percent(shares[best])}). `, "All it sees is the small picture: 16 patches of 2 × 2 pixels.");
      drawMaps();
    }
    const look = (shown) => {
      const { maps: layers, rollout, tokens, rest } = state.result, [layer, head] = shown.split(",");
      if (rest) return rest(shown);
      const data = shown === "rollout" ? rollout : layers[layer], from = shown === "rollout" ? 0 : head * tokens * tokens;
      return Array.from(data.subarray(from + 1, from + tokens)); // the row of CLS, without its own column
    };
    const cells = [];
    const cell = (shown, name) => {
      const canvas = el("canvas"), node = el("button", { type: "button", class: "vp-map", "aria-label": name, "aria-pressed": "false", onclick: () => { state.shown = state.shown === shown ? null : shown; draw(); } }, canvas);
      cells.push({ shown, canvas, node });
      return node;
    };
    if (!short) body.append(el("span"), ...[1, 2, 3, 4].map((h) => el("span", { class: "vp-head", text: `head ${h}` })), el("span", { class: "vp-head", text: "rollout" }),
      ...[0, 1].map((l) => [el("span", { class: "vp-layer", text: `layer ${l + 1}` }), ...[0, 1, 2, 3].map((h) => cell(`${l},${h}`, `layer ${l + 1}, head ${h + 1}, on the small picture`)), l ? el("span") : cell("rollout", "rollout, on the small picture")]).flat());
    function drawMaps() {
      for (const { shown, canvas, node } of cells) {
        maps.weights(canvas, state.result ? look(shown) : new Array(16).fill(0), [GRID, GRID]);
        node.setAttribute("aria-pressed", shown === state.shown);
      }
    }
    listen(pad, pen, state, read, draw);
    const again = button("begin anew", () => { Object.assign(state, { lines: [], result: null, fresh: false }); draw(); says.textContent = "Draw a digit."; });
    box.append(el("div", { class: "vp-side" }, pad, el("div", { class: "vp-row vp-seen" }, el("div", { class: "vp-small" }, seen), el("span", { class: "vp-note", text: "what the model sees, 8 × 8 pixels" }), again)),
      el("div", { class: "vp-main" }, bars, says, short ? null : el("p", { class: "vp-title", text: "Where the class token looks" }), short ? null : body));
    new MutationObserver(draw).observe(document.documentElement, { attributeFilter: ["data-theme"] }); // ink follows the page's colours
    vitedu.atFirstTouch(box, read);
    draw();
  }

  /* What is shown before the weights are here: the answer to the 3 that stands there, and where CLS looks. */
  const NAMES = [...[0, 1].map((l) => [0, 1, 2, 3].map((h) => `${l},${h}`)).flat(), "rollout"];
  function resting() {
    const { probabilities, cls } = vitedu.restDigit, bytes = vitedu.bytesOf(cls);
    return { probabilities, rest: (shown) => Array.from(bytes.subarray(16 * NAMES.indexOf(shown), 16 * NAMES.indexOf(shown) + 16)) };
  }

  /* The content of digit-rest.js: a test compares it with what the model says today. */
  vitedu.packDigit = function () {
    const { probabilities, maps: layers, rollout, tokens } = vitedu.model("digits-vit").run(vitedu.countDigit([THREE]));
    const bytes = NAMES.map((shown) => {
      const [layer, head] = shown.split(","), data = shown === "rollout" ? rollout : layers[layer], from = head ? head * tokens * tokens : 0;
      const map = Array.from(data.subarray(from + 1, from + tokens)), top = Math.max(...map);
      return map.map((w) => String.fromCharCode(Math.round((255 * w) / top))).join("");
    });
    return { probabilities: probabilities.map((p) => +p.toFixed(3)), cls: btoa(bytes.join("")) };
  };

  /* A mouse or finger draws a line; so do the arrow keys with Shift. */
  function listen(pad, pen, state, read, draw) {
    let down = false;
    const at = (event) => {
      const area = pad.getBoundingClientRect();
      return [(event.clientX - area.left) / area.width, (event.clientY - area.top) / area.height].map((v) => Math.min(1, Math.max(0, v)));
    };
    const begin = (point) => {
      if (state.fresh) state.lines = [];
      state.fresh = false;
      state.lines.push([point]);
    };
    pad.addEventListener("pointerdown", (event) => { down = true; pad.setPointerCapture(event.pointerId); begin(at(event)); read(); draw(); });
    pad.addEventListener("pointermove", (event) => { if (down) { state.lines[state.lines.length - 1].push(at(event)); read(); draw(); } });
    for (const kind of ["pointerup", "pointercancel"]) pad.addEventListener(kind, () => { down = false; });
    let drawingByKey = false;
    pad.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (event.key === "Backspace") { Object.assign(state, { lines: [], result: null, fresh: false }); draw(); }
      else if (!step) return;
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
  vitedu.piece("digit", build);
})();
