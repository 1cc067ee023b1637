/** What the CAs of a path forbid to be named below them (RFC 5280 §4.2.1.10), asked before anything is signed. */
import { CaError } from './errors.ts';
import { readTbs } from './lint.ts';
import { encodeTbsCertificate } from './x509/certificate.ts';
import type { Certificate } from './x509/certificate.ts';
import { encodeSubjectAltName } from './x509/extension.ts';
import { Budget, defaultLimits } from './x509/path/budget.ts';
import { nameProblem } from './x509/path/name-constraints.ts';

/** `authorities` are the issuer and those above it. @throws CaError `ERR_CA_NAME` */
export const checkNameBounds = (tbs: Uint8Array, authorities: readonly Certificate[]): void => {
  const bounding = authorities.filter(({ nameConstraints }) => nameConstraints !== undefined);
  // Reading what is to be signed costs as much as filling it in.
  if (bounding.length === 0) return;
  const problem = nameProblem(readTbs(tbs), bounding, new Budget(defaultLimits));
  if (problem !== undefined) throw new CaError('ERR_CA_NAME', `${problem.reason}, so no verifier would accept the certificate; ask for a name within its nameConstraints`, { facts: { clause: problem.clause } });
};

/** Whether agents of a trust domain could have certificates at all under these CAs. @throws CaError `ERR_CA_NAME` */
export const checkAgentsNameable = (trustDomain: string, authorities: readonly Certificate[]): void => {
  if (authorities.every(({ nameConstraints }) => nameConstraints === undefined)) return;
  const [issuing] = authorities;
  if (issuing === undefined) return;
  const agent = { subject: [[{ type: 'CN', value: 'agent' }]], uris: [`spiffe://${trustDomain}/agent/agent`], dnsNames: [], ipAddresses: [] } as const;
  checkNameBounds(
    encodeTbsCertificate({
      serial: Uint8Array.of(1), issuerName: issuing.subjectNameDer, subject: agent.subject, notBefore: issuing.notBefore, notAfter: issuing.notAfter, spki: issuing.spki, signatureAlgorithm: issuing.signatureAlgorithm,
      extensions: [encodeSubjectAltName(agent)],
    }),
    authorities,
  );
};
