/** RFC 8555 §6.1: base64url without padding; with stray bits or anything else it is refused, so that one value has one text. */
export const fromBase64url = (text: string, maxOctets: number): Uint8Array | undefined => {
  if (text.length > Math.ceil((maxOctets * 4) / 3) || !/^[A-Za-z0-9_-]*$/.test(text)) return undefined;
  const octets = Buffer.from(text, 'base64url');
  return octets.toString('base64url') === text ? new Uint8Array(octets) : undefined;
};

export const toBase64url = (octets: Uint8Array): string => Buffer.from(octets.buffer, octets.byteOffset, octets.length).toString('base64url');
