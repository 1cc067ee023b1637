/** The durable order: intent, admission, lint, sign, check, record. Only then is there an answer. */
import { admit } from './admission.ts';
import type { Admission } from './admission.ts';
import { CaError } from './errors.ts';
import { certificateDiscarded, certificateIssued, certificateRevoked, certificateWithheld } from './events.ts';
import type { Issuer } from './issuer.ts';
import type { KeyedLock } from './keyed-lock.ts';
import { lintTbs, requireClean, requireCleanSigned } from './lint.ts';
import type { LintContext } from './lint.ts';
import type { CaStore, CertificateIntent, Clock } from './ports.ts';
import { signatureAlgorithmFor } from './x509/algorithm.ts';
import { assembleSigned } from './x509/certificate.ts';
import type { Certificate } from './x509/certificate.ts';

export interface IssuanceWorld {
  readonly store: CaStore;
  readonly clock: Clock;
  /** Keeps two issuances of one agent, or of one key, in this process from refusing each other. */
  readonly locks: KeyedLock;
  /** Errors whose audit entry is written already. */
  readonly audited: WeakSet<object>;
}

export interface IssuancePlan {
  readonly issuer: Issuer;
  readonly intent: CertificateIntent;
  readonly admission: Omit<Admission, 'intent'>;
  readonly lint: LintContext;
  readonly actor: string;
}

export const issueDurably = (world: IssuanceWorld, plan: IssuancePlan): Promise<Certificate> =>
  // Always in this order, agent before key, so that two never wait for each other.
  world.locks.run(`agent ${plan.intent.agent}`, () => world.locks.run(`key ${plan.intent.spkiHash}`, () => issueAlone(world, plan)));

const issueAlone = async ({ store, clock, audited }: IssuanceWorld, plan: IssuancePlan): Promise<Certificate> => {
  const { intent, issuer, actor } = plan;
  const { signer } = issuer;
  if (signer === undefined) throw new CaError('ERR_CA_MISSING', `the key of the ${issuer.name} CA is not here; issue where the key is kept`);

  const contenders = await store.recordIntent(intent);
  try {
    const retired = admit(contenders, { ...plan.admission, intent });
    requireClean(lintTbs(intent.tbs, plan.lint));
    if (retired.length > 0) {
      const at = clock.now();
      await store.revoke(retired, 'superseded', at, (record) => certificateRevoked(record, 'superseded', { time: at, actor }));
    }
  } catch (error) {
    // Nothing is signed yet. When the store itself is away the intent stays and is recovered later.
    await store.discardIntent(intent, certificateDiscarded(intent, error, { time: clock.now(), actor })).then(
      () => noteAudited(audited, error),
      () => undefined,
    );
    throw error;
  }

  // From here on a signature may exist: whatever fails, the intent stays on record.
  const signature = await signer.sign(intent.tbs);
  const der = assembleSigned(intent.tbs, signatureAlgorithmFor(signer.algorithm), signature);
  let certificate: Certificate;
  try {
    certificate = await requireCleanSigned(der, { ...plan.lint, issuer: issuer.certificate, intended: intent.tbs });
  } catch (error) {
    await store.recordEvent(certificateWithheld(intent, error, { time: clock.now(), actor }));
    noteAudited(audited, error);
    throw error;
  }
  await store.recordIssued(
    { issuerId: intent.issuerId, serial: intent.serial, der, thumbprint: certificate.thumbprint },
    certificateIssued(intent, certificate.thumbprint, { time: clock.now(), actor }),
  );
  return certificate;
};

const noteAudited = (audited: WeakSet<object>, error: unknown): void => {
  if (typeof error === 'object' && error !== null) audited.add(error);
};
