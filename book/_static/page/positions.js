/* Positions: point at a place and see how alike its vector is to those of all others, for five kinds of table. */
"use strict";
(function () {
  const { el, choice, maps } = vitedu,
    GRID = 8,
    DIM = 64,
    N = GRID * GRID;
  const KINDS = [
    ["untrained", "untrained", "random vectors, as a learned table starts"],
    ["shapes-vit", "learned", "the table that shapes-vit has learned"],
    ["sincos1d", "sin-cos, 1-D", "sines and cosines of the index"],
    ["sincos2d", "sin-cos, 2-D", "half the columns for the row, half for the column"],
  ];

  /* As `vitedu.position.sincos_1d` and `sincos_2d`: sines first, then cosines. */
  function sincos1d(positions, dim) {
    return positions.map((p) => {
      const angles = Array.from({ length: dim / 2 }, (_, i) => p * 10000 ** (-i / (dim / 2)));
      return [...angles.map(Math.sin), ...angles.map(Math.cos)];
    });
  }
  const places = Array.from({ length: N }, (_, n) => n);
  const TABLES = {
    untrained: () => {
      const next = vitedu.random(5),
        bell = () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
      return places.map(() => Array.from({ length: DIM }, bell));
    },
    sincos1d: () => sincos1d(places, DIM),
    sincos2d: () => {
      const [rows, columns] = [(n) => Math.floor(n / GRID), (n) => n % GRID].map((of) =>
        sincos1d(places.map(of), DIM / 2),
      );
      return places.map((n) => [...rows[n], ...columns[n]]);
    },
    "shapes-vit": async () => {
      const { data } = (await vitedu.fetchModel("shapes-vit")).tensor("positions.table");
      return places.map((n) => Array.from(data.subarray((n + 1) * DIM, (n + 2) * DIM))); // row 0 is the class token's
    },
  };

  /* Cosine similarity of every place with every other: N lists of N. */
  vitedu.similarity = function (table) {
    const unit = table.map((row) => {
      const length = Math.hypot(...row);
      return row.map((v) => v / length);
    });
    return unit.map((a) => unit.map((b) => a.reduce((sum, v, i) => sum + v * b[i], 0)));
  };
  vitedu.positionTable = async (kind) => TABLES[kind]();

  function build(box, options) {
    const state = { kind: options.kind || "sincos2d", place: 27, alike: vitedu.similarity(TABLES.sincos2d()) };
    const big = el("canvas"),
      all = el("canvas", { role: "img", "aria-label": "A small map for each of the 64 places" }),
      says = el("p", { class: "vp-says", "aria-live": "polite" });
    const frame = el("div", { class: "vp-query" }),
      frameAll = el("div", { class: "vp-query" });
    const pad = (canvas, mark) => {
      const node = el("div", { class: "vp-picture vp-places" }, canvas, mark);
      const point = (event) => {
        const at = node.getBoundingClientRect(),
          to = (v) => Math.min(GRID - 1, Math.max(0, Math.floor(v * GRID)));
        choose(to((event.clientY - at.top) / at.height) * GRID + to((event.clientX - at.left) / at.width));
      };
      node.addEventListener("pointermove", point);
      node.addEventListener("pointerdown", point);
      return node;
    };
    const one = pad(big, frame),
      many = pad(all, frameAll);
    Object.entries({
      tabindex: 0,
      role: "application",
      "aria-label": "Similarity to one place; arrow keys choose the place",
    }).forEach(([key, value]) => one.setAttribute(key, value));
    one.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
      if (!step) return;
      const inside = (v) => Math.min(GRID - 1, Math.max(0, v));
      choose(inside(Math.floor(state.place / GRID) + step[0]) * GRID + inside((state.place % GRID) + step[1]));
      event.preventDefault();
    });
    const choose = (place) => {
      if (place !== state.place) {
        state.place = place;
        draw();
      }
    };
    async function setKind(kind) {
      state.kind = kind;
      const table = await vitedu.positionTable(kind);
      if (state.kind === kind) {
        state.alike = vitedu.similarity(table);
        draw();
        drawAll();
      }
    }
    function draw() {
      const { place, alike } = state,
        [row, column] = [Math.floor(place / GRID), place % GRID];
      maps.similarities(big, alike[place], [GRID, GRID]);
      for (const mark of [frame, frameAll]) mark.style.cssText = `left:${column * 12.5}%;top:${row * 12.5}%`;
      const others = places.filter((n) => n !== place).sort((a, b) => alike[place][b] - alike[place][a]);
      const name = (n) => `(${Math.floor(n / GRID)}, ${n % GRID})`,
        mean = (list) => list.reduce((sum, n) => sum + alike[place][n], 0) / list.length;
      const onLine = others.filter((n) => Math.floor(n / GRID) === row || n % GRID === column),
        off = others.filter((n) => !onLine.includes(n));
      says.textContent = `Row ${row}, column ${column}: most alike is ${name(others[0])}, with ${alike[place][others[0]].toFixed(2)}. Mean over its row and column ${mean(onLine).toFixed(2)}, elsewhere ${mean(off).toFixed(2)}.`;
    }
    function drawAll() {
      const side = GRID * (GRID + 1) - 1,
        values = new Array(side * side).fill(null);
      for (const n of places)
        for (const m of places) {
          const y = Math.floor(n / GRID) * (GRID + 1) + Math.floor(m / GRID),
            x = (n % GRID) * (GRID + 1) + (m % GRID);
          values[y * side + x] = state.alike[n][m];
        }
      maps.paint(all, values, [side, side], (s) => (s === null ? [128, 128, 128] : maps.signed((s + 1) / 2)));
    }
    box.append(
      choice("positions", KINDS, state.kind, setKind),
      el(
        "div",
        { class: "vp-pair" },
        el("div", {}, el("p", { class: "vp-title", text: "one place" }), one),
        el("div", {}, el("p", { class: "vp-title", text: "all places, each its own small map" }), many),
      ),
      el("p", { class: "vp-note", text: "Purple: alike (1). White: at right angles (0). Orange: opposite (−1)." }),
      says,
    );
    draw();
    drawAll();
    if (state.kind !== "sincos2d") setKind(state.kind);
  }
  vitedu.piece("positions", build);
})();
