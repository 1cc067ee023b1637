/**
 * Certificates that a second person must approve. Whoever asks leaves a request and comes back with the same proof and
 * key; whoever approves is somebody else. The serial is reserved with the approval, so that a crash behind it neither
 * loses the certificate nor makes a second one.
 */
import { hash } from 'node:crypto';
import { CaError } from './errors.ts';
import { requestApproved, requestCollected, requestCreated, requestDecisionRefused, requestDenied, requestExpired, requestReserved } from './events.ts';
import { KeyedLock } from './keyed-lock.ts';
import { personOf } from './person.ts';
import type { CaStore, CertificateRecord, CertificateRequest, Clock, EnrollmentToken, Randomness, RequestState, RequestTerms } from './ports.ts';
import type { CertificateKey, IssuedCertificate } from './requests.ts';
import { revokeSelected } from './revocation.ts';
import type { Csr } from './x509/csr.ts';

export interface ApprovalWorld {
  readonly store: CaStore;
  readonly clock: Clock;
  readonly randomness: Randomness;
  readonly expirySeconds: number;
  readonly maxPending: number;
  /** The issuer that would sign now and a serial that nobody has. */
  readonly reserve: () => CertificateKey;
  /** Refuses what the rules of today do not grant. */
  readonly check: (request: CertificateRequest) => void;
  /** Issues it under the reserved serial. */
  readonly issue: (request: CertificateRequest) => Promise<IssuedCertificate>;
  /** What was answered, or would have been, when this certificate was issued. */
  readonly recall: (record: CertificateRecord, der: Uint8Array) => IssuedCertificate;
}

/** What is asked for and who asks. */
export interface Question {
  readonly agent: string;
  readonly profile: string;
  readonly terms: RequestTerms;
  readonly csr: Csr;
  /** What proves who asks: whoever comes back with it and the same key gets the certificate. Only its hash is kept. */
  readonly credential: string;
  /** A token to be spent for it. */
  readonly spend?: { readonly secretHash: string; readonly event: (token: EnrollmentToken) => ReturnType<typeof requestCreated>; readonly token: EnrollmentToken } | undefined;
}

/** Refusals for which no patience helps. */
const final: ReadonlySet<string> = new Set(['ERR_CA_IDENTITY_REVOKED', 'ERR_CA_KEY_REFUSED', 'ERR_CA_KEY_REUSED', 'ERR_CA_PROFILE', 'ERR_CA_NAME', 'ERR_CA_TTL', 'ERR_CA_CSR_CONTENT']);
const open: readonly RequestState[] = ['pending', 'approved'];
const maxReasonLength = 500;
/** How long after an approval a start of the authority looks whether it was issued. */
const crashMs = 3_600_000;

export class ApprovalQueue {
  readonly #world: ApprovalWorld;
  readonly #locks = new KeyedLock();

  constructor(world: ApprovalWorld) {
    this.#world = world;
  }

  /**
   * Answers with the certificate once it was approved. Until then it rejects with `ERR_REQUEST_PENDING`, whose facts
   * are `request` (id) and `retryAfterSeconds`; asking again with the same proof and key changes nothing.
   */
  ask(question: Question): Promise<IssuedCertificate> {
    const credentialHash = hash('sha256', question.credential, 'hex');
    return this.#locks.run(`${credentialHash} ${question.csr.spkiHash}`, async () => {
      const standing = await this.#find(credentialHash, question);
      return standing === undefined ? this.#leave(credentialHash, question) : this.#follow(standing, question.terms);
    });
  }

  /** Whether a request was left with this proof. */
  async knows(credential: string): Promise<boolean> {
    return (await this.#world.store.findRequests({ credentialHash: hash('sha256', credential, 'hex'), limit: 1 })).length > 0;
  }

  async list(states: readonly RequestState[] = ['pending']): Promise<readonly CertificateRequest[]> {
    await this.expire();
    return this.#world.store.findRequests({ states });
  }

  /** `ERR_REQUEST_UNKNOWN` */
  async get(id: string): Promise<CertificateRequest> {
    await this.expire();
    const [request] = await this.#world.store.findRequests({ id, limit: 1 });
    if (request === undefined) throw new CaError('ERR_REQUEST_UNKNOWN', `there is no request ${JSON.stringify(id.slice(0, 64))}; sallyport requests list shows those that wait`);
    return request;
  }

  /** Approves and issues. Approving again what was approved issues what a crash kept from being issued. */
  async approve(id: string, { actor }: { readonly actor: string }): Promise<{ readonly request: CertificateRequest; readonly certificate: IssuedCertificate }> {
    const { store, clock } = this.#world;
    const request = await this.get(id);
    if (request.state === 'approved') return this.#complete(request);
    this.#requirePending(request);
    const time = clock.now();
    try {
      requireSecondPerson(request, actor);
      this.#world.check(request);
    } catch (error) {
      await store.recordEvent(requestDecisionRefused(request, error, { time, actor }));
      throw error;
    }
    const { issuerId, serial } = this.#world.reserve();
    const event = requestApproved(request, { time, actor, serial, issuer: issuerId });
    const approved = await store.changeRequest(id, { states: ['pending'] }, { to: 'approved', decidedAt: time, decidedBy: actor, issuerId, serial }, event);
    // Somebody else was first.
    if (approved === undefined) throw decided(await this.get(id));
    return this.#complete(approved);
  }

  /** Also for whoever asked, who so takes it back. */
  async deny(id: string, { actor, reason }: { readonly actor: string; readonly reason: string }): Promise<CertificateRequest> {
    const request = await this.get(id);
    this.#requirePending(request);
    return this.#deny(request, { actor, reason: reason.trim().slice(0, maxReasonLength), from: ['pending'] });
  }

  async expire(): Promise<void> {
    const { store, clock } = this.#world;
    const now = clock.now();
    // Reading first keeps the store from being written each time somebody looks.
    const [overdue] = await store.findRequests({ states: open, expiresBefore: now, limit: 1 });
    if (overdue !== undefined) await store.expireRequests(now, (request) => requestExpired(request, { time: now, actor: 'ca' }));
  }

  /**
   * Issues what was approved lately and not issued, as after a crash. What could not be issued for another reason is tried
   * again when somebody asks for it.
   */
  async resume(): Promise<void> {
    const since = this.#world.clock.now().getTime() - crashMs;
    for (const request of await this.#world.store.findRequests({ states: ['approved'] })) {
      if ((request.decidedAt?.getTime() ?? 0) >= since) await this.#complete(request).catch(() => undefined);
    }
  }

  async #find(credentialHash: string, { csr, spend }: Question): Promise<CertificateRequest | undefined> {
    const { store, clock } = this.#world;
    const request = (await store.findRequests({ credentialHash, spkiHash: csr.spkiHash })).at(-1);
    if (request === undefined) return undefined;
    const now = clock.now();
    if (open.includes(request.state) && request.expiresAt <= now) {
      await this.expire();
      return spend === undefined ? undefined : { ...request, state: 'expired' };
    }
    // A token is spent with its request; whoever may ask again may begin anew.
    return spend === undefined && (request.state === 'denied' || request.state === 'expired' || (request.state === 'collected' && !(await this.#lives(request, now)))) ? undefined : request;
  }

  async #lives({ issuerId, serial }: CertificateRequest, now: Date): Promise<boolean> {
    const record = await this.#certificate({ issuerId, serial });
    return record !== undefined && record.state === 'issued' && record.notAfter >= now;
  }

  async #leave(credentialHash: string, { agent, profile, terms, csr, spend }: Question): Promise<never> {
    const { store, clock, randomness, expirySeconds, maxPending } = this.#world;
    const createdAt = clock.now();
    const request: CertificateRequest = {
      id: Buffer.from(randomness.bytes(8)).toString('hex'),
      state: 'pending',
      agent,
      profile,
      terms,
      csr: csr.der,
      spkiHash: csr.spkiHash,
      credentialHash,
      createdAt,
      expiresAt: new Date(createdAt.getTime() + expirySeconds * 1_000),
      decidedAt: undefined,
      decidedBy: undefined,
      reason: undefined,
      issuerId: undefined,
      serial: undefined,
    };
    this.#world.check(request);
    await this.expire();
    const outcome = await store.insertRequest(request, requestCreated(request), {
      maxPending,
      ...(spend === undefined ? {} : { spend: { secretHash: spend.secretHash, event: spend.event(spend.token) } }),
    });
    if (outcome === 'inserted') throw pending(request, createdAt);
    if (outcome === 'full') throw new CaError('ERR_REQUEST_QUEUE_FULL', `${maxPending} requests wait for approval, which is as many as may; decide some with sallyport requests`, { facts: { limit: maxPending } });
    if (outcome === 'alreadySpent') throw new CaError('ERR_TOKEN_SPENT', 'the token was used before, for another key; ask the operator for a new one, and who used it');
    if (outcome === 'expired') throw new CaError('ERR_TOKEN_EXPIRED', 'the token has expired; ask the operator for a new one');
    throw new CaError('ERR_TOKEN_INVALID', 'the token is unknown; copy it whole, or ask the operator for a new one');
  }

  async #follow(request: CertificateRequest, terms: RequestTerms): Promise<IssuedCertificate> {
    const { store, clock } = this.#world;
    switch (request.state) {
      case 'pending':
        throw pending(request, clock.now());
      case 'denied':
        throw new CaError('ERR_REQUEST_DENIED', `the request ${request.id} was denied${request.reason === undefined || request.reason === '' ? '' : ` (${request.reason})`}; ask the operator`, { facts: { request: request.id, reason: request.reason } });
      case 'expired':
        throw new CaError('ERR_REQUEST_EXPIRED', `the request ${request.id} was not approved in time; ask the operator for a new token`, { facts: { request: request.id } });
      case 'approved':
      case 'issued':
      case 'collected': {
        const { certificate } = await this.#complete(request);
        if (request.state !== 'collected') {
          const time = clock.now();
          const known: CertificateRequest = { ...request, issuerId: certificate.issuerId, serial: certificate.serial };
          await store.changeRequest(request.id, { states: ['issued'] }, { to: 'collected' }, requestCollected(known, { time, actor: terms.requestedBy, address: terms.address }));
        }
        return certificate;
      }
    }
  }

  /** Of an approved request: the certificate, issued now when it is not there yet. */
  async #complete(request: CertificateRequest): Promise<{ readonly request: CertificateRequest; readonly certificate: IssuedCertificate }> {
    const { clock, recall } = this.#world;
    const record = await this.#certificate(request);
    if (record?.der !== undefined && record.state === 'issued') return { request: await this.#issued(request), certificate: recall(record, record.der) };
    if (record?.der !== undefined) throw new CaError('ERR_CA_IDENTITY_REVOKED', `the certificate of request ${request.id} was revoked; ask the operator for a new identity`, { facts: { request: request.id } });
    // Somebody is at it, or died at it a moment ago.
    if (record?.state === 'intent') throw pending(request, clock.now());
    const reserved = record === undefined ? request : await this.#reserveAnew(request, record);
    try {
      const certificate = await this.#world.issue(reserved);
      return { request: await this.#issued(reserved), certificate };
    } catch (error) {
      if (error instanceof CaError && error.code === 'ERR_STORE_DUPLICATE_SERIAL') throw pending(request, clock.now());
      if (error instanceof CaError && final.has(error.code)) await this.#deny(request, { actor: 'ca', reason: `it cannot be issued: ${error.message}`.slice(0, maxReasonLength), from: ['approved'] });
      throw error;
    }
  }

  /** What a crash left behind may have been signed but was never handed out: it is revoked, and another serial taken. */
  async #reserveAnew(request: CertificateRequest, left: CertificateRecord): Promise<CertificateRequest> {
    const { store, clock } = this.#world;
    if (left.state !== 'revoked') {
      await revokeSelected({ store, clock, sleep: () => Promise.resolve(), intentPatienceMs: 0 }, { issuerId: left.issuerId, serial: left.serial }, { reason: 'superseded', actor: 'ca' });
    }
    const { issuerId, serial } = this.#world.reserve();
    const event = requestReserved(request, { time: clock.now(), actor: 'ca', serial, issuer: issuerId });
    const changed = await store.changeRequest(request.id, { states: ['approved'], serial: left.serial }, { to: 'approved', issuerId, serial }, event);
    if (changed === undefined) throw pending(request, clock.now());
    return changed;
  }

  async #issued(request: CertificateRequest): Promise<CertificateRequest> {
    // Its audit entry is that of the certificate.
    return (await this.#world.store.changeRequest(request.id, { states: ['approved'] }, { to: 'issued' }, undefined)) ?? request;
  }

  async #deny(request: CertificateRequest, { actor, reason, from }: { readonly actor: string; readonly reason: string; readonly from: readonly RequestState[] }): Promise<CertificateRequest> {
    const time = this.#world.clock.now();
    const denied = await this.#world.store.changeRequest(request.id, { states: from }, { to: 'denied', decidedAt: time, decidedBy: actor, reason }, requestDenied(request, { time, actor, reason }));
    if (denied === undefined) throw decided(await this.get(request.id));
    return denied;
  }

  async #certificate({ issuerId, serial }: Pick<CertificateRequest, 'issuerId' | 'serial'>): Promise<CertificateRecord | undefined> {
    if (issuerId === undefined || serial === undefined) return undefined;
    const [record] = await this.#world.store.findCertificates({ issuerId, serial, limit: 1 });
    return record;
  }

  #requirePending(request: CertificateRequest): void {
    if (request.state !== 'pending') throw decided(request);
  }
}

/** Who asked, and who vouched for whoever asked, must not be the one who approves. */
const requireSecondPerson = ({ id, terms }: CertificateRequest, actor: string): void => {
  const facts = { request: id, actor, requestedBy: terms.requestedBy, vouchedBy: terms.vouchedBy };
  const byToken = terms.way === 'token' || terms.way === 'est';
  if (byToken && terms.vouchedBy === undefined) throw new CaError('ERR_REQUEST_FOUR_EYES', 'nothing says who made the token of this request, so nobody can be the second person; deny it and make a new token', { facts });
  const first = byToken ? terms.vouchedBy : terms.requestedBy;
  for (const other of [first, terms.vouchedBy]) {
    if (other !== undefined && personOf(other) === personOf(actor)) throw new CaError('ERR_REQUEST_FOUR_EYES', `${actor} asked for this certificate, or made the token it was asked for with; another person must approve it`, { facts });
  }
};

/** Soon at first, when somebody may be at it; seldom after days. */
const pending = (request: CertificateRequest, now: Date): CaError =>
  new CaError('ERR_REQUEST_PENDING', request.state === 'pending' ? `the request ${request.id} waits for a second person; approve it with sallyport requests approve ${request.id}` : `the request ${request.id} is approved and its certificate is being made, or was when the process ended; ask again in a minute`, {
    facts: { request: request.id, retryAfterSeconds: Math.max(1, Math.min(60, Math.floor((now.getTime() - request.createdAt.getTime()) / 10_000))), expiresAt: request.expiresAt.toISOString() },
  });

const decided = ({ id, state, decidedBy }: CertificateRequest): CaError =>
  new CaError('ERR_REQUEST_DECIDED', `the request ${id} is ${state}${decidedBy === undefined ? '' : `, by ${decidedBy}`}; only one that waits can be decided`, { facts: { request: id, state } });
