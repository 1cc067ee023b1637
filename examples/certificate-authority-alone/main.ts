// Only the certificate authority, on a store of your own: no gateway, no data directory.
import assert from 'node:assert/strict';
import { randomBytes, X509Certificate } from 'node:crypto';
import { CaError, CertificateAuthority } from 'sallyport/ca';
import { createMemoryStore } from './memory-store.ts';

const store = createMemoryStore();
const authority = await CertificateAuthority.create({ name: 'Acme', trustDomain: 'acme.internal', store, clock: { now: () => new Date() }, randomness: { bytes: (length) => randomBytes(length) } });

// A certificate on an operator's word; with `csr` the key would be the agent's own.
const issued = await authority.issue({ agent: 'agent-7', organizationalUnits: ['analytics'], ttl: '1h', actor: 'example' });
const leaf = new X509Certificate(issued.chain);
assert.equal(leaf.subjectAltName, 'URI:spiffe://acme.internal/agent/agent-7');
assert.ok(leaf.checkIssued(new X509Certificate(authority.issuing.pem)));
assert.ok(leaf.verify(new X509Certificate(authority.issuing.pem).publicKey));

// What is revoked stays revoked: the identity needs a new word of the operator.
await authority.revoke({ agent: 'agent-7' }, { reason: 'keyCompromise', actor: 'example' });
await assert.rejects(authority.issue({ agent: 'agent-7' }), (error) => error instanceof CaError && error.code === 'ERR_CA_IDENTITY_REVOKED');
assert.equal((await authority.publishCrl('issuing')).entries, 1);
await authority.close();

const actions = store.events.map(({ action }) => action);
for (const expected of ['certificate.issued', 'certificate.revoked', 'certificate.refused', 'crl.published']) assert.ok(actions.includes(expected), expected);
console.log(`issued and revoked ${issued.subject}; ${store.events.length} audit events`);
