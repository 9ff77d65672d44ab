/* Chapter 4: one head whose scores depend on positions alone, -α‖δ - Δ‖². As α grows it becomes one tap of a kernel. */
"use strict";
(function () {
  const { el, slider, maps } = vitedu,
    SIDE = 11,
    MIDDLE = 5;

  /* The weights (11·11) of a query in the middle, for the offset [down, right]. */
  vitedu.positionHead = function (alpha, [down, right]) {
    const scores = Array.from({ length: SIDE * SIDE }, (_, i) => {
      const [y, x] = [Math.floor(i / SIDE) - MIDDLE - down, (i % SIDE) - MIDDLE - right];
      return -alpha * (y * y + x * x);
    });
    return vitedu.softmax(scores);
  };
  const alphaOf = (step) => (step === 0 ? 0 : 10 ** (step / 20 - 3)); // 0, then 0.001 … 100

  function build(box) {
    const state = { step: 46, offset: [-1, 1] },
      canvas = el("canvas"),
      says = el("p", { class: "vp-says", "aria-live": "polite" });
    const cross = el("div", { class: "vp-cross", "aria-hidden": "true" }),
      target = el("div", { class: "vp-target" });
    const picture = el(
      "div",
      {
        class: "vp-picture vp-alpha-map",
        tabindex: 0,
        role: "application",
        "aria-label": "The weights of one head; arrow keys or a tap choose the offset",
      },
      canvas,
      cross,
      target,
    );
    const alpha = slider(
      "α",
      { min: 0, max: 100, value: state.step, show: (s) => alphaOf(s).toPrecision(2) * 1 + "" },
      (s) => {
        state.step = s;
        draw();
      },
    );
    const nine = el("div", { class: "vp-nine", "aria-hidden": "true" }),
      small = Array.from({ length: 9 }, () => el("canvas"));
    nine.append(...small);
    const aim = (down, right) => {
      state.offset = [down, right].map((v) => Math.min(5, Math.max(-5, v)));
      draw();
    };
    picture.addEventListener("pointerdown", (event) => {
      const at = picture.getBoundingClientRect();
      aim(
        Math.floor(((event.clientY - at.top) / at.height) * SIDE) - MIDDLE,
        Math.floor(((event.clientX - at.left) / at.width) * SIDE) - MIDDLE,
      );
    });
    picture.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
      if (!step) return;
      aim(state.offset[0] + step[0], state.offset[1] + step[1]);
      event.preventDefault();
    });
    function draw() {
      const value = alphaOf(state.step),
        [down, right] = state.offset,
        weights = vitedu.positionHead(value, state.offset);
      maps.weights(canvas, weights, [SIDE, SIDE]);
      target.style.cssText = `left:${((right + MIDDLE) * 100) / SIDE}%;top:${((down + MIDDLE) * 100) / SIDE}%`;
      small.forEach((one, i) =>
        maps.weights(one, vitedu.positionHead(value, [Math.floor(i / 3) - 1, (i % 3) - 1]), [SIDE, SIDE]),
      );
      const share = weights[(MIDDLE + down) * SIDE + MIDDLE + right];
      says.textContent =
        `Δ = (${[down, right].map((v) => String(v).replace("-", "−")).join(", ")}): ${vitedu.percent(share)} of the head’s weight lies on its place. ` +
        (share > 0.99
          ? "The head copies one neighbour, as one tap of a kernel does; nine such heads make a 3 × 3 convolution."
          : share < 0.02
            ? "The head averages nearly everything it sees."
            : "A soft window, which no kernel of fixed size is.");
    }
    box.append(
      el("div", { class: "vp-side" }, picture),
      el(
        "div",
        { class: "vp-main" },
        el("div", { class: "vp-tools" }, alpha),
        says,
        el("p", { class: "vp-title", text: "Nine heads, Δ from (−1, −1) to (1, 1)" }),
        nine,
      ),
    );
    draw();
  }
  vitedu.piece("alpha", build);
})();
