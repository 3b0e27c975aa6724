// A text of the reader's own, where a kernel has a model to put it through.

import { html } from "./drawing.js";

/** @import { Context, Source } from "./types.d.ts" */

/** @type {(context: Context, figure: HTMLElement, ask: NonNullable<Source["ownText"]>) => void} */
export function ownText({ data, store }, figure, ask) {
  const form = html(null, "form", { class: "cwi-form cwi-own" });
  figure.insertBefore(form, figure.querySelector("figcaption"));
  const field = html(form, "label", { class: "cwi-field" });
  html(field, "span", {}, "a text of your own");
  const input = html(field, "input", { type: "text", name: "own", maxlength: 2000 });
  const button = html(form, "button", { type: "submit" }, "Show");
  const answer = html(form, "span", { class: "cwi-note", role: "status" });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    button.setAttribute("disabled", "");
    answer.textContent = "The kernel is at it.";
    ask(input.value)
      .then(({ text, weights }) => {
        answer.textContent = "";
        store.set({ text: data.addText(text, weights), query: -1 });
      })
      .catch((error) => {
        answer.textContent = error.message;
      })
      .finally(() => button.removeAttribute("disabled"));
  });
}
