/* What the book remembers for one reader, in this browser alone; nothing where the browser refuses to keep anything. */
"use strict";
var vitedu = (globalThis.vitedu = globalThis.vitedu || {});

vitedu.keep = {
  read(name, otherwise) {
    try {
      return JSON.parse(localStorage.getItem(`vitedu.${name}`)) ?? otherwise;
    } catch {
      return otherwise;
    }
  },
  write(name, value) {
    try {
      if (value === undefined) localStorage.removeItem(`vitedu.${name}`);
      else localStorage.setItem(`vitedu.${name}`, JSON.stringify(value));
    } catch { /* a private window, or a browser that keeps nothing from disk: the page works, and forgets */ }
    document.dispatchEvent(new CustomEvent("vitedu:kept", { detail: name }));
  },
  /* One page's part of what is kept under a name: {page: {key: value}}. */
  of(name, page) {
    return vitedu.keep.read(name, {})[page] ?? {};
  },
  set(name, page, key, value) {
    const all = vitedu.keep.read(name, {}), mine = { ...all[page] };
    if (value === undefined) delete mine[key];
    else mine[key] = value;
    vitedu.keep.write(name, { ...all, [page]: mine });
  },
};

/* The page's name, as the contents have it: chapters/05_patch_partitioning. */
vitedu.page = () => DOCUMENTATION_OPTIONS.pagename;

/* An element in one line: make("p", {class: "note"}, "text", another). */
vitedu.make = function (tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== false && value != null) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
};
