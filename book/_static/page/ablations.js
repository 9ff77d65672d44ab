/* Chapter 9: the recorded ablations, to sort and to filter. Gains are taken seed by seed, as in the chapter. */
"use strict";
(function () {
  const { el, choice } = vitedu,
    REFERENCE = "+ mirror images";
  const GROUPS = { all: "all", ladder: "the ladder", change: "one change", rate: "batch and rate", curve: "slips" };
  const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;
  const spread = (values) =>
    Math.sqrt(values.reduce((sum, v) => sum + (v - mean(values)) ** 2, 0) / (values.length - 1));

  /* Points ahead of the reference, the book's recipe with mirror images: mean and standard deviation over the seeds. */
  vitedu.gain = function (row, base) {
    const points = row.values.map((v, i) => 100 * (v - base.values[i]));
    return [mean(points), spread(points)];
  };

  function build(box) {
    const base = vitedu.ablations.find((row) => row.name === REFERENCE),
      state = { by: "gain", down: true, group: "change", words: "" };
    const all = vitedu.ablations.map((row) => ({
      ...row,
      accuracy: 100 * mean(row.values),
      std: 100 * spread(row.values),
      gain: vitedu.gain(row, base)[0],
      gainStd: vitedu.gain(row, base)[1],
    }));
    const columns = [
      ["name", "what"],
      ["accuracy", "accuracy (%)"],
      ["gain", "ahead of the reference (points)"],
      ["seconds", "seconds"],
    ];
    const rows = el("tbody"),
      says = el("p", { class: "vp-note", "aria-live": "polite" }),
      heads = {};
    const head = el(
      "tr",
      {},
      ...columns.map(
        ([key, text]) =>
          (heads[key] = el(
            "th",
            { scope: "col" },
            el("button", {
              type: "button",
              text,
              onclick: () => {
                state.down = state.by === key ? !state.down : key !== "name";
                state.by = key;
                draw();
              },
            }),
          )),
      ),
    );
    const search = el("input", {
      type: "search",
      placeholder: "find, for example: weight decay",
      "aria-label": "Find in the table",
      oninput: () => {
        state.words = search.value.toLowerCase();
        draw();
      },
    });
    function draw() {
      const shown = all.filter(
        (row) =>
          (state.group === "all" || row.group === state.group || row === all.find((one) => one.name === REFERENCE)) &&
          row.name.toLowerCase().includes(state.words),
      );
      shown.sort(
        (a, b) =>
          (state.by === "name" ? a.name.localeCompare(b.name) : a[state.by] - b[state.by]) * (state.down ? -1 : 1),
      );
      for (const [key] of columns)
        heads[key].setAttribute("aria-sort", state.by !== key ? "none" : state.down ? "descending" : "ascending");
      rows.replaceChildren(
        ...shown.map((row) =>
          el(
            "tr",
            { class: row.name === REFERENCE ? "vp-here" : "" },
            el("th", { scope: "row", text: row.name === REFERENCE ? "the reference" : row.name }),
            el("td", { text: `${row.accuracy.toFixed(1)} ± ${row.std.toFixed(1)}` }),
            el(
              "td",
              { class: "vp-gain" },
              row.name === REFERENCE
                ? "–"
                : el("span", {
                    class: Math.abs(row.gain) > 2.5 * row.gainStd ? "vp-sure" : "",
                    text: `${row.gain > 0 ? "+" : "−"}${Math.abs(row.gain).toFixed(1)} ± ${row.gainStd.toFixed(1)}`,
                  }),
            ),
            el("td", { text: row.seconds.toFixed(0) }),
          ),
        ),
      );
      says.textContent = `${shown.length} of ${all.length} rows, three seeds each. Bold: the mean lies more than 2.5 standard deviations from zero, as chapter 9 marks it.`;
    }
    box.append(
      el(
        "div",
        { class: "vp-tools" },
        choice(
          "rows",
          Object.entries(GROUPS).map(([key, name]) => [key, name, name]),
          state.group,
          (group) => {
            state.group = group;
            draw();
          },
        ),
        search,
      ),
      el(
        "div",
        { class: "vp-scroll", tabindex: 0, role: "region", "aria-label": "The table of ablations" },
        el("table", { class: "vp-steps" }, el("thead", {}, head), rows),
      ),
      says,
    );
    draw();
  }
  vitedu.piece("ablations", build);
})();
