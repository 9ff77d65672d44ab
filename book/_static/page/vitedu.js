/* Sets up the live pieces of a page: <div data-vitedu="NAME">…</div>. A piece's scripts are fetched when the reader
   comes near it, the weights of a model when the piece is touched. What stands in the <div> is for readers elsewhere. */
"use strict";
var vitedu = (globalThis.vitedu = globalThis.vitedu || {});

(function () {
  const base = document.currentScript.src.replace(/[^/]*$/, ""), fetched = {}, builders = {};
  const NEEDS = {
    work: ["vit.js", "drawing.js", "maps.js", "work-rest.js", "work.js"],
    digit: ["vit.js", "maps.js", "digit.js"],
    patches: ["cost.js", "portrait.js", "patches.js"],
    walk: ["cost.js", "walk.js"],
    positions: ["vit.js", "maps.js", "positions.js"],
    lookup: ["chart.js", "lookup.js"],
    alpha: ["maps.js", "alpha.js"],
    schedule: ["chart.js", "schedule.js"],
    ablations: ["ablations-rows.js", "ablations.js"],
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
    const name = root.dataset.vitedu;
    for (const file of NEEDS[name]) await vitedu.script(file);
    const box = vitedu.el("section", { class: `vp vp-${name}`, "aria-label": root.dataset.title || name });
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
    document.querySelectorAll("[data-vitedu]").forEach((root) => { if (NEEDS[root.dataset.vitedu]) near.observe(root); });
    addEventListener("beforeprint", () => document.querySelectorAll("[data-vitedu]:not([data-live])").forEach(mount));
  }
  if (document.readyState === "loading") addEventListener("DOMContentLoaded", start);
  else start();
})();
