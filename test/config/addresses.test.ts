import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatDuration, parseDuration } from '../../src/config/duration.ts';
import { formatListenAddress, isLoopback, parseListenAddress } from '../../src/config/listen-address.ts';

describe('a duration', () => {
  it.each([
    ['24h', 86_400_000],
    ['15m', 900_000],
    ['30d', 2_592_000_000],
    ['500ms', 500],
    ['0s', 0],
    ['1.5h', undefined],
    ['24', undefined],
    ['-1h', undefined],
    ['1h30m', undefined],
    ['24H', undefined],
    ['', undefined],
    ['999999999d', undefined],
  ])('%j is %s milliseconds', (text, millis) => {
    expect(parseDuration(text)).toBe(millis);
  });

  it('is formatted so that it reads back', () => {
    fc.assert(fc.property(fc.nat(2_000_000_000), (millis) => parseDuration(formatDuration(millis)) === millis), { numRuns: 200 });
    expect([formatDuration(5_400_000), formatDuration(86_400_000)]).toEqual(['90m', '1d']);
  });
});

describe('a listen address', () => {
  it.each([
    ['localhost:8443', { host: 'localhost', port: 8443 }],
    ['127.0.0.1:0', { host: '127.0.0.1', port: 0 }],
    ['[::1]:8443', { host: '::1', port: 8443 }],
    ['mcp.acme.example:443', { host: 'mcp.acme.example', port: 443 }],
    ['::1:8443', undefined],
    ['[localhost]:1', undefined],
    ['1.2.3:1', undefined],
    ['999.0.0.1:1', undefined],
    [':8443', undefined],
    ['localhost', undefined],
    ['localhost:65536', undefined],
    ['local host:1', undefined],
    ['-a:1', undefined],
  ])('%s is %j', (text, address) => {
    expect(parseListenAddress(text)).toEqual(address);
    if (address !== undefined) expect(formatListenAddress(address)).toBe(text);
  });

  it('is loopback when only this machine reaches it', () => {
    expect(['localhost', '127.0.0.1', '127.9.9.9', '::1', '0.0.0.0', '::', '10.0.0.1', '127.example'].map(isLoopback)).toEqual([true, true, true, true, false, false, false, false]);
  });
});
