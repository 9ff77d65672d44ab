/* The small residual network in front of a HybridViT: `vitedu.models.cnn` with basic blocks. Needs vit.js. */
"use strict";
(function () {
  const BN_EPS = 1e-5;

  /* A convolution without bias that keeps the size but for its stride, then batch norm with what it has stored. */
  function convNorm(model, x, conv, norm, stride, relu) {
    const weight = model.tensors[conv + ".weight"],
      [O, C, K] = weight.shape,
      pad = K >> 1;
    const height = Math.ceil(x.height / stride),
      width = Math.ceil(x.width / stride);
    const out = { channels: O, height, width, data: new Float32Array(O * height * width) };
    const [scale, shift, mean, variance] = ["weight", "bias", "running_mean", "running_var"].map(
      (key) => model.tensors[`${norm}.${key}`].data,
    );
    for (let o = 0, i = 0; o < O; o++)
      for (let r = 0; r < height; r++)
        for (let s = 0; s < width; s++, i++) {
          let sum = 0;
          for (let c = 0; c < C; c++)
            for (let a = 0; a < K; a++) {
              const y = r * stride + a - pad;
              if (y < 0 || y >= x.height) continue;
              for (let b = 0; b < K; b++) {
                const z = s * stride + b - pad;
                if (z >= 0 && z < x.width)
                  sum += x.data[(c * x.height + y) * x.width + z] * weight.data[((o * C + c) * K + a) * K + b];
              }
            }
          const normed = ((sum - mean[o]) / Math.sqrt(variance[o] + BN_EPS)) * scale[o] + shift[o];
          out.data[i] = relu ? Math.max(0, normed) : normed;
        }
    return out;
  }

  /* (C, H, W) -> the last feature map. */
  vitedu.Model.prototype.features = function (image) {
    const { depths, stem_stride: stride, block } = this.card.cnn;
    if (block !== "basic" || stride > 2)
      throw new Error(`a CNN of ${block} blocks, stride ${stride}, is not computed here`);
    let x = convNorm(this, image, "cnn.stem.0", "cnn.stem.1", stride, true);
    depths.forEach((depth, stage) => {
      for (let i = 0; i < depth; i++) {
        const at = `cnn.stages.${stage}.${i}.`,
          step = stage && !i ? 2 : 1;
        const inner = convNorm(this, x, at + "conv1", at + "bn1", step, true);
        const branch = convNorm(this, inner, at + "conv2", at + "bn2", 1, false);
        const short = this.tensors[at + "shortcut.0.weight"]
          ? convNorm(this, x, at + "shortcut.0", at + "shortcut.1", step, false)
          : x;
        x = { ...branch, data: branch.data.map((b, j) => Math.max(0, b + short.data[j])) };
      }
    });
    return x;
  };
})();
