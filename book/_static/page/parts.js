/* What the live pieces are made of: elements, radio buttons that look like a bar, boxes to tick, sliders, and timing. */
"use strict";
(function () {
  /* An element: attributes by name, `on…` for listeners, `text` for its text. */
  vitedu.el = function (tag, attributes = {}, ...children) {
    const svg = /^(svg|path|circle|rect|line|g|text|polyline|polygon)$/.test(tag);
    const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) {
      if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
      else if (key === "text") node.textContent = value;
      else if (value !== false && value !== null && value !== undefined)
        node.setAttribute(key, value === true ? "" : value);
    }
    node.append(...children.filter((child) => child !== null && child !== undefined));
    return node;
  };

  let count = 0;
  const id = () => `vp-${++count}`;

  /* One of several: radio buttons that look like one bar. options: [value, content, spoken name]. */
  vitedu.choice = function (label, options, value, onchange) {
    const name = id(),
      group = vitedu.el("fieldset", { class: "vp-choice" }, vitedu.el("legend", { text: label }));
    for (const [key, content, spoken] of options) {
      const input = vitedu.el("input", {
        type: "radio",
        name,
        value: key,
        "aria-label": spoken,
        onchange: () => onchange(key),
      });
      input.checked = key === value;
      group.append(vitedu.el("label", { title: spoken }, input, vitedu.el("span", {}, content)));
    }
    group.choose = (key) =>
      group.querySelectorAll("input").forEach((input) => {
        input.checked = input.value === key;
      });
    return group;
  };

  vitedu.toggle = function (label, checked, onchange) {
    const input = vitedu.el("input", { type: "checkbox", onchange: () => onchange(input.checked) });
    input.checked = checked;
    const box = vitedu.el("label", { class: "vp-toggle" }, input, vitedu.el("span", { text: label }));
    box.set = (on) => {
      input.checked = on;
    };
    return box;
  };

  /* A number on a scale; `show` turns it into words. */
  vitedu.slider = function (label, { min, max, step = 1, value, show = String }, oninput) {
    const words = vitedu.el("output", { text: show(value) });
    const input = vitedu.el("input", { type: "range", min, max, step, "aria-valuetext": show(value) });
    input.value = value;
    const tell = () => {
      words.textContent = show(+input.value);
      input.setAttribute("aria-valuetext", words.textContent);
    };
    input.addEventListener("input", () => {
      tell();
      oninput(+input.value);
    });
    const box = vitedu.el("label", { class: "vp-slider" }, vitedu.el("span", { text: label }), input, words);
    box.set = (to) => {
      input.value = to;
      tell();
    };
    return box;
  };

  vitedu.button = (label, onclick) => vitedu.el("button", { type: "button", class: "vp-button", text: label, onclick });

  /* Calls at most once for each picture of the screen. */
  vitedu.onceAFrame = function (work) {
    let waiting = false;
    return () => {
      if (waiting) return;
      waiting = true;
      requestAnimationFrame(() => {
        waiting = false;
        work();
      });
    };
  };

  /* Calls when the reader first touches, points at or tabs into a piece. */
  vitedu.atFirstTouch = function (box, work) {
    const kinds = ["pointerenter", "pointerdown", "focusin"];
    const touched = () => {
      kinds.forEach((kind) => box.removeEventListener(kind, touched));
      work();
    };
    kinds.forEach((kind) => box.addEventListener(kind, touched));
  };

  vitedu.percent = (share) =>
    share > 0.995 && share < 0.9995 ? `${(100 * share).toFixed(1)} %` : `${Math.round(100 * share)} %`;
  vitedu.number = (n) => Math.round(n).toLocaleString("en-GB");

  /* 1,771,776 -> 1.77 M */
  const UNITS = [
    [1e15, "P"],
    [1e12, "T"],
    [1e9, "G"],
    [1e6, "M"],
    [1e3, "k"],
    [1, ""],
  ];
  vitedu.short = (n) => {
    const [by, unit] = UNITS.find(([u]) => n >= u) || [1, ""];
    return `${(n / by).toPrecision(3)} ${unit}`;
  };
})();
