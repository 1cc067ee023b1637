/** Buffers that may be moved to another thread instead of being copied. */

/** Only a buffer that nothing else has a view of may be moved; short ones share theirs. */
export function movable(bytes: Uint8Array): readonly ArrayBuffer[] {
  return bytes.buffer instanceof ArrayBuffer && bytes.byteLength === bytes.buffer.byteLength ? [bytes.buffer] : [];
}
