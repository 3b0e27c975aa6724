/* What passes between the modules. Query heads and KV heads are numbered within their layer. */

import type { RunData } from "./data.js";
import type { Store } from "./state.js";

/** Index into `Header.clocks`. */
export type Clock = number;

export interface Null {
  says: string;
  clock: Clock;
}

export interface Measure {
  key: string;
  label: string;
  /** Empty where it is a share of 1. */
  unit: string;
  owner: "query_head" | "kv_head";
  says: string;
  clock: Clock;
  null: Null | null;
}

export interface Kind {
  name: string;
  code: string;
  color: string;
}

export interface Text {
  tokens: string[];
  separator: boolean[];
}

/** What `_header` of `civilwar/inspector/payload.py` writes. */
export interface Header {
  name: string;
  n_layers: number;
  n_query_heads: number;
  n_kv_heads: number;
  d_head: number;
  context: number | null;
  last_step: number;
  default: string;
  kv_colors: string[];
  less: string;
  more: string;
  null_color: string;
  measures: Measure[];
  kinds: Kind[];
  kind_clock: Clock | null;
  gain_clock: Clock;
  energy_clock: Clock;
  pattern_clock: Clock | null;
  texts: Text[];
  /** Training steps at which something was recorded, in rising order. */
  clocks: number[][];
}

export interface NamedArray {
  shape: number[];
  data: Uint8Array | Int32Array | Float32Array;
}

export interface Packed {
  meta: Header;
  arrays: Record<string, NamedArray>;
}

/** Asks for one layer's patterns, packed. */
export type LoadLayer = (layer: number) => Promise<BlobPart>;

/** What a reader has chosen: the fields of `civilwar/inspector/state.py`. */
export interface State {
  layer: number;
  head: number;
  step: number;
  metric: string;
  text: number;
  query: number;
}

export type FieldName = keyof State;

/** A state as an address, a page or Python asks for it. */
export type Wanted = Partial<Record<FieldName, unknown>>;

/** Shows a state; without `changed`, for the first time. */
export type Update = (state: State, changed?: Set<FieldName>) => void;

/** Puts itself into `context.views` and tells how it follows the state. */
export type View = (context: Context) => Update;

export interface Context {
  data: RunData;
  store: Store;
  root: HTMLElement;
  /** Names of the views that are shown. */
  names: string[];
  bar: HTMLElement;
  views: HTMLElement;
}

/** An inspector on the page. */
export interface Mounted {
  data: RunData;
  store: Store;
  /** As an address asks; what cannot be followed is said. */
  follow: (asked: Wanted) => void;
  /** A sentence above everything; an empty one takes it away. */
  say: (text: string) => void;
}

export interface Tint {
  color: string;
  /** 0 to 1. */
  strength: number;
}

export interface Box {
  left: number;
  right: number;
  top: number;
  bottom: number;
}

export type Range = [low: number, high: number];

export interface Scale {
  (value: number): number;
  invert: (at: number) => number;
}

export type Attributes = Record<string, string | number | boolean | null | undefined>;

export type Cell = string | number;
