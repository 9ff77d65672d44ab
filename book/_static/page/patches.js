/* The patch dial: how the side P of a patch decides what attention can point at, and what a block costs. */
"use strict";
(function () {
  const { el, choice, slider, number, short, cost } = vitedu,
    SIDE = 224,
    DIVISORS = [4, 7, 8, 14, 16, 28, 32, 56, 112];

  function build(box) {
    const state = { P: 16, dim: 768, means: true },
      pixels = el("canvas", { width: SIDE, height: SIDE, class: "vp-photo", role: "img" });
    const rows = el("tbody"),
      says = el("p", { class: "vp-says", "aria-live": "polite" });
    const photo = new Image();
    photo.onload = draw;
    photo.src = vitedu.portrait;

    const dial = slider("P", { min: 1, max: SIDE, value: state.P, show: (v) => `${v} px` }, (P) => {
      state.P = P;
      bar.choose(String(P));
      draw();
    });
    const bar = choice(
      "divide 224",
      DIVISORS.map((P) => [String(P), String(P), `P = ${P}`]),
      "16",
      (P) => {
        dial.set((state.P = +P));
        draw();
      },
    );
    const width = choice(
      "D",
      [192, 384, 768, 1024].map((D) => [String(D), String(D), `D = ${D}`]),
      "768",
      (D) => {
        state.dim = +D;
        draw();
      },
    );
    const means = vitedu.toggle("each patch in its mean colour", true, (on) => {
      state.means = on;
      draw();
    });

    box.append(
      el("div", { class: "vp-side" }, el("div", { class: "vp-photo-frame" }, pixels)),
      el(
        "div",
        { class: "vp-main" },
        el("div", { class: "vp-tools" }, dial, bar, width, means),
        el(
          "table",
          { class: "vp-numbers" },
          el("caption", { text: "One image of 224 × 224 pixels, one block of 12 heads; bars on a logarithmic scale" }),
          rows,
        ),
        says,
      ),
    );

    function draw() {
      drawPhoto(pixels, photo, state);
      const { P, dim } = state;
      pixels.setAttribute("aria-label", `The portrait cut into patches of ${P} by ${P} pixels`);
      try {
        rows.replaceChildren(...numbersOf(P, dim));
        says.textContent = wordsOf(P, dim);
        says.classList.remove("vp-error");
      } catch (problem) {
        rows.replaceChildren(
          ...["tokens, N", "pairs, N²"].map((name) =>
            el("tr", {}, el("th", { scope: "row", text: name }), el("td", { text: "–" }), el("td")),
          ),
        );
        says.replaceChildren(el("code", { text: `ValueError: ${problem.message}` }));
        says.classList.add("vp-error");
      }
    }
    draw();
  }

  /* The photograph cut into patches; what is left over at the right and below is dimmed. */
  function drawPhoto(canvas, photo, { P, means }) {
    const context = canvas.getContext("2d"),
      whole = Math.floor(SIDE / P) * P;
    context.clearRect(0, 0, SIDE, SIDE);
    context.drawImage(photo, 0, 0, SIDE, SIDE);
    if (!photo.complete) return;
    if (means && P > 1) {
      const { data } = context.getImageData(0, 0, SIDE, SIDE);
      for (let top = 0; top < whole; top += P)
        for (let left = 0; left < whole; left += P) {
          const sum = [0, 0, 0];
          for (let y = top; y < top + P; y++)
            for (let x = left; x < left + P; x++) for (let c = 0; c < 3; c++) sum[c] += data[4 * (y * SIDE + x) + c];
          context.fillStyle = `rgb(${sum.map((s) => Math.round(s / P / P))})`;
          context.fillRect(left, top, P, P);
        }
    }
    context.fillStyle = "rgba(255, 255, 255, .75)";
    if (P >= 7)
      for (let k = P; k < whole; k += P) {
        context.fillRect(k - 0.5, 0, 1, whole);
        context.fillRect(0, k - 0.5, whole, 1);
      }
    context.fillStyle = "rgba(213, 94, 0, .72)"; // what does not fit
    context.fillRect(whole, 0, SIDE - whole, SIDE);
    context.fillRect(0, whole, whole, SIDE - whole);
  }

  function numbersOf(P, dim) {
    const N = cost.patches({ height: SIDE, width: SIDE, patch: P }),
      config = { dim, ratio: 4 };
    const pair = cost.pairMacs(N, config),
      linear = cost.linearMacs(N, config),
      most = Math.log10(cost.blockMacs(SIDE * SIDE, { dim: 1024 }));
    const bytes = 4 * 12 * N * N;
    const row = (name, value, log = null, kind = "") =>
      el(
        "tr",
        {},
        el("th", { scope: "row", text: name }),
        el("td", { text: value }),
        el("td", {
          class: `vp-log ${kind}`,
          style: log ? `--share:${(Math.max(0, Math.log10(log) - 3) / (most - 3)).toFixed(3)}` : null,
        }),
      );
    return [
      row("tokens, N = (224 / P)²", number(N)),
      row("pairs, N²", number(N * N)),
      row("multiply–adds of the pairs, 2N²D", short(pair), pair, "vp-warm"),
      row("of the linear layers, 12ND²", short(linear), linear),
      row("weights of the 12 heads, if stored", size(bytes)),
    ];
  }

  function wordsOf(P, dim) {
    const N = cost.patches({ height: SIDE, width: SIDE, patch: P }),
      pair = cost.pairMacs(N, { dim }),
      linear = cost.linearMacs(N, { dim });
    const share = Math.round((100 * pair) / (pair + linear));
    if (N === 1) return "One token: nothing is left to attend to.";
    if (pair > linear) return `N > 6D: the pairs take ${share} % of the block’s multiply–adds.`;
    return `N < 6D: the linear layers do most of the work; the pairs take ${share < 1 ? "less than 1" : share} % of it. Halving P would make four times as many tokens and sixteen times as many pairs.`;
  }

  const size = (bytes) => (bytes < 1000 ? `${bytes} bytes` : `${short(bytes)}B`);

  vitedu.piece("patches", build);
})();
