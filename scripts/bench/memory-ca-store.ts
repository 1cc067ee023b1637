/** A CA store that keeps nothing on disk: what issuance costs without one. For issuing only. */
import type { CaStore, CertificateIntent, CertificateQuery, CertificateRecord } from '../../ca/ports.ts';

type Issuing = Pick<CaStore, 'recordIntent' | 'recordIssued' | 'discardIntent' | 'recoverIntents' | 'findCertificates' | 'saveCrl' | 'latestCrl' | 'revokedSerials' | 'revokedText' | 'crlStates' | 'crlSeries' | 'extendCrlSeries' | 'recordEvent' | 'crlNumberFloor' | 'findRequests'>;

export const createMemoryCaStore = (): CaStore => {
  const bySerial = new Map<string, CertificateRecord>();
  const byAgent = new Map<string, CertificateRecord[]>();
  const byKey = new Map<string, CertificateRecord[]>();
  const put = (record: CertificateRecord): void => {
    bySerial.set(record.serial, record);
    for (const [index, name] of [[byAgent, record.agent], [byKey, record.spkiHash]] as const) {
      index.set(name, [...(index.get(name) ?? []).filter(({ serial }) => serial !== record.serial), record]);
    }
  };
  const find = ({ agent, spkiHash, serial }: CertificateQuery): readonly CertificateRecord[] => {
    if (agent !== undefined) return byAgent.get(agent) ?? [];
    if (spkiHash !== undefined) return byKey.get(spkiHash) ?? [];
    const record = serial === undefined ? undefined : bySerial.get(serial);
    return record === undefined ? [] : [record];
  };
  const store: Issuing = {
    recordIntent: async (intent: CertificateIntent) => {
      const contenders = { ofAgent: find({ agent: intent.agent }), ofKey: find({ spkiHash: intent.spkiHash }) };
      put({ ...intent, state: 'intent', thumbprint: undefined, der: undefined, revokedAt: undefined, revocationReason: undefined, firstSeenAt: undefined, releasedAt: undefined });
      return contenders;
    },
    recordIssued: async ({ serial, der, thumbprint }) => {
      const intent = bySerial.get(serial);
      if (intent !== undefined) put({ ...intent, state: 'issued', der, thumbprint });
    },
    discardIntent: async () => {},
    recoverIntents: async () => [],
    findCertificates: async (query) => find(query).filter(({ state }) => query.states === undefined || query.states.includes(state)),
    saveCrl: async () => {},
    crlNumberFloor: async () => 0n,
    latestCrl: async () => undefined,
    // oxlint-disable-next-line require-yield
    revokedSerials: async function* none() {},
    // oxlint-disable-next-line require-yield
    revokedText: async function* none() {},
    crlStates: async () => [],
    crlSeries: async () => [],
    extendCrlSeries: async () => {},
    findRequests: async () => [],
    recordEvent: async () => {},
  };
  return new Proxy(store, { get: (target, name) => Reflect.get(target, name) ?? (() => Promise.reject(new Error(`the benchmark's store cannot ${String(name)}`))) }) as CaStore;
};
