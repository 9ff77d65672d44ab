/* Predict, then run: what answers a prompt is covered until the reader has committed, then shown beside the guess.

   book/tools/site/predictions.py puts a <div class="predict"> behind each prompt and names the cells that answer it.
   Without this file all answers stand open, and so they do in print and where the reader has turned predictions off. */
"use strict";
(function () {
  const { keep, make } = vitedu, OFF = "predictions-off", GUESSES = "predictions";

  const isOff = () => keep.read(OFF, false);
  const guessOf = (box) => keep.of(GUESSES, vitedu.page())[box.dataset.key];
  const answerOf = (box) => JSON.parse(box.dataset.answer || "null");

  /* What a prompt covers: the outputs of its cells, and the lines behind them that give the answer away. */
  function coveredBy(box) {
    const found = [];
    for (const id of box.dataset.cells.split(" ")) {
      const cell = document.getElementById(id), output = cell?.querySelector(":scope > .cell_output");
      if (output) found.push(output);
      for (let next = cell?.nextElementSibling; next?.classList.contains("predict-told"); next = next.nextElementSibling)
        found.push(next);
    }
    return found;
  }

  /* --- how close a guess was --- */

  /* "1/64", "about 3,000", "10^6", "12 %" -> a number, or NaN. */
  function readNumber(text) {
    const plain = text.replace(/[,\s_]/g, "").replace(/−/g, "-").replace(/million/i, "e6")
      .replace(/(\d*)[×x*]?10\^(-?\d+)/i, (all, times, power) => `${times || 1}e${power}`);
    const [, a, b] = plain.match(/(-?\d*\.?\d+(?:e[+-]?\d+)?)(?:\/(\d*\.?\d+))?/i) ?? [];
    return a === undefined ? NaN : b === undefined ? +a : a / b;
  }

  function closeness(box, guess) {
    const answer = answerOf(box), { kind, unit = "" } = box.dataset;
    if (kind === "choice") return [answer].flat().includes(guess) ? ["right", "As you said."] : ["far", "Not what you said."];
    if (kind !== "number") return ["", ""];
    const mine = readNumber(guess), [low, high] = Array.isArray(answer) ? answer : [answer, answer];
    if (Number.isNaN(mine)) return ["", ""];
    if (mine >= low && mine <= high) return ["right", low === high ? "Exactly." : "That is it."];
    const near = mine < low ? low : high, gap = Math.abs(mine - near), digits = (x) => +x.toPrecision(2);
    if (unit === "%") return [gap <= 5 ? "near" : "far", `${gap < 1 ? "Less than one point" : digits(gap) + " points"} off.`];
    if (mine <= 0 || near <= 0 || "exact" in box.dataset) return [gap <= 1 ? "near" : "far", `Off by ${digits(gap)}.`];
    const factor = Math.max(mine / near, near / mine);
    if (factor <= 1.1) return ["right", "Within a tenth of it."];
    return [factor <= 2 ? "near" : "far", `${mine < near ? "Too small" : "Too large"} by a factor of ${digits(factor)}.`];
  }

  function inWords(box) {
    const answer = answerOf(box), { kind, unit = "" } = box.dataset;
    if (answer === null) return "";
    const join = kind === "choice" ? " or " : " to ", space = unit && unit !== "%" ? " " : unit && "\u00a0";
    return [answer].flat().map((part) => (typeof part === "number" ? part.toLocaleString("en") : part)).join(join) + space + unit;
  }

  /* --- covering and showing --- */

  function cover(box) {
    for (const part of coveredBy(box)) {
      part.setAttribute("hidden", "until-found"); // the browser's own search in the page opens it
      if (!part.classList.contains("cell_output") || part.previousElementSibling?.matches(".predict-cover")) continue;
      const link = make("a", { href: `#${box.id}`, onclick: (event) => { event.preventDefault(); field(box)?.focus(); } }, "Predict first");
      const show = make("button", { type: "button", class: "predict-quiet", onclick: () => { uncover(box); focusOn(part); } }, "Show it all the same");
      part.before(make("p", { class: "predict-cover" }, "The answer is covered. ", link, " ", show));
    }
  }

  function uncover(box) {
    for (const part of coveredBy(box)) {
      part.removeAttribute("hidden");
      if (part.previousElementSibling?.matches(".predict-cover")) part.previousElementSibling.remove();
    }
    dispatchEvent(new Event("resize")); // boxes that scroll are looked for anew
  }

  function focusOn(part) {
    part.tabIndex = -1;
    part.focus({ preventScroll: true });
  }

  const field = (box) => box.querySelector("input, textarea, button");

  /* --- the box --- */

  function controls(box) {
    const name = `guess-${box.dataset.key}`, { kind, unit } = box.dataset;
    if (kind === "choice") {
      const choices = JSON.parse(box.dataset.choices).map((choice) =>
        make("label", {}, make("input", { type: "radio", name, value: choice, required: true }), " ", choice));
      return make("fieldset", {}, make("legend", {}, "Your prediction"), ...choices);
    }
    const input = kind === "number"
      ? make("input", { name, required: true, inputmode: "decimal", autocomplete: "off", size: 10 })
      : make("textarea", { name, required: true, rows: 2, placeholder: "A few words will do." });
    return make("label", {}, make("span", {}, "Your prediction"), input, kind === "number" && unit ? ` ${unit}` : "");
  }

  function ask(box) {
    const form = make("form", { onsubmit: (event) => {
      event.preventDefault();
      const guess = String(new FormData(form).get(`guess-${box.dataset.key}`)).trim();
      if (!guess) return;
      keep.set(GUESSES, vitedu.page(), box.dataset.key, { guess, verdict: closeness(box, guess)[0] });
      show(box, guess);
      box.querySelector(".predict-mine").focus();
    } }, controls(box), make("button", { type: "submit" }, "Commit, and show"));
    const off = make("button", { type: "button", class: "predict-quiet", onclick: () => turn(true) }, "Stop asking, on all pages");
    box.replaceChildren(form, off);
    cover(box);
  }

  function show(box, guess) {
    const [verdict, words] = closeness(box, guess), answer = inWords(box);
    const again = make("button", { type: "button", class: "predict-quiet", onclick: () => {
      keep.set(GUESSES, vitedu.page(), box.dataset.key, undefined);
      ask(box);
      field(box).focus();
    } }, "Predict anew");
    const mine = make("p", { class: "predict-mine", tabindex: -1 }, make("span", {}, "You said "), make("q", {}, guess), ". ");
    if (answer) mine.append(make("span", {}, "The page: "), make("strong", {}, answer), ". ");
    if (words) mine.append(make("span", { class: `predict-${verdict}` }, words));
    else mine.append("Compare it with what the cell gives.");
    box.replaceChildren(mine, again);
    uncover(box);
    for (const id of box.dataset.cells.split(" ").slice(0, 1)) { // beside the answer, too: it may stand far below the prompt
      document.querySelector(`#${CSS.escape(id)} > .predict-beside`)?.remove();
      document.querySelector(`#${CSS.escape(id)} > .cell_output`)?.before(
        make("p", { class: "predict-beside" }, "You said ", make("q", {}, guess), ". ", words));
    }
  }

  function turn(off) {
    keep.write(OFF, off);
    document.querySelectorAll("div.predict").forEach(set);
    document.querySelector("div.predict button")?.focus();
  }

  function set(box) {
    const kept = guessOf(box);
    for (const cell of box.dataset.cells.split(" ")) document.querySelector(`#${CSS.escape(cell)} > .predict-beside`)?.remove();
    box.hidden = false;
    box.classList.toggle("predict-is-off", isOff());
    if (isOff()) {
      uncover(box);
      box.replaceChildren(make("button", { type: "button", class: "predict-quiet", onclick: () => turn(false) }, "Predictions are off: ask me again"));
    } else if (kept) show(box, kept.guess);
    else ask(box);
  }

  vitedu.predictions = { turn, isOff, readNumber, closeness };

  document.addEventListener("DOMContentLoaded", () => {
    const boxes = [...document.querySelectorAll("div.predict")];
    boxes.forEach(set);
    const all = (then) => () => boxes.forEach((box) => (isOff() || guessOf(box) ? 0 : then(box)));
    addEventListener("beforeprint", all(uncover));
    addEventListener("afterprint", all(cover));
    document.addEventListener("beforematch", (event) => {
      boxes.filter((box) => coveredBy(box).some((part) => part.contains(event.target))).forEach(uncover);
    });
  });
})();
