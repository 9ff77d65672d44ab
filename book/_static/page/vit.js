/* The forward pass of the book's Vision Transformers, in plain JavaScript: `vitedu.vit.ViT`, and with hybrid.js
   `vitedu.models.hybrid`. Names of tensors and symbols are the module's.

   vitedu.model(name).run(pixels, options) -> {scores, probabilities, maps, rollout, after, heads, tokens, prefix, grid}

   maps: for each layer (h, N, N); after: the scores after each block, from 0 on. Held to PyTorch's answers by a test. */
"use strict";
var vitedu = (globalThis.vitedu = globalThis.vitedu || {});

(function () {
  /* --- the parts of a block; a matrix is {rows, columns, data} --- */

  const matrix = (rows, columns) => ({ rows, columns, data: new Float32Array(rows * columns) });

  /* x Wᵀ + b: (N, D) -> (N, D') */
  function linear(x, weight, bias) {
    const out = matrix(x.rows, weight.shape[0]),
      W = weight.data,
      D = x.columns,
      X = x.data;
    for (let n = 0, i = 0; n < x.rows; n++)
      for (let o = 0; o < out.columns; o++, i++) {
        let sum = bias ? bias.data[o] : 0;
        for (let d = 0, a = n * D, b = o * D; d < D; d++) sum += X[a + d] * W[b + d];
        out.data[i] = sum;
      }
    return out;
  }

  function layerNorm(x, weight, bias, eps) {
    const out = matrix(x.rows, x.columns),
      D = x.columns;
    for (let n = 0; n < x.rows; n++) {
      let mean = 0,
        variance = 0;
      for (let d = 0; d < D; d++) mean += x.data[n * D + d] / D;
      for (let d = 0; d < D; d++) variance += (x.data[n * D + d] - mean) ** 2 / D;
      const scale = 1 / Math.sqrt(variance + eps);
      for (let d = 0; d < D; d++)
        out.data[n * D + d] = (x.data[n * D + d] - mean) * scale * weight.data[d] + bias.data[d];
    }
    return out;
  }

  /* The error function to about 1e-7 of itself: Numerical Recipes' Chebyshev fit of erfc. */
  const FIT = [
    -1.26551223, 1.00002368, 0.37409196, 0.09678418, -0.18628806, 0.27886807, -1.13520398, 1.48851587, -0.82215223,
    0.17087277,
  ];
  function erf(x) {
    const t = 1 / (1 + Math.abs(x) / 2),
      power = FIT.reduceRight((sum, c) => c + t * sum, 0);
    return Math.sign(x) * (1 - t * Math.exp(-x * x + power));
  }
  const gelu = (x) => (x / 2) * (1 + erf(x * Math.SQRT1_2)); // the exact one, as nn.GELU

  vitedu.softmax = (scores) => {
    const top = scores.reduce((a, b) => Math.max(a, b)),
      powers = scores.map((s) => Math.exp(s - top));
    const sum = powers.reduce((a, b) => a + b);
    return powers.map((p) => p / sum);
  };

  function add(x, y) {
    for (let i = 0; i < x.data.length; i++) x.data[i] += y.data[i];
  }

  /* How much of every input token is in every output token, (N, N): rollout with the mean of the heads. */
  vitedu.rollout = function (maps, heads, N) {
    let result = Float64Array.from({ length: N * N }, (_, i) => +(i % (N + 1) === 0));
    for (const layer of maps) {
      const next = new Float64Array(N * N);
      for (let i = 0; i < N; i++)
        for (let k = 0; k < N; k++) {
          let mixed = i === k ? 0.5 : 0; // A = 0.5 W + 0.5 I
          for (let h = 0; h < heads; h++) mixed += (0.5 / heads) * layer[(h * N + i) * N + k];
          for (let j = 0, a = i * N, b = k * N; j < N; j++) next[a + j] += mixed * result[b + j];
        }
      result = next;
    }
    return result;
  };

  /* --- the model --- */

  class Model {
    constructor(card, tensors) {
      const hybrid = card.model === "HybridViT",
        config = card.config;
      if (!/^(Hybrid)?ViT$/.test(card.model) || config.norm !== "pre" || !/^(learned|none)$/.test(config.positions))
        throw new Error(
          `${card.model} with norm "${config.norm}", positions "${config.positions}" is not computed here`,
        );
      Object.assign(this, {
        card,
        tensors,
        config,
        hybrid,
        prefix: +(config.pool === "cls"),
        at: hybrid ? "vit." : "",
      });
    }

    tensor(key) {
      return this.tensors[this.at + key];
    }
    linear(x, key) {
      return linear(x, this.tensor(key + ".weight"), this.tensor(key + ".bias"));
    }
    norm(x, key) {
      return layerNorm(x, this.tensor(key + ".weight"), this.tensor(key + ".bias"), this.config.eps);
    }

    /* pixels: C·H·W numbers from 0 to 1, channel by channel. options: `order`, the patches as they are handed over, and
       `positions: false`, which leaves the position vectors out. */
    run(pixels, { order = null, positions = true } = {}) {
      const { depth, num_heads: heads } = this.config,
        maps = [],
        states = [];
      let x = this.embed(pixels, order);
      if (positions && this.config.positions === "learned") add(x, { data: this.tensor("positions.table").data });
      states.push(x);
      for (let l = 0; l < depth; l++) {
        const block = `encoder.blocks.${l}.`,
          out = { ...x, data: x.data.slice() };
        add(out, this.attention(this.norm(x, block + "norm1"), block + "attention.", maps));
        const hidden = this.linear(this.norm(out, block + "norm2"), block + "mlp.fc1");
        for (let i = 0; i < hidden.data.length; i++) hidden.data[i] = gelu(hidden.data[i]);
        add(out, this.linear(hidden, block + "mlp.fc2"));
        states.push((x = out));
      }
      const after = states.map((z) => Array.from(this.answer(z))),
        scores = after[depth],
        N = x.rows;
      return {
        scores,
        probabilities: vitedu.softmax(scores),
        maps,
        rollout: vitedu.rollout(maps, heads, N),
        after,
        heads,
        tokens: N,
        prefix: this.prefix,
        grid: this.grid,
      };
    }

    /* (C, H, W) -> CLS, if there is one, and a token for each patch. */
    embed(pixels, order) {
      let map = this.normalise(pixels);
      if (this.hybrid) map = this.features(map);
      const C = map.channels,
        [P, Q] = this.hybrid ? [1, 1] : [this.config.patch_size].flat().concat(this.config.patch_size);
      const gw = map.width / Q,
        N = (map.height / P) * gw,
        patches = matrix(N, C * P * Q),
        D = this.config.dim;
      this.grid = [map.height / P, gw];
      for (let n = 0, i = 0; n < N; n++) {
        const from = order ? order[n] : n,
          top = Math.floor(from / gw) * P,
          left = (from % gw) * Q;
        for (let c = 0; c < C; c++)
          for (let y = top; y < top + P; y++)
            for (let x = left; x < left + Q; x++) patches.data[i++] = map.data[(c * map.height + y) * map.width + x];
      }
      const tokens = this.linear(patches, "patch_embed.proj"),
        x = matrix(this.prefix + N, D);
      if (this.prefix) x.data.set(this.tensor("cls_token").data);
      x.data.set(tokens.data, this.prefix * D);
      return x;
    }

    normalise(pixels) {
      const {
        mean,
        std,
        config: { in_channels: C, image_size: size },
      } = this.card;
      const [height, width] = [size].flat().concat(size),
        data = new Float32Array(pixels.length);
      if (pixels.length !== C * height * width)
        throw new Error(`${pixels.length} pixels, expected ${C}·${height}·${width}`);
      pixels.forEach((p, i) => {
        const c = Math.floor(i / height / width);
        data[i] = (p - mean[c]) / std[c];
      });
      return { channels: C, height, width, data };
    }

    /* softmax(q kᵀ / √d) v for each head; its weights, (h, N, N), are added to `maps`. */
    attention(x, at, maps) {
      const [q, k, v] = ["q", "k", "v"].map((name) => this.linear(x, `${at}${name}_proj`).data);
      const N = x.rows,
        D = x.columns,
        h = this.config.num_heads,
        d = D / h,
        out = matrix(N, D);
      const weights = new Float32Array(h * N * N);
      for (let head = 0; head < h; head++)
        for (let i = 0; i < N; i++) {
          const row = new Float64Array(N),
            qi = i * D + head * d,
            start = (head * N + i) * N;
          for (let j = 0; j < N; j++) {
            let sum = 0;
            for (let c = 0, kj = j * D + head * d; c < d; c++) sum += q[qi + c] * k[kj + c];
            row[j] = sum / Math.sqrt(d);
          }
          weights.set(vitedu.softmax(row), start);
          for (let j = 0; j < N; j++)
            for (let c = 0, vj = j * D + head * d; c < d; c++) out.data[qi + c] += weights[start + j] * v[vj + c];
        }
      maps.push(weights);
      return this.linear(out, at + "out_proj");
    }

    /* What the head says of tokens between two blocks: the last LayerNorm, then CLS or the mean, then the head. */
    answer(z) {
      const y = this.norm(z, "encoder.norm"),
        D = y.columns,
        read = matrix(1, D);
      for (let n = 0; n < (this.prefix || y.rows); n++)
        for (let c = 0; c < D; c++) read.data[c] += y.data[n * D + c] / (this.prefix || y.rows);
      if (!this.tensor("pre_logits.0.weight")) return this.linear(read, "head").data;
      const hidden = this.linear(read, "pre_logits.0");
      return this.linear({ ...hidden, data: hidden.data.map(Math.tanh) }, "head").data;
    }
  }

  vitedu.Model = Model;
})();
