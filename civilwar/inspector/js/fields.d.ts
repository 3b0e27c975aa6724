/* `fields.js` is written by `civilwar/inspector/state.py`, which has the one list of them. */

import type { FieldName } from "./types.d.ts";

/** By field, in the order of an address: the widget's trait, and where a reader begins or which entry of the header says so. */
export const FIELDS: Record<FieldName, { trait: string; start: number | "" | "last_step" | "default"; aside: boolean }>;

/** How two sides can be compared; an empty word for not at all. */
export const COMPARE: string[];
