/* The search page: leads to the section that has the words, with the sentence in which they stand. Works from disk.

   _static/sections.js, written by book/tools/site/search.py, holds [address, page, anchor, heading, text] of each section. */
"use strict";
(function () {
  const { make } = vitedu, MOST = 40;

  /* Other words for the same thing. What is searched is left; what the book calls it is right. */
  const SYNONYMS = [
    ["patch size", "patch side"], ["hidden dimension", "width"], ["hidden size", "width"], ["embedding dimension", "width"], ["embedding size", "width"],
    ["model dimension", "width"], ["d_model", "width"], ["cls token", "class token"], ["cls", "class token"],
    ["classification token", "class token"], ["positional encoding", "positions"], ["position encoding", "position embedding"],
    ["positional embedding", "position embedding"], ["feed forward", "mlp"], ["feedforward", "mlp"], ["ffn", "mlp"],
    ["skip connection", "residual"], ["residual connection", "residual"], ["learning rate warmup", "warm-up"], ["warmup", "warm-up"],
    ["flops", "multiply-adds"], ["macs", "multiply-adds"], ["multihead attention", "multi-head attention"],
    ["mha", "multi-head attention"], ["layer normalization", "layernorm"], ["layer norm", "layernorm"], ["batch norm", "batchnorm"],
    ["stochastic depth", "drop path"], ["droppath", "stochastic depth"], ["patchify", "cut into patches"],
    ["convolutional neural network", "cnn"], ["convnet", "cnn"], ["mixed precision", "bf16"], ["tokenizer", "tokens"],
  ];

  const stemmer = () => (vitedu.stemmer ??= new Stemmer());
  const split = (text) => text.toLowerCase().match(/[\p{L}\p{N}_]+/gu) ?? [];
  const stem = (word) => (/^[a-z]+$/.test(word) ? stemmer().stemWord(word) : word);

  /* Each section's stems, counted once. */
  function prepare() {
    vitedu.prepared ??= vitedu.sections.map(([address, page, anchor, heading, text]) => {
      const counts = new Map();
      for (const word of split(text)) counts.set(stem(word), (counts.get(stem(word)) ?? 0) + 1);
      return { address, page, anchor, heading, text, counts, title: split(heading).map(stem), plain: ` ${split(heading).join(" ")} `,
        flat: ` ${split(text).join(" ")} ` };
    });
    return vitedu.prepared;
  }

  const glossary = (section) => section.address.includes("glossary");

  function score(section, words, phrase, rarity) {
    let sum = 0, found = 0;
    for (const word of words) {
      const inTitle = section.title.includes(word), count = section.counts.get(word) ?? 0;
      if (inTitle || count) found += 1;
      sum += (inTitle ? 9 : 0) + Math.min(count, 4) * rarity(word);
    }
    if (!found) return 0;
    if (section.plain === ` ${phrase} `) sum += glossary(section) ? 90 : 60;
    else if (section.plain.includes(` ${phrase} `)) sum += 25;
    if (words.length > 1 && section.flat.includes(` ${phrase} `)) sum += 10;
    if (glossary(section) && section.flat.startsWith(` ${phrase} `)) sum += 70; // the entry's Korean term
    if (!section.anchor) sum *= 0.7; // rather the section than the page
    return sum * (found / words.length) ** 3;
  }

  function search(query) {
    const phrase = split(query).join(" "), all = prepare();
    const others = SYNONYMS.filter(([said]) => ` ${phrase} `.includes(` ${split(said).join(" ")} `))
      .map(([said, here]) => split(phrase.replace(split(said).join(" "), here)).join(" "));
    const seen = new Map(), rare = new Map();
    const rarity = (word) => {
      if (!rare.has(word)) rare.set(word, Math.log(all.length / (1 + all.filter(({ counts }) => counts.has(word)).length)));
      return Math.max(0, rare.get(word));
    };
    for (const [words, weight] of [[phrase, 1], ...others.map((other) => [other, 0.9])]) {
      const stems = split(words).filter((word) => !stopwords.includes(word) || split(words).length === 1).map(stem);
      if (stems.length)
        for (const section of all) {
          const points = weight * score(section, stems, words, rarity);
          if (points > (seen.get(section)?.points ?? 0)) seen.set(section, { section, points, stems });
        }
    }
    return [...seen.values()].sort((a, b) => b.points - a.points).slice(0, MOST);
  }

  /* The sentence with most of the words, and the words in it marked. */
  function excerpt({ section, stems }) {
    const sentences = section.text.replace(/^\p{Script=Hangul}[^:]*: /u, "").split(/(?<=[.!?])\s+(?=[\p{Lu}“(])/u);
    const hits = (sentence) => new Set(split(sentence).map(stem).filter((word) => stems.includes(word))).size;
    const best = sentences.reduce((a, b) => (hits(b) > hits(a) ? b : a), sentences[0] ?? "");
    const first = best.search(new RegExp(stems.map((word) => word.slice(0, 4)).join("|"), "i"));
    const from = best.length > 260 && first > 120 ? best.indexOf(" ", first - 100) : 0;
    const cut = (from ? "… " : "") + best.slice(from, from + 260) + (best.length > from + 260 ? " …" : "");
    const parts = cut.split(/([\p{L}\p{N}_]+)/u);
    return parts.map((part) => (part && stems.includes(stem(part.toLowerCase())) ? make("mark", {}, part) : part));
  }

  function show(query) {
    const out = document.getElementById("search-results"), results = search(query);
    const terms = [...new Set(results.flatMap(({ stems }) => stems))].join(" ") && split(query).join(" ");
    const root = document.documentElement.dataset.content_root;
    const list = make("ul", { class: "search" });
    for (const result of results) {
      const { address, page, anchor, heading } = result.section;
      const href = `${root}${address}?highlight=${encodeURIComponent(terms)}${anchor}`;
      list.append(make("li", {}, make("a", { href }, anchor ? `${page} › ${heading}` : page), make("p", { class: "context" }, ...excerpt(result))));
    }
    const count = results.length === MOST ? `The first ${MOST} places.` : `${results.length || "No"} place${results.length === 1 ? "" : "s"} found.`;
    out.replaceChildren(make("p", { class: "search-summary", role: "status" }, count), list);
  }

  vitedu.search = search;

  document.addEventListener("DOMContentLoaded", () => {
    Search.performSearch = (query) => { // Sphinx calls it with what the address asks for
      const script = make("script", { src: `${document.documentElement.dataset.content_root}_static/sections.js`, onload: () => show(query) });
      document.head.append(script);
    };
  });
})();
