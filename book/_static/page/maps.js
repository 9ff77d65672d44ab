/* Small pictures of numbers: attention maps in the book's colours, grey or coloured pictures of pixels, and icons. */
"use strict";
(function () {
  const INFERNO = ["000004", "1b0c41", "4a0c6b", "781c6d", "a52c60", "cf4446", "ed6925", "fb9b06", "f7d13d", "fcffa4"];
  const CUT = ["b35806", "e08214", "fdb863", "fee0b6", "f7f7f7", "d8daeb", "b2abd2", "8073ac", "542788"]; // PuOr
  const parse = (list) => list.map((hex) => [0, 2, 4].map((i) => parseInt(hex.slice(i, i + 2), 16)));

  function scale(stops) {
    const colours = parse(stops);
    return (share) => {
      const at = Math.min(1, Math.max(0, share)) * (colours.length - 1),
        i = Math.min(colours.length - 2, Math.floor(at));
      return colours[i].map((c, k) => c + (at - i) * (colours[i + 1][k] - c));
    };
  }
  const inferno = scale(INFERNO),
    signed = scale(CUT);

  /* Numbers (rows, columns) as coloured squares on a canvas, `colour` taking each from 0 to 1 to [red, green, blue]. */
  function paint(canvas, values, [rows, columns], colour) {
    canvas.width = columns;
    canvas.height = rows;
    const context = canvas.getContext("2d"),
      image = context.createImageData(columns, rows);
    for (let i = 0; i < rows * columns; i++) image.data.set([...colour(values[i]), 255], 4 * i);
    context.putImageData(image, 0, 0);
  }

  /* Weights: black at zero, yellow at the highest. */
  function weights(canvas, values, grid) {
    const top = Math.max(1e-12, ...values);
    paint(canvas, values, grid, (w) => inferno(w / top));
  }

  /* Similarities from -1 (orange) over 0 (white) to 1 (purple). */
  const similarities = (canvas, values, grid) => paint(canvas, values, grid, (s) => signed((s + 1) / 2));

  /* Pixels (C, H, W) as they are; under `map`, (gh, gw), in pale grey. `side` is one number, or [H, W]. */
  function picture(context, pixels, side, map = null, grid = null) {
    const [height, width] = [side].flat().concat(side),
      area = height * width,
      channels = pixels.length / area,
      image = context.createImageData(width, height);
    const top = map ? Math.max(1e-12, ...map) : 1;
    for (let i = 0; i < area; i++) {
      const of = (c) => 255 * pixels[(c % channels) * area + i];
      let colour = [of(0), of(1), of(2)];
      if (map) {
        const row = Math.floor((Math.floor(i / width) / height) * grid[0]),
          column = Math.floor(((i % width) / width) * grid[1]);
        const grey = 0.3 * 255 + (0.7 * (colour[0] + colour[1] + colour[2])) / 3;
        colour = inferno(map[row * grid[1] + column] / top).map((c) => 0.65 * c + 0.35 * grey);
      }
      image.data.set([...colour, 255], 4 * i);
    }
    context.putImageData(image, 0, 0);
  }

  /* The outline of a shape as a small drawing. */
  function shapeIcon(shape) {
    const points = [];
    for (let i = 0; i < 10; i++) {
      const r = i % 2 ? 4 : 9,
        angle = (Math.PI * i) / 5 - Math.PI / 2;
      points.push(`${10 + r * Math.cos(angle)},${10 + r * Math.sin(angle)}`);
    }
    const inside = {
      circle: ["circle", { cx: 10, cy: 10, r: 7.5 }],
      ring: ["circle", { cx: 10, cy: 10, r: 6, fill: "none", stroke: "currentColor", "stroke-width": 4 }],
      square: ["rect", { x: 3.5, y: 3.5, width: 13, height: 13 }],
      cross: ["path", { d: "M7.2 2h5.6v5.2H18v5.6h-5.2V18H7.2v-5.2H2V7.2h5.2z" }],
      triangle: ["polygon", { points: "10,2 18.5,17 1.5,17" }],
      star: ["polygon", { points: points.join(" ") }],
    }[shape];
    return vitedu.el(
      "svg",
      { viewBox: "0 0 20 20", class: "vp-icon", fill: "currentColor", "aria-hidden": "true" },
      vitedu.el(...inside),
    );
  }

  vitedu.maps = { weights, similarities, picture, shapeIcon, paint, inferno, signed };
})();
