/**
 * A store of one's own, in memory: what `CertificateAuthority` asks of a database. A real one answers
 * only once a change and its audit event are on disk together.
 */
import type { AuditEvent, CaStore, CertificateRecord, CertificateRequest, CrlPublication, CrlRecord, CrlScope, CrlSeries, EnrollmentToken, Succession } from 'sallyport/ca';
import { CaError } from 'sallyport/ca';

type Place = Pick<CertificateRecord, 'createdAt' | 'serial' | 'issuerId'>;
const inOrder = (a: Place, b: Place): number => a.createdAt.getTime() - b.createdAt.getTime() || compare(a.serial, b.serial) || compare(a.issuerId, b.issuerId);
const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

export function createMemoryStore(): CaStore & { readonly events: readonly AuditEvent[] } {
  const certificates = new Map<string, CertificateRecord>();
  const crls = new Map<string, { readonly current: CrlPublication; readonly base: CrlRecord; readonly nextBase: CrlRecord }>();
  const series = new Map<string, CrlSeries>();
  const scopeKey = (issuerId: string, { partitions, partition }: CrlScope = { partitions: 1, partition: 0 }): string => `${issuerId}:${partitions}:${partition}`;
  const tokens = new Map<string, EnrollmentToken & { spentAt: Date | undefined }>();
  const requests = new Map<string, CertificateRequest>();
  const successions = new Map<string, Succession>();
  const events: AuditEvent[] = [];
  let changes = 0;
  const keyOf = ({ issuerId, serial }: { readonly issuerId: string; readonly serial: string }): string => `${issuerId}:${serial}`;
  const change = (key: { readonly issuerId: string; readonly serial: string }, facts: Partial<CertificateRecord>): CertificateRecord | undefined => {
    const record = certificates.get(keyOf(key));
    if (record === undefined) return undefined;
    const changed = { ...record, ...facts };
    certificates.set(keyOf(key), changed);
    return changed;
  };
  const find: CaStore['findCertificates'] = async (query) =>
    [...certificates.values()]
      .filter((record) =>
        (['agent', 'serial', 'thumbprint', 'spkiHash', 'issuerId'] as const).every((name) => query[name] === undefined || query[name] === record[name]) &&
        (query.states === undefined || query.states.includes(record.state)) &&
        (query.organizationalUnit === undefined || record.organizationalUnits.includes(query.organizationalUnit)) &&
        (query.profile === undefined || query.profile === record.profile) &&
        (query.revocationReasons === undefined || (record.revocationReason !== undefined && query.revocationReasons.includes(record.revocationReason))) &&
        (query.createdFrom === undefined || record.createdAt >= query.createdFrom) &&
        (query.createdBefore === undefined || record.createdAt < query.createdBefore) &&
        (query.validAt === undefined || record.notAfter >= query.validAt) &&
        (query.expiresBefore === undefined || record.notAfter < query.expiresBefore))
      .toSorted(inOrder)
      .filter((record) => query.after === undefined || inOrder(query.after, record) < 0)
      .slice(query.offset ?? 0, (query.offset ?? 0) + (query.limit ?? 1_000));

  return {
    events,
    recordIntent: async (intent) => {
      if (certificates.has(keyOf(intent))) throw new CaError('ERR_STORE_DUPLICATE_SERIAL', 'the serial exists already: draw another');
      const contenders = {
        ofAgent: await find({ agent: intent.agent, limit: certificates.size }),
        ofKey: await find({ spkiHash: intent.spkiHash, limit: certificates.size }),
      };
      certificates.set(keyOf(intent), { ...intent, state: 'intent', thumbprint: undefined, der: undefined, revokedAt: undefined, revocationReason: undefined, firstSeenAt: undefined, releasedAt: undefined });
      return contenders;
    },
    recordIssued: async ({ der, thumbprint, ...key }, event) => {
      change(key, { state: 'issued', der, thumbprint });
      events.push(event);
    },
    discardIntent: async (key, event) => {
      certificates.delete(keyOf(key));
      events.push(event);
    },
    recoverIntents: async (before, event) => {
      const left = [...certificates.values()].filter(({ state, createdAt }) => state === 'intent' && createdAt < before);
      events.push(...left.map(event));
      return left.flatMap((record) => change(record, { state: 'unknownIssued' }) ?? []);
    },
    findCertificates: find,
    countCertificates: async (query) => (await find({ ...query, limit: certificates.size, offset: 0 })).length,
    async *certificatePages() {
      const all = await find({ limit: certificates.size });
      if (all.length > 0) yield all;
    },
    revoke: async (keys, reason, at, event) => {
      const revoked = keys
        .map((key) => certificates.get(keyOf(key)))
        .filter((record) => record?.state === 'issued' || record?.state === 'unknownIssued' || (record?.revocationReason === 'certificateHold' && reason !== 'certificateHold'))
        .flatMap((record) => (record && change(record, { state: 'revoked', revokedAt: at, revocationReason: reason })) ?? []);
      events.push(...revoked.map(event));
      changes += revoked.length;
      return { revoked, changeSeq: changes };
    },
    release: async (keys, at, event) => {
      const compromised = (record: CertificateRecord): boolean =>
        [...certificates.values()].some(({ spkiHash, revocationReason: why }) => spkiHash === record.spkiHash && (why === 'keyCompromise' || why === 'cACompromise' || why === 'aACompromise'));
      const released = keys
        .flatMap((key) => certificates.get(keyOf(key)) ?? [])
        .filter((record) => record.revocationReason === 'certificateHold' && !compromised(record))
        .flatMap((record) => change(record, { state: record.der === undefined ? 'unknownIssued' : 'issued', revokedAt: undefined, revocationReason: undefined, releasedAt: at }) ?? []);
      events.push(...released.map(event));
      changes += released.length;
      return { released, changeSeq: changes };
    },
    async *revokedSerials(issuerId) {
      const all = await find({ issuerId, states: ['revoked'], limit: certificates.size });
      yield all
        .toSorted((a, b) => (a.serial < b.serial ? -1 : 1))
        .map(({ serial, revokedAt, revocationReason, notAfter }) => ({ issuerId, serial, revokedAt: revokedAt ?? new Date(0), reason: revocationReason ?? 'unspecified', notAfter }));
    },
    markSeen: async (key, at) => {
      const record = certificates.get(keyOf(key));
      if (record === undefined || record.firstSeenAt !== undefined) return;
      change(key, { firstSeenAt: at });
      if (record.replaces !== undefined) successions.set(keyOf(key), { ...key, agent: record.agent, replaces: record.replaces, seenAt: at });
    },
    successions: async (seenBefore, limit) => [...successions.values()].filter(({ seenAt }) => seenAt <= seenBefore).slice(0, limit),
    settleSuccessions: async (keys) => {
      for (const key of keys) successions.delete(keyOf(key));
    },
    async *revokedText(issuerId, { endings = [] } = {}) {
      const all = await find({ issuerId, states: ['revoked'], limit: certificates.size });
      const seconds = (date: Date | undefined): number => Math.floor((date?.getTime() ?? 0) / 1_000);
      const text = all
        .filter(({ serial }) => endings.length === 0 || endings.some((ending) => serial.endsWith(ending)))
        .toSorted((a, b) => (a.serial < b.serial ? -1 : 1))
        .map(({ serial, revokedAt, revocationReason, notAfter }) => `${serial},${seconds(revokedAt)},${revocationReason ?? 'unspecified'},${seconds(notAfter)};`)
        .join('');
      yield new TextEncoder().encode(text);
    },
    crlStates: async (issuerId, scope) =>
      [...crls.values()]
        .filter(({ current }) => (issuerId === undefined || current.issuerId === issuerId) && (scope === undefined || scopeKey(current.issuerId, scope) === scopeKey(current.issuerId, current.scope)))
        .map(({ current: { delta, ...current }, nextBase }) => ({ ...current, delta: delta && { ...delta, nextBaseThisUpdate: nextBase.thisUpdate } }))
        .toSorted((a, b) => a.scope.partitions - b.scope.partitions || a.scope.partition - b.scope.partition),
    latestCrl: async (issuerId, { scope, kind = 'complete' } = {}) => {
      const found = crls.get(scopeKey(issuerId, scope));
      if (found === undefined || kind === 'complete') return found?.current;
      const { delta } = found.current;
      return delta && (kind === 'delta' ? { ...found.current, ...delta } : found[kind]);
    },
    // A store that is restored from a backup answers with a number beyond all that were published since.
    crlNumberFloor: async () => 0n,
    saveCrl: async (current, event) => {
      const key = scopeKey(current.issuerId, current.scope);
      const last = crls.get(key);
      if (last !== undefined && (last.current.crlNumber >= current.crlNumber || last.current.thisUpdate >= current.thisUpdate)) throw new CaError('ERR_CRL_STALE', 'a newer CRL is stored already: build the next');
      const before = current.delta?.bases === 'first' ? undefined : last;
      const bases = current.delta?.bases === 'moved' ? { base: before?.nextBase ?? current, nextBase: current } : { base: before?.base ?? current, nextBase: before?.nextBase ?? current };
      crls.set(key, { current, ...bases });
      events.push(event);
    },
    dropCrl: async (issuerId, scope, event) => {
      if (crls.delete(scopeKey(issuerId, scope))) events.push(event);
    },
    crlSeries: async (issuerId) => [...series.values()].filter((one) => one.issuerId === issuerId),
    extendCrlSeries: async (one) => {
      const key = `${one.issuerId}:${one.partitions}:${one.point}`;
      const known = series.get(key);
      if (known === undefined || known.until < one.until) series.set(key, one);
    },
    insertToken: async (token, event) => {
      tokens.set(token.secretHash, { ...token, spentAt: undefined });
      events.push(event);
    },
    spendToken: async (secretHash, at, event) => {
      const token = tokens.get(secretHash);
      if (token === undefined) return { outcome: 'unknown' };
      if (token.spentAt !== undefined) return { outcome: 'alreadySpent' };
      if (token.expiresAt <= at) return { outcome: 'expired' };
      token.spentAt = at;
      events.push(event(token));
      return { outcome: 'spent', token };
    },
    findToken: async (secretHash) => {
      const token = tokens.get(secretHash);
      return token && { token, spentAt: token.spentAt };
    },
    insertRequest: async (request, event, { maxPending, spend }) => {
      if ([...requests.values()].filter(({ state }) => state === 'pending').length >= maxPending) return 'full';
      if (spend !== undefined) {
        const token = tokens.get(spend.secretHash);
        if (token === undefined) return 'unknown';
        if (token.spentAt !== undefined) return 'alreadySpent';
        if (token.expiresAt <= request.createdAt) return 'expired';
        token.spentAt = request.createdAt;
        events.push(spend.event);
      }
      requests.set(request.id, request);
      events.push(event);
      return 'inserted';
    },
    findRequests: async (query) =>
      [...requests.values()]
        .filter((request) => (['id', 'agent', 'credentialHash', 'spkiHash'] as const).every((name) => query[name] === undefined || query[name] === request[name]) && (query.states === undefined || query.states.includes(request.state)) && (query.expiresBefore === undefined || request.expiresAt <= query.expiresBefore))
        .slice(0, query.limit ?? 1_000),
    changeRequest: async (id, from, { to, ...facts }, event) => {
      const request = requests.get(id);
      if (request === undefined || !from.states.includes(request.state) || (from.serial !== undefined && from.serial !== request.serial)) return undefined;
      const changed = { ...request, ...facts, state: to };
      requests.set(id, changed);
      if (event !== undefined) events.push(event);
      return changed;
    },
    expireRequests: async (at, event) => {
      const expired = [...requests.values()].filter(({ state, expiresAt }) => (state === 'pending' || state === 'approved') && expiresAt <= at).map((request) => ({ ...request, state: 'expired' as const }));
      for (const request of expired) {
        requests.set(request.id, request);
        events.push(event(request));
      }
      return expired;
    },
    tokens: async ({ after, limit = 1_000 }) => {
      const ordered = [...tokens.values()].toSorted((a, b) => a.createdAt.getTime() - b.createdAt.getTime() || (a.secretHash < b.secretHash ? -1 : 1));
      const from = after === undefined ? 0 : ordered.findIndex(({ secretHash }) => secretHash === after.secretHash) + 1;
      return ordered.slice(from, from + limit);
    },
    deleteToken: async (secretHash, event) => {
      const token = tokens.get(secretHash);
      if (token === undefined) throw new CaError('ERR_TOKEN_UNKNOWN', 'there is no such token');
      if (token.spentAt !== undefined) throw new CaError('ERR_TOKEN_SPENT', 'the token was used already');
      tokens.delete(secretHash);
      events.push(event(token));
      return token;
    },
    recordEvent: async (event) => void events.push(event),
  };
}
