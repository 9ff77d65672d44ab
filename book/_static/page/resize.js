/* A picture of any size as a model takes it: Pillow's ImageOps.fit, that is, resized by its bicubic filter until it
   covers H × W, and its middle kept; to the byte what `vitedu.data.picture.decode_picture` gives for opaque pictures.

   vitedu.fitted(rgba, [width, height], [W, H], C) -> C·H·W numbers from 0 to 1, channel by channel */
"use strict";
var vitedu = (globalThis.vitedu = globalThis.vitedu || {});

(function () {
  const ONE = 2 ** 22; // weights are whole numbers of 1/ONE, as Pillow's are

  function bicubic(x) {
    const t = Math.abs(x);
    if (t < 1) return (1.5 * t - 2.5) * t * t + 1;
    return t < 2 ? ((-0.5 * t + 2.5) * t - 4) * t + 2 : 0;
  }

  /* For each of `size` new pixels over [from, to): the first old one that it reads, and the weights of all it reads. */
  function taps(length, from, to, size) {
    const scale = (to - from) / size,
      wide = Math.max(scale, 1);
    return Array.from({ length: size }, (_, i) => {
      const centre = from + (i + 0.5) * scale,
        first = Math.max(0, Math.trunc(centre - 2 * wide + 0.5)),
        end = Math.min(length, Math.trunc(centre + 2 * wide + 0.5));
      const weights = Array.from({ length: end - first }, (_, j) => bicubic((first + j - centre + 0.5) / wide));
      const sum = weights.reduce((a, b) => a + b, 0);
      return { first, weights: weights.map((w) => Math.sign(w) * Math.floor(0.5 + Math.abs(w / sum) * ONE)) };
    });
  }

  /* One direction: `lines` lines of bytes, `step` apart; within a line the pixels are `stride` apart. */
  function resample(bytes, lines, step, stride, plan, outStep, outStride) {
    const out = new Uint8ClampedArray(lines * plan.length);
    for (let n = 0; n < lines; n++)
      plan.forEach(({ first, weights }, i) => {
        let sum = ONE / 2;
        for (let j = 0, at = n * step + first * stride; j < weights.length; j++, at += stride)
          sum += bytes[at] * weights[j];
        out[n * outStep + i * outStride] = Math.floor(sum / ONE);
      });
    return out;
  }

  /* What of a picture is kept, [left, top, right, bottom]: its middle, in the shape of W × H. */
  function middle([w, h], [W, H]) {
    const ratio = W / H,
      [kw, kh] = w / h >= ratio ? [ratio * h, h] : [w, w / ratio];
    const left = (w - kw) * 0.5,
      top = (h - kh) * 0.5;
    return [left, top, left + kw, top + kh];
  }

  vitedu.fitted = function (rgba, [w, h], [W, H], channels) {
    const [left, top, right, bottom] = middle([w, h], [W, H]),
      area = w * h,
      out = new Float32Array(channels * W * H);
    const across = left || right !== W || w !== W ? taps(w, left, right, W) : null,
      down = top || bottom !== H || h !== H ? taps(h, top, bottom, H) : null;
    const downFirst = h > H && h - H > 2 * (w - W); // as Pillow 13 does; bytes are rounded between the two
    for (let c = 0; c < channels; c++) {
      let plane = new Uint8ClampedArray(area);
      for (let i = 0; i < area; i++)
        plane[i] =
          channels === 3
            ? rgba[4 * i + c]
            : (19595 * rgba[4 * i] + 38470 * rgba[4 * i + 1] + 7471 * rgba[4 * i + 2] + 0x8000) >> 16;
      const passes = [
        () => across && (plane = resample(plane, plane.length / w, w, 1, across, W, 1)),
        () => down && (plane = resample(plane, plane.length / h, 1, plane.length / h, down, 1, plane.length / h)),
      ];
      if (downFirst) passes.reverse();
      passes.forEach((pass) => pass());
      plane.forEach((byte, i) => {
        out[c * W * H + i] = byte / 255;
      });
    }
    return out;
  };
})();
