/* Sets up the live pieces of a page: <div data-vitedu="NAME">…</div>. A piece's scripts are fetched when the reader
   comes near it, the weights of a model when the piece is touched. What stands in the <div> is for readers elsewhere. */
"use strict";
var vitedu = (globalThis.vitedu = globalThis.vitedu || {});

(function () {
  const base = document.currentScript.src.replace(/[^/]*$/, ""),
    fetched = {},
    builders = {};
  const WORK = [
    "tensors.js",
    "vit.js",
    "hybrid.js",
    "drawing.js",
    "maps.js",
    "work-rest.js",
    "work-maps.js",
    "work-picture.js",
    "work-tools.js",
    "work.js",
  ];
  /* name: [scripts, title, how it is used] */
  const PIECES = {
    work: [
      WORK,
      "A Vision Transformer at work",
      "Place an object, or draw one. Point at a patch to ask it; drag to move the object. Keys: arrows, with Shift they move.",
    ],
    digit: [
      ["tensors.js", "vit.js", "maps.js", "digit-rest.js", "digit-pad.js", "digit.js"],
      "A digit that you draw",
      "With a mouse or a finger; by keys, arrows move the pen and draw with Shift.",
    ],
    patches: [
      ["cost.js", "portrait.js", "patches.js"],
      "The patch dial",
      "Turn P and watch what attention can point at, and what it costs.",
    ],
    walk: [
      ["cost.js", "walk-steps.js", "walk.js"],
      "The shape walk",
      "Choose a model, or numbers of your own, and walk through it. Arrow keys or a click choose the step.",
    ],
    positions: [
      ["tensors.js", "vit.js", "maps.js", "positions.js"],
      "Which places are alike?",
      "Point at a place, or move with the arrow keys.",
    ],
    lookup: [
      ["tensors.js", "vit.js", "chart.js", "lookup.js"],
      "A soft look-up",
      "Move the query along the road, and sharpen the look-up.",
    ],
    alpha: [
      ["tensors.js", "vit.js", "maps.js", "alpha.js"],
      "A head that becomes one tap of a kernel",
      "Sharpen it with α; tap, or use the arrow keys, to choose its offset Δ.",
    ],
    schedule: [
      ["chart.js", "schedule.js"],
      "The rate over a run",
      "Choose how it rises and falls, and read off a step.",
    ],
    ablations: [
      ["ablations-rows.js", "ablations.js"],
      "One change at a time, to sort and to search",
      "Press a heading to sort by it.",
    ],
  };

  vitedu.needs = Object.values(PIECES).map(([scripts]) => ["parts.js", ...scripts]);

  /* A classic script, so that pages opened from disk may load it; each once. */
  vitedu.script = (file) =>
    (fetched[file] ||= new Promise((done, fail) => {
      const script = document.createElement("script");
      script.src = base + file;
      script.onload = done;
      script.onerror = () => {
        delete fetched[file];
        fail(new Error(`${file} could not be loaded`));
      };
      document.head.append(script);
    }));

  vitedu.fetchModel = async (name) => {
    const of = name.split(":")[0];
    if (!vitedu.registered(of)) await vitedu.script(`weights/${of}.js`);
    return vitedu.model(name);
  };

  /* A piece hands over what builds it: (root, options) -> nothing. */
  vitedu.piece = (name, build) => {
    builders[name] = build;
  };

  async function mount(root) {
    const name = root.dataset.vitedu,
      [scripts, title, how] = PIECES[name];
    for (const file of ["parts.js", ...scripts]) await vitedu.script(file);
    const { el } = vitedu,
      box = el("div", { class: `vp vp-${name}`, role: "region", "aria-label": title });
    root.prepend(box);
    box.append(el("p", { class: "vp-name", text: title }), el("p", { class: "vp-how", text: how }));
    builders[name](box, root.dataset);
    root.replaceChildren(box);
    root.dataset.live = "";
  }

  /* A picture in the <div> stays until the reader asks for the piece. */
  function offer(root) {
    const button = document.createElement("button");
    Object.assign(button, { type: "button", className: "vp-offer", textContent: "Try it: run the model here" });
    button.addEventListener("click", async () => {
      button.disabled = true;
      await mount(root);
      root.querySelector("[tabindex='0']").focus();
    });
    const caption = root.querySelector("figcaption");
    if (caption) caption.before(button);
    else root.append(button);
  }

  function start() {
    const roots = [...document.querySelectorAll("[data-vitedu]")].filter((root) => root.dataset.vitedu in PIECES);
    const waiting = roots.filter((root) => !root.querySelector("img")); // these come as the reader comes near
    const near = new IntersectionObserver(
      (seen) => seen.forEach((entry) => entry.isIntersecting && come(entry.target)),
      {
        rootMargin: "800px",
      },
    );
    const come = (root) => {
      near.unobserve(root);
      if (waiting.includes(root)) mount(waiting.splice(waiting.indexOf(root), 1)[0]);
    };
    roots.filter((root) => !waiting.includes(root)).forEach(offer);
    waiting.forEach((root) => near.observe(root));
    addEventListener("beforeprint", () => [...waiting].forEach(come));
  }
  if (document.readyState === "loading") addEventListener("DOMContentLoaded", start);
  else start();
})();
