/** What the doctor says about one thing. */
import { CodedError } from '../../ca/errors.ts';

/** `warn` is worth doing something about, `skip` could not be looked at; only `fail` makes the report a bad one. */
export type Outcome = 'pass' | 'fail' | 'warn' | 'skip';

export interface Finding {
  readonly outcome: Outcome;
  /** What was observed. */
  readonly detail: string;
  /** What to do about it. */
  readonly next?: string;
}

export interface Check {
  readonly id: CheckId;
  readonly title: string;
  readonly outcome: Outcome;
  readonly detail: string;
  readonly next: string | null;
}

/** Every check, in the order of the report. */
export const checkTitles = {
  gateway: 'the gateway answers',
  goodCertificate: 'a good certificate gets in',
  noCertificate: 'no certificate',
  foreignAuthority: 'a certificate of another CA',
  expired: 'an expired certificate',
  revoked: 'a revoked certificate',
  openConnection: 'an open connection of a revoked certificate',
  resumedSession: 'a resumed session of a revoked certificate',
  serverOnly: 'a server-only certificate',
  authorityAsLeaf: 'a CA certificate as a leaf',
  leafOfRoot: 'a leaf signed by the root',
  tls12: 'TLS 1.2',
  keyExchange: 'the key exchange is quantum-safe',
  dataDirectory: 'the data directory opens',
  keyModes: 'private keys are private',
  serverCertificate: 'the server certificate lasts',
  issuingCertificate: 'the issuing CA lasts',
  rootCertificate: 'the root CA lasts',
  issuingCrl: 'the CRL of the issuing CA is fresh',
  rootCrl: 'the CRL of the root CA is fresh',
  publishedCrls: 'CRLs are published',
  otherAuthorities: 'other authorities are current',
  configuration: 'the configuration is sound',
  policy: 'the policy is sound',
  audit: 'the audit log is vouched for',
  runtime: 'Node.js is sound',
  cleanUp: 'throw-away identities are revoked',
} as const;

export type CheckId = keyof typeof checkTitles;

export const checkIds = Object.keys(checkTitles) as readonly CheckId[];

export const checkOf = (id: CheckId, { outcome, detail, next }: Finding): Check => ({ id, title: checkTitles[id], outcome, detail, next: next ?? null });

export const pass = (detail: string): Finding => ({ outcome: 'pass', detail });
export const fail = (detail: string, next: string): Finding => ({ outcome: 'fail', detail, next });
export const warn = (detail: string, next: string): Finding => ({ outcome: 'warn', detail, next });
export const skip = (detail: string): Finding => ({ outcome: 'skip', detail });

/** A check that could not be carried through has not passed. */
export const failedWith = (error: unknown): Finding =>
  // Our messages name the next step behind the last colon or semicolon already.
  error instanceof CodedError ? fail(`${error.code}: ${error.message}`, 'do what the message says, then run sallyport doctor again') : fail(error instanceof Error ? error.message : String(error), 'look at the log of sallyport serve, and run sallyport doctor again');

export const attempt = async (examine: () => Finding | Promise<Finding>): Promise<Finding> => {
  try {
    return await examine();
  } catch (error) {
    return failedWith(error);
  }
};
