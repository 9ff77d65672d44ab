/* The weights of the shipped models: how scripts hand them over, and how half-precision safetensors are read.

   vitedu.register(name, card, base64)   called by weights/NAME.js: the model's card and its .safetensors, as they ship
   vitedu.model(name)                    the model, for vit.js to run; "NAME:untrained" for random weights */
"use strict";
var vitedu = (globalThis.vitedu = globalThis.vitedu || {});

(function () {
  const shipped = {},
    ready = {};

  vitedu.register = (name, card, base64) => {
    shipped[name] = { card, base64 };
  };
  vitedu.registered = (name) => name in shipped;

  /* A model by name; "NAME:untrained" is one of the same shape with weights drawn anew, always the same ones. */
  vitedu.model = function (name) {
    if (ready[name]) return ready[name];
    const [of, untrained] = name.split(":"),
      { card, base64 } = shipped[of];
    const tensors = untrained ? drawWeights(vitedu.model(of).tensors) : readTensors(bytesOf(base64));
    return (ready[name] = new vitedu.Model(card, tensors));
  };

  function bytesOf(base64) {
    const text = atob(base64),
      bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    return bytes;
  }
  vitedu.bytesOf = bytesOf;
  vitedu.base64Of = (name) => shipped[name].base64;

  /* How long a number is, and how it is read. */
  const READ = {
    F16: [2, (view, at) => half(view.getUint16(at, true))],
    F32: [4, (view, at) => view.getFloat32(at, true)],
    I8: [1, (view, at) => view.getInt8(at)],
  };

  /* safetensors: 8 bytes that say how long the header is, the header (JSON), then the numbers. Here in half precision,
     or as bytes: then KEY:scale, in single precision, says by how much to multiply each row. */
  function readTensors(bytes) {
    const view = new DataView(bytes.buffer),
      length = Number(view.getBigUint64(0, true)),
      tensors = {};
    const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length)));
    for (const [
      key,
      {
        dtype,
        shape,
        data_offsets: [begin, end],
      },
    ] of Object.entries(header)) {
      if (!(dtype in READ)) continue; // batch norm's count of batches
      const [size, number] = READ[dtype],
        data = new Float32Array((end - begin) / size);
      for (let i = 0; i < data.length; i++) data[i] = number(view, 8 + length + begin + size * i);
      tensors[key] = { shape, data };
    }
    for (const key of Object.keys(tensors).filter((name) => name.endsWith(":scale"))) {
      const { data } = tensors[key.slice(0, -6)],
        rows = tensors[key].data;
      for (let i = 0; i < data.length; i++) data[i] *= rows[Math.floor((i * rows.length) / data.length)];
      delete tensors[key];
    }
    return tensors;
  }

  function half(bits) {
    const sign = bits & 0x8000 ? -1 : 1,
      exponent = (bits >> 10) & 31,
      fraction = bits & 1023;
    return exponent ? sign * 2 ** (exponent - 15) * (1 + fraction / 1024) : sign * 2 ** -14 * (fraction / 1024);
  }

  /* As `initialise` under "xavier": matrices uniform, biases zero, LayerNorms one and zero, positions and CLS 0.02. */
  function drawWeights(tensors) {
    const next = vitedu.random(1),
      drawn = {};
    for (const [key, { shape, data }] of Object.entries(tensors)) {
      const fresh = new Float32Array(data.length),
        [out, into] = [shape[0], data.length / shape[0]];
      const bell = () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
      if (/table|cls_token/.test(key))
        fresh.forEach((_, i) => {
          fresh[i] = 0.02 * bell();
        });
      else if (/norm.*weight/.test(key)) fresh.fill(1);
      else if (/weight/.test(key))
        fresh.forEach((_, i) => {
          fresh[i] = (2 * next() - 1) * Math.sqrt(6 / (out + into));
        });
      drawn[key] = { shape, data: fresh };
    }
    return drawn;
  }

  /* Uniform numbers from 0 to 1, the same for the same seed on every machine (mulberry32). */
  vitedu.random = (seed) => () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
})();
