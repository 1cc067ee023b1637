/** The suites in the order they run and are shown. */
import type { BenchRow } from './measure.ts';
import type { Program } from './programs.ts';

export interface Suite {
  readonly title: string;
  readonly about: string;
  readonly load: () => Promise<{ run(amount?: number): Promise<readonly BenchRow[]> }>;
  /** Ended by force after this. */
  readonly limitSeconds: number;
  /** References that may not be installed. */
  readonly needs?: readonly Program[];
  /** Runs only when it is named. */
  readonly alone?: true;
}

export const suites: Readonly<Record<string, Suite>> = {
  handshake: {
    title: 'Handshake',
    about: 'CPU of the server for a full mutual-TLS handshake (TLS 1.3, P-256) with one request, medians of five passes. The gateway issues no session tickets and its peers need send the leaf only; the last rows are references.',
    load: () => import('./handshake.ts'), limitSeconds: 150, needs: ['nginx'],
  },
  revocation: {
    title: 'Revocation index',
    about: 'One million serials from a CRL file: read, checked in form and signature and indexed in a worker thread, with the main thread\'s event loop watched. Medians of five loads; lookups are in CPU time over 10,000 serials spread over the whole index.',
    load: () => import('./revocation-index.ts'), limitSeconds: 60,
  },
  crl: {
    title: 'CRLs',
    about: 'One CRL of everything, P-256, each entry with a serial of 19 octets and a reason: every revoked certificate read from the store (SQLite), held against the CRL before, encoded, signed, read back and verified, made durable in the store with its audit entry, and written to its file. Long ones are built in a thread of their own, with the event loop of the main thread watched. Medians of five. The references read a file and write one, and check nothing. A revocation comes onto the next CRL, at most one a second.',
    load: () => import('./crl-writing.ts'), limitSeconds: 240, needs: ['openssl', 'cfssl'],
  },
  ocsp: {
    title: 'OCSP',
    about: 'Answers about 100 certificates, P-256, signed by a delegate whose certificate is in each answer. A kept answer was signed before; one for a nonce is signed for it. Eight clients at once share the machine with the responder, which is in a process of its own; its bound on what is signed on demand is lifted.',
    load: () => import('./ocsp.ts'), limitSeconds: 120, needs: ['openssl'],
  },
  issuance: {
    title: 'Issuance',
    about: 'Certificates from P-256 CSRs, proof of possession checked, linted before and after signing. Durable means: intent committed with full sync, then signed, then certificate and audit entry committed in one transaction.',
    load: () => import('./issuance.ts'), limitSeconds: 180, needs: ['cfssl'],
  },
  calls: {
    title: 'Calls',
    about: 'tools/call with a small text by eight clients at once, client, gateway and MCP server sharing the machine. The MCP server is written with SDK v1 and answers each call with an SSE event. CPU is that of the gateway\'s process, all threads, or of nginx.',
    load: () => import('./calls.ts'), limitSeconds: 150, needs: ['nginx'],
  },
  eras: {
    title: 'Calls by era and upstream',
    about: 'tools/call with a small text in the newest legacy revision (SDK v1, sessions) and in the modern one (SDK v2), through the gateway with decisions in the audit log, against the same MCP server reached directly over the same mutual TLS. The rate is that of eight clients at once, client, gateway and MCP server sharing the machine; the latency is what one call at a time takes longer.',
    load: () => import('./call-eras.ts'), limitSeconds: 240,
  },
  scale: {
    title: 'Calls where there is much of something else',
    about: 'CPU of the gateway\'s process for one tools/call to an in-process MCP server that costs nearly nothing, decisions not written down (for the tools they are, and a changed definition is refused), with many tools, rules, sessions or principals against few, interleaved. Flat is the goal.',
    load: () => import('./call-scale.ts'), limitSeconds: 240,
  },
  idle: {
    title: 'Memory of the idle',
    about: 'What the gateway\'s process holds more, after garbage collection, for each of 2,000 connections or streams and 10,000 sessions in which nothing happens, once it has seen 10,000 requests; each kind in a process of its own. The MCP server is in process and holds next to nothing.',
    load: () => import('./idle-memory.ts'), limitSeconds: 120,
  },
  cut: {
    title: 'Revoke to cut',
    about: 'From the call of `CaStore.revoke` (durable on SQLite) until the client sees its open SSE stream end.',
    load: () => import('./cut.ts'), limitSeconds: 60,
  },
  policy: {
    title: 'Authorization',
    about: 'From the parsed message to the decision, on a policy of 201 roles.',
    load: () => import('./policy.ts'), limitSeconds: 60,
  },
  denial: {
    title: 'Denied or unknown',
    about: 'Whether time tells what is there and denied from what is not there: the latency of both answers over one connection, asked for in random order so that both meet the same machine, with names of one length. Of all pairs of one answer and another, the share in which the denied one took longer (Mann–Whitney) is 50 % where nothing can be told; how far it is from that is what has a goal.',
    load: () => import('./denial-timing.ts'), limitSeconds: 240,
  },
  json: {
    title: 'Strict JSON',
    about: 'Reading a request body with every check for ambiguity, against `JSON.parse` of the same octets, which has none.',
    load: () => import('./strict-json.ts'), limitSeconds: 60,
  },
  soak: {
    title: 'Ten minutes of everything',
    about: '`npm run bench -- soak [seconds]`: memory, after garbage collection, and descriptors of the gateway\'s process before, after a fifth of the time and at the end, while clients of both eras come, call, listen, vanish and are refused as fast as they can, decisions going to the audit log. The last rows say how often.',
    load: () => import('./soak.ts'), limitSeconds: 1_200, alone: true,
  },
  renewal: {
    title: 'Renewal under calls',
    about: '`npm run bench -- renewal [seconds]`: a hundred agents with certificates of 60 seconds, all enrolled within the same moments, call through bridges that renew them, while the gateway renews its own, which live as long; replaced certificates are retired after ten seconds. Agents, gateway (a process of its own) and MCP server share the machine.',
    load: () => import('./renewal.ts'), limitSeconds: 1_200, alone: true,
  },
};
