/* A digit drawn by the reader: counted into 8 × 8 pixels as the scans of the set were, and read by digits-vit.
   data-short: without the maps. */
"use strict";
(function () {
  const { el, button, percent, maps } = vitedu,
    { THREE, listen, resting } = vitedu.pad,
    SIDE = 8,
    GRID = 4;

  function build(box, options) {
    const state = { lines: [THREE], result: resting(), shown: null, pen: [0.5, 0.5], fresh: true },
      short = "short" in options;
    const paper = el("canvas", { width: 480, height: 480 }),
      seen = el("canvas"),
      says = el("p", {
        class: "vp-says",
        "aria-live": "polite",
        text: "Draw a digit: the model reads it while you draw.",
      });
    const pen = el("div", { class: "vp-pen", hidden: true });
    const pad = el(
      "div",
      {
        class: "vp-picture vp-paper",
        tabindex: 0,
        role: "application",
        "aria-label": "Draw a digit here. Keys: arrows move the pen, with Shift they draw, Backspace begins anew.",
      },
      paper,
      pen,
    );
    const bars = el("div", { class: "vp-bars" }),
      read = vitedu.onceAFrame(compute),
      body = el("div", { class: "vp-maps vp-two" });

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
      const context = paper.getContext("2d"),
        pixels = vitedu.countDigit(state.lines);
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
      maps.picture(
        Object.assign(seen, { width: SIDE, height: SIDE }).getContext("2d"),
        pixels,
        SIDE,
        state.result && state.shown ? look(state.shown) : null,
        [GRID, GRID],
      );
      const shares = state.result ? state.result.probabilities : new Array(10).fill(0),
        best = shares.indexOf(Math.max(...shares));
      bars.replaceChildren(
        ...shares.map((p, k) =>
          el(
            "div",
            { class: state.result && k === best ? "vp-best" : "" },
            el("b", { text: k }),
            el("i", { style: `--share:${p.toFixed(4)}` }),
            el("span", { text: state.result ? percent(p) : "" }),
          ),
        ),
      );
      if (state.result)
        says.replaceChildren(
          "It says ",
          el("strong", { text: best }),
          ` (${percent(shares[best])}). `,
          "All it sees is the small picture: 16 patches of 2 × 2 pixels.",
        );
      drawMaps();
    }
    const look = (shown) => {
      const { maps: layers, rollout, tokens, rest } = state.result,
        [layer, head] = shown.split(",");
      if (rest) return rest(shown);
      const data = shown === "rollout" ? rollout : layers[layer],
        from = shown === "rollout" ? 0 : head * tokens * tokens;
      return Array.from(data.subarray(from + 1, from + tokens)); // the row of CLS, without its own column
    };
    const cells = [];
    const cell = (shown, name) => {
      const canvas = el("canvas"),
        node = el(
          "button",
          {
            type: "button",
            class: "vp-map",
            "aria-label": name,
            "aria-pressed": "false",
            onclick: () => {
              state.shown = state.shown === shown ? null : shown;
              draw();
            },
          },
          canvas,
        );
      cells.push({ shown, canvas, node });
      return node;
    };
    if (!short)
      body.append(
        el("span"),
        ...[1, 2, 3, 4].map((h) => el("span", { class: "vp-head", text: `head ${h}` })),
        el("span", { class: "vp-head", text: "rollout" }),
        ...[0, 1]
          .map((l) => [
            el("span", { class: "vp-layer", text: `block ${l}` }),
            ...[0, 1, 2, 3].map((h) => cell(`${l},${h}`, `block ${l}, head ${h}, on the small picture`)),
            l ? el("span") : cell("rollout", "rollout, on the small picture"),
          ])
          .flat(),
      );
    function drawMaps() {
      for (const { shown, canvas, node } of cells) {
        maps.weights(canvas, state.result ? look(shown) : new Array(16).fill(0), [GRID, GRID]);
        node.setAttribute("aria-pressed", shown === state.shown);
      }
    }
    listen(pad, pen, state, read, draw);
    const again = button("begin anew", () => {
      Object.assign(state, { lines: [], result: null, fresh: false });
      draw();
      says.textContent = "Draw a digit.";
    });
    box.append(
      el(
        "div",
        { class: "vp-side" },
        pad,
        el(
          "div",
          { class: "vp-row vp-seen" },
          el("div", { class: "vp-small" }, seen),
          el("span", { class: "vp-note", text: "what it sees" }),
          again,
        ),
      ),
      el(
        "div",
        { class: "vp-main" },
        bars,
        says,
        short ? null : el("p", { class: "vp-title", text: "Where the class token looks" }),
        short ? null : body,
      ),
    );
    new MutationObserver(draw).observe(document.documentElement, { attributeFilter: ["data-theme"] }); // ink follows the page's colours
    vitedu.atFirstTouch(box, read);
    draw();
  }

  vitedu.piece("digit", build);
})();
