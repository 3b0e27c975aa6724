/* `views.js` is written by `civilwar/inspector/state.py`, which has the one list of them. */

import type { View } from "./types.d.ts";

/** By name, in the order in which they are shown. */
export const VIEWS: Record<string, View>;
