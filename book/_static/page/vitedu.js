/* Sets up the live pieces of a page: <div data-vitedu="NAME">…</div>. A piece's scripts are fetched when the reader
   comes near it, the weights of a model when the piece is touched. What stands in the <div> is for readers elsewhere. */
"use strict";
var vitedu = (globalThis.vitedu = globalThis.vitedu || {});

(function () {
  const base = document.currentScript.src.replace(/[^/]*$/, ""), fetched = {}, builders = {};
  const WORK = ["vit.js", "hybrid.js", "drawing.js", "maps.js", "work-rest.js", "work.js"];
  /* name: [scripts, title, how it is used] */
  const PIECES = {
    work: [WORK, "A Vision Transformer at work", "Place an object, or draw one. Point at a patch to ask it; drag to move the object. Keys: arrows, with Shift they move."],
    digit: [["vit.js", "maps.js", "digit-rest.js", "digit.js"], "A digit that you draw", "With a mouse or a finger; by keys, arrows move the pen and draw with Shift."],
    patches: [["cost.js", "portrait.js", "patches.js"], "The patch dial", "Turn P and watch what attention can point at, and what it costs."],
    walk: [["cost.js", "walk.js"], "The shape walk", "Choose a model, or numbers of your own, and walk through it. Arrow keys or a click choose the step."],
    positions: [["vit.js", "maps.js", "positions.js"], "Which places are alike?", "Point at a place, or move with the arrow keys."],
    lookup: [["vit.js", "chart.js", "lookup.js"], "A soft look-up", "Move the query along the road, and sharpen the look-up."],
    alpha: [["vit.js", "maps.js", "alpha.js"], "A head that becomes one tap of a kernel", "Sharpen it with α; tap, or use the arrow keys, to choose its offset Δ."],
    schedule: [["chart.js", "schedule.js"], "The rate over a run", "Choose how it rises and falls, and read off a step."],
    ablations: [["ablations-rows.js", "ablations.js"], "One change at a time, to sort and to search", "Press a heading to sort by it."],
  };

  /* A classic script, so that pages opened from disk may load it; each once. */
  vitedu.script = (file) =>
    (fetched[file] ||= new Promise((done, fail) => {
      const script = document.createElement("script");
      script.src = base + file;
      script.onload = done;
      script.onerror = () => { delete fetched[file]; fail(new Error(`${file} could not be loaded`)); };
      document.head.append(script);
    }));

  vitedu.fetchModel = async (name) => {
    const of = name.split(":")[0];
    if (!vitedu.registered(of)) await vitedu.script(`weights/${of}.js`);
    return vitedu.model(name);
  };

  /* A piece hands over what builds it: (root, options) -> nothing. */
  vitedu.piece = (name, build) => { builders[name] = build; };

  async function mount(root) {
    const name = root.dataset.vitedu, [scripts, title, how] = PIECES[name], { el } = vitedu;
    for (const file of scripts) await vitedu.script(file);
    const box = el("div", { class: `vp vp-${name}`, role: "region", "aria-label": title });
    root.prepend(box);
    box.append(el("p", { class: "vp-name", text: title }), el("p", { class: "vp-how", text: how }));
    builders[name](box, root.dataset);
    root.replaceChildren(box);
    root.dataset.live = "";
  }

  /* --- what pieces are made of --- */

  /* An element: attributes by name, `on…` for listeners, `text` for its text. */
  vitedu.el = function (tag, attributes = {}, ...children) {
    const svg = /^(svg|path|circle|rect|line|g|text|polyline|polygon)$/.test(tag);
    const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) {
      if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
      else if (key === "text") node.textContent = value;
      else if (value !== false && value !== null && value !== undefined) node.setAttribute(key, value === true ? "" : value);
    }
    node.append(...children.filter((child) => child !== null && child !== undefined));
    return node;
  };

  let count = 0;
  const id = () => `vp-${++count}`;

  /* One of several: radio buttons that look like one bar. options: [value, content, spoken name]. */
  vitedu.choice = function (label, options, value, onchange) {
    const name = id(), group = vitedu.el("fieldset", { class: "vp-choice" }, vitedu.el("legend", { text: label }));
    for (const [key, content, spoken] of options) {
      const input = vitedu.el("input", { type: "radio", name, value: key, "aria-label": spoken, onchange: () => onchange(key) });
      input.checked = key === value;
      group.append(vitedu.el("label", { title: spoken }, input, vitedu.el("span", {}, content)));
    }
    group.choose = (key) => group.querySelectorAll("input").forEach((input) => { input.checked = input.value === key; });
    return group;
  };

  vitedu.toggle = function (label, checked, onchange) {
    const input = vitedu.el("input", { type: "checkbox", onchange: () => onchange(input.checked) });
    input.checked = checked;
    const box = vitedu.el("label", { class: "vp-toggle" }, input, vitedu.el("span", { text: label }));
    box.set = (on) => { input.checked = on; };
    return box;
  };

  /* A number on a scale; `show` turns it into words. */
  vitedu.slider = function (label, { min, max, step = 1, value, show = String }, oninput) {
    const words = vitedu.el("output", { text: show(value) });
    const input = vitedu.el("input", { type: "range", min, max, step, "aria-valuetext": show(value) });
    input.value = value;
    const tell = () => { words.textContent = show(+input.value); input.setAttribute("aria-valuetext", words.textContent); };
    input.addEventListener("input", () => { tell(); oninput(+input.value); });
    const box = vitedu.el("label", { class: "vp-slider" }, vitedu.el("span", { text: label }), input, words);
    box.set = (to) => { input.value = to; tell(); };
    return box;
  };

  vitedu.button = (label, onclick) => vitedu.el("button", { type: "button", class: "vp-button", text: label, onclick });

  /* Calls at most once for each picture of the screen. */
  vitedu.onceAFrame = function (work) {
    let waiting = false;
    return () => {
      if (waiting) return;
      waiting = true;
      requestAnimationFrame(() => { waiting = false; work(); });
    };
  };

  /* Calls when the reader first touches, points at or tabs into a piece. */
  vitedu.atFirstTouch = function (box, work) {
    const kinds = ["pointerenter", "pointerdown", "focusin"];
    const touched = () => { kinds.forEach((kind) => box.removeEventListener(kind, touched)); work(); };
    kinds.forEach((kind) => box.addEventListener(kind, touched));
  };

  vitedu.percent = (share) => (share > 0.995 && share < 0.9995 ? `${(100 * share).toFixed(1)} %` : `${Math.round(100 * share)} %`);
  vitedu.number = (n) => Math.round(n).toLocaleString("en-GB");

  function start() {
    const near = new IntersectionObserver((seen) => {
      for (const { target } of seen.filter((entry) => entry.isIntersecting)) { near.unobserve(target); mount(target); }
    }, { rootMargin: "800px" });
    document.querySelectorAll("[data-vitedu]").forEach((root) => { if (root.dataset.vitedu in PIECES) near.observe(root); });
    addEventListener("beforeprint", () => document.querySelectorAll("[data-vitedu]:not([data-live])").forEach(mount));
  }
  if (document.readyState === "loading") addEventListener("DOMContentLoaded", start);
  else start();
})();
