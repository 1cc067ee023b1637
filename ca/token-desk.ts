/** One-time tokens: made by an operator, listed, taken back, and spent by an agent for its certificate. */
import { requireWay, termsOf, ttlOf } from './asking.ts';
import type { AuthorityOptions } from './authority-options.ts';
import type { Certification } from './certification.ts';
import { checkCsrContent, provenCsrAside } from './csr-content.ts';
import { parseDuration } from './duration.ts';
import { createTokenText, isTokenFor, parseToken } from './enrollment.ts';
import { CaError } from './errors.ts';
import { tokenCreated, tokenDeleted, tokenRefused, tokenSpent } from './events.ts';
import { grantedToAgent } from './grant.ts';
import { pathAbove, trustedOf } from './issuer.ts';
import type { Hierarchy } from './issuer.ts';
import { checkSubjectKey } from './key-policy.ts';
import type { EnrollmentToken, ListedToken, TokenQuery } from './ports.ts';
import type { CreatedToken, EnrollRequest, IssuedCertificate, TokenRequest } from './requests.ts';
import { checkAgentName, checkOrganizationalUnits } from './subject-rules.ts';
import type { Csr } from './x509/csr.ts';

export interface TokenDeskWorld {
  readonly options: AuthorityOptions;
  readonly certification: Certification;
  readonly hierarchy: () => Hierarchy;
}

export class TokenDesk {
  readonly #world: TokenDeskWorld;
  readonly #options: AuthorityOptions;
  readonly #certification: Certification;

  constructor(world: TokenDeskWorld) {
    this.#world = world;
    this.#options = world.options;
    this.#certification = world.certification;
  }

  /** A one-time token with which an agent may enroll. */
  async create(request: TokenRequest): Promise<CreatedToken> {
    const { store, clock, randomness } = this.#options;
    const profile = this.#certification.agentProfile(request.profile);
    if (!profile.mayIssue.has('est')) requireWay(profile, 'token');
    const organizationalUnits = request.organizationalUnits ?? [];
    grantedToAgent(this.#options.trustDomain, request.agent, organizationalUnits, profile);
    const seconds = parseDuration(request.ttl ?? '15m');
    if (seconds > 7 * 86_400) throw new CaError('ERR_CA_TTL', 'a token may be used for 7d at most; create it when it is needed');
    const ttlSeconds = request.certificateTtl === undefined ? undefined : ttlOf(request.certificateTtl, profile);
    const now = clock.now();
    const actor = request.actor ?? 'ca';
    const { text, secretHash } = createTokenText(pathAbove(this.#world.hierarchy(), this.#world.hierarchy().issuing).root.der, randomness);
    const token: EnrollmentToken = {
      secretHash,
      agent: checkAgentName(request.agent),
      organizationalUnits: checkOrganizationalUnits(organizationalUnits),
      profile: profile.name,
      ttlSeconds,
      createdAt: now,
      expiresAt: new Date(now.getTime() + seconds * 1_000),
      createdBy: actor,
    };
    await store.insertToken(token, tokenCreated(token, { time: now, actor }));
    return { token: text, agent: token.agent, organizationalUnits, profile: profile.name, expiresAt: token.expiresAt };
  }

  /** Those that can still be used, and those that were or whose time has passed. */
  async list(query: TokenQuery = {}): Promise<readonly ListedToken[]> {
    return this.#options.store.tokens(query);
  }

  /** Takes a token back. `id` is its secret's hash. @throws CaError `ERR_TOKEN_UNKNOWN`, `ERR_TOKEN_SPENT` */
  async delete(id: string, options: { readonly actor?: string } = {}): Promise<EnrollmentToken> {
    const { store, clock } = this.#options;
    return store.deleteToken(id, (token) => tokenDeleted(token, { time: clock.now(), actor: options.actor ?? 'ca' }));
  }

  /**
   * Spends a token for a certificate. What can be refused without the token's grants is refused before it is spent.
   * Where the profile demands approval it rejects with `ERR_REQUEST_PENDING`, and answers the same call once it is given.
   */
  async enroll(request: EnrollRequest): Promise<IssuedCertificate> {
    const { token, csr, waits } = await this.#spend(request);
    const actor = `token:${token.agent}`;
    return this.#certification.auditing(token.agent, { actor, address: request.address }, async () => {
      const profile = this.#certification.agentProfile(token.profile);
      if (waits) {
        const { address } = request;
        const asking = { actor, way: request.way ?? 'token', address, ...(token.createdBy === undefined ? {} : { vouchedBy: token.createdBy }) } as const;
        const terms = termsOf({ ...asking, ttl: token.ttlSeconds }, profile, { organizationalUnits: token.organizationalUnits, email: undefined, hosts: [], wordGivenAt: token.createdAt });
        const spend = { secretHash: token.secretHash, token, event: (spent: EnrollmentToken) => tokenSpent(spent, { time: this.#options.clock.now(), address }) };
        return this.#certification.approvals.ask({ agent: token.agent, profile: profile.name, csr, credential: token.secretHash, terms, spend });
      }
      const granted = grantedToAgent(this.#options.trustDomain, token.agent, token.organizationalUnits, profile);
      checkCsrContent(csr, granted, profile);
      checkSubjectKey(csr.spki, { allowed: profile.keyAlgorithms, refusedSpkiHashes: this.#certification.refusedKeys });
      return this.#certification.certify(
        {
          agent: token.agent,
          granted,
          profile,
          ttlSeconds: ttlOf(token.ttlSeconds, profile),
          spki: csr.spki,
          issuer: this.#world.hierarchy().issuing,
          replaces: undefined,
          revokedIdentity: { wordGivenAt: token.createdAt },
          actor,
        },
      );
    });
  }

  /** `waits`: the profile demands approval, and the token is spent with the request that is left. */
  async #spend(request: EnrollRequest): Promise<{ readonly token: EnrollmentToken; readonly csr: Csr; readonly waits: boolean }> {
    const { store, clock } = this.#options;
    const time = clock.now();
    const { address } = request;
    try {
      const parsed = parseToken(request.token);
      if (!trustedOf(this.#world.hierarchy(), 'root').some(({ der }) => isTokenFor(parsed, der))) throw new CaError('ERR_TOKEN_INVALID', 'the token was made by another certificate authority; check the address');
      const csr = await provenCsrAside(request.csr);
      checkSubjectKey(csr.spki, { allowed: new Set([...this.#certification.profiles.values()].flatMap((profile) => [...profile.keyAlgorithms])), refusedSpkiHashes: this.#certification.refusedKeys });
      const found = await store.findToken(parsed.secretHash);
      const known = found?.token;
      const profile = known === undefined ? undefined : this.#certification.profiles.get(known.profile);
      if (profile !== undefined) {
        requireWay(profile, request.way ?? 'token');
        if (request.profile !== undefined && request.profile !== profile.name) throw new CaError('ERR_TOKEN_INVALID', `the token is for profile ${profile.name}, not ${request.profile}; ask where that one is issued`);
      }
      // Also one that was left while the profile still demanded approval.
      const waits = profile?.approval === 'required' || (found?.spentAt !== undefined && (await this.#certification.approvals.knows(parsed.secretHash)));
      if (known !== undefined && waits) return { token: known, csr, waits };
      const spending = await store.spendToken(parsed.secretHash, time, (token) => tokenSpent(token, { time, address }));
      if (spending.outcome === 'spent') return { token: spending.token, csr, waits: false };
      if (spending.outcome === 'alreadySpent') throw new CaError('ERR_TOKEN_SPENT', 'the token was used before; ask the operator for a new one, and who used it');
      if (spending.outcome === 'expired') throw new CaError('ERR_TOKEN_EXPIRED', 'the token has expired; ask the operator for a new one');
      throw new CaError('ERR_TOKEN_INVALID', 'the token is unknown; copy it whole, or ask the operator for a new one');
    } catch (error) {
      await store.recordEvent(tokenRefused(error, { time, address }));
      throw error;
    }
  }
}
