/** Ranges of IP addresses in CIDR notation, and those that no range takes in by accident. Pure. */
import { isIP } from 'node:net';

export interface AddressRange {
  readonly family: 4 | 6;
  readonly network: bigint;
  readonly prefix: number;
}

export interface Address {
  readonly family: 4 | 6;
  readonly bits: bigint;
}

const width = { 4: 32, 6: 128 } as const;

/** `10.0.0.0/8`, `fd00::/8`, or one address. Undefined for anything else, also with bits beyond the prefix. */
export const parseRange = (text: string): AddressRange | undefined => {
  const [, base = '', length] = /^([0-9a-fA-F.:]+)(?:\/(\d{1,3}))?$/.exec(text) ?? [];
  const address = addressOf(base);
  if (address === undefined) return undefined;
  const { family, bits } = address;
  const prefix = length === undefined ? width[family] : Number(length);
  if (prefix > width[family] || networkOf(bits, family, prefix) !== bits) return undefined;
  return { family, network: bits, prefix };
};

export const includes = (range: AddressRange, text: string): boolean => {
  const address = addressOf(text);
  return address !== undefined && holds(range, address);
};

/**
 * Whether one of the ranges takes the address in. What is special (this machine, the link, metadata of clouds, addresses
 * that wrap others) is only taken in by a range that lies within what is special: `0.0.0.0/0` does not mean it.
 */
export const isAllowedBy = (ranges: readonly AddressRange[], text: string): boolean => {
  const address = addressOf(text);
  if (address === undefined) return false;
  const block = special.find((range) => holds(range, address));
  return ranges.some((range) => holds(range, address) && (block === undefined || isWithin(range, block)));
};

const isWithin = (inner: AddressRange, outer: AddressRange): boolean => inner.family === outer.family && inner.prefix >= outer.prefix && networkOf(inner.network, inner.family, outer.prefix) === outer.network;

const holds = (range: AddressRange, address: Address): boolean => range.family === address.family && networkOf(address.bits, range.family, range.prefix) === range.network;

const networkOf = (bits: bigint, family: 4 | 6, prefix: number): bigint => {
  const rest = BigInt(width[family] - prefix);
  return (bits >> rest) << rest;
};

/** An IPv4 address in the clothes of IPv6 (RFC 4291 §2.5.5.2) is the IPv4 address: that is what is connected to. */
export const addressOf = (text: string): Address | undefined => {
  const family = isIP(text);
  if (family === 4) return { family: 4, bits: text.split('.').reduce((bits, part) => (bits << 8n) | BigInt(part), 0n) };
  if (family !== 6 || text.includes('%')) return undefined;
  const [head = '', tail] = new URL(`http://[${text}]`).hostname.slice(1, -1).split('::');
  const before = head === '' ? [] : head.split(':');
  const after = tail === undefined || tail === '' ? [] : tail.split(':');
  const groups = [...before, ...Array.from({ length: 8 - before.length - after.length }, () => '0'), ...after];
  const bits = groups.reduce((sum, group) => (sum << 16n) | BigInt(`0x${group}`), 0n);
  return bits >> 32n === 0xffffn ? { family: 4, bits: bits & 0xffffffffn } : { family: 6, bits };
};

const special: readonly AddressRange[] = [
  // RFC 6890 and its registries.
  '0.0.0.0/8', '127.0.0.0/8', '169.254.0.0/16', '192.0.0.0/24', '224.0.0.0/4', '240.0.0.0/4',
  '::/96', '::ffff:0:0:0/96', '64:ff9b::/96', '64:ff9b:1::/48', '2001::/32', '2002::/16', 'fe80::/10', 'ff00::/8',
  // Where clouds tell machines their secrets, besides 169.254.169.254.
  '100.100.100.200/32', '168.63.129.16/32', 'fd00:ec2::254/128',
].flatMap((text) => parseRange(text) ?? []);
