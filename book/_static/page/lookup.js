/* The soft look-up of chapter 2: a query on the road, a sharpness κ, and the weights of the four stored places. */
"use strict";
(function () {
  const { el, slider } = vitedu,
    KEYS = [1, 4, 6, 9],
    VALUES = [12, 15, 11, 17];

  /* Weights (S,) and what is found. */
  vitedu.softLookup = function (query, sharpness) {
    const weights = vitedu.softmax(KEYS.map((key) => -sharpness * (key - query) ** 2));
    return { weights, found: weights.reduce((sum, a, s) => sum + a * VALUES[s], 0) };
  };
  const road = Array.from({ length: 201 }, (_, i) => i / 20);
  const sharpnessOf = (step) => (step === 0 ? 0 : 10 ** (step / 20 - 2)); // 0, then 0.01 … 100

  function build(box) {
    const state = { query: 5, step: 40 },
      says = el("p", { class: "vp-says", "aria-live": "polite" });
    const chart = vitedu.chart(
      { x: [0, 10, [0, 2, 4, 6, 8, 10], "query (km)"], y: [10, 18, [10, 12, 14, 16, 18], "found (degrees)"] },
      "What the look-up finds along the road; dots are the stored values, as large as their weights.",
    );
    const rows = el("div", { class: "vp-weights" });
    const query = slider(
      "query",
      { min: 0, max: 10, step: 0.1, value: state.query, show: (q) => `${q.toFixed(1)} km` },
      (q) => {
        state.query = q;
        draw();
      },
    );
    const kappa = slider(
      "κ",
      { min: 0, max: 80, value: state.step, show: (k) => sharpnessOf(k).toPrecision(2) * 1 + "" },
      (k) => {
        state.step = k;
        draw();
      },
    );
    function draw() {
      const sharpness = sharpnessOf(state.step),
        { weights, found } = vitedu.softLookup(state.query, sharpness);
      chart.draw([
        { line: road.map((q) => [q, vitedu.softLookup(q, sharpness).found]) },
        {
          line: [
            [state.query, 10],
            [state.query, found],
          ],
          kind: "vp-drop",
        },
        { points: KEYS.map((k, s) => [k, VALUES[s]]), kind: "vp-stored", size: (s) => 3 + 9 * Math.sqrt(weights[s]) },
        { points: [[state.query, found]], kind: "vp-found" },
      ]);
      rows.replaceChildren(
        ...KEYS.map((key, s) =>
          el(
            "div",
            {},
            el("span", { text: `key ${key} km, value ${VALUES[s]}°` }),
            el("i", { style: `--share:${weights[s].toFixed(4)}` }),
            el("span", { text: weights[s].toFixed(2) }),
          ),
        ),
      );
      says.textContent = `Found: ${found.toFixed(1)}°, ${VALUES.map((v, s) => `${weights[s].toFixed(2)} · ${v}`).join(" + ")}. It lies between 11 and 17 whatever is asked.`;
    }
    box.append(el("div", { class: "vp-tools" }, query, kappa), chart.node, rows, says);
    draw();
  }
  vitedu.piece("lookup", build);
})();
