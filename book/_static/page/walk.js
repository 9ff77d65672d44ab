/* The shape walk: through a Vision Transformer step by step, with the shape, parameters and multiply-adds of each. */
"use strict";
(function () {
  const { el, choice, button, number, cost } = vitedu;
  const base = { height: 224, width: 224, channels: 3, classes: 1000, ratio: 4 };
  const PRESETS = {
    "60 × 60": { ...base, height: 60, width: 60, patch: 20, dim: 768, heads: 12, depth: 12, classes: 10 },
    "Ti/16": { ...base, patch: 16, dim: 192, heads: 3, depth: 12 },
    "S/16": { ...base, patch: 16, dim: 384, heads: 6, depth: 12 },
    "B/16": { ...base, patch: 16, dim: 768, heads: 12, depth: 12 },
    "B/32": { ...base, patch: 32, dim: 768, heads: 12, depth: 12 },
    "L/16": { ...base, patch: 16, dim: 1024, heads: 16, depth: 24 },
    "H/14": { ...base, patch: 14, dim: 1280, heads: 16, depth: 32 },
  };
  const FIELDS = [
    ["height", "H", 1024],
    ["width", "W", 1024],
    ["channels", "C", 16],
    ["patch", "P", 512],
    ["dim", "D", 4096],
    ["heads", "h", 64],
    ["depth", "L", 64],
    ["classes", "K", 30000],
  ];

  function build(box, options) {
    const opening = options.preset in PRESETS ? options.preset : "B/16",
      state = { config: { ...PRESETS[opening] }, at: 0, steps: [] };
    const rows = el("tbody"),
      total = el("tfoot"),
      says = el("p", { class: "vp-says", "aria-live": "polite" }),
      fields = {};
    const set = (config) => {
      state.config = config;
      FIELDS.forEach(([key]) => {
        fields[key].value = config[key];
      });
      redraw();
    };
    const form = el(
      "div",
      { class: "vp-fields" },
      ...FIELDS.map(([key, symbol, max]) => {
        fields[key] = el("input", {
          type: "number",
          min: 1,
          max,
          "aria-label": `${symbol}, ${key}`,
          oninput: () => {
            presets.choose("");
            state.config = { ...state.config, [key]: +fields[key].value };
            redraw();
          },
        });
        return el("label", {}, el("em", { text: symbol }), fields[key]);
      }),
    );
    const presets = choice(
      "model",
      Object.keys(PRESETS).map((name) => [name, name, name]),
      opening,
      (name) => set({ ...PRESETS[name] }),
    );
    const go = (by) => {
      state.at = (state.at + by + state.steps.length) % state.steps.length;
      redraw();
    };
    const walker = el(
      "div",
      {
        class: "vp-pad",
        tabindex: 0,
        role: "group",
        "aria-label": "The steps; arrow keys walk through them",
        onkeydown: (event) => {
          const by = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
          if (by) {
            go(by);
            event.preventDefault();
          }
        },
      },
      el(
        "table",
        { class: "vp-steps" },
        el(
          "thead",
          {},
          el(
            "tr",
            {},
            ...["step", "shape", "parameters", "multiply–adds"].map((text) => el("th", { scope: "col", text })),
          ),
        ),
        rows,
        total,
      ),
    );
    box.append(
      presets,
      form,
      el(
        "div",
        { class: "vp-row" },
        button("back", () => go(-1)),
        button("next step", () => go(1)),
      ),
      says,
      walker,
    );

    function redraw() {
      try {
        FIELDS.forEach(([key, symbol, max]) => {
          if (!Number.isInteger(state.config[key]) || state.config[key] < 1 || state.config[key] > max)
            throw new Error(`${symbol} has to be a whole number from 1 to ${max}`);
        });
        state.steps = vitedu.walk(state.config);
      } catch (problem) {
        says.replaceChildren(el("code", { text: `ValueError: ${problem.message}` }));
        says.classList.add("vp-error");
        return;
      }
      says.classList.remove("vp-error");
      const { steps, at, config } = state,
        here = steps[at];
      says.replaceChildren(
        el("strong", { text: `${at + 1}. ${here.name}. ` }),
        here.words,
        here.times ? ` In each of the ${here.times} blocks.` : "",
      );
      rows.replaceChildren(
        ...steps.map((step, i) =>
          el(
            "tr",
            {
              class: [i === at && "vp-here", step.times && "vp-inside"].filter(Boolean).join(" "),
              "aria-current": i === at ? "step" : null,
              onclick: () => {
                state.at = i;
                redraw();
              },
            },
            el("th", { scope: "row", text: step.name }),
            el("td", { text: step.shape.map(number).join(" × ") }),
            counted(step.parameters, step.times),
            counted(step.macs, step.times),
          ),
        ),
      );
      total.replaceChildren(
        el(
          "tr",
          {},
          el("th", { scope: "row", text: "in all" }),
          el("td"),
          counted(cost.parameters(config)),
          counted(cost.macs(config)),
        ),
      );
    }
    set(state.config);
  }

  /* A cell with a number: to the last digit, or rounded where the screen is narrow. */
  function counted(n, times = 0) {
    const each = times ? `${times} × ` : "";
    const both = n ? { "vp-long": each + number(n), "vp-rounded": each + vitedu.short(n) } : {};
    return el("td", {}, ...Object.entries(both).map(([kind, text]) => el("span", { class: kind, text })));
  }

  vitedu.piece("walk", build);
})();
