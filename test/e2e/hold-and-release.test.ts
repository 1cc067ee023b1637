/** A hold shuts every place that a revocation shuts; a release opens them again for the same certificate. */
import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { parseCrl } from '../../ca/x509/crl.ts';
import { createGateway } from '../../src/app/create-gateway.ts';
import type { RunningGateway } from '../../src/app/create-gateway.ts';
import { createLogger } from '../../src/app/log.ts';
import { openStream } from '../../src/demo/stranger.ts';
import { proven } from '../support/ocsp.ts';
import { ServedPort, fixtureCommand } from '../support/served-port.ts';

let port: ServedPort;
let gateway: RunningGateway;
beforeAll(async () => {
  port = await ServedPort.make();
  gateway = await createGateway({ directory: port.path('port'), upstreams: { default: { command: fixtureCommand } }, listen: 'localhost:0', public: '127.0.0.1:0', enroll: false, logger: createLogger({ level: 'silent' }) });
  await gateway.listen();
});
afterAll(async () => {
  await gateway.close({ drainMs: 0 });
  await port.close();
});

const onCrl = async (serial: string): Promise<string | undefined> => {
  const response = await fetch(`${gateway.publicUrl ?? ''}/crl/issuing.crl`);
  return parseCrl(new Uint8Array(await response.arrayBuffer())).find(serial)?.reason;
};

it('cuts and refuses on hold, and lets the same certificate in again after the release', async () => {
  const identity = await port.issue('agent-7', '--ou', 'analytics');
  await port.issue('agent-8', '--ou', 'analytics');
  const url = `${gateway.url}/mcp`;
  const { authority } = gateway.deployment;
  const [agent, other] = [await port.connect(identity, url), await port.connect(port.path('agent-8'), url)];
  expect(await agent.call('echo', { text: 'before' })).toBe('before');
  const { serial } = await agent.fetch.identity();
  expect((await proven(authority.ocsp, authority.issuing, serial)).status).toBe('good');
  const file = (name: string): Promise<string> => readFile(port.path('agent-7', name), 'utf8');
  const stream = await openStream(url, { ca: await file('ca.pem'), cert: await file('cert.pem'), key: await file('key.pem') });

  const held = await port.place.json('revoke', 'agent-7', '--reason', 'certificateHold');
  expect(held).toMatchObject({ revoked: [{ serial, reason: 'certificateHold' }], gateways: [{ connectionsCut: expect.any(Number) as number }], missing: [] });
  await stream.ended;
  await expect(agent.call('echo', { text: 'held' })).rejects.toThrow(/revoked/);
  await expect(port.connect(identity, url)).rejects.toThrow(/revoked/);
  expect((await proven(authority.ocsp, authority.issuing, serial)).response.responses).toMatchObject([{ status: { status: 'revoked', reason: 'certificateHold' } }]);
  expect(await onCrl(serial)).toBe('certificateHold');
  expect((await port.place.run('inventory', '--status', 'held')).stdout).toMatch(/agent-7 +held /);
  expect((await port.place.run('inventory', '--status', 'revoked')).stdout).toBe('no certificates\n');
  expect(await other.call('echo', { text: 'untouched' })).toBe('untouched');

  expect(await port.place.json('release', 'agent-7')).toMatchObject({ released: [{ serial }], gateways: [{}], missing: [] });
  expect(await (await port.connect(identity, url)).call('echo', { text: 'back' })).toBe('back');
  expect((await proven(authority.ocsp, authority.issuing, serial)).status).toBe('good');
  expect(await onCrl(serial)).toBeUndefined();

  // What was released can be revoked for good, from a hold too, and then stays so.
  await authority.revoke({ agent: 'agent-7' }, { reason: 'certificateHold' });
  await authority.revoke({ agent: 'agent-7' }, { reason: 'keyCompromise' });
  expect(await port.place.run('release', 'agent-7')).toMatchObject({ code: 1, stderr: expect.stringContaining('ERR_CA_NOT_HELD') as string });
  await expect(port.connect(identity, url)).rejects.toThrow(/revoked/);
  expect((await proven(authority.ocsp, authority.issuing, serial)).response.responses).toMatchObject([{ status: { status: 'revoked', reason: 'keyCompromise' } }]);
  expect((await port.place.run('audit', 'tail', '--agent', 'agent-7', '--action', 'certificate.released', '--json')).stdout).toMatch(/"actor":"cli:tester"/);
});
