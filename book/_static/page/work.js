/* A Vision Transformer at work: place or draw an object, see what the model says of it and where each head looks.
   data-model: shapes-vit (default), shapes-outline, or shapes-vit:untrained. data-short: with the maps of the last layer alone. */
"use strict";
(function () {
  const { el, choice, percent, maps, drawing } = vitedu,
    { SHAPES, TEXTURES } = drawing;
  const { CLS, OPENING, makeMaps, makePicture, makeTools, reordered, rest, swatch } = vitedu.work;
  const KINDS = [
    ["shapes-vit", "matching textures", "a model that learned from pictures in which each shape has its own texture"],
    ["shapes-outline", "random textures", "a model that learned from pictures in which texture says nothing"],
    ["shapes-vit:untrained", "nothing", "a model with random weights, as a control"],
  ];

  function build(box, options) {
    const state = {
      scene: drawing.scene(7, OPENING),
      model: options.model || "shapes-vit",
      query: CLS,
      shown: null,
      order: null,
      positions: true,
      drawing: false,
      result: rest(vitedu.rest.work),
      live: false,
    };
    let runs = 0;
    const short = "short" in options,
      view = makePicture(state),
      answer = makeAnswer(),
      attention = makeMaps(short);
    const says = el("p", { class: "vp-says", "aria-live": "polite" });
    const recompute = vitedu.onceAFrame(compute);

    function redraw() {
      view.draw(state);
      answer.draw(state);
      attention.draw(state);
      says.replaceChildren(...sentence(state));
    }
    async function compute() {
      try {
        const model = await vitedu.fetchModel(state.model),
          { pixels } = drawing.picture(state.scene);
        // cut up before it goes in, as it is shown: a hybrid's CNN sees the seams
        const shown = state.order ? reordered(pixels, state.order) : pixels;
        state.result = model.run(shown, { positions: state.positions });
        state.seams = model.hybrid;
        state.live = true;
        if (model.prefix === 0 && state.query === CLS) state.query = 0;
        redraw();
        box.dataset.ready = ++runs; // how often it has answered
      } catch (problem) {
        says.textContent = `The model could not be loaded: ${problem.message}.`;
      }
    }
    const change = (part) => {
      Object.assign(state, part);
      recompute();
    };
    const inScene = (part) => change({ scene: { ...state.scene, ...part } });
    view.listen({ state, inScene, redraw, touch: () => state.live || recompute() });
    attention.listen((shown) => {
      state.shown = state.shown === shown ? null : shown;
      redraw();
    });

    box.append(
      el("div", { class: "vp-side" }, view.node, makeTools(state, change, inScene, redraw, short)),
      el(
        "div",
        { class: "vp-main" },
        choice("trained on", KINDS, state.model, (model) => change({ model })),
        answer.node,
        says,
        attention.node,
      ),
    );
    vitedu.atFirstTouch(box, recompute);
    redraw();
  }

  function makeAnswer() {
    const head = el(
      "tr",
      {},
      el("th", { scope: "col", text: "class" }),
      el("th", { scope: "col", text: "its texture" }),
      ...["0", "1", "2", "3", "4"].map((n) =>
        el("th", { scope: "col", class: "vp-after", text: n, title: `after ${n} blocks` }),
      ),
      el("th", { scope: "col", text: "the answer" }),
    );
    const body = el("tbody"),
      node = el(
        "table",
        { class: "vp-answer" },
        el("caption", { text: "Shaded: what the head would say after that many blocks." }),
        el("thead", {}, head),
        body,
      );
    function draw({ result, scene }) {
      const after = result.after.map((scores) => vitedu.softmax(scores)),
        best = result.probabilities.indexOf(Math.max(...result.probabilities));
      const columns = after.length - 1;
      head.querySelectorAll(".vp-after").forEach((th, i) => {
        th.hidden = i > columns;
      });
      body.replaceChildren(
        ...SHAPES.map((shape, k) =>
          el(
            "tr",
            { class: k === best ? "vp-best" : "" },
            el(
              "th",
              { scope: "row", class: !scene.free && shape === scene.shape ? "vp-true" : "" },
              maps.shapeIcon(shape),
              shape,
            ),
            el("td", { class: TEXTURES[k] === scene.texture ? "vp-true" : "" }, swatch(TEXTURES[k])),
            ...after.map((p, n) =>
              el(
                "td",
                { class: "vp-cell" },
                el("i", { style: `--share:${p[k].toFixed(3)}`, title: `after ${n} blocks: ${percent(p[k])}` }),
              ),
            ),
            el(
              "td",
              { class: "vp-bar", style: `--share:${result.probabilities[k].toFixed(4)}` },
              el("span", { text: percent(result.probabilities[k]) }),
            ),
          ),
        ),
      );
    }
    return { node, draw };
  }

  function sentence(state) {
    return [
      ...answerOf(state),
      state.order && !state.positions && !state.seams ? " Without positions, the order makes no difference." : "",
      state.order && state.seams ? " Its stem, a small CNN, sees the seams." : "",
    ];
  }

  function answerOf({ scene, result, model, drawing: free }) {
    const best = result.probabilities.indexOf(Math.max(...result.probabilities)),
      named = SHAPES[best],
      sure = percent(result.probabilities[best]);
    const owner = SHAPES[TEXTURES.indexOf(scene.texture)],
      strong = (text) => el("strong", { text });
    const advice =
      model === "shapes-vit" ? " It goes by the texture; the model trained on random ones goes by the outline." : "";
    if (free)
      return [
        `You draw, painted with ${scene.texture}, the texture of the ${owner}. It says `,
        strong(named),
        ` (${sure}).${advice}`,
      ];
    if (/untrained/.test(model))
      return ["Untrained weights answer ", strong(named), ` (${sure}), and much the same to any picture.`];
    if (owner === scene.shape)
      return [`Outline and texture agree on ${scene.shape}. It says `, strong(named), ` (${sure}).`];
    const read =
      named === owner
        ? "It has named the texture."
        : named === scene.shape
          ? "It has named the outline."
          : "It has named neither.";
    return [
      `The outline is a ${scene.shape}; the texture, ${scene.texture}, is that of the ${owner}. It says `,
      strong(named),
      ` (${sure}). `,
      read,
    ];
  }

  vitedu.piece("work", build);
})();
