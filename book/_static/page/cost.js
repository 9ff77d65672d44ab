/* What a Vision Transformer costs: the formulas of `vitedu.cost` and `vitedu.patch`, held to them by a test.

   A config is {height, width, channels, patch, dim, heads, depth, classes, ratio}, with a class token and learned
   positions. Multiply-adds are those of one image, forward, matrix products alone. */
"use strict";
(function () {
  const hidden = ({ dim, ratio = 4 }) => Math.round(dim * ratio);

  /* Patches down and across; an error with the module's own words where the patch side does not divide. */
  function patchGrid([height, width], patch) {
    return [height, width].map((side) => {
      if (side % patch) {
        const below = Math.floor(side / patch) * patch,
          near = below ? `${below} or ${below + patch}` : `${patch}`;
        throw new Error(`image side ${side} is not divisible by patch side ${patch}; use ${near}, or pad the image`);
      }
      return side / patch;
    });
  }

  /* dim = h·d, in the module's own words. */
  function checkHeads({ dim, heads }) {
    if (dim % heads) throw new Error(`dim ${dim} is not divisible by num_heads ${heads}; choose dim = h·d, d whole`);
  }

  const patches = (c) => patchGrid([c.height, c.width], c.patch).reduce((a, b) => a * b);
  const tokens = (c) => patches(c) + 1;
  const blockParameters = (c) => 4 * (c.dim ** 2 + c.dim) + (2 * c.dim * hidden(c) + hidden(c) + c.dim) + 4 * c.dim;
  const linearMacs = (N, c) => N * (4 * c.dim ** 2 + 2 * c.dim * hidden(c));
  const pairMacs = (N, c) => 2 * N * N * c.dim;
  const blockMacs = (N, c) => linearMacs(N, c) + pairMacs(N, c);
  const embedding = (c) => c.channels * c.patch ** 2 * c.dim;

  const parameters = (c) =>
    embedding(c) + c.dim + (1 + tokens(c)) * c.dim + c.depth * blockParameters(c) + 2 * c.dim + (c.dim + 1) * c.classes;
  const macs = (c) => patches(c) * embedding(c) + c.depth * blockMacs(tokens(c), c) + c.dim * c.classes;

  vitedu.cost = {
    patchGrid,
    checkHeads,
    patches,
    tokens,
    hidden,
    blockParameters,
    blockMacs,
    linearMacs,
    pairMacs,
    parameters,
    macs,
  };
})();
