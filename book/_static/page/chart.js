/* A small line chart as SVG: axes with ticks, lines, points; drawn anew when a slider moves. */
"use strict";
(function () {
  const { el } = vitedu,
    HEIGHT = 270,
    LEFT = 46,
    BOTTOM = 40,
    TOP = 14,
    RIGHT = 14;
  const WIDTH = innerWidth < 600 ? 400 : 640; // so that the words keep their size on a phone

  /* axes: {x: [from, to, ticks, name], y: the same}. Returns {node, draw([{line|points, kind, label}])}. */
  vitedu.chart = function (axes, label) {
    const node = el("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "vp-chart", role: "img", "aria-label": label });
    const across = (x) => LEFT + ((x - axes.x[0]) / (axes.x[1] - axes.x[0])) * (WIDTH - LEFT - RIGHT);
    const up = (y) => HEIGHT - BOTTOM - ((y - axes.y[0]) / (axes.y[1] - axes.y[0])) * (HEIGHT - BOTTOM - TOP);
    const frame = [el("path", { class: "vp-axis", d: `M${LEFT} ${TOP}V${HEIGHT - BOTTOM}H${WIDTH - RIGHT}` })];
    for (const x of axes.x[2])
      frame.push(el("text", { x: across(x), y: HEIGHT - BOTTOM + 17, "text-anchor": "middle", text: x }));
    for (const y of axes.y[2]) {
      frame.push(el("text", { x: LEFT - 8, y: up(y) + 4, "text-anchor": "end", text: y }));
      frame.push(el("path", { class: "vp-gridline", d: `M${LEFT} ${up(y)}H${WIDTH - RIGHT}` }));
    }
    frame.push(
      el("text", {
        x: (LEFT + WIDTH - RIGHT) / 2,
        y: HEIGHT - 4,
        "text-anchor": "middle",
        class: "vp-axis-name",
        text: axes.x[3],
      }),
    );
    frame.push(
      el("text", {
        x: -(TOP + HEIGHT - BOTTOM) / 2,
        y: 12,
        transform: "rotate(-90)",
        "text-anchor": "middle",
        class: "vp-axis-name",
        text: axes.y[3],
      }),
    );
    function draw(parts) {
      const made = parts.map(({ line, points, kind = "", size = () => 5 }) =>
        line
          ? [
              el("path", {
                class: `vp-line ${kind}`,
                d: line.map(([x, y], i) => `${i ? "L" : "M"}${across(x).toFixed(1)} ${up(y).toFixed(1)}`).join(""),
              }),
            ]
          : points.map(([x, y], i) =>
              el("circle", { class: `vp-point ${kind}`, cx: across(x), cy: up(y), r: size(i) }),
            ),
      );
      node.replaceChildren(...frame, ...made.flat());
    }
    return { node, draw };
  };
})();
