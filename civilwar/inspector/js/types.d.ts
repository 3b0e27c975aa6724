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
  curves: Curve[];
  alarms: Alarm[];
  /** How far the run has come, in a word: complete, running, diverged. Empty for a model without a run. */
  status: string;
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
  /** Empty, beside or difference; what follows is of the other side, and -1 or an empty name is as on the first. */
  compare: string;
  run2: string;
  layer2: number;
  head2: number;
  step2: number;
}

/** One side's state, to read and to change. */
export interface Selection {
  readonly state: State;
  set: (changes: Wanted) => void;
}

/** Where an inspector's data come from. */
export interface Source {
  loadLayer: LoadLayer;
  /** Names of the runs that can be compared with this one. */
  others: string[];
  loadRun: (name: string) => Promise<{ packed: Packed; loadLayer: LoadLayer }>;
  /** Puts a reader's text through the trained model, where there is one. */
  ownText?: (text: string) => Promise<{ text: Text; weights: NamedArray }>;
  /** Whether the page's address is the inspector's state. */
  addressed?: boolean;
}

/** One number over training. */
export interface Curve {
  key: string;
  label: string;
  clock: Clock;
}

/** A step at which something went wrong, and what. */
export interface Alarm {
  step: number;
  says: string;
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
  store: Selection;
  root: HTMLElement;
  /** Names of the views that are shown. */
  names: string[];
  bar: HTMLElement;
  views: HTMLElement;
  source: Source;
  /** A or B, where two sides are shown. */
  side?: string;
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
