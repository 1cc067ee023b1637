import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseBridgeConfig } from '../../src/bridge/bridge-config.ts';
import { SallyportError } from '../../src/errors.ts';

const parse = (text: string): ReturnType<typeof parseBridgeConfig> => parseBridgeConfig(text, '/etc/bridge.yaml');

it('reads gateways with their own identities, paths relative to the file', () => {
  const { gateways, http } = parse(`
gateways:
  files:
    url: https://gate:8443/files/mcp
    identity: ./agent-7
    passphraseFile: secret
    enroll: { url: "https://gate:8444", tokenFile: token }
  search: { identity: /ids/other, enroll: { url: "https://gate:8444", tokenEnv: TOKEN }, renew: off }
http: { port: 7777 }
`);
  expect([...gateways]).toEqual([
    ['files', { url: 'https://gate:8443/files/mcp', identity: '/etc/agent-7', passphraseFile: '/etc/secret', enroll: { url: 'https://gate:8444', tokenFile: '/etc/token' }, renew: 'auto' }],
    ['search', { url: undefined, identity: '/ids/other', passphraseFile: undefined, enroll: { url: 'https://gate:8444', tokenEnv: 'TOKEN', tokenFile: undefined }, renew: 'off' }],
  ]);
  expect(http).toEqual({ port: 7777 });
});

describe('refuses, with the place', () => {
  it.each([
    ['nothing', '', 'bridge.yaml:1:1: gateways: must be a map of names to gateways'],
    ['no gateway', 'gateways: {}', 'bridge.yaml:1:1: gateways: must name at least one gateway'],
    ['an unknown key', 'gateways:\n  a:\n    identity: x\n    identty: y', 'bridge.yaml:4:5: gateways.a.identty: unknown key: did you mean identity?'],
    ['an unknown key of an enrollment', 'gateways:\n  a:\n    identity: x\n    enroll: { url: "https://g", tokenfile: y }', 'bridge.yaml:4:33: gateways.a.enroll.tokenfile: unknown key: did you mean tokenFile?'],
    ['an unknown key at the top', 'gateways: { a: { identity: x } }\ncertificate: y', 'bridge.yaml:2:1: certificate: unknown key: known here are gateways, http'],
    ['no identity', 'gateways: { a: {} }', 'bridge.yaml:1:13: gateways.a.identity: must be an identity directory, relative to this file'],
    ['an address that is not https', 'gateways: { a: { identity: x, url: "http://g" } }', 'bridge.yaml:1:31: gateways.a.url: must be an https URL, the MCP endpoint of the gateway, without user name and fragment'],
    ['a name that is no path', 'gateways: { "a/b": { identity: x } }', 'bridge.yaml:1:13: gateways["a/b"]: a gateway name is 1 to 63 lower-case letters, digits and dashes'],
    ['two tokens', 'gateways: { a: { identity: x, enroll: { url: "https://g", tokenFile: t, tokenEnv: T } } }', 'bridge.yaml:1:31: gateways.a.enroll: needs either tokenFile or tokenEnv, and not both'],
    ['no token', 'gateways: { a: { identity: x, enroll: { url: "https://g" } } }', 'bridge.yaml:1:31: gateways.a.enroll: needs either tokenFile or tokenEnv, and not both'],
    ['two words on one identity', 'gateways:\n  a: { identity: x }\n  b: { identity: ./x, renew: off }', 'bridge.yaml:3:8: gateways.b.identity: is the identity of a too, with another enroll, passphraseFile or renew: say the same in both'],
    ['a port that is none', 'gateways: { a: { identity: x } }\nhttp: { port: 70000 }', 'bridge.yaml:2:9: http.port: must be a port'],
    ['a duplicate name', 'gateways:\n  a: { identity: x }\n  a: { identity: y }', 'bridge.yaml:3:3: the key a stands here twice: keep one'],
  ])('%s', (_what, text, message) => {
    expect(() => parse(text)).toThrow(expect.objectContaining({ code: 'ERR_CONFIG_INVALID', message: `/etc/${message}` }));
  });

  it('anything else with words of its own, never another error', () => {
    const scalar = fc.oneof(fc.string(), fc.integer(), fc.boolean(), fc.constant(null));
    const tree = fc.letrec((tie) => ({ node: fc.oneof({ maxDepth: 4 }, scalar, fc.dictionary(fc.constantFrom('gateways', 'a', 'identity', 'url', 'enroll', 'http', 'port', 'renew', 'x'), tie('node'), { maxKeys: 4 }), fc.array(tie('node'), { maxLength: 2 })) })).node;
    fc.assert(
      fc.property(tree, (value) => {
        try {
          parse(JSON.stringify(value));
        } catch (error) {
          expect(error).toBeInstanceOf(SallyportError);
        }
      }),
      { numRuns: 200 },
    );
  });
});
