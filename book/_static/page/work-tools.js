/* What can be set in the piece "work": shape, texture, colour, size, turn; drawing; order and positions. */
"use strict";
(function () {
  const { el, choice, toggle, slider, button, maps, drawing } = vitedu,
    { SHAPES, TEXTURES, COLOURS, SIDE } = drawing;
  const { GRID, CLS } = vitedu.work;

  function makeTools(state, change, inScene, redraw, short) {
    const icon = (kind) => maps.shapeIcon(kind);
    const hues = { red: 0, yellow: 1, green: 2, cyan: 3, blue: 4, magenta: 5 };
    const dot = (colour) => el("span", { class: "vp-dot", style: `background:hsl(${60 * hues[colour]} 60% 55%)` });
    const shape = choice(
      "shape",
      SHAPES.map((s) => [s, icon(s), s]),
      state.scene.shape,
      (to) => place({ shape: to }),
    );
    const texture = choice(
      "texture",
      TEXTURES.map((t) => [t, swatch(t), t]),
      state.scene.texture,
      (to) => inScene({ texture: to }),
    );
    const colour = choice(
      "colour",
      COLOURS.map((c) => [c, dot(c), c]),
      state.scene.colour,
      (to) => inScene({ colour: to }),
    );
    const size = slider(
      "size",
      { min: 0, max: 1, step: 0.05, value: state.scene.place[0], show: (v) => v.toFixed(2) },
      (v) => setPlace(0, v),
    );
    const turn = slider(
      "turn",
      { min: 0, max: 1, step: 1 / 72, value: state.scene.place[3], show: (v) => `${Math.round(360 * v)}°` },
      (v) => setPlace(3, v),
    );
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
      [
        [shape, fresh.shape],
        [texture, fresh.texture],
        [colour, fresh.colour],
      ].forEach(([bar, to]) => bar.choose(to));
      size.set(fresh.place[0]);
      turn.set(fresh.place[3]);
      place(fresh);
    });
    const cls = button("ask the class token", () => {
      state.query = CLS;
      redraw();
    });
    return el(
      "div",
      { class: "vp-tools" },
      shape,
      texture,
      colour,
      size,
      turn,
      pen,
      short ? null : shuffle,
      short ? null : places,
      el("div", { class: "vp-row" }, another, short ? null : cls),
    );
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
    const canvas = el("canvas", { class: "vp-swatch", "aria-hidden": "true" }),
      next = vitedu.random(3);
    const values = Array.from({ length: 144 }, (_, i) =>
      drawing.tone(texture, (i % 12) / SIDE, Math.floor(i / 12) / SIDE, [0, 0], next()),
    );
    maps.paint(canvas, values, [12, 12], (v) => [255 * v, 255 * v, 255 * v]);
    return canvas;
  }

  Object.assign(vitedu.work, { makeTools, swatch });
})();
