import { expect, it } from 'vitest';
import { readUpstreamCredential } from '../../src/app/upstream-credential.ts';

const place = { upstream: 'warehouse', directory: '/nowhere', env: { TOKEN: 'secret', EMPTY: '' } };

it.each([
  [{ fromEnv: 'TOKEN' }, 'Authorization', 'Bearer secret'],
  [{ fromEnv: 'TOKEN', header: 'authorization' }, 'authorization', 'Bearer secret'],
  [{ fromEnv: 'TOKEN', scheme: 'Token' }, 'Authorization', 'Token secret'],
  [{ fromEnv: 'TOKEN', header: 'X-Api-Key' }, 'X-Api-Key', 'secret'],
  [{ fromEnv: 'TOKEN', header: 'X-Api-Key', scheme: 'v1' }, 'X-Api-Key', 'v1 secret'],
])('%j is sent as %s: %s', async (source, header, value) => {
  const credential = await readUpstreamCredential(source, place);
  expect([credential.header, await credential.of(undefined)]).toEqual([header, value]);
});

it.each([[{ fromEnv: 'EMPTY' }], [{ fromEnv: 'MISSING' }], [{}]])('%j is no credential', async (source) => {
  await expect(readUpstreamCredential(source, place)).rejects.toMatchObject({ code: 'ERR_CONFIG_INVALID' });
});

it('of each agent is not looked for before one calls', async () => {
  await expect(readUpstreamCredential({ fromFile: '{commonName}.token' }, place)).resolves.toMatchObject({ header: 'Authorization' });
});
