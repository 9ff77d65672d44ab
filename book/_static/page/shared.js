/* A page of somebody's own model, which `python -m vitedu.share` writes: drop a picture or take one that came with the
   page, see the classes, and ask where heads and layers look. data: {size, channels, ground, classes, pictures}, a
   picture being {pixels, probabilities, label}: its bytes in base64, what PyTorch said, and its class. */
"use strict";
(function () {
  const { el, button, percent, maps } = vitedu,
    { CLS, chosen, makeMaps } = vitedu.work,
    TOP = 5,
    CLOSE = 1e-4;

  function build(box, { size, channels, ground, classes, pictures }) {
    const [H, W] = size,
      model = vitedu.model("shared"),
      state = { pixels: null, label: null, result: null, query: CLS, shown: "rollout" };
    const canvas = el("canvas", { width: W, height: H }),
      query = el("div", { class: "vp-query", hidden: true }),
      says = el("p", { class: "vp-says", "aria-live": "polite" }),
      bars = el("div", { class: "vp-bars" }),
      heads = makeMaps(),
      fewest = Math.min(TOP, classes.length);
    const picture = el(
      "div",
      {
        class: "vp-picture",
        style: `aspect-ratio: ${W} / ${H}`,
        tabindex: 0,
        role: "application",
        "aria-label": "The picture. Arrow keys move from patch to patch, Escape asks the whole model again.",
        onpointerdown: point,
        onpointermove: (event) => event.pointerType === "mouse" && point(event),
        onkeydown: keys,
      },
      canvas,
      query,
    );

    function look(pixels, label = null) {
      Object.assign(state, { pixels, label, result: model.run(pixels) });
      draw();
    }
    function draw() {
      const { result, pixels, shown, label } = state,
        p = result.probabilities,
        order = [...p.keys()].sort((a, b) => p[b] - p[a]).slice(0, fewest);
      const over = shown ? chosen(shown, result, state.query) : null;
      maps.picture(canvas.getContext("2d"), pixels, size, over, result.grid);
      bars.replaceChildren(
        ...order.map((k, i) =>
          el(
            "div",
            { class: i ? "" : "vp-best" },
            el("b", { text: classes[k] }),
            el("i", { style: `--share:${p[k].toFixed(4)}` }),
            el("span", { text: percent(p[k]) }),
          ),
        ),
      );
      says.replaceChildren(
        "It says ",
        el("strong", { text: classes[order[0]] }),
        ` (${percent(p[order[0]])}).`,
        label === null ? "" : ` It is ${label === order[0] ? "indeed" : "really"} ${classes[label]}.`,
      );
      const [gh, gw] = result.grid;
      query.hidden = state.query === CLS;
      query.style.cssText = `width: ${100 / gw}%; height: ${100 / gh}%; left: ${(100 * (state.query % gw)) / gw}%; top: ${
        (100 * Math.floor(state.query / gw)) / gh
      }%`;
      heads.draw(state);
    }
    heads.listen((shown) => {
      state.shown = state.shown === shown ? null : shown;
      draw();
    });

    function ask(patch) {
      if (patch === state.query) return;
      state.query = patch;
      draw();
    }
    function point(event) {
      const edge = canvas.getBoundingClientRect(),
        [gh, gw] = state.result.grid,
        share = (at, length) => Math.min(0.999, Math.max(0, at / length));
      const row = Math.floor(gh * share(event.clientY - edge.top, edge.height)),
        column = Math.floor(gw * share(event.clientX - edge.left, edge.width));
      ask(row * gw + column);
    }
    function keys(event) {
      const [gh, gw] = state.result.grid,
        [dy, dx] =
          { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key] || [0, 0];
      if (event.key === "Escape") return ask(CLS);
      if (!dy && !dx) return;
      event.preventDefault();
      const [row, column] = state.query === CLS ? [0, 0] : [Math.floor(state.query / gw) + dy, (state.query % gw) + dx];
      ask(Math.min(gh - 1, Math.max(0, row)) * gw + Math.min(gw - 1, Math.max(0, column)));
    }

    /* --- a picture of the reader's --- */

    async function read(file) {
      try {
        const bitmap = await createImageBitmap(file),
          sheet = el("canvas", { width: bitmap.width, height: bitmap.height }),
          context = sheet.getContext("2d");
        context.fillStyle = `rgb(${ground}, ${ground}, ${ground})`;
        context.fillRect(0, 0, bitmap.width, bitmap.height);
        context.drawImage(bitmap, 0, 0);
        const { data } = context.getImageData(0, 0, bitmap.width, bitmap.height);
        look(vitedu.fitted(data, [bitmap.width, bitmap.height], [W, H], channels));
      } catch {
        says.textContent = `${file.name} cannot be read as a picture; try a JPEG or PNG file.`;
      }
    }
    const chooser = el("input", {
      type: "file",
      accept: "image/*",
      "aria-label": "A picture of your own",
      onclick: () => (chooser.value = ""), // the same file may be chosen again
      onchange: () => chooser.files.length && read(chooser.files[0]),
    });
    addEventListener("dragover", (event) => event.preventDefault());
    addEventListener("drop", (event) => {
      event.preventDefault();
      if (event.dataTransfer.files.length) read(event.dataTransfer.files[0]);
    });

    /* --- the pictures that came with the page --- */

    const given = pictures.map((one) => ({ ...one, pixels: Float32Array.from(vitedu.bytesOf(one.pixels), (b) => b / 255) }));
    const album = given.map(({ pixels, label }, i) => {
      const small = el("canvas", { width: W, height: H });
      maps.picture(small.getContext("2d"), pixels, size);
      const name = `validation picture ${i + 1}: ${classes[label]}`;
      return el("button", { type: "button", class: "vp-map", "aria-label": name, title: name, onclick: () => look(pixels, label) }, small);
    });

    /* The page computes what PyTorch computed before, and says how far the two are apart. */
    const check = el("p", { class: "vp-note" });
    function compare() {
      let most = 0;
      for (const { pixels, probabilities } of given)
        model.run(pixels).probabilities.forEach((p, k) => {
          most = Math.max(most, Math.abs(p - probabilities[k]));
        });
      box.dataset.difference = most;
      check.textContent =
        most < CLOSE
          ? `This page and PyTorch give the ${given.length} pictures above the same probabilities, to ${most.toExponential(0)}.`
          : `This page and PyTorch differ by ${most.toExponential(1)} in the pictures above: do not trust it here.`;
    }

    box.append(
      el("p", { class: "vp-how", text: "Drop a picture here or choose one. Point at a patch to ask where it looks; press a map to lay it over the picture." }),
      el(
        "div",
        { class: "vp-side" },
        picture,
        el("div", { class: "vp-row" }, button("ask the whole model", () => ask(CLS))),
        el("label", { class: "vp-file" }, el("span", { text: "A picture of your own" }), chooser),
        album.length ? el("div", { class: "vp-album", role: "group", "aria-label": "Validation pictures" }, ...album) : null,
      ),
      el("div", { class: "vp-main" }, bars, says, heads.node, check),
    );
    if (given.length) look(given[0].pixels, given[0].label);
    else look(new Float32Array(channels * H * W).fill(ground / 255));
    heads.node.querySelector(".vp-maps").style.gridTemplateColumns = `4.1rem repeat(${state.result.heads + 1}, minmax(0, 1fr))`;
    if (given.length) setTimeout(compare, 100); // after the first picture is on the screen
    box.dataset.live = "";
  }

  vitedu.piece("shared", build);
})();
