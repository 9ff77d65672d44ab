/* A Vision Transformer at work: place or draw an object, see what the model says of it and where each head looks.
   data-model: shapes-vit (default), shapes-outline, or either with ":untrained". data-short: picture and answer alone. */
"use strict";
(function () {
  const { el, choice, toggle, slider, button, percent, maps, drawing } = vitedu;
  const { SHAPES, TEXTURES, COLOURS, SIDE } = drawing, GRID = 8, P = SIDE / GRID, CLS = -1;
  const OPENING = { shape: "star", texture: "stripes", colour: "cyan", place: [0.9, 0.45, 0.55, 0.03], phase: [0.2, 0.4],
    tint: [0.5, 0.6, 0.8] };
  const KINDS = [
    ["shapes-vit", "matching textures", "a model that learned from pictures in which each shape has its own texture"],
    ["shapes-outline", "random textures", "a model that learned from pictures in which texture says nothing"],
    ["shapes-vit:untrained", "nothing", "a model with random weights, as a control"],
  ];

  function build(box, options) {
    const state = { scene: drawing.scene(7, OPENING), model: options.model || "shapes-vit", query: CLS, shown: null,
      order: null, positions: true, drawing: false, result: rest(vitedu.rest.work), live: false };
    let runs = 0;
    const short = "short" in options, view = makePicture(state), answer = makeAnswer(), attention = makeMaps(state);
    const says = el("p", { class: "vp-says", "aria-live": "polite" });
    const recompute = vitedu.onceAFrame(compute);

    function redraw() {
      view.draw(state);
      answer.draw(state);
      attention.draw(state);
      says.replaceChildren(...sentence(state));
    }
    async function compute() {
      try {
        const model = await vitedu.fetchModel(state.model), picture = drawing.picture(state.scene);
        state.result = model.run(picture.pixels, { order: state.order, positions: state.positions });
        state.live = true;
        if (model.prefix === 0 && state.query === CLS) state.query = 0;
        redraw();
        box.dataset.ready = ++runs; // how often it has answered
      } catch (problem) {
        says.textContent = `The model could not be loaded: ${problem.message}.`;
      }
    }
    const change = (part) => { Object.assign(state, part); recompute(); };
    const inScene = (part) => change({ scene: { ...state.scene, ...part } });
    view.listen({ state, inScene, redraw, touch: () => state.live || recompute() });
    attention.listen((shown) => { state.shown = state.shown === shown ? null : shown; redraw(); });

    box.append(
      el("div", { class: "vp-side" }, view.node, makeTools(state, change, inScene, redraw, short)),
      el("div", { class: "vp-main" }, choice("trained on", KINDS, state.model, (model) => change({ model })),
        answer.node, says, short ? null : attention.node));
    vitedu.atFirstTouch(box, recompute);
    redraw();
  }

  /* --- the picture --- */

  function makePicture() {
    const canvas = el("canvas", { width: SIDE, height: SIDE, class: "vp-pixels" });
    const frame = el("div", { class: "vp-query" });
    const node = el("div", { class: "vp-picture", tabindex: 0, role: "application", "aria-roledescription": "picture of 8 by 8 patches",
      "aria-label": "The model's picture. Arrow keys choose a patch, with Shift they move the object; Space paints a patch." },
      canvas, el("div", { class: "vp-grid" }), frame);
    function draw({ scene, order, shown, result, query, drawing: free }) {
      const { pixels } = drawing.picture(scene), map = shown === null ? null : chosen(shown, result, query);
      maps.picture(canvas.getContext("2d"), order ? reordered(pixels, order) : pixels, SIDE, map, [GRID, GRID]);
      frame.hidden = query === CLS || (free && scene.free && !node.matches(":focus-visible"));
      frame.style.cssText = `left:${(query % GRID) * 12.5}%;top:${Math.floor(query / GRID) * 12.5}%`;
    }
    return { node, draw, listen: (to) => listen(node, to) };
  }

  /* Pointing chooses the query; dragging moves the object, or draws. */
  function listen(node, { state, inScene, redraw, touch }) {
    let from = null, line = null;
    const at = (event) => {
      const box = node.getBoundingClientRect();
      return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height].map((v) => Math.min(0.999, Math.max(0, v)));
    };
    const ask = ([x, y]) => { state.query = Math.floor(y * GRID) * GRID + Math.floor(x * GRID); redraw(); };
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
      if (event.key === " " && state.drawing && state.query !== CLS) inScene({ free: flipped(state.scene.free, state.query) });
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
    const { margin } = drawing.placeOf(state.scene.place), share = (v) => Math.min(1, Math.max(0, (v - margin) / (1 - 2 * margin)));
    inScene({ place: [state.scene.place[0], share(x), share(y), state.scene.place[3]] });
  }

  /* What was drawn, 32·32, with one more line; at its end a line that came back to its start is filled. */
  function drawn(before, line, ended) {
    const canvas = el("canvas", { width: SIDE, height: SIDE }), context = canvas.getContext("2d");
    const [a, z] = [line[0], line[line.length - 1]], path = new Path2D();
    line.forEach(([x, y], i) => path[i ? "lineTo" : "moveTo"](x * SIDE, y * SIDE));
    context.lineWidth = 2.5;
    context.lineCap = context.lineJoin = "round";
    context.stroke(path);
    if (ended && line.length > 8 && Math.hypot(a[0] - z[0], a[1] - z[1]) < 0.15) context.fill(path);
    const ink = context.getImageData(0, 0, SIDE, SIDE).data;
    return before.map((old, i) => Math.max(old, ink[4 * i + 3] / 255));
  }

  function flipped(free, patch) {
    const next = free.slice(), [top, left] = [Math.floor(patch / GRID) * P, (patch % GRID) * P], full = next[top * SIDE + left] > 0.5;
    for (let y = top; y < top + P; y++) for (let x = left; x < left + P; x++) next[y * SIDE + x] = full ? 0 : 1;
    return next;
  }

  function reordered(pixels, order) {
    const out = pixels.slice(), area = SIDE * SIDE;
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

  /* --- what can be set --- */

  function makeTools(state, change, inScene, redraw, short) {
    const icon = (kind) => maps.shapeIcon(kind);
    const hues = { red: 0, yellow: 1, green: 2, cyan: 3, blue: 4, magenta: 5 };
    const dot = (colour) => el("span", { class: "vp-dot", style: `background:hsl(${60 * hues[colour]} 60% 55%)` });
    const shape = choice("shape", SHAPES.map((s) => [s, icon(s), s]), state.scene.shape, (to) => place({ shape: to }));
    const texture = choice("texture", TEXTURES.map((t) => [t, swatch(t), t]), state.scene.texture, (to) => inScene({ texture: to }));
    const colour = choice("colour", COLOURS.map((c) => [c, dot(c), c]), state.scene.colour, (to) => inScene({ colour: to }));
    const size = slider("size", { min: 0, max: 1, step: 0.05, value: state.scene.place[0], show: (v) => v.toFixed(2) }, (v) => setPlace(0, v));
    const turn = slider("turn", { min: 0, max: 1, step: 1 / 72, value: state.scene.place[3], show: (v) => `${Math.round(360 * v)}°` }, (v) => setPlace(3, v));
    const pen = toggle("draw it yourself", false, (on) => {
      if (!on) return place({});
      Object.assign(state, { drawing: true, shown: null, query: CLS });
      shape.choose("");
      inScene({ free: new Array(SIDE * SIDE).fill(0) });
    });
    function place(part) {
      state.drawing = false;
      pen.set(false);
      shape.choose(part.shape || state.scene.shape);
      inScene({ ...part, free: null });
    }
    const setPlace = (i, v) => inScene({ place: state.scene.place.map((old, j) => (j === i ? v : old)) });
    const shuffle = toggle("shuffle the patches", false, (on) => change({ order: on ? shuffled() : null }));
    const places = toggle("leave the positions out", false, (on) => change({ positions: !on }));
    const another = button("another picture", () => {
      const fresh = drawing.scene(Math.floor(1e9 * Math.random()));
      fresh.texture = fresh.shape === state.scene.shape ? fresh.texture : TEXTURES[SHAPES.indexOf(fresh.shape)];
      [[shape, fresh.shape], [texture, fresh.texture], [colour, fresh.colour]].forEach(([bar, to]) => bar.choose(to));
      size.set(fresh.place[0]);
      turn.set(fresh.place[3]);
      place(fresh);
    });
    const cls = button("ask the class token", () => { state.query = CLS; redraw(); });
    return el("div", { class: "vp-tools" }, shape, texture, colour, size, turn, pen, short ? null : shuffle, short ? null : places,
      el("div", { class: "vp-row" }, another, short ? null : cls));
  }

  function shuffled() {
    const order = Array.from({ length: GRID * GRID }, (_, i) => i);
    for (let i = order.length - 1; i > 0; i--) {
      const j = Math.floor(Math.random() * (i + 1));
      [order[i], order[j]] = [order[j], order[i]];
    }
    return order;
  }

  /* A piece of a texture, as it is painted, in grey. */
  function swatch(texture) {
    const canvas = el("canvas", { class: "vp-swatch", "aria-hidden": "true" }), next = vitedu.random(3);
    const values = Array.from({ length: 144 }, (_, i) => drawing.tone(texture, (i % 12) / SIDE, Math.floor(i / 12) / SIDE, [0, 0], next()));
    maps.paint(canvas, values, [12, 12], (v) => [255 * v, 255 * v, 255 * v]);
    return canvas;
  }

  /* --- the answer --- */

  function makeAnswer() {
    const head = el("tr", {}, el("th", { scope: "col", text: "class" }), el("th", { scope: "col", text: "its texture" }),
      ...["0", "1", "2", "3", "4"].map((n) => el("th", { scope: "col", class: "vp-after", text: n, title: `after ${n} blocks` })),
      el("th", { scope: "col", text: "the answer" }));
    const body = el("tbody"), node = el("table", { class: "vp-answer" },
      el("caption", { text: "Shaded: what the head would say after that many blocks." }), el("thead", {}, head), body);
    function draw({ result, scene }) {
      const after = result.after.map((scores) => vitedu.softmax(scores)), best = result.probabilities.indexOf(Math.max(...result.probabilities));
      const columns = after.length - 1;
      head.querySelectorAll(".vp-after").forEach((th, i) => { th.hidden = i > columns; });
      body.replaceChildren(...SHAPES.map((shape, k) => el("tr", { class: k === best ? "vp-best" : "" },
        el("th", { scope: "row", class: !scene.free && shape === scene.shape ? "vp-true" : "" }, maps.shapeIcon(shape), shape),
        el("td", { class: TEXTURES[k] === scene.texture ? "vp-true" : "" }, swatch(TEXTURES[k])),
        ...after.map((p, n) => el("td", { class: "vp-cell" }, el("i", { style: `--share:${p[k].toFixed(3)}`, title: `after ${n} blocks: ${percent(p[k])}` }))),
        el("td", { class: "vp-bar", style: `--share:${result.probabilities[k].toFixed(4)}` }, el("span", { text: percent(result.probabilities[k]) })))));
    }
    return { node, draw };
  }

  function sentence(state) {
    return [...answerOf(state), state.order && !state.positions ? " Without positions, the order of the patches makes no difference." : ""];
  }

  function answerOf({ scene, result, model, drawing: free }) {
    const best = result.probabilities.indexOf(Math.max(...result.probabilities)), named = SHAPES[best], sure = percent(result.probabilities[best]);
    const owner = SHAPES[TEXTURES.indexOf(scene.texture)], strong = (text) => el("strong", { text });
    const advice = model === "shapes-vit" ? " It goes by the texture; the model trained on random ones goes by the outline." : "";
    if (free) return [`You draw, painted with ${scene.texture}, the texture of the ${owner}. It says `, strong(named), ` (${sure}).${advice}`];
    if (/untrained/.test(model)) return ["Untrained weights answer ", strong(named), ` (${sure}), and much the same to any picture.`];
    if (owner === scene.shape) return [`Outline and texture agree on ${scene.shape}. It says `, strong(named), ` (${sure}).`];
    const read = named === owner ? "It has named the texture." : named === scene.shape ? "It has named the outline." : "It has named neither.";
    return [`The outline is a ${scene.shape}; the texture, ${scene.texture}, is that of the ${owner}. It says `, strong(named), ` (${sure}). `, read];
  }

  /* --- the maps --- */

  /* Weights over the patches (64) for what was chosen: "layer,head", "layer,mean" or "rollout". */
  function chosen(shown, { maps: layers, rollout, heads, tokens, prefix, rest }, query) {
    const [layer, head] = shown.split(","), row = query + prefix;
    if (rest) return rest(shown);
    const read = (data, offset) => Array.from(data.subarray(offset + row * tokens + prefix, offset + (row + 1) * tokens));
    if (shown === "rollout") return read(rollout, 0);
    if (head !== "mean") return read(layers[layer], head * tokens * tokens);
    const all = Array.from({ length: heads }, (_, h) => read(layers[layer], h * tokens * tokens));
    return all[0].map((_, i) => all.reduce((sum, one) => sum + one[i], 0) / heads);
  }

  function makeMaps() {
    const body = el("div", { class: "vp-maps", role: "group", "aria-label": "Where each head looks" });
    const title = el("p", { class: "vp-title" }), node = el("div", {}, title, body);
    let cells = [], press = () => {}, made = "";
    function make({ result }) {
      const heads = [...Array(result.heads).keys(), "mean"], key = `${result.depth ?? result.maps.length},${heads}`;
      if (key === made) return;
      made = key;
      cells = [];
      const cell = (shown, name) => {
        const canvas = el("canvas"), node = el("button", { type: "button", class: "vp-map", "aria-label": name, "aria-pressed": "false",
          onclick: () => press(shown) }, canvas);
        cells.push({ shown, node, canvas });
        return node;
      };
      body.replaceChildren(el("span"), ...heads.map((h) => el("span", { class: "vp-head", text: h === "mean" ? "mean" : `head ${h + 1}` })),
        ...Array.from({ length: result.depth ?? result.maps.length }, (_, l) => [el("span", { class: "vp-layer", text: `layer ${l + 1}` }),
          ...heads.map((h) => cell(`${l},${h}`, `layer ${l + 1}, ${h === "mean" ? "mean of the heads" : `head ${h + 1}`}, on the picture`))]).flat(),
        el("span", { class: "vp-layer", text: "rollout" }), cell("rollout", "rollout, on the picture"),
        el("span", { class: "vp-note", text: "Press a map to lay it over the picture. Black: nothing; yellow: the map’s highest weight." }));
    }
    function draw(state) {
      make(state);
      title.textContent = state.query === CLS ? "Where the class token looks" :
        `Where the patch in row ${Math.floor(state.query / GRID) + 1}, column ${(state.query % GRID) + 1} looks`;
      for (const { shown, node, canvas } of cells) {
        maps.weights(canvas, chosen(shown, state.result, state.query), [GRID, GRID]);
        node.setAttribute("aria-pressed", shown === state.shown);
      }
    }
    return { node, draw, listen: (to) => { press = to; } };
  }

  /* What the piece shows before its weights are here: the answers to its first picture, and where CLS looks. */
  function rest({ after, heads, depth, cls }) {
    const bytes = vitedu.bytesOf(cls), names = shownNames(depth, heads);
    const result = { after, heads, depth, prefix: 1, probabilities: vitedu.softmax(after[after.length - 1]) };
    return { ...result, rest: (shown) => Array.from(bytes.subarray(64 * names.indexOf(shown), 64 * names.indexOf(shown) + 64)) };
  }
  const shownNames = (depth, heads) =>
    [...Array.from({ length: depth }, (_, l) => [...Array(heads).keys(), "mean"].map((h) => `${l},${h}`)).flat(), "rollout"];

  /* The content of work-rest.js: a test compares it with what the model says today. */
  vitedu.packRest = function (name) {
    const result = vitedu.model(name).run(drawing.picture(drawing.scene(7, OPENING)).pixels), depth = result.maps.length;
    const bytes = shownNames(depth, result.heads).map((shown) => {
      const map = chosen(shown, result, CLS), top = Math.max(...map);
      return map.map((w) => String.fromCharCode(Math.round((255 * w) / top))).join("");
    });
    const after = result.after.map((scores) => scores.map((s) => +s.toFixed(2)));
    return { after, heads: result.heads, depth, cls: btoa(bytes.join("")) };
  };

  vitedu.piece("work", build);
})();
