/* What a reader has done: predictions made, exercises ticked. Kept in this browser alone; how_to_use.md has the button that
   forgets it. book/tools/site/place.py says how many there are in each chapter. */
"use strict";
(function () {
  const { keep, make } = vitedu, TICKS = "exercises";

  const amounts = () => JSON.parse(document.getElementById("chapter-amounts")?.textContent ?? "{}");
  const done = (page) => ["predictions", TICKS].map((name) => Object.keys(keep.of(name, page)).length);

  function inWords(page) {
    const [predictions, exercises] = amounts()[page] ?? [0, 0], [made, solved] = done(page).map((count, i) => Math.min(count, [predictions, exercises][i]));
    const parts = [];
    if (predictions) parts.push(`${made} of ${predictions} predictions`);
    if (exercises) parts.push(`${solved} of ${exercises} exercises`);
    return [parts.join(", "), made + solved, predictions + exercises];
  }

  /* A box to tick at each exercise. */
  function addTicks() {
    for (const heading of document.querySelectorAll("section[id^='exercise-'] > h3")) {
      const key = heading.textContent.match(/\d+\.\d+/)?.[0];
      if (!key) continue;
      const box = make("input", { type: "checkbox", onchange: (event) => keep.set(TICKS, vitedu.page(), key, event.target.checked || undefined) });
      box.checked = key in keep.of(TICKS, vitedu.page());
      heading.after(make("label", { class: "tick" }, box, ` I have solved ${key}`));
    }
  }

  /* How far one is: under the strip of a chapter, on the squares of the first page, in the list at the side. */
  function tell() {
    const [words, mine] = inWords(vitedu.page()), strip = document.querySelector("nav.where");
    strip?.querySelector("p")?.remove();
    if (strip && words) strip.append(make("p", {}, mine ? `So far ${words}.` : `This chapter has ${words.replace(/0 of /g, "")}.`));
    for (const link of document.querySelectorAll("ol.path a[data-page], nav.where a[data-page]")) {
      const [text, count, all] = inWords(link.dataset.page), square = link.closest("li");
      square.style.setProperty("--done", all ? count / all : 0);
      square.querySelector(".state.done")?.remove();
      if (count && square.closest("ol.path")) square.querySelector("b").after(make("span", { class: "state done", title: text }, `${count} of ${all}`));
    }
    for (const link of document.querySelectorAll(".bd-sidebar-primary a.reference.internal")) {
      const page = Object.keys(amounts()).find((name) => link.href.endsWith(`/${name}.html`)) ?? (link.getAttribute("href") === "#" ? vitedu.page() : "");
      link.querySelector(".so-far")?.remove();
      const [text, count, all] = page ? inWords(page) : ["", 0, 0];
      if (count) link.append(make("span", { class: "so-far", title: text }, ` ${count}/${all}`));
    }
  }

  /* On "How to use this book": the switch of the predictions, and the button that forgets. */
  function addSettings(place) {
    const asks = make("input", { type: "checkbox", onchange: (event) => keep.write("predictions-off", !event.target.checked) });
    asks.checked = !keep.read("predictions-off", false);
    const said = make("p", { role: "status" });
    const forget = make("button", { type: "button", onclick: () => {
      for (const name of ["predictions", TICKS, "korean", "predictions-off"]) keep.write(name, undefined);
      asks.checked = true;
      said.textContent = "All forgotten: predictions, ticks and settings.";
    } }, "Forget all that I have done");
    const rows = Object.keys(amounts()).filter((page) => inWords(page)[1]).map((page) =>
      make("li", {}, `Chapter ${+page.match(/\d+/)[0]}: ${inWords(page)[0]}`));
    place.replaceChildren(make("label", {}, asks, " Ask me to predict before I see an answer"),
      rows.length ? make("ul", {}, ...rows) : make("p", {}, "Nothing is kept yet."), forget, said);
  }

  document.addEventListener("DOMContentLoaded", () => {
    addTicks();
    tell();
    document.querySelectorAll(".reader-settings").forEach(addSettings);
    document.addEventListener("vitedu:kept", tell);
  });
})();
