/* What the theme's markup leaves out for readers who use a keyboard or a screen reader. */

/* A box that scrolls takes the focus, or the keyboard could not scroll it. The theme looks once, when folds are closed. */
function letScrollBoxesBeReached() {
  for (const box of document.querySelectorAll(".bd-article :is(pre, .cell_output, .pst-scrollable-table-container)")) {
    const scrolls = box.scrollWidth > box.clientWidth && /auto|scroll/.test(getComputedStyle(box).overflowX);
    if (scrolls) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
}

addEventListener("load", letScrollBoxesBeReached);
addEventListener("resize", letScrollBoxesBeReached);
document.addEventListener("toggle", letScrollBoxesBeReached, true); // a <details> opens: its event does not bubble

document.addEventListener("DOMContentLoaded", () => {
  /* docutils marks the entries of a bibliography with a role that ARIA has withdrawn, within a list of nothing. */
  for (const entry of document.querySelectorAll("[role='doc-biblioentry']")) entry.setAttribute("role", "listitem");

  /* The notebook behind the page is saved, not shown as text, also when the page is opened from disk. */
  for (const link of document.querySelectorAll("a.btn-download-source-button")) link.download = "";
});
