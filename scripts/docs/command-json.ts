/** What each command writes with --json. */
export const jsonShapes: Readonly<Record<string, string>> = {
  demo: '`{ ok, seconds, outcomes: [{ promise, observed, held }] }`',
  init: '`{ directory, root, issuing, server, url, auditVerifierKey, passphrase }`; `root`, `issuing` and `server` are `{ subject, thumbprint, serial, notAfter }`, `passphrase` says whether the keys are encrypted',
  issue: '`{ serial, thumbprint, subject, organizationalUnits, uri, notBefore, notAfter, profile, grants, directory, files, certificate? }`; `grants` is what the present policy gives: `[{ upstream, roles, tools, argumentRules, resources, prompts, logging, denied }]`; `certificate` (PEM) where nothing was written to a directory',
  'token create': '`{ token, agent, organizationalUnits, profile, expiresAt, enrollUrl }`',
  enroll: '`{ name, serial, thumbprint, directory, notBefore, notAfter, gateway }`',
  serve: '`{ url, endpoints: [{ upstream, url }], publicUrl, enrollUrl, pid }`, once it listens',
  connect: 'with `--http`: `{ url, port }`; on stdio standard output is MCP, and notices on standard error are JSON',
  revoke: '`{ reason, revoked, alreadyRevoked, gateways: [{ node, connectionsCut, millis }], missing: [{ node, seenAt }] }`; certificates are `{ agent, serial, thumbprint, subject, notAfter, revokedAt, reason }`; `missing` are gateways that have not confirmed within two seconds',
  inventory: '`[{ agent, status, serial, thumbprint, issuer, subject, organizationalUnits, uri, dnsNames, profile, notBefore, notAfter, revokedAt, revocationReason, firstSeenAt, replaces }]`',
  crl: '`{ ca, crlNumber, thisUpdate, nextUpdate, entries, crl }`, or `file` in place of `crl` (PEM) with `--out`',
  'policy check': '`{ file, revision, roles, bindings, rules, ok, findings: [{ kind, severity, path, line, message }] }`; exit code 3 when a finding is a warning',
  'policy explain': '`{ decision: { effect, reason, rule, roles, detail? }, … }`; exit code 3 when it is denied',
  'audit tail': 'one entry a line, as [audit.md](audit.md) describes them',
  'audit verify': '`{ ok, size, signedSize, findings: [{ kind, index, message }] }`; with `--file` also `origin`, `verifierKey`, `keyTrusted`',
  'audit export': 'with `--out`: `{ file, entries }`; without it the export itself is JSON Lines',
  doctor: '`{ ok, url, checks: [{ id, title, outcome, detail, next }], … }`; `outcome` is `pass`, `fail`, `warn` or `skip`; exit code 3 when one failed',
};
