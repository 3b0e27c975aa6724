// The other side of a comparison: the same slider, another head, layer, step or run. What is left open is as on the
// first side, so that both move together.

import { Store } from "./state.js";

/**
 * @import { RunData } from "./data.js"
 * @import { FieldName, Selection, State, Wanted } from "./types.d.ts"
 */

/** Field of the first side -> its field on the other. @type {[FieldName, FieldName][]} */
const SIDES = [
  ["layer", "layer2"],
  ["head", "head2"],
  ["step", "step2"],
];

/** @implements {Selection} */
export class Other {
  /**
   * @param {Selection} store
   * @param {RunData} data
   */
  constructor(store, data) {
    this.store = store;
    this.inner = new Store(data, {});
    /** @type {State | null} */
    this.seen = null;
    this.mapped = this.inner.state;
  }

  /** The first side's state with what is chosen for this one, within this side's run. */
  get state() {
    const { state } = this.store;
    if (this.seen !== state) {
      this.seen = state;
      const own = SIDES.filter(([, field]) => Number(state[field]) >= 0).map(([name, field]) => [name, state[field]]);
      this.mapped = this.inner.clamp({ ...state, ...Object.fromEntries(own) });
    }
    return this.mapped;
  }

  /**
   * A reader who clicks on this side chooses for this side; the rest is for both, and so is the step unless it stands
   * still here.
   * @type {(changes: Wanted) => void}
   */
  set(changes) {
    const { state } = this.store;
    const moved = Object.entries(changes).map(([name, value]) => {
      const field = SIDES.find(([first]) => first === name)?.[1];
      return field && (name !== "step" || state.step2 >= 0) ? [field, value] : [name, value];
    });
    this.store.set(Object.fromEntries(moved));
  }
}
