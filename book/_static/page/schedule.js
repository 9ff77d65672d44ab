/* Chapter 9: the learning rate over the steps of a run. The formula is `vitedu.train.optim.learning_rate`. */
"use strict";
(function () {
  const { el, slider, choice } = vitedu,
    DROPS = [5 / 9, 5 / 6];

  vitedu.learningRate = function (step, total, warmup, peak, schedule = "cosine") {
    if (step < warmup) return (peak * (step + 1)) / warmup;
    if (schedule === "steps") return peak * 0.1 ** DROPS.filter((drop) => step >= drop * total).length;
    if (schedule === "constant") return peak;
    return peak * 0.5 * (1 + Math.cos((Math.PI * (step - warmup)) / Math.max(1, total - warmup)));
  };

  function build(box) {
    const state = { total: 1000, warmup: 100, schedule: "cosine", step: 250 },
      says = el("p", { class: "vp-says", "aria-live": "polite" });
    const chart = vitedu.chart(
      { x: [0, 1, [0, 0.25, 0.5, 0.75, 1], "share of the run"], y: [0, 1, [0, 0.25, 0.5, 0.75, 1], "rate / peak"] },
      "The learning rate over the run",
    );
    const kinds = [
      ["cosine", "cosine", "half a cosine"],
      ["steps", "steps", "divided by ten, twice"],
      ["constant", "constant", "the same to the end"],
    ];
    const rate = (step) => vitedu.learningRate(step, state.total, state.warmup, 1, state.schedule);
    function draw() {
      const line = Array.from({ length: 501 }, (_, i) =>
        Math.min(state.total - 1, Math.round((i / 500) * state.total)),
      ).map((s) => [s / state.total, rate(s)]);
      const at = Math.min(state.step, state.total - 1);
      let area = 0;
      for (let s = 0; s < state.total; s++) area += rate(s) / state.total;
      chart.draw([
        { line },
        {
          line: [
            [at / state.total, 0],
            [at / state.total, rate(at)],
          ],
          kind: "vp-drop",
        },
        { points: [[at / state.total, rate(at)]], kind: "vp-found" },
      ]);
      says.textContent = `At step ${vitedu.number(at)} of ${vitedu.number(state.total)} the rate is ${rate(at).toFixed(3)} of its peak; the mean over the run is ${area.toFixed(2)} of it.`;
    }
    const warm = slider(
      "warm-up, w",
      { min: 0, max: 500, step: 5, value: state.warmup, show: (w) => `${w} steps` },
      (w) => {
        state.warmup = w;
        draw();
      },
    );
    const step = slider("step, s", { min: 0, max: 999, value: state.step, show: String }, (s) => {
      state.step = s;
      draw();
    });
    box.append(
      el(
        "div",
        { class: "vp-tools" },
        choice("then", kinds, "cosine", (kind) => {
          state.schedule = kind;
          draw();
        }),
        warm,
        step,
      ),
      chart.node,
      says,
    );
    draw();
  }
  vitedu.piece("schedule", build);
})();
