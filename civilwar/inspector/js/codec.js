// Undoes civilwar/inspector/pack.py: gzip, header, arrays. Measures come as 16-bit steps; the top code is undefined.

const UNDEFINED = 65535;

async function unpack(bytes) {
  const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const buffer = await new Response(plain).arrayBuffer();
  const size = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, size)));
  const arrays = {};
  for (const [name, entry] of Object.entries(header.arrays)) arrays[name] = { shape: entry.shape, data: decode(buffer, entry) };
  return { meta: header.meta, arrays };
}

function decode(buffer, entry) {
  const count = entry.shape.reduce((product, n) => product * n, 1);
  if (entry.dtype === "uint8") return new Uint8Array(buffer, entry.offset, count);
  if (entry.dtype === "float32") return new Float32Array(buffer, entry.offset, count);
  if (entry.dtype === "int32") return new Int32Array(buffer, entry.offset, count);
  const codes = new Uint16Array(buffer, entry.offset, count);
  const values = new Float32Array(count);
  for (let i = 0; i < count; i++) values[i] = codes[i] === UNDEFINED ? NaN : entry.low + codes[i] * entry.step;
  return values;
}

function fromBase64(text) {
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return bytes;
}
