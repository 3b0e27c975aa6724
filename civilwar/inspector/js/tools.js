// What a reader does with the whole inspector: pass it on, and make it large.

import { html } from "./drawing.js";
import { writeAddress } from "./state.js";

/** @import { Context } from "./types.d.ts" */

/** @type {(context: Context, row: HTMLElement, addressed: boolean, say: (text: string) => void) => void} */
export function tools({ root, store }, row, addressed, say) {
  const group = html(row, "span", { class: "cwi-tools" });
  if (addressed) {
    const copy = html(group, "button", { type: "button", class: "cwi-copy" }, "Copy link");
    copy.addEventListener("click", () => {
      const link = `${window.location.href.replace(/#.*$/, "")}${writeAddress(store.state)}`;
      const there = () => {
        copy.textContent = "Copied";
        setTimeout(() => (copy.textContent = "Copy link"), 1500);
      };
      // a page without the right to the clipboard shows the link instead
      const written = navigator.clipboard?.writeText(link) ?? Promise.reject(new Error("no clipboard"));
      written.then(there, () => say(`The link: ${link}`));
    });
  }
  if (document.fullscreenEnabled) {
    const full = html(group, "button", { type: "button", class: "cwi-full" }, "Full screen");
    full.addEventListener("click", () => {
      if (document.fullscreenElement) void document.exitFullscreen();
      else root.requestFullscreen().catch((error) => say(`No full screen here: ${error.message}`));
    });
    root.addEventListener("fullscreenchange", () => {
      full.textContent = document.fullscreenElement === root ? "Leave full screen" : "Full screen";
    });
  }
}
