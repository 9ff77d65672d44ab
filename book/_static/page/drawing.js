/* The drawn pictures of `vitedu.data.shapes`, one at a time: object, texture, colour, background, bars of clutter.

   vitedu.drawing.picture(scene) -> {pixels: 3·32·32 numbers from 0 to 1, mask: 32·32 of 0 to 1}

   A scene holds the same random numbers, from 0 to 1, as the module draws for a picture, so that both draw the same. */
"use strict";
(function () {
  const SIDE = 32,
    TAU = 2 * Math.PI,
    REACH = 1.56,
    RADIUS = [0.15, 0.25];
  const SHAPES = ["circle", "square", "triangle", "cross", "ring", "star"];
  const COLOURS = ["red", "yellow", "green", "cyan", "blue", "magenta"];
  const TEXTURES = ["plain", "stripes", "checks", "dots", "mesh", "speckle"];
  const clamp = (x, low = 0, high = 1) => Math.min(high, Math.max(low, x)),
    mod = (a, n) => ((a % n) + n) % n;

  /* Signed distance to the outline, negative inside; every shape has the area π. */
  function distanceTo(shape, x, y) {
    const length = Math.hypot(x, y);
    if (shape === "circle") return length - 1;
    if (shape === "ring") {
      const outer = Math.sqrt(4 / 3);
      return Math.abs(length - 0.75 * outer) - 0.25 * outer;
    }
    if (shape === "cross") {
      const arm = Math.sqrt((9 * Math.PI) / 20),
        a = Math.abs(x),
        b = Math.abs(y);
      return Math.min(Math.max(a - arm, b - arm / 3), Math.max(a - arm / 3, b - arm));
    }
    const [points, notch] = { triangle: [3, 1 / 2], square: [4, Math.SQRT1_2], star: [5, 0.5] }[shape];
    const sector = Math.PI / points,
      tip = Math.sqrt(Math.PI / (points * notch * Math.sin(sector)));
    const angle = Math.abs(mod(Math.atan2(y, x) + sector, 2 * sector) - sector);
    const along = length * Math.cos(angle) - tip,
      above = length * Math.sin(angle);
    const edgeX = tip * (notch * Math.cos(sector) - 1),
      edgeY = tip * notch * Math.sin(sector);
    return (along * edgeY - above * edgeX) / Math.hypot(edgeX, edgeY);
  }

  const SHARP = SIDE / 14;
  const WAVES = {
    stripes: (u) => clamp(SHARP * Math.sin(u) + 0.5) - 0.5,
    checks: (u, v) => clamp(SHARP * 2 * Math.sin(u / 1.5) * Math.sin(v / 1.5) + 0.5) - 0.5,
    dots: (u, v) => clamp(SHARP * (Math.cos(u) + Math.cos(v) - 0.7) + 0.5) - 0.26,
    mesh: (u, v) => 0.34 - clamp(SHARP * (Math.max(Math.cos(u), Math.cos(v)) - 0.8) + 0.5),
    speckle: (u, v, noise) => (noise > 0.5) - 0.5,
  };

  /* Brightness of the object's surface at a place, seen from the object; all textures have the mean 0.62. */
  function tone(texture, across, down, phase, noise) {
    if (texture === "plain") return 0.62;
    const [u, v] = [TAU * (7 * across + phase[0]), TAU * (7 * down + phase[1])];
    return 0.62 + 0.6 * WAVES[texture](u, v, noise);
  }

  function rgb(hue, saturation, value) {
    return [0, 4, 2].map((shift) => {
      const ramp = Math.abs(mod(hue * 6 + shift, 6) - 3) - 1;
      return value * (1 - saturation * (1 - clamp(ramp)));
    });
  }

  const paintOf = (colour, u) =>
    rgb((COLOURS.indexOf(colour) + 0.4 * (u[0] - 0.5)) / COLOURS.length, 0.75 + 0.25 * u[1], 0.8 + 0.15 * u[2]);

  function ground(x, y, u) {
    const [across, down] = [x / (SIDE - 1) - 0.5, y / (SIDE - 1) - 0.5];
    let wave = 0;
    for (const i of [0, 1]) {
      const angle = TAU * u[2 * i],
        axis = Math.cos(angle) * across + Math.sin(angle) * down;
      wave += 0.06 * Math.sin(5 * axis + TAU * u[2 * i + 1]);
    }
    return rgb(u[4], 0.3 * u[5], 0.25 + 0.35 * u[6]).map((c) => c + wave);
  }

  /* How much of a pixel a bar covers, and its colour. */
  function bar(x, y, u) {
    const [dx, dy, angle] = [(x + 0.5) / SIDE - u[0], (y + 0.5) / SIDE - u[1], Math.PI * u[2]];
    const [cos, sin] = [Math.cos(angle), Math.sin(angle)],
      [length, breadth] = [0.05 + 0.1 * u[3], 0.015 + 0.025 * u[4]];
    const distance = Math.max(Math.abs(cos * dx + sin * dy) - length, Math.abs(cos * dy - sin * dx) - breadth);
    return { cover: clamp(0.5 - distance * SIDE), paint: rgb(u[5], 0.6, 0.35 + 0.4 * u[6]) };
  }

  /* Where the object is: radius, centre and turn, in picture sides and radians. */
  function placeOf(u) {
    const radius = RADIUS[0] + (RADIUS[1] - RADIUS[0]) * u[0],
      margin = REACH * radius + 1 / SIDE;
    return {
      radius,
      x: margin + (1 - 2 * margin) * u[1],
      y: margin + (1 - 2 * margin) * u[2],
      turn: TAU * u[3],
      margin,
    };
  }

  /* scene: {shape, texture, colour, place (4), phase (2), tint (3), ground (7), bars (n of 7), noise (32·32)}; with
     `free`, 32·32 numbers that say how much of each pixel is covered, that is drawn instead of the shape. */
  function picture(scene) {
    const pixels = new Float32Array(3 * SIDE * SIDE),
      mask = new Float32Array(SIDE * SIDE);
    const { radius, x: cx, y: cy, turn } = placeOf(scene.place),
      paint = paintOf(scene.colour, scene.tint);
    const [cos, sin] = [Math.cos(turn), Math.sin(turn)];
    for (let y = 0, i = 0; y < SIDE; y++)
      for (let x = 0; x < SIDE; x++, i++) {
        let below = ground(x, y, scene.ground);
        for (const u of scene.bars) {
          const { cover, paint: stroke } = bar(x, y, u);
          if (cover) below = below.map((c, k) => c + cover * (stroke[k] - c));
        }
        const [dx, dy] = [(x + 0.5) / SIDE - cx, (y + 0.5) / SIDE - cy];
        const [across, down] = [cos * dx + sin * dy, cos * dy - sin * dx];
        const distance = scene.free ? 0 : distanceTo(scene.shape, across / radius, down / radius);
        mask[i] = scene.free ? scene.free[i] : clamp(0.5 - distance * radius * SIDE);
        const bright = mask[i] ? tone(scene.texture, across, down, scene.phase, scene.noise[i]) : 0;
        for (let c = 0; c < 3; c++) {
          const colour = below[c] + mask[i] * (bright * paint[c] - below[c]);
          pixels[c * SIDE * SIDE + i] = Math.round(clamp(colour) * 255) / 255;
        }
      }
    return { pixels, mask };
  }

  /* A scene as the module draws one, from a seed; anything in `given` is kept. */
  function scene(seed, given = {}) {
    const next = vitedu.random(seed),
      draw = (n) => Array.from({ length: n }, next);
    const one = (list) => list[Math.floor(next() * list.length)];
    return {
      shape: one(SHAPES),
      texture: one(TEXTURES),
      colour: one(COLOURS),
      place: draw(4),
      phase: draw(2),
      tint: draw(3),
      ground: draw(7),
      bars: Array.from({ length: 8 }, () => draw(7)),
      noise: draw(SIDE * SIDE),
      free: null,
      ...given,
    };
  }

  vitedu.drawing = { SHAPES, COLOURS, TEXTURES, SIDE, picture, scene, placeOf, distanceTo, tone, paintOf };
})();
