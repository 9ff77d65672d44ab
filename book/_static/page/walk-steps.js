/* The steps of a Vision Transformer: the shape, parameters and multiply-adds of each. Their sums are vitedu.cost's. */
"use strict";
(function () {
  const { cost, number } = vitedu;

  /* [name, shape, parameters, multiply-adds, what happens, whether it stands in a block]; the sums are vitedu.cost's. */
  vitedu.walk = function (c) {
    cost.checkHeads(c);
    const [gh, gw] = cost.patchGrid([c.height, c.width], c.patch),
      N = gh * gw,
      T = N + 1,
      D = c.dim,
      d = D / c.heads,
      H = cost.hidden(c);
    const width = c.channels * c.patch ** 2,
      L = c.depth;
    return [
      [
        "image",
        [c.channels, c.height, c.width],
        0,
        0,
        `One image: ${c.channels} channels of ${c.height} × ${c.width} pixels.`,
      ],
      [
        "patches",
        [N, width],
        0,
        0,
        `Cut into ${gh} × ${gw} patches and flatten each: C·P·P = ${number(width)} numbers. Nothing is computed yet.`,
      ],
      [
        "tokens",
        [N, D],
        width * D + D,
        N * width * D,
        `Times E, the same matrix for every patch, ${number(width)} × ${number(D)}, and a bias.`,
      ],
      ["class token", [T, D], D, 0, "One learned vector more is put in front. It never passes through E."],
      ["positions", [T, D], T * D, 0, "A vector for every place is added; the shape stays."],
      ["LayerNorm", [T, D], 2 * D, 0, "Each token by itself: a scale and a shift for each of its D numbers.", L],
      [
        "queries, keys, values",
        [3, c.heads, T, d],
        3 * (D * D + D),
        3 * T * D * D,
        `Three linear maps, each cut into ${c.heads} heads of width d = D / h = ${d}.`,
        L,
      ],
      [
        "weights",
        [c.heads, T, T],
        0,
        T * T * D,
        `Every query with every key, in each head: ${number(T)} × ${number(T)} weights, rows that sum to one.`,
        L,
      ],
      ["heads", [c.heads, T, d], 0, T * T * D, "The values, averaged with these weights.", L],
      [
        "attention's output",
        [T, D],
        D * D + D,
        T * D * D,
        "The heads side by side, and one more linear map that mixes them. Added to what came in.",
        L,
      ],
      ["LayerNorm", [T, D], 2 * D, 0, "A second one, in front of the MLP.", L],
      [
        "hidden layer",
        [T, H],
        D * H + H,
        T * D * H,
        `Each token by itself becomes ${number(H)} numbers wide; then GELU.`,
        L,
      ],
      [
        "MLP's output",
        [T, D],
        H * D + D,
        T * H * D,
        "Back to D, and added to what came in. The block ends with the shape it began with.",
        L,
      ],
      ["last LayerNorm", [T, D], 2 * D, 0, "After the last block, before anything is read."],
      ["what the head reads", [D], 0, 0, "Token 0, the class token. The others are left behind."],
      [
        "class scores",
        [c.classes],
        (D + 1) * c.classes,
        D * c.classes,
        `One linear layer: ${number(c.classes)} scores.`,
      ],
    ].map(([name, shape, parameters, macs, words, times = 0]) => ({ name, shape, parameters, macs, words, times }));
  };
})();
