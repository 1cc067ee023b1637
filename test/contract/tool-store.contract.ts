/** What every store does with tool definitions, whatever database is under it. */
import { generateKeyPairSync } from 'node:crypto';
import { afterEach, describe, expect, it } from 'vitest';
import type { AuditEvent } from '../../ca/ports.ts';
import { createCheckpointSigner } from '../../src/audit/checkpoint.ts';
import { readEvent } from '../../src/audit/entry.ts';
import { verifyStore } from '../../src/audit/verify.ts';
import type { Change } from '../../src/store/changes.ts';
import { openStore } from '../../src/store/open-store.ts';
import type { Store } from '../../src/store/store.ts';
import type { SeenTool, Sighting, SightingEvents } from '../../src/store/tool-definitions.ts';
import { later, noon } from '../support/records.ts';
import type { StoreUnderTest } from './store-under-test.ts';

const signer = createCheckpointSigner({ origin: 'test/log', privateKey: generateKeyPairSync('ed25519').privateKey });

const event = (action: string, { name, digest }: SeenTool): AuditEvent => ({ action, outcome: 'done', time: noon, name, detail: { digest } });

const events: SightingEvents = {
  added: (tool) => event('tool.added', tool),
  changed: (tool, { before, approvedDigest }) => ({ ...event('tool.changed', tool), detail: { from: before.digest, before: before.definition, to: tool.digest, approved: approvedDigest } }),
};

const tool = (name: string, text = '1'): SeenTool => ({ name, digest: `sha256:${name}-${text}`, definition: JSON.stringify({ description: text, name }) });

const sighting = (seen: readonly SeenTool[], over: Partial<Sighting> = {}): Sighting => ({ upstream: 'files', seen, removed: [], complete: true, at: noon, ...over });

const approving = { by: 'cli:ada', at: later(60) };
const approvedEvent = ({ name }: { readonly name: string }): AuditEvent => ({ action: 'tool.approved', outcome: 'done', time: noon, name });

export const toolStoreContract = (name: string, underTest: StoreUnderTest): void => {
  describe(`tool definitions on ${name}`, () => {
    const opened: Store[] = [];
    const openAt = async (url: string): Promise<Store> => {
      const store = await openStore(url, { clock: { now: () => noon }, checkpointSigner: signer });
      opened.push(store);
      return store;
    };
    const open = async (): Promise<Store> => openAt(await underTest.createUrl());
    const recorded = async (store: Store) => (await store.audit.read({ from: 0, limit: 1_000 })).map((entry) => readEvent(entry.event));
    const actions = async (store: Store) => (await recorded(store)).map((one) => [one?.action, one?.name]);

    afterEach(async () => {
      for (const store of opened.splice(0)) await store.close();
    });

    it('are approved at first sight, over all pages of the first list', async () => {
      const store = await open();
      expect(await store.tools.met()).toEqual([]);
      expect(await store.tools.observe(sighting([tool('b')], { complete: false }), events)).toEqual([
        { upstream: 'files', name: 'b', approvedDigest: 'sha256:b-1', approved: true, currentDigest: 'sha256:b-1', removed: false },
      ]);
      await store.tools.observe(sighting([tool('a')], { at: later(1) }), events);
      await store.tools.observe(sighting([tool('x')], { upstream: 'other', complete: false }), events);
      expect(await store.tools.met()).toEqual(['files']);
      expect(await recorded(store)).toEqual([]);
      expect((await store.tools.records()).map((record) => [record.upstream, record.name])).toEqual([['files', 'a'], ['files', 'b'], ['other', 'x']]);
      expect(await store.tools.records({ upstream: 'files', tool: 'a' })).toEqual([
        {
          upstream: 'files', name: 'a', removed: false, removedAt: undefined, firstSeenAt: later(1),
          approved: true, approvedBy: 'firstSight', approvedAt: later(1), approvedDigest: 'sha256:a-1', approvedDefinition: '{"description":"1","name":"a"}',
          currentDigest: 'sha256:a-1', currentDefinition: '{"description":"1","name":"a"}', currentAt: later(1),
        },
      ]);
      expect((await store.tools.standings('files')).map((standing) => standing.name).toSorted()).toEqual(['a', 'b']);
      expect(await store.tools.standings()).toHaveLength(3);
    });

    it('that come later are new, and that differ are kept beside what was approved, with one entry each', async () => {
      const store = await open();
      await store.tools.observe(sighting([tool('a')]), events);
      const standings = await store.tools.observe(sighting([tool('b'), tool('a', '2')], { at: later(5) }), events);
      expect(standings).toEqual([
        { upstream: 'files', name: 'b', approvedDigest: 'sha256:b-1', approved: false, currentDigest: 'sha256:b-1', removed: false },
        { upstream: 'files', name: 'a', approvedDigest: 'sha256:a-1', approved: true, currentDigest: 'sha256:a-2', removed: false },
      ]);
      await store.tools.observe(sighting([tool('b'), tool('a', '2')], { at: later(6) }), events);
      expect(await recorded(store)).toMatchObject([
        { action: 'tool.added', name: 'b' },
        { action: 'tool.changed', name: 'a', detail: { from: 'sha256:a-1', before: '{"description":"1","name":"a"}', to: 'sha256:a-2', approved: 'sha256:a-1' } },
      ]);
      expect(await store.tools.records({ tool: 'a' })).toMatchObject([{ approvedDigest: 'sha256:a-1', approvedAt: noon, currentDigest: 'sha256:a-2', currentAt: later(5), currentDefinition: '{"description":"2","name":"a"}' }]);
      expect(await store.tools.records({ tool: 'b' })).toMatchObject([{ approved: false, approvedBy: undefined }]);
      expect((await verifyStore(store.audit, { verifierKey: signer.verifierKey })).findings).toEqual([]);
    });

    it('that are gone keep what was approved, and come back to it', async () => {
      const store = await open();
      await store.tools.observe(sighting([tool('a'), tool('b')]), events);
      await store.tools.observe(sighting([], { removed: ['a', 'never'], at: later(1) }), events);
      expect(await store.tools.records({ tool: 'a' })).toMatchObject([{ removed: true, removedAt: later(1), approvedDigest: 'sha256:a-1' }]);
      await store.tools.observe(sighting([tool('a')]), events);
      expect(await store.tools.records({ tool: 'a' })).toMatchObject([{ removed: false, removedAt: undefined }]);
      await store.tools.observe(sighting([], { removed: ['a'] }), events);
      await store.tools.observe(sighting([tool('a', '2')]), events);
      expect(await actions(store)).toEqual([['tool.changed', 'a']]);
    });

    it('are approved by name as they are now', async () => {
      const store = await open();
      await store.tools.observe(sighting([tool('a'), tool('b')]), events);
      await store.tools.observe(sighting([tool('a', '2'), tool('b', '2'), tool('c')]), events);
      const { approved } = await store.tools.approve({ upstream: 'files', tools: ['a', 'c'], ...approving }, approvedEvent);
      expect(approved).toMatchObject([
        { name: 'a', approved: true, approvedDigest: 'sha256:a-2', approvedBy: 'cli:ada', approvedAt: later(60) },
        { name: 'c', approved: true, approvedDigest: 'sha256:c-1', approvedBy: 'cli:ada' },
      ]);
      expect(await store.tools.records({ tool: 'a' })).toEqual([approved[0]]);
      expect((await store.tools.standings('files')).filter((one) => one.approvedDigest !== one.currentDigest || !one.approved).map((one) => one.name)).toEqual(['b']);
      expect((await store.tools.approve({ upstream: 'files', tools: ['a'], ...approving }, approvedEvent)).approved).toEqual([]);
      expect((await actions(store)).filter(([action]) => action === 'tool.approved')).toEqual([['tool.approved', 'a'], ['tool.approved', 'c']]);
    });

    it('are approved all at once, but for those that are gone', async () => {
      const store = await open();
      await store.tools.observe(sighting([tool('a'), tool('b'), tool('gone')]), events);
      await store.tools.observe(sighting([tool('a', '2'), tool('c'), tool('gone', '2')]), events);
      await store.tools.observe(sighting([], { removed: ['gone'] }), events);
      await store.tools.observe(sighting([tool('x'), tool('y')], { upstream: 'other' }), events);
      const { approved } = await store.tools.approve({ upstream: 'files', tools: 'all', ...approving }, approvedEvent);
      expect(approved.map((record) => record.name)).toEqual(['a', 'c']);
    });

    it('are not approved when they are unknown or are not what was looked at, and then none is', async () => {
      const store = await open();
      await store.tools.observe(sighting([tool('a')]), events);
      await store.tools.observe(sighting([tool('a', '2')]), events);
      await expect(store.tools.approve({ upstream: 'files', tools: ['a', 'z'], ...approving }, approvedEvent)).rejects.toMatchObject({
        code: 'ERR_TOOL_UNKNOWN', message: 'files has shown no tool z: see sallyport tools list --upstream files', facts: { upstream: 'files', tool: 'z' },
      });
      await expect(store.tools.approve({ upstream: 'nowhere', tools: ['a'], ...approving }, approvedEvent)).rejects.toMatchObject({
        code: 'ERR_TOOL_UNKNOWN', message: 'nothing is known of the upstream nowhere: see sallyport tools list',
      });
      await expect(store.tools.approve({ upstream: 'files', tools: ['a'], digest: 'sha256:a-1', ...approving }, approvedEvent)).rejects.toMatchObject({
        code: 'ERR_TOOL_CHANGED', message: 'a of files is not what was to be approved: look at it with sallyport tools diff files a', facts: { digest: 'sha256:a-1', current: 'sha256:a-2' },
      });
      expect(await store.tools.records({ tool: 'a' })).toMatchObject([{ approvedDigest: 'sha256:a-1' }]);
      expect((await store.tools.approve({ upstream: 'files', tools: ['a'], digest: 'sha256:a-2', ...approving }, approvedEvent)).approved).toHaveLength(1);
    });

    it('are told of to every gateway, and to none when nothing changed', async () => {
      const url = await underTest.createUrl();
      const [here, there] = [await openAt(url), await openAt(url)];
      const heard: Change[] = [];
      await there.changes.subscribe((change) => heard.push(change));
      await here.tools.observe(sighting([tool('a')]), events);
      await here.tools.observe(sighting([tool('a')]), events);
      await here.tools.observe(sighting([tool('a', '2')], { at: later(2) }), events);
      const { changeSeq } = await here.tools.approve({ upstream: 'files', tools: 'all', ...approving }, approvedEvent);
      expect((await here.tools.approve({ upstream: 'files', tools: 'all', ...approving }, approvedEvent)).changeSeq).toBe(changeSeq);
      await expect.poll(() => heard.length, { timeout: 10_000, interval: 2 }).toBe(3);
      expect(heard).toEqual([
        { seq: 1, kind: 'tools', upstream: 'files', at: noon },
        { seq: 2, kind: 'tools', upstream: 'files', at: later(2) },
        { seq: changeSeq, kind: 'tools', upstream: 'files', at: later(60) },
      ]);
      expect(await there.tools.standings('files')).toMatchObject([{ approvedDigest: 'sha256:a-2' }]);
    });

    it('seen by two gateways at once have one record and one entry', async () => {
      const url = await underTest.createUrl();
      const [here, there] = [await openAt(url), await openAt(url)];
      const first = await Promise.all([here, there].map((store, at) => store.tools.observe(sighting([tool('a', `${at}`)]), events)));
      const approved = new Set(first.flat().map((standing) => standing.approvedDigest));
      expect(approved.size).toBe(1);
      await Promise.all([here, there].map((store) => store.tools.observe(sighting([tool('a', '2')]), events)));
      expect((await actions(here)).length).toBe(2);
    });

    it('change together with their entry or not at all', async () => {
      const url = await underTest.createUrl();
      const store = await openAt(url);
      await store.tools.observe(sighting([tool('a')]), events);
      await underTest.refuseEntriesWith(url, 'tool.changed');
      await expect(store.tools.observe(sighting([tool('a', '2'), tool('b')]), events)).rejects.toMatchObject({ code: 'ERR_STORE_UNAVAILABLE' });
      expect(await store.tools.records()).toMatchObject([{ name: 'a', currentDigest: 'sha256:a-1' }]);
    });

    it('may be ten thousand of one upstream, and no more', async () => {
      const store = await open();
      const many = Array.from({ length: 10_001 }, (_, at) => tool(`tool-${at}`));
      expect(await store.tools.observe(sighting(many), events)).toHaveLength(10_000);
      expect(await store.tools.observe(sighting([tool('another')]), events)).toEqual([]);
      expect(await store.tools.observe(sighting([tool('another')], { upstream: 'other' }), events)).toHaveLength(1);
    });
  });
};
