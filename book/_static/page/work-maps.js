/* The maps of the piece "work": where each head of each layer looks, their mean, and rollout. */
"use strict";
(function () {
  const { el, maps, drawing } = vitedu,
    GRID = 8,
    CLS = -1;
  const OPENING = {
    shape: "star",
    texture: "stripes",
    colour: "cyan",
    place: [0.9, 0.45, 0.55, 0.03],
    phase: [0.2, 0.4],
    tint: [0.5, 0.6, 0.8],
  };

  /* Weights over the patches for what was chosen: "layer,head", "layer,mean" or "rollout". Asked for the class token of
     a model that has none: the mean over what the patches do. */
  function chosen(shown, result, query) {
    const { maps: layers, rollout, heads, tokens, prefix, rest } = result;
    if (query === CLS && !prefix) {
      const each = Array.from({ length: tokens }, (_, patch) => chosen(shown, result, patch));
      return each[0].map((_, i) => each.reduce((sum, one) => sum + one[i], 0) / tokens);
    }
    const [layer, head] = shown.split(","),
      row = query + prefix;
    if (rest) return rest(shown);
    const read = (data, offset) =>
      Array.from(data.subarray(offset + row * tokens + prefix, offset + (row + 1) * tokens));
    if (shown === "rollout") return read(rollout, 0);
    if (head !== "mean") return read(layers[layer], head * tokens * tokens);
    const all = Array.from({ length: heads }, (_, h) => read(layers[layer], h * tokens * tokens));
    return all[0].map((_, i) => all.reduce((sum, one) => sum + one[i], 0) / heads);
  }

  /* With `short`, of the last layer alone, and rollout. */
  function makeMaps(short) {
    const body = el("div", { class: "vp-maps", role: "group", "aria-label": "Where each head looks" });
    const title = el("p", { class: "vp-title" }),
      node = el("div", {}, title, body);
    let cells = [],
      press = () => {},
      made = "";
    function make({ result }) {
      const heads = [...Array(result.heads).keys(), "mean"],
        depth = result.depth ?? result.maps.length,
        layers = [...Array(depth).keys()].slice(short ? -1 : 0),
        key = `${layers},${heads}`;
      if (key === made) return;
      made = key;
      cells = [];
      const cell = (shown, name) => {
        const canvas = el("canvas"),
          node = el(
            "button",
            {
              type: "button",
              class: "vp-map",
              "aria-label": name,
              "aria-pressed": "false",
              onclick: () => press(shown),
            },
            canvas,
          );
        cells.push({ shown, node, canvas });
        return node;
      };
      body.replaceChildren(
        el("span"),
        ...heads.map((h) => el("span", { class: "vp-head", text: h === "mean" ? "mean" : `head ${h}` })),
        ...layers
          .map((l) => [
            el("span", { class: "vp-layer", text: `block ${l}` }),
            ...heads.map((h) =>
              cell(
                `${l},${h}`,
                `block ${l}, ${h === "mean" ? "mean of the heads" : `head ${h}`}, on the picture`,
              ),
            ),
          ])
          .flat(),
        el("span", { class: "vp-layer", text: "rollout" }),
        cell("rollout", "rollout, on the picture"),
        el("span", {
          class: "vp-note",
          text: "Press a map to lay it over the picture. Black: nothing; yellow: the map’s highest weight.",
        }),
      );
    }
    function draw(state) {
      make(state);
      const grid = state.result.grid || [GRID, GRID],
        [row, column] = [Math.floor(state.query / grid[1]), state.query % grid[1]],
        whole = state.result.prefix ? "Where the class token looks" : "Where the patches look, in the mean over them";
      title.textContent = state.query === CLS ? whole : `Where the patch in row ${row}, column ${column} looks`;
      for (const { shown, node, canvas } of cells) {
        maps.weights(canvas, chosen(shown, state.result, state.query), grid);
        node.setAttribute("aria-pressed", shown === state.shown);
      }
    }
    return {
      node,
      draw,
      listen: (to) => {
        press = to;
      },
    };
  }

  /* What the piece shows before its weights are here: the answers to its first picture, and where CLS looks. */
  function rest({ after, heads, depth, cls }) {
    const bytes = vitedu.bytesOf(cls),
      names = shownNames(depth, heads);
    const result = { after, heads, depth, prefix: 1, probabilities: vitedu.softmax(after[after.length - 1]) };
    return {
      ...result,
      rest: (shown) => Array.from(bytes.subarray(64 * names.indexOf(shown), 64 * names.indexOf(shown) + 64)),
    };
  }
  const shownNames = (depth, heads) => [
    ...Array.from({ length: depth }, (_, l) => [...Array(heads).keys(), "mean"].map((h) => `${l},${h}`)).flat(),
    "rollout",
  ];

  /* The content of work-rest.js: a test compares it with what the model says today. */
  vitedu.packRest = function (name) {
    const result = vitedu.model(name).run(drawing.picture(drawing.scene(7, OPENING)).pixels),
      depth = result.maps.length;
    const bytes = shownNames(depth, result.heads).map((shown) => {
      const map = chosen(shown, result, CLS),
        top = Math.max(...map);
      return map.map((w) => String.fromCharCode(Math.round((255 * w) / top))).join("");
    });
    const after = result.after.map((scores) => scores.map((s) => +s.toFixed(2)));
    return { after, heads: result.heads, depth, cls: btoa(bytes.join("")) };
  };

  vitedu.work = { GRID, CLS, OPENING, chosen, makeMaps, rest };
})();
