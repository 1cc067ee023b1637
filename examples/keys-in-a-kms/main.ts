// A certificate authority whose keys are in a key management service: it is asked for signatures, and nothing else.
import assert from 'node:assert/strict';
import { createHash, generateKeyPairSync, randomBytes, sign, X509Certificate } from 'node:crypto';
import { caKeyOfSigner, CertificateAuthority, createHierarchy, parseCertificate } from 'sallyport/ca';
import type { Signer } from 'sallyport/ca';
import { createMemoryStore } from '../certificate-authority-alone/memory-store.ts';

// Stands for AWS KMS, Google Cloud KMS, Azure Key Vault and the like: a key has a name, a public half and one operation.
const pair = () => generateKeyPairSync('ec', { namedCurve: 'P-256' });
const keys = { root: pair(), issuing: pair() };
type KeyName = keyof typeof keys;
let signatures = 0;
const kms = {
  getPublicKey: (name: KeyName): Promise<Uint8Array> => Promise.resolve(keys[name].publicKey.export({ type: 'spki', format: 'der' })),
  // ECDSA_SHA_256 over a digest, the answer a DER Ecdsa-Sig-Value: the form X.509 carries. The stand-in hashes by itself.
  sign: (name: KeyName, request: { readonly message: Uint8Array; readonly digest: Uint8Array }): Promise<Uint8Array> => {
    signatures += 1;
    assert.equal(request.digest.length, 32);
    return Promise.resolve(sign('sha256', request.message, keys[name].privateKey));
  },
};

const kmsSigner = async (name: KeyName): Promise<Signer> => ({
  algorithm: 'p256',
  spki: await kms.getPublicKey(name),
  sign: (message) => kms.sign(name, { message, digest: createHash('sha256').update(message).digest() }),
});

const world = { name: 'Acme', trustDomain: 'acme.internal', clock: { now: () => new Date() }, randomness: { bytes: (length: number) => randomBytes(length) } };
const store = createMemoryStore();

// Once: both CA certificates are made, and kept wherever you keep such things.
const founded = await createHierarchy({ ...world, rootKey: caKeyOfSigner(await kmsSigner('root')), issuingKey: caKeyOfSigner(await kmsSigner('issuing')) });
const kept = { root: founded.root.pem, issuing: founded.issuing.pem };

// At every start: certificates from where they are kept, and the signer of the issuing CA. The root's key is not needed.
const hierarchy = await createHierarchy({ ...world, root: parseCertificate(kept.root), issuing: { certificate: parseCertificate(kept.issuing) }, issuingKey: caKeyOfSigner(await kmsSigner('issuing')) });
const authority = await CertificateAuthority.open(hierarchy, { ...world, store });

const before = signatures;
const issued = await authority.issue({ agent: 'agent-7', ttl: '1h', actor: 'example' });
const leaf = new X509Certificate(issued.chain);
assert.ok(leaf.verify(new X509Certificate(kept.issuing).publicKey));
await authority.revoke({ agent: 'agent-7' }, { reason: 'keyCompromise', actor: 'example' });
assert.equal((await authority.publishCrl('issuing')).entries, 1);
await authority.close();
assert.ok(signatures >= before + 2);
console.log(`the KMS signed ${signatures} times: two CAs, ${issued.subject}, and CRLs that list it`);
