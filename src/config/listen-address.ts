/** `host:port`, with IPv6 in brackets: `localhost:8443`, `127.0.0.1:0`, `[::1]:8443`. */
import { isIPv4, isIPv6 } from 'node:net';

export interface ListenAddress {
  /** Without brackets. */
  readonly host: string;
  /** 0 lets the system choose. */
  readonly port: number;
}

const hostName = /^(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$/;

/** Undefined when the text is not such an address. */
export function parseListenAddress(text: string): ListenAddress | undefined {
  const parts = /^(?:\[([^\]]+)\]|([^:[\]]+)):([0-9]{1,5})$/.exec(text);
  if (parts === null) return undefined;
  const [, bracketed, plain, digits = ''] = parts;
  const port = Number(digits);
  if (port > 65_535) return undefined;
  if (bracketed !== undefined) return isIPv6(bracketed) ? { host: bracketed, port } : undefined;
  const host = plain ?? '';
  // Something like 1.2.3 is a typing error, not a host name.
  if (/^[0-9.]+$/.test(host) ? !isIPv4(host) : !hostName.test(host)) return undefined;
  return { host, port };
}

export const formatListenAddress = ({ host, port }: ListenAddress): string => (host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`);

/** Whether only this machine can reach it. */
export const isLoopback = (host: string): boolean => host === 'localhost' || host === '::1' || (isIPv4(host) && host.startsWith('127.'));

/** Whether it means every address of this machine. */
export const isWildcardHost = (host: string): boolean => host === '0.0.0.0' || host === '::';
