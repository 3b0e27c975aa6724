// Undoes civilwar/inspector/pack.py: gzip, safetensors. Measures come as 16-bit steps; the top code is undefined.

/** @import { NamedArray, Packed } from "./types.d.ts" */

const UNDEFINED = 65535;
const TYPES = { U8: Uint8Array, U16: Uint16Array, I32: Int32Array, F32: Float32Array };

/** @type {(bytes: BlobPart) => Promise<Packed>} */
export async function unpack(bytes) {
  const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const buffer = await new Response(plain).arrayBuffer();
  const start = 8 + Number(new DataView(buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, start - 8)));
  const { meta, steps } = JSON.parse(header.__metadata__.inspector);
  /** @type {Record<string, NamedArray>} */
  const arrays = {};
  for (const [name, entry] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    /** @type {{ dtype: keyof typeof TYPES, shape: number[], data_offsets: number[] }} */
    const { dtype, shape, data_offsets: offsets } = entry;
    const Type = TYPES[dtype];
    const data = new Type(buffer, start + offsets[0], (offsets[1] - offsets[0]) / Type.BYTES_PER_ELEMENT);
    arrays[name] = { shape, data: data instanceof Uint16Array ? restored(data, steps[name]) : data };
  }
  return { meta, arrays };
}

/** @type {(codes: Uint16Array, scale: [low: number, step: number]) => Float32Array} */
function restored(codes, [low, step]) {
  const values = new Float32Array(codes.length);
  for (let i = 0; i < codes.length; i++) values[i] = codes[i] === UNDEFINED ? NaN : low + codes[i] * step;
  return values;
}

/** @type {(text: string) => Uint8Array<ArrayBuffer>} */
export function fromBase64(text) {
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return bytes;
}
