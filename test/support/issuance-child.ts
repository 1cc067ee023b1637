/**
 * `node issuance-child.ts <directory> <issue|revoke|publish> <step>`: does one thing on the authority in the
 * directory and kills itself at the given step. Steps are the moments before and after every call
 * of a port: store, signer. What was signed is noted first. Without being killed it prints `answered`.
 */
import { appendFileSync, readFileSync } from 'node:fs';
import { createPrivateKey } from 'node:crypto';
import { join } from 'node:path';
import { CertificateAuthority } from '../../ca/authority.ts';
import { loadHierarchy } from '../../ca/hierarchy.ts';
import { hierarchyOf } from '../../ca/issuer.ts';
import type { Issuer } from '../../ca/hierarchy.ts';
import type { CaStore, Signer } from '../../ca/ports.ts';
import { createCheckpointSigner } from '../../src/audit/checkpoint.ts';
import { openStore } from '../../src/store/open-store.ts';
import { systemClock as clock, systemRandomness as randomness } from '../../src/system.ts';

const [directory = '', operation = '', step = ''] = process.argv.slice(2);
const deadly = Number(step);
let passed = 0;
let armed = false;

const moment = (name: string): void => {
  if (!armed || passed++ !== deadly) return;
  appendFileSync(join(directory, 'killed.log'), `${name}\n`);
  process.kill(process.pid, 'SIGKILL');
};

const watchedStore = (store: CaStore): CaStore =>
  new Proxy(store, {
    get: (target, name, receiver) => {
      const member: unknown = Reflect.get(target, name, receiver);
      if (typeof member !== 'function' || ['revokedSerials', 'revokedText', 'crlStates', 'crlSeries', 'extendCrlSeries'].includes(String(name))) return member;
      return async (...given: unknown[]): Promise<unknown> => {
        moment(`before ${String(name)}`);
        const result: unknown = await member.apply(target, given);
        moment(`after ${String(name)}`);
        return result;
      };
    },
  });

const watchedIssuer = (issuer: Issuer): Issuer => {
  const { signer } = issuer;
  if (signer === undefined) return issuer;
  const watched: Signer = {
    ...signer,
    sign: async (data) => {
      moment('before sign');
      const signature = await signer.sign(data);
      appendFileSync(join(directory, 'signed.log'), `${Buffer.from(data).toString('hex')}\n`);
      moment('after sign');
      return signature;
    },
  };
  return { ...issuer, signer: watched };
};

const checkpointSigner = createCheckpointSigner({ origin: 'acme/audit', privateKey: createPrivateKey(readFileSync(join(directory, 'log.key.pem'))) });
const store = await openStore(`sqlite:${join(directory, 'sallyport.db')}`, { clock, checkpointSigner });
const hierarchy = await loadHierarchy({ directory });
const authority = await CertificateAuthority.open(
  hierarchyOf({ ...hierarchy, issuers: hierarchy.issuers.map(watchedIssuer) }),
  { store: watchedStore(store.ca), clock, randomness, trustDomain: 'acme.internal', crlCoalesceMs: 0 },
);
armed = true;
if (operation === 'issue') {
  const issued = await authority.issue({ agent: `crashing-${step}` });
  appendFileSync(join(directory, 'answered.log'), `${issued.serial}\n`);
} else if (operation === 'revoke') {
  const { revoked } = await authority.revoke({ agent: `doomed-${step}` }, { reason: 'keyCompromise' });
  appendFileSync(join(directory, 'answered.log'), `${revoked[0]?.serial ?? ''}\n`);
  await authority.close();
} else await authority.publishCrl('issuing');
process.stdout.write('answered');
await store.close();
